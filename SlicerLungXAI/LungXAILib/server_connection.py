"""The inference server as the module sees it: where it is, and whether it can be used.

Address               of one server, with the token and the user's consent
ConnectionReport      what a test found, in words, and what to do about it
test_connection()     the test

    kind             what was found
    ready            everything is there
    incomplete       it works, but a modality has no model
    loading          the models are still being loaded
    unreachable      nothing answers there
    wrong_token      it does not know the token
    wrong_protocol   it is older or newer than this module
    not_lungxai      something else answers there
    needs_consent    it is on another machine, and the user has not agreed that patient data goes there
    invalid          the address or the token cannot be one
    failed           it answers with an error of its own

HTTP only: it may run on a worker thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from shared_models.contract.client import Client, is_loopback
from shared_models.contract.codec import PROTOCOL_VERSION
from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import (
    ContractMismatch,
    InvalidInput,
    LungXAIError,
    ServerTimeout,
    ServerUnreachable,
)
from shared_models.contract.results import METHODS

from .text import tr

MODALITIES = ("radiology", "pathology")
DEFAULT_URL = "http://127.0.0.1:8765"
_TEST_S = 6.0


@dataclass(frozen=True)
class Address:
    """One server.

    Parameters
    ----------
    url : for example ``http://127.0.0.1:8765``
    token : bearer token; never written into the scene
    consent : the user agreed that patient data goes to this host, where it is not this machine
    """

    url: str
    token: str
    consent: bool = False

    def client(self, timeout_s: float = 30.0) -> Client:
        """A client that never holds up the window; close it after use."""
        return Client(self.url, self.token, timeout_s, self.consent, compression="zlib")


def needs_consent(url: str) -> bool:
    """Whether ``url`` is a server on another machine."""
    host = host_of(url)
    return bool(host) and not is_loopback(host)


def host_of(url: str) -> str:
    """Host of a URL; empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@dataclass(frozen=True)
class ConnectionReport:
    """What a test found.

    Parameters
    ----------
    kind : of the table above
    message, remedy : in words
    device : the one that the models run on; empty where unknown
    protocol : the one that the server speaks; None where unknown
    models : as /v1/info says them
    coverage : modality to the classes that its models know from real data; a modality without a model is absent
    methods : heatmap methods that the server has for a CT
    """

    kind: str
    message: str
    remedy: str = ""
    device: str = ""
    protocol: Optional[int] = None
    models: tuple[Mapping[str, Any], ...] = ()
    coverage: Optional[Mapping[str, tuple[str, ...]]] = None
    methods: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a CT can be sent there."""
        return self.kind in ("ready", "incomplete")


def test_connection(url: str, token: str, consent: bool = False, timeout_s: float = _TEST_S) -> ConnectionReport:
    """Look whether a server can be used. Never raises: what goes wrong is the report."""
    host = host_of(url)
    if needs_consent(url) and not consent:
        return ConnectionReport(
            "needs_consent",
            tr("The server {host} is another machine: patient data would leave this one.").format(host=host),
            tr("Tick the consent box if that is agreed, or start a local server."),
        )
    try:
        client = Client(url, token, timeout_s, consent)
    except InvalidInput as fault:
        return ConnectionReport("invalid", fault.message, fault.remedy)
    with client:
        try:
            return _tested(client, host, not needs_consent(url) or url.lower().startswith("https:"))
        except LungXAIError as fault:
            return _faulty(fault, host)


def _tested(client: Client, host: str, encrypted: bool) -> ConnectionReport:
    spoken = client.hello()
    if spoken is None:
        return ConnectionReport(
            "not_lungxai",
            tr("Something answers at {host}, but it is no LungXAI server.").format(host=host),
            tr("Check the address and the port; the server prints them when it starts."),
        )
    if spoken != PROTOCOL_VERSION:
        return _other_protocol(spoken)
    info = client.info()
    models = tuple(model for model in info.get("models", ()) if isinstance(model, Mapping))
    problems = info.get("problems") or {}
    if "server" in problems:
        body = problems["server"]
        return ConnectionReport("failed", str(body.get("message", "")), str(body.get("remedy", "")), protocol=spoken)
    if not info.get("ready"):
        return ConnectionReport(
            "loading",
            tr("The server is there and still loads its models."),
            tr("Test again in a few seconds."),
            protocol=spoken,
        )
    coverage = _coverage(models)
    device = str(info.get("device") or "")
    methods = _methods(models)
    absent = [modality for modality in MODALITIES if modality not in coverage]
    if absent:
        kind = "incomplete" if "radiology" in coverage else "failed"
        message = tr("The server has no model for {absent}.").format(absent=tr(" and ").join(absent))
        body = problems.get(absent[0]) or {}
        reason = str(body.get("message", ""))
        remedy = str(body.get("remedy", "")) or tr("Install the model, then start the server again.")
        return ConnectionReport(
            kind, f"{message} {reason}".strip(), remedy, device, spoken, models, coverage, methods
        )
    message = tr("Connected. The models run on {device}.").format(device=device or tr("an unknown device"))
    if not encrypted:
        message = f"{message} {tr('The connection to the other machine is not encrypted.')}"
    return ConnectionReport("ready", message, "", device, spoken, models, coverage, methods)


def _coverage(models: tuple[Mapping[str, Any], ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for model in models:
        modality = str(model.get("modality"))
        found[modality] = (*found.get(modality, ()), *(str(name) for name in model.get("coverage") or ()))
    return found


def _methods(models: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
    """Heatmap methods of the CT's models, in the contract's order."""
    had = {method for model in models if model.get("modality") == "radiology" for method in model.get("methods", ())}
    return tuple(method for method in METHODS if method in had)


def coverage_in_words(report: ConnectionReport) -> list[str]:
    """A line per modality: the classes that its models know from real data."""
    lines = []
    for modality, classes in sorted((report.coverage or {}).items()):
        known = ", ".join(CLASS_LABELS[name] for name in CLASS_LABELS if name in classes)
        lines.append(f"{modality}: {known or tr('no class; every class is not assessed')}")
    return lines


def _other_protocol(spoken: Optional[int]) -> ConnectionReport:
    theirs = tr("another one") if spoken is None else str(spoken)
    return ConnectionReport(
        "wrong_protocol",
        tr("The server speaks protocol {theirs}, this module {ours}.").format(theirs=theirs, ours=PROTOCOL_VERSION),
        tr("Update the server.") if spoken is not None and spoken < PROTOCOL_VERSION else tr("Update the extension."),
        protocol=spoken,
    )


def _faulty(fault: LungXAIError, host: str) -> ConnectionReport:
    if isinstance(fault, ServerTimeout):
        return ConnectionReport(
            "unreachable",
            tr("{host} takes the connection but does not answer.").format(host=host),
            tr("Wait a moment and test again, or start the server again."),
        )
    if isinstance(fault, ServerUnreachable):
        return ConnectionReport(
            "unreachable",
            tr("Nothing answers at {host}.").format(host=host),
            tr("Start the server (button below, or `lungxai serve`), or check address and port."),
        )
    if fault.status == 401:
        return ConnectionReport(
            "wrong_token",
            tr("The server is there, but it does not know this token."),
            tr("Choose the token file again: it is called `token` and lies in the server's data folder."),
        )
    if isinstance(fault, ContractMismatch):
        return _other_protocol(None)
    return ConnectionReport("failed", fault.message, fault.remedy)
