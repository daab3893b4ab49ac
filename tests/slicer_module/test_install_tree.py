"""The extension as it is installed: every file is named in CMake, and the installed tree works by itself.

CMake is the real one; Slicer's macros are stand-ins that copy the files that the real ones would (cmake/ beside this).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
MODULE, CONTRACT = REPO / "SlicerLungXAI", REPO / "shared_models" / "contract"
CMAKE_FILE = MODULE / "CMakeLists.txt"
# Not installed: how the icon was drawn, and what CTest runs.
LEFT_OUT = {"Resources/Icons/draw_icon.py", "Testing/Python/LungXAISelfTest.py"}
SUFFIXES = {".py", ".ui", ".png", ".svg", ".html", ".css", ".js", ".json"}


def listed(name: str) -> list[str]:
    """The files in one list of the module's CMakeLists.txt."""
    found = re.search(rf"set\({name}\n(.*?)\)\n", CMAKE_FILE.read_text(), re.S)
    assert found, name
    return [line.strip().replace("${MODULE_NAME}", "SlicerLungXAI") for line in found[1].splitlines() if line.strip()]


def there(folder: Path, base: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.suffix in SUFFIXES and "__pycache__" not in path.parts)
    return {path.relative_to(base).as_posix() for path in files}


def test_every_file_of_the_module_is_named_in_cmake_and_every_name_is_a_file() -> None:
    names = [*listed("MODULE_PYTHON_SCRIPTS"), *listed("MODULE_PYTHON_RESOURCES")]
    assert len(names) == len(set(names))
    assert set(names) == there(MODULE, MODULE) - LEFT_OUT
    assert all(name.endswith(".py") for name in listed("MODULE_PYTHON_SCRIPTS"))


def test_every_file_of_the_contract_is_named_in_cmake() -> None:
    names = listed("CONTRACT_PYTHON_SCRIPTS")
    assert set(names) == {"shared_models/__init__.py"} | there(CONTRACT, REPO) and len(names) == len(set(names))


def test_the_tests_that_are_left_out_are_named_where_ctest_looks() -> None:
    assert "LungXAISelfTest.py" in (MODULE / "Testing" / "Python" / "CMakeLists.txt").read_text()


