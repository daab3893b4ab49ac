"""For tests of the viewer: its page in a headless Chromium, in one event loop with the program behind it."""

import asyncio
import io
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import scene_cases
from drawn_cases import require_drawing

CHROMIUM = next((p for p in ("/usr/bin/chromium", shutil.which("chromium") or "") if p and Path(p).exists()), "")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_S = 30.0


def require_viewer() -> None:
    pytest.importorskip("trame_slicer", reason="the viewer is not installed: pip install 'lungxai[viewer]'")
    require_drawing()


def require_browser() -> None:
    require_viewer()
    pytest.importorskip("playwright", reason="playwright is not installed: pip install 'lungxai[dev]'")
    if not CHROMIUM:
        pytest.skip("there is no /usr/bin/chromium: apt-get install chromium")


class Opened:
    """The page in the browser, and the program behind it."""

    def __init__(self, app, page, url, asked) -> None:
        self.app, self.page, self.url, self.asked = app, page, url, asked
        self.nodes = app.viewer.nodes

    async def picture(self, name: str) -> np.ndarray:
        """What the browser shows of one view."""
        from PIL import Image

        shot = await self.page.locator(f'[data-view="{name}"] .image').screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    async def drawn(self, name: str) -> np.ndarray:
        """The same, once it is there and stands still."""
        earlier = await self.picture(name)
        for _ in range(60):
            await asyncio.sleep(0.4)
            now = await self.picture(name)
            if now.std() > 15 and np.array_equal(now, earlier):
                return now
            earlier = now
        raise AssertionError(f"{name} does not come to rest")

    async def until(self, done, what: str) -> None:
        for _ in range(int(WAIT_S / 0.1)):
            if done():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"did not happen: {what}")

    def place_lps_mm(self) -> np.ndarray:
        """Where the three slices cross, by their own matrices."""
        rows = {"Sagittal": 0, "Coronal": 1, "Axial": 2}
        matrix = {plane: view.get_view_node().GetSliceToRAS() for plane, view in self.app.slices.items()}
        return scene_cases.lps_to_ras([matrix[plane].GetElement(row, 3) for plane, row in rows.items()])


@asynccontextmanager
async def opened(volume, case):
    """A page of a case, in a browser of its own."""
    from LungXAILib import volumes
    from LungXAILib.logics import SceneLogics
    from LungXAILib.viewer_app import ViewerApp, new_token
    from playwright.async_api import async_playwright

    logics = SceneLogics.headless()
    app = ViewerApp(logics, volumes.volume_node(logics, volume, "ct"), case, name=case.case_id)
    ready = asyncio.get_running_loop().create_future()
    app.start(new_token(), on_ready=ready.set_result, exec_mode="task")
    url = await asyncio.wait_for(ready, WAIT_S)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1200, "height": 700})
        asked: list = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(url)
        await page.locator("#h-nodules").wait_for(timeout=1000 * WAIT_S)
        yield Opened(app, page, url, asked)
        await browser.close()
    await app.server.stop()
    app.close()
