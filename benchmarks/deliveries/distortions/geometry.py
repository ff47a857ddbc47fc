"""CT series as scanners, archives and converters leave them."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from scipy.spatial.transform import Rotation

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import (
    CORNER_MM,
    LUNG_HU,
    PIXELS,
    SLICES,
    SPACING_MM,
    Delivery,
    Floats,
    Structures,
    Visit,
    axes,
    get_hu,
    lesion_contours,
    measure,
    set_hu,
    slice_heights,
    structure_set,
)


def _visit(one: Delivery, rng: Random) -> Visit:
    return rng.choice(one.visits)


def _inner(rng: Random, margin: int = 3) -> int:
    return rng.randrange(margin, SLICES - margin)


def _renamed(one: Dataset, suffix: str) -> Dataset:
    """A copy with a SOPInstanceUID of its own."""
    made = copy.deepcopy(one)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = (
        f"{one.SOPInstanceUID}.{suffix}"
    )
    return made


def _add(visit: Visit, slices: list[Dataset]) -> None:
    visit.extra += [
        Structures("dicom", f"more_{visit.series_uid[-12:]}_{k:03d}.dcm", s)
        for k, s in enumerate(slices)
    ]


def _each(visit: Visit, change: Callable[[Dataset, int], None]) -> None:
    for k, one in enumerate(visit.slices):
        change(one, k)


def _sharp(one: Dataset, k: int, lift_mm: float) -> Dataset:
    made = _renamed(one, "99")
    made.ImagePositionPatient = [
        *one.ImagePositionPatient[:2],
        float(one.ImagePositionPatient[2]) + lift_mm,
    ]
    made.ConvolutionKernel, made.AcquisitionNumber, made.InstanceNumber = "Br64f", 2, 100 + k
    set_hu(made, get_hu(one) + np.random.default_rng(k).normal(0, 90, (made.Rows, made.Columns)))
    return made


@distortion("geometry", "either")
def interleaved_kernels(one: Delivery, rng: Random) -> None:
    """A soft and a sharp reconstruction half an increment apart, in one series."""
    visit = _visit(one, rng)
    _add(visit, [_sharp(s, k, 0.5) for k, s in enumerate(visit.slices)])


@distortion("geometry", "either")
def two_kernels_at_the_same_places(one: Delivery, rng: Random) -> None:
    """A soft and a sharp reconstruction of the same positions, in one series."""
    visit = _visit(one, rng)
    _add(visit, [_sharp(s, k, 0.0) for k, s in enumerate(visit.slices)])


@distortion("geometry", "either")
def partial_repeat(one: Delivery, rng: Random) -> None:
    """Some slices acquired again after the patient moved, under the same series."""
    visit = _visit(one, rng)
    again = []
    for k, s in enumerate(visit.slices[4:9]):
        made = _renamed(s, "98")
        made.AcquisitionNumber, made.InstanceNumber = 2, 200 + k
        set_hu(made, np.roll(get_hu(s), 6, axis=1))
        again.append(made)
    _add(visit, again)


@distortion("geometry", "either")
def one_slice_missing(one: Delivery, rng: Random) -> None:
    """One slice within the lesion was not sent, nor outlined."""
    visit = _visit(one, rng)
    _drop(one, visit, [_inner(rng, 4)])


@distortion("geometry", "either")
def five_slices_missing(one: Delivery, rng: Random) -> None:
    """Five slices in a row were not sent, nor outlined."""
    visit = _visit(one, rng)
    _drop(one, visit, [4, 5, 6, 7, 8])


@distortion("geometry", "either")
def lower_half_missing(one: Delivery, rng: Random) -> None:
    """The series ends in the middle of the lesion; the outline goes on beyond."""
    visit = _visit(one, rng)
    visit.slices = visit.slices[: SLICES // 2]


def _drop(one: Delivery, visit: Visit, gone: list[int]) -> None:
    """Leave slices out, and draw on what is left."""
    visit.slices = [s for k, s in enumerate(visit.slices) if k not in gone]
    rois = [(lesion.label, lesion_contours(lesion, visit.slices)) for lesion in visit.lesions]
    for place, drawn in enumerate(visit.structures, 5):
        drawn.content = structure_set(visit, one.number, rois, place=place)


@distortion("geometry", "either")
def duplicate_slice_with_other_pixels(one: Delivery, rng: Random) -> None:
    """One position occurs twice, the second time 200 HU denser."""
    visit = _visit(one, rng)
    made = _renamed(visit.slices[_inner(rng, 5)], "97")
    made.InstanceNumber = 0
    set_hu(made, get_hu(made) + 200)
    _add(visit, [made])


@distortion("geometry", "right")
def duplicate_slice(one: Delivery, rng: Random) -> None:
    """One slice was sent twice under two identities."""
    visit = _visit(one, rng)
    _add(visit, [_renamed(visit.slices[_inner(rng)], "96")])


@distortion("geometry", "right")
def shuffled_instance_numbers(one: Delivery, rng: Random) -> None:
    """InstanceNumber has nothing to do with position."""
    visit = _visit(one, rng)
    numbers = rng.sample(range(1, len(visit.slices) + 1), len(visit.slices))
    _each(visit, lambda s, k: setattr(s, "InstanceNumber", numbers[k]))


@distortion("geometry", "right")
def slices_from_the_feet(one: Delivery, rng: Random) -> None:
    """Instances are numbered against the direction of the normal."""
    visit = _visit(one, rng)
    _each(visit, lambda s, k: setattr(s, "InstanceNumber", SLICES - k))
    visit.slices.reverse()


def _mirror(visit: Visit, *, x: bool, y: bool, position: str) -> None:
    """Store the same body with rows or columns in the other direction, and say so."""
    far = CORNER_MM[0] + (PIXELS - 1) * SPACING_MM
    for one in visit.slices:
        hu = get_hu(one)
        hu = hu[:, ::-1] if x else hu
        set_hu(one, hu[::-1] if y else hu)
        one.ImageOrientationPatient = [-1 if x else 1, 0, 0, 0, -1 if y else 1, 0]
        one.ImagePositionPatient = [
            far if x else CORNER_MM[0],
            far if y else CORNER_MM[1],
            one.ImagePositionPatient[2],
        ]
        one.PatientPosition = position


@distortion("geometry", "right")
def feet_first(one: Delivery, rng: Random) -> None:
    """The patient lay feet first: rows run the other way and the orientation says so."""
    _mirror(_visit(one, rng), x=True, y=False, position="FFS")


@distortion("geometry", "right")
def prone(one: Delivery, rng: Random) -> None:
    """The patient lay prone: rows and columns run the other way and the orientation says so."""
    _mirror(_visit(one, rng), x=True, y=True, position="HFP")


@distortion("geometry", "either")
def gantry_tilt(one: Delivery, rng: Random) -> None:
    """Slices tilted by 12 degrees, outlines drawn on planes that are not."""
    tilt = np.radians(12.0)
    _each(
        _visit(one, rng),
        lambda s, _: setattr(
            s, "ImageOrientationPatient", [1, 0, 0, 0, float(np.cos(tilt)), float(-np.sin(tilt))]
        ),
    )


@distortion("geometry", "right")
def non_square_pixels(one: Delivery, rng: Random) -> None:
    """Columns are twice as far apart as rows."""
    visit = _visit(one, rng)
    xs, ys = axes()
    hu = np.stack([get_hu(s)[:, ::2] for s in visit.slices])
    for s, plane in zip(visit.slices, hu, strict=True):
        s.PixelSpacing, s.Columns = [SPACING_MM, 2 * SPACING_MM], plane.shape[1]
        set_hu(s, plane)
    for lesion in visit.lesions:
        mask = lesion.mask(xs[::2], ys, slice_heights())
        visit.truth[lesion.label] = measure(mask, hu, (SPACING_MM, 2 * SPACING_MM))


@distortion("geometry", "refused")
def no_rescale(one: Delivery, rng: Random) -> None:
    """RescaleSlope and RescaleIntercept are absent."""

    def strip(s: Dataset, _: int) -> None:
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            s.pop(keyword, None)

    _each(_visit(one, rng), strip)


@distortion("geometry", "refused")
def no_rescale_in_one_slice(one: Delivery, rng: Random) -> None:
    """RescaleSlope and RescaleIntercept are absent in one slice of the lesion."""
    s = _visit(one, rng).slices[_inner(rng, 5)]
    del s.RescaleSlope, s.RescaleIntercept


@distortion("geometry", "refused")
def rescale_slope_0(one: Delivery, rng: Random) -> None:
    """RescaleSlope is 0."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "RescaleSlope", 0))


