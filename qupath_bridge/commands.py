"""``lungxai qupath``: new, export, import and classify; a QuPath is used where there is one, and never needed."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput, LungXAIError
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import METHODS
from shared_models.contract.server_option import add_server_options, named_client

from .backend import Backend, ProjectImage
from .files_backend import FilesBackend, read_state, safe_name

_EXAMPLES = """\
examples:
  lungxai qupath new biopsy.svs resection.svs --out study/project.qpproj
  lungxai qupath classify study/project.qpproj --all --explain gradcam
  lungxai qupath export study/project.qpproj --out for_my_script
  lungxai qupath import tumour.geojson study/project.qpproj --image biopsy.svs

No QuPath is needed for these: what was found lies beside the project, and each command says how to drop it in. Where
paquo finds a QuPath, classify writes into the project itself. Research use only. Not a medical device, not a diagnosis.
"""
_NEW = """\
examples:
  lungxai qupath new biopsy.svs --out study/project.qpproj
  lungxai qupath new *.png --mpp 0.5 --out study/project.qpproj      pictures that do not say their pixel size
"""
_CLASSIFY = """\
examples:
  lungxai qupath classify study/project.qpproj                        the project's only image
  lungxai qupath classify study/project.qpproj --image biopsy.svs --explain gradcam --explain occlusion
  lungxai qupath classify study/project.qpproj --all --dry-run        how many tiles, nothing is sent
  lungxai qupath classify study/project.qpproj --image biopsy.svs --region Tumour --tile-um 100 --overlap 0.5
  LUNGXAI_TOKEN=... lungxai qupath classify study/project.qpproj --image biopsy.svs --case case-17 \\
      --server http://127.0.0.1:8765                                  into the case that the CT is in

Ctrl-C keeps what was sent; the same command again goes on from there. Without --server a server is started for this
command and ends with it. Research use only, not a diagnosis.
"""
_EXPORT = """\
example:
  lungxai qupath export study/project.qpproj --out geojson

Writes what the bridge made, one file per image, and names the images that hold objects drawn in QuPath: those are kept
in QuPath's own file, which only QuPath reads (there: File > Export objects as GeoJSON).
"""
_IMPORT = """\
example:
  lungxai qupath import tumour.geojson study/project.qpproj --image biopsy.svs

