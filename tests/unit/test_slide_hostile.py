"""Slides made to hang a reader, to fill its memory, or to lead it to other files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")
Image = pytest.importorskip("PIL.Image")

from shared_models.contract.errors import InputTooLarge, InvalidInput, LungXAIError, SpacingUnknown  # noqa: E402
from shared_models.slide_reader import open_slide  # noqa: E402

RGB = struct.pack("<3H", 8, 8, 8)
OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'DimensionOrder="XYCZT" Type="uint8" SizeX="256" SizeY="256" SizeC="3" SizeZ="1" SizeT="1" {pixels}>'
    '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData>{data}</TiffData></Pixels></Image>{more}</OME>'
)


def page(at: int, width: int, height: int, block: int, following: int, data: bytes = b"", **tags: int) -> bytes:
    """One little-endian IFD at offset ``at``; every block is the same ``data``, or none where that is empty."""
    count = -(-width // block) * -(-height // block)
    entries = [
        (254, 4, 1, tags.get("reduced", 0)), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, RGB),
        (259, 3, 1, tags.get("compression", 1)), (262, 3, 1, tags.get("photometric", 2)), (277, 3, 1, 3),
        (284, 3, 1, 1), (322, 4, 1, block), (323, 4, 1, block),
    ]  # fmt: skip
    end = at + 2 + 12 * (len(entries) + 2) + 4
    blocks = end + len(RGB) + 2 + (8 * count if count > 1 else 0)
    size = struct.pack("<I", len(data))
    entries += [(324, 4, count, struct.pack("<I", blocks) * count), (325, 4, count, size * count)]
    head, extra = struct.pack("<H", len(entries)), b""
    for tag, kind, number, value in entries:
        if isinstance(value, bytes) and len(value) > 4:
            head += struct.pack("<HHII", tag, kind, number, end + len(extra))
            extra += value + bytes(len(value) % 2)
        elif isinstance(value, bytes):
            head += struct.pack("<HHI", tag, kind, number) + value
        else:
            head += struct.pack("<HHII", tag, kind, number, value)
    return (head + struct.pack("<I", following) + extra).ljust(blocks - at, b"\0") + data


def tiff(path: Path, *pages: bytes) -> Path:
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages))
    return path


def ome(path: Path, pixels: str = "", data: str = "", more: str = "") -> Path:
    description = OME.format(pixels=pixels, data=data, more=more)
    tifffile.imwrite(path, PICTURE, photometric="rgb", tile=(128, 128), description=description, metadata=None)
    return path


PICTURE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def test_the_pages_made_here_are_read(tmp_path) -> None:
    red = np.full((256, 256, 3), (200, 10, 30), np.uint8)
    with open_slide(tiff(tmp_path / "a.tif", page(8, 512, 512, 256, 0, red.tobytes())), 0.5) as slide:
        assert (slide.read(100, 200, 300, 300, 300) == red[0, 0]).all()


def test_a_chain_of_pages_without_end_is_refused(tmp_path) -> None:
    first = page(8, 64, 64, 64, 0)
    assert len(first) % 2 == 0
    chain = [page(8 + n * len(first), 64, 64, 64, 8 + (n + 1) * len(first) if n < 1999 else 0) for n in range(2000)]
    for pages in (chain, [page(8, 64, 64, 64, 8)]):
        with pytest.raises(InputTooLarge, match="more than 512 pictures"):
            open_slide(tiff(tmp_path / "a.tif", *pages), 0.5)


def test_a_later_page_is_judged_too(tmp_path) -> None:
    """openslide would take 16 GB for a block of the second level."""
    second = 8 + len(page(8, 256, 256, 256, 0, compression=5))
    pages = (page(8, 256, 256, 256, second, compression=5), page(second, 128, 128, 65536, 0, compression=5, reduced=1))
    with pytest.raises(InputTooLarge, match="65536 x 65536"):
        open_slide(tiff(tmp_path / "a.tif", *pages), 0.5)


def test_a_slide_of_a_million_pixels_a_side_with_nothing_in_it_is_refused(tmp_path) -> None:
    path = tiff(tmp_path / "a.tif", page(8, 1_000_000, 1_000_000, 4096, 0))
    with open_slide(path, 0.5) as slide, pytest.raises(InputTooLarge, match="no small copy"):
        slide.thumbnail(2048)
    with pytest.raises(InputTooLarge, match="more pieces"):
        open_slide(tiff(tmp_path / "b.tif", page(8, 1_000_000, 16, 16, 0).replace(
            struct.pack("<HHII", 257, 4, 1, 16), struct.pack("<HHII", 257, 4, 1, 1_000_000))), 0.5)  # fmt: skip


@pytest.mark.parametrize("compression", [7, 8])
def test_a_block_that_holds_more_than_it_says_is_damaged(tmp_path, compression: int) -> None:
    if compression == 8:
        data = zlib.compress(bytes(64 << 20), 9)
    else:
        stream = io.BytesIO()
        Image.new("RGB", (256, 256)).save(stream, "JPEG")
        jpeg = bytearray(stream.getvalue())
        size = jpeg.index(b"\xff\xc0") + 5
        jpeg[size : size + 4] = struct.pack(">HH", 65000, 65000)
        data = bytes(jpeg)
    path = tiff(tmp_path / "a.tif", page(8, 256, 256, 256, 0, data, compression=compression, photometric=6))
    with open_slide(path, 0.5) as slide, pytest.raises(InvalidInput, match="damaged"):
        slide.read(0, 0, 256, 256, 256)


def test_xml_that_claims_a_billion_planes_costs_nothing(tmp_path) -> None:
    claims = [("", "", ""), ('PhysicalSizeX="nan" PhysicalSizeY="-1"', "", "")]
    path = tmp_path / "a.ome.tif"
    for pixels, data, more in claims:
        with pytest.raises(SpacingUnknown):
            open_slide(ome(path, pixels, data, more))
    for name in ('SizeZ="1"', "<TiffData>"):
        text = OME.format(pixels="", data="", more="")
        text = text.replace(name, {"<TiffData>": '<TiffData IFD="0" PlaneCount="1000000000">'}.get(
            name, 'SizeZ="2000000000"'))  # fmt: skip
        tifffile.imwrite(path, PICTURE, photometric="rgb", tile=(128, 128), description=text, metadata=None)
        with open_slide(path, 0.5) as slide:
            assert np.array_equal(slide.read(0, 0, 256, 256, 256), PICTURE)


def test_xml_names_no_other_file_and_is_not_endless(tmp_path, caplog, capfd) -> None:
    other = np.zeros((256, 256, 3), np.uint8)
    tifffile.imwrite(tmp_path / "other.tif", other, photometric="rgb", tile=(128, 128))
    named = f'<UUID FileName="{tmp_path / "other.tif"}">urn:uuid:1</UUID>'
    with open_slide(ome(tmp_path / "a.ome.tif", data=named), 0.5) as slide:
        assert np.array_equal(slide.read(0, 0, 256, 256, 256), PICTURE)
    with pytest.raises(InvalidInput, match="XML"):
        open_slide(ome(tmp_path / "a.ome.tif", more="<a/>" * 2_500_000), 0.5)
    assert not caplog.text and not capfd.readouterr().err


def test_a_pyramid_is_read_from_its_sub_pages_and_from_reduced_ones(tmp_path) -> None:
    half = np.full((128, 128, 3), 7, np.uint8)
    for place in ("sub", "next"):
        path = tmp_path / f"{place}.tif"
        with tifffile.TiffWriter(path) as writer:
            writer.write(PICTURE, photometric="rgb", tile=(64, 64), subifds=1 if place == "sub" else None)
            writer.write(half, photometric="rgb", tile=(64, 64), subfiletype=1)
            if place == "next":
                writer.write(half[:, :50], photometric="rgb", tile=(64, 64), subfiletype=1)  # a label
        with open_slide(path, 0.5) as slide:
            assert np.array_equal(slide.read(0, 0, 256, 256, 256), PICTURE)
            assert (slide.read(0, 0, 256, 256, 128) == 7).all()
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        for _ in range(2):
            writer.write(PICTURE, photometric="rgb", tile=(64, 64))
    with pytest.raises(InvalidInput, match="focus planes"):
        open_slide(tmp_path / "stack.tif", 0.5)


@pytest.mark.parametrize("said", ["0", "-0.5", "1e9", "nan", "inf", "1e-9", "x", ""])
def test_a_scanner_that_lies_about_its_pixels_is_not_believed(tmp_path, said: str) -> None:
    path = tmp_path / "a.svs"
    text = f"Aperio Image Library v1\n256x256|AppMag = 20|MPP = {said}"
    tifffile.imwrite(path, PICTURE, photometric="rgb", tile=(128, 128), compression="zlib", description=text,
                     metadata=None)  # fmt: skip
    with pytest.raises(SpacingUnknown, match="--mpp"):
        open_slide(path)
    for given in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        with pytest.raises(SpacingUnknown):
            open_slide(path, given)


def test_what_is_no_file_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.svs")
    for path in (tmp_path / "pipe.svs", Path("/dev/zero"), tmp_path, tmp_path / "none.svs"):
        with pytest.raises(InvalidInput):
            open_slide(path, 0.5)


def test_every_byte_of_a_header_may_be_another(tmp_path) -> None:
    whole = page(8, 512, 512, 256, 0, bytes(256 * 256 * 3))
    generator = np.random.default_rng(1)
    path = tmp_path / "a.tif"
    for _ in range(150):
        data = bytearray(b"II*\0" + struct.pack("<I", 8) + whole)
        for place in generator.integers(4, 220, 2):
            data[place] = generator.integers(256)
        path.write_bytes(data)
        try:
            with open_slide(path, 0.5) as slide:
                assert slide.read(0, 0, 64, 64, 64).shape == (64, 64, 3)
        except LungXAIError as fault:
            assert fault.remedy