@distortion("geometry", "either")
def wrong_intercept(one: Delivery, rng: Random) -> None:
    """RescaleIntercept is 0 where -1024 is meant."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "RescaleIntercept", 0))


@distortion("geometry", "right")
def rescale_by_slice(one: Delivery, rng: Random) -> None:
    """Each slice has a slope and an intercept of its own, as PET-CT stations write."""

    def restate(s: Dataset, k: int) -> None:
        hu = get_hu(s)
        s.RescaleSlope, s.RescaleIntercept = 1 + 0.25 * (k % 3), -1024 - 8 * (k % 5)
        set_hu(s, hu)

    _each(_visit(one, rng), restate)


def _signed(s: Dataset, hu: Floats) -> None:
    s.PixelRepresentation, s.BitsStored, s.HighBit, s.RescaleIntercept = 1, 16, 15, 0
    s.PixelData = np.rint(hu).astype("<i2").tobytes()


@distortion("geometry", "right")
def signed_pixels(one: Delivery, rng: Random) -> None:
    """HU are stored as signed numbers with intercept 0."""
    _each(_visit(one, rng), lambda s, _: _signed(s, get_hu(s)))


@distortion("geometry", "either")
def signed_pixels_called_unsigned(one: Delivery, rng: Random) -> None:
    """HU are stored as signed numbers, PixelRepresentation says unsigned."""

    def lie(s: Dataset, _: int) -> None:
        _signed(s, get_hu(s))
        s.PixelRepresentation = 0

    _each(_visit(one, rng), lie)


@distortion("geometry", "right")
def padded_corners(one: Delivery, rng: Random) -> None:
    """Outside the round field of view pixels hold PixelPaddingValue -2000."""
    xs, ys = axes()
    outside = np.hypot(*np.meshgrid(xs, ys)) > 21.5

    def pad(s: Dataset, _: int) -> None:
        hu = get_hu(s)
        hu[outside] = -2000
        _signed(s, hu)
        s.add_new(0x00280120, "SS", -2000)

    _each(_visit(one, rng), pad)


@distortion("geometry", "either")
def one_slice_turned(one: Delivery, rng: Random) -> None:
    """One slice has another orientation."""
    _visit(one, rng).slices[_inner(rng)].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


@distortion("geometry", "either")
def one_slice_smaller(one: Delivery, rng: Random) -> None:
    """One slice has half as many rows and columns."""
    s = _visit(one, rng).slices[_inner(rng)]
    hu = get_hu(s)[::2, ::2]
    s.Rows, s.Columns = hu.shape
    set_hu(s, hu)


@distortion("geometry", "either")
def one_slice_other_spacing(one: Delivery, rng: Random) -> None:
    """One slice says another PixelSpacing."""
    _visit(one, rng).slices[_inner(rng)].PixelSpacing = [0.7, 0.7]


@distortion("geometry", "right")
def over_midnight(one: Delivery, rng: Random) -> None:
    """The lower half of the slices was acquired after midnight."""
    visit = _visit(one, rng)
    after = f"{visit.date + dt.timedelta(days=1):%Y%m%d}"
    for s in visit.slices[: SLICES // 2]:
        s.AcquisitionDate, s.AcquisitionTime, s.ContentDate, s.ContentTime = (
            after,
            "000105",
            after,
            "000130",
        )


@distortion("geometry", "either")
def truncated_pixel_data(one: Delivery, rng: Random) -> None:
    """One slice ends in the middle of its pixels."""
    s = _visit(one, rng).slices[_inner(rng, 5)]
    s.PixelData = s.PixelData[: len(s.PixelData) // 2]


@distortion("geometry", "right")
def rounded_positions(one: Delivery, rng: Random) -> None:
    """ImagePositionPatient was rounded by a converter: slices lie up to 0.01 mm off."""

    def move(s: Dataset, _: int) -> None:
        s.ImagePositionPatient = [
            *s.ImagePositionPatient[:2],
            round(float(s.ImagePositionPatient[2]) + rng.uniform(-0.01, 0.01), 3),
        ]

    _each(_visit(one, rng), move)


@distortion("geometry", "right")
def localiser_among_slices(one: Delivery, rng: Random) -> None:
    """The localiser lies in the series of the axial images."""
    visit = _visit(one, rng)
    made = _renamed(visit.slices[0], "95")
    made.ImageType, made.ImageOrientationPatient, made.InstanceNumber = (
        ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        [0, 1, 0, 0, 0, -1],
        0,
    )
    _add(visit, [made])


@distortion("geometry", "either")
def localiser_called_axial(one: Delivery, rng: Random) -> None:
    """A sagittal image lies in the series and calls itself axial."""
    visit = _visit(one, rng)
    made = _renamed(visit.slices[0], "94")
    made.ImageOrientationPatient, made.InstanceNumber = [0, 1, 0, 0, 0, -1], 0
    _add(visit, [made])


@distortion("geometry", "either")
def one_identity_two_contents(one: Delivery, rng: Random) -> None:
    """A second file bears a slice's SOPInstanceUID with other pixels."""
    visit = _visit(one, rng)
    made = copy.deepcopy(visit.slices[_inner(rng, 5)])
    set_hu(made, get_hu(made) - 150)
    _add(visit, [made])


