"""The slide-level result in project.qpproj itself, where QuPath's project tab shows it below the image.

put_metadata()   texts into an image's entry, where no QuPath has the project open

QuPath keeps an image's metadata as ``metadata`` of its entry in project.qpproj, key to text, and not in the image's
data.qpdata; so it can be written without QuPath. Nothing else of the file changes in meaning. A QuPath that has the
project open, on another machine say, would not see it and would write its own over it: then these texts are lost, and
the bridge's own file beside the project still has them. QuPath's changes are never lost, since the file is read again
just before it is replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from shared_models.whole_file import written

from .backend import ProjectImage
from .project import copy_beside
from .project_files import MAX_PROJECT_BYTES, ProjectFiles, open_signs
from .project_json import entry, read_json, text


def put_metadata(
    project: ProjectFiles, image: ProjectImage, values: Mapping[str, str], *, processes: Path = Path("/proc")
) -> bool:
    """Put texts into an image's entry; keys that are there already are replaced, others stay.

    The file is copied beside itself first, as project.qpproj.lungxai-TIME.

    Parameters
    ----------
    values : key to text
    processes : where running programs are listed, for a test

    Returns
    -------
    bool : whether they are in the project now. Not where a QuPath runs, or none can be seen on this system; where
        paquo holds the project in this very program and writes them itself; and where the file is
        a link, read-only, or no longer lists the image.

    Raises
    ------
    InvalidInput : the file is damaged. ServerError : the disk is full.
    """
    path = project.path
    if "paquo.java" in sys.modules or path.is_symlink() or not os.access(path, os.W_OK):
        return False
    if open_signs(project, processes):
        return False
    body = read_json(path, MAX_PROJECT_BYTES, "The project's file")
    for known in entry(body, "images", list, []):
        if isinstance(known, dict) and str(known.get("entryID")) == image.entry_id:
            before = entry(known, "metadata", dict, {})
            after = {**before, **{str(key): str(value) for key, value in values.items()}}
            if after != before:
                known["metadata"] = after
                copy_beside(path)
                written(path, text(body))
            return True
    return False
