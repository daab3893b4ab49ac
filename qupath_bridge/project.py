"""A QuPath project through QuPath's own code: paquo starts it in this process. The only file that imports paquo.

paquo_problem()      why paquo cannot be used here, None where it can; starts nothing
installed_version()  the version of a QuPath folder, read from the names of its files
PaquoProject         the Backend that writes into the project itself

Needs paquo 0.9.0 and a QuPath 0.5, 0.6 or 0.7 on this machine, named by PAQUO_QUPATH_DIR or where paquo looks for one.
Java starts with the first project and stays until Python ends.

A run is kept as its annotation, or a heatmap's annotations, with the metadata "LungXAI run" and "LungXAI part"; what
was drawn by hand is never removed. Objects go in through QuPath's own reader of GeoJSON, in one call for all of them.
Before the first change to an image, its data.qpdata is copied beside itself; QuPath's own backup of the project's file
is left to QuPath.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, LungXAIError, ModelUnavailable, ServerBusy, ServerError

from .backend import RUN_KEY, Geo, ProjectImage, Written
from .project_files import VERSIONS, open_signs, read_project

PART_KEY = "LungXAI part"
DIR_VARIABLE = "PAQUO_QUPATH_DIR"
PAQUO_VERSION = "0.9.0"
_CORE = re.compile(r"qupath-core-(\d+\.\d+\.\d+)(?:-[\w.]+)?\.jar")
# Linux, Windows, macOS: where QuPath keeps its jar files.
_APP_FOLDERS = (("lib", "app"), ("app",), ("Contents", "app"))
_SUPPORTED = f"QuPath {VERSIONS[0]}, {', '.join(VERSIONS[1:-1])} or {VERSIONS[-1]}"
_GET_QUPATH = f"Install {_SUPPORTED} and set {DIR_VARIABLE} to its folder; without it, files are written instead."


def installed_version(folder: Path) -> str:
    """The version of the QuPath in ``folder``, such as "0.6.0".

    Raises
    ------
    ModelUnavailable : there is no QuPath, or one whose version is not supported.
    """
    jars = [jar.name for parts in _APP_FOLDERS for jar in folder.joinpath(*parts).glob("qupath-core-*.jar")]
    found = next((match[1] for match in map(_CORE.fullmatch, sorted(jars)) if match), None)
    if found is None:
        raise ModelUnavailable(f"{DIR_VARIABLE} names no QuPath: {folder}.", "It is the folder that holds lib/app.")
    _check_version(found)
    return found


def _check_version(version: str) -> None:
    """Raises ModelUnavailable for a version other than VERSIONS; a release candidate counts as its release."""
    if not any(re.match(re.escape(known) + r"(\.|-|$)", version) for known in VERSIONS):
        raise ModelUnavailable(f"QuPath {version} is not supported.", _GET_QUPATH)


def paquo_problem() -> Optional[LungXAIError]:
    """Why a project cannot be opened through QuPath here; None where nothing speaks against it. Starts nothing."""
    if importlib.util.find_spec("paquo") is None:
        return ModelUnavailable("paquo is not installed.", f"pip install paquo=={PAQUO_VERSION}, or lungxai[qupath].")
    named = os.environ.get(DIR_VARIABLE, "")
    try:
        if named:
            installed_version(Path(named).expanduser())
        else:
            _searched()
        _check_java()
    except LungXAIError as fault:
        return fault
    return None


def _searched() -> None:
    """Raises ModelUnavailable where paquo finds no QuPath in the places it looks into."""
    from paquo._config import settings, to_kwargs
    from paquo.jpype_backend import find_qupath

    try:
        find_qupath(**to_kwargs(settings))
    except (ValueError, FileNotFoundError) as fault:
        raise ModelUnavailable("No QuPath was found on this machine.", _GET_QUPATH) from fault


def _check_java() -> None:
    """Raises ServerBusy where Java runs in this process already, started by something else than paquo."""
    import jpype

    if jpype.isJVMStarted() and "paquo.java" not in sys.modules:
        raise ServerBusy(
            "Java runs in this program already, without QuPath, and cannot be started twice.",
            "Start Python anew and open the project before anything else that uses Java.",
        )


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Turns what Java, paquo and the disk raise into ServerError, which names ``what`` failed."""
    import jpype

    try:
        yield
    except LungXAIError:
        raise
    except jpype.JException as fault:
        remedy = "Open the project in QuPath to see whether it is damaged; a backup lies beside data.qpdata."
        raise ServerError(f"QuPath could not {what}: {fault}.", remedy) from fault
    except (OSError, RuntimeError, ValueError, AttributeError, TypeError) as fault:
        raise ServerError(
            f"The bridge could not {what}: {fault}.", "Check the disk and the project's folder."
        ) from fault


