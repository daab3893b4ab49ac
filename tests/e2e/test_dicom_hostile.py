"""Archives that answer badly: every one is told in words, nothing of another patient is kept, nobody waits for ever."""

import argparse
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from dicom_files import SECRETS, ct_image
from fake_archive import RELATED, FakeArchive, encoded, metadata, multipart, said
from fake_server import until
from orthanc_server import tls_files
from pydicom.uid import CTImageStorage

from inference_server import dicom_association, dicom_receive, dicom_web
from inference_server.dicom_association import echo
from inference_server.dicom_command import register
from inference_server.dicom_nodes import DimseNode, WebNode
from inference_server.dicom_query import find
from inference_server.dicom_receive import receive
from inference_server.dicom_send import CHANGED, NOT_SENT, REFUSED, STORED, send
from inference_server.dicom_web import echo_web
from shared_models.contract.errors import (
    InputTooLarge,
    InvalidInput,
    LungXAIError,
    ServerBusy,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
)

STUDY, SERIES = "1.2.3.999", "1.2.3.999.1"
QIDO = {"0020000D": {"vr": "UI", "Value": [STUDY]}, "0020000E": {"vr": "UI", "Value": [SERIES]}}
CONTENT = "/dicom-web/studies/1.2.3.999/series/1.2.3.999.1"


def honest(count: int = 3) -> dict:
    """Answers of an archive that holds one series, as it should."""
    images = [ct_image(index) for index in range(count)]
    answers: dict = {f"/instances/{one.SOPInstanceUID}": said(multipart(encoded(one)), RELATED) for one in images}
    return answers | {"/metadata": said(metadata(*images)), "/dicom-web/series": said([QIDO])}


def node_of(archive: FakeArchive, **more: object) -> WebNode:
    return WebNode("archive", archive.url, **more)  # type: ignore[arg-type]


def refused(answers: dict, out: Path, kind: type[LungXAIError], match: str, kept: int = 0) -> LungXAIError:
    """What receiving from such an archive raises; ``kept`` images stay for the next attempt."""
    with FakeArchive(answers) as archive, pytest.raises(kind, match=match) as fault:
        receive(node_of(archive), SERIES, out / "ct")
    assert not (out / "ct").exists() and len(list((out / "ct.partial").glob("*"))) == kept
    assert fault.value.remedy and not any(secret in str(fault.value) for secret in SECRETS)
    return fault.value


def test_an_honest_one_is_understood(tmp_path) -> None:
    with FakeArchive(honest()) as archive:
        came = receive(node_of(archive), SERIES, tmp_path / "ct")
        assert came.images == 3 and (tmp_path / "ct" / "00003.dcm").read_bytes() == encoded(ct_image(2))
        assert [path for _, path, _, _ in archive.asked][1] == f"{CONTENT}/metadata"
        assert {headers["Host"] for _, _, headers, _ in archive.asked} == {archive.url.split("/")[2]}


@pytest.mark.parametrize("where", ["/dicom-web/series", "/metadata", "/instances/1.2.3.999.1.1"])
def test_redirects_are_not_followed(tmp_path, monkeypatch, where) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "a token")
    with FakeArchive(honest()) as other:
        moved = said(b"", status=302, Location=f"{other.url}{where}")
        with FakeArchive(honest() | {where: moved}) as archive:
            node = node_of(archive, token_variable="SECRET_OF_TEST")
            with pytest.raises(ServerError, match="another address, which was not followed"):
                receive(node, SERIES, tmp_path / "ct")
            assert archive.asked[0][2]["Authorization"] == "Bearer a token" and not other.asked
    assert not list(tmp_path.iterdir())


def other_series(index: int = 1):
    image = ct_image(index, series="2")
    image.SOPInstanceUID = f"1.2.3.999.1.{index + 1}"
    return image


