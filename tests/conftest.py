"""What many tests share: the synthetic thorax, drawn once, and where the real data lies."""

import os
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def phantom():
    from shared_models.phantom import thorax

    return thorax()


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not (DATA / "README.md").is_file():
        pytest.skip(f"the real data is not here: {DATA}")
    return DATA


@pytest.fixture(scope="session")
def real_series(real_data) -> Path:
    """The DICOM folder of one patient's whole chest CT."""
    folder = real_data / "lung_pet_ct_dx_dicom" / "A0001"
    if not folder.is_dir():
        pytest.skip(f"the real series is not here: {folder}")
    return folder


def pytest_sessionfinish(session, exitstatus) -> None:
    session.config.ended_with = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config) -> None:
    """Leave with pytest's own status, after everything was said.

    VTK, Qt, torch and ONNX Runtime in one process take each other down in any order at the interpreter's end: seen once
    as a segmentation fault after 2,752 tests had passed.
    """
    if hasattr(config, "ended_with"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.ended_with)
