"""LIDC-IDRI: readers' outlines by LIDC's rule, grouped by overlap, joined to their CT."""

import numpy as np
import pytest
from cohort_files import lidc_message, read_all, ring, roi, series, sop, uid

from shared_models.cohorts import lidc_idri
from shared_models.cohorts.lidc_xml import Contour, agreed_mask, grouped, mean_rating, read_nodules, slice_mask
from shared_models.contract.errors import InvalidInput

SHAPE = (12, 16)


def _contour(points, included=True):
    return Contour("1", 0.0, included, np.array(points, np.int32))


def test_the_outline_is_not_nodule():
    mask = slice_mask([_contour(ring(3, 2, 8, 7))], SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[3:7, 4:8] = True
    assert (mask == expected).all()


def test_a_hole_keeps_the_pixels_of_its_outline():
    mask = slice_mask([_contour(ring(5, 4, 8, 8), included=False), _contour(ring(1, 1, 12, 11))], SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[2:11, 2:12] = True
    expected[5:8, 6:8] = False
    assert (mask == expected).all()


def test_an_outline_at_the_border_does_not_spill():
    mask = slice_mask([_contour(ring(0, 0, 4, 3))], SHAPE)
    assert mask.sum() == 6 and mask[1:3, 1:4].all()


def test_the_rule_agrees_with_real_masks(real_data):
    with np.load(real_data / "lidc_nodule_slices" / "lidc_nodule_slices_71px.npz", allow_pickle=False) as data:
        whole, inner = (
            np.unpackbits(data[name][:150], axis=1)[:, : 71 * 71].reshape(-1, 71, 71).astype(bool)
            for name in ("mask", "mask_inner")
        )
    for outer, within in zip(whole, inner):
        rows, columns = np.nonzero(outer & ~within)
        # Each outline pixel as a contour of its own path would need the order; the fill by itself does not.
        from scipy import ndimage

        outline = outer & ~within
        assert (ndimage.binary_fill_holes(outline) & ~outline == within).all() and len(rows) == len(columns)


@pytest.fixture
def four_readers(tmp_path):
    """A nodule of readers 0, 1, 2 (2 only touches 1), another of reader 0 beside it, and a point of reader 3."""
    a = roi(1, ring(2, 2, 7, 7)) + roi(2, ring(2, 2, 7, 7))
    b = roi(1, ring(3, 2, 8, 7))
    c = roi(1, ring(6, 3, 10, 8))
    beside = roi(1, ring(9, 4, 14, 9))
    point = "<roi><imageZposition>0</imageZposition><imageSOP_UID>x</imageSOP_UID><inclusion>TRUE</inclusion>"
    point += "<edgeMap><xCoord>4</xCoord><yCoord>4</yCoord></edgeMap></roi>"
    path = tmp_path / "069.xml"
    path.write_bytes(lidc_message([[(a, 5), (beside, 2)], [(b, 3)], [(c, None)], [(point, None)]]))
    return path


def test_nodules_are_grouped_by_overlap_and_reader(four_readers):
    nodules = read_nodules(four_readers)
    assert [n.reader for n in nodules] == [0, 0, 1, 2], "a point is no outline"
    groups = grouped(nodules)
    assert [[n.reader for n in group] for group in groups] == [[0, 1, 2], [0]]
    assert mean_rating(groups[0], "malignancy") == 4.0 and mean_rating(groups[1], "malignancy") == 2.0
    assert mean_rating(groups[0], "margin") is None
    assert nodules[0].z_mm == (2.5, 5.0)


def test_two_nodules_of_a_reader_stay_apart(tmp_path):
    """Reader 1 drew over both of reader 0's: it goes to the one it overlaps more."""
    path = tmp_path / "1.xml"
    both = [(roi(1, ring(1, 1, 6, 6)), 4), (roi(1, ring(8, 1, 13, 6)), 4)]
    path.write_bytes(lidc_message([both, [(roi(1, ring(3, 1, 13, 6)), 4)]]))
    groups = grouped(read_nodules(path))
    assert [[n.contours[0].xy[:, 0].min() for n in group] for group in groups] == [[1], [8, 3]]


def test_agreement_counts_readers(four_readers):
    group = grouped(read_nodules(four_readers))[0]
    one, two = (agreed_mask(group, sop(1), SHAPE, readers=n) for n in (1, 2))
    # Readers 0 and 1 share 3 x 4 pixels, 1 and 2 a column of 3.
    assert two.sum() == 15 and one.sum() > two.sum() and (one | ~two).all()
    assert agreed_mask(group, sop(2), SHAPE, readers=1).sum() == 16 and not agreed_mask(group, sop(2), SHAPE).any()


def test_a_download(tmp_path, four_readers):
    one = tmp_path / "data" / "manifest-1" / "LIDC-IDRI"
    series(one / "LIDC-IDRI-0001" / "01-01-2000-NA" / "3000566.000000-NA-03192", "LIDC-IDRI-0001")

    def radiograph(image, index):
        image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "DX"

    series(one / "LIDC-IDRI-0001" / "01-01-2000-NA" / "2.0-CR", "LIDC-IDRI-0001", "9", 2, radiograph)
    series(one / "LIDC-IDRI-0002" / "01-01-2000-NA" / "1.0", "LIDC-IDRI-0002", "2")
    readings = tmp_path / "data" / "LIDC-XML-only" / "tcia-lidc-xml" / "157"
    readings.mkdir(parents=True)
    (readings / "158.xml").write_bytes(four_readers.read_bytes())
    (readings / "159.xml").write_bytes(lidc_message([], "77"))
    (readings / "160.xml").write_bytes(lidc_message([], "1").replace(b"SeriesInstanceUid", b"CXRSeriesInstanceUid"))
    cases, left_out = read_all(lidc_idri, tmp_path / "data")
    assert list(cases) == ["LIDC-IDRI-0001", "LIDC-IDRI-0002"]
    case = cases["LIDC-IDRI-0001"]
    assert case.label is None and case.images[0].series_uid == uid() and case.images[0].count == 4
    assert [(a.kind, a.series_uid, a.names) for a in case.annotations] == [
        ("LIDC_XML", uid(), ("2 nodules of 4 outlines",))
    ]
    assert left_out == {
        ("series", "a radiograph, no CT"): 1,
        ("annotation", "a CT without a readers' XML"): 1,
        ("annotation", "a readers' XML whose CT is not here"): 1,
        ("annotation", "an XML file of a radiograph, or of no reading"): 1,
    }


def test_outlines_of_an_image_that_is_missing(tmp_path):
    root = tmp_path / "LIDC-IDRI"
    folder = series(root / "LIDC-IDRI-0003" / "a" / "b", "LIDC-IDRI-0003")
    (folder / "1.xml").write_bytes(lidc_message([[(roi(40, ring(2, 2, 7, 7)), 3)]]))
    cases, left_out = read_all(lidc_idri, root)
    assert not cases["LIDC-IDRI-0003"].annotations
    assert left_out == {("annotation", "a readers' XML that outlines an image which is not here"): 1}


@pytest.mark.parametrize(
    "points", [[(1, 1), (99999, 2)], [(-1, 1), (2, 2)], [(1, 1), ("x", 2)], [(0, 0), (4095, 4095)] * 8]
)
def test_coordinates_of_no_ct(tmp_path, points):
    path = tmp_path / "1.xml"
    path.write_bytes(lidc_message([[(roi(1, points) * 20, 3)]]))
    with pytest.raises(InvalidInput):
        read_nodules(path)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="LIDC-IDRI-0001"):
        list(lidc_idri.read(tmp_path, print))
