"""The viewer's page of a case with a map that fails its sanity check: in a file of its own, for a program serves one
page."""

import asyncio
import os

import numpy as np
from browser_page import opened, require_browser
from drawn_cases import MEASURED, doubtful_case, near
from LungXAILib import heatmaps

from shared_models.contract.colours import heat_colour
from shared_models.contract.heatmap_words import FAILS
from shared_models.contract.notice import NOTICE


def test_negative_evidence_trust_and_the_warning_are_on_the_page(phantom) -> None:
    require_browser()

    async def test() -> None:
        async with opened(phantom.volume, doubtful_case(phantom)) as seen:
            page, axial = seen.page, seen.app.slices["Axial"]
            names = await page.locator("#heat option").all_inner_texts()
            assert names == ["none", "Saliency: malignancy", "Saliency: against malignancy", "Grad-CAM: nodule"]
            warning = page.locator("#heat-warning")
            assert await warning.is_visible() and (await warning.inner_text()).startswith(FAILS)
            await page.locator('[data-row="0"] button').click()
            await seen.drawn("Axial")
            await page.locator("#heat").select_option(label="Saliency: against malignancy")
            wanted = seen.nodes.heatmaps["saliency", "against malignancy"].GetID()
            await seen.until(lambda: axial.get_foreground_volume_id() == wanted, "the map of what speaks against")
            await page.locator(".legend", has_text="most against").wait_for()
            assert await warning.is_visible()
            lines = await page.locator("#heat-lines").inner_text()
            legend = heatmaps.legend_of(seen.nodes.heatmaps["saliency", "against malignancy"]).GetTitleText()
            assert legend.split("\n") == ["Saliency: against malignancy", "FAILS the sanity check", NOTICE]
            assert "Model: made up, tests only" in lines and "Its scale is its own" in lines
            await page.locator("#opacity").fill("100")
            await page.locator("#threshold").fill("60")
            await seen.until(lambda: axial.get_foreground_opacity() == 1.0, "the opacity")
            picture = await seen.drawn("Axial")
            purple = near(picture, np.array(heat_colour(0.75, against=True)) / 255)
            assert purple.sum() > 50  # in the ring around the nodule
            if "LUNGXAI_PICTURE" in os.environ:
                await page.screenshot(path=os.environ["LUNGXAI_PICTURE"])
            await page.locator("#heat").select_option(label="Grad-CAM: nodule")
            await page.locator(".legend", has_text="most for").wait_for()
            assert not await warning.count()
            assert MEASURED in await page.locator("#heat-lines").inner_text()

    asyncio.run(test())