def _quiet_import() -> Any:
    """paquo.projects, which starts QuPath's Java when it is first imported."""
    problem = paquo_problem()
    if problem is not None:
        raise problem
    try:
        from paquo import projects
        from paquo.java import qupath_version
    except (ValueError, FileNotFoundError, RuntimeError, TypeError, OSError) as fault:
        raise ModelUnavailable(f"QuPath could not be started: {fault}.", _GET_QUPATH) from fault
    if qupath_version is None:
        raise ModelUnavailable("This QuPath does not say its version.", _GET_QUPATH)
    _check_version(str(qupath_version))
    return projects


class PaquoProject:
    """A project that is open through paquo; keeps backend.Backend.

    Parameters
    ----------
    path : the project's .qpproj file
    processes : where running programs are listed, for a test

    Raises
    ------
    ModelUnavailable : no paquo, no QuPath, or an unsupported one.
    ServerBusy : Java runs already for something else, or QuPath has the project open.
    InvalidInput : no project, or one that cannot be written to.
    ServerError : QuPath cannot read it.
    """

    kind = "paquo"

    def __init__(self, path: Path, processes: Path = Path("/proc")) -> None:
        self._path, self._processes = path.expanduser().absolute(), processes
        self._files = read_project(self._path)
        self._check_writable()
        self._check_closed()
        projects = _quiet_import()
        with _doing("open the project"):
            self._project = projects.QuPathProject(self._path, mode="r+")
        self._backed_up: set[str] = set()

    def __enter__(self) -> PaquoProject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def images(self) -> tuple[ProjectImage, ...]:
        """Every image, in the project's order."""
        return tuple(entry.image for entry in self._files.entries)

    def regions(self, image: ProjectImage, annotation: str) -> tuple[Geo, ...]:
        """The geometries, GeoJSON Polygon or MultiPolygon, of the annotations of this name or class.

        What a run of the suite made is not among them, as in drawn_areas.py.

        Raises
        ------
        InvalidInput : there is none of that name or class with an area.
        """
        from shapely.geometry import mapping

        found, names = [], set()
        with _doing(f"read the annotations of {image.name}"):
            for drawn in self._entry(image).hierarchy.annotations:
                if any(str(key).startswith("LungXAI ") for key in drawn.java_object.getMetadata().keySet()):
                    continue
                called = {drawn.name, drawn.path_class.name if drawn.path_class is not None else None} - {None}
                names |= called
                if annotation in called and drawn.java_object.getROI().isArea():
                    found.append(mapping(drawn.roi))
        if not found:
            known = ", ".join(sorted(str(name) for name in names)[:10]) or "none has a name or class"
            raise InvalidInput(
                f"{image.name} has no area named {annotation}.",
                f"Draw one, name it and save the image. There are: {known}.",
            )
        return tuple(found)

    def write_run(self, image: ProjectImage, run_id: str, collection: Geo, name: str = "tiles") -> Written:
        """Keep a run's objects; those of the same run and ``name`` are replaced."""
        features = [_marked(feature, run_id, name) for feature in collection["features"]]
        entry = self._changed(image)
        with _doing(f"write the objects into {image.name}"):
            hierarchy = entry.hierarchy.java_object
            self._remove(hierarchy, run_id, name)
            made = self._objects(features)
            self._colour(features)
            # Below the root, in one step: the children come with their annotation.
            hierarchy.getRootObject().addChildObjects(made)
            self._save(image)
        return Written(_count(features), None, ())

    def remove_run(self, image: ProjectImage, run_id: str) -> int:
        """Remove what write_run() kept, all parts of it; how many parts there were."""
        entry = self._entry(image)
        with _doing(f"read the objects of {image.name}"):
            tops = self._tops(entry.hierarchy.java_object, run_id, None)
            parts = {_part(top) for top in tops}
        if not parts:
            return 0
        entry = self._changed(image)
        with _doing(f"remove the run from {image.name}"):
            self._remove(entry.hierarchy.java_object, run_id, None)
            self._save(image)
        return len(parts)

    def set_metadata(self, image: ProjectImage, values: Mapping[str, str]) -> None:
        """Keep the slide-level result with the image; keys that are there already are replaced."""
        self._check_writable()
        self._check_closed()
        with _doing(f"write the metadata of {image.name}"):
            self._entry(image).metadata.update({str(key): str(value) for key, value in values.items()})
            self._project.save(images=False)

    def close(self) -> None:
        """Release the project and its slides. QuPath's Java stays until Python ends."""
        project, self._project = self._project, None
        if project is None:
            return
        with _doing("close the slides"):
            for entry in project.images:
                # paquo opens a slide when it is first asked of it; one that was never opened stays so.
                if "_image_data" in vars(entry) and entry.is_readable():
                    entry._image_data.getServer().close()

    # What is asked of paquo and Java

    def _entry(self, image: ProjectImage) -> Any:
        if self._project is None:
            raise InvalidInput("The project was closed.", "Open it again.")
        for entry in self._project.images:
            if entry.entry_id == image.entry_id:
                return entry
        raise InvalidInput(f"{image.name} is not an image of this project.", "Open the project again.")

    def _changed(self, image: ProjectImage) -> Any:
        """The entry, backed up and ready to be changed.

        Raises
        ------
        InvalidInput : the slide is not where the project says, so that QuPath would not save it.
        """
        self._check_writable()
        self._check_closed()
        entry = self._entry(image)
        there = False
        if image.uri.startswith("file:"):
            with _doing(f"find the slide of {image.name}"):
                if not entry.is_readable():
                    self._project.update_image_paths(try_relative=True)
                there = entry.is_readable()
        if not there:
            raise InvalidInput(
                f"The slide of {image.name} is not where the project says: {image.uri}.",
                "Mount or copy it there, or open the project in QuPath, which asks for the new place.",
            )
        self._back_up(image)
        return entry

    def _back_up(self, image: ProjectImage) -> None:
        """Copies data.qpdata, once for as long as the project is open; an image without objects has none."""
        if image.entry_id in self._backed_up:
            return
        data = self._files.data_folder(image) / "data.qpdata"
        if data.is_file():
            copy_beside(data)
        self._backed_up.add(image.entry_id)

    def _save(self, image: ProjectImage) -> None:
        entry = self._entry(image)
        entry.hierarchy.flush(invalidate_proxy_cache=True)  # tells QuPath that there is something to save
        entry.save()
        if entry.is_changed():
            raise ServerError(
                f"QuPath did not save {image.name}.", "Free disk space, and look whether it is read-only."
            )
        self._project.save(images=False)

    def _objects(self, features: list[Geo]) -> Any:
        from jpype import JArray, JByte, JClass
        from paquo.java import PathIO

        content = json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False).encode()
        stream = JClass("java.io.ByteArrayInputStream")(JArray(JByte)(content))
        return PathIO.readObjectsFromGeoJSON(stream)

    def _colour(self, features: list[Geo]) -> None:
        """Gives the classes their colours, also those that QuPath knew before, and lists them in the project."""
        from paquo.classes import QuPathPathClass

        listed = list(self._project.path_classes)
        for name, colour in class_colours(features).items():
            kind = QuPathPathClass(name)
            kind.java_object.setColor(*colour)
            if not any(known == kind for known in listed):
                listed.append(kind)
        self._project.path_classes = listed

    @staticmethod
    def _tops(hierarchy: Any, run_id: str, part: Optional[str]) -> list[Any]:
        """The uppermost annotations of a run, or of one part of it; those that a GeoJSON or a script brought too."""
        own = []
        for drawn in hierarchy.getAnnotationObjects():
            if drawn.getMetadata().get(RUN_KEY) == run_id and part in (None, _part(drawn)):
                parent = drawn.getParent()
                if parent is None or parent.getMetadata().get(RUN_KEY) != run_id:
                    own.append(drawn)
        return own

    @staticmethod
    def _remove(hierarchy: Any, run_id: str, part: Optional[str]) -> None:
        from paquo.java import ArrayList

        gone, waiting = ArrayList(), PaquoProject._tops(hierarchy, run_id, part)
        while waiting:
            one = waiting.pop()
            gone.add(one)
            for child in one.getChildObjects():
                if not child.isAnnotation():
                    gone.add(child)
                elif child.getMetadata().get(RUN_KEY) == run_id:
                    waiting.append(child)
        if gone.size():
            hierarchy.removeObjects(gone, True)  # what was drawn by hand inside stays

    def _check_closed(self) -> None:
        """Raises ServerBusy while a QuPath of this user runs: it keeps no lock, and would overwrite what is written."""
        signs = [sign for sign in open_signs(self._files, self._processes) if sign.startswith("QuPath")]
        if signs:
            raise ServerBusy(f"The project may be open in QuPath. {signs[0]}", "Close QuPath, then start again.")

    def _check_writable(self) -> None:
        needed = (self._path, self._path.parent, self._path.parent / "data")
        closed = next((place for place in needed if place.exists() and not os.access(place, os.W_OK)), None)
        if closed is not None:
            raise InvalidInput(
                f"The project is read-only: {closed}.", "Copy it to a folder of yours, or ask its owner."
            )


