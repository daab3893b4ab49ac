"""A project from beside it: GeoJSON in its folder ``lungxai``, and the steps to drop it in. No QuPath is needed.

FilesBackend   the methods of backend.Backend
safe_name()    an image's name as part of a file's name

The files, in PROJECT_FOLDER/lungxai; QuPath's own files are read and never changed, so it may have the project open:
  ID_NAME.RUN.tiles.geojson.gz     tiles and regions of a run
  ID_NAME.RUN.METHOD.geojson.gz    contours of a heatmap
  ID_NAME.RUN.METHOD.ome.tif       the same heatmap as a picture, to be seen beside the slide
  ID_NAME.metadata.json            the slide-level result, key to text
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from shared_models.contract.errors import InvalidInput, ServerError
from shared_models.whole_file import written

from .annotations import write_geojson
from .backend import Geo, ProjectImage, Written
from .drawn_areas import drawn_areas
from .project_files import ProjectFiles, read_project
from .project_json import read_json, text
from .project_metadata import put_metadata

FOLDER = "lungxai"
IMPORTED = "imported"  # in the place of a run's name
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_METADATA_BYTES = 1 << 20


def safe_name(name: str) -> str:
    """At most 60 letters, digits, ``-``, ``_``; the rest becomes ``_``."""
    return re.sub(r"[^\w-]+", "_", name, flags=re.ASCII).strip("_")[:60] or "image"


class FilesBackend:
    """A project as files; see backend.Backend.

    Parameters
    ----------
    path : its .qpproj file
    processes : where running programs are listed, for a test
    """

    kind = "files"

    def __init__(self, path: Path, processes: Path = Path("/proc")) -> None:
        self.project: ProjectFiles = read_project(path)
        self._processes = processes
        self.folder = self.project.folder / FOLDER

    def images(self) -> tuple[ProjectImage, ...]:
        return tuple(entry.image for entry in self.project.entries)

    def regions(self, image: ProjectImage, annotation: str) -> tuple[Geo, ...]:
        """The areas of this name or class among those that `lungxai qupath import` laid beside the project.

        What a run of the suite made is not among them (drawn_areas.py).

        Raises
        ------
        InvalidInput : there is none; the message lists the names there are, and says how they get here.
        """
        found: list[Geo] = []
        names: set[str] = set()
        for called, area in drawn_areas(self.parts(image, IMPORTED)):
            names |= called
            if annotation in called:
                found.append(area)
        if not found:
            listed = ", ".join(sorted(names)[:20]) or "none"
            raise InvalidInput(
                f"{image.name} has no area of the name or class {annotation[:60]!r} beside the project. "
                f"There are: {listed}.",
                f"Draw it in QuPath and name it, there File > Export objects as GeoJSON, then: lungxai qupath import "
                f'FILE.geojson "{self.project.path}" --image "{image.name}". Or use --region tissue.',
            )
        return tuple(found)

    def write_run(self, image: ProjectImage, run_id: str, collection: Geo, name: str = "tiles") -> Written:
        path = self.prepared() / f"{_stem(image)}.{_checked(run_id)}.{_checked(name)}.geojson.gz"
        write_geojson(path, collection)
        return Written(_count(collection["features"]), path, steps(image, path))

    def remove_run(self, image: ProjectImage, run_id: str) -> int:
        found = self.parts(image, _checked(run_id))
        found += sorted(self.folder.glob(f"{_stem(image)}.{run_id}.*.ome.tif"))
        try:
            for path in found:
                path.unlink()
        except OSError as fault:
            raise ServerError(f"{path.name} could not be removed: {fault.strerror}.", "Remove it by hand.") from fault
        return len(found)

    def parts(self, image: ProjectImage, run_id: str = "*") -> list[Path]:
        """The files of a run, or of all runs, of an image."""
        return sorted(self.folder.glob(f"{_stem(image)}.{run_id}.*.geojson.gz"))

    def picture_path(self, image: ProjectImage, run_id: str, method: str) -> Path:
        """Where a heatmap's picture belongs."""
        return self.prepared() / f"{_stem(image)}.{_checked(run_id)}.{_checked(method)}.ome.tif"

    def set_metadata(self, image: ProjectImage, values: Mapping[str, str]) -> None:
        path = self.prepared() / f"{_stem(image)}.metadata.json"
        old = read_json(path, _MAX_METADATA_BYTES, path.name) if path.exists() else {}
        written(path, text({**old, **values}))
        put_metadata(self.project, image, values, processes=self._processes)

    def metadata(self, image: ProjectImage) -> dict[str, str]:
        """What set_metadata() kept."""
        path = self.folder / f"{_stem(image)}.metadata.json"
        return dict(read_json(path, _MAX_METADATA_BYTES, path.name)) if path.exists() else {}

    def close(self) -> None:
        """Nothing is held open."""

    def prepared(self) -> Path:
        """The folder beside the project, made where it is missing."""
        if self.folder.is_symlink():  # a project may come from anybody, and this is written to
            raise InvalidInput(f"{self.folder} leads elsewhere.", "Remove this link.")
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as fault:
            raise ServerError(
                f"{self.folder} cannot be written to: {fault.strerror}.", "Check the rights of the project's folder."
            ) from fault
        return self.folder


def steps(image: ProjectImage, path: Path) -> tuple[str, ...]:
    """What a pathologist does to see the objects of a file."""
    return (
        f"Open {image.name} in QuPath (double-click it in the project's list).",
        f"Drag {path} onto the image, or choose it under File > Import objects from file.",
        "Save with Ctrl+S. Colour the tiles by their numbers under Measure > Show measurement maps.",
    )


def _stem(image: ProjectImage) -> str:
    return f"{image.entry_id}_{safe_name(image.name)}"


def _checked(part: str) -> str:
    if not _RUN.fullmatch(part):
        raise InvalidInput(f"{part[:60]!r} is no name of a run.", "Use the name in the metadata of its annotation.")
    return part


def _count(features: object) -> int:
    assert isinstance(features, list)
    return sum(1 + _count(f["properties"].get("childObjects", [])) for f in features)


def read_state(path: Path, limit: int = 16 << 20) -> dict[str, object]:
    """A small JSON file of the bridge's own; empty where there is none, or where it is damaged: it can be made anew."""
    try:
        return read_json(path, limit, path.name)
    except InvalidInput:
        return {}


def write_state(path: Path, body: Mapping[str, object]) -> None:
    """The way back of read_state()."""
    written(path, json.dumps(body, indent=1).encode())
