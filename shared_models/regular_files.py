"""files_below(): the files of a folder that can be read without waiting for anybody."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def files_below(path: Path) -> Iterator[Path]:
    """``path`` itself, or the regular files in it and in its sub-folders, by name; a pipe would be waited for."""
    if path.is_file():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(file.stat().st_mode):
                    yield file