def copy_beside(data: Path) -> Path:
    """A copy of ``data`` beside it, named after the time; an earlier copy is never overwritten.

    Raises
    ------
    ServerError : there is no room for it, or no right to write.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number, copy = 0, data.with_name(f"{data.name}.lungxai-{stamp}")
    while copy.exists():
        number += 1
        copy = data.with_name(f"{data.name}.lungxai-{stamp}-{number}")
    try:
        shutil.copy2(data, copy)
    except OSError as fault:
        copy.unlink(missing_ok=True)
        raise ServerError(f"{data.name} could not be backed up: {fault.strerror}.", "Free disk space.") from fault
    return copy


def class_colours(features: list[Geo]) -> dict[str, tuple[int, int, int]]:
    """Class to colour, of features and their children."""
    found: dict[str, tuple[int, int, int]] = {}
    waiting = list(features)
    while waiting:
        properties = waiting.pop()["properties"]
        waiting += properties.get("childObjects", [])
        kind = properties.get("classification")
        if kind is not None:
            red, green, blue = (int(value) for value in kind["color"])
            found[kind["name"]] = (red, green, blue)
    return dict(sorted(found.items()))


def _marked(feature: Geo, run_id: str, part: str) -> dict[str, Any]:
    """The feature with the run and the part in its metadata, the run in its children's, and its numbers as floats."""
    properties = dict(feature["properties"])
    numbers = properties.get("measurements", {})
    properties["measurements"] = {key: float(value) for key, value in numbers.items() if math.isfinite(value)}
    properties["metadata"] = {**properties.get("metadata", {}), RUN_KEY: run_id, PART_KEY: part}
    if "childObjects" in properties:
        properties["childObjects"] = [_of_run(child, run_id) for child in properties["childObjects"]]
    return {**feature, "properties": properties}


def _of_run(child: Geo, run_id: str) -> Geo:
    """A region that names its run names this one; a tile names none."""
    said = child["properties"].get("metadata")
    if said is None:
        return child
    return {**child, "properties": {**child["properties"], "metadata": {**said, RUN_KEY: run_id}}}


def _part(top: Any) -> str:
    """Which part of a run an annotation belongs to; a GeoJSON that was dropped on QuPath does not name it."""
    said = top.getMetadata()
    return str(said.get(PART_KEY) or said.get("LungXAI method") or "tiles")


def _count(features: list[Geo]) -> int:
    return sum(1 + _count(feature["properties"].get("childObjects", [])) for feature in features)
