"""The hospital archives that a user may name; none is there by default, and nothing is sent unless one is named.

nodes(), node_named()   what the file of nodes holds, and one of it
nodes_file()            where that file is: LUNGXAI_NODES, or lungxai/nodes.toml in the user's folder of configuration
DimseNode               an archive that speaks DICOM's own protocol (C-STORE, C-FIND, C-GET)
WebNode                 an archive that speaks DICOMweb (STOW-RS, QIDO-RS, WADO-RS)
EXAMPLE                 such a file, with every key

Only its owner, or the administrator, may be able to write the file: whoever writes it says where patients' data goes.
Passwords and tokens are never in it and never on the command line, but in a variable or a file that it names.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Optional, Union
from urllib.parse import urlsplit

import tomllib

from shared_models.contract.client import is_loopback
from shared_models.contract.errors import InvalidInput

from .owned_file import owned

VARIABLE = "LUNGXAI_NODES"
_MAX_BYTES = 1 << 18
_MAX_SECRET_BYTES = 1 << 14
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]{0,252}[A-Za-z0-9])?|::1")
_AE = re.compile(r"[ -\[\]-~]{1,16}")  # what DICOM calls a default character string, without its backslash

EXAMPLE = """\
[nodes.pacs]                        # lungxai dicom send result --to pacs
kind = "dimse"
host = "pacs.hospital.example"
port = 11112
called_ae = "PACS"                  # the archive's AE title
calling_ae = "LUNGXAI"              # ours, as the archive's administrator entered it
tls = true                          # with ca_file, where the archive's certificate is the hospital's own
ca_file = "/etc/ssl/hospital-ca.pem"
consent = true                      # patients' data may go to this machine

[nodes.archive]
kind = "dicomweb"
url = "https://archive.hospital.example/dicom-web"
token_variable = "ARCHIVE_TOKEN"    # or token_file; or user with password_variable or password_file
ca_file = "/etc/ssl/hospital-ca.pem"
consent = true
"""


@dataclass(frozen=True)
class DimseNode:
    """An archive that speaks DICOM's own protocol.

    Parameters
    ----------
    name : by which the user calls it
    host, port : where it listens
    called_ae, calling_ae : AE titles of the archive and of this program
    tls : encrypted, and the archive's certificate is checked
    ca_file : certificates to trust instead of the system's
    certificate_file, key_file : this program's own, where the archive asks for them
    consent : data may go to a machine that is not this one

    Raises
    ------
    InvalidInput : a value that cannot be.
    """

    kind: ClassVar[str] = "dimse"
    name: str
    host: str
    port: int
    called_ae: str
    calling_ae: str = "LUNGXAI"
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    consent: bool = False

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise _wrong(self.name, "host", "the archive's name or address, such as pacs.hospital.example")
        if not 1 <= self.port <= 65535:
            raise _wrong(self.name, "port", "a number from 1 to 65535, often 104 or 11112")
        for key in ("called_ae", "calling_ae"):
            title = getattr(self, key)
            if not _AE.fullmatch(title) or not title.strip():
                raise _wrong(self.name, key, "an AE title: 1 to 16 plain characters")
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file):
            raise _wrong(self.name, "tls", "true where certificates are named")
        if bool(self.certificate_file) != bool(self.key_file):
            raise _wrong(self.name, "key_file", "given together with certificate_file")

    @property
    def address(self) -> str:
        """Host and port, as a person reads them."""
        return f"{self.host}:{self.port}, {self.called_ae}{', TLS' if self.tls else ''}"

    def check(self) -> None:
        """InvalidInput where the archive is on another machine and nobody agreed to that."""
        _check_consent(self.name, self.host, self.consent)


@dataclass(frozen=True)
class WebNode:
    """An archive that speaks DICOMweb.

    Parameters
    ----------
    name : by which the user calls it
    url : of the service, https, or http on this machine
    token_variable, token_file : where its bearer token is
    user, password_variable, password_file : for basic authentication
    ca_file : certificates to trust instead of the usual ones
    consent : data may go to a machine that is not this one

    Raises
    ------
    InvalidInput : a value that cannot be.
    """

    kind: ClassVar[str] = "dicomweb"
    name: str
    url: str
    token_variable: str = ""
    token_file: str = ""
    user: str = ""
    password_variable: str = ""
    password_file: str = ""
    ca_file: str = ""
    consent: bool = False

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port_fits = parts.port is None or parts.port > 0
        except ValueError:
            raise _wrong(self.name, "url", "an address such as https://archive.hospital.example/dicom-web") from None
        if parts.scheme not in ("https", "http") or not port_fits or not _HOST.fullmatch(parts.hostname or ""):
            raise _wrong(self.name, "url", "an address such as https://archive.hospital.example/dicom-web")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise _wrong(self.name, "url", "an address alone; the password's place is password_file")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise _wrong(self.name, "url", "https: without it patients' data could be read on the way")
        ways = [bool(v) for v in (self.token_variable, self.token_file, self.password_variable, self.password_file)]
        if sum(ways) > 1 or bool(self.user) != any(ways[2:]) or ":" in self.user:
            raise _wrong(self.name, "token_variable", "one of token_variable, token_file, or user with "
                         "password_variable or password_file")  # fmt: skip

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def address(self) -> str:
        """The address, as a person reads it."""
        return self.url

    def check(self) -> None:
        """InvalidInput where the archive is on another machine and nobody agreed to that."""
        _check_consent(self.name, self.host, self.consent)

    def authorization(self, environment: Mapping[str, str]) -> str:
        """The header Authorization; "" where the archive asks for none.

        Raises
        ------
        InvalidInput : the variable or the file is not there, or others can read the file.
        """
        variable, file = self.token_variable or self.password_variable, self.token_file or self.password_file
        if not variable and not file:
            return ""
        secret = _of_file(self.name, Path(file).expanduser()) if file else environment.get(variable, "").strip()
        if not secret:
            raise InvalidInput(f"{variable} holds no secret for the node {self.name}.", f"Set {variable} first.")
        if self.user:
            return f"Basic {base64.b64encode(f'{self.user}:{secret}'.encode()).decode()}"
        if not (secret.isascii() and secret.isprintable()):
            raise InvalidInput(f"The token of the node {self.name} has characters that no token has.", "Copy it again.")
        return f"Bearer {secret}"


Node = Union[DimseNode, WebNode]


def nodes_file() -> Path:
    """Where the nodes are configured."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "lungxai" / "nodes.toml"


