"""The server as a client meets it: every route, every refusal. A real process; the models are fake."""

import json
import struct
import zlib

import numpy as np
import pytest
import requests
from fake_server import ct, fake_server, frame_start, raw, sha256, tiles, until

from inference_server.dashboard import PAGES
from shared_models.contract import errors, routes
from shared_models.contract.board_note import MAX_TEXT, BoardNote
from shared_models.contract.client import Client
from shared_models.contract.codec import PREFIX_BYTES, PROTOCOL_VERSION, encode
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import ClinicalFields, CTVolume

ROUTES = {
    "GET /v1/healthz", "GET /v1/readyz", "GET /v1/info",
    "POST /v1/cases", "GET /v1/cases", "GET /v1/cases/{case_id}", "DELETE /v1/cases/{case_id}",
    "HEAD /v1/volumes/{sha256}", "GET /v1/volumes/{sha256}", "PUT /v1/volumes/{sha256}",
    "POST /v1/cases/{case_id}/tiles",
    "GET /v1/cases/{case_id}/clinical", "PUT /v1/cases/{case_id}/clinical",
    "GET /v1/cases/{case_id}/radiology", "POST /v1/cases/{case_id}/radiology",
    "GET /v1/cases/{case_id}/radiology/mask", "PUT /v1/cases/{case_id}/radiology/mask",
    "GET /v1/cases/{case_id}/{modality}/heatmaps/{method}",
    "GET /v1/cases/{case_id}/pathology", "POST /v1/cases/{case_id}/pathology",
    "GET /v1/cases/{case_id}/fusion", "POST /v1/cases/{case_id}/fusion", "GET /v1/cases/{case_id}/report",
    "GET /v1/cases/{case_id}/notes", "POST /v1/cases/{case_id}/notes",
    "GET /v1/jobs/{job_id}", "DELETE /v1/jobs/{job_id}", "GET /v1/jobs/{job_id}/events",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = fake_server(tmp_path_factory.mktemp("data"), max_upload_bytes=8 << 20, max_axis=600)
    with running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as connected:
        yield connected


def send(server, method: str, path: str, data: bytes = b"", **headers: str) -> requests.Response:
    own = {"Authorization": f"Bearer {server.token}", routes.PROTOCOL_HEADER: str(PROTOCOL_VERSION), **headers}
    return requests.request(method, server.url + path, data=data, headers=own, timeout=20)


def refusal(answer: requests.Response) -> tuple[int, str]:
    """(status, code) of an answer that has to be an error in our form, with nothing in it that it must not say."""
    body = answer.json()
    assert set(body) == {"code", "message", "remedy"} and body["message"] and body["remedy"]
    assert "Traceback" not in answer.text and ".py" not in answer.text
    assert answer.headers[routes.PROTOCOL_HEADER] == str(PROTOCOL_VERSION)
    return answer.status_code, body["code"]


def test_the_routes_are_these_and_no_others() -> None:
    from inference_server.app import build_app
    from inference_server.settings import Settings

    app = build_app(Settings(), None, None, None)  # type: ignore[arg-type]
    pages = {f"GET {path}" for path in PAGES}
    assert {f"{method} {route.path}" for route in app.routes for method in route.methods} == ROUTES | pages


def test_a_case_goes_through(client) -> None:
    case_id = client.create_case(synthetic=True)
    sha = client.put_volume(ct())
    seen: list = []
    client.wait(client.radiology(case_id, sha, [(1, 2, 3)], explain=["gradcam"]), seen.append)
    assert seen[-1].state == "done" and seen[-1].fraction == 1.0
    result = client.radiology_result(case_id)
    assert result.provenance[0].device == "cpu" and result.probabilities["small_cell"] is None
    assert np.array_equal(client.mask(case_id).labels, ct().voxels > 0)
    assert np.array_equal(client.heatmap(case_id, "radiology", "gradcam").values, np.abs(ct().voxels) * np.float32(1.1))
    assert client.put_tiles(case_id, tiles(5)) == 5
    assert client.put_tiles(case_id, tiles(5)) == 5  # the same batch again
    assert client.put_tiles(case_id, tiles(3, first=4)) == 8  # one tile of it was there already
    client.wait(client.pathology(case_id, "s", ["gradcam"]))
    slide = client.pathology_result(case_id)
    assert slide.origin_px.tolist() == [[32 * n, 0] for n in range(7)] and slide.tile_px == (32.0, 32.0)
    assert np.allclose(slide.tile_probabilities[:, 0], 200 / 255)
    assert client.heatmap(case_id, "pathology", "gradcam").values.shape == (1, 7)
    client.put_clinical(case_id, ClinicalFields(age_years=61, smoking="former"))
    held = client.case(case_id)
    assert held["radiology"] and held["pathology"] and held["clinical"] and held["synthetic"]
    assert [job["state"] for job in held["jobs"]] == ["done", "done"]
    client.delete_case(case_id)
    with pytest.raises(errors.RequestError):
        client.case(case_id)
    assert send_head(client, sha) == 404


def test_a_corrected_segmentation_is_measured(client, server) -> None:
    case_id = client.create_case()
    sha = client.put_volume(ct())
    with pytest.raises(errors.InvalidInput, match="corrected segmentation"):
        client.radiology(case_id, sha, corrected=True)
    client.wait(client.radiology(case_id, sha))
    labels = np.zeros(ct().voxels.shape, np.uint8)
    labels[1, 2:5, 3:6] = 7
    client.put_mask(case_id, LabelVolume(labels + 1, ct().ijk_to_lps, "x"))
    client.put_mask(case_id, LabelVolume(labels, ct().ijk_to_lps, "x"))  # the last one counts
    client.wait(client.radiology(case_id, sha, corrected=True, explain=["gradcam"]))
    assert client.radiology_result(case_id).nodules[0].found_by == "hand"
    assert np.array_equal(client.mask(case_id).labels, labels)
    with pytest.raises(errors.InvalidInput, match="corrected segmentation"):  # one correction, one job
        client.radiology(case_id, sha, corrected=True)
    moved = np.array(ct().ijk_to_lps)
    moved[0, 3] += 5
    client.put_mask(case_id, LabelVolume(labels, moved, "x"))
    with pytest.raises(errors.BadGeometry, match="grid"):
        client.wait(client.radiology(case_id, sha, corrected=True))
    frame = encode(ct())
    assert refusal(send(server, "PUT", routes.mask(case_id), frame)) == (422, "InvalidInput")
    client.delete_case(case_id)


def test_this_nodule_alone_can_be_asked_for(client) -> None:
    case_id, sha = client.create_case(), client.put_volume(ct())
    with pytest.raises(errors.InvalidInput, match="pointed at"):
        client.radiology(case_id, sha, search=False)
    client.wait(client.radiology(case_id, sha, [(1, 2, 3)], search=False))
    assert [nodule.found_by for nodule in client.radiology_result(case_id).nodules] == ["point"]


def test_a_ct_comes_back_as_it_was_sent(client) -> None:
    sha = client.put_volume(ct(seed=3))
    back = client.volume(sha)
    assert np.array_equal(back.voxels, ct(seed=3).voxels) and np.array_equal(back.ijk_to_lps, ct().ijk_to_lps)
    with pytest.raises(errors.RequestError, match="CT"):
        client.volume("0" * 64)


def send_head(client, sha: str) -> int:
    return client._request("HEAD", routes.volume(sha)).status_code


def test_info_says_what_the_server_is(client) -> None:
    info = client.info()
    assert info["protocol"] == 1 and info["device"] == "cpu" and "zlib" in info["compressions"]
    assert {model["modality"] for model in info["models"]} == {"radiology", "pathology"}
    assert "not a diagnosis" in info["notice"]


def test_what_is_not_there_yet_is_said(client, server) -> None:
    case_id = client.create_case()
    for path in ("radiology", "pathology", "clinical", "fusion", "radiology/mask", "radiology/heatmaps/gradcam"):
        assert refusal(send(server, "GET", f"{routes.case(case_id)}/{path}")) == (404, "RequestError")
    with pytest.raises(errors.InvalidInput, match="tiles"):
        client.pathology(case_id, "s")
    with pytest.raises(errors.InvalidInput, match="CT"):
        client.radiology(case_id, "0" * 64)


# Who may ask


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer ", "Basic abc", "Bearer \xff"])
def test_no_token_no_answer(server, token: str) -> None:
    for method, path in (("GET", routes.INFO), ("POST", routes.CASES), ("GET", "/metrics"), ("GET", "/openapi.json")):
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
        )
        answer = raw(server.url, request.encode("latin-1"))
        assert answer.startswith(b"HTTP/1.1 401 ") and b'"code"' in answer


