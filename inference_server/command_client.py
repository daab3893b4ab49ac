"""What the commands of a case share.

named_or_own_client()   the server that a command works with
add_report_options()    --paper, --no-pdf
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

from shared_models.contract.client import Client
from shared_models.contract.routes import PAPERS
from shared_models.contract.server_option import named_client


@contextlib.contextmanager
def named_or_own_client(given: argparse.Namespace) -> Iterator[Client]:
    """The server that was named, or one for this command alone."""
    if given.server:
        with named_client(given) as client:
            yield client
        return
    from .local import LocalServer

    print("Starting the server ...", file=sys.stderr)
    choices = {"device": given.device} if given.device else {}
    with LocalServer(threads=os.cpu_count() or 1, **choices) as (url, token), Client(url, token) as client:
        yield client


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a report's PDF."""
    parser.add_argument("--paper", choices=PAPERS, default=PAPERS[0], help=f"of the report (default {PAPERS[0]})")
    parser.add_argument("--no-pdf", action="store_true", help="the report as HTML alone")
