"""A QuPath project as its plain files, of QuPath 0.5 to 0.7; no QuPath and no Java is needed.

read_project()   project.qpproj and classifiers/classes.json as values
slide_path()     the file that an image's URI names, on this machine
open_signs()     what on this machine says that QuPath has the project open

QuPath's own objects lie in data/ID/data.qpdata, serialised by Java. That file is never read: to read it is to run
what it says. Unknown keys are passed over, since each version adds some; what is needed and missing is an error.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from shared_models.contract.errors import InputTooLarge, InvalidInput

from .backend import ProjectImage
from .project_json import colour_rgb, entry, read_json

VERSIONS = ("0.5", "0.6", "0.7")
MAX_PROJECT_BYTES = 64 << 20
MAX_CLASSES_BYTES = 4 << 20
MAX_IMAGES = 100_000
_MICRONS = ("µm", "μm", "um")  # the micro sign, the Greek letter, and neither
_MOST_ID = 1 << 53


@dataclass(frozen=True)
class Level:
    """One level of an image's pyramid; sizes in its own pixels."""

    downsample: float
    width: int
    height: int


@dataclass(frozen=True)
class ImageEntry:
    """One image as project.qpproj has it.

    Parameters
    ----------
    image : what every backend knows of it
    provider : Java class that reads the file in QuPath
    arguments : that QuPath gives to it
    plain : whether the pixels are the file's own, not rotated, cropped or otherwise changed by QuPath
    levels : of the pyramid, finest first; empty where the project does not say
    metadata : key to text, as a pathologist sees it
    tags : set in QuPath
    description : of the image, empty where there is none
    """

    image: ProjectImage
    provider: str
    arguments: tuple[str, ...]
    plain: bool
    levels: tuple[Level, ...]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class PathClass:
    """A class of the project's list; ``colour`` is (red, green, blue), None where QuPath chooses one."""

    name: str
    colour: Optional[tuple[int, int, int]]


@dataclass(frozen=True)
class ProjectFiles:
    """A project.

    Parameters
    ----------
    path : of its project.qpproj
    version : of the QuPath that wrote it
    uri : where it lay when it was written; it may have been moved since
    created_ms, modified_ms : since 1970
    last_id : the highest number given to an image so far
    entries : images, in the project's order
    classes : in the list's order; empty where there is no list
    """

    path: Path
    version: str
    uri: str
    created_ms: int
    modified_ms: int
    last_id: int
    entries: tuple[ImageEntry, ...]
    classes: tuple[PathClass, ...]

    @property
    def folder(self) -> Path:
        """Where everything of the project lies."""
        return self.path.parent

    def entry(self, image: ProjectImage) -> ImageEntry:
        """The entry of an image of this project."""
        return next(e for e in self.entries if e.image.entry_id == image.entry_id)

    def data_folder(self, image: ProjectImage) -> Path:
        """data/ID of an image; the number was checked when the project was read, so it stays below the project."""
        return self.folder / "data" / image.entry_id


def read_project(path: Path) -> ProjectFiles:
    """Read a project.

    Parameters
    ----------
    path : its .qpproj file

    Raises
    ------
    InvalidInput : no project, damaged, of another version than VERSIONS, or two images share a number.
    InputTooLarge : more images or bytes than any real project has.
    """
    if path.suffix != ".qpproj":
        raise InvalidInput(f"{path.name} is no QuPath project.", "Give the project's file project.qpproj.")
    body = read_json(path, MAX_PROJECT_BYTES, "The project's file")
    version = entry(body, "version", str, "")
    if not any(version == known or version.startswith(known + ".") for known in VERSIONS):
        said = f"is of QuPath {version[:20]}" if version else "does not say its version"
        raise InvalidInput(
            f"The project {said}; {VERSIONS[0]} to {VERSIONS[-1]} can be read.",
            "Open it in QuPath 0.5 to 0.7 and save it.",
        )
    images = entry(body, "images", list, [])
    if len(images) > MAX_IMAGES:
        raise InputTooLarge(f"The project lists {len(images)} images.", "Split it in QuPath.")
    entries = tuple(_image(item) for item in images)
    if len({e.image.entry_id for e in entries}) != len(entries):
        raise InvalidInput("Two images of the project share one number.", "Remove one of them in QuPath.")
    classes = path.parent / "classifiers" / "classes.json"
    return ProjectFiles(
        path=path,
        version=version,
        uri=entry(body, "uri", str, ""),
        created_ms=entry(body, "createTimestamp", int, 0),
        modified_ms=entry(body, "modifyTimestamp", int, 0),
        last_id=entry(body, "lastID", int, 0),
        entries=entries,
        classes=_classes(classes) if classes.exists() else (),
    )


