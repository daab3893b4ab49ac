"""associated(): a connection to an archive that speaks DICOM's own protocol, with pynetdicom; echo() tries one."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, LungXAIError, ServerError, ServerTimeout, ServerUnreachable
from shared_models.dicom_log import discreet

from .dicom_nodes import DimseNode

CONNECT_S, ANSWER_S = 10.0, 60.0
MOST_CONTEXTS = 127  # 128 by the standard; one is kept for a query


@contextlib.contextmanager
def associated(
    node: DimseNode, contexts: Sequence[Any], handlers: Sequence[Any] = (), roles: Sequence[Any] = ()
) -> Iterator[Any]:
    """A pynetdicom Association, released at the end, aborted where something was raised.

    Parameters
    ----------
    contexts : pynetdicom PresentationContexts that are asked for
    handlers : (event, function) pairs
    roles : of SOP classes that the archive is to send to us

    Raises
    ------
    InvalidInput : nobody agreed that data may go there, certificates are not there, or the archive does not know us.
    ServerUnreachable : it does not answer, or its certificate is not trusted.
    ServerTimeout, ServerError : what broke off while the connection was used.
    """
    from pynetdicom import AE

    node.check()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what it says names the archive's data; ours does not
    own = AE(ae_title=node.calling_ae)
    own.connection_timeout, own.acse_timeout = CONNECT_S, ANSWER_S
    own.dimse_timeout = own.network_timeout = ANSWER_S
    own.requested_contexts = list(contexts)
    secure = (_tls(node), node.host) if node.tls else None
    with discreet():
        association = own.associate(
            node.host, node.port, ae_title=node.called_ae, tls_args=secure, evt_handlers=list(handlers),
            ext_neg=list(roles),
        )  # fmt: skip
        if not association.is_established:
            raise _not_established(node, association)
        try:
            yield association
        except GeneratorExit:  # whoever asked for one object after the other wants no more
            _released(association)
            raise
        except (RuntimeError, OSError):
            association.abort()
            raise broken_off(node) from None
        except BaseException:
            association.abort()
            raise
        _released(association)


def echo(node: DimseNode) -> None:
    """Ask whether the archive is there and knows us (C-ECHO).

    Raises
    ------
    LungXAIError : it does not, and why.
    """
    from pynetdicom import build_context
    from pynetdicom.sop_class import Verification

    with associated(node, [build_context(Verification)]) as association:
        if not association.accepted_contexts:
            raise ServerError(f"The node {node.name} does not answer to a test (C-ECHO).", "Ask its administrator.")
        status = status_of(association.send_c_echo())
        if status is None:
            raise broken_off(node)
        if status != 0:
            raise ServerError(f"The node {node.name} answered with status 0x{status:04X}.", "Ask its administrator.")


def status_of(answer: Any) -> Optional[int]:
    """The status of an answer; None where none came."""
    status = answer.get("Status") if answer else None
    return None if status is None else int(status)


def broken_off(node: DimseNode) -> ServerTimeout:
    """The error of a connection that ended in the middle."""
    return ServerTimeout(f"The node {node.name} broke off or does not answer any more.", "Try again.")


def _released(association: Any) -> None:
    if association.is_established:
        association.release()


def _tls(node: DimseNode) -> ssl.SSLContext:
    files = [Path(f).expanduser() for f in (node.ca_file, node.certificate_file, node.key_file) if f]
    for file in files:
        if not file.is_file():
            raise InvalidInput(f"A certificate or key of the node {node.name} is not there.", f"Check {file}.")
    try:
        context = ssl.create_default_context(cafile=str(files[0]) if node.ca_file else None)
        if node.certificate_file:
            context.load_cert_chain(*map(str, files[-2:]))
    except (OSError, ValueError):
        raise InvalidInput(
            f"A certificate or key of the node {node.name} cannot be read.", "They have to be PEM files, unencrypted."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _not_established(node: DimseNode, association: Any) -> LungXAIError:
    if association.is_rejected:
        return InvalidInput(
            f"The node {node.name} answers, but does not accept us.",
            f"Ask its administrator to enter the AE title {node.calling_ae}, and check called_ae ({node.called_ae}).",
        )
    certificate = ", and that its certificate is one that ca_file trusts" if node.tls else ""
    return ServerUnreachable(
        f"The node {node.name} cannot be reached.", f"Check that {node.address} is right and runs{certificate}."
    )
