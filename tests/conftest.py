"""What many tests share: the synthetic thorax, drawn once, and where the real data lies."""

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