def _image(body: Any) -> ImageEntry:
    number = entry(body, "entryID", int, -1)
    # QuPath 0.5 to 0.7 write it as a number; it names a folder, so text is taken only where it is one.
    said = entry(body, "entryID", str, "")
    if number < 0 and said.isascii() and said.isdecimal() and len(said) < 17:
        number = int(said)
    if not 0 <= number < _MOST_ID:
        raise InvalidInput("An image of the project has no valid number.", "Save the project in QuPath again.")
    builder = entry(body, "serverBuilder", dict, {})
    inner, plain = _innermost(builder)
    uri = entry(inner, "uri", str, "")
    metadata = entry(builder, "metadata", dict, {}) or entry(inner, "metadata", dict, {})
    width, height = entry(metadata, "width", int, 0), entry(metadata, "height", int, 0)
    said_levels = (
        Level(entry(item, "downsample", float, 0.0), entry(item, "width", int, 0), entry(item, "height", int, 0))
        for item in entry(metadata, "levels", list, [])
    )
    levels = tuple(v for v in said_levels if v.width > 0 and v.height > 0 and v.downsample > 0)
    image = ProjectImage(
        entry_id=str(number),
        name=entry(body, "imageName", str, "") or entry(metadata, "name", str, "") or f"image {number}",
        uri=uri,
        mpp=_mpp(entry(metadata, "pixelCalibration", dict, {})),
        size_px=(width, height) if width > 0 and height > 0 else None,
    )
    return ImageEntry(
        image=image,
        provider=entry(inner, "providerClassName", str, ""),
        arguments=_texts(entry(inner, "args", list, [])),
        plain=plain,
        levels=levels,
        metadata=MappingProxyType(
            {k: v for k, v in entry(body, "metadata", dict, {}).items() if isinstance(v, str)}
        ),
        tags=_texts(entry(body, "tags", list, [])),
        description=entry(body, "description", str, ""),
    )  # fmt: skip


def _texts(items: list[Any]) -> tuple[str, ...]:
    return tuple(item for item in items if isinstance(item, str))


def _innermost(builder: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The builder that names the file, and whether it is the outermost one.

    QuPath wraps it in others for a rotation, a crop or another change; their pixels are not the file's.
    """
    plain = True
    while entry(builder, "builderType", str, "uri") != "uri" and isinstance(builder.get("builder"), dict):
        builder, plain = builder["builder"], False
    return builder, plain and entry(builder, "builderType", str, "uri") == "uri"


def _mpp(calibration: dict[str, Any]) -> Optional[float]:
    sides = []
    for name in ("pixelWidth", "pixelHeight"):
        side = entry(calibration, name, dict, {})
        value = entry(side, "value", float, 0.0)
        if entry(side, "unit", str, "") not in _MICRONS or not (math.isfinite(value) and value > 0):
            return None
        sides.append(value)
    return sum(sides) / 2 if abs(sides[0] - sides[1]) <= 0.05 * max(sides) else None


def _classes(path: Path) -> tuple[PathClass, ...]:
    found = entry(read_json(path, MAX_CLASSES_BYTES, "The project's list of classes"), "pathClasses", list, [])
    named = [(entry(item, "name", str, ""), item) for item in found]
    return tuple(PathClass(name, colour_rgb(item.get("color"))) for name, item in named if name)


def local_path(uri: str) -> Optional[Path]:
    """The path of a ``file:`` URI of this machine; None for any other, such as a server's or another machine's."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost") or "\0" in unquote(parts.path):
        return None
    path = Path(url2pathname(parts.path))
    return path if path.is_absolute() else None


def slide_path(project: ProjectFiles, image: ProjectImage) -> Path:
    """The file of an image.

    Where it is not where the project says, and lay below the project's folder when that was written, it is looked for
    at the same place below the folder as it lies now, as QuPath does.

    Raises
    ------
    InvalidInput : the image is not a file of this machine, or the file is not there.
    """
    named = local_path(image.uri)
    if named is None:
        raise InvalidInput(f"{image.name} is not a file of this machine.", "Copy the slide here and add it again.")
    if named.exists():
        return named
    old = local_path(project.uri)
    if old is not None:
        before, now = os.path.normpath(old.parent), os.path.normpath(project.folder.absolute())
        wanted = os.path.normpath(named)
        if os.path.commonpath([before, wanted]) == before and before != os.path.sep:
            moved = Path(now, os.path.relpath(wanted, before))
            if moved.exists():
                return moved
    raise InvalidInput(
        f"The slide of {image.name} is not where the project says: {named}.",
        "Mount or copy it there, or open the project in QuPath, which asks for the new place.",
    )


def open_signs(project: ProjectFiles, processes: Path = Path("/proc")) -> tuple[str, ...]:
    """What says that QuPath has the project open, in words; empty is no proof that it has not.

    QuPath keeps no lock file. Looked at, on Linux only: this user's processes that hold a file of the project open, and
    QuPaths that were started with it. An open project mostly shows neither, so a QuPath that runs at all is told too.
    On other systems nothing can be seen from files, and the answer says so.
    """
    if not processes.is_dir() or (processes == Path("/proc") and not sys.platform.startswith("linux")):
        return ("Whether QuPath is open cannot be seen on this system.",)
    signs = []
    folder = os.path.realpath(project.folder)
    for process in sorted(processes.iterdir()):
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            held = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:
            continue  # it has ended, or is another user's
        words = [os.fsdecode(word) for word in command]
        qupath = any("qupath" in Path(word).name.lower() for word in words[:1]) or "qupath.QuPath" in words
        qupath = qupath or any(word.startswith("qupath/") or word.startswith("qupath.lib.") for word in words)
        if any(os.path.realpath(word) == os.path.realpath(project.path) for word in words if word.endswith(".qpproj")):
            if qupath:
                signs.append(f"QuPath (process {process.name}) was started with this project.")
                continue
        if qupath and any(name.startswith(folder + os.sep) for name in held):
            signs.append(f"QuPath (process {process.name}) holds a file of this project open.")
        elif qupath:
            signs.append(f"QuPath (process {process.name}) is running; whether with this project cannot be seen.")
    return tuple(signs)
