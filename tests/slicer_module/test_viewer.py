"""``lungxai view`` in a headless Chromium: what a reader does on the page happens in the scene and in the picture.

The page and the browser run in one event loop, so a test clicks in the browser and looks into the scene.
"""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import scene_cases
from browser_page import WAIT_S, opened, require_browser, require_viewer
from drawn_cases import phantom_case

from shared_models.command_line import main

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture(scope="module")
def one_page(loop, phantom):
    """One page for the tests of this file, for starting a browser takes long; they run one after the other."""
    require_browser()
    page = opened(phantom.volume, phantom_case(phantom))
    yield loop.run_until_complete(page.__aenter__())
    loop.run_until_complete(page.__aexit__(None, None, None))


@pytest.fixture
def in_browser(loop, one_page):
    """Runs an async test on the page, as it is when it was opened just now."""

    async def from_start(test) -> None:
        state = one_page.app.server.state
        with state:
            state.update({"heat": "gradcam|nodule", "opacity": 60, "threshold": 25, "outlines": True, "row": -1})
            state.ct_window = "lung"
        one_page.app._whole("ThreeD")
        for view in one_page.app.slices.values():
            view.fit_view_to_content()
        await test(one_page)

    return lambda test: loop.run_until_complete(from_start(test))


def test_the_page_shows_the_case_and_loads_nothing_from_elsewhere(in_browser) -> None:
    async def test(seen) -> None:
        page = seen.page
        for name in ("Axial", "Sagittal", "Coronal", "ThreeD"):
            assert (await seen.drawn(name)).std() > 15
        assert await page.locator("#synthetic").inner_text() == "SYNTHETIC CASE"
        assert await page.locator("#notice").inner_text() == "Research use only, not a diagnosis."
        assert seen.app.viewer.case.case_id in await page.locator("h1").inner_text()
        rows = await page.locator("#nodules tbody tr").all_inner_texts()
        assert len(rows) == 2 and "97.3 %" in rows[0] and "not assessed" in rows[1]
        choices = await page.locator("#heat option").all_inner_texts()
        assert choices == ["none", "Grad-CAM: nodule", "Integrated Gradients: nodule"]
        own = seen.url.split("/?")[0]
        schemes = (own, own.replace("http", "ws", 1), "data:", "blob:")
        assert seen.asked and all(url.startswith(schemes) for url in seen.asked)

    in_browser(test)


def test_the_fused_result_names_what_is_missing_and_what_was_not_assessed(in_browser) -> None:
    async def test(seen) -> None:
        page = seen.page
        bars = await page.locator("#fused li").all_inner_texts()
        words = [" ".join(text.split()) for text in bars]
        assert words[0] == "Adenocarcinoma 62.0 %" and words[2] == "Large cell carcinoma not assessed"
        assert await page.locator("#fused li .unknown").count() == 3
        assert "missing" in await page.locator('[data-modality="pathology"]').inner_text()
        assert await page.locator('[data-modality="pathology"] li').count() == 0
        assert "weight 0.25" in await page.locator('[data-modality="radiology"]').inner_text()
        assert await page.locator('[data-modality="radiology"] li').count() == 5
        assert not await page.locator("#record code").first.is_visible()
        await page.locator("#record summary").click()
        assert await page.locator("#record code").first.inner_text() == "ab" * 32

    in_browser(test)


def test_a_row_moves_every_view_to_its_nodule(in_browser) -> None:
    async def test(seen) -> None:
        nodules = seen.app.viewer.case.radiology.nodules
        before = {name: await seen.drawn(name) for name in ("Axial", "Sagittal", "Coronal")}
        for row, key in ((1, None), (0, "Enter")):
            button = seen.page.locator(f'[data-row="{row}"] button')
            if key is None:
                await seen.page.locator(f'[data-row="{row}"] td').first.click()
            else:
                await button.focus()
                await seen.page.keyboard.press(key)
            wanted = np.array(nodules[row].centre_lps_mm)
            await seen.until(lambda w=wanted: np.abs(seen.place_lps_mm() - w).max() < 0.1, f"jump to row {row}")
            assert seen.nodes.markups.GetNthControlPointSelected(row)
            await seen.page.locator(f'[data-row="{row}"] button[aria-pressed="true"]').wait_for()
            place = f"S {wanted[2]:.1f} mm"
            await seen.page.locator(f'[data-place="Axial"]:text-is("{place}")').wait_for()
            for name, earlier in before.items():
                now = await seen.drawn(name)
                assert (np.abs(now - earlier).sum(axis=2) > 60).mean() > 0.01, (row, name)
                before[name] = now
        assert "Nodule 1" in await seen.page.locator('[role="status"]').inner_text()

    in_browser(test)


