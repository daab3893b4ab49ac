"""The contract stays light: Slicer's Python loads it, so it may import only the standard library, numpy, requests."""

import ast
import sys
from pathlib import Path

import pytest

CONTRACT = Path(__file__).parents[2] / "shared_models" / "contract"
# sys.stdlib_module_names is of 3.10; on 3.9 what the contract uses is named.
STDLIB = set(getattr(sys, "stdlib_module_names", ())) | {
    "__future__", "collections", "dataclasses", "ipaddress", "json", "math", "re", "struct", "typing", "urllib", "zlib",
}


@pytest.mark.parametrize("path", sorted(CONTRACT.glob("*.py")), ids=lambda p: p.name)
def test_contract_imports_only_what_slicer_has(path: Path) -> None:
    found = set()
    tree = ast.parse(path.read_text())
    # blosc2 is the one exception, and only inside a function, after both ends said that they have it.
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if id(node) in inside and isinstance(node, ast.Import) and [a.name for a in node.names] == ["blosc2"]:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name} reaches out of the contract"
            if node.level == 0:
                found.add((node.module or "").split(".")[0])
    assert found <= STDLIB | {"numpy", "requests"}


def test_the_package_itself_imports_nothing() -> None:
    assert not ast.parse((CONTRACT.parent / "__init__.py").read_text()).body


REPO = CONTRACT.parents[1]
# Who may import whom: dependencies run one way.
ALLOWED = {
    "shared_models": {"shared_models"},
    "inference_server": {"shared_models", "inference_server", "qupath_bridge"},
    # Its commands read slides themselves and start a server where none is named; neither loads a model here.
    "qupath_bridge": {
        "shared_models.contract", "qupath_bridge", "shared_models.slide_reader", "shared_models.slide_tiles",
        "shared_models.slide_readahead", "shared_models.slide_quality", "shared_models.whole_file",
        "inference_server.local", "inference_server.progress",
    },
    "SlicerLungXAI": {"shared_models.contract", "SlicerLungXAI", "LungXAILib"},
}  # fmt: skip
OURS = ("shared_models", "inference_server", "qupath_bridge", "SlicerLungXAI", "LungXAILib")


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_dependencies_run_one_way(package: str) -> None:
    wrong = []
    for path in sorted((REPO / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.split(".")[0] in OURS:
                    fine = any(name == ok or name.startswith(ok + ".") for ok in ALLOWED[package])
                    wrong += [] if fine else [f"{path.relative_to(REPO)} imports {name}"]
    assert not wrong
