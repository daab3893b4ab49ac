"""Cases: rows and files change together; deleting takes what no other case uses and nothing else."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from inference_server.cases import Cases
from inference_server.settings import Settings
from shared_models.contract.board_note import BoardNote
from shared_models.contract.errors import (
    InputTooLarge,
    InvalidInput,
    OutOfMemory,
    RequestError,
    ServerBusy,
    ServerError,
)


@pytest.fixture
def cases(tmp_path):
    opened = Cases(Settings(data_dir=tmp_path))
    yield opened
    opened.close()


def volume(cases: Cases, content: bytes) -> str:
    written = cases.blobs.put("upload", content)
    cases.add_volume(written)
    return written.sha256


def done(cases: Cases, case_id: str, job_id: str, sha256: str, **outputs: bytes) -> None:
    cases.add_job(job_id, case_id, "radiology", {"volume": sha256}, sha256)
    files = {name.replace("_", "/"): cases.blobs.put(job_id, data) for name, data in outputs.items()}
    cases.put_results(case_id, "radiology", files, job_id, sha256)


def files(cases: Cases) -> int:
    return len(list(cases.blobs.root.glob("*/*")))


def test_a_case_is_there_with_what_it_holds(cases) -> None:
    case_id = cases.create(None, synthetic=True)
    sha256 = volume(cases, b"ct")
    done(cases, case_id, "job-1", sha256, radiology=b"{}", radiology_mask=b"m", radiology_heatmaps_gradcam=b"h")
    held = cases.get(case_id)
    assert held["synthetic"] and held["radiology"] and not held["pathology"] and held["volume"] == sha256
    assert held["heatmaps"] == {"radiology": ["gradcam"], "pathology": []}
    assert [c["case_id"] for c in cases.all()] == [case_id]
    assert cases.part(case_id, "radiology/mask").read() == b"m"
    assert [row["state"] for row in cases.jobs()] == ["done"]


def test_new_results_replace_the_old_ones_and_the_fusion_made_from_them(cases) -> None:
    case_id = cases.create("c", False)
    sha256 = volume(cases, b"ct")
    done(cases, case_id, "job-1", sha256, radiology=b"1", radiology_heatmaps_gradcam=b"h")
    cases.put_json(case_id, "fusion", {"a": 1})
    done(cases, case_id, "job-2", sha256, radiology=b"2")
    assert set(cases.parts(case_id)) == {"radiology", "radiology/volume"}
    assert files(cases) == 2  # the CT and the new result


def test_a_shared_file_stays_until_its_last_case_goes(cases) -> None:
    sha256 = volume(cases, b"ct")
    for number in (1, 2):
        done(cases, cases.create(f"c{number}", False), f"job-{number}", sha256, radiology=b"same")
    assert files(cases) == 2
    cases.delete("c1")
    assert files(cases) == 2 and cases.has_volume(sha256) and cases.part("c2", "radiology").read() == b"same"
    cases.delete("c2")
    assert files(cases) == 0 and not cases.has_volume(sha256) and cases.jobs() == []


def test_the_result_of_a_deleted_case_is_not_kept(cases) -> None:
    case_id = cases.create("c", False)
    written = cases.blobs.put("job-1", b"late")
    cases.delete(case_id)
    cases.put_results(case_id, "radiology", {"radiology": written}, "job-1", None)
    assert files(cases) == 0


def test_a_batch_sent_twice_counts_once_and_must_agree_with_its_slide(cases) -> None:
    cases.create("c", False)
    for _ in range(2):
        assert cases.add_tiles("c", "s", 0.5, 256, 256, 7, cases.blobs.put("upload", b"tiles")) == 7
    assert cases.add_tiles("c", "s", 0.5, 256, 256, 3, cases.blobs.put("upload", b"more")) == 10
    with pytest.raises(InvalidInput, match="another pixel size"):
        cases.add_tiles("c", "s", 0.25, 256, 256, 3, cases.blobs.put("upload", b"other"))
    assert files(cases) == 2 and len(cases.tile_frames("c", "s")) == 2
    assert cases.get("c")["slides"] == [{"slide_id": "s", "mpp": 0.5, "tiles": 10}]


def test_names_are_unique_and_safe_and_missing_ones_are_404(cases) -> None:
    cases.create("c", False)
    with pytest.raises(InvalidInput, match="already"):
        cases.create("c", False)
    with pytest.raises(InvalidInput):
        cases.create("../c", False)
    with pytest.raises(RequestError) as fault:
        cases.get("other")
    assert fault.value.status == 404


def test_quotas(tmp_path) -> None:
    cases = Cases(Settings(data_dir=tmp_path, max_cases=1, max_case_bytes=10, max_total_bytes=15))
    cases.create("c", False)
    with pytest.raises(ServerBusy):
        cases.create("d", False)
    cases.add_tiles("c", "s", 0.5, 8, 8, 1, cases.blobs.put("upload", b"8 bytes."))
    with pytest.raises(InputTooLarge):
        cases.room(3, "c")
    with pytest.raises(OutOfMemory):
        cases.room(8)
    cases.room(2, "c")
    cases.close()


def test_two_servers_cannot_have_one_folder(cases, tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from inference_server.cases import Cases;"
        "from inference_server.settings import Settings; Cases(Settings(data_dir=Path(sys.argv[1])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 1 and "Another server is using this data folder" in run.stderr


def test_everything_is_there_after_opening_again(tmp_path) -> None:
    cases = Cases(Settings(data_dir=tmp_path))
    cases.create("c", False)
    sha256 = volume(cases, b"ct")
    cases.add_job("job-1", "c", "radiology", {"volume": sha256}, sha256)
    cases.start_job("job-1")
    cases.blobs.put("upload", b"left behind")
    cases.close()
    cases = Cases(Settings(data_dir=tmp_path))
    (job,) = cases.jobs("state IN ('queued', 'running')")
    assert (job["job_id"], job["attempts"], cases.has_volume(sha256)) == ("job-1", 1, True)
    assert not list(cases.blobs.tmp.iterdir())
    cases.close()


def test_a_newer_folder_is_left_alone(tmp_path) -> None:
    Cases(Settings(data_dir=tmp_path)).close()
    with sqlite3.connect(tmp_path / "cases.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ServerError, match="newer version"):
        Cases(Settings(data_dir=tmp_path))


def test_a_fusion_of_results_that_are_gone_is_not_kept(cases) -> None:
    """New results while the old ones are fused: what comes of the old ones would stand beside the new."""
    case_id = cases.create("c", False)
    sha256 = volume(cases, b"ct")
    done(cases, case_id, "job-1", sha256, radiology=b"1")
    made_from = cases.hashes(case_id)
    done(cases, case_id, "job-2", sha256, radiology=b"2")
    assert not cases.put_json(case_id, "fusion", {"old": True}, made_from)
    cases.put_json(case_id, "clinical", {"age_years": 60})
    made_from = cases.hashes(case_id)
    assert cases.put_json(case_id, "fusion", {"new": True}, made_from)
    assert cases.put_json(case_id, "fusion", {"again": True}, made_from)  # it does not depend on itself
    assert cases.part(case_id, "fusion").read() == b'{"again": true}'
    assert not list(cases.blobs.tmp.iterdir())


def test_a_file_that_is_not_what_was_kept_is_no_answer_and_can_be_sent_again(cases) -> None:
    sha256 = volume(cases, b"content")
    path = cases.blobs.path(sha256)
    for read in (lambda: cases.volume(sha256).read(), lambda: cases.volume(sha256).checked()):
        path.write_bytes(b"consent")
        with pytest.raises(ServerError, match="damaged"):
            read()
        assert not cases.has_volume(sha256)
        assert volume(cases, b"content") == sha256
        assert cases.volume(sha256).read() == b"content" and cases.volume(sha256).checked() == path
    opened = cases.volume(sha256)
    path.unlink()  # let go while it is read
    assert opened.read() == b"content"


def test_a_case_keeps_its_newest_jobs_and_all_that_wait(cases, monkeypatch) -> None:
    monkeypatch.setattr("inference_server.cases.KEPT_JOBS", 5)
    case_id, other = cases.create("c", False), cases.create("d", False)
    sha256 = volume(cases, b"ct")
    cases.add_job("other", other, "radiology", {"volume": sha256}, sha256)
    cases.end_job("other", "cancelled")
    for number in range(20):
        cases.add_job(f"job{number}", case_id, "radiology", {"volume": sha256}, sha256)
        if number not in (2, 11):
            cases.end_job(f"job{number}", "cancelled")
    names = [row["job_id"] for row in cases.jobs("case_id = ?", case_id)]
    assert names == ["job2", "job11", "job15", "job16", "job17", "job18", "job19"]
    assert cases.jobs("case_id = ?", other) and cases.has_volume(sha256)


def test_a_folder_of_the_version_without_notes_gets_them_and_keeps_what_it_holds(tmp_path) -> None:
    opened = Cases(Settings(data_dir=tmp_path))
    opened.create("kept", False)
    opened.close()
    with sqlite3.connect(tmp_path / "cases.sqlite") as db:
        db.execute("DROP TABLE notes")
        db.execute("PRAGMA user_version=1")
    opened = Cases(Settings(data_dir=tmp_path))
    opened.add_note("kept", BoardNote("seen"))
    opened.close()
    opened = Cases(Settings(data_dir=tmp_path))
    assert [note.text for note in opened.notes("kept")] == ["seen"]
    opened.close()


def test_a_case_holds_only_so_many_notes_and_takes_them_with_it(cases, monkeypatch) -> None:
    monkeypatch.setattr("inference_server.cases.KEPT_NOTES", 2)
    case_id = cases.create(None, False)
    for text in ("one", "two"):
        cases.add_note(case_id, BoardNote(text))
    with pytest.raises(InputTooLarge):
        cases.add_note(case_id, BoardNote("three"))
    assert [note.text for note in cases.notes(case_id)] == ["one", "two"]
    cases.delete(case_id)
    cases.create(case_id, False)
    assert cases.notes(case_id) == []