QuPath refuses a whole file for one bad object. The copy that is laid beside the project is mended; what was mended is
said.
"""


def register(subparsers: Any) -> None:
    """Add ``qupath`` to the command line."""
    parser = _parser(subparsers, "qupath", "slides of a QuPath project", "Work on a QuPath project.", _EXAMPLES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = _parser(actions, "new", "write a new project", "Write a project that QuPath 0.5 to 0.7 opens.", _NEW)
    new.add_argument("slides", nargs="+", type=Path, metavar="SLIDE", help="SVS, TIFF, OME-TIFF, NDPI, MRXS, PNG, JPG")
    new.add_argument("--out", type=Path, required=True, metavar="PROJECT.qpproj", help="in a new or empty folder")
    new.add_argument("--mpp", type=float, metavar="UM", help="micrometres per pixel, where a slide has none")
    new.set_defaults(run=_new)
    classify = _parser(actions, "classify", "classify slides", "Classify tiles of H&E slides.", _CLASSIFY)
    classify.add_argument("project", type=Path, metavar="PROJECT.qpproj")
    which = classify.add_mutually_exclusive_group()
    which.add_argument("--image", metavar="NAME", help="as QuPath lists it")
    which.add_argument("--all", action="store_true", help="every image of the project")
    classify.add_argument(
        "--region", default="tissue", metavar="tissue|whole|ANNOTATION",
        help="what to tile: tissue (default), whole (glass as well), or the tissue in the annotations of this name or "
        "class, read from the project through paquo, or from GeoJSON that `lungxai qupath import` laid beside it",
    )
    classify.add_argument(
        "--tile-um", type=float, metavar="N",
        help="side of the tiles that are drawn, in micrometres, at most the model's own field, which is the default; "
        "the model always sees its own field, centred on the tile",
    )
    classify.add_argument(
        "--overlap", type=float, default=0.0, metavar="F", help="share by which drawn tiles overlap, 0 to below 0.9"
    )
    classify.add_argument(
        "--model", metavar="NAME", help="slide model, of `lungxai models list`, for the server that this command starts"
    )
    classify.add_argument(
        "--explain", action="append", choices=METHODS, default=[], metavar="METHOD",
        help=f"heatmap, may be repeated: {', '.join(METHODS)}",
    )  # fmt: skip
    classify.add_argument(
        "--target", metavar="CLASS", help="what heatmaps explain; the class that the slide shows most of unless given"
    )
    classify.add_argument("--contrast", metavar="CLASS", help="what speaks for --target rather than for this class")
    classify.add_argument("--case", metavar="ID", help="case of the server that --server names")
    classify.add_argument("--mpp", type=float, metavar="UM", help="micrometres per pixel, where the project has none")
    classify.add_argument(
        "--backend", choices=("auto", "files", "paquo"), default="auto",
        help="where objects go: into the project through a QuPath on this machine (paquo), or beside it (files); "
        "auto takes paquo where it can",
    )  # fmt: skip
    classify.add_argument("--dry-run", action="store_true", help="say what would be done")
    classify.add_argument("--again", action="store_true", help="also what is done already")
    classify.add_argument("--synthetic", action="store_true", help="label the slides as drawn or composed")
    add_server_options(classify)
    classify.set_defaults(run=_classify)
    export = _parser(actions, "export", "write GeoJSON per image", "Write the objects of a project.", _EXPORT)
    export.add_argument("project", type=Path, metavar="PROJECT.qpproj")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    export.set_defaults(run=_export)
    bring = _parser(actions, "import", "lay GeoJSON beside an image", "Check GeoJSON and lay it beside.", _IMPORT)
    bring.add_argument("geojson", type=Path, metavar="GEOJSON", help=".geojson or .geojson.gz")
    bring.add_argument("project", type=Path, metavar="PROJECT.qpproj")
    bring.add_argument("--image", metavar="NAME", help="as QuPath lists it; needed where there are several")
    bring.set_defaults(run=_import)


def _parser(subparsers: Any, name: str, short: str, long: str, examples: str) -> Any:
    return subparsers.add_parser(
        name, help=short, description=long, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def chosen(images: Sequence[ProjectImage], name: Any) -> ProjectImage:
    """The image of this name, or the only one.

    Raises
    ------
    InvalidInput : none or several; the message lists them.
    """
    found = [image for image in images if name is None or image.name == name]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(image.name for image in images[:20]) or "none"
    why = f"The project has {len(found)} images" + ("." if name is None else f" of the name {name!r}.")
    raise InvalidInput(f"{why} Its images: {listed}.", "Choose one with --image, or give two alike other names.")


def _new(given: argparse.Namespace) -> int:
    from .project_writer import write_project
    from .slides import described

    slides = [described(path, given.mpp) for path in given.slides]
    write_project(given.out, slides)
    print(f"{given.out}: {len(slides)} slides. Open it in QuPath with File > Project > Open project.")
    for slide in slides:
        first = slide.levels[0]
        size = "pixel size unknown: give it with --mpp" if slide.mpp is None else f"{slide.mpp:.4g} µm per pixel"
        print(f"  {slide.path.name}: {first.width} x {first.height}, {len(slide.levels)} levels, {size}")
    return 0


def _export(given: argparse.Namespace) -> int:
    from .annotations import write_geojson
    from .geojson_mend import mended
    from .geojson_reader import read_objects

    backend = FilesBackend(given.project)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InvalidInput(f"The folder {given.out} cannot be made.", "Choose another one with --out.") from fault
    left = 0
    for image in backend.images():
        objects = [item for path in backend.parts(image) for item in read_objects(path)]
        if objects:
            target = given.out / f"{image.entry_id}_{safe_name(image.name)}.geojson.gz"
            write_geojson(target, mended(objects)[0])
            print(f"{image.name}: {target}")
        else:
            print(f"{image.name}: the bridge has made nothing of it yet")
        if (backend.project.data_folder(image) / "data.qpdata").exists():
            left += 1
            print("  its objects of QuPath are not among them: File > Export objects as GeoJSON, in QuPath")
    return 1 if left else 0


def _import(given: argparse.Namespace) -> int:
    from .geojson_mend import mended
    from .geojson_reader import read_objects

    backend = FilesBackend(given.project)
    image = chosen(backend.images(), given.image)
    objects = read_objects(given.geojson)
    collection, notes = mended(objects)
    written = backend.write_run(image, "imported", collection, safe_name(given.geojson.name.split(".")[0]))
    print(f"{written.path}: {written.objects} objects for {image.name}")
    for note in notes:
        print(f"  note: {note}")
    _say_steps(written.steps)
    return 0


@contextlib.contextmanager
def _client(given: argparse.Namespace, backend: FilesBackend) -> Iterator[Client]:
    """The server that was named, or one that keeps what was sent in the project's folder until all is done."""
    if given.server:
        with named_client(given) as client:
            yield client
        return
    from inference_server.local import LocalServer

    folder = backend.folder / "server"
    if folder.is_symlink():
        raise InvalidInput(f"{folder} leads elsewhere.", "Remove this link.")
    print("Starting the server ...", file=sys.stderr)
    choices = {"slide_model": given.model} if given.model else {}
    with LocalServer(folder, threads=os.cpu_count() or 1, **choices) as (url, token), Client(url, token) as client:
        yield client
    # Not reached after Ctrl-C or a fault, and kept where an image is not done: the next run goes on from it.
    if all(isinstance(e, dict) and e.get("done") for e in read_state(backend.folder / "state.json").values()):
        shutil.rmtree(folder, ignore_errors=True)


