"""A new QuPath project as plain files, of the structure that QuPath 0.6 and 0.7 write; 0.5 to 0.7 open it.

write_project()   NAME.qpproj, classifiers/classes.json, data/metadata.json, and per image data/ID/server.json and
                  thumbnail.jpg; there all at once or not at all

data.qpdata and summary.json are left out: QuPath makes them when an image is first saved.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.errors import InvalidInput, ServerError

from .project_json import packed, text
from .slides import NewSlide

WRITTEN_VERSION = "0.6.0"
_CHANNELS = (("Red", (255, 0, 0)), ("Green", (0, 255, 0)), ("Blue", (0, 0, 255)))


def write_project(
    target: Path, slides: Sequence[NewSlide], classes: Optional[Mapping[str, tuple[int, int, int]]] = None
) -> None:
    """Write a project.

    Parameters
    ----------
    target : its .qpproj file; the folder has to be new or empty, as QuPath wants it
    slides : the images, in order
    classes : name to (red, green, blue); the classes of the models unless given

    Raises
    ------
    InvalidInput : another ending, no slides, one twice, or a folder that holds something already.
    ServerError : the disk is full or the folder cannot be written to.
    """
    if target.suffix != ".qpproj" or target.name == ".qpproj":
        raise InvalidInput("A QuPath project's name ends in .qpproj.", "Give --out study/project.qpproj.")
    if not slides or len({slide.path for slide in slides}) != len(slides):
        raise InvalidInput("A project needs slides, each of them once.", "Name each slide once.")
    folder = target.absolute().parent
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(
            f"{folder} holds something already; QuPath wants a folder of its own for a project.",
            f"Give a new one, for example --out {target.stem}/project.qpproj.",
        )
    if classes is None:
        classes = {CLASS_LABELS[name]: CLASS_COLOURS[name] for name in CLASS_LABELS}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as fault:
        raise _not_written(fault) from fault
    try:
        made.chmod(0o755)
        _fill(made, target.name, folder, slides, classes)
        if folder.is_dir():
            folder.rmdir()  # empty, as was seen; fails where something came in since
        made.rename(folder)
    except OSError as fault:
        raise _not_written(fault) from fault
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _not_written(fault: OSError) -> ServerError:
    return ServerError(f"The project could not be written: {fault.strerror}.", "Free disk space, or another --out.")


def _fill(
    made: Path, name: str, folder: Path, slides: Sequence[NewSlide], classes: Mapping[str, tuple[int, int, int]]
) -> None:
    now = int(time.time() * 1000)
    images = []
    for number, slide in enumerate(slides, 1):
        builder = server_builder(slide)
        images.append(
            {
                "serverBuilder": builder,
                "entryID": number,
                "randomizedName": str(uuid.uuid4()),
                "imageName": slide.path.name,
                "metadata": {},
                "tags": [],
            }
        )
        own = made / "data" / str(number)
        own.mkdir(parents=True)
        (own / "server.json").write_bytes(text(builder))
        if slide.thumbnail is not None:
            (own / "thumbnail.jpg").write_bytes(slide.thumbnail)
    project = {
        "version": WRITTEN_VERSION,
        "createTimestamp": now,
        "modifyTimestamp": now,
        "uri": (folder / name).as_uri().replace("file:///", "file:/", 1),  # as Java writes it
        "lastID": len(images),
        "images": images,
    }
    (made / "data" / "metadata.json").write_bytes(b"{}")
    (made / "classifiers").mkdir()
    listed = [{"name": label, "color": packed(colour)} for label, colour in classes.items()]
    (made / "classifiers" / "classes.json").write_bytes(text({"pathClasses": listed}))
    (made / name).write_bytes(text(project))


def server_builder(slide: NewSlide) -> dict[str, Any]:
    """How QuPath opens a slide: the same in the project and in the image's own server.json."""
    side = {"value": 1.0, "unit": "px"} if slide.mpp is None else {"value": slide.mpp, "unit": "µm"}
    first = slide.levels[0]
    return {
        "builderType": "uri",
        "providerClassName": slide.provider,
        "uri": slide.path.as_uri(),
        "args": list(slide.arguments),
        "metadata": {
            "name": slide.path.name,
            "width": first.width,
            "height": first.height,
            "sizeZ": 1,
            "sizeT": 1,
            "channelType": "DEFAULT",
            "isRGB": True,
            "pixelType": "UINT8",
            "levels": [{"downsample": v.downsample, "width": v.width, "height": v.height} for v in slide.levels],
            "channels": [{"name": name, "color": packed(colour)} for name, colour in _CHANNELS],
            "pixelCalibration": {
                "pixelWidth": side,
                "pixelHeight": dict(side),
                "zSpacing": {"value": 1.0, "unit": "z-slice"},
                "timeUnit": "SECONDS",
                "timepoints": [],
            },
            "preferredTileWidth": 256,
            "preferredTileHeight": 256,
        },
    }
