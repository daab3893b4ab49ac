"""The server's own page: static files without data, which ask the user for the token and then call the API.

PAGES     paths that are answered without the token
mount()   adds them to the application

The files lie in dashboard/; beside them goes contract.js, written here from the contract, so that classes, colours
and limits have one home. Two policies:

- the page runs its own scripts and styles, shows pictures of its own making, and talks to this server alone;
- the report is shown in report_frame.html, an origin of its own: it may bring styles and pictures, and the one script
  that runs there is the frame's, named by its hash. A frame made of text inside the page (srcdoc, blob:) would be
  under the page's own policy, and the report would lose its styles.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response

from shared_models.contract import board_note, routes
from shared_models.contract.codec import PROTOCOL_VERSION
from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, METHOD_LABELS
from shared_models.contract.fusion_result import MODALITIES, PART_LABELS
from shared_models.contract.values import CLASSES

_FOLDER = Path(__file__).parent / "dashboard"
_SCRIPTS = (
    "api.js", "bars.js", "case.js", "cases.js", "dialog.js", "element.js", "job_events.js", "jobs.js", "note.js",
    "page.js", "poll.js", "report.js", "results.js", "server.js", "session.js", "state.js", "words.js",
)  # fmt: skip
_CONTRACT, _FRAME = "contract.js", "report_frame.html"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FILES = ("index.html", "dashboard.css", *_SCRIPTS, _CONTRACT, _FRAME)
PAGES = frozenset({"/", *(f"/dashboard/{name}" for name in _FILES)})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FRAME_POLICY = (
    "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src {scripts}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
)


@dataclass(frozen=True)
class _Page:
    """One file as it is answered; ``tag`` is its ETag."""

    body: bytes
    media_type: str
    policy: str
    tag: str


def mount(app: FastAPI) -> None:
    """Add the page's routes."""

    def add(path: str, name: str) -> None:
        # A route a file: no path that a browser sends is ever joined to a folder.
        @app.get(path, name=f"dashboard_{name}")
        def get(request: Request) -> Response:
            page = _page(name)
            headers = {"Content-Security-Policy": page.policy, "ETag": page.tag, "Cache-Control": "no-cache"}
            if page.tag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
                return Response(status_code=304, headers=headers)
            return Response(page.body, media_type=page.media_type, headers=headers)

    add("/", "index.html")
    for name in _FILES:
        add(f"/dashboard/{name}", name)


@cache
def _page(name: str) -> _Page:
    body = _contract().encode() if name == _CONTRACT else (_FOLDER / name).read_bytes()
    policy = _FRAME_POLICY.format(scripts=_script_hashes(body)) if name == _FRAME else _POLICY
    tag = f'"{hashlib.sha256(body + policy.encode()).hexdigest()[:32]}"'
    return _Page(body, f"{_TYPES[Path(name).suffix]}; charset=utf-8", policy, tag)


def _script_hashes(page: bytes) -> str:
    """The scripts that are written out in a page, as its policy names them."""
    texts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)


def _contract() -> str:
    """What the page has to know of the contract, as a module of JavaScript."""
    known = {
        "PROTOCOL_HEADER": routes.PROTOCOL_HEADER,
        "PROTOCOL": str(PROTOCOL_VERSION),
        "PAPERS": routes.PAPERS,
        "CLASSES": CLASSES,
        "CLASS_LABELS": CLASS_LABELS,
        "CLASS_COLOURS": {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in CLASS_COLOURS.items()},
        "MODALITIES": MODALITIES,
        "PART_LABELS": PART_LABELS,
        "METHOD_LABELS": METHOD_LABELS,
        "NOTE_LIMITS": {
            "text": board_note.MAX_TEXT, "decision": board_note.MAX_DECISION, "author": board_note.MAX_AUTHOR,
        },
    }  # fmt: skip
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in known.items()]
    return "\n".join(["// Written by inference_server/dashboard.py from shared_models/contract.", *lines, ""])
