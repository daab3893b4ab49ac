"""The commit that results state: of a checkout, of a copy that says it, or none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from shared_models import code_version


def test_a_copy_without_a_checkout_states_the_commit_it_was_given(tmp_path, monkeypatch) -> None:
    copy = tmp_path / "shared_models" / "code_version.py"
    copy.parent.mkdir()
    shutil.copy(Path(code_version.__file__), copy)
    monkeypatch.setattr(code_version, "__file__", str(copy))
    monkeypatch.delenv("LUNGXAI_COMMIT", raising=False)
    assert code_version.git_commit() == ""
    monkeypatch.setenv("LUNGXAI_COMMIT", "c0ffee")
    assert code_version.git_commit() == "c0ffee"
    # A checkout knows better than a variable.
    run = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*run, *words], check=True)
    head = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert code_version.git_commit() == head
    copy.write_text(copy.read_text() + "\n")
    assert code_version.git_commit() == head + "-dirty"
