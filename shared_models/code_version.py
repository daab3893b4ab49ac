"""The version of the code, as every result states it."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path


@lru_cache(maxsize=1)
def code_version() -> str:
    """Version of the installed distribution, with the git commit where there is a checkout."""
    try:
        version = metadata.version("lungxai")
    except metadata.PackageNotFoundError:
        version = "0+source"
    commit = git_commit()
    return f"{version}+g{commit[:12]}" if commit else version


def git_commit() -> str:
    """Full commit of the checkout this file lies in; "-dirty" is added for changed files.

    Where it is no checkout, such as a copy on a machine with a GPU, it is what LUNGXAI_COMMIT says, or "".
    """
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return os.environ.get("LUNGXAI_COMMIT", "")
    try:
        run = ["git", "-C", str(root)]
        head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run(
            [*run, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