@pytest.mark.parametrize(
    "spoiled, kind, match, kept",
    [
        ({"/dicom-web/series": said([])}, InvalidInput, "no series of this UID", 0),
        ({"/dicom-web/series": said([{**QIDO, "0020000E": {"vr": "UI", "Value": ["1.2"]}}])}, InvalidInput, "no series",
         0),
        ({"/dicom-web/series": said([{**QIDO, "0020000D": {"Value": ["../../x"]}}])}, InvalidInput, "not the UID", 0),
        ({"/dicom-web/series": said(b"<html>welcome", "text/html")}, ServerError, "not DICOMweb", 0),
        ({"/dicom-web/series": said(b"[" * 200_000)}, ServerError, "not DICOMweb", 0),
        ({"/dicom-web/series": said({"a": 1}, status=503)}, ServerBusy, "busy", 0),
        ({"/metadata": said(metadata(ct_image(0), other_series()))}, InvalidInput, "another series", 0),
        ({"/metadata": said([])}, InvalidInput, "no images", 0),
        ({"/metadata": said([1, "two"])}, InvalidInput, "another series", 0),
        ({"/metadata": said(b"\x1f\x8b bomb", Content_Encoding="gzip")}, ServerError, "packed", 0),
        ({"/instances/1.2.3.999.1.2": said(multipart(encoded(other_series())), RELATED)}, InvalidInput,
         "another series than the one that was asked for", 1),
        ({"/instances/1.2.3.999.1.2": said(multipart(encoded(ct_image(2))), RELATED)}, InvalidInput, "another image",
         1),
        ({"/instances/1.2.3.999.1.2": said(multipart(encoded(ct_image(1)), encoded(ct_image(2))), RELATED)},
         ServerError, "not DICOMweb, or it is damaged", 1),
        ({"/instances/1.2.3.999.1.2": said(multipart(encoded(ct_image(1)), end=b""), RELATED)}, ServerUnreachable,
         "broke off in the middle", 1),
        ({"/instances/1.2.3.999.1.2": said(multipart(encoded(ct_image(1))[:-50]), RELATED)}, InvalidInput, "not whole",
         1),
        ({"/instances/1.2.3.999.1.2": said(multipart(b"no DICOM at all"), RELATED)}, ServerError, "damaged", 1),
        ({"/instances/1.2.3.999.1.2": said(b"", RELATED)}, ServerUnreachable, "broke off in the middle", 1),
        ({"/instances/1.2.3.999.1.2": said(b"gone", status=404)}, InvalidInput, "nothing there", 1),
        ({"/instances/1.2.3.999.1.2": said(b"no", status=403)}, InvalidInput, "does not let us in", 1),
        ({"/instances/1.2.3.999.1.2": said(b"oh", status=500)}, ServerError, "refused .HTTP 500", 1),
    ],
)  # fmt: skip
def test_a_bad_answer_is_told_and_what_was_good_is_kept(tmp_path, spoiled, kind, match, kept) -> None:
    refused(honest() | spoiled, tmp_path, kind, match, kept)
    if kept:  # and it goes on from there
        with FakeArchive(honest()) as archive:
            assert receive(node_of(archive), SERIES, tmp_path / "ct").fetched == 2


def test_names_of_the_archive_become_no_paths(tmp_path) -> None:
    image = ct_image(0)
    told = metadata(image)
    told[0]["00080018"]["Value"] = ["../../../../tmp/evil"]
    refused(honest() | {"/metadata": said(told)}, tmp_path, InvalidInput, "not the UID of an image")
    assert not list(tmp_path.iterdir())


def test_sizes_are_refused_before_anything_is_sent_for(tmp_path) -> None:
    huge = ct_image(0)
    huge.Rows = huge.Columns = 60_000
    huge.NumberOfFrames = 999
    with FakeArchive(honest() | {"/metadata": said(metadata(huge))}) as archive:
        with pytest.raises(InputTooLarge, match="more than 2 GiB"):
            receive(node_of(archive), SERIES, tmp_path / "ct")
        assert not any("/instances/" in path for _, path, _, _ in archive.asked)


def endless(handler) -> None:
    """Parts without an end, until the client goes away."""
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(multipart(encoded(ct_image(1)), end=b""))
    while True:
        handler.wfile.write(b"\0" * (1 << 20))


