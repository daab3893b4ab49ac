"""One record of several attributions."""

from __future__ import annotations

from shared_models.attribution_record import joined

FINE = {"unit": "logit", "steps": 32, "completeness_error": 0.01, "converged": True}
SHORT = {
    "unit": "logit", "steps": 200, "completeness_error": 0.4, "converged": False,
    "completeness": "not reached in 1 of 2 maps",
}  # fmt: skip


def test_the_worst_of_all_is_told() -> None:
    for records in ([FINE, SHORT, FINE], [SHORT, FINE]):
        assert joined(records) == {"unit": "logit", "steps": 200, "completeness_error": 0.4, "converged": False}
    assert joined([FINE, FINE]) == FINE
    assert joined([{"windows_evaluated": 9}, {"windows_evaluated": 4}]) == {"windows_evaluated": 9}


def test_a_record_alone_stays_as_it_is() -> None:
    assert joined([SHORT]) == SHORT and joined([SHORT]) is not SHORT
