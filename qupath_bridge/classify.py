"""Classify the slides of a project: tiles to the server, objects back to the project, in steps that can be taken up.

Request          what the pathologist asked for
classify_image() one image from its slide to its objects

What was sent is remembered in PROJECT_FOLDER/lungxai/state.json by slide, region, pixel size and model. Tiles go in one
fixed order, so the server's own count says where to go on after Ctrl-C; a run that is done is not made again.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from inference_server.progress import ProgressBar
from shared_models.contract.client import Client
from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.results import PathologyResult
from shared_models.slide_reader import Slide, open_slide
from shared_models.slide_tiles import TileGrid, tissue_grid, tissue_tiles

from .annotations import NOTICE, heatmap_geojson, run_name, slide_geojson
from .backend import Backend, ProjectImage, Written
from .files_backend import FilesBackend, read_state, write_state
from .project_files import slide_path

REGIONS = ("tissue", "whole")
_TILES_AT_ONCE = 64


@dataclass(frozen=True)
class Request:
    """What the pathologist asked for.

    Parameters
    ----------
    region : of REGIONS; "whole" takes glass as well
    explain : heatmap methods, of METHODS
    mpp : micrometres per level-0 pixel; None takes the project's, then the file's
    case_id : of the server; None makes a new one
    synthetic : the slide is drawn or composed, and is labelled so
    again : a run that is done is made again
    """

    region: str = "tissue"
    explain: tuple[str, ...] = ()
    mpp: Optional[float] = None
    case_id: Optional[str] = None
    synthetic: bool = False
    again: bool = False


@dataclass(frozen=True)
class Planned:
    """What an image would take: ``grid`` of tiles of ``side_um`` micrometres, from the slide at ``path``."""

    path: Path
    mpp: float
    grid: TileGrid
    side_um: float


@dataclass(frozen=True)
class Done:
    """What became of an image; ``result`` is None where an earlier run had done it already."""

    case_id: str
    written: tuple[Written, ...]
    result: Optional[PathologyResult]


def pathology_model(client: Client) -> Mapping[str, Any]:
    """What the server says of its model for slides; raises ModelUnavailable where it has none."""
    model = next((m for m in client.info()["models"] if m["modality"] == "pathology"), None)
    if model is None or "tile_px" not in model:
        raise ModelUnavailable("The server has no model for slides.", "Run `lungxai doctor` where it runs.")
    return dict(model)


def opened(backend: FilesBackend, image: ProjectImage, mpp: Optional[float]) -> Slide:
    """The slide of an image.

    Raises
    ------
    InvalidInput : QuPath shows other pixels than the file's own, so that coordinates would not fit.
    """
    entry = backend.project.entry(image)
    series = list(entry.arguments[entry.arguments.index("--series") + 1 :])[:1] if "--series" in entry.arguments else []
    if not entry.plain or series not in ([], ["0"]):
        raise InvalidInput(
            f"{image.name} is rotated, cropped or one of several pictures in its file.",
            "Add the slide to the project once more, as it is.",
        )
    slide = open_slide(slide_path(backend.project, image), mpp if mpp is not None else image.mpp)
    if image.size_px is not None and slide.dimensions != image.size_px:
        size = slide.dimensions
        slide.close()
        raise InvalidInput(
            f"{image.name} has {image.size_px} pixels in the project and {size} in the file.",
            "Add the slide to the project again.",
        )
    return slide


def planned(backend: FilesBackend, image: ProjectImage, request: Request, model: Mapping[str, Any]) -> Planned:
    """How many tiles there would be; nothing is sent."""
    side, mpp = int(model["tile_px"]), float(model["spacing_um_px"])
    with opened(backend, image, request.mpp) as slide:
        grid = _grid(slide, request.region, side, mpp)
        return Planned(slide_path(backend.project, image), slide.mpp, grid, side * mpp)


def _grid(slide: Slide, region: str, side: int, mpp: float) -> TileGrid:
    return tissue_grid(slide, side, mpp) if region == "tissue" else tissue_grid(slide, side, mpp, min_tissue=0.0)


def classify_image(
    backend: FilesBackend, image: ProjectImage, request: Request, client: Client, target: Optional[Backend] = None
) -> Done:
    """Send what is missing, follow the job, write the objects.

    Parameters
    ----------
    backend : reads the project, and remembers what was sent
    target : takes the objects; ``backend`` itself unless given

    Raises
    ------
    LungXAIError : the first fault. On Ctrl-C the server's job is stopped; tiles that were sent stay there.
    """
    target = target or backend
    state_file = backend.folder / "state.json"
    with opened(backend, image, request.mpp) as slide:
        model = pathology_model(client)
        side, mpp = int(model["tile_px"]), float(model["spacing_um_px"])
        key = _key(slide_path(backend.project, image), slide, request, model, target.kind)
        state = read_state(state_file)
        before: Any = state.get(image.entry_id)
        same = isinstance(before, dict) and before.get("key") == key and request.case_id in (None, before.get("case"))
        there = target is not backend or backend.parts(image, str(before.get("run")) if same else "")
        if same and before.get("done") and not request.again and there:
            return Done(str(before["case"]), (), None)
        case_id = _case(client, request, str(before["case"]) if same else None)
        entry: dict[str, object] = {"key": key, "case": case_id, "done": False}
        backend.prepared()
        write_state(state_file, {**state, image.entry_id: entry})
        try:
            with ProgressBar(image.name) as bar:
                bar.update("finding tissue", 0.0)
                grid = _grid(slide, request.region, side, mpp)
                _send(client, case_id, slide, grid, (side, mpp), bar)
                job = client.pathology(case_id, slide.slide_id, request.explain, grid.tile_px)
                begun = time.monotonic()
                client.wait(job, lambda p: bar.update(*_stage(p.stage or p.state, p.fraction, grid.count, begun)))
        except KeyboardInterrupt:
            client.stop_jobs(case_id)
            raise
        level0_mpp = slide.mpp
    result = client.pathology_result(case_id)
    parameters = {"region": request.region, "tile_px": side, "mpp": mpp}
    run = run_name(result.slide_id, result.provenance, parameters)
    heatmaps = [client.heatmap(case_id, "pathology", method) for method in request.explain]
    whole = slide_geojson(
        result, heatmaps, slide_mpp=level0_mpp, parameters=parameters, synthetic=request.synthetic
    )  # fmt: skip
    written = [target.write_run(image, run, whole)]
    for heatmap in heatmaps:
        contours = heatmap_geojson(heatmap, run=run, synthetic=request.synthetic)
        written.append(target.write_run(image, run, contours, heatmap.method))
    said = slide_metadata(result, run, case_id, request.synthetic)
    for keeper in {id(b): b for b in (backend, target)}.values():
        keeper.set_metadata(image, said)
    write_state(state_file, {**read_state(state_file), image.entry_id: {**entry, "done": True, "run": run}})
    return Done(case_id, tuple(written), result)


def slide_metadata(result: PathologyResult, run: str, case_id: str, synthetic: bool) -> dict[str, str]:
    """The slide-level result, key to text, for the image's metadata."""
    said = {"LungXAI notice": NOTICE, "LungXAI run": run, "LungXAI case": case_id}
    if synthetic:
        said["LungXAI synthetic"] = "yes"
    for name, value in result.probabilities.items():
        said[f"LungXAI P({CLASS_LABELS[name]})"] = "not assessed" if value is None else f"{value:.4f}"
    said["LungXAI model"] = ", ".join(p.model_id for p in result.provenance)
    said["LungXAI weights sha256"] = ", ".join(p.weights_sha256 for p in result.provenance)
    said["LungXAI abstention"] = "" if result.abstention is None else result.abstention.reason
    return said