def opened_target(name: str, backend: FilesBackend) -> Backend:
    """Where a run's objects go: ``backend`` itself, or the project through paquo.

    Raises
    ------
    LungXAIError : paquo was named and cannot be used. With "auto" that is said, and files are written.
    """
    if name == "files":
        return backend
    from .project import PaquoProject, paquo_problem

    problem = paquo_problem()
    if problem is None:
        try:
            return PaquoProject(backend.project.path)
        except LungXAIError as fault:
            problem = fault
    if name == "paquo":
        raise problem
    print(f"Files are written beside the project: {problem.message}", file=sys.stderr)
    return backend


def _classify(given: argparse.Namespace) -> int:
    from .classify import Request

    if given.case and (not given.server or given.all):
        raise InvalidInput("--case names a case of a running server, for one image.", "Give --server and --image too.")
    backend = FilesBackend(given.project)
    images = backend.images() if given.all else (chosen(backend.images(), given.image),)
    request = Request(
        given.region, tuple(dict.fromkeys(given.explain)), given.mpp, given.case, given.synthetic, given.again,
        given.tile_um, given.overlap, given.model, given.target, given.contrast, bool(given.server),
    )  # fmt: skip
    target = backend if given.dry_run else opened_target(given.backend, backend)
    backend.prepared()
    failed: list[str] = []
    try:
        with contextlib.closing(target), _client(given, backend) as client:
            for image in images:
                try:
                    _one(backend, target, image, request, client, given)
                except LungXAIError as fault:
                    if len(images) == 1:
                        raise
                    failed.append(image.name)
                    print(f"{image.name}: {fault}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. What was sent is kept; the same command goes on from there.", file=sys.stderr)
        raise
    print(NOTICE)
    return 1 if failed else 0


def _one(
    backend: FilesBackend, target: Backend, image: ProjectImage, request: Any, client: Client, given: argparse.Namespace
) -> None:  # fmt: skip
    from .classify import classify_image, pathology_model, planned

    if given.dry_run:
        plan = planned(backend, image, request, pathology_model(client, request.model))
        mm2 = plan.grid.count * (plan.grid.step_px[0] * plan.mpp) ** 2 / 1e6  # where tiles overlap, once
        print(f"{image.name}: {plan.grid.count} tiles of {plan.side_um:.0f} µm ({mm2:.2f} mm2) from {plan.path}")
        return
    done = classify_image(backend, image, request, client, target)
    if done.result is None:
        print(f"{image.name}: done already; --again makes it anew")
        return
    if given.server:
        print(f"{image.name}: case {done.case_id}")
    for written in done.written:
        picture = written.path is not None and written.path.suffix == ".tif"
        print(f"{written.path or 'into the project'}" + ("" if picture else f": {written.objects} objects"))
    if done.left_out:
        print(f"{done.left_out} tiles were left out: blurred, folded or covered with ink")
    said = backend.metadata(image)
    for key in [k for k in said if k.startswith("LungXAI P(")]:
        print(f"  {key.removeprefix('LungXAI ')}: {said[key]}")
    others = done.result.other_probabilities
    if others is not None:
        for name, mean in zip(done.result.other_classes, others.mean(axis=0)):
            print(f"  mean P({name}): {mean:.4f} (a class of the model's own)")
    if done.result.abstention is not None:
        print(f"  {done.result.abstention.reason}")
    _say_steps([*done.written[0].steps, *(done.written[-1].steps if len(done.written) > 1 else ())])


def _say_steps(said: Sequence[str]) -> None:
    for number, step in enumerate(said, 1):
        print(f"  {number}. {step}")
