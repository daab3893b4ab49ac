"""The file of nodes: what it may say, who may write it, and that nothing goes anywhere that it does not name."""

import argparse
import os
import stat
from pathlib import Path

import pytest
from dicom_files import SECRETS, ct_image, write, write_series

from inference_server.dicom_command import register
from inference_server.dicom_nodes import EXAMPLE, DimseNode, WebNode, node_named, nodes, nodes_file
from inference_server.dicom_receive import receive
from inference_server.dicom_send import send
from shared_models.contract.errors import InputTooLarge, InvalidInput, OutOfMemory

DIMSE = '[nodes.pacs]\nkind = "dimse"\nhost = "127.0.0.1"\nport = 104\ncalled_ae = "PACS"\n'
WEB = '[nodes.archive]\nkind = "dicomweb"\nurl = "http://127.0.0.1:8042/dicom-web"\n'
SERIES = "1.2.3.999.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configuration").mkdir(mode=0o755)
    (tmp_path / "configuration").chmod(0o755)
    return tmp_path / "configuration"


def file_of(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "nodes.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_there_is_no_node_by_default(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("LUNGXAI_NODES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert nodes_file() == tmp_path / "lungxai" / "nodes.toml" and nodes() == {}
    with pytest.raises(InvalidInput, match="None is configured.*nodes --example"):
        node_named("pacs")
    assert lungxai("nodes") == 0 and "No archive is configured; nothing can be sent" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # nor is one made


def lungxai(*words: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    given = parser.parse_args(["dicom", *map(str, words)])
    return int(given.run(given))


def test_the_example_is_one_that_works(folder, monkeypatch, capsys) -> None:
    assert lungxai("nodes", "--example") == 0
    file = file_of(folder, capsys.readouterr().out)
    known = nodes(file)
    assert isinstance(known["pacs"], DimseNode) and isinstance(known["archive"], WebNode)
    assert known["pacs"].tls and known["archive"].ca_file and EXAMPLE.count("consent = true") == 2
    monkeypatch.setenv("LUNGXAI_NODES", str(file))
    assert lungxai("nodes") == 0
    said = capsys.readouterr().out
    assert "pacs.hospital.example:11112" in said and "https://archive.hospital.example/dicom-web" in said


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_who_may_write_it_decides(folder) -> None:
    for mode in (0o620, 0o602, 0o666):
        with pytest.raises(InvalidInput, match="Others on this machine may write to .*chmod go-w"):
            nodes(file_of(folder, DIMSE, mode))
    assert set(nodes(file_of(folder, DIMSE, 0o644))) == {"pacs"}
    folder.chmod(0o777)
    with pytest.raises(InvalidInput, match="write to the folder"):
        nodes(folder / "nodes.toml")
    folder.chmod(0o755)
    if os.getuid() == 0:
        os.chown(folder / "nodes.toml", 12345, 12345)
        with pytest.raises(InvalidInput, match="somebody else"):
            nodes(folder / "nodes.toml")
    pipe = folder / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(InvalidInput, match="cannot be read"):
        nodes(pipe)  # and does not wait for it
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(
    "text, match",
    [
        ("[nodes.pacs", "not TOML"),
        pytest.param("[[[" * 5000, "not TOML", id="deep"),
        ("[node.pacs]", "something else than"),
        ("nodes = 3", "something else than"),
        ('[nodes."a b"]\nkind = "dimse"', "not plain"),
        ("[nodes.pacs]\n", "kind of the node pacs"),
        ('[nodes.pacs]\nkind = "ftp"', '"dimse" or "dicomweb"'),
        (DIMSE.replace("port = 104", ""), "has no port"),
        (DIMSE.replace("104", '"104"'), "It has to be a number"),
        (DIMSE.replace("104", "true"), "It has to be a number"),
        (DIMSE.replace("104", "70000"), "1 to 65535"),
        (DIMSE + "tsl = true", "unknown key 'tsl'"),  # a slip that would have sent it in the clear
        (DIMSE + 'token_file = "x"', "unknown key"),
        (DIMSE + 'name = "x"', "unknown key"),
        (DIMSE + "consent = 1", "true or false"),
        (DIMSE + 'ca_file = "x"', "tls of the node"),
        (DIMSE + 'tls = true\ncertificate_file = "x"', "key_file"),
        (DIMSE.replace('"PACS"', '"A TITLE TOO LONG FOR IT"'), "AE title"),
        (DIMSE.replace('"PACS"', '"  "'), "AE title"),
        (DIMSE.replace('"PACS"', '"A\\\\B"'), "AE title"),
        (DIMSE.replace("127.0.0.1", "a/b"), "host of the node"),
        (WEB.replace("http://", "ftp://"), "url of the node"),
        (WEB.replace("http://127.0.0.1:8042", "http://archive.hospital.example"), "It has to be https"),
        (WEB.replace("127.0.0.1:8042", "me:secret@127.0.0.1"), "password_file"),
        (WEB.replace("8042", "99999"), "url of the node"),
        (WEB.replace("dicom-web", "dicom-web?x=1"), "url of the node"),
        (WEB + 'token_variable = "A"\ntoken_file = "b"', "one of token_variable"),
        (WEB + 'user = "a"', "one of token_variable"),
        (WEB + 'password_file = "a"', "one of token_variable"),
        (WEB + 'password = "a secret"', "unknown key 'password'"),
        pytest.param("#" * (1 << 19), "too large", id="large"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(folder, text, match) -> None:
    with pytest.raises(InvalidInput, match=match) as fault:
        nodes(file_of(folder, text))
    assert fault.value.remedy and "a secret" not in str(fault.value)


def test_another_machine_needs_consent(folder, tmp_path, monkeypatch) -> None:
    far = DIMSE.replace("127.0.0.1", "pacs.hospital.example") + WEB.replace(
        "http://127.0.0.1:8042", "https://a.example"
    )
    file = file_of(folder, far)
    write(ct_image(0), tmp_path / "0.dcm")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("it went out"))
    for name in ("pacs", "archive"):
        with pytest.raises(InvalidInput, match="on another machine.*consent = true"):
            node_named(name, file)
        node = nodes(file)[name]  # nor by any other way
        with pytest.raises(InvalidInput, match="another machine"):
            send([tmp_path / "0.dcm"], node, others=True)
        with pytest.raises(InvalidInput, match="another machine"):
            receive(node, SERIES, tmp_path / "out")
    agreed = file_of(folder, far.replace("port = 104", "port = 104\nconsent = true") + "consent = true\n")
    assert node_named("pacs", agreed).consent and node_named("archive", agreed).consent
    assert not (tmp_path / "out.partial").exists()


def test_secrets_come_from_a_variable_or_a_file_of_ones_own(folder) -> None:
    secret = folder / "secret"
    secret.write_text("s3cr3t\n")
    secret.chmod(0o600)
    url = "http://127.0.0.1/dicom-web"
    assert WebNode("a", url).authorization({}) == ""
    assert WebNode("a", url, token_variable="T").authorization({"T": " t0ken "}) == "Bearer t0ken"
    assert WebNode("a", url, token_file=str(secret)).authorization({}) == "Bearer s3cr3t"
    basic = WebNode("a", url, user="me", password_file=str(secret)).authorization({})
    assert basic == "Basic bWU6czNjcjN0"
    with pytest.raises(InvalidInput, match="T holds no secret.*Set T first"):
        WebNode("a", url, token_variable="T").authorization({})
    with pytest.raises(InvalidInput, match="characters that no token has"):
        WebNode("a", url, token_variable="T").authorization({"T": "two\r\nX-Header: lines"})
    with pytest.raises(InvalidInput, match="cannot be read"):
        WebNode("a", url, token_file=str(folder / "none")).authorization({})
    if os.name == "posix":
        secret.chmod(0o640)
        with pytest.raises(InvalidInput, match="Others on this machine can read") as fault:
            WebNode("a", url, token_file=str(secret)).authorization({})
        assert "s3cr3t" not in str(fault.value)


def test_the_commands_have_examples(capsys) -> None:
    for action in ("nodes", "echo", "send", "find", "receive"):
        with pytest.raises(SystemExit) as end:
            lungxai(action, "--help")
        assert end.value.code == 0 and f"  lungxai dicom {action}" in capsys.readouterr().out


def test_a_series_is_picked_out_of_a_folder(tmp_path) -> None:
    write_series(tmp_path / "disc" / "a", 3)
    write_series(tmp_path / "disc" / "b", 4, series="2")
    (tmp_path / "disc" / "readme.txt").write_text("no image")
    came = receive(tmp_path / "disc", SERIES, tmp_path / "ct")
    assert came.images == 3 and sorted(p.name for p in came.folder.iterdir()) == [f"0000{n}.dcm" for n in (1, 2, 3)]
    originals = sorted(p.read_bytes() for p in (tmp_path / "disc" / "a").iterdir())
    assert sorted(p.read_bytes() for p in came.folder.iterdir()) == originals
    with pytest.raises(InvalidInput, match="holds something already"):
        receive(tmp_path / "disc", SERIES, tmp_path / "ct")
    with pytest.raises(InvalidInput, match="no images"):
        receive(tmp_path / "disc", "1.2.3", tmp_path / "none")
    with pytest.raises(InvalidInput, match="not the UID of a series"):
        receive(tmp_path / "disc", "../1.2", tmp_path / "none")
    with pytest.raises(InputTooLarge, match="more than 2 images"):
        receive(tmp_path / "disc", SERIES, tmp_path / "none", max_images=2)
    with pytest.raises(InvalidInput, match="beginning of another series.*Delete it"):
        receive(tmp_path / "disc", "1.2.3.999.2", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_damaged_image_or_a_full_disk_ends_it(tmp_path, monkeypatch) -> None:
    write_series(tmp_path / "disc", 2)
    write(ct_image(2), tmp_path / "disc" / "cut.dcm", cut=40)
    with pytest.raises(InvalidInput, match="not whole|damaged") as fault:
        receive(tmp_path / "disc", SERIES, tmp_path / "ct")
    assert not any(secret in str(fault.value) for secret in SECRETS)
    (tmp_path / "disc" / "cut.dcm").unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inference_server.dicom_incoming.shutil.copyfile", full)
    with pytest.raises(OutOfMemory, match="disk is full.*goes on from there"):
        receive(tmp_path / "disc", SERIES, tmp_path / "ct2")
    assert not list(tmp_path.glob("ct2*"))


def test_what_is_no_dicom_is_not_sent(tmp_path) -> None:
    node = DimseNode("pacs", "127.0.0.1", 1, "PACS")  # where nobody listens: none of these gets so far
    with pytest.raises(InvalidInput, match="is not there"):
        send([tmp_path / "none"], node)
    (tmp_path / "report.html").write_text("<html>")
    with pytest.raises(InvalidInput, match="is no DICOM file"):
        send([tmp_path / "report.html"], node)
    with pytest.raises(InvalidInput, match="There is no DICOM file"):
        send([tmp_path], node)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    with pytest.raises(InvalidInput, match="bad.dcm is a damaged DICOM file"):
        send([tmp_path], node)