def test_the_method_changes_the_map_in_the_scene_and_in_the_picture(in_browser) -> None:
    async def test(seen) -> None:
        await seen.page.locator('[data-row="0"] button').click()
        first = await seen.drawn("Axial")
        axial = seen.app.slices["Axial"]
        maps = seen.nodes.heatmaps
        assert axial.get_foreground_volume_id() == maps["gradcam", "nodule"].GetID()
        await seen.page.locator("#heat").select_option(label="Integrated Gradients: nodule")
        wanted = maps["integrated_gradients", "nodule"].GetID()
        await seen.until(lambda: axial.get_foreground_volume_id() == wanted, "the other map")
        second = await seen.drawn("Axial")
        assert (first != second).any()
        await seen.page.locator("#heat").select_option(label="none")
        await seen.until(lambda: not axial.get_foreground_volume_id(), "no map")
        bare = await seen.drawn("Axial")
        assert await seen.page.locator("#opacity").is_disabled()
        # The hill over the first nodule is coloured, and gone without it.
        colourful = [int((np.ptp(picture, axis=2) > 60).sum()) for picture in (first, bare)]
        assert colourful[0] > 1.5 * colourful[1]

    in_browser(test)


def test_opacity_threshold_outlines_and_window_reach_scene_and_picture(in_browser) -> None:
    async def slide(seen, name: str, value: int) -> None:
        await seen.page.locator(f"#{name}").fill(str(value))

    async def test(seen) -> None:
        await seen.page.locator('[data-row="0"] button').click()
        earlier = await seen.drawn("Axial")

        async def changed(what: str) -> None:
            nonlocal earlier
            now = await seen.drawn("Axial")
            assert (np.abs(now - earlier).sum(axis=2) > 20).any(), what
            earlier = now

        axial, heat = seen.app.slices["Axial"], seen.nodes.heatmaps["gradcam", "nodule"]
        await slide(seen, "opacity", 15)
        await seen.until(lambda: abs(axial.get_foreground_opacity() - 0.15) < 1e-6, "opacity")
        await changed("opacity")
        await slide(seen, "threshold", 80)
        top = float(heat.GetImageData().GetScalarRange()[1])
        await seen.until(lambda: abs(heat.GetDisplayNode().GetLowerThreshold() - 0.8 * top) < 1e-3, "threshold")
        await changed("threshold")
        await seen.page.locator("#outlines").uncheck()
        await seen.until(lambda: not seen.nodes.segmentation.GetDisplayNode().GetVisibility2D(), "outlines")
        await changed("outlines")
        await seen.page.locator('[data-window="mediastinum"]').click()
        await seen.until(lambda: seen.nodes.ct.GetDisplayNode().GetLevel() == 40.0, "window")
        await changed("window")

    in_browser(test)


def test_slider_and_keyboard_move_a_slice(in_browser) -> None:
    async def test(seen) -> None:
        coronal = seen.app.slices["Coronal"]
        before, picture = coronal.get_slice_value(), await seen.drawn("Coronal")
        slider = seen.page.locator('[data-slider="Coronal"]')
        await slider.focus()
        for _ in range(20):
            await seen.page.keyboard.press("ArrowRight")
        step = coronal.get_slice_step()
        await seen.until(lambda: abs(coronal.get_slice_value() - before - 20 * step) < 1.5 * step, "twenty steps")
        assert ((await seen.drawn("Coronal")) != picture).any()

    in_browser(test)


def test_everything_can_be_reached_and_has_a_name(in_browser) -> None:
    async def test(seen) -> None:
        nameless = await seen.page.evaluate(
            """() => [...document.querySelectorAll('#lungxai button, #lungxai input, #lungxai select')].filter(e =>
                !(e.getAttribute('aria-label') || e.innerText.trim() || (e.labels && e.labels.length))
                || e.tabIndex < 0).map(e => e.outerHTML)"""
        )
        assert nameless == []
        described = await seen.page.locator('[role="img"]').evaluate_all("all => all.map(e => e.ariaLabel)")
        assert len(described) == 5 and all(described)

    in_browser(test)


