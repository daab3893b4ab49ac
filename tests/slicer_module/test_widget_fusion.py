"""The fused answer in the panel: the clinical fields under the modalities, and what the answer hangs on."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("PySide6")

from LungXAILib import results, volumes  # noqa: E402
from panel_in_test import Opened  # noqa: E402
from scene_cases import AFFINES, case, ct, fusion, fusion_of_fields  # noqa: E402


@pytest.fixture
def opened(logics, tmp_path: Path):
    made = Opened(logics, tmp_path / "server")
    yield made
    made.close()


def shown(opened: Opened, fused) -> tuple[list, str]:
    volume = ct(AFFINES["plain"])
    node = volumes.volume_node(opened.logics, volume, "ct")
    opened.panel.case.show(results.import_case(opened.logics, node, case(volume, fusion=fused)))
    table = opened.ui.contributionTable
    rows = [[table.item(r, c).text() for c in range(table.columnCount())] for r in range(table.rowCount())]
    return rows, opened.ui.fusionLabel.text()


def test_each_known_field_has_a_row_and_the_label_says_what_decides(opened: Opened) -> None:
    rows, label = shown(opened, fusion_of_fields())
    assert [row[:4] for row in rows[2:]] == [
        ["Clinical fields", "0.50", "-0.04", "+0.09"],
        ["of these: Age", "", "-0.010", "+0.020"],
        ["of these: Sex", "", "-0.050", "+0.075"],
        ["of these: Before any field", "", "+0.020", "neutral"],
    ]
    told = ["Without slide: no answer.", "Without sex: squamous cell carcinoma 50.0 %."]
    assert label.splitlines()[-2:] == told


def test_a_server_that_says_nothing_of_fields_leaves_the_panel_as_it_was(opened: Opened) -> None:
    rows, label = shown(opened, fusion())
    assert [row[0] for row in rows] == ["CT", "Slide", "Clinical fields"] and "Without" not in label
