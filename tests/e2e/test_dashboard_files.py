"""The files of the server's page, read as text: what is served, what it may hold, and that no word is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import inference_server.dashboard as dashboard
from shared_models.contract import board_note
from shared_models.contract.colours import CLASS_COLOURS
from shared_models.contract.values import CLASSES

FOLDER = Path(dashboard.__file__).parent / "dashboard"
SCRIPTS = sorted(FOLDER.glob("*.js"))
WORDS = (FOLDER / "words.js").read_text()


def test_every_file_of_the_folder_is_served_and_nothing_else() -> None:
    served = {path.rsplit("/", 1)[1] for path in dashboard.PAGES} - {""}
    assert served == {path.name for path in FOLDER.iterdir()} | {"contract.js"}


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_file_reaches_out_or_makes_markup_of_text(path: Path) -> None:
    text = path.read_text()
    outside = set(re.findall(r"\b(?:https?|wss?):[^\s\"')]*", text)) - {"http://www.w3.org/2000/svg"}
    assert not outside, "the page asks nobody but its server"
    made = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage"
    assert not re.search(made, text)
    assert not re.search(r"\sstyle=|\son[a-z]+=\"", text), "styles and handlers in markup are against the policy"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_there_is(path: Path) -> None:
    for names, module in re.findall(r"import \{([^}]*)\} from \"\./([^\"]+)\"", path.read_text()):
        there = dashboard._contract() if module == "contract.js" else (FOLDER / module).read_text()
        for name in (part.strip() for part in names.split(",")):
            exported = rf"export (?:async )?(?:const|class|function\*?) {name}\b"
            assert re.search(exported, there), f"{module} has no {name}"


def test_every_word_is_there_and_is_used() -> None:
    known = set(re.findall(r"^  (\w+):", WORDS, re.MULTILINE))
    code = "".join(path.read_text() for path in SCRIPTS if path.name != "words.js")
    used = set(re.findall(r"(?<!/)\bwords\.(\w+)", code))
    assert known == used and len(known) > 100


def test_the_contract_is_written_out_as_it_is() -> None:
    said = dict(re.findall(r"^export const (\w+) = (.*);$", dashboard._contract(), re.MULTILINE))
    assert json.loads(said["CLASSES"]) == list(CLASSES)
    assert json.loads(said["NOTE_LIMITS"])["text"] == board_note.MAX_TEXT
    red, green, blue = CLASS_COLOURS["adenocarcinoma"]
    assert json.loads(said["CLASS_COLOURS"])["adenocarcinoma"] == f"#{red:02x}{green:02x}{blue:02x}"


def test_the_frames_policy_names_its_script_and_no_other() -> None:
    from base64 import b64encode
    from hashlib import sha256

    text = (FOLDER / "report_frame.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    named = re.findall(r"'sha256-([^']+)'", dashboard._page("report_frame.html").policy)
    assert named == [b64encode(sha256(script.encode()).digest()).decode()]
    assert text.count("<script") == 1 and "<script>" not in (FOLDER / "index.html").read_text()
