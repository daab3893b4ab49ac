"""The coded words of a slide's annotations; those that all exports share are in dicom_codes.py.

TYPES        class to category (CID 7150) and type: carcinomas by CID 638, the normal by CID 222
TISSUE       the category of what is no lesion
NOT_RATED, BELOW_HALF   the types of tiles without a class
ENTROPY, QUALITY, BIT   of the measurements
"""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from .dicom_codes import ABNORMAL, own

TISSUE = codes.SCT.Tissue
NOT_RATED = own("not_rated", "Unlike the training data, not rated")
BELOW_HALF = own("below_half", "Less than a half")
TYPES = {
    "adenocarcinoma": (ABNORMAL, codes.SCT.Adenocarcinoma),
    "squamous_cell": (ABNORMAL, codes.SCT.SquamousCellCarcinoma),
    "large_cell": (ABNORMAL, codes.SCT.LargeCellCarcinoma),
    "small_cell": (ABNORMAL, codes.SCT.SmallCellCarcinoma),
    "normal": (TISSUE, codes.SCT.Normal),
}
ENTROPY = own("entropy", "Entropy of the class probabilities")
QUALITY = own("quality", "Quality of the picture, 0 to 1")
BIT = Code("bit", "UCUM", "bit")
