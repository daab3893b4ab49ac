"""The model card of a model that the user added: what its configuration says, and that nothing here measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .wsinfer_bundle import Wanted


def card(wanted: Wanted, said: Mapping[str, Any]) -> str:
    """Markdown.

    Parameters
    ----------
    said : of wsinfer_script.tried()
    """
    config = wanted.config
    rows = "\n".join(f"| {_cell(own)} | {wanted.mapping.get(own, 'not assigned')} |" for own in config.class_names)
    covered = ", ".join(wanted.coverage)
    if covered:
        use = (
            f"Every class was assigned, so its probabilities are summed into: {covered}. They are uncalibrated, and "
            "the fusion weighs them as those of an uncalibrated model. The suite's other classes are not assessed."
        )
    else:
        use = (
            "Not every class was assigned to one of the suite's, so none of the suite's classes is assessed, and the "
            "fusion leaves this model out. Its own classes are shown."
        )
    field = config.patch_px * config.spacing_um_px
    outputs = "softmax of its outputs" if len(config.class_names) > 1 else "the logistic function of its output"
    warning = (
        "\n**Check.** Its outputs look like probabilities before that; if they are, its configuration should say "
        '`"apply_softmax": false`.\n' if said["probabilities_already"] and config.apply_softmax else ""
    )  # fmt: skip
    return f"""# {wanted.name}: added by the user, not validated here

Research use only, not a diagnosis. Nothing in this suite measured how good this model is, on lung or on anything else.
What follows is what its configuration says.

**Source.** TorchScript file `{_code(wanted.script.name)}`, sha256 `{wanted.sha256}`, architecture
`{_code(config.architecture)}`. A TorchScript file is a program: whoever added it said that they trust it.

**Classes.**

| its class | assigned by the user to |
|---|---|
{rows}

{use}

**Scale.** Tiles of {config.patch_px} x {config.patch_px} pixels at {config.spacing_um_px:g} µm per pixel, a field of
{field:g} µm; then {config.preparation.said()}.

**Probabilities.** {"Its outputs as they are" if not config.apply_softmax else outputs[0].upper() + outputs[1:]}. Not
calibrated.
{warning}
**Heatmaps.** {", ".join(said["methods"]) or "None: gradients do not reach the pixels."}

**Not used of its configuration.** {", ".join(f"`{_code(name)}`" for name in config.unused) or "Nothing was left out."}

**Licence.** See LICENSE in this folder.
"""


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c != "`")