def trickle(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def cut(handler) -> None:
    """Fewer bytes than announced."""
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(multipart(encoded(ct_image(1))))
    handler.close_connection = True


def test_an_answer_without_an_end_is_left(tmp_path, monkeypatch) -> None:
    refused(honest() | {"/instances/1.2.3.999.1.2": endless}, tmp_path, InputTooLarge, "more than was announced", 1)
    refused(honest() | {"/instances/1.2.3.999.1.2": cut}, tmp_path, ServerUnreachable, "broke off in the middle", 1)
    monkeypatch.setattr(dicom_web, "SILENCE_S", 0.5)
    refused(honest() | {"/dicom-web/series": trickle}, tmp_path, ServerTimeout, "too slowly", 1)
    monkeypatch.setattr(dicom_web, "MAX_JSON_BYTES", 1000)
    refused(honest() | {"/metadata": said(b" " * 5000)}, tmp_path, InputTooLarge, "than is allowed", 1)


def test_a_silent_archive_and_none_at_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dicom_web, "SILENCE_S", 0.3)
    monkeypatch.setattr(dicom_association, "ANSWER_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(ServerTimeout, match="does not answer"):
            echo_web(WebNode("a", f"http://127.0.0.1:{port}/dicom-web"))
        with pytest.raises(ServerUnreachable, match="cannot be reached"):
            echo(DimseNode("a", "127.0.0.1", port, "ARCHIVE"))
    with pytest.raises(ServerUnreachable, match="cannot be reached"):
        find(WebNode("a", f"http://127.0.0.1:{port}/dicom-web"), study=STUDY)
    with pytest.raises(ServerUnreachable, match="cannot be reached"):
        find(DimseNode("a", "127.0.0.1", port, "ARCHIVE"), study=STUDY)


def test_https_is_checked_and_proxies_are_not_asked(tmp_path, monkeypatch) -> None:
    certificate, key = tls_files(tmp_path / "tls")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))  # another program's choice, not ours
    with FakeArchive({"/dicom-web/studies": said([])}, (certificate, key)) as archive:
        echo_web(node_of(archive, ca_file=str(certificate)))
        with pytest.raises(ServerUnreachable, match="certificate of the node archive is not trusted"):
            echo_web(node_of(archive))
        with pytest.raises(InvalidInput, match="certificates of the node archive are not there"):
            echo_web(node_of(archive, ca_file=str(tmp_path / "none.pem")))
        asked = [path for _, path, _, _ in archive.asked]
        assert len(asked) == 1 and "StudyInstanceUID=2.25.0" in asked[0]  # nobody's data was asked for


def stow(**sequences: list) -> dict:
    tags = {"failed": "00081198", "stored": "00081199"}
    return {tags[name]: {"vr": "SQ", "Value": items} for name, items in sequences.items()}


def item(uid: str, tag: str = "", reason: int = 0) -> dict:
    named = {"00081150": {"vr": "UI", "Value": [CTImageStorage]}, "00081155": {"vr": "UI", "Value": [uid]}}
    return named | ({tag: {"vr": "US", "Value": [reason]}} if tag else {})


OWN = "1.2.3.999.1.1"


@pytest.mark.parametrize(
    "answer, state, status, words",
    [
        (said(stow(stored=[item(OWN)])), STORED, "HTTP 200", ""),
        (said(stow(stored=[item(OWN)]), "application/dicom+json; charset=utf-8"), STORED, "HTTP 200", ""),
        (said(stow(stored=[item(OWN, "00081196", 0xB000)]), status=202), CHANGED, "0xB000", "changed some"),
        (said(stow(failed=[item(OWN, "00081197", 0xA700)]), status=409), REFUSED, "0xA700", "no room"),
        (said(stow(failed=[item(OWN, "00081197", 0x0122)]), status=202), REFUSED, "0x0122", "does not keep this kind"),
        (said(stow(stored=[item("1.2.3.4")])), REFUSED, "", "does not say that it stored it"),
        (said(b""), REFUSED, "", "does not say that it stored it"),
        (said(b"<p>thanks", "text/html"), REFUSED, "", "does not say that it stored it"),
        (said(b"<p>no", "text/html", status=409), REFUSED, "HTTP 409", "does not say why"),
        (said(b"", status=413), REFUSED, "HTTP 413", "too small"),
        (said(b"what?", status=400), REFUSED, "HTTP 400", "does not say why"),
    ],
)  # fmt: skip
def test_what_an_archive_says_of_a_sent_object_is_told(tmp_path, answer, state, status, words) -> None:
    (tmp_path / "0.dcm").write_bytes(encoded(ct_image(0)))
    with FakeArchive({f"/studies/{STUDY}": answer}) as archive:
        (one,) = send([tmp_path], node_of(archive), others=True)
        assert "application/dicom+json" in archive.asked[0][2]["Accept"]
    assert (one.state, one.status, one.what) == (state, status, "CT Image") and words in one.words
    assert not any(secret in repr(one) for secret in SECRETS)


