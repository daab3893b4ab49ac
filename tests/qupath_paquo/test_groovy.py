"""The Groovy half of the bridge, run by a real Groovy: its frames against the golden ones, its client against a server.

QuPath itself is not here, so the scripts that talk to it are only parsed; LungXAI.groovy, which has no part in QuPath,
is run. Needs Debian's groovy and libgoogle-gson-java (QuPath ships Gson); .ci/run installs them.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
from fake_server import fake_server

from shared_models.contract import codec, colours
from shared_models.contract.client import Client
from shared_models.contract.results import Heatmap
from shared_models.contract.values import CLASSES, SlideTiles

HERE = Path(__file__).parent
SCRIPTS = Path(__file__).parents[2] / "qupath_bridge" / "groovy"
GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
GROOVY = Path("/usr/share/java/groovy-all.jar")
GSON = Path("/usr/share/java/gson.jar")


def java(*words: str) -> list[str]:
    """How to start Java with Groovy; skips, and says why, where they are not installed."""
    if shutil.which("java") is None or not GROOVY.is_file() or not GSON.is_file():
        pytest.skip("needs a Groovy: apt-get install --no-install-recommends groovy libgoogle-gson-java")
    first, *rest = words
    return ["java", "-cp", os.pathsep.join((first, str(GROOVY), str(GSON))), *rest]


def run(command: list[str], text: str = "", **environment: str) -> str:
    own = {**os.environ, **environment}
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, env=own)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Asks LungXAI.groovy, compiled once; its answer."""
    classes = str(tmp_path_factory.mktemp("classes"))
    sources = (str(SCRIPTS / "LungXAI.groovy"), str(HERE / "groovy_driver.groovy"))
    run(java(classes, "org.codehaus.groovy.tools.FileSystemCompiler", "-d", classes, *sources))

    def asked(what: str, environment: Optional[dict[str, str]] = None, **fields):
        text = json.dumps({"ask": what, **fields})
        return json.loads(run(java(classes, "groovy_driver"), text, **(environment or {})))

    return asked


def in64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    java("")
    running = fake_server(tmp_path_factory.mktemp("data"), backend="qupath_paquo.fake_slide_models:load")
    with running:
        yield running


def as_tiles(ask, pixels: np.ndarray, origins: np.ndarray, mpp: float, slide_id: str) -> dict:
    return ask(
        "tiles", pixels=in64(pixels.tobytes()), origins=origins.tolist(), side=pixels.shape[1:3], mpp=mpp,
        slide_id=slide_id,
    )  # fmt: skip


def test_tiles_are_the_golden_frame_byte_for_byte(ask) -> None:
    frame = (GOLDEN / "tiles_v1.lxai").read_bytes()
    tiles = codec.decode(frame)
    assert isinstance(tiles, SlideTiles)
    got = as_tiles(ask, tiles.pixels, tiles.origin_px, tiles.mpp, tiles.slide_id)
    assert base64.b64decode(got["frame"]) == frame


def test_a_frame_of_many_tiles_with_a_foreign_name_is_pythons_own(ask) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    origins = np.arange(10, dtype=np.int64).reshape(5, 2) * 123_456_789
    name = 'Müller "A"\\1 \u2603\U0001f600\t\x01\x7f'
    got = base64.b64decode(as_tiles(ask, pixels, origins, 0.4532, name)["frame"])
    assert got == codec.encode(SlideTiles(pixels, origins, 0.4532, name))


def test_tiles_that_do_not_agree_with_their_origins_are_refused(ask) -> None:
    pixels = np.zeros((1, 2, 4, 3), np.uint8)
    assert as_tiles(ask, pixels, np.zeros((2, 2), np.int64), 0.25, "s")["problem"]["code"] == "InvalidInput"
    assert as_tiles(ask, pixels, np.zeros((1, 2), np.int64), 0.0, "s")["problem"]["code"] == "SpacingUnknown"


