"""No identifier can name another path."""

import pytest

from shared_models.contract import routes
from shared_models.contract.errors import InvalidInput


def test_paths() -> None:
    assert routes.case("c-1") == "/v1/cases/c-1"
    assert routes.case("c-1", "clinical") == "/v1/cases/c-1/clinical"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a%2fb", "a\n", "é", "-x", "x" * 65])
def test_an_identifier_that_could_name_another_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        routes.case(name)
