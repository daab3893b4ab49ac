"""owned(): a small file that nobody but its owner, or the administrator, may write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shared_models.contract.errors import InvalidInput


def owned(path: Path, limit: int, secret: bool = False) -> bytes:
    """The content of a file.

    Parameters
    ----------
    limit : bytes that it may have
    secret : others may not even read it

    Raises
    ------
    OSError : no regular file, or it may not be read.
    InvalidInput : others may write to it or to its folder (or read it), it is somebody else's, or it is too large.
    """
    # A pipe would be waited for; the open file is judged, so that none can take its place in between.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError("no regular file")
        if os.name == "posix":
            _check_rights(path, about, secret)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InvalidInput(f"{path} is too large.", f"{limit} bytes are allowed.")
    return content


def _check_rights(path: Path, about: os.stat_result, secret: bool) -> None:
    if about.st_mode & (0o077 if secret else 0o022):
        raise InvalidInput(
            f"Others on this machine {'can read' if secret else 'may write to'} {path}.",
            f"Run: chmod {'go=' if secret else 'go-w'} {path}",
        )
    if about.st_uid not in (0, os.getuid()):
        raise InvalidInput(f"{path} belongs to somebody else.", "Make one of your own.")
    folder = path.resolve().parent
    mode = folder.stat().st_mode
    # Who may write there could put another file into its place; a sticky folder, /tmp say, forbids that.
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise InvalidInput(f"Others on this machine may write to the folder of {path}.", f"Run: chmod go-w {folder}")
