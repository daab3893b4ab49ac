"""The readers by name."""

from __future__ import annotations

from . import (
    lc25000,
    lidc_idri,
    lung_fused,
    lung_pet_ct_dx,
    nsclc_radiogenomics,
    nsclc_radiomics,
    sclc,
    tcga_lung,
)
from .case import Cohort

COHORTS: dict[str, Cohort] = {
    module.COHORT.name: module.COHORT
    for module in (
        lidc_idri, nsclc_radiomics, nsclc_radiogenomics, tcga_lung, sclc, lc25000, lung_pet_ct_dx, lung_fused
    )
}  # fmt: skip
