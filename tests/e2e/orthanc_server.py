"""For tests of the archive: Debian's Orthanc in a folder of its own, on free ports, for this machine alone.

orthanc()        a running one, or a skip with the reason where it is not installed
nodes_of()       the file of nodes that names it
tls_files()      a certificate for 127.0.0.1, made for the test
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "lungxai", "a secret of the test"


@dataclass(frozen=True)
class Orthanc:
    """Where it listens.

    Parameters
    ----------
    url : of its own interface
    certificate : where DICOM's own protocol is encrypted
    """

    url: str
    dicom_port: int
    certificate: Path | None

    @property
    def web(self) -> str:
        """Address of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def count(self) -> int:
        """How many objects it holds."""
        return len(requests.get(f"{self.url}/instances", auth=(USER, PASSWORD), timeout=10).json())

    def clear(self) -> None:
        """Delete everything."""
        for patient in requests.get(f"{self.url}/patients", auth=(USER, PASSWORD), timeout=10).json():
            requests.delete(f"{self.url}/patients/{patient}", auth=(USER, PASSWORD), timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def orthanc(folder: Path, certificate: Path | None = None, key: Path | None = None) -> Iterator[Orthanc]:
    """Start it, wait until it answers, end it.

    A certificate encrypts DICOM's own protocol; Debian's Orthanc 1.10.1 ends with a segmentation fault when HTTPS is
    spoken to it.
    """
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed (Debian: orthanc, orthanc-dicomweb)")
    dicom_port, http_port = free_port(), free_port()
    folder.mkdir(parents=True)
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)], "HttpPort": http_port, "RemoteAccessAllowed": False, "DicomPort": dicom_port,
        "DicomAet": "ARCHIVE", "DicomCheckCalledAet": True, "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False, "DicomAlwaysAllowStore": False, "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False, "DicomModalities": {"us": ["LUNGXAI", "127.0.0.1", 1]},
        "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    if certificate is not None and key is not None:
        settings |= {
            "DicomTlsEnabled": True, "DicomTlsCertificate": str(certificate), "DicomTlsPrivateKey": str(key),
            "DicomTlsTrustedCertificates": str(certificate), "DicomTlsRemoteCertificateRequired": False,
        }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    url = f"http://127.0.0.1:{http_port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
        try:
            _until_it_answers(process, url, folder / "log")
            yield Orthanc(url, dicom_port, certificate)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/system", auth=(USER, PASSWORD), timeout=5).ok:
                return
        time.sleep(0.05)
    raise AssertionError("Orthanc did not start:\n" + log.read_text()[-2000:])


def nodes_of(server: Orthanc, folder: Path, more: str = "") -> Path:
    """A file of nodes with "pacs" (dimse) and "archive" (dicomweb); ``more`` is appended."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    tls = f'tls = true\nca_file = "{server.certificate}"\n' if server.certificate else ""
    file = folder / "nodes.toml"
    file.write_text(
        f'[nodes.pacs]\nkind = "dimse"\nhost = "127.0.0.1"\nport = {server.dicom_port}\ncalled_ae = "ARCHIVE"\n{tls}'
        f'[nodes.archive]\nkind = "dicomweb"\nurl = "{server.web}"\nuser = "{USER}"\npassword_file = "{secret}"\n{more}'
    )
    file.chmod(0o600)
    return file


def tls_files(folder: Path) -> tuple[Path, Path]:
    """(certificate, key), PEM, self-signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
