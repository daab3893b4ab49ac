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
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name} reaches out of the contract"
            if node.level == 0:
                found.add((node.module or "").split(".")[0])
    assert found <= STDLIB | {"numpy", "requests"}


def test_the_package_itself_imports_nothing() -> None:
    assert not ast.parse((CONTRACT.parent / "__init__.py").read_text()).body