def test_health_needs_no_token_and_says_nothing_more(server) -> None:
    answer = requests.get(server.url + routes.HEALTHZ, timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "localhost.evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_another_name_or_a_web_page_is_refused(server, headers: dict[str, str]) -> None:
    for path in (routes.INFO, routes.HEALTHZ):
        answer = send(server, "GET", path, **headers)
        assert refusal(answer) == (403, "RequestError")
        assert "access-control-allow-origin" not in answer.headers


def test_the_servers_own_names_and_origin_are_fine(server) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert send(server, "GET", routes.INFO, Host=f"localhost:{port}").status_code == 200
    assert send(server, "GET", routes.INFO, Origin=server.url).status_code == 200
    twice = f"GET /v1/info HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(server.url, twice.encode()).split(b" ")[1] in (b"400", b"403")


def test_another_protocol_is_a_mismatch(server) -> None:
    for version in ("2", "", "1.0"):
        assert refusal(send(server, "GET", routes.INFO, **{routes.PROTOCOL_HEADER: version})) == (
            409,
            "ContractMismatch",
        )


# What may be asked


@pytest.mark.parametrize(
    "path",
    [
        "/v1/cases/..%2f..%2fetc%2fpasswd",
        "/v1/cases/%2e%2e",
        "/v1/cases/a%00b",
        "/v1/cases/c/radiology/heatmaps/..%2f..%2ftoken",
        "/v1/cases/c/clinical/heatmaps/gradcam",
        "/v1/volumes/..%2f..%2ftoken",
        "/v1/volumes/" + "A" * 64,
        "/v1/jobs/..%2ftoken",
        "/v1/token",
        "/docs",
        "/openapi.json",
        "//etc/passwd",
    ],
)
def test_no_path_names_anything_else(server, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        status, _ = refusal(send(server, method, path, b"{}", **{"Content-Type": "application/json"}))
        assert status in (404, 405, 411, 422)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/cases", b"[]", 422),
        ("POST", "/v1/cases", b"{", 422),
        ("POST", "/v1/cases", b"[" * 50_000, 422),
        ("POST", "/v1/cases", b'{"case_id": "../x"}', 422),
        ("POST", "/v1/cases", b'{"case_id": 5}', 422),
        ("POST", "/v1/cases", b'{"synthetic": "yes"}', 422),
        ("POST", "/v1/cases", b'{"patient": "x"}', 422),
        ("POST", "/v1/cases", b" " * (routes.MAX_JSON_BYTES + 1), 413),
        ("PATCH", "/v1/cases", b"{}", 405),
        ("PUT", "/v1/cases/c1/clinical", b'{"age_years": -1}', 422),
        ("PUT", "/v1/cases/c1/clinical", b'{"name": "x"}', 422),
        ("POST", "/v1/cases/c1/radiology", b"{}", 422),
        ("POST", "/v1/cases/c1/radiology", b'{"volume": "../token"}', 422),
        ("POST", "/v1/cases/c1/pathology", b'{"slide_id": ""}', 422),
        ("POST", "/v1/cases/c1/pathology", b'{"slide_id": "s", "explain": ["magic"]}', 422),
        ("POST", "/v1/cases/c1/fusion", b'{"weights": {"radiology": -1}}', 422),
        ("GET", "/v1/jobs/none/events", b"", 404),
        ("DELETE", "/v1/jobs/none", b"", 404),
    ],
)
def test_a_bad_request_is_refused_in_words(server, client, method: str, path: str, body: bytes, status: int) -> None:
    try:
        client.create_case("c1")
    except errors.InvalidInput:
        pass  # it is there already
    assert refusal(send(server, method, path, body, **{"Content-Type": "application/json"}))[0] == status