def nodes(file: Optional[Path] = None) -> Mapping[str, Node]:
    """Every node of ``file`` (of nodes_file() unless given), by its name; none where there is no such file.

    Raises
    ------
    InvalidInput : others may write to the file, or what it says cannot be understood.
    """
    path = nodes_file() if file is None else file
    try:
        content = owned(path, _MAX_BYTES)
        table = tomllib.loads(content.decode())
    except FileNotFoundError:
        return {}
    except OSError:
        raise InvalidInput(f"The file of nodes {path} cannot be read.", "Check its permissions.") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"The file of nodes {path} is no text.", "Write it as the example shows.") from None
    except tomllib.TOMLDecodeError as fault:
        raise InvalidInput(f"The file of nodes {path} is not TOML: {fault}.", "Correct it.") from None
    except RecursionError:
        raise InvalidInput(f"The file of nodes {path} is not TOML.", "Correct it.") from None
    held = table.pop("nodes", {})
    if table or not isinstance(held, dict):
        raise InvalidInput(f"The file of nodes {path} has something else than [nodes.NAME].", "Remove it.")
    return {name: _node(name, values) for name, values in held.items()}


def node_named(name: str, file: Optional[Path] = None) -> Node:
    """The node of this name, to which data may go.

    Raises
    ------
    InvalidInput : there is none, or it is on another machine without consent.
    """
    known = nodes(file)
    if name not in known:
        there = f"Configured are: {', '.join(sorted(known))}." if known else "None is configured."
        raise InvalidInput(
            f"There is no node of this name. {there}",
            f"Add it to {nodes_file() if file is None else file}; `lungxai dicom nodes --example` prints such a file.",
        )
    known[name].check()
    return known[name]


def _node(name: str, values: Any) -> Node:
    if not _NAME.fullmatch(name):
        raise InvalidInput("A node's name is not plain.", "Use letters, digits, - and _, at most 64.")
    if not isinstance(values, dict) or values.get("kind") not in ("dimse", "dicomweb"):
        raise _wrong(name, "kind", '"dimse" or "dicomweb"')
    kind = DimseNode if values["kind"] == "dimse" else WebNode
    known = {item.name: item for item in fields(kind) if item.name != "name"}
    given = {key: value for key, value in values.items() if key != "kind"}
    for key, value in given.items():
        # A key that is spelled wrong, "tsl" say, must not be passed over.
        if key not in known:
            raise InvalidInput(f"The node {name} has an unknown key {key!r}.", f"Known are: {', '.join(known)}.")
        wanted = {"str": str, "int": int, "bool": bool}[str(known[key].type)]
        if type(value) is not wanted:
            raise _wrong(name, key, {str: "text in quotes", int: "a number", bool: "true or false"}[wanted])
    for key, item in known.items():
        if item.default is MISSING and key not in given:
            raise InvalidInput(f"The node {name} has no {key}.", "Add it; the example shows how.")
    return kind(name=name, **given)


def _wrong(node: str, key: str, wanted: str) -> InvalidInput:
    return InvalidInput(f"{key} of the node {node} is not valid.", f"It has to be {wanted}.")


def _check_consent(name: str, host: str, consent: bool) -> None:
    if not consent and not is_loopback(host):
        raise InvalidInput(
            f"The node {name} is on another machine, and its entry does not say that patients' data may go there.",
            "Ask who is responsible for the data; if agreed, write consent = true into its entry.",
        )


def _of_file(node: str, path: Path) -> str:
    """A secret, in a file that nobody else can read."""
    try:
        return owned(path, _MAX_SECRET_BYTES, secret=True).decode().strip()
    except (OSError, ValueError):
        raise InvalidInput(f"The file with the secret of the node {node} cannot be read.", f"Check {path}.") from None
