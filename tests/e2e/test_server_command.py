"""`lungxai serve` and `lungxai doctor` as a person runs them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lungxai(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference_server.serve_command", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_help_has_examples(command: str) -> None:
    run = lungxai(command, "--help")
    assert run.returncode == 0 and f"  lungxai {command} --" in run.stdout and "--data-dir" in run.stdout


def test_a_device_that_is_not_there_ends_the_server_in_words(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    missing = "mps" if torch.cuda.is_available() else "cuda"
    run = lungxai("serve", "--device", missing, "--port", 0, "--data-dir", tmp_path)
    assert run.returncode == 1 and f"The device {missing} was asked for" in run.stderr
    assert "Use --device auto" in run.stderr and "Traceback" not in run.stderr


def test_what_cannot_be_served_is_said(tmp_path) -> None:
    run = lungxai("serve", "--host", "0.0.0.0", "--data-dir", tmp_path)
    assert run.returncode == 2 and "--allow-remote" in run.stderr and not list(tmp_path.iterdir())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = lungxai("serve", "--data-dir", tmp_path, LUNGXAI_PORT=str(taken.getsockname()[1]))
    assert run.returncode == 1 and "cannot be used" in run.stderr and "--port" in run.stderr
    assert lungxai("serve", LUNGXAI_PORT="many").returncode == 2


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path) -> None:
    empty, data = tmp_path / "models", tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    run = lungxai("doctor", "--json", "--models", empty, "--data-dir", data, "--port", 0)
    report = json.loads(run.stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert run.returncode == 1 and not report["ok"]
    assert not found["models"]["ok"] and "--models" in found["models"]["remedy"]
    assert not found["data folder's rights"]["ok"] and "chmod" in found["data folder's rights"]["remedy"]
    assert found["Python"]["ok"] and found["numpy"]["ok"] and found["SQLite"]["ok"]
    assert not list(data.iterdir())  # it looks and changes nothing
    text = lungxai("doctor", "--models", empty, "--data-dir", data, "--port", 0)
    assert text.returncode == 1 and "MISSING models" in text.stdout and "ok      numpy" in text.stdout


def test_doctor_finds_a_weights_file_that_was_changed(tmp_path) -> None:
    bundle = tmp_path / "models" / "m"
    for folder in ("configs", "models"):
        (bundle / folder).mkdir(parents=True)
    (bundle / "models" / "w.onnx").write_bytes(b"other weights")
    own = {"model_id": "m", "modality": "pathology", "coverage": [], "calibrated": False}
    own["weights"] = {"models/w.onnx": "0" * 64}
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "1", "lungxai": own}))
    run = lungxai("doctor", "--json", "--models", tmp_path / "models", "--data-dir", tmp_path / "d", "--port", 0)
    (finding,) = [f for f in json.loads(run.stdout)["findings"] if f["name"] == "model m"]
    assert not finding["ok"] and "not the ones its card names" in finding["found"] and run.returncode == 1


def test_doctor_says_what_lays_out_pdfs_or_that_nothing_does(monkeypatch, tmp_path) -> None:
    from inference_server import doctor

    blocked = tmp_path / "weasyprint.py"
    blocked.write_text("raise OSError('no pango')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr("inference_server.report_pdf.find_browser", lambda: None)
    missing = doctor._pdf()
    assert not missing.ok and not missing.needed and "libpango" in missing.remedy
    monkeypatch.setattr("inference_server.report_pdf.find_browser", lambda: Path("/usr/bin/chromium"))
    assert doctor._pdf().ok and "chromium" in doctor._pdf().found