def test_the_golden_heatmap_is_read_value_for_value(ask) -> None:
    frame = (GOLDEN / "slide_map_v1.lxai").read_bytes()
    expected = codec.decode(frame)
    assert isinstance(expected, Heatmap)
    got = ask("heatmap", frame=in64(frame))
    np.testing.assert_array_equal(np.array(got["values"], np.float32).reshape(expected.values.shape), expected.values)
    np.testing.assert_array_equal(got["index_to_world"], expected.index_to_world)
    assert (got["method"], got["target"]) == ("gradcam", "normal")
    assert got["provenance"]["weights_sha256"] == expected.provenance.weights_sha256


@pytest.mark.parametrize("harm", ["cut", "flipped", "longer", "tiles", "version", "empty", "huge"])
def test_a_damaged_heatmap_is_refused(ask, harm: str) -> None:
    frame = (GOLDEN / "slide_map_v1.lxai").read_bytes()
    expected, limit = "InvalidInput", 1 << 28
    if harm == "cut":
        frame = frame[:-1]
    elif harm == "flipped":
        frame = frame[:-3] + bytes([frame[-3] ^ 1]) + frame[-2:]
    elif harm == "longer":
        frame += b"\0"
    elif harm == "tiles":
        frame, expected = (GOLDEN / "tiles_v1.lxai").read_bytes(), "ContractMismatch"
    elif harm == "version":
        frame, expected = frame[:4] + b"\x02" + frame[5:], "ContractMismatch"
    elif harm == "empty":
        frame, expected = b"", "ContractMismatch"
    else:
        limit, expected = 4 * 24 - 1, "InputTooLarge"
    problem = ask("heatmap", frame=in64(frame), max_bytes=limit)["problem"]
    assert problem["code"] == expected and problem["message"] and problem["remedy"]


def test_colours_and_names_are_those_of_the_report(ask) -> None:
    got = ask("colours")
    assert got["classes"] == list(CLASSES)
    assert got["labels"] == colours.CLASS_LABELS
    assert {name: tuple(colour) for name, colour in got["colours"].items()} == colours.CLASS_COLOURS
    assert [tuple(colour) for colour in got["ramp"]] == [colours.heat_colour(k / 20) for k in range(21)]
    assert [tuple(colour) for colour in got["against"]] == [colours.heat_colour(k / 20, True) for k in range(21)]
    assert "Normal: 25.0 %" in got["words"] and "Large cell carcinoma: not assessed" in got["words"]


def test_tissue_is_found_where_python_finds_it(ask) -> None:
    from shared_models.slide_tissue import TissueMap, tissue_mask

    rng = np.random.default_rng(1)
    picture = rng.integers(236, 246, (90, 120, 3)).astype(np.uint8)
    picture[20:70, 25:80] = rng.integers(0, 40, (50, 55, 3)) + np.array([190, 120, 180])
    picture[75:85, 90:110] = (20, 120, 40)  # green ink
    picture[:, :4] = 10  # a black border
    packed = (picture.astype(int) @ np.array([1 << 16, 1 << 8, 1])).ravel().tolist()
    got = ask("tissue", rgb=packed, columns=120, rows=90, tile=10)
    mask = tissue_mask(picture)
    assert mask.mean() > 0.2
    assert (np.array(got["mask"]).reshape(mask.shape) == mask).mean() > 0.995
    across, down = np.meshgrid(np.arange(0, 120, 10), np.arange(0, 90, 10))
    origins = np.stack([across.ravel(), down.ravel()], axis=1)
    kept = origins[TissueMap(mask, (120, 90)).shares(origins, 10.0, 10.0) >= 0.35]
    assert got["tiles"] == kept.tolist()


