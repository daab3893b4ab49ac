"""Frames of protocol version 1 as they were first written: a change that cannot read them is a new protocol.

Written once by ``python tests/contract/test_golden.py``; never again for the same version.
"""

from pathlib import Path

import numpy as np

from shared_models.contract import codec
from shared_models.contract.values import CTVolume, SlideTiles

FOLDER = Path(__file__).parent / "golden"
VOXELS = (np.arange(24, dtype=np.int16) * 97 - 1024).reshape(2, 3, 4)
AFFINE = np.array([[0.5, 0, 0, -7], [0, 0.5, 0, 3], [0, 0, 2, 11], [0, 0, 0, 1.0]])
PIXELS = (np.arange(24) * 9).astype(np.uint8).reshape(1, 2, 4, 3)
ORIGINS = np.array([[1024, 2048]], np.int64)


def test_ct_frame_of_version_1_reads_back() -> None:
    got = codec.decode((FOLDER / "ct_v1.lxai").read_bytes())
    assert isinstance(got, CTVolume) and got.series_uid == "1.2.840.1"
    np.testing.assert_array_equal(got.voxels, VOXELS)
    np.testing.assert_array_equal(got.ijk_to_lps, AFFINE)


def test_tiles_frame_of_version_1_reads_back() -> None:
    got = codec.decode((FOLDER / "tiles_v1.lxai").read_bytes())
    assert isinstance(got, SlideTiles) and (got.slide_id, got.mpp) == ("slide", 0.25)
    np.testing.assert_array_equal(got.pixels, PIXELS)
    np.testing.assert_array_equal(got.origin_px, ORIGINS)


if __name__ == "__main__":
    FOLDER.joinpath("ct_v1.lxai").write_bytes(codec.encode(CTVolume(VOXELS, AFFINE, "1.2.840.1")))
    FOLDER.joinpath("tiles_v1.lxai").write_bytes(codec.encode(SlideTiles(PIXELS, ORIGINS, 0.25, "slide")))