def test_a_connection_that_breaks_while_sending_tells_what_is_there(tmp_path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.dcm").write_bytes(encoded(ct_image(index)))
    answers = iter([said(stow(stored=[item(OWN)])), lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)])
    with FakeArchive({f"/studies/{STUDY}": lambda handler: next(answers)(handler)}) as archive:
        sent = send([tmp_path], node_of(archive), others=True)
    assert [one.state for one in sent] == [STORED, NOT_SENT, NOT_SENT]
    assert "cannot be reached, or it broke off" in sent[1].words and sent[2].words == "Stopped before."
    with FakeArchive({f"/studies/{STUDY}": said(b"", status=302, Location="http://127.0.0.1:9/")}) as archive:
        with pytest.raises(ServerError, match="not followed"):
            send([tmp_path], node_of(archive), others=True)


class DimseArchive:
    """An archive of pynetdicom that answers C-STORE with ``status`` and C-GET with ``images``."""

    def __init__(self, status: Callable[[int], int] = lambda n: 0, images: tuple = (), listed: tuple = ()) -> None:
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
        )

        self._ae, self.stored = AE("ARCHIVE"), 0
        for kind in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet):
            self._ae.add_supported_context(kind)
        self._ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)

        def store(event) -> int:
            self.stored += 1
            answer = status(self.stored)
            if answer < 0:
                event.assoc.abort()
            return max(answer, 0)

        def found(event):
            for image in listed if event.identifier.QueryRetrieveLevel == "IMAGE" else listed[:1]:
                one = pydicom.Dataset()
                one.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                    setattr(one, name, image[name].value)
                yield 0xFF00, one
            yield 0x0000, None

        def got(event):
            yield len(images)
            for image in images:
                yield 0xFF00, image

        self.ended: list[str] = []
        handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, found), (evt.EVT_C_GET, got),
                    (evt.EVT_RELEASED, lambda event: self.ended.append("released")),
                    (evt.EVT_ABORTED, lambda event: self.ended.append("aborted"))]  # fmt: skip
        self._server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.node = DimseNode("pacs", "127.0.0.1", self._server.socket.getsockname()[1], "ARCHIVE")

    def __enter__(self) -> "DimseArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


