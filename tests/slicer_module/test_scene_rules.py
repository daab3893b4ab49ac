"""What the library may not do, read from its code: Qt, the application, HTTP of its own, a second RAS to LPS."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from LungXAILib import coordinates

from shared_models.geometry import ras_to_lps

LIBRARY = Path(coordinates.__file__).parent
MODULES = sorted(LIBRARY.glob("*.py"))
SCENE = [path for path in MODULES if not path.name.startswith(("view", "rendering"))]


def imported(nodes) -> set:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_neither_qt_nor_the_application(path) -> None:
    tree = ast.parse(path.read_text())
    assert not imported(ast.walk(tree)) & {"qt", "ctk", "PythonQt", "PySide6"}
    chains = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "slicer.app" not in chains


@pytest.mark.parametrize("path", SCENE, ids=lambda p: p.name)
def test_slicer_vtk_and_pydicom_are_imported_inside_functions(path) -> None:
    """So that a worker thread, a test or the form can import a module where there is no Slicer."""
    assert not imported(ast.parse(path.read_text()).body) & {"slicer", "vtk", "vtkmodules", "pydicom"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_python_39_can_read_it(path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    newer = [call for call in calls if ast.unparse(call.func) in ("zip", "dataclass")]
    named = {keyword.arg for call in newer for keyword in call.keywords}
    assert not named & {"strict", "slots", "kw_only"}
    head = tree.body[1] if len(tree.body) > 1 else None
    future = isinstance(head, ast.ImportFrom) and head.module == "__future__"
    assert future or len(tree.body) == 1


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_it_opens_with_a_docstring(path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "coordinates.py"], ids=lambda p: p.name)
def test_ras_and_lps_are_turned_in_one_file_alone(path) -> None:
    code = re.sub(r"\s", "", path.read_text())
    assert not re.search(r"-1(\.0)?,-1(\.0)?,1(\.0)?\b", code)


@pytest.mark.parametrize("path", SCENE, ids=lambda p: p.name)
def test_http_goes_through_the_one_client(path) -> None:
    clients = r"^\s*(import|from) (requests|httpx|socket|http\.client|urllib\.request)\b"
    assert not re.search(clients, path.read_text(), re.MULTILINE)


def test_the_turn_is_that_of_the_suite() -> None:
    affine = np.arange(16.0).reshape(4, 4) ** 0.5
    affine[3] = (0, 0, 0, 1)
    assert np.array_equal(coordinates.turned_affine(affine), ras_to_lps(affine))
    assert np.array_equal(coordinates.turned_affine(coordinates.turned_affine(affine)), affine)
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, -6.0]])
    assert np.array_equal(coordinates.turned(points), [[-1, -2, 3], [4, -5, -6]])


def test_matrices_go_to_vtk_and_back(logics) -> None:
    affine = np.arange(16.0).reshape(4, 4)
    assert np.array_equal(coordinates.array_of(coordinates.vtk_matrix(affine)), affine)
