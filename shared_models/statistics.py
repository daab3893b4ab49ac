"""Figures with intervals: numpy only. The one place to import them from; they lie in three files.

discrimination     accuracy(), macro_f1(), sensitivity(), specificity(), auroc(), macro_auroc(), delong(), delong_ci()
calibration_error  ece(), ece_of_mass(), ece_debiased(), ece_by_chance(), spiegelhalter(), brier(), brier_multi(),
                   brier_parts(), of_two_classes()
intervals          bootstrap_ci(), bca_ci(), wilson_ci()

Whether one method is better than another on the same cases: paired_tests. At which threshold: operating_points.
"""

from __future__ import annotations

from .calibration_error import (
    brier,
    brier_multi,
    brier_parts,
    ece,
    ece_by_chance,
    ece_debiased,
    ece_of_mass,
    of_two_classes,
    spiegelhalter,
)
from .discrimination import (
    Labels,
    accuracy,
    auroc,
    delong,
    delong_ci,
    macro_auroc,
    macro_f1,
    sensitivity,
    specificity,
)
from .intervals import bca_ci, bootstrap_ci, wilson_ci

__all__ = [
    "Labels", "accuracy", "auroc", "bca_ci", "bootstrap_ci", "brier", "brier_multi", "brier_parts", "delong",
    "delong_ci", "ece", "ece_by_chance", "ece_debiased", "ece_of_mass", "macro_auroc", "macro_f1", "of_two_classes",
    "sensitivity", "specificity", "spiegelhalter", "wilson_ci",
]  # fmt: skip
