"""Pixels of every encoding come out as they went in, or the file is refused."""

import io
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.dicom.pixels import DECODERS, MOST_BYTES, Geometry
from dagster_project.intake.refusals import RefusedError
from tests.intake.builders import PERSON, ct, read_back, seg, seg_mask, to_bytes
from tests.intake.peers import of_dcmtk

SYNTAXES = "transfer_syntax"
LARGE = np.add.outer(np.arange(64) * 29, np.arange(48) * 31) % 4096
"""JPEG 2000 wants more than a few pixels."""


def out(data):
    return read_back(deidentify(open_source(data), PERSON).data)


def encoded(ds, syntax):
    """The same image in another transfer syntax."""
    ds = pydicom.dcmread(io.BytesIO(to_bytes(ds)))
    buffer = io.BytesIO()
    if syntax in {RLELossless, JPEG2000Lossless}:
        ds.compress(syntax)
        ds.save_as(buffer)
    elif syntax == ExplicitVRBigEndian:
        ds.PixelData = ds.pixel_array.astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            buffer, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True
        )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda s: s.name,
)
def test_every_transfer_syntax_becomes_explicit_little_endian_with_the_same_pixels(syntax):
    result = out(encoded(ct(1, pixels=LARGE), syntax))
    assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.array_equal(result.pixel_array, LARGE)


def grafted(shared_data, name, syntax):
    """A CT whose pixels are the code stream of a real file."""
    real = pydicom.dcmread(shared_data / "dicom_oddities" / SYNTAXES / name)
    ds = ct(
        Rows=real.Rows,
        Columns=real.Columns,
        BitsStored=real.BitsStored,
        HighBit=real.BitsStored - 1,
        PixelRepresentation=real.PixelRepresentation,
    )
    ds.PixelData, ds.file_meta.TransferSyntaxUID = real.PixelData, UID(syntax)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return real, buffer.getvalue()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "1.2.840.10008.1.2.4.80"),
        ("D_CLUNIE_CT1_RLE_FRAGS.dcm", "1.2.840.10008.1.2.5"),
    ],
)
def test_real_code_streams_decode(shared_data, name, syntax):
    real, data = grafted(shared_data, name, syntax)
    assert np.array_equal(out(data).pixel_array, real.pixel_array)


def test_the_lossless_jpeg_of_old_scanners_decodes():
    pixels = np.tile(np.uint8(77), (16, 12))
    ds = ct(pixels=pixels.astype(np.uint16), BitsAllocated=8, BitsStored=8, HighBit=7)
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.70")
    ds.PixelData = encapsulate([flat_jpeg(77, 16, 12)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    assert np.array_equal(out(buffer.getvalue()).pixel_array, pixels)


def flat_jpeg(value: int, rows: int, columns: int) -> bytes:
    """A JPEG of process 14, selection value 1, of an image of one value.

    The first difference takes 8 bits, a code of 2 bits and a value of 6; the others are zero.
    """
    sof = (
        b"\xff\xc3"
        + (11).to_bytes(2, "big")
        + bytes([8])
        + rows.to_bytes(2, "big")
        + columns.to_bytes(2, "big")
        + bytes([1, 1, 0x11, 0])
    )
    dht = (
        b"\xff\xc4" + (21).to_bytes(2, "big") + bytes([0, 0, 2, *[0] * 14, 0, 6])
    )  # codes 00 → 0 bits, 01 → 6 bits
    sos = b"\xff\xda" + (8).to_bytes(2, "big") + bytes([1, 1, 0, 1, 0, 0])
    difference = value - 128
    bits = "01" + f"{difference + 63:06b}" + "00" * (rows * columns - 1)
    bits += "1" * (-len(bits) % 8)
    stream = bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)).replace(
        b"\xff", b"\xff\0"
    )
    return b"\xff\xd8" + sof + dht + sos + stream + b"\xff\xd9"


ENCODERS = {
    "JPEG Lossless SV1": ("dcmcjpeg", "+e1"),
    "JPEG Lossless, predictor 4": ("dcmcjpeg", "+el", "+sv", "4"),
    "JPEG-LS": ("dcmcjpls", "+el"),
    "RLE": ("dcmcrle",),
}


def whole_range(stored, signed):
    """A gradient over the whole range of the bit depth, its two ends, and noise, side by side.

    The image has 64 × 48 pixels.
    """
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    pixels = np.linspace(low, high, LARGE.size).round().astype(np.int64).reshape(LARGE.shape)
    pixels[:20, :20] = np.random.default_rng(3).integers(low, high + 1, (20, 20))
    pixels[20, ::2], pixels[20, 1::2] = low, high
    return pixels


