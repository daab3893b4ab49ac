"""How a command is told which server to use: the same words for every command.

add_server_options()   --server, --token-file, --consent-to-remote
named_client()         a Client for the server that was named
small_file()           a regular file's content, never more than a limit
"""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from typing import Optional

from .client import Client
from .errors import InvalidInput

TOKEN_VARIABLE = "LUNGXAI_TOKEN"
_MAX_TOKEN_BYTES = 4096


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a running server."""
    parser.add_argument(
        "--server", metavar="URL", help=f"a running server; its token in {TOKEN_VARIABLE} or --token-file"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the server's token")
    parser.add_argument(
        "--consent-to-remote", action="store_true", help="agree that the data goes to a server on another machine"
    )


def named_client(given: argparse.Namespace) -> Client:
    """The server that ``--server`` names.

    Raises
    ------
    InvalidInput : no token, or a server on another machine without consent.
    """
    return Client(given.server, _token(given.token_file), consent_to_remote=given.consent_to_remote)


def _token(file: Optional[Path]) -> str:
    try:
        token = small_file(file, _MAX_TOKEN_BYTES).decode().strip() if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, ValueError) as fault:
        raise InvalidInput("The file with the token cannot be read.", "It is DATA_DIR/token of the server.") from fault
    if not token:
        raise InvalidInput(
            "The server's token is missing.", f"Set {TOKEN_VARIABLE}, or give --token-file DATA_DIR/token."
        )
    return token


def small_file(path: Path, limit: int) -> bytes:
    """A regular file's content, at most one byte more than ``limit``; OSError for a pipe or a device."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("no regular file")
    with path.open("rb") as file:
        return file.read(limit + 1)