def test_nobody_sees_the_case_without_the_whole_address(in_browser) -> None:
    async def test(seen) -> None:
        import aiohttp
        import msgpack

        own = seen.url.split("/?")[0]
        context = await seen.page.context.browser.new_context()  # another user: no memory of this page
        stranger = await context.new_page()
        await stranger.goto(own)
        assert "whole address" in await stranger.locator("#words").inner_text()
        await stranger.goto(f"{own}/index.html?secret=guess")
        await stranger.wait_for_timeout(2000)
        assert "Nodules" not in await stranger.locator("body").inner_text()
        await context.close()
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{own}/ws") as socket:
            guess = [{"secret": "wslink-secret"}]  # trame's own, if nobody sets another
            hello = {"wslink": "1.0", "id": "system:c0:0", "method": "wslink.hello", "args": guess}
            state = {"wslink": "1.0", "id": "rpc:c0:1", "method": "trame.state.get", "args": []}
            heard = b""
            for message in (hello, state):
                packed = msgpack.packb({**message, "kwargs": {}})
                header = [b"\\0" * 4, len(packed).to_bytes(4, "little"), b"\\0" * 4]
                await socket.send_bytes(b"".join(header) + packed)
            await seen.page.locator('[data-row="0"] button').click()  # makes the program send pictures
            end = asyncio.get_running_loop().time() + 2
            while not socket.closed and asyncio.get_running_loop().time() < end:
                try:
                    message = await socket.receive(timeout=0.5)
                except asyncio.TimeoutError:
                    continue
                heard += message.data if isinstance(message.data, bytes) else b""
            assert seen.app.viewer.case.case_id.encode() not in heard and len(heard) < 2000

    in_browser(test)


def test_the_page_survives_being_loaded_again(in_browser) -> None:
    async def test(seen) -> None:
        await seen.drawn("Axial")
        assert "secret" not in seen.page.url  # not in the history, nor in a screenshot
        await seen.page.reload()
        await seen.page.locator("#nodules").wait_for(timeout=1000 * WAIT_S)
        assert (await seen.drawn("Axial")).std() > 15

    in_browser(test)


# The command


@pytest.fixture(scope="module")
def folder(phantom, tmp_path_factory):
    """A case of files, as ``lungxai analyze`` writes them, and its CT."""
    from shared_models.contract.jsonforms import to_json
    from shared_models.ct_writer import write_nrrd

    case = phantom_case(phantom)
    out = tmp_path_factory.mktemp("case")
    write_nrrd(out / "ct_segmentation.nrrd", case.mask.labels, case.mask.ijk_to_lps)
    entries = []
    for heatmap in case.heatmaps:
        name = f"ct_heatmap_{heatmap.method}.nrrd"
        write_nrrd(out / name, heatmap.values, heatmap.index_to_world)
        said = {"provenance": to_json(heatmap.provenance), "parameters": {}}
        entries.append({"file": name, "method": heatmap.method, "target": heatmap.target, **said})
    body = {"case_id": case.case_id, "synthetic": True, "heatmaps": entries}
    body.update({name: to_json(getattr(case, name)) for name in ("radiology", "clinical", "fusion")})
    (out / "case.json").write_text(json.dumps(body))
    write_nrrd(out / "ct.nrrd", phantom.volume.voxels, phantom.volume.ijk_to_lps)
    return out


def test_a_case_of_files_is_read_whole(folder, phantom) -> None:
    require_viewer()
    from LungXAILib.case_files import read_case
    from LungXAILib.logics import SceneLogics

    logics = SceneLogics.headless()
    count = logics.scene.GetNumberOfNodes()
    read, made = read_case(logics, folder), phantom_case(phantom)
    assert logics.scene.GetNumberOfNodes() == count
    assert read.radiology == made.radiology and read.fusion == made.fusion and read.clinical == made.clinical
    assert np.array_equal(read.mask.labels, made.mask.labels)
    assert np.allclose(read.mask.ijk_to_lps, made.mask.ijk_to_lps, atol=1e-9)
    for one, other in zip(read.heatmaps, made.heatmaps):
        assert np.array_equal(one.values, other.values) and (one.method, one.target) == (other.method, other.target)
        assert one.provenance == other.provenance


def test_the_command_serves_the_page_on_this_machine_and_ends_with_ctrl_c(folder) -> None:
    require_viewer()
    command = [sys.executable, "-m", "shared_models.command_line", "view", str(folder), "--no-browser"]
    program = subprocess.Popen(
        [*command, "--ct", str(folder / "ct.nrrd")], stdout=subprocess.PIPE, text=True, cwd=REPO
    )  # fmt: skip
    try:
        line = program.stdout.readline()
        url = re.fullmatch(r"The case is at (http://127\.0\.0\.1:\d+/\?secret=[\w-]{40,})\n", line).group(1)
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            door = answer.read().decode()
        assert "secret" in door and "case-drawn" not in door
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url.split("?")[0] + "../../etc/passwd", timeout=10)
    finally:
        program.send_signal(signal.SIGINT)
        assert program.wait(30) in (0, 130)
        program.stdout.close()


