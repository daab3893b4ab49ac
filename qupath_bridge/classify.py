"""Classify the slides of a project: tiles to the server, objects back to the project, in steps that can be taken up.

Request          what the pathologist asked for
classify_image() one image from its slide to its objects

What was sent is remembered in PROJECT_FOLDER/lungxai/state.json by slide, region, tiles and model, with the place in
the fixed order of tiles up to which the server has them: after Ctrl-C the same command goes on there, and a run that is
done is not made again. Tiles are read ahead of the server (sending.py), and the server classifies them while the next
ones are read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from inference_server.progress import ProgressBar
from shared_models.contract.client import Client
from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import Parameter, PathologyResult
from shared_models.slide_quality import LEAST_QUALITY
from shared_models.slide_reader import Slide, open_slide
from shared_models.slide_tiles import MIN_TISSUE, TileGrid, tissue_grid

from .annotations import heatmap_geojson, run_name, slide_geojson
from .backend import Backend, ProjectImage, Written
from .files_backend import FilesBackend, read_state
from .heatmap_tiff import write_heatmap_tiff
from .project_files import slide_path
from .sending import SENDING, Progress, rated, send

REGIONS = ("tissue", "whole")


@dataclass(frozen=True)
class Request:
    """What the pathologist asked for.

    Parameters
    ----------
    region : one of REGIONS, where "whole" takes glass as well, or the name or class of annotations
    explain : heatmap methods, of METHODS
    mpp : micrometres per level-0 pixel; None takes the project's, then the file's
    case_id : of the server; None makes a new one
    synthetic : the slide is drawn or composed, and is labelled so
    again : a run that is done is made again
    tile_um : side of the tiles that are drawn; None is the model's field
    overlap : share by which they overlap, 0 to below 0.9
    model : name of the slide model that has to run; None takes the server's
    target, contrast : class that heatmaps explain, and one that is taken off it; None as Client.pathology() says
    case_stays : the server keeps the case when the command has ended, so that QuPath's scripts can ask for it
    """

    region: str = "tissue"
    explain: tuple[str, ...] = ()
    mpp: Optional[float] = None
    case_id: Optional[str] = None
    synthetic: bool = False
    again: bool = False
    tile_um: Optional[float] = None
    overlap: float = 0.0
    model: Optional[str] = None
    target: Optional[str] = None
    contrast: Optional[str] = None
    case_stays: bool = False


@dataclass(frozen=True)
class Planned:
    """What an image would take: ``grid`` of tiles of ``side_um`` micrometres, from the slide at ``path``."""

    path: Path
    mpp: float
    grid: TileGrid
    side_um: float


@dataclass(frozen=True)
class Done:
    """What became of an image; ``result`` is None where an earlier run had done it already.

    ``left_out`` counts the tiles that were not sent because they are blurred or otherwise of no use.
    """

    case_id: str
    written: tuple[Written, ...]
    result: Optional[PathologyResult]
    left_out: int


def pathology_model(client: Client, name: Optional[str] = None) -> Mapping[str, Any]:
    """What the server says of its model for slides.

    Raises
    ------
    ModelUnavailable : it has none. InvalidInput : it runs another one than ``name``.
    """
    model = next((m for m in client.info()["models"] if m["modality"] == "pathology"), None)
    if model is None or "tile_px" not in model:
        raise ModelUnavailable("The server has no model for slides.", "Run `lungxai doctor` where it runs.")
    runs = str(model["model_id"]).split(" ")[0]
    if name is not None and runs != name:
        raise InvalidInput(
            f"The server classifies slides with {runs}, not with {name}.",
            f"Start it with `lungxai serve --slide-model {name}`, or leave out --server.",
        )
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
    area = _area(backend, image, request.region)
    with opened(backend, image, request.mpp) as slide:
        grid = _grid(slide, request, model, area)
        return Planned(slide_path(backend.project, image), slide.mpp, grid, grid.drawn_px[0] * slide.mpp)


def _area(target: Backend, image: ProjectImage, region: str) -> Any:
    """What to tile, as one shape in level-0 pixels; None for the whole slide."""
    if region in REGIONS:
        return None
    import shapely
    from shapely.geometry import shape

    drawn = shapely.union_all([shapely.make_valid(shape(geometry)) for geometry in target.regions(image, region)])
    # Mending may leave lines and points beside areas.
    return shapely.union_all([part for part in shapely.get_parts(drawn) if part.geom_type == "Polygon"])


def _grid(slide: Slide, request: Request, model: Mapping[str, Any], area: Any) -> TileGrid:
    least = 0.0 if request.region == "whole" else MIN_TISSUE
    return tissue_grid(
        slide, int(model["tile_px"]), float(model["spacing_um_px"]), least,
        tile_um=request.tile_um, overlap=request.overlap, region=area,
    )  # fmt: skip


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
        path, model = slide_path(backend.project, image), pathology_model(client, request.model)
        area = _area(target, image, request.region)
        tiles_key = _tiles_key(path, slide, request, model, area)
        shown = [sorted(request.explain), request.target, request.contrast, request.synthetic]
        key = _hashed([tiles_key, target.kind, *shown])
        before: Any = read_state(state_file).get(image.entry_id)
        before = before if isinstance(before, dict) and before.get("tiles") == tiles_key else {}
        before = before if request.case_id in (None, before.get("case")) else {}
        same = before.get("key") == key
        there = target is not backend or backend.parts(image, str(before.get("run")) if same else "")
        if same and before.get("done") and not request.again and there:
            return Done(str(before["case"]), (), None, 0)
        case_id = _case(client, request, before.get("case"))
        progress = Progress(state_file, image.entry_id, {"key": key, "tiles": tiles_key, "case": case_id})
        backend.prepared()
        try:
            with ProgressBar(image.name) as bar:
                bar.update("finding tissue", 0.0)
                grid = _grid(slide, request, model, area)
                reopen = partial(opened, backend, image, request.mpp)
                before = before if before.get("case") == case_id else {}
                least = 0.0 if request.region == "whole" else LEAST_QUALITY
                sent = send(client, case_id, slide.slide_id, reopen, grid, model, before, progress, bar, least)
                job = client.pathology(
                    case_id, slide.slide_id, request.explain, grid.tile_px, request.target, request.contrast
                )
                begun = time.monotonic()
                client.wait(job, lambda p: bar.update(*_stage(p.stage or p.state, p.fraction, grid.count, begun)))
        except KeyboardInterrupt:
            client.stop_jobs(case_id)
            raise
        level0_mpp, size = slide.mpp, slide.dimensions
    result = client.pathology_result(case_id)
    parameters: dict[str, Parameter] = {
        "region": request.region, "tile_px": int(model["tile_px"]), "mpp": float(model["spacing_um_px"]),
        "tile_um": round(grid.drawn_px[0] * level0_mpp, 3), "overlap": request.overlap,
    }  # fmt: skip
    run = run_name(result.slide_id, result.provenance, parameters)
    heatmaps = [client.heatmap(case_id, "pathology", method) for method in request.explain]
    whole = slide_geojson(
        result, heatmaps, slide_mpp=level0_mpp, parameters=parameters, synthetic=request.synthetic,
        step_px=grid.step_px, drawn_px=grid.drawn_px, case_id=case_id if request.case_stays else None,
    )  # fmt: skip
    written = [target.write_run(image, run, whole)]
    for heatmap in heatmaps:
        contours = heatmap_geojson(heatmap, run=run, synthetic=request.synthetic)
        written.append(target.write_run(image, run, contours, heatmap.method))
        picture = backend.picture_path(image, run, heatmap.method)
        write_heatmap_tiff(picture, heatmap, size, level0_mpp, tiles=result, synthetic=request.synthetic)
        written.append(Written(1, picture, picture_steps(picture)))
    said = slide_metadata(result, run, case_id, request.synthetic)
    for keeper in {id(b): b for b in (backend, target)}.values():
        keeper.set_metadata(image, said)
    progress.keep(done=True, run=run, next=grid.count, left_out=sent.left_out)
    return Done(case_id, tuple(written), result, sent.left_out)


def picture_steps(path: Path) -> tuple[str, ...]:
    """How a heatmap is seen beside its slide."""
    return (
        f"Beside the slide: add {path.name} with File > Project > Add images, and open both under View > Multi-view.",
    )


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
    """The case to send to: the one that was named, the one that has these tiles already, or a new one."""
    known = {str(case.get("case_id")) for case in client.cases()}
    wanted = request.case_id or earlier
    if wanted is not None and wanted in known:
        return wanted
    return client.create_case(request.case_id, synthetic=request.synthetic)


def _stage(stage: str, fraction: float, tiles: int, begun: float) -> tuple[str, float]:
    rate = tiles * fraction / max(time.monotonic() - begun, 1e-3)
    return (rated(stage, rate) if fraction > 0 else stage), SENDING + (1 - SENDING) * fraction


def _tiles_key(path: Path, slide: Slide, request: Request, model: Mapping[str, Any], area: Any) -> str:
    """What makes the tiles of two runs the same: file, scale, region, grid and model."""
    found = path.stat()
    return _hashed(
        [
            str(path), found.st_size, found.st_mtime_ns, slide.dimensions, slide.mpp, request.region,
            "" if area is None else area.wkb_hex, request.tile_um, request.overlap,
            sorted((k, str(v)) for k, v in model.items()),
        ]
    )  # fmt: skip


def _hashed(said: list[object]) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()
