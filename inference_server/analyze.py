"""One case through a server, as a client: inputs in, files out.

Inputs          what the user gave
checked()       whether they can be used at all, before a server is started for them
analyze()       sends them, follows the jobs, writes the results
The files, in OUT; those of what was left out are not written, and older ones of the same name are removed first:
  case.json                            every result, notes and inputs' names; no identifiers
  ct_segmentation.nrrd                 labels on the CT's own grid
  ct_heatmap_METHOD.nrrd               on the CT's own grid
  slide.geojson.gz                     tiles and regions, for QuPath
  slide_heatmap_METHOD.geojson.gz      heatmap contours, for QuPath
  report.html, report.pdf              the page for the tumour board; fhir.json, dicom/ where asked for (exports.py)
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.jsonforms import from_json, parsed, to_json
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import METHODS, placed
from shared_models.contract.server_option import small_file
from shared_models.contract.values import ClinicalFields, CTVolume
from shared_models.whole_file import written

from .exports import FILES, Wanted, write_exports
from .progress import ProgressBar

_MAX_CLINICAL_BYTES = 1 << 20
_TILES_AT_ONCE = 64


@dataclass(frozen=True)
class Inputs:
    """What the user gave; at least one of the three.

    Parameters
    ----------
    ct : DICOM folder, NIfTI or NRRD
    slide : whole-slide image or picture; ``mpp`` its pixel size where the file has none
    clinical : JSON file of ClinicalFields
    points_lps_mm : nodules to look at
    """

    ct: Optional[Path] = None
    slide: Optional[Path] = None
    clinical: Optional[Path] = None
    mpp: Optional[float] = None
    points_lps_mm: Sequence[Sequence[float]] = ()


def read_clinical(path: Path) -> ClinicalFields:
    """The fields of a JSON file.

    Raises
    ------
    InvalidInput : not readable, not an object of ClinicalFields, or a value out of its range.
    """
    try:
        text = small_file(path, _MAX_CLINICAL_BYTES)
        if len(text) > _MAX_CLINICAL_BYTES:
            raise InvalidInput("The file of clinical fields is too large.", "Give a JSON file of a few lines.")
        body = parsed(text)
    except (OSError, ValueError) as fault:
        raise InvalidInput(
            "The file of clinical fields cannot be read.",
            'Write it as JSON, for example {"age_years": 67, "sex": "female", "smoking": "former", "pack_years": 30}.',
        ) from fault
    return from_json(ClinicalFields, body)


def checked(inputs: Inputs, out: Path, explain: Sequence[str]) -> Optional[ClinicalFields]:
    """The clinical fields, where there are any; nothing was written or removed.

    Raises
    ------
    InvalidInput : nothing to analyse, a file that is not there, or a folder that cannot be written to.
    """
    if inputs.ct is None and inputs.slide is None and inputs.clinical is None:
        raise InvalidInput("There is nothing to analyse.", "Give --ct, --slide, --clinical, or several of them.")
    unknown = [method for method in explain if method not in METHODS]
    if unknown:
        raise InvalidInput(f"The method {unknown[0]} is not known.", f"Use one of {', '.join(METHODS)}.")
    for what, path in (("CT", inputs.ct), ("slide", inputs.slide)):
        if path is not None and not (path.is_file() or path.is_dir()):
            raise InvalidInput(f"The {what} is not there, or is neither a file nor a folder.", "Check the path.")
    clinical = read_clinical(inputs.clinical) if inputs.clinical is not None else None
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as fault:
        raise InvalidInput(f"The folder {out} cannot be written to.", "Choose another one with --out.") from fault
    return clinical


def analyze(
    inputs: Inputs, client: Client, out: Path, explain: Sequence[str] = ("gradcam",), synthetic: bool = False,
    wanted: Optional[Wanted] = None,
) -> dict[str, Any]:  # fmt: skip
    """Send one case, wait for it, write its files; what case.json holds.

    Parameters
    ----------
    explain : of METHODS
    synthetic : the case is drawn or composed; it is labelled so on every output
    wanted : what is written beside the report; its PDF unless said otherwise

    Raises
    ------
    LungXAIError : the first fault; on Ctrl-C too the server's job is stopped.
    """
    clinical = checked(inputs, out, explain)
    _emptied(out)
    case_id = client.create_case(synthetic=synthetic)
    try:
        return _analysed(inputs, client, case_id, clinical, out, explain, synthetic, wanted or Wanted())
    except KeyboardInterrupt:
        client.stop_jobs(case_id)
        raise


def _analysed(
    inputs: Inputs,
    client: Client,
    case_id: str,
    clinical: Optional[ClinicalFields],
    out: Path,
    explain: Sequence[str],
    synthetic: bool,
    wanted: Wanted,
) -> dict[str, Any]:
    case: dict[str, Any] = {"notice": NOTICE, "case_id": case_id, "synthetic": synthetic, "notes": []}
    if clinical is not None:
        client.put_clinical(case_id, clinical)
        case["clinical"] = to_json(clinical)
    if inputs.ct is not None:
        case["radiology"], case["heatmaps"] = _ct(inputs, client, case_id, out, explain, case["notes"])
    if inputs.slide is not None:
        case["pathology"] = _slide(inputs, client, case_id, out, explain, synthetic)
    case["fusion"] = to_json(client.fuse(case_id))
    case["notes"] += write_exports(client, case_id, out, wanted)[1]
    written(out / "case.json", (json.dumps(case, indent=1, allow_nan=False) + "\n").encode())
    return case


def _emptied(out: Path) -> None:
    try:
        for pattern in ("case.json", "ct_segmentation.nrrd", "ct_heatmap_*.nrrd", "slide*.geojson.gz", *FILES):
            for old in out.glob(pattern):
                old.unlink()
    except OSError as fault:
        raise InvalidInput(f"The folder {out} cannot be written to.", "Choose another one with --out.") from fault


def _followed(client: Client, job_id: str, bar: ProgressBar) -> None:
    client.wait(job_id, lambda p: bar.update(p.stage or p.state, p.fraction))


def _ct(
    inputs: Inputs, client: Client, case_id: str, out: Path, explain: Sequence[str], notes: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and one entry per heatmap with what its file does not say."""
    from shared_models.ct_reader import read_ct
    from shared_models.ct_writer import write_nrrd

    assert inputs.ct is not None
    with ProgressBar("CT") as bar:
        bar.update("reading", 0.0)
        volume, said = read_ct(inputs.ct)
        notes.extend(said)
        bar.update("sending", 0.0)
        sha256 = client.put_volume(volume)
        job = client.radiology(case_id, sha256, inputs.points_lps_mm, explain=explain)
        _followed(client, job, bar)
    result = client.radiology_result(case_id)
    label = {"content": NOTICE}
    write_nrrd(out / "ct_segmentation.nrrd", client.mask(case_id).labels, volume.ijk_to_lps, label)
    have = client.case(case_id)["heatmaps"]["radiology"]
    written = []
    for method in [m for m in explain if m in have]:
        heatmap = client.heatmap(case_id, "radiology", method)
        values = placed(heatmap.values, heatmap.index_to_world, _shape(volume), volume.ijk_to_lps)
        fields = {**label, "method": method, "target": heatmap.target}
        write_nrrd(out / f"ct_heatmap_{method}.nrrd", values, volume.ijk_to_lps, fields)
        said = {"provenance": to_json(heatmap.provenance), "parameters": dict(heatmap.parameters)}
        written.append({"file": f"ct_heatmap_{method}.nrrd", "method": method, "target": heatmap.target, **said})
    return dict(to_json(result)), written