def _case(client: Client, request: Request, earlier: Optional[str]) -> str:
    """The case to send to: the one that was named, the one of the run that was stopped, or a new one."""
    known = {str(case.get("case_id")) for case in client.cases()}
    wanted = request.case_id or earlier
    if wanted is not None and wanted in known:
        return wanted
    return client.create_case(request.case_id, synthetic=request.synthetic)


def _send(
    client: Client, case_id: str, slide: Slide, grid: TileGrid, scale: tuple[int, float], bar: ProgressBar
) -> None:  # fmt: skip
    slides = client.case(case_id)["slides"]
    held = next((int(s["tiles"]) for s in slides if s["slide_id"] == slide.slide_id), 0)
    # Whole batches only, and the last one again: a batch that the server has already changes nothing.
    sent = min(held, grid.count) // _TILES_AT_ONCE * _TILES_AT_ONCE
    rest = TileGrid(grid.origin_px[sent:], grid.tile_px)
    begun, first = time.monotonic(), sent
    for tiles in tissue_tiles(slide, *scale, _TILES_AT_ONCE, rest):
        client.put_tiles(case_id, tiles)
        sent += len(tiles.pixels)
        rate = (sent - first) / max(time.monotonic() - begun, 1e-3)
        bar.update(_rated(f"sending {grid.count} tiles", rate), 0.5 * sent / grid.count)


def _stage(stage: str, fraction: float, tiles: int, begun: float) -> tuple[str, float]:
    rate = tiles * fraction / max(time.monotonic() - begun, 1e-3)
    return (_rated(stage, rate) if fraction > 0 else stage), 0.5 + 0.5 * fraction


def _rated(stage: str, rate: float) -> str:
    # In a file or a pipe each change of the stage is a line of its own.
    return f"{stage} ({rate:.0f} tiles/s)" if sys.stderr.isatty() else stage


def _key(path: Path, slide: Slide, request: Request, model: Mapping[str, Any], kind: str) -> str:
    """What makes two runs the same: file, scale, region, model, methods, and where the objects go."""
    found = path.stat()
    said = [
        kind, str(path), found.st_size, found.st_mtime_ns, slide.dimensions, slide.mpp, request.region,
        sorted(request.explain), request.synthetic, sorted((k, str(v)) for k, v in model.items()),
    ]  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()
