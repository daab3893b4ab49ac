"""One heatmap of a CT as a DICOM parametric map: its own values, on its own crop of the CT's frame of reference.

parametric_map()   the object

A value is what the method gave, without a unit: larger is more, and less than 0 speaks against the target.

Source: DICOM PS3.3 A.75, C.8.23; what a map shows by CID 7180 (class activation, saliency).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_models.contract.colours import METHOD_LABELS
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import Heatmap

from .dicom_codes import EXPLAINED, MAP_METHODS, MAP_QUANTITIES, MEASUREMENT_METHOD, NO_UNIT, TARGETS, own
from .dicom_header import completed, decimals, described, maker, plain, scheme, stand_ins
from .dicom_source import SourceSeries

SERIES_NUMBER = 9003


def parametric_map(
    heatmap: Heatmap, series: SourceSeries, series_instance_uid: str, number: int, synthetic: bool = False
) -> Any:
    """highdicom.pm.ParametricMap of a heatmap of the CT.

    Parameters
    ----------
    series_instance_uid : of the series of all maps of the case
    number : of this instance in it, from 1

    Raises
    ------
    BadGeometry : the map is not on the series.
    """
    import highdicom
    from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    values, (k, j, i) = series.on_stack(heatmap.values, heatmap.index_to_world)
    images = stand_ins(series)
    first = images[0]
    corner = series.stack_to_lps[:3, 0] * i + series.stack_to_lps[:3, 1] * j
    low, high = float(values.min()), float(values.max())
    name = METHOD_LABELS[heatmap.method]
    made = highdicom.pm.ParametricMap(
        source_images=images,
        pixel_array=np.ascontiguousarray(values, dtype="<f4"),
        series_instance_uid=series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=number,
        series_description=described("LungXAI heatmaps", synthetic),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(heatmap, low, high)],
        voi_lut_transformations=[_window(low, high)],
        content_label="HEATMAP",
        content_description=plain(f"{name} of {heatmap.target}. {NOTICE}", 64),
        pixel_measures=PixelMeasuresSequence(first.PixelSpacing, first.SliceThickness, first.SpacingBetweenSlices),
        plane_orientation=PlaneOrientationSequence("PATIENT", first.ImageOrientationPatient),
        plane_positions=[
            PlanePositionSequence("PATIENT", decimals(*position + corner))
            for position in series.positions[k : k + len(values)]
        ],
        coding_schemes=[scheme()],
        derivation=MAP_QUANTITIES[heatmap.method],
        **maker(),
    )
    made.Laterality = ""  # of a paired organ, required where no frame has one; a map may lie in both lungs
    made.DerivationDescription = plain(_how(heatmap))
    return completed(made, series)


def _mapping(heatmap: Heatmap, low: float, high: float) -> Any:
    """Values as they are, with what they are a measure of, by which method, of which output."""
    from highdicom.pm import RealWorldValueMapping
    from highdicom.sr import CodeContentItem

    name = METHOD_LABELS[heatmap.method]
    mapping = RealWorldValueMapping(
        lut_label=plain(name, 16).upper(),
        lut_explanation=plain(f"{name}: what speaks for {heatmap.target}; below 0 against it", 64),
        unit=NO_UNIT, value_range=(low, high), slope=1.0, intercept=0.0,
        quantity_definition=MAP_QUANTITIES[heatmap.method],
    )  # fmt: skip
    target = TARGETS.get(heatmap.target) or own("out_other", plain(f"Network output: {heatmap.target}", 64))
    for concept, value in ((MEASUREMENT_METHOD, MAP_METHODS[heatmap.method]), (EXPLAINED, target)):
        mapping.QuantityDefinitionSequence.append(CodeContentItem(name=concept, value=value))
    return mapping


def _window(low: float, high: float) -> Any:
    """All values that there are; a map that is the same everywhere has a window too."""
    from highdicom import VOILUTTransformation

    width = max(high - low, float(np.finfo(np.float32).tiny) * 1e6)
    return VOILUTTransformation(window_center=(low + high) / 2, window_width=width, voi_lut_function="LINEAR_EXACT")


def _how(heatmap: Heatmap) -> str:
    """Method, target, model and every parameter, in one line."""
    model = heatmap.provenance
    chosen = "; ".join(f"{key} {value}" for key, value in heatmap.parameters.items())
    return (
        f"{NOTICE} {METHOD_LABELS[heatmap.method]} of {heatmap.target}; model {model.model_id}, weights "
        f"{model.weights_sha256}, code {model.code_version}; {chosen}"
    )
