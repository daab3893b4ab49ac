"""The pictures of docs/: python -m tests.slicer_module.make_pictures

  --data DIR    the real data (default ../shared/data); without it only the synthetic case is drawn
  --demo DIR, --real DIR   results of ``lungxai demo`` and ``lungxai analyze``, taken instead of being made again
  --only NAME   one picture

Written to docs/images/, by the same code as the viewer:
  phantom-views.png   the synthetic case of ``lungxai demo``: three slices and the surfaces
  ct-views.png        the real series A0001 (Lung-PET-CT-Dx, doi 10.7937/TCIA.2020.NNC20461, CC BY 4.0)
  ct-nodule.png       its tumour, pointed at, from near: outline, heatmap, legend
  viewer.png          the page of ``lungxai view`` with the synthetic case
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

import numpy as np

HERE = Path(__file__).parent
REPO = HERE.parents[1]
OUT = REPO / "docs" / "images"
SERIES = Path("lung_pet_ct_dx_dicom") / "A0001"
# Middle of the data set's own boxes around the tumour.
TUMOUR_LPS_MM = "41.8,206.6,-209"
_LIMIT_BYTES = 430_000
_TILE_PX = 460


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data")
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--only")
    given = parser.parse_args()
    sys.path[:0] = [str(HERE), str(REPO)]
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as kept:
        demo = given.demo or _run("demo", Path(kept) / "demo")
        for name, make in (("phantom-views", lambda: _views(demo, None)), ("viewer", lambda: _page(demo))):
            if given.only in (None, name):
                _save(make(), name)
        ct = given.data / SERIES
        if not ct.is_dir():
            print(f"no {ct}: the pictures of the real series stay as they are")
            return 0
        if given.only in (None, "ct-views", "ct-nodule"):
            real = given.real or _run("analyze", Path(kept) / "real", "--ct", str(ct), f"--point={TUMOUR_LPS_MM}")
            for name, near_mm in (("ct-views", None), ("ct-nodule", 110.0)):
                if given.only in (None, name):
                    _save(_views(real, ct, near_mm), name)
    return 0


def _run(command: str, out: Path, *more: str) -> Path:
    subprocess.run([sys.executable, "-m", "shared_models.command_line", command, "--out", str(out), *more], check=True)
    return out


def _case(logics: Any, folder: Path, ct: Optional[Path]) -> tuple[Any, Any]:
    from LungXAILib.case_files import checked_grid, input_ct, read_case
    from LungXAILib.volumes import load_ct

    case = read_case(logics, folder)
    node = load_ct(logics, ct or input_ct(folder))
    checked_grid(node, case.mask)
    return case, node


def _views(folder: Path, ct: Optional[Path], near_mm: Optional[float] = None) -> np.ndarray:
    """Slices and surfaces at the nodule that was pointed at, or the first; ``near_mm`` shows so much of two slices."""
    from LungXAILib import rendering, viewer
    from LungXAILib.logics import SceneLogics

    logics = SceneLogics.headless()
    case, node = _case(logics, folder, ct)
    words = ["SYNTHETIC CASE"] if case.synthetic else ["A0001, CC BY 4.0"]
    views = rendering.Views(logics, (_TILE_PX, _TILE_PX), words)
    opened = viewer.opened(logics, node, case)
    views.look_at(node)
    opened.show(opened.heatmaps()[0]["key"], 0.55, 0.2, True, "lung")
    slices = list(views.slices.values())
    with rendering.kept_whole([] if near_mm else slices, node):
        pointed = [row for row, nodule in enumerate(case.radiology.nodules) if nodule.found_by == "point"]
        opened.jump(next(iter(pointed), 0))
    rendering.fit_three_d(views.three_d, node)
    for plane in ("Axial", "Coronal"):
        views.slices[plane].set_visible_in_3d(True)
    if near_mm:
        for view in slices:
            view.get_view_node().SetFieldOfView(near_mm, near_mm, view.get_view_node().GetFieldOfView()[2])
        rendering.show_legends(logics, slices[:1])
        return np.hstack([views.picture("Axial"), views.picture("Coronal")])
    rendering.show_legends(logics, slices[:1])
    tiles = [views.picture(name) for name in (*rendering.PLANES, rendering.THREE_D)]
    views.close()
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])


def _page(folder: Path) -> np.ndarray:
    """The page with the first nodule chosen."""
    from browser_page import opened
    from LungXAILib.logics import SceneLogics
    from LungXAILib.volumes import volume_of

    logics = SceneLogics.headless()
    case, node = _case(logics, folder, None)

    async def shot() -> bytes:
        async with opened(volume_of(node), case) as seen:
            await seen.page.set_viewport_size({"width": 1440, "height": 860})
            await seen.page.locator('[data-row="0"] button').click()
            for name in ("Axial", "Sagittal", "Coronal", "ThreeD"):
                await seen.drawn(name)
            return await seen.page.screenshot()

    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(asyncio.run(shot()))).convert("RGB"))


def _save(picture: np.ndarray, name: str) -> None:
    """As PNG, with as fine steps of grey as fit; the noise of a CT is what takes most of the bytes."""
    from LungXAILib.rendering import save_png

    path = OUT / f"{name}.png"
    for step in (1, 2, 4, 8):
        save_png((picture // step * step + (step // 2) * (picture > 0)).astype(np.uint8), path)
        if path.stat().st_size <= _LIMIT_BYTES:
            break
    print(f"{path.relative_to(REPO)}: {path.stat().st_size // 1024} KB, steps of {step}")


if __name__ == "__main__":
    sys.exit(main())
