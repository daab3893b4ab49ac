"""The routes, and nothing else: each checks its input, asks one part of the server, and answers.

Routes that touch the disk are plain functions: they run in threads. The ones that stream are coroutines. healthz is a
coroutine that touches nothing, so it answers whatever the threads and the models are doing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Optional

from fastapi import Depends, FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from shared_models.contract import routes
from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.jsonforms import from_json, parsed, to_json
from shared_models.contract.values import ClinicalFields

from . import answers, dashboard, job_requests
from .blobs import Kept
from .cases import Cases, missing
from .engine import Engine
from .fused import Fuser
from .jobs import JobBoard
from .server_info import info
from .settings import Settings
from .uploads import Uploads, json_body

KEEP_ALIVE_S = 0.5
_EVENT_PAUSE_S = 0.05  # a job may tell of itself more often than anyone can read
_CASE = routes.CASES + "/{case_id}"
_JOB = routes.JOBS + "/{job_id}"
_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


async def body_object(request: Request) -> dict[str, Any]:
    """The JSON object of a request; an empty body is an empty object."""
    text = await json_body(request)
    if not text:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("The request is not JSON.", "Send it with Content-Type: application/json.")
    try:
        body = parsed(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidInput("The request is not a JSON object.", "Check the client's version.")
    return body


Json = Annotated[dict[str, Any], Depends(body_object)]


def build_app(
    settings: Settings,
    cases: Cases,
    board: JobBoard,
    engine: Engine,
    lifespan: Optional[Callable[[FastAPI], AbstractAsyncContextManager[None]]] = None,
    closing: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application of one server; ``closing`` turns true when its streams are to end."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    answers.install(app)
    dashboard.mount(app)
    uploads, fuser = Uploads(settings, cases), Fuser(cases, settings.models)

    # The server

    @app.get(routes.HEALTHZ)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get(routes.READYZ)
    def readyz() -> Response:
        status = engine.status()
        if not status.ready:
            raise status.problem or ModelUnavailable("The models are being loaded.", "Try again in a few seconds.")
        return JSONResponse({"ready": True, "device": status.device})

    @app.get(routes.INFO)
    def get_info() -> Response:
        return JSONResponse(info(settings, engine.status()))

    # Cases

    @app.post(routes.CASES)
    def create_case(body: Json) -> Response:
        return JSONResponse({"case_id": cases.create(*job_requests.new_case(body))}, 201)

    @app.get(routes.CASES)
    def list_cases() -> Response:
        return JSONResponse({"cases": cases.all(), "jobs": [job.to_json() for job in board.unfinished()]})

    @app.get(_CASE)
    def get_case(case_id: str) -> Response:
        jobs = [job.to_json() for job in board.of_case(case_id)]
        return JSONResponse({**cases.get(case_id), "jobs": jobs})

    @app.delete(_CASE)
    def delete_case(case_id: str) -> Response:
        board.delete_case(case_id)
        return JSONResponse({"deleted": case_id})

    # What goes in

    @app.head(routes.VOLUMES + "/{sha256}")
    def has_volume(sha256: str) -> Response:
        return Response(status_code=200 if cases.has_volume(sha256) else 404)

    @app.get(routes.VOLUMES + "/{sha256}")
    def get_volume(sha256: str) -> Response:
        return _frame(cases.volume(sha256))

    @app.put(routes.VOLUMES + "/{sha256}")
    async def put_volume(sha256: str, request: Request) -> Response:
        return JSONResponse({"bytes": await uploads.volume(request, sha256)}, 201)

    @app.post(_CASE + "/tiles")
    async def post_tiles(case_id: str, request: Request) -> Response:
        slide_id, tiles, frame = await uploads.tiles(request, case_id)
        if request.query_params.get("ahead") == "1":
            board.ahead(frame)
        return JSONResponse({"slide_id": slide_id, "tiles": tiles}, 201)

    @app.put(_CASE + "/radiology/mask")
    async def put_mask(case_id: str, request: Request) -> Response:
        return JSONResponse({"bytes": await uploads.correction(request, case_id)}, 201)

    @app.put(_CASE + "/clinical")
    def put_clinical(case_id: str, body: Json) -> Response:
        fields = to_json(from_json(ClinicalFields, body))
        cases.put_json(case_id, "clinical", fields)
        return JSONResponse(fields)

    # Work

    @app.post(_CASE + "/radiology")
    def post_radiology(case_id: str, body: Json) -> Response:
        return _accepted(board.add(case_id, "radiology", job_requests.radiology(body, settings.max_points)))

    @app.post(_CASE + "/pathology")
    def post_pathology(case_id: str, body: Json) -> Response:
        return _accepted(board.add(case_id, "pathology", job_requests.pathology(body)))

    @app.get(_JOB)
    def get_job(job_id: str) -> Response:
        return JSONResponse(board.get(job_id).to_json())

    @app.delete(_JOB)
    def cancel_job(job_id: str) -> Response:
        progress = board.cancel(job_id)
        return JSONResponse(progress.to_json(), 200 if progress.ended else 202)

    @app.get(_JOB + "/events")
    async def job_events(job_id: str) -> Response:
        await asyncio.to_thread(board.get, job_id)  # a job that is not there is a 404, not a stream
        return StreamingResponse(_events(board, job_id, closing), media_type="text/event-stream")

    # What comes out

    @app.post(_CASE + "/fusion")
    def post_fusion(case_id: str, body: Json) -> Response:
        return JSONResponse(fuser.fuse(case_id, job_requests.weights(body)))

    @app.get(_CASE + "/report")
    def get_report(case_id: str, request: Request) -> Response:
        from .report_of_case import report, report_pdf

        form, paper = job_requests.report(request.query_params)
        if form == "pdf":
            return Response(
                report_pdf(cases, fuser, case_id, settings.max_decoded_bytes, paper), media_type="application/pdf"
            )
        return HTMLResponse(
            report(cases, fuser, case_id, settings.max_decoded_bytes, paper),
            headers={"Content-Security-Policy": _REPORT_POLICY},
        )

    @app.get(_CASE + "/notes")
    def get_notes(case_id: str) -> Response:
        return JSONResponse({"notes": [to_json(note) for note in cases.notes(case_id)]})

    @app.post(_CASE + "/notes")
    def post_note(case_id: str, body: Json) -> Response:
        return JSONResponse(to_json(cases.add_note(case_id, job_requests.note(body))), 201)

    @app.get(_CASE + "/radiology/mask")
    def get_mask(case_id: str) -> Response:
        return _frame(_part(cases, case_id, "radiology/mask"))

    @app.get(_CASE + "/{modality}/heatmaps/{method}")
    def get_heatmap(case_id: str, modality: str, method: str) -> Response:
        routes.heatmap(case_id, modality, method)
        return _frame(_part(cases, case_id, f"{modality}/heatmaps/{method}"))

    def get_part(name: str) -> None:
        @app.get(f"{_CASE}/{name}", name=f"get_{name}")
        def get(case_id: str) -> Response:
            return Response(_part(cases, case_id, name).read(), media_type="application/json")

    for part in ("clinical", "radiology", "pathology", "fusion"):
        get_part(part)

    return app


def _accepted(job_id: str) -> Response:
    return JSONResponse({"job_id": job_id}, 202)


def _part(cases: Cases, case_id: str, name: str) -> Kept:
    part = cases.part(case_id, name)
    if part is None:
        raise missing(f"result ({name.replace('/', ', ')})")
    return part


def _frame(kept: Kept) -> Response:
    headers = {"Content-Length": str(kept.size)}
    return StreamingResponse(kept.pieces(), media_type=routes.FRAME_TYPE, headers=headers)


async def _events(board: JobBoard, job_id: str, closing: Callable[[], bool]) -> AsyncIterator[str]:
    """Each change of a job until it ends; a comment at least every KEEP_ALIVE_S."""
    loop, moved = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(moved.set)

    unwatch = board.watch(job_id, wake)
    try:
        last = None
        while not closing():
            moved.clear()
            progress = await asyncio.to_thread(board.get, job_id)
            yield f"data: {json.dumps(progress.to_json())}\n\n" if progress != last else ": here\n\n"
            last = progress
            if progress.ended:
                return
            await asyncio.sleep(_EVENT_PAUSE_S)
            try:
                await asyncio.wait_for(moved.wait(), KEEP_ALIVE_S - 2 * _EVENT_PAUSE_S)
            except asyncio.TimeoutError:
                pass
    finally:
        unwatch()