@pytest.mark.parametrize(
    "fields",
    [
        {"points_lps_mm": [[1, 2]]},
        {"points_lps_mm": [[1, 2, "3"]]},
        {"points_lps_mm": [[1, 2, 1e300]]},
        {"points_lps_mm": [[0, 0, 0]] * 1000},
        {"boxes_lps_mm": [[[0, 0, 0], [0, 1, 1]]]},
        {"boxes_lps_mm": 5},
        {"explain": "gradcam"},
        {"weights": "/etc/passwd"},
    ],
)
def test_points_and_boxes_are_checked(server, client, fields: dict) -> None:
    case_id, sha = client.create_case(), client.put_volume(ct())
    body = json.dumps({"volume": sha, **fields}).encode()
    answer = send(server, "POST", routes.case(case_id, "radiology"), body, **{"Content-Type": "application/json"})
    assert refusal(answer)[0] in (413, 422)
    assert client.case(case_id)["jobs"] == []


def test_a_body_without_its_content_type_is_refused(server) -> None:
    """A form of a web page can send text/plain without asking first; JSON it cannot."""
    assert refusal(send(server, "POST", routes.CASES, b"{}", **{"Content-Type": "text/plain"})) == (422, "InvalidInput")


# What may be sent


def prefix(version: int, kind: int, header: bytes, payload: bytes, claimed: int = -1) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(header))
    size = len(payload) if claimed < 0 else claimed
    return struct.pack("<4sHHIQI", b"LXAI", version, kind, len(header), size, crc) + header + payload


