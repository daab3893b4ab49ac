"""``lungxai risk``: the numbers of clinical_risk.py, and in words why there is none."""

import argparse
import json
from dataclasses import fields

import pytest

from shared_models import risk_command
from shared_models.clinical_risk import MayoNodule, mayo
from shared_models.contract.errors import InvalidInput

FULL = ["mayo", "--age-years", "63", "--ever-smoked", "yes", "--extrathoracic-cancer", "no", "--cancer-within-5-years",
        "no", "--lung-cancer-before", "no", "--diameter-mm", "14", "--spiculated", "no", "--upper-lobe", "yes",
        "--solitary", "yes"]  # fmt: skip


def _ran(*words: str) -> int:
    parser = argparse.ArgumentParser()
    risk_command.register(parser.add_subparsers())
    given = parser.parse_args(["risk", *words])
    return given.run(given)


def test_prints_the_models_number_its_source_and_the_notice(capsys) -> None:
    expected = mayo(MayoNodule(63, True, False, False, False, 14, False, True, True))
    assert _ran(*FULL) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{expected.probability:.1%}") and "Swensen" in said and "Research use only" in said
    assert _ran(*FULL, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answered"] and told["probability"] == pytest.approx(expected.probability)


@pytest.mark.parametrize("name", risk_command.MODELS)
def test_without_inputs_it_says_what_is_missing(name, capsys) -> None:
    assert _ran(name) == 0
    said = capsys.readouterr().out
    assert said.startswith("No number.") and "age" in said and "%" not in said
    assert _ran(name, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert not told["answered"] and "probability" not in told and told["reason"]


@pytest.mark.parametrize("name", risk_command.MODELS)
def test_every_input_has_a_flag_with_words(name, capsys) -> None:
    with pytest.raises(SystemExit):
        _ran(name, "--help")
    said = capsys.readouterr().out
    for field in fields(risk_command.MODELS[name][1]):
        assert f"--{field.name.replace('_', '-')}" in said
    assert "Limits:" in said and "Source:" in said


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(InvalidInput):
        _ran("mayo", "--age-years", "-4")
    with pytest.raises(SystemExit):
        _ran("brock", "--sex", "f")
