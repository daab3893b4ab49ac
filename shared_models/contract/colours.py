"""The colours and names of the classes, and the heat ramp: the same in Slicer, in QuPath and in the report.

CLASS_COLOURS   class to (red, green, blue), 0 to 255; told apart by colour-blind readers
nodule_colour() of a nodule's outline, by its label: tells nodules apart, and means nothing else
CLASS_LABELS    class to the words that a reader sees
METHOD_LABELS   heatmap method to the name that readers know it by
NOT_ASSESSED    grey, for a class or a tile without an answer
heat_colour()   a fraction of a map's scale as a colour; another ramp for what speaks against

Class colours are of Okabe and Ito 2008, "Color Universal Design", those of nodules of Paul Tol's "bright" scheme. The
ramp is viridis (van der Walt and Smith, CC0), even to the eye from dark to light, so that it reads in grey print too.
It has no grey in its middle, as cividis has, which would be lost on a CT. What speaks against the target is drawn in
the purples of ColorBrewer (Brewer 2002).
"""

from __future__ import annotations

RGB = tuple[int, int, int]

CLASS_COLOURS: dict[str, RGB] = {
    "adenocarcinoma": (213, 94, 0),
    "squamous_cell": (0, 114, 178),
    "large_cell": (204, 121, 167),
    "small_cell": (240, 228, 66),
    "normal": (0, 158, 115),
}
CLASS_LABELS: dict[str, str] = {
    "adenocarcinoma": "Adenocarcinoma",
    "squamous_cell": "Squamous cell carcinoma",
    "large_cell": "Large cell carcinoma",
    "small_cell": "Small cell carcinoma",
    "normal": "Normal",
}
METHOD_LABELS: dict[str, str] = {
    "gradcam": "Grad-CAM",
    "gradcam_pp": "Grad-CAM++",
    "integrated_gradients": "Integrated Gradients",
    "occlusion": "Occlusion",
    "saliency": "Saliency",
    "smoothgrad": "SmoothGrad",
}
NOT_ASSESSED: RGB = (153, 153, 153)
_NODULES: tuple[RGB, ...] = (
    (238, 102, 119),
    (102, 204, 238),
    (204, 187, 68),
    (170, 51, 119),
    (68, 119, 170),
    (34, 136, 51),
)

# viridis at 0, 0.05 ... 1
_RAMP: tuple[RGB, ...] = (
    (68, 1, 84),
    (71, 19, 101),
    (72, 36, 117),
    (70, 52, 128),
    (65, 68, 135),
    (59, 82, 139),
    (53, 95, 141),
    (47, 108, 142),
    (42, 120, 142),
    (37, 132, 142),
    (33, 145, 140),
    (30, 156, 137),
    (34, 168, 132),
    (47, 180, 124),
    (68, 191, 112),
    (94, 201, 98),
    (122, 209, 81),
    (155, 217, 60),
    (189, 223, 38),
    (223, 227, 24),
    (253, 231, 37),
)


# From dark to light too. Only the darkest fifths of the two look alike, and viewers do not draw them.
_AGAINST: tuple[RGB, ...] = ((63, 0, 125), (106, 81, 163), (158, 154, 200), (203, 201, 226), (242, 240, 247))


def heat_colour(fraction: float, against: bool = False) -> RGB:
    """The colour of ``fraction``, 0 (least) to 1 (most); outside it, and for NaN, the nearer end (NaN: the least).

    With ``against``, of a map of what speaks against its target.
    """
    ramp = _AGAINST if against else _RAMP
    inside = min(max(fraction, 0.0), 1.0) if fraction == fraction else 0.0
    place = inside * (len(ramp) - 1)
    lower = min(int(place), len(ramp) - 2)
    share = place - lower
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(ramp[lower], ramp[lower + 1]))
    return red, green, blue


def nodule_colour(label: int) -> RGB:
    """A colour for the nodule with this label, 1 and up; they repeat after six."""
    return _NODULES[(label - 1) % len(_NODULES)]
