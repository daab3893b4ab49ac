"""The server's own page: static files without data, which ask the user for the token and then call the API.

PAGES     paths that are answered without the token
mount()   adds them to the application
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "dashboard"
_FILES = {"index.html": "text/html; charset=utf-8"}
PAGES = frozenset({"/", *(f"/dashboard/{name}" for name in _FILES)})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "frame-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def mount(app: FastAPI) -> None:
    """Add the page's routes."""

    def answered(name: str) -> Response:
        return Response(
            (_FOLDER / name).read_bytes(), media_type=_FILES[name], headers={"Content-Security-Policy": _POLICY}
        )

    app.get("/")(lambda: answered("index.html"))
    for name in _FILES:
        app.get(f"/dashboard/{name}")(lambda name=name: answered(name))