def changed(folder: Path, target: Path, **entries) -> Path:
    """A copy of a case with other entries in case.json; None takes one away."""
    shutil.copytree(folder, target)
    body = {**json.loads((folder / "case.json").read_text()), **entries}
    (target / "case.json").write_text(json.dumps({k: v for k, v in body.items() if v is not None}))
    return target


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent"], "no folder absent"),
        (["{empty}"], "holds no case.json"),
        (["{folder}"], "Give the CT that was analysed with --ct"),
        (["{folder}", "--ct", "absent"], "nothing at this path"),
        (["{folder}", "--ct", "{other}"], "another grid"),
        (["{old}", "--ct", "{folder}/ct.nrrd"], "older version"),
        (["{slide}"], "has no CT"),
        (["{outside}", "--ct", "{folder}/ct.nrrd"], "outside its folder"),
        (["{detached}", "--ct", "{folder}/ct.nrrd"], "no complete NRRD"),
        (["{folder}", "--host", "0.0.0.0"], "--allow-remote"),
        (["{folder}", "--port", "70000"], "0 to 65535"),
        (["case-1", "--server", "http://127.0.0.1:9"], "token is missing"),
        (["case-1", "--server", "http://192.0.2.1:8765", "--token-file", "{token}"], ""),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_said_in_words(folder, tmp_path, capsys, monkeypatch, arguments, says) -> None:
    require_viewer()
    from shared_models.ct_writer import write_nrrd

    monkeypatch.delenv("LUNGXAI_TOKEN", raising=False)
    names = {name: tmp_path / name for name in ("empty", "old", "slide", "outside", "detached", "token")}
    names["empty"].mkdir()
    names["token"].write_text("t")
    changed(folder, names["old"], heatmaps=None)
    changed(folder, names["slide"], radiology=None)
    entries = json.loads((folder / "case.json").read_text())["heatmaps"]
    changed(folder, names["outside"], heatmaps=[{**entries[0], "file": "../ct_heatmap_gradcam.nrrd"}])
    changed(folder, names["detached"])
    mask = names["detached"] / "ct_segmentation.nrrd"
    header = mask.read_bytes().split(b"\n\n")[0]
    mask.write_bytes(header + b"\ndata file: /etc/passwd\n\n")
    small = scene_cases.ct()
    write_nrrd(tmp_path / "other.nrrd", small.voxels, small.ijk_to_lps)
    names |= {"folder": folder, "other": tmp_path / "other.nrrd"}
    filled = [argument.format(**names) for argument in arguments]
    assert main(["view", *filled, "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and len(said.strip().splitlines()) == 2


def test_without_the_extra_it_says_what_to_install(folder, capsys, monkeypatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trame_slicer" else real(name))
    assert main(["view", str(folder), "--no-browser"]) == 2
    assert "pip install 'lungxai[viewer]'" in capsys.readouterr().err


def test_a_case_of_a_running_server_is_shown_with_its_ct(tmp_path, monkeypatch) -> None:
    require_viewer()
    pytest.importorskip("torch")
    import argparse

    from fake_server import fake_server
    from LungXAILib import view_command
    from LungXAILib.volumes import voxels_of

    from shared_models.contract.client import Client
    from shared_models.contract.errors import RequestError

    volume = scene_cases.ct(shape=(16, 32, 32), uid="quick")
    with fake_server(tmp_path / "data") as (url, token):
        with Client(url, token) as client:
            case_id = client.create_case(synthetic=True)
            client.wait(client.radiology(case_id, client.put_volume(volume), explain=["gradcam"]))
            found = client.radiology_result(case_id).nodules
        parser = argparse.ArgumentParser()
        view_command.register(parser.add_subparsers())
        monkeypatch.setenv("LUNGXAI_TOKEN", token)
        app = view_command._from_server(parser.parse_args(["view", case_id, "--server", url]))
        assert np.array_equal(voxels_of(app.viewer.nodes.ct), volume.voxels)
        assert app.server.state.synthetic is True and app.server.state.title == case_id
        assert [row["number"] for row in app.server.state.nodules] == [nodule.label for nodule in found] != []
        assert app.server.state.heat == app.viewer.heatmaps()[0]["key"]
        app.close()
        with pytest.raises(RequestError):
            view_command._from_server(parser.parse_args(["view", "case-absent", "--server", url]))
