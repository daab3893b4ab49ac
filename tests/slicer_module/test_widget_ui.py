"""The .ui file: it loads under PySide6 (custom widgets are stand-ins), and the code uses only what is in it."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from LungXAILib.case_panel import BARS
from LungXAILib.panel import METHOD_CHECKS
from LungXAILib.shortcuts import SHORTCUTS
from panel_in_test import MODULE, UI

from shared_models.contract.results import METHODS
from shared_models.contract.values import CLASSES

ROOT = ElementTree.parse(UI).getroot()
WIDGETS = {w.get("name"): w for w in ROOT.iter("widget")}
FOCUS = {
    "QPushButton", "QLineEdit", "QComboBox", "QCheckBox", "QTableWidget", "QListWidget", "ctkPathLineEdit",
    "ctkSliderWidget", "qMRMLNodeComboBox",
}  # fmt: skip
SOURCES = [MODULE / "SlicerLungXAI.py", *sorted((MODULE / "LungXAILib").glob("*.py"))]


def text(widget, name):
    found = widget.find(f"property[@name='{name}']")
    return None if found is None else "".join(found.itertext()).strip()


def used() -> set:
    """Names X of every ``ui.X`` in the module's sources, whoever holds the ui."""
    names = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                holder = node.value
                if (isinstance(holder, ast.Name) and holder.id == "ui") or (
                    isinstance(holder, ast.Attribute) and holder.attr in ("ui", "_ui")
                ):
                    names.add(node.attr)
    return names


def test_every_widget_that_the_code_uses_is_there() -> None:
    names = used() | set(METHOD_CHECKS.values()) | {n for pair in BARS.values() for n in pair} | set(SHORTCUTS.values())
    assert len(names) > 60
    assert names <= set(WIDGETS), sorted(names - set(WIDGETS))


def test_every_button_and_field_is_used() -> None:
    names = used() | set(METHOD_CHECKS.values()) | {n for pair in BARS.values() for n in pair}
    inputs = {name for name, w in WIDGETS.items() if w.get("class") in FOCUS}
    # The parameter node and the table of contributions are bound without a slot of their own.
    assert inputs <= names, sorted(inputs - names)


def test_every_method_and_class_has_its_widget() -> None:
    assert tuple(METHOD_CHECKS) == METHODS and tuple(BARS) == CLASSES


@pytest.mark.parametrize("name", sorted(n for n, w in WIDGETS.items() if w.get("class") in FOCUS))
def test_what_takes_the_focus_has_tooltip_name_and_place_in_the_tab_order(name: str) -> None:
    widget = WIDGETS[name]
    assert text(widget, "toolTip") and text(widget, "accessibleName")
    assert [t.text for t in ROOT.iter("tabstop")].count(name) == 1


def test_tab_order_names_only_what_is_there() -> None:
    assert {t.text for t in ROOT.iter("tabstop")} <= set(WIDGETS)


def test_labels_have_their_buddies() -> None:
    buddies = {name: text(w, "buddy") for name, w in WIDGETS.items() if text(w, "buddy")}
    assert set(buddies.values()) <= set(WIDGETS) and len(buddies) > 15
    labelled = set(buddies.values())
    for name, widget in WIDGETS.items():
        if widget.get("class") in ("QLineEdit", "ctkSliderWidget", "ctkPathLineEdit", "qMRMLNodeComboBox"):
            assert name in labelled, f"{name} has no label"


def test_mnemonics_are_unique() -> None:
    letters = []
    for widget in WIDGETS.values():
        words = text(widget, "text") or ""
        if "&" in words:
            letters.append(words[words.index("&") + 1].lower())
    assert len(letters) > 10 and not [letter for letter, count in Counter(letters).items() if count > 1]
    # The main window's menus have these.
    assert not set(letters) & set("fevh")


def test_custom_widgets_are_declared() -> None:
    declared = {c.find("class").text for c in ROOT.iter("customwidget")}
    used_classes = {w.get("class") for w in WIDGETS.values() if not w.get("class").startswith("Q")}
    assert used_classes == declared


def test_the_notice_is_on_the_panel_and_the_token_is_hidden() -> None:
    assert text(WIDGETS["noticeLabel"], "text") == "Research use only, not a diagnosis."
    assert text(WIDGETS["tokenEdit"], "echoMode") == "QLineEdit::Password"


def test_it_loads_under_pyside6() -> None:
    pytest.importorskip("PySide6")
    from stand_ins.qt_names import application
    from stand_ins.widgets import by_name, load_ui

    application()
    widget = load_ui(str(UI))
    assert set(WIDGETS) - {"SlicerLungXAI"} <= set(vars(by_name(widget)))
    widget.deleteLater()
