"""What the module asks of the server: each function gives work for the Pump (HTTP only, on its thread).

analyse()      send a CT, let the server look for nodules, fetch everything
reclassify()   send a corrected segmentation, let the server measure and classify it, fetch everything
fuse()         put the clinical fields, fuse, fetch everything
report()       the case's report, HTML; report_pdf() as PDF
standing()     what the server holds of a case
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput
from shared_models.contract.jobs import JobProgress
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import ClinicalFields, CTVolume

from .case_results import CaseResults, fetch
from .pump import Talk, Work
from .server_connection import Address
from .text import tr

__all__ = [
    "Question", "Work", "analyse", "as_synthetic", "fuse", "known", "reclassify", "report", "report_pdf", "standing",
]  # fmt: skip
Point = Sequence[float]
# Shares of an analysis, for the progress bar: until here it is sending, and until there computing.
_SENT, _COMPUTED = 0.3, 0.92


@dataclass(frozen=True)
class Question:
    """What is asked about one CT.

    Parameters
    ----------
    case_id : the case that it belongs to; empty makes a new one
    synthetic : the CT is drawn, not scanned
    points_lps_mm, boxes_lps_mm : nodules that the user pointed at; with any, they alone are looked at
    explain : heatmap methods
    target : what they explain, of results.CT_TARGETS; None leaves it to the server
    """

    case_id: str = ""
    synthetic: bool = False
    points_lps_mm: tuple[Point, ...] = ()
    boxes_lps_mm: tuple[tuple[Point, Point], ...] = ()
    explain: tuple[str, ...] = ()
    target: Optional[str] = None


def as_synthetic(question: Question, synthetic: bool) -> Question:
    """The question, about a CT that is drawn or not."""
    return replace(question, synthetic=synthetic)


def analyse(address: Address, volume: CTVolume, question: Question) -> Callable[[Talk], CaseResults]:
    """Work that ends with the whole case."""

    def work(talk: Talk) -> CaseResults:
        with address.client() as client:
            talk.progress(tr("asking the server"), 0.0)
            case_id = _case(client, question)
            talk.progress(tr("packing the CT"), 0.01)

            def sent(done: int, total: int) -> None:
                talk.check()
                talk.progress(tr("sending the CT"), 0.05 + (_SENT - 0.05) * done / total)

            sha256 = client.put_volume(volume, sent)
            talk.check()
            job_id = client.radiology(
                case_id, sha256, question.points_lps_mm, question.boxes_lps_mm, question.explain,
                search=not (question.points_lps_mm or question.boxes_lps_mm), target=question.target,
            )  # fmt: skip
            _follow(client, job_id, talk)
            return _fetched(client, case_id, talk)

    return work


def reclassify(
    address: Address, case_id: str, labels: LabelVolume, explain: Sequence[str] = (), target: Optional[str] = None
) -> Callable[[Talk], CaseResults]:
    """Work that ends with the case as the corrected segmentation makes it; ``target`` as in Question."""

    def work(talk: Talk) -> CaseResults:
        with address.client() as client:
            talk.progress(tr("asking the server"), 0.0)
            sha256 = client.case(case_id).get("volume")
            if not isinstance(sha256, str):
                raise InvalidInput(tr("The server does not hold the CT of this case."), tr("Analyse the CT again."))
            talk.progress(tr("sending the segmentation"), 0.05)
            client.put_mask(case_id, labels)
            talk.check()
            job_id = client.radiology(case_id, sha256, corrected=True, explain=explain, target=target)
            _follow(client, job_id, talk)
            return _fetched(client, case_id, talk)

    return work


def fuse(address: Address, case_id: str, fields: ClinicalFields) -> Callable[[Talk], CaseResults]:
    """Work that ends with the case, fused."""

    def work(talk: Talk) -> CaseResults:
        with address.client() as client:
            talk.progress(tr("sending the clinical fields"), 0.05)
            client.put_clinical(case_id, fields)
            return _fetched(client, case_id, talk, 0.3)

    return work


def report(address: Address, case_id: str) -> Callable[[Talk], str]:
    """Work that ends with the report's HTML."""

    def work(talk: Talk) -> str:
        with address.client() as client:
            talk.progress(tr("writing the report"), 0.1)
            return client.report(case_id)

    return work


def report_pdf(address: Address, case_id: str) -> Callable[[Talk], bytes]:
    """Work that ends with the report's PDF."""

    def work(talk: Talk) -> bytes:
        with address.client() as client:
            talk.progress(tr("laying out the pages"), 0.1)
            return client.report_pdf(case_id)

    return work


def standing(address: Address, case_id: str) -> Callable[[Talk], Mapping[str, Any]]:
    """Work that ends with what the server holds of a case: ``radiology``, ``pathology``, ``clinical``, ``slides``."""

    def work(talk: Talk) -> Mapping[str, Any]:
        with address.client() as client:
            talk.progress(tr("asking the server"), 0.1)
            return client.case(case_id)

    return work


def _case(client: Client, question: Question) -> str:
    """The case of a question; one that the server does not have yet is made."""
    if question.case_id and any(case.get("case_id") == question.case_id for case in client.cases()):
        return question.case_id
    return client.create_case(question.case_id or None, question.synthetic)


def _follow(client: Client, job_id: str, talk: Talk) -> None:
    """Follow a job to its end; when the user cancels, the server's job is stopped too."""

    def moved(progress: JobProgress) -> None:
        if progress.state == "queued":
            stage = tr("waiting: {ahead} before this").format(ahead=progress.queue_position)
        else:
            stage = progress.stage
        talk.progress(stage, _SENT + (_COMPUTED - _SENT) * progress.fraction)

    client.wait(job_id, moved, talk.cancelled)


def _fetched(client: Client, case_id: str, talk: Talk, begun: float = _COMPUTED) -> CaseResults:
    talk.check()
    talk.progress(tr("fetching the results"), begun)
    results = fetch(client, case_id)
    talk.check()
    return results


def known(methods: Sequence[str], offered: Optional[Sequence[str]]) -> tuple[str, ...]:
    """Those of ``methods`` that the server has; all where nothing is known of the server."""
    return tuple(methods) if not offered else tuple(method for method in methods if method in offered)
