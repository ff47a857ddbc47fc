"""Text drawn into slices: found without reading it, and its series leaves the vault."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, RLELossless
from scipy import ndimage

from benchmarks.scanned import PHANTOMS, scan
from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.dicom.text_in_pixels import holds_text
from tests.intake.builders import PERSON, ct, to_bytes

LATIN = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
CHINESE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
SIDE = 192


def chest(seed: int = 0, noise: float = 20.0) -> np.ndarray:
    """A slice of a chest in HU, blurred and noisy as from a scanner.

    It has a body, lungs, vessels, a spine, ribs and a table.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    hu = np.where((x / 0.9) ** 2 + (y / 0.65) ** 2 < 1, 45.0, -1000.0)
    lungs = ((abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 < 1
    hu[lungs] = -860
    for _ in range(60):
        at, width = random.uniform(-0.8, 0.8, 2), random.uniform(0.008, 0.03)
        hu[lungs & (np.hypot(x - at[0], y - at[1]) < width)] = 40
    hu[np.hypot(x, (y - 0.4) * 1.2) < 0.14] = 400
    hu[abs(np.hypot(x / 0.82, y / 0.57) - 1) < 0.02] = 500
    hu[abs(y - 0.8 - 0.05 * x**2) < 0.015] = -200
    blurred = ndimage.gaussian_filter(hu, 0.7)
    grain = ndimage.gaussian_filter(random.normal(0, 1, hu.shape), 0.5)
    return np.rint(blurred + noise * grain / grain.std()).clip(-1024, 3071).astype(np.int16)


def ink(text: str, size: int, *, smooth: bool = True, outline: int = 0) -> np.ndarray:
    """The share of each pixel that letters cover."""
    chinese = any(letter > "\u2e80" for letter in text)
    font = ImageFont.truetype(CHINESE if chinese else LATIN, size, index=2 if chinese else 0)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
        (0, 0), text, font=font, stroke_width=outline
    )
    picture = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    pen = ImageDraw.Draw(picture)
    pen.fontmode = "L" if smooth else "1"
    pen.text((1 - left, 1 - top), text, fill=255, font=font, stroke_width=outline)
    return np.asarray(picture) / 255


def drawn(
    image: np.ndarray, letters: np.ndarray, value: int, at: tuple[int, int] = (60, 20)
) -> np.ndarray:
    """An image with letters in a value."""
    found = image.astype(float)
    window = found[at[0] : at[0] + letters.shape[0], at[1] : at[1] + letters.shape[1]]
    part = letters[: window.shape[0], : window.shape[1]]
    window[:] = window * (1 - part) + value * part
    return np.rint(found).astype(np.int16)


@pytest.mark.parametrize(
    "value", [3071, 1000, 350, -1000], ids=["white", "bright", "grey", "black"]
)
@pytest.mark.parametrize("text", ["WANG XIAOMING", "ZY0012345", "王小明 61岁"])
@pytest.mark.parametrize("size", [10, 14, 22])
def test_text_is_found_in_any_size_alphabet_and_contrast(text: str, size: int, value: int) -> None:
    at = (92, 20) if value == -1000 else (60, 20)
    body = ndimage.gaussian_filter(chest(), 0) if value != -1000 else np.maximum(chest(), 20)
    assert holds_text(drawn(body, ink(text, size), value, at))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("smooth", [True, False])
def test_text_is_found_turned(turns: int, smooth: bool) -> None:
    letters = np.rot90(ink("WANG XIAOMING", 14, smooth=smooth), turns)
    assert holds_text(drawn(chest(), letters, 1500, (15, 70)))


@pytest.mark.parametrize(
    "place",
    [(2, 4), (170, 60), (85, 30), (120, 60)],
    ids=["corner", "below the table", "lung", "spine"],
)
def test_text_is_found_in_any_place(place: tuple[int, int]) -> None:
    assert holds_text(drawn(chest(), ink("ZHANG WEI 1961", 12), 3071, place))


def test_letters_with_an_outline_are_found() -> None:
    outlined = drawn(
        drawn(chest(), ink("WANG 61-04", 16, outline=1), -1000),
        ink("WANG 61-04", 16),
        2000,
        (61, 21),
    )
    assert holds_text(outlined)


def test_stored_values_may_have_any_offset_slope_and_type() -> None:
    """The same slice as scanners store it."""
    hu = drawn(chest(), ink("WANG XIAOMING", 12), 1200)
    assert holds_text((hu + 1024).astype(np.uint16))
    assert holds_text(((hu + 1024) * 2).astype(np.uint16), 0.5)
    assert holds_text((hu.astype(np.int32) + 32768 + 1024).astype(np.uint16))
    assert holds_text(((hu.astype(np.int32) + 1024) // 16).astype(np.uint8), 16)
    assert holds_text(hu.astype(">i2").astype(np.int16), -1)


@pytest.mark.parametrize("noise", [5, 20, 60, 120])
@pytest.mark.parametrize("seed", range(4))
def test_a_chest_without_text_is_none(noise: float, seed: int) -> None:
    assert not holds_text(chest(seed, noise))


# ── as reported of other software ──


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """A file of a dataset in another transfer syntax."""
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        buffer = BytesIO()
        dcmwrite(buffer, dataset, little_endian=False, implicit_vr=False, enforce_file_format=True)
        return buffer.getvalue()
    return to_bytes(dataset)


@pytest.mark.parametrize(
    "syntax", [RLELossless, ExplicitVRBigEndian], ids=["run length", "big endian"]
)
def test_text_is_found_in_encoded_pixels(syntax: str) -> None:
    """A pixel anonymiser (RSNA CTP) passes what it cannot decode: here it is decoded first."""
    named = ct(pixels=drawn(chest(), ink("WANG XIAOMING", 12), 1500) + 1024)
    assert deidentify(open_source(encoded(named, syntax)), PERSON).has_text
    assert not deidentify(open_source(encoded(ct(pixels=chest() + 1024), syntax)), PERSON).has_text


def test_what_the_header_says_of_burned_in_text_and_of_its_colours_does_not_count() -> None:
    """BurnedInAnnotation is NO or absent on most slices that bear text (pydicom #375, CTP #16)."""
    named = drawn(chest(), ink("WANG XIAOMING", 12), 1500) + 1024
    for changes in (
        {"BurnedInAnnotation": "NO"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PatientName": ""},
    ):
        assert deidentify(open_source(to_bytes(ct(pixels=named, **changes))), PERSON).has_text


@pytest.mark.parametrize(
    "at", [(0, 0), (179, 30), (2, 100)], ids=["first row and column", "last row", "top right"]
)
def test_text_at_the_edge_of_the_image_is_found(at: tuple[int, int]) -> None:
    """Presidio's OCR overlooked names in the top rows, where contrast is low (#1309)."""
    assert holds_text(drawn(chest(), ink("ZHANG WEI 61Y", 12), -500, at))


def test_four_lines_of_text_in_a_corner_are_found() -> None:
    image = chest()
    for line, text in enumerate(("王小明 M 61", "ZY0012345", "2024-01-05", "BEIJING")):
        image = drawn(image, ink(text, 11), 3071, (2 + 14 * line, 2))
    assert holds_text(image)


def test_windowed_to_grey_levels_and_written_back() -> None:
    """A program that shows, draws and saves leaves 256 grey levels, with letters the brightest."""
    grey = np.rint((chest().clip(-160, 240).astype(float) + 160) / 400 * 255)
    letters = ink("WANG XIAOMING", 12)
    grey[60 : 60 + letters.shape[0], 20 : 20 + letters.shape[1]] = np.maximum(
        grey[60 : 60 + letters.shape[0], 20 : 20 + letters.shape[1]], 255 * letters
    )
    assert holds_text(grey.astype(np.uint8), 400 / 255, -160)


@pytest.mark.parametrize(
    "objects",
    ["two hip joints", "wires of the sternum, lead", "calibration rods", "infusion tubes"],
)
def test_what_lies_in_or_beside_a_patient_is_no_text(objects: str) -> None:
    assert not holds_text(scan(PHANTOMS[objects], side=128))


def test_no_text_in_padding_a_round_field_and_a_saturated_plate() -> None:
    """Values that many pixels share: beyond the field, at the detector's end."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.where(np.hypot(y - 95.5, x - 95.5) > 90, np.int16(-3024), chest())
    image[100:130, 80:84] = 3071
    image[110:114, 60:120] = 3071
    assert not holds_text(image)


def test_a_single_side_marker_is_no_text() -> None:
    assert not holds_text(drawn(chest(), ink("L", 14), 3071, (2, 2)))