@distortion("geometry", "either")
def one_series_for_two_visits(one: Delivery, rng: Random) -> None:
    """An anonymiser gave the CTs of two visits one SeriesInstanceUID."""
    first, second = rng.sample(one.visits, 2)
    _each(second, lambda s, _: setattr(s, "SeriesInstanceUID", first.series_uid))


@distortion("geometry", "either")
def split_series(one: Delivery, rng: Random) -> None:
    """An archive cut a series into two."""
    visit = _visit(one, rng)
    for s in visit.slices[SLICES // 2 :]:
        s.SeriesInstanceUID = f"{visit.series_uid}.77"


@distortion("geometry", "right")
def thickness_untrue(one: Delivery, rng: Random) -> None:
    """SliceThickness says 5 mm where slices are 1 mm apart."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "SliceThickness", 5.0))


@distortion("geometry", "right")
def spacing_between_slices_negative(one: Delivery, rng: Random) -> None:
    """SpacingBetweenSlices is negative, as some stations write it."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "SpacingBetweenSlices", -1.0))


@distortion("geometry", "refused")
def no_pixel_spacing(one: Delivery, rng: Random) -> None:
    """PixelSpacing is absent; ImagerPixelSpacing stands in its place."""

    def strip(s: Dataset, _: int) -> None:
        s.ImagerPixelSpacing = [0.5, 0.5]
        del s.PixelSpacing

    _each(_visit(one, rng), strip)


@distortion("geometry", "refused")
def pixel_spacing_0(one: Delivery, rng: Random) -> None:
    """PixelSpacing is 0."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "PixelSpacing", [0, 0]))


@distortion("geometry", "either")
def overlay_in_high_bits(one: Delivery, rng: Random) -> None:
    """The four bits above BitsStored hold an old overlay."""

    def mark(s: Dataset, _: int) -> None:
        stored = np.frombuffer(s.PixelData, "<u2").copy()
        stored[::7] |= 0x8000
        s.PixelData = stored.tobytes()

    _each(_visit(one, rng), mark)


@distortion("geometry", "either")
def monochrome1(one: Delivery, rng: Random) -> None:
    """PhotometricInterpretation is MONOCHROME1; stored values are as ever."""
    _each(_visit(one, rng), lambda s, _: setattr(s, "PhotometricInterpretation", "MONOCHROME1"))


@distortion("geometry", "either")
def no_dates_in_the_images(one: Delivery, rng: Random) -> None:
    """A de-identifier removed every date from a visit's images."""

    def strip(s: Dataset, _: int) -> None:
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(s, keyword, "")

    _each(_visit(one, rng), strip)


@distortion("geometry", "right")
def run_length_encoded(one: Delivery, rng: Random) -> None:
    """Pixels are compressed without loss (RLE)."""
    _each(_visit(one, rng), lambda s, _: s.compress(RLELossless, generate_instance_uid=False))


@distortion("geometry", "right")
def implicit_vr(one: Delivery, rng: Random) -> None:
    """Files are in Implicit VR Little Endian."""
    _each(
        _visit(one, rng),
        lambda s, _: setattr(s.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian),
    )


@distortion("geometry", "either")
def big_endian(one: Delivery, rng: Random) -> None:
    """Files are in the retired Explicit VR Big Endian."""

    def turn(s: Dataset, _: int) -> None:
        s.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        s.PixelData = np.frombuffer(s.PixelData, "<u2").astype(">u2").tobytes()

    _each(_visit(one, rng), turn)


@distortion("geometry", "either")
def secondary_reformat_of_the_same_day(one: Delivery, rng: Random) -> None:
    """A thick reformat of the same CT came as a series of its own, and calls itself derived."""
    visit = _visit(one, rng)
    made = []
    for k, s in enumerate(visit.slices[::3]):
        thick = _renamed(s, "93")
        thick.SeriesInstanceUID, thick.SeriesNumber, thick.SliceThickness = (
            f"{visit.series_uid}.78",
            5,
            3.0,
        )
        thick.ImageType, thick.InstanceNumber = ["DERIVED", "SECONDARY", "MPR"], k + 1
        made.append(thick)
    _add(visit, made)


@distortion("geometry", "right")
def thick_series_of_the_same_day(one: Delivery, rng: Random) -> None:
    """A 3 mm reconstruction of the same CT came beside the thin one."""
    visit = _visit(one, rng)
    made = []
    for k, s in enumerate(visit.slices[::3]):
        thick = _renamed(s, "92")
        thick.SeriesInstanceUID, thick.SeriesNumber, thick.SliceThickness, thick.InstanceNumber = (
            f"{visit.series_uid}.79",
            4,
            3.0,
            k + 1,
        )
        made.append(thick)
    _add(visit, made)


@distortion("geometry", "either")
def blank_slices(one: Delivery, rng: Random) -> None:
    """Two slices of the lesion hold only lung of one value, as a failed transfer leaves them."""
    visit = _visit(one, rng)
    for s in visit.slices[6:8]:
        set_hu(s, np.full((s.Rows, s.Columns), LUNG_HU))


def _turn(visit: Visit, turned: Floats) -> None:
    """Turn a CT and what was drawn on it as one rigid body."""
    for s in visit.slices:
        cosines = np.array(s.ImageOrientationPatient, dtype=float).reshape(2, 3) @ turned.T
        s.ImageOrientationPatient = [f"{c:.9f}" for c in cosines.ravel()]
        corner = turned @ np.array(s.ImagePositionPatient, dtype=float)
        s.ImagePositionPatient = [f"{c:.6f}" for c in corner]
    for drawn in visit.structures:
        assert isinstance(drawn.content, Dataset)
        for one in drawn.content.ROIContourSequence[0].ContourSequence:
            points = np.array(one.ContourData, dtype=float).reshape(-1, 3) @ turned.T
            one.ContourData = [f"{c:.4f}" for c in points.ravel()]


def _about(axis: str, degrees: float) -> Floats:
    return np.asarray(Rotation.from_euler(axis, degrees, degrees=True).as_matrix(), np.float64)


@distortion("geometry", "right")
def turned_by_less_than_a_degree(one: Delivery, rng: Random) -> None:
    """The stack is turned by some tenths of a degree, as a reformat along the table is."""
    _turn(_visit(one, rng), _about("x", rng.uniform(-0.9, 0.9)) @ _about("y", 0.4))


@distortion("geometry", "right")
def head_turned_to_the_side(one: Delivery, rng: Random) -> None:
    """The stack is turned in its plane by several degrees."""
    _turn(_visit(one, rng), _about("z", rng.choice([-7.0, 12.0])))


@distortion("geometry", "right")
def decubitus(one: Delivery, rng: Random) -> None:
    """The patient lay on the side: rows run along the back, and the orientation says so."""
    visit, far = _visit(one, rng), CORNER_MM[0] + (PIXELS - 1) * SPACING_MM
    for s in visit.slices:
        set_hu(s, get_hu(s)[:, ::-1].T)
        s.ImageOrientationPatient = [0, 1, 0, -1, 0, 0]
        s.ImagePositionPatient = [far, CORNER_MM[1], s.ImagePositionPatient[2]]
        s.PatientPosition = "HFDL"


def _spread(visit: Visit, spacing: float, decimals: int) -> None:
    """Slices at another distance, their positions written with so many decimals."""
    for k, s in enumerate(visit.slices):
        s.ImagePositionPatient = [*CORNER_MM, f"{k * spacing:.{decimals}f}"]
        s.SliceThickness = spacing
    for drawn in visit.structures:
        assert isinstance(drawn.content, Dataset)
        for one in drawn.content.ROIContourSequence[0].ContourSequence:
            points = np.array(one.ContourData, dtype=float).reshape(-1, 3) * [1, 1, spacing]
            one.ContourData = [f"{c:.4f}" for c in points.ravel()]
    visit.spacing_mm = spacing
    for label, true in visit.truth.items():
        visit.truth[label] = replace(true, volume_mm3=true.volume_mm3 * spacing)


@distortion("geometry", "right")
def positions_to_one_decimal(one: Delivery, rng: Random) -> None:
    """Slices are 0.625 or 0.75 mm apart, and their positions have one decimal."""
    _spread(_visit(one, rng), rng.choice([0.625, 0.75, 1.25]), 1)


@distortion("geometry", "right")
def pixel_spacing_with_fewer_digits(one: Delivery, rng: Random) -> None:
    """Every second slice says its PixelSpacing with fewer digits."""
    _each(
        _visit(one, rng),
        lambda s, k: setattr(s, "PixelSpacing", ["0.800", "0.800"] if k % 2 else ["0.80014"] * 2),
    )


@distortion("geometry", "right")
def slice_locations_reversed(one: Delivery, rng: Random) -> None:
    """SliceLocation counts the other way than the positions, from another origin."""
    _each(_visit(one, rng), lambda s, k: setattr(s, "SliceLocation", 500 - k))


@distortion("geometry", "refused")
def acquisition_date_that_no_other_confirms(one: Delivery, rng: Random) -> None:
    """AcquisitionDate is two weeks late, the dates of study, series and content are true."""
    visit = _visit(one, rng)
    late = f"{visit.date + dt.timedelta(days=14):%Y%m%d}"
    _each(visit, lambda s, _: setattr(s, "AcquisitionDate", late))


@distortion("geometry", "refused")
def dates_of_no_ct(one: Delivery, rng: Random) -> None:
    """A de-identifier wrote 1 January 1900 into every date of a visit's images."""

    def blank(s: Dataset, _: int) -> None:
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            setattr(s, keyword, "19000101")

    _each(_visit(one, rng), blank)