def lying(shape: list, payload: bytes, **fields: object) -> bytes:
    header = {"shape": shape, "ijk_to_lps": np.eye(4).tolist(), "series_uid": "1", **fields}
    return prefix(1, 1, json.dumps(header).encode(), payload)


BOMB = zlib.compress(bytes(1 << 20), 1)
HOSTILE = {
    "not a frame": (b"PK" + bytes(100), (409, "ContractMismatch")),
    "another version": (prefix(9, 1, b"{}", b""), (409, "ContractMismatch")),
    "an unknown kind": (prefix(1, 77, b"{}", b""), (422, "InvalidInput")),
    "a header of 4 GB": (struct.pack("<4sHHIQI", b"LXAI", 1, 1, 0xFFFFFFFF, 1, 0) + bytes(64), (413, "InputTooLarge")),
    "no header": (struct.pack("<4sHHIQI", b"LXAI", 1, 1, 0, 64, 0) + bytes(64), (422, "InvalidInput")),
    "deep JSON": (prefix(1, 1, b"[" * 100_000, b""), (422, "InvalidInput")),
    "4 GB claimed": (lying([2048, 1024, 1024], BOMB), (413, "InputTooLarge")),
    "1 GB in 1 kB": (lying([512, 1024, 1024], BOMB), (422, "InvalidInput")),
    "an axis too long": (lying([1, 1, 601], bytes(2000)), (413, "InputTooLarge")),
    "a negative axis": (lying([-4, -4, 4], bytes(128)), (422, "InvalidInput")),
    "a flat grid": (lying([2, 2, 2], bytes(16), ijk_to_lps=np.diag([1, 1, 0, 1.0]).tolist()), (422, "BadGeometry")),
    "NaN geometry": (lying([2, 2, 2], bytes(16), ijk_to_lps=[[float("nan")] * 4] * 4), (422, "BadGeometry")),
    "no geometry": (lying([2, 2, 2], bytes(16), ijk_to_lps="x"), (422, "InvalidInput")),
    "a wrong payload size": (prefix(1, 1, b'{"shape": [2,2,2]}', bytes(16), claimed=99), (422, "InvalidInput")),
    "tiles in place of a CT": (encode(tiles(1)), (422, "InvalidInput")),
    "a flipped bit": (encode(ct())[:-1] + bytes([encode(ct())[-1] ^ 1]), (422, "InvalidInput")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_refused_and_leaves_nothing(server, name: str) -> None:
    frame, expected = HOSTILE[name]
    assert refusal(send(server, "PUT", routes.volume(sha256(frame)), frame)) == expected
    assert not list((server.data_dir / "tmp").iterdir())
    assert send(server, "HEAD", routes.volume(sha256(frame))).status_code == 404


def test_a_bomb_that_is_stored_is_a_failed_job_not_a_dead_server(client, server) -> None:
    """The payload inflates to more than the header says: seen when it is read, stopped one byte past the declared."""
    frame = lying([1, 512, 512], zlib.compress(bytes(64 << 20), 1))
    assert send(server, "PUT", routes.volume(sha256(frame)), frame).status_code == 201
    with pytest.raises(errors.InvalidInput, match="do not agree"):
        client.wait(client.radiology(client.create_case(), sha256(frame)))


def test_too_large_is_said_before_it_is_sent(server) -> None:
    head = (
        f"PUT {routes.volume('0' * 64)} HTTP/1.1\r\nHost: {server.url[7:]}\r\nAuthorization: Bearer {server.token}\r\n"
    )
    head += f"{routes.PROTOCOL_HEADER}: 1\r\nConnection: close\r\n"
    answer = raw(server.url, (head + f"Content-Length: {9 << 40}\r\n\r\n").encode())
    assert b" 413 " in answer.split(b"\r\n")[0] and b"InputTooLarge" in answer
    chunked = raw(server.url, (head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").encode())
    assert b" 411 " in chunked.split(b"\r\n")[0] and b"InvalidInput" in chunked


def test_the_name_has_to_be_the_hash(server) -> None:
    frame = encode(ct(seed=9))
    assert refusal(send(server, "PUT", routes.volume("0" * 64), frame)) == (422, "InvalidInput")
    assert not list((server.data_dir / "tmp").iterdir())


def test_hostile_tiles_are_refused(client, server) -> None:
    case_id = client.create_case()
    path = routes.case(case_id, "tiles")
    good = json.loads(encode(tiles(2))[PREFIX_BYTES : frame_start(encode(tiles(2)))])
    for change in (
        {"origin_px": [[0, 0]]},
        {"origin_px": [[0, 0], [0.5, 0]]},
        {"origin_px": "x"},
        {"mpp": 0},
        {"mpp": None},
        {"mpp": float("inf")},
        {"slide_id": ""},
        {"slide_id": 7},
        {"slide_id": "a\nb"},
        {"shape": [2, 16, 12, 4]},
        {"shape": [1, 2, 256, 3]},
    ):
        frame = prefix(1, 2, json.dumps({**good, **change}).encode(), bytes(2 * 16 * 16 * 3))
        assert refusal(send(server, "POST", path, frame))[0] == 422, change
    assert refusal(send(server, "POST", path, encode(tiles(257, side=2)))) == (413, "InputTooLarge")
    assert refusal(send(server, "POST", path, encode(ct()))) == (422, "InvalidInput")
    assert refusal(send(server, "POST", routes.case("none", "tiles"), encode(tiles(1))))[0] == 404
    assert client.case(case_id)["slides"] == []


def test_a_fault_of_our_own_names_no_patient(client, server) -> None:
    """The model raises an exception with a name in it: neither the answer nor the log repeats it."""
    case_id = client.create_case()
    with pytest.raises(errors.ServerError) as fault:
        client.wait(client.radiology(case_id, client.put_volume(ct("fail"))))
    assert "Doe" not in str(fault.value)
    log = until(lambda: (server.log.read_text() if "a job failed: KeyError" in server.log.read_text() else ""))
    assert "Doe" not in log and "Traceback" not in log and case_id not in log and server.token not in log


def test_the_token_is_its_owners_alone(server) -> None:
    assert (server.data_dir / "token").stat().st_mode & 0o777 == 0o600
    for path in server.data_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_volume_is_a_ct(client) -> None:
    """What is stored is what was sent, to the bit, by either compression."""
    volume = ct(seed=3, shape=(20, 64, 64))
    case_id = client.create_case()
    for compression in ("zlib", "blosc2"):
        client._compression = compression
        client.wait(client.radiology(case_id, client.put_volume(CTVolume(volume.voxels, volume.ijk_to_lps, "1"))))
        assert np.array_equal(client.mask(case_id).labels, volume.voxels > 0)


# The board's notes


def test_the_board_s_notes_are_kept_in_order_and_say_what_they_were_written_about(client) -> None:
    case_id = client.create_case()
    client.put_clinical(case_id, ClinicalFields(age_years=60))
    first = client.add_note(case_id, BoardNote("Biopsy first.\nThen PET.", "Biopsy", "Dr. Æ. Müller"))
    assert first.created and first.about == client.case(case_id)["about"]
    client.put_clinical(case_id, ClinicalFields(age_years=61))
    assert client.case(case_id)["about"] != first.about  # what it was written about is not what the case says now
    second = client.add_note(case_id, BoardNote(decision="Surgery"))
    assert client.notes(case_id) == [first, second] and second.about != first.about
    client.delete_case(case_id)
    with pytest.raises(errors.RequestError):
        client.notes(case_id)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"text": " \n "}, {"text": "x" * (MAX_TEXT + 1)}, {"text": "a\u0000b"}, {"text": "\u202edrawkcab"},
        {"text": 1}, {"decision": "two\nlines"}, {"text": "x", "author": None}, {"text": "\ud800"},
        {"text": "x", "created": "2020-01-01T00:00:00+00:00"}, {"text": "x", "about": "0" * 64},
    ],
)  # fmt: skip
def test_a_note_that_is_none_or_says_more_than_it_may_is_refused(server, client, body) -> None:
    case_id = client.create_case()
    path = routes.case(case_id, "notes")
    answer = send(server, "POST", path, json.dumps(body).encode(), **{"Content-Type": "application/json"})
    assert refusal(answer) == (422, "InvalidInput")
    assert client.notes(case_id) == []


@pytest.mark.parametrize("query", ["format=docx", "paper=a3", "format=pdf&paper=../a4"])
def test_a_report_in_another_form_is_refused(server, client, query) -> None:
    path = routes.case(client.create_case(), "report") + "?" + query
    assert refusal(send(server, "GET", path)) == (422, "InvalidInput")


def test_the_page_needs_no_token_holds_no_data_and_nothing_else_is_served_beside_it(server, client) -> None:
    case_id = client.create_case()
    for path in sorted(PAGES):
        answer = requests.get(server.url + path, timeout=20)
        assert answer.status_code == 200 and case_id not in answer.text and server.token not in answer.text
    for path in ("/dashboard/../app.py", "/dashboard/%2e%2e/app.py", "/dashboard/", "/dashboard", "/index.html", "//"):
        assert requests.get(server.url + path, timeout=20).status_code == 401
    assert requests.post(server.url + "/", timeout=20).status_code == 401
    assert requests.get(server.url + "/", headers={"Host": "evil.example"}, timeout=20).status_code == 403


def test_the_list_of_cases_tells_of_jobs_that_are_not_done(server, client) -> None:
    failed, done = client.create_case(), client.create_case()
    sha = client.put_volume(ct("fail"))
    with pytest.raises(errors.LungXAIError):
        client.wait(client.radiology(failed, sha))
    client.wait(client.radiology(done, client.put_volume(ct())))
    told = {job["case_id"]: job for job in send(server, "GET", routes.CASES).json()["jobs"]}
    assert told[failed]["state"] == "failed" and told[failed]["error"]["message"] and done not in told
    client.wait(client.radiology(failed, client.put_volume(ct())))  # a newer job that is done takes its place
    assert failed not in {job["case_id"] for job in send(server, "GET", routes.CASES).json()["jobs"]}
