"""What every way into a QuPath project can do: paquo writes into the project, files lay GeoJSON beside it.

ProjectImage   one image of a project
Written        what became of a run's objects, and what the pathologist still has to do
Backend        the methods that both ways keep; commands.py uses nothing else of them

GeoJSON here is a FeatureCollection as annotations.slide_geojson() makes it: one locked annotation per run, named by its
metadata ``LungXAI run``, whose childObjects are the run's tiles and regions. Coordinates are level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

RUN_KEY = "LungXAI run"
# What groovy/LungXAI_explain.groovy asks the server by.
CASE_KEY, SLIDE_KEY = "LungXAI case", "LungXAI slide"

Geo = Mapping[str, Any]


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project.

    Parameters
    ----------
    entry_id : QuPath's own number of the entry, in decimal digits; unique within the project
    name : as QuPath lists it
    uri : where the slide lies, mostly ``file:///...``
    mpp : micrometres per level-0 pixel, where the project says so and the pixels are square
    size_px : (width, height) of level 0, where the project says so
    """

    entry_id: str
    name: str
    uri: str
    mpp: Optional[float]
    size_px: Optional[tuple[int, int]]


@dataclass(frozen=True)
class Written:
    """What became of a run's objects.

    Parameters
    ----------
    objects : how many, with all their children
    path : the file that holds them, None where they went into the project itself
    steps : what the pathologist does next, one sentence each; empty where nothing is left to do
    """

    objects: int
    path: Optional[Path]
    steps: tuple[str, ...]


class Backend(Protocol):
    """A project that is open for the bridge.

    Attributes
    ----------
    kind : "paquo" or "files"

    Every method raises LungXAIError only. Nothing is written while QuPath has the project open.
    """

    kind: str

    def images(self) -> tuple[ProjectImage, ...]:
        """Every image, in the project's order."""
        ...

    def regions(self, image: ProjectImage, annotation: str) -> tuple[Geo, ...]:
        """The GeoJSON geometries (Polygon or MultiPolygon) of the annotations of this name or class.

        Raises
        ------
        InvalidInput : there is none, or this way cannot read QuPath's objects.
        """
        ...

    def write_run(self, image: ProjectImage, run_id: str, collection: Geo, name: str = "tiles") -> Written:
        """Keep a run's objects; those of the same run and ``name`` are replaced.

        Parameters
        ----------
        run_id : as in the metadata of the run's annotation
        name : which part of the run this is: "tiles", or a heatmap's method
        """
        ...

    def remove_run(self, image: ProjectImage, run_id: str) -> int:
        """Remove what write_run() kept, all parts of it; how many parts there were."""
        ...

    def set_metadata(self, image: ProjectImage, values: Mapping[str, str]) -> None:
        """Keep the slide-level result with the image; keys that are there already are replaced."""
        ...

    def close(self) -> None:
        """Release the project."""
        ...
