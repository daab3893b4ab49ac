"""The viewer's page of a case in which nothing was found: in a file of its own, for a program serves one page."""

import asyncio

import scene_cases
from browser_page import opened, require_browser


def test_a_case_without_nodule_heatmap_or_fusion_is_shown(phantom) -> None:
    require_browser()
    case = scene_cases.empty_case(phantom.volume, fusion=None)

    async def test() -> None:
        async with opened(phantom.volume, case) as seen:
            text = await seen.page.locator(".panel").inner_text()
            assert "No nodule was found." in text and "Nothing was fused yet." in text
            assert await seen.page.locator("#heat option").all_inner_texts() == ["none"]
            assert (await seen.drawn("Axial")).std() > 15

    asyncio.run(test())