@pytest.mark.parametrize("side", [12.5, 17.3, 110.0])
def test_tiles_at_the_slides_edge_are_those_of_the_command(ask, tmp_path: Path, side: float) -> None:
    from PIL import Image

    from shared_models.slide_reader import open_slide
    from shared_models.slide_tiles import tissue_grid

    picture = np.full((90, 120, 3), 244, np.uint8)
    picture[9:, 11:] = np.random.default_rng(3).integers(0, 40, (81, 109, 3)) + np.array([190, 120, 180])
    Image.fromarray(picture).save(tmp_path / "pink.png")
    packed = (picture.astype(int) @ np.array([1 << 16, 1 << 8, 1])).ravel().tolist()
    got = ask("tissue", rgb=packed, columns=120, rows=90, tile=side)
    with open_slide(tmp_path / "pink.png", 0.5) as slide:
        grid = tissue_grid(slide, 10, 0.5 * side / 10)
    assert grid.tile_px == pytest.approx((side, side))
    assert got["tiles"] == grid.origin_px.tolist()
    assert (grid.origin_px + side > np.array(slide.dimensions)).any()


def test_a_fine_heatmap_is_drawn_of_the_means_that_pythons_draws(ask) -> None:
    from qupath_bridge.heatmap_contours import _coarser
    from shared_models.contract.provenance import Provenance
    from shared_models.contract.results import Heatmap

    values = np.random.default_rng(5).normal(0, 1, (30, 58)).astype(np.float32)
    matrix = np.array([[8.0, 0, 104], [0, 8.0, 54], [0, 0, 1]])
    by = Provenance("m", "ab" * 32, "1", True, "cpu", ("normal",))
    heatmap = Heatmap(values, matrix, "s", "pathology", "occlusion", "normal", by, {"cells_per_tile": 28})
    expected = _coarser(heatmap)
    got = ask("coarser", values=values.ravel().tolist(), columns=58, matrix=matrix.tolist(), cells=28)
    assert got["columns"] == expected.values.shape[1] == 15
    np.testing.assert_allclose(np.reshape(got["values"], (-1, 15)), expected.values, atol=1e-5)
    np.testing.assert_allclose(got["matrix"], expected.index_to_world)
    whole = ask("coarser", values=values.ravel().tolist(), columns=58, matrix=matrix.tolist(), cells=7)
    assert whole["columns"] == 58


def test_steps_of_a_heatmap_cover_the_cells_that_pythons_do(ask) -> None:
    values = np.random.default_rng(2).normal(size=(7, 9)).astype(np.float32)
    got = ask(
        "steps", values=values.ravel().tolist(), columns=9, matrix=[[32, 0, 16], [0, 32, 16], [0, 0, 1]], width=64
    )
    step = np.clip(np.ceil(values / np.abs(values).max() * 5), 0, 5).astype(int)
    for k, runs in zip(range(2, 6), got["runs"]):
        cells = np.zeros(values.shape, bool)
        for row, first, last in runs:
            assert not cells[row, first:last].any()
            cells[row, first:last] = True
        np.testing.assert_array_equal(cells, step == k)
    assert got["mean"] == pytest.approx(values[:2, :2].mean(), rel=1e-6)