def test_the_catalogue_entry_has_what_its_schema_asks_for() -> None:
    entry = json.loads((REPO / "LungXAI.json").read_text())
    # Schema v1.0.1 of the Extensions Index: these are required, those below are all that there is.
    assert {"$schema", "category", "scm_url"} <= set(entry)
    known = {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert set(entry) - {"$schema", "category", "scm_url"} <= known
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry["tier"] in (1, 3, 5) and entry["build_dependencies"] == []
    category = re.search(r'EXTENSION_CATEGORY "(.*?)"', (REPO / "CMakeLists.txt").read_text())
    assert category and category[1] == entry["category"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Configure, build and install into a folder of its own; the folder of scripted modules."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed (apt-get install cmake)")
    if not any(map(shutil.which, ("make", "ninja"))) or shutil.which("c++") is None:
        pytest.skip("cmake needs a compiler and make")
    folder = tmp_path_factory.mktemp("extension")
    build, prefix = folder / "build", folder / "installed"
    stand_in = REPO / "tests" / "slicer_module" / "cmake"
    for command in (
        ["cmake", "-S", str(REPO), "-B", str(build), f"-DSlicer_DIR={stand_in}", f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        ["cmake", "--build", str(build)],
        ["cmake", "--install", str(build)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return prefix / "lib" / "Slicer-5.10" / "qt-scripted-modules"


def test_the_installed_tree_holds_what_is_named_and_nothing_else(installed: Path) -> None:
    names = {*listed("MODULE_PYTHON_SCRIPTS"), *listed("MODULE_PYTHON_RESOURCES"), *listed("CONTRACT_PYTHON_SCRIPTS")}
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert files == names


def test_the_extension_describes_itself(installed: Path) -> None:
    lines = (installed.parents[3] / "build" / "description.txt").read_text().splitlines()
    said = dict(line.split(" ", 1) for line in lines)
    assert said["DEPENDS"] == "NA" and "Research use only" in said["DESCRIPTION"]
    # The pictures that the catalogue shows are in the repository.
    for url in (said["ICONURL"], said["SCREENSHOTURLS"]):
        assert (REPO / url.split("/main/", 1)[1]).is_file(), url


def run_installed(installed: Path, code: str) -> str:
    """Run Python with the installed tree, and nothing of the repository, on its path."""
    start = f"""
        import sys
        repository = {str(REPO)!r}
        sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
        sys.path = [p for p in sys.path if not p.startswith(repository) or "site-packages" in p]
        sys.path.insert(0, {str(installed)!r})
    """
    end = """
        ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("LungXAILib", "shared_models")]
        assert ours and all(m.__file__.startswith(sys.path[0]) for m in ours), [m.__file__ for m in ours]
        heavy = {"torch", "scipy", "fastapi", "blosc2", "inference_server", "PIL", "pydicom"} & set(sys.modules)
        assert not heavy, heavy
        print("well")
    """
    source = "\n".join(textwrap.dedent(part) for part in (start, code, end))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=installed.parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and done.stdout.strip().endswith("well"), done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_every_installed_module_is_imported_from_the_tree(installed: Path) -> None:
    pytest.importorskip("vtk")
    run_installed(
        installed,
        """
        import importlib, pathlib
        # The browser viewer needs trame, which a Slicer does not have; it imports it inside functions or not at all.
        for path in sorted(pathlib.Path(sys.path[0], "LungXAILib").glob("*.py")):
            if path.stem not in ("viewer_app", "rendering"):
                importlib.import_module(f"LungXAILib.{path.stem}")
        """,
    )


def test_the_self_test_runs_from_the_installed_tree(installed: Path) -> None:
    """A volume is converted and the workflow driven against a practice server, in a process that has only the tree."""
    if not hasattr(pytest.importorskip("slicer"), "vtkMRMLScene"):
        pytest.skip("slicer-core is not installed: pip install 'lungxai[viewer]'")
    said = run_installed(
        installed,
        """
        from LungXAILib import self_test
        from LungXAILib.logics import SceneLogics
        for step in self_test.run(SceneLogics.headless()):
            print(step)
        """,
    )
    assert "cancel a job" in said


def test_a_file_that_is_left_out_is_caught(installed: Path, tmp_path: Path) -> None:
    """What the tests above are for: without one file the tree does not work."""
    pytest.importorskip("vtk")
    tree = tmp_path / "a" / "b" / "c" / "qt-scripted-modules"
    shutil.copytree(installed, tree)
    (tree / "shared_models" / "contract" / "jobs.py").unlink()
    with pytest.raises(AssertionError, match="shared_models.contract.jobs"):
        run_installed(tree, "import LungXAILib.jobs")


def test_ctests_script_passes(monkeypatch) -> None:
    if not hasattr(pytest.importorskip("slicer"), "vtkMRMLScene"):
        pytest.skip("slicer-core is not installed: pip install 'lungxai[viewer]'")
    paths = os.pathsep.join((str(MODULE), str(REPO)))
    script = MODULE / "Testing" / "Python" / "LungXAISelfTest.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "OK" in done.stderr, done.stderr[-3000:]


def test_a_checkout_is_enough_as_a_module_path(tmp_path) -> None:
    """Slicer knows only the module's own folder then; the editable install of this environment is taken away."""
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()];"
        "sys.path_hooks = [h for h in sys.path_hooks if 'editable' not in str(h).lower()];"
        f"sys.path = [{str(REPO / 'SlicerLungXAI')!r}] + [p for p in sys.path if p and 'editable' not in p];"
        "import importlib.util as u; assert u.find_spec('shared_models') is None;"
        "import LungXAILib.jobs, shared_models.contract.client as c; print(c.__file__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()) == REPO / "shared_models" / "contract" / "client.py"