def written_by_dcmtk(tmp_path, pixels, stored, signed, command):
    """The image as DCMTK encodes it.

    The PACS is one that leaves the ImageType of a lossy copy as it was.
    """
    ds = ct(
        pixels=pixels.astype(np.int16 if signed else np.uint16),
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
    )
    (tmp_path / "plain.dcm").write_bytes(to_bytes(ds))
    tool, *options = command
    subprocess.run(
        [of_dcmtk(tool), *options, tmp_path / "plain.dcm", tmp_path / "encoded.dcm"], check=True
    )
    ds = pydicom.dcmread(tmp_path / "encoded.dcm")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("stored", "signed"), [(12, False), (12, True), (16, False), (16, True)])
@pytest.mark.parametrize("command", ENCODERS.values(), ids=ENCODERS)
def test_what_dcmtk_encodes_without_loss_comes_out_as_it_went_in(tmp_path, stored, signed, command):
    pixels = whole_range(stored, signed)
    assert np.array_equal(
        out(written_by_dcmtk(tmp_path, pixels, stored, signed, command)).pixel_array, pixels
    )


def test_near_lossless_differs_by_no_more_than_its_encoder_promised(tmp_path):
    pixels = whole_range(12, signed=False)
    result = out(written_by_dcmtk(tmp_path, pixels, 12, False, ("dcmcjpls", "+en", "+md", "2")))
    assert np.abs(result.pixel_array.astype(int) - pixels).max() == 2
    assert result.LossyImageCompression == "01"


def test_lossy_jpeg_of_12_bits_is_refused_by_name(tmp_path):
    data = written_by_dcmtk(tmp_path, whole_range(12, signed=False), 12, False, ("dcmcjpeg", "+ee"))
    with pytest.raises(RefusedError, match="JPEG Extended"):
        out(data)


def test_a_transfer_syntax_that_is_not_read_is_refused_as_such():
    data = encoded(ct(1, pixels=LARGE), JPEG2000Lossless).replace(
        b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.94"
    )
    with pytest.raises(RefusedError, match="transfer syntax is not read"):
        out(data)


@pytest.mark.parametrize("syntax", DECODERS, ids=lambda s: s.name)
def test_the_decoder_of_each_transfer_syntax_is_installed(syntax):
    assert DECODERS[syntax] in get_decoder(syntax).available_plugins


def test_lossy_transfer_syntaxes_are_flagged():
    real = encoded(ct(1, pixels=LARGE), JPEG2000Lossless)
    lossy = real.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.91")
    assert out(lossy).LossyImageCompression == "01"
    assert "LossyImageCompression" not in out(real)


def test_a_broken_code_stream_is_refused():
    data = encoded(ct(1, pixels=LARGE), JPEG2000Lossless)
    start = data.index(b"\xff\x4f\xff\x51")
    with pytest.raises(RefusedError, match="undecodable pixels"):
        out(data[:start] + bytes(60) + data[start + 60 :])


@pytest.mark.parametrize(("stored", "signed"), [(12, False), (12, True), (16, True), (16, False)])
def test_values_of_every_depth_stay(stored, signed):
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    pixels = np.linspace(low, high, 192).round().astype(np.int64).reshape(16, 12)
    ds = ct(
        pixels=pixels.astype(np.int16 if signed else np.uint16),
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
    )
    assert np.array_equal(out(to_bytes(ds)).pixel_array, pixels)


@pytest.mark.parametrize("change", [-2, -1, 2, 200])
def test_pixels_shorter_or_longer_than_the_geometry_are_refused(change):
    ds = ct()
    ds.PixelData = (ds.PixelData + bytes(200))[: 384 + change]
    with pytest.raises(RefusedError, match="length is not that of the geometry"):
        out(to_bytes(ds))


def test_bits_behind_the_last_voxel_of_a_segmentation_are_cleared():
    ds = seg(frames=1)
    ds.Rows, ds.Columns = 15, 9
    ds.PixelData = bytes([0xFF] * 17 + [0])
    assert deidentify(open_source(to_bytes(ds)), PERSON).data.endswith(
        bytes([0xFF] * 16 + [0x7F, 0])
    )


def test_frames_of_a_segmentation_stay():
    assert np.array_equal(out(to_bytes(seg(frames=5))).pixel_array, seg_mask(5))


def test_a_header_that_declares_gigabytes_is_refused_before_anything_is_allocated():
    with pytest.raises(RefusedError, match="512 MiB"):
        Geometry(65535, 65535, 1, 16, 16, 15, signed=False).check()
    assert (
        Geometry(512, 512, MOST_BYTES // 512 // 512 // 2, 16, 16, 15, signed=False).length
        == MOST_BYTES
    )