def test_a_slide_goes_through_the_server(ask, server) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 200, (6, 16, 16, 3)).astype(np.uint8)
    origins = np.array([[n % 3 * 32, n // 3 * 32] for n in range(6)], np.int64)
    frames = [codec.encode(SlideTiles(pixels[part], origins[part], 0.5, "he")) for part in (slice(0, 4), slice(4, 6))]
    got = ask(
        "case", url=server.url, token=server.token, case_id="groovy-1", slide_id="he", tile_px=32,
        frames=[in64(frame) for frame in frames], explain=["gradcam", "occlusion"],
    )  # fmt: skip
    assert "problem" not in got
    assert (got["case_id"], got["tiles"]) == ("groovy-1", 6)
    assert (got["model"]["tile_px"], got["model"]["spacing_um_px"]) == (16, 0.5)
    share = pixels[:, 0, 0, 0] / 255
    rows = np.array(got["result"]["tile_probabilities"], float)
    np.testing.assert_allclose(rows[:, 0], share, atol=1e-6)
    assert np.isnan(rows[:, 2:4]).all()
    with Client(server.url, server.token) as client:
        for method, found in zip(("gradcam", "occlusion"), got["maps"]):
            expected = client.heatmap("groovy-1", "pathology", method)
            np.testing.assert_array_equal(np.array(found["values"], np.float32), expected.values.ravel())
            assert found["method"] == method
        fused = client.fusion_result("groovy-1")
    assert got["fused"]["probabilities"]["adenocarcinoma"] == pytest.approx(fused.probabilities["adenocarcinoma"])
    assert "not a diagnosis" in got["report"]


def test_cancel_stops_the_servers_job(ask, server) -> None:
    pixels = np.full((200, 16, 16, 3), 250, np.uint8)  # 50 ms a call
    origins = np.array([[n * 32, 0] for n in range(200)], np.int64)
    frames = [
        in64(codec.encode(SlideTiles(pixels[k : k + 8], origins[k : k + 8], 0.5, "slow"))) for k in range(0, 200, 8)
    ]
    got = ask(
        "case", url=server.url, token=server.token, case_id="groovy-2", slide_id="slow", tile_px=32, frames=frames,
        explain=[], cancel=True,
    )  # fmt: skip
    assert got["problem"]["code"] == "Cancelled"
    with Client(server.url, server.token) as client:
        (job,) = client.case("groovy-2")["jobs"]
    assert job["state"] == "cancelled"


def test_what_the_server_refuses_comes_back_in_its_words(ask, server) -> None:
    common = {"slide_id": "none", "tile_px": 32, "explain": [], "frames": [], "case_id": "groovy-3"}
    got = ask("case", url=server.url, token=server.token, **common)
    assert got["problem"]["message"] and got["problem"]["remedy"]
    assert got["problem"]["code"] in ("RequestError", "InvalidInput")
    got = ask("case", url=server.url, token="wrong-token-wrong-token", **common)
    assert "token is missing or wrong" in got["problem"]["message"]
    got = ask("case", url=server.url, token=server.token, **{**common, "case_id": "../x"})
    assert "letters, digits" in got["problem"]["message"]


def test_a_server_that_is_not_there_is_said_to_be_so(ask) -> None:
    common = {"token": "t", "slide_id": "s", "tile_px": 32, "explain": [], "frames": []}
    assert ask("case", url="http://127.0.0.1:9", **common)["problem"]["code"] == "ServerUnreachable"
    assert "another machine" in ask("case", url="http://example.org", **common)["problem"]["message"]
    assert "not valid" in ask("case", url="ftp://127.0.0.1", **common)["problem"]["message"]


def test_settings_come_from_a_file_beside_the_scripts(ask, server, tmp_path: Path) -> None:
    settings = tmp_path / "LungXAI.properties"
    settings.write_text(f"server={server.url}\ntoken_file={server.data_dir / 'token'}\n")
    assert ask("connect", folder=str(tmp_path))["info"]["protocol"] == 1
    settings.write_text(f"server={server.url}\n")
    problem = ask("connect", {"XDG_DATA_HOME": str(tmp_path / "none")}, folder=str(tmp_path))["problem"]
    assert "token cannot be read" in problem["message"] and "token_file" in problem["remedy"]


def test_every_script_parses_and_loads_the_shared_classes(tmp_path: Path) -> None:
    scripts = sorted(SCRIPTS.glob("*.groovy"))
    assert len(scripts) == 6
    command = java(str(tmp_path), "groovy.ui.GroovyMain", str(HERE / "groovy_parse.groovy"), *map(str, scripts))
    assert run(command).split() == [path.name for path in scripts] + ["LungXAI", "LungXAI$Connection"]
