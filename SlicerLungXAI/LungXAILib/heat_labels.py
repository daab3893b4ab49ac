"""What a heatmap in the scene says of itself: on its node, so that it is saved with it, and in its legend.

Said            what is known of a map besides its values
say()           writes it on the node, and a legend with it
label_of()      a map by its key, in words
key_of(), top_of(), model_of(), trust_of(), fails()   from the node
caption()       every line that a reader needs beside the map
legend_of()     the colour legend of a node; shorten_legend() for a small view
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from shared_models.contract.heatmap_words import AGAINST, FAILED, SANITY, UNMEASURED, target_words, trust
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import Heatmap

from .text import method_name, tr

METHOD, TARGET, TOP = "LungXAI.Method", "LungXAI.Target", "LungXAI.Top"
MODEL, TRUST, SANITY_CHECK, COUNTERPART = (
    "LungXAI.Model", "LungXAI.Trust", "LungXAI.SanityCheck", "LungXAI.CounterpartTop"
)  # fmt: skip
Key = tuple[str, str]
# Of the legend; Slicer does not break lines.
_TITLE_COLUMNS = 46
# Its middle, as a share of the view: in the upper right corner, for the middle of the view is where a nodule is shown.
LEGEND_PLACE = (0.985, 0.77)


@dataclass(frozen=True)
class Said:
    """What is known of a map besides its values.

    Parameters
    ----------
    method, target : its key; the target of negative evidence begins with AGAINST
    top : its largest value; 0 where it is empty
    model : id of the model that is explained
    trust : heatmap_words.trust()
    failed : whether it fails its sanity check
    counterpart_top : the largest value of the map of the other sign; 0 where there is none
    """

    method: str
    target: str
    top: float
    model: str
    trust: str
    failed: bool
    counterpart_top: float = 0.0

    @classmethod
    def of(cls, heatmap: Heatmap, counterpart_top: float = 0.0) -> Said:
        """Of a map without negative values."""
        return cls(
            heatmap.method,
            heatmap.target,
            float(heatmap.values.max()),
            heatmap.provenance.model_id,
            trust(heatmap),
            heatmap.parameters.get(SANITY) == FAILED,
            counterpart_top,
        )


def say(node: Any, said: Said) -> None:
    """Write it on a volume node that has its display node, and add the legend, which is not shown yet."""
    attributes = {
        METHOD: said.method,
        TARGET: said.target,
        TOP: repr(said.top),
        MODEL: said.model,
        TRUST: said.trust,
        SANITY_CHECK: FAILED if said.failed else "",
        COUNTERPART: repr(said.counterpart_top),
    }
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    _legend(node)


def label_of(key: Key) -> str:
    """For example "Grad-CAM: against malignancy"."""
    return f"{method_name(key[0])}: {target_words(key[1])}"


def key_of(node: Any) -> Key:
    """(method, target) of a heatmap node."""
    return node.GetAttribute(METHOD), node.GetAttribute(TARGET)


def is_against(key: Key) -> bool:
    """Whether the map shows negative evidence."""
    return key[1].startswith(AGAINST)


def top_of(node: Any) -> float:
    """The largest value of a map; 0 where nothing in it speaks for the target."""
    return float(node.GetAttribute(TOP))


def model_of(node: Any) -> str:
    """Id of the model that is explained; empty in scenes of older versions."""
    return node.GetAttribute(MODEL) or ""


def trust_of(node: Any) -> str:
    """How far the map can be trusted, in one line; a failed sanity check comes first."""
    return node.GetAttribute(TRUST) or UNMEASURED


def fails(node: Any) -> bool:
    """Whether the map fails its sanity check."""
    return node.GetAttribute(SANITY_CHECK) == FAILED


def scale_words(node: Any) -> str:
    """How a map and the one of the other sign compare, for each has a scale of its own; empty where there is none."""
    own, other = top_of(node), float(node.GetAttribute(COUNTERPART) or 0.0)
    against = is_against(key_of(node))
    if own <= 0:
        return tr("Nothing in it speaks against the target.") if against else tr("Nothing in it speaks for the target.")
    if other <= 0:
        return ""
    if against:
        return tr("Its scale is its own: its strongest place has {share} of what speaks for at its strongest.").format(
            share=_share(own / other)
        )
    return tr("What speaks against is a map of its own; its strongest place has {share} of this one's.").format(
        share=_share(other / own)
    )


def _share(ratio: float) -> str:
    return tr("under 1 %") if ratio < 0.01 else f"{100 * ratio:.0f} %"


def caption(node: Any) -> list[str]:
    """Title, model, trust, and how it compares with the map of the other sign."""
    lines = [label_of(key_of(node)), _model_words(node), trust_of(node), scale_words(node)]
    return [line for line in lines if line]


def _model_words(node: Any) -> str:
    model = model_of(node)
    return tr("Model: {model}").format(model=model) if model else ""


def _legend(node: Any) -> None:
    from slicer import vtkMRMLColorLegendDisplayNode

    legend = vtkMRMLColorLegendDisplayNode()
    node.GetScene().AddNode(legend)
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    node.AddAndObserveDisplayNodeID(legend.GetID())
    _set_title(legend, [label_of(key_of(node)), _model_words(node), trust_of(node)])
    legend.SetNumberOfLabels(5)
    # Slicer enlarges the words until the longest number fills the bar's width: with short numbers, or at its own width
    # of 0.15, they would cover the nodule.
    legend.SetLabelFormat("%4.2g")
    legend.SetSize(0.06, 0.4)
    legend.SetPosition(*LEGEND_PLACE)
    words = legend.GetTitleTextProperty()
    words.SetBackgroundColor(0.0, 0.0, 0.0)  # to be read over bone too
    words.SetBackgroundOpacity(0.6)
    if fails(node):
        words.SetColor(1.0, 0.6, 0.5)
        words.SetBold(True)
    legend.SetVisibility(False)


def _set_title(legend: Any, lines: list[str]) -> None:
    words = [part for line in (*lines, tr(NOTICE)) if line for part in textwrap.wrap(line, _TITLE_COLUMNS)]
    legend.SetTitleText("\n".join(words))


def shorten_legend(node: Any) -> None:
    """Leave model and figures to the words beside a small view; that the sanity check failed stays in the legend."""
    _set_title(legend_of(node), [label_of(key_of(node)), tr("FAILS the sanity check") if fails(node) else ""])


def legend_of(node: Any) -> Any:
    """The colour legend of a heatmap node."""
    every = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    return next(d for d in every if d is not None and d.IsA("vtkMRMLColorLegendDisplayNode"))