def _shape(volume: CTVolume) -> tuple[int, int, int]:
    slices, rows, columns = volume.voxels.shape
    return slices, rows, columns


def _slide(
    inputs: Inputs, client: Client, case_id: str, out: Path, explain: Sequence[str], synthetic: bool
) -> dict[str, Any]:
    from qupath_bridge.annotations import heatmap_geojson, slide_geojson, write_geojson
    from shared_models.slide_reader import open_slide
    from shared_models.slide_tiles import tissue_grid, tissue_tiles

    assert inputs.slide is not None
    model = next((m for m in client.info()["models"] if m["modality"] == "pathology"), None)
    if model is None or "tile_px" not in model:
        raise ModelUnavailable("The server has no model for slides.", "Run `lungxai doctor` where it runs.")
    side, mpp = int(model["tile_px"]), float(model["spacing_um_px"])
    with ProgressBar("Slide") as bar, open_slide(inputs.slide, inputs.mpp) as slide:
        bar.update("finding tissue", 0.0)
        grid = tissue_grid(slide, side, mpp)
        sent = 0
        for tiles in tissue_tiles(slide, side, mpp, _TILES_AT_ONCE, grid):
            client.put_tiles(case_id, tiles, ahead=True)
            sent += len(tiles.pixels)
            bar.update(f"sending tiles ({sent} of {grid.count})", 0.5 * sent / grid.count)
        _followed(client, client.pathology(case_id, slide.slide_id, explain, grid.tile_px), bar)
    result = client.pathology_result(case_id)
    heatmaps = [client.heatmap(case_id, "pathology", method) for method in explain]
    whole = slide_geojson(result, heatmaps, slide_mpp=slide.mpp, synthetic=synthetic)
    write_geojson(out / "slide.geojson.gz", whole)
    for heatmap in heatmaps:
        target = out / f"slide_heatmap_{heatmap.method}.geojson.gz"
        write_geojson(target, heatmap_geojson(heatmap, synthetic=synthetic))
    return dict(to_json(result))