def test_every_status_of_a_store_is_told(tmp_path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.dcm").write_bytes(encoded(ct_image(index)))
    answers = (0x0000, 0xB007, 0xA702, 0xC123, -1)
    with DimseArchive(lambda number: answers[number - 1]) as archive:
        sent = send([tmp_path], archive.node, others=True)
    assert [one.state for one in sent] == [STORED, CHANGED, REFUSED, REFUSED, NOT_SENT]
    assert [one.status for one in sent] == ["0x0000", "0xB007", "0xA702", "0xC123", ""]
    assert "does not match its kind" in sent[1].words and "no room" in sent[2].words
    assert "cannot understand" in sent[3].words and "broke off" in sent[4].words


def test_another_series_by_c_get_is_not_kept(tmp_path) -> None:
    listed = (ct_image(0), ct_image(1))
    with DimseArchive(images=(ct_image(0), other_series()), listed=listed) as archive:
        with pytest.raises(InvalidInput, match="another series than the one that was asked for"):
            receive(archive.node, SERIES, tmp_path / "ct")
    assert [file.name for file in (tmp_path / "ct.partial").iterdir()] == ["00001.dcm"]
    with DimseArchive(images=(ct_image(0),), listed=listed) as archive:
        with pytest.raises(ServerError, match="1 of 2 images did not come"):
            receive(archive.node, SERIES, tmp_path / "ct")
    with DimseArchive(images=listed, listed=listed) as archive:
        assert receive(archive.node, SERIES, tmp_path / "ct").fetched == 1


def test_an_image_without_an_end_by_c_get_is_left(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dicom_receive, "_MOST_IMAGE_BYTES", 200_000)
    long = ct_image(1)
    long.Rows, long.PixelData = 6000, bytes(6000 * 16 * 2)
    listed = (ct_image(0), ct_image(1))
    with DimseArchive(images=(ct_image(0), long), listed=listed) as archive:
        assert long.PixelData and receive(archive.node, SERIES, tmp_path / "whole").images == 2  # just below
        long.Rows, long.PixelData = 60_000, bytes(60_000 * 16 * 2)
        with pytest.raises(InputTooLarge, match="without an end"):
            receive(archive.node, SERIES, tmp_path / "ct")
    assert [file.name for file in (tmp_path / "ct.partial").iterdir()] == ["00001.dcm"]


def lungxai(*words: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    given = parser.parse_args(["dicom", *map(str, words)])
    return int(given.run(given))


def test_ctrl_c_stops_between_two_images_and_loses_none(tmp_path, monkeypatch, capsys) -> None:
    answers = honest()
    second = answers["/instances/1.2.3.999.1.2"]

    def pressed(handler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        second(handler)

    file = tmp_path / "nodes.toml"
    monkeypatch.setenv("LUNGXAI_NODES", str(file))
    command = ("receive", "--from", "archive", "--series", SERIES, "--out", tmp_path / "ct")
    with FakeArchive(answers | {"/instances/1.2.3.999.1.2": pressed}) as archive:
        file.write_text(f'[nodes.archive]\nkind = "dicomweb"\nurl = "{archive.url}"\n')
        assert lungxai(*command) == 130
        assert "Stopped. What came is kept; ask for the same series again" in capsys.readouterr().err
        assert len(list((tmp_path / "ct.partial").iterdir())) == 1
        archive.answers = honest()
        assert lungxai(*command) == 0 and "1 of them were there from the attempt before" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_sending_tells_what_is_there(tmp_path, monkeypatch, capsys) -> None:
    for index in range(3):
        (tmp_path / f"{index}.dcm").write_bytes(encoded(ct_image(index)))

    def pressed(handler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        said(stow(stored=[item(OWN)]))(handler)

    file = tmp_path / "nodes.toml"
    monkeypatch.setenv("LUNGXAI_NODES", str(file))
    with FakeArchive({f"/studies/{STUDY}": pressed}) as archive:
        file.write_text(f'[nodes.archive]\nkind = "dicomweb"\nurl = "{archive.url}"\n')
        assert lungxai("send", tmp_path, "--to", "archive", "--others") == 1
    out = capsys.readouterr().out
    assert "0.dcm  CT Image  stored (HTTP 200)" in out and "2.dcm  CT Image  not sent: Stopped before." in out
    assert "1 of 3 objects are in archive. Research use only" in out


def test_no_word_of_a_patient_reaches_a_log(tmp_path, caplog) -> None:
    """At the level of INFO, at which a server may run."""
    caplog.set_level("INFO")
    for index in range(2):
        (tmp_path / f"{index}.dcm").write_bytes(encoded(ct_image(index)))
    with DimseArchive(listed=(ct_image(0),)) as archive:
        send([tmp_path], archive.node, others=True)
        find(archive.node, study=STUDY)
    with FakeArchive(honest() | {f"/studies/{STUDY}": said(stow(stored=[item(OWN)]), Warning="299 Doe^Jane")}) as web:
        send([tmp_path], node_of(web), others=True)
        receive(node_of(web), SERIES, tmp_path / "ct")
    assert not any(secret in caplog.text for secret in SECRETS)


def test_a_connection_is_released_and_its_threads_end(tmp_path) -> None:
    (tmp_path / "0.dcm").write_bytes(encoded(ct_image(0)))
    with DimseArchive() as archive:
        before = threading.active_count()
        for _ in range(3):
            send([tmp_path], archive.node, others=True)
        send([tmp_path], archive.node, cancelled=lambda: True, others=True)  # not even opened
        until(lambda: len(archive.ended) == 3 and threading.active_count() <= before)
        assert archive.ended == ["released"] * 3 and archive.stored == 3
