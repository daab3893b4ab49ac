"""The coded words of the DICOM exports, all of them, each from where it is defined.

SCT   SNOMED CT as DICOM has it     PS3.16: CID 7150 category, CID 7159 lesion, CID 4031 region, CID 244 laterality,
                                    CID 7469 and 7470 measurements, CID 7464 mean
DCM   DICOM's own                   PS3.16 annex D; CID 7162 algorithm family, CID 7180 what a map shows
UCUM  units                         CID 7181
LN    LOINC                         CID 7000 procedure
99LUNGXAI  ours, where there is no standard word: OWN tells what each means

"Probability of cancer" (DCM 111047) is left alone: a malignancy here is what readers of LIDC-IDRI would rate.
"""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from shared_models.contract.colours import CLASS_LABELS, METHOD_LABELS
from shared_models.contract.fusion_result import MODALITIES as MODALITY_NAMES
from shared_models.contract.fusion_result import PART_LABELS
from shared_models.contract.results import CT_TARGETS, FOUND_BY

SCHEME = "99LUNGXAI"
SCHEME_NAME = "LungXAI research software, codes of its own"
SCHEME_ORGANIZATION = "LungXAI"


def own(value: str, meaning: str) -> Code:
    """A code of our own scheme."""
    return Code(value, SCHEME, meaning)


ABNORMAL = codes.SCT.MorphologicallyAbnormalStructure
NODULE = codes.SCT.Nodule
LUNG = codes.SCT.Lung
SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}

LONG_AXIS = codes.SCT.LongAxis
SHORT_AXIS = codes.SCT.ShortAxis
VOLUME = codes.SCT.Volume
ATTENUATION = codes.DCM.AttenuationCoefficient
MEAN = codes.SCT.Mean

MILLIMETRE = codes.UCUM.Millimeter
CUBIC_MILLIMETRE = codes.UCUM.CubicMillimeter
HOUNSFIELD = codes.UCUM.HounsfieldUnit
NO_UNIT = codes.UCUM.NoUnits

ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
COMMENT = codes.DCM.Comment
DEVICE = codes.DCM.Device
CHEST_CT = Code("24627-2", "LN", "CT Chest")
REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
ENGLISH = Code("en", "RFC5646", "English")
# Of UMLS, as TID 1500 names the container of what is said of the whole report.
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")

MALIGNANCY = own("malignancy", "Malignancy as LIDC-IDRI readers rate, probability")
PROBABILITIES = {name: own(f"p_{name}", f"Probability of {label.lower()}") for name, label in CLASS_LABELS.items()}
RELIABILITY = own("reliability", "Likeness to the training data, 0 to 1")
NODULES_FOUND = own("nodules", "Number of nodules outlined")
NOT_ASSESSED_SHARE = own("na_share", "Probability left to the classes not assessed")
EVIDENCE = own("evidence", "Evidence taken into account")
MODALITIES = {name: own(f"by_{name}", PART_LABELS[name]) for name in MODALITY_NAMES}
FOUND = own("found_by", "Found by")
_FOUND_MEANINGS = {
    "search": "Search by the program",
    "point": "Point given by a reader",
    "box": "Box given by a reader",
    "hand": "Outline of a reader",
}
FOUND_VALUES = {name: own(f"found_{name}", _FOUND_MEANINGS[name]) for name in FOUND_BY}
NOT_ASSESSED = own("not_assessed", "Not assessed")
NOT_ASSESSED_CLASSES = own("na_classes", "Classes not assessed")
ABSTENTION = own("abstention", "No answer: the reason, and what would help")
INTENDED_USE = own("intended_use", "Intended use")
EXPLAINED = own("explained", "Output that is explained")
TARGETS = {name: own(f"out_{name}", f"Network output: {name}") for name in CT_TARGETS}

_METHOD_VALUES = {"integrated_gradients": "integrated_grads"}  # a code has 16 characters
MAP_METHODS = {name: own(_METHOD_VALUES.get(name, name), label) for name, label in METHOD_LABELS.items()}
# CID 7180 has one word for maps of gradients at a layer and one for those at the input; which method it is, is ours.
_GRADIENT_CAM, _SALIENCY = codes.DCM.GradientWeightedClassActivation, codes.DCM.Saliency
MAP_QUANTITIES = {
    "gradcam": _GRADIENT_CAM,
    "gradcam_pp": _GRADIENT_CAM,
    "integrated_gradients": _SALIENCY,
    "occlusion": _SALIENCY,
    "saliency": _SALIENCY,
    "smoothgrad": _SALIENCY,
}
