"""Settings: flags before LUNGXAI_*, those before defaults; and what is refused."""

import dataclasses

import pytest

from inference_server.settings import Settings
from shared_models.contract.errors import InvalidInput


def test_a_flag_goes_before_a_variable_and_that_before_the_default(tmp_path) -> None:
    environment = {"LUNGXAI_PORT": "9000", "LUNGXAI_TILE_BATCH": "8", "LUNGXAI_DATA_DIR": str(tmp_path)}
    settings = Settings.read(environment, port=9001, device=None)
    assert (settings.port, settings.tile_batch, settings.data_dir) == (9001, 8, tmp_path)
    assert settings.device == "auto" and settings.host == "127.0.0.1"


def test_the_slide_model_and_where_added_ones_lie(tmp_path) -> None:
    assert Settings.read({}).slide_model == "lung_he_lite0"
    environment = {"LUNGXAI_SLIDE_MODEL": "mine", "LUNGXAI_ADDED_MODELS": str(tmp_path)}
    settings = Settings.read(environment)
    assert (settings.slide_model, settings.added_models) == ("mine", tmp_path)
    assert Settings.read(environment, slide_model="other").slide_model == "other"
    assert settings.models == Settings().models  # the shipped ones stay where they are


def test_every_type_is_read() -> None:
    environment = {"LUNGXAI_ALLOW_REMOTE": "yes", "LUNGXAI_ALLOWED_HOSTS": "a.example, b:80", "LUNGXAI_HOST": "0.0.0.0"}
    settings = Settings.read({**environment, "LUNGXAI_UPLOAD_WAIT_S": "0.5"})
    assert settings.allow_remote is True and settings.allowed_hosts == ("a.example", "b:80")
    assert settings.upload_wait_s == 0.5


@pytest.mark.parametrize(
    ("name", "text"),
    [("PORT", "x"), ("PORT", "70000"), ("MAX_AXIS", "-1"), ("MAX_AXIS", "0"), ("ALLOW_REMOTE", "perhaps")],
)
def test_a_wrong_variable_is_named_or_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput):
        Settings.read({f"LUNGXAI_{name}": text})


def test_the_backend_cannot_come_from_the_environment() -> None:
    assert Settings.read({"LUNGXAI_BACKEND": "os:system"}).backend == "inference_server.models:load"


def test_another_machine_needs_consent() -> None:
    with pytest.raises(InvalidInput, match="--allow-remote"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", allow_remote=True).host == "0.0.0.0"
    assert Settings(host="::1").host == "::1"


def test_an_unknown_device_is_refused_and_settings_are_frozen() -> None:
    with pytest.raises(InvalidInput):
        Settings(device="tpu")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_settings_survive_their_json(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path, allowed_hosts=("a",), port=0)
    assert Settings.from_json(settings.to_json()) == settings
