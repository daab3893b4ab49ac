"""written(): a file that appears under its name complete or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Union

from .contract.errors import ServerError


def written(path: Path, content: Union[bytes, Iterable[bytes]]) -> Path:
    """Write ``content``, or its pieces; what was there before stays until the new file is whole.

    Raises
    ------
    ServerError : the disk is full, or the folder cannot be written to.
    """
    part = path.with_name(path.name + ".part")
    try:
        # Removed first and made anew, so that a link that lies in its place is not written through.
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            for piece in (content,) if isinstance(content, bytes) else content:
                file.write(piece)
        os.replace(part, path)
    except OSError as fault:
        raise ServerError(
            f"{path.name} could not be written: {fault.strerror}.", "Free disk space, or choose another folder."
        ) from fault
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path
