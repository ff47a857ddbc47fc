"""Well-formed deliveries with known truth.

A patient has three small CTs, an asymmetric lesion in lung, and a plain case report.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CT = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
ROOT = "1.2.826.0.1.3680043.10.778"

PIXELS, SPACING_MM = 56, 0.8
SLICES = 11
CORNER_MM = (-22.0, -22.0)
CENTRE_Z_MM = 5.0
POINTS = 40
"""Vertices of a contour."""

LUNG_HU, NOISE_HU = -820.0, 10.0

CYCLE_DAYS = (0, 21, 42, 63, 84, 105)
VISIT_DAYS = {"T0": -5, "T1": 55, "T2": 98}

COURSES: Mapping[str, tuple[tuple[float, float], tuple[str, str]]] = {
    "responder": ((0.62, 0.5), ("PR", "PR")),
    "stable": ((0.97, 0.9), ("SD", "SD")),
    "late progressor": ((1.0, 1.5), ("SD", "PD")),
    "early progressor": ((1.5, 1.75), ("PD", "PD")),
}
"""In-plane size at T1 and T2 relative to T0, and resulting responses (RECIST 1.1, one target)."""


@dataclass(frozen=True)
class Lesion:
    """A star-shaped solid of which no two axes look alike.

    It is a limaçon in each plane, and egg-shaped in the slice direction.

    Attributes
    ----------
    centre
        x, y, z in mm, patient coordinates.
    radius_mm, half_height_mm
        In the plane, and along z.
    lean
        In-plane asymmetry: share of the radius added towards `towards` (radians) and missing on the
        other side.
    """

    label: str
    centre: tuple[float, float, float]
    radius_mm: float
    half_height_mm: float = 3.9
    lean: float = 0.22
    towards: float = 0.6
    hu: float = 40.0

    def plane_radius(self, z: float) -> float:
        """Mean radius (mm) of the section at z; 0 outside."""
        t = (z - self.centre[2]) / self.half_height_mm
        return self.radius_mm * math.sqrt(1 - t * t) * (1 + 0.18 * t) if abs(t) < 1 else 0.0

    def mask(self, xs: Floats, ys: Floats, zs: Sequence[float]) -> Mask:
        """Voxels (z, y, x) whose centre lies inside."""
        dx, dy = np.meshgrid(xs - self.centre[0], ys - self.centre[1])
        shape = 1 + self.lean * np.cos(np.arctan2(dy, dx) - self.towards)
        return np.stack([np.hypot(dx, dy) < self.plane_radius(z) * shape for z in zs])

    def section(self, z: float) -> list[tuple[float, float]]:
        """Vertices (x, y) of the outline at z; none where the section is smaller than a pixel."""
        radius = self.plane_radius(z)
        if radius < SPACING_MM:
            return []
        angles = [2 * math.pi * k / POINTS for k in range(POINTS)]
        radii = [radius * (1 + self.lean * math.cos(a - self.towards)) for a in angles]
        return [
            (self.centre[0] + r * math.cos(a), self.centre[1] + r * math.sin(a))
            for r, a in zip(radii, angles, strict=True)
        ]

    def grown(self, factor: float) -> Lesion:
        """The same lesion with its plane scaled."""
        return Lesion(
            self.label,
            self.centre,
            self.radius_mm * factor,
            self.half_height_mm,
            self.lean,
            self.towards,
            self.hu,
        )


LONGEST_WITHIN_MM = 0.9
"""About a pixel: a contour through a pixel's centre may gain or lose it."""


@dataclass(frozen=True)
class Measured:
    """Truth of a lesion at a visit; None where nobody knows.

    It is measured on the voxel grid by this program's own code, or by others.

    Attributes
    ----------
    short_within_mm
        How far the short axis may lie from `short_mm`, since several diameters are within a pixel
        of the longest.
    """

    volume_mm3: float
    longest_mm: float | None
    short_mm: float | None
    mean_hu: float | None
    within_mm3: float | None = None
    short_within_mm: float = 0.0


@dataclass
class Structures:
    """Contours of one reader at one visit: folder, file name, and a DICOM object or bytes."""

    folder: str
    name: str
    content: Dataset | bytes


@dataclass
class Visit:
    """A CT and what was drawn on it."""

    name: str
    day: int
    date: dt.date
    series_uid: str
    slices: list[Dataset]
    lesions: list[Lesion]
    mask: dict[str, Mask]
    truth: dict[str, Measured]
    spacing_mm: float = 1.0
    structures: list[Structures] = field(default_factory=list)
    extra: list[Structures] = field(default_factory=list)
    truth_of: dict[str, dict[str, Measured]] = field(default_factory=dict)


Row = dict[str, str]


@dataclass
class Delivery:
    """One patient as a hospital would deliver them.

    `number` is the true hospital number; a distortion may give rows another.
    """

    number: str
    serial: int
    first_cycle: dt.date
    course: str
    visits: list[Visit]
    person: Row
    cycles: list[Row]
    events: list[Row]
    reads: dict[str, list[Row]] = field(default_factory=dict)
    twin: Row = field(default_factory=dict)
    responses: tuple[str, ...] = ("SD", "SD")
    pfs: tuple[int, bool] | None = (0, False)
    person_truth: dict[str, Any] = field(default_factory=dict)
    event_truth: list[tuple[str, int]] = field(default_factory=list)
    cycle_truth: dict[int, int] = field(default_factory=lambda: dict(enumerate(CYCLE_DAYS, 1)))
    distortions: list[str] = field(default_factory=list)

    @property
    def rng(self) -> Random:
        """Random numbers of this delivery alone."""
        return Random(self.serial)

    def visit(self, name: str) -> Visit:
        """The visit of that name."""
        return next(v for v in self.visits if v.name == name)

    def day(self, day: int) -> dt.date:
        """A date by its day."""
        return self.first_cycle + dt.timedelta(days=day)


def item(**elements: Any) -> Dataset:
    """A DICOM item of some elements."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def uid(*parts: object) -> str:
    """A UID under this program's root."""
    return ".".join([ROOT, *map(str, parts)])


def base(
    sop_class: str,
    instance: str,
    series: str,
    study: str,
    frame: str,
    *,
    number: str,
    modality: str,
    day: str,
) -> Dataset:
    """A DICOM object's patient, study and series."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = (
        sop_class,
        instance,
    )
    made.SOPClassUID, made.SOPInstanceUID = sop_class, instance
    made.SeriesInstanceUID, made.StudyInstanceUID = series, study
    made.FrameOfReferenceUID = frame
    made.PatientID, made.PatientName = number, "Testcase^Anon"
    made.PatientBirthDate, made.PatientSex = "19600101", ""
    made.Modality, made.StudyDate, made.SeriesDate, made.StudyTime = modality, day, day, "101010"
    made.StudyID, made.AccessionNumber, made.ReferringPhysicianName = "1", "A1", ""
    return made


def slice_heights() -> list[float]:
    """Positions of the slices along z, in mm."""
    return [float(z) for z in range(SLICES)]


def axes() -> tuple[Floats, Floats]:
    """Positions of the pixel centres along x and y, in mm."""
    steps = np.arange(PIXELS) * SPACING_MM
    return CORNER_MM[0] + steps, CORNER_MM[1] + steps


def ct_slices(number: str, serial: int, visit: int, date: dt.date, hu: Floats) -> list[Dataset]:
    """A CT series of HU (z, y, x): one object per slice, 1 mm apart."""
    day, series = f"{date:%Y%m%d}", uid(serial, visit, 2)
    made = []
    for k, z in enumerate(slice_heights()):
        one = base(
            CT,
            uid(serial, visit, 2, k + 1),
            series,
            uid(serial, visit, 1),
            uid(serial, visit, 9),
            number=number,
            modality="CT",
            day=day,
        )
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.AcquisitionDate, one.AcquisitionTime, one.ContentDate, one.ContentTime = (
            day,
            f"1012{k:02d}",
            day,
            f"1013{k:02d}",
        )
        one.AcquisitionNumber, one.InstanceNumber, one.SeriesNumber = 1, k + 1, 2
        one.ImagePositionPatient = [*CORNER_MM, z]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [SPACING_MM, SPACING_MM], 1.0
        one.ConvolutionKernel, one.KVP, one.PatientPosition = "Br40d", 120, "HFS"
        one.Manufacturer, one.ManufacturerModelName, one.BodyPartExamined = (
            "SIEMENS",
            "Force",
            "CHEST",
        )
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.RescaleIntercept, one.RescaleSlope, one.RescaleType = -1024, 1, "HU"
        one.Rows, one.Columns = hu[k].shape
        set_hu(one, hu[k])
        made.append(one)
    return made


def set_hu(one: Dataset, hu: Floats) -> None:
    """Store HU by the object's own rescale."""
    stored = np.rint((hu - float(one.RescaleIntercept)) / float(one.RescaleSlope))
    one.PixelData = np.clip(stored, 0, 4095).astype("<u2").tobytes()


def get_hu(one: Dataset) -> Floats:
    """HU of an object as this program wrote them."""
    stored = np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns)
    return stored * float(one.RescaleSlope) + float(one.RescaleIntercept)


def contour(
    points: Iterable[tuple[float, float, float]],
    *,
    sop: str | None = None,
    kind: str = "CLOSED_PLANAR",
) -> Dataset:
    """One contour of an RTSTRUCT."""
    data = [f"{c:.3f}" for point in points for c in point]
    made = item(ContourGeometricType=kind, NumberOfContourPoints=len(data) // 3, ContourData=data)
    if sop:
        made.ContourImageSequence = [item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=sop)]
    return made


def lesion_contours(lesion: Lesion, slices: Sequence[Dataset], **kinds: str) -> list[Dataset]:
    """A lesion's contours on the slices of a CT, each naming its image."""
    drawn = [
        (
            float(s.ImagePositionPatient[2]),
            str(s.SOPInstanceUID),
            lesion.section(float(s.ImagePositionPatient[2])),
        )
        for s in slices
    ]
    return [
        contour([(x, y, z) for x, y in points], sop=sop, **kinds)
        for z, sop, points in drawn
        if points
    ]


def structure_set(
    visit: Visit, number: str, rois: Sequence[tuple[str, list[Dataset]]], *, place: int = 5
) -> Dataset:
    """An RTSTRUCT of labelled contours on a visit's CT."""
    first = visit.slices[0]
    serial_uid = str(first.StudyInstanceUID).rsplit(".", 1)[0]
    instance, series = f"{serial_uid}.{place}.1", f"{serial_uid}.{place}"
    frame = str(first.FrameOfReferenceUID)
    made = base(
        RTSTRUCT,
        instance,
        series,
        str(first.StudyInstanceUID),
        frame,
        number=number,
        modality="RTSTRUCT",
        day=str(first.StudyDate),
    )
    made.StructureSetLabel, made.StructureSetDate, made.StructureSetTime = (
        "SS",
        str(first.StudyDate),
        "120000",
    )
    images = [
        item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=s.SOPInstanceUID)
        for s in visit.slices
    ]
    named = item(SeriesInstanceUID=visit.series_uid, ContourImageSequence=images)
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[named],
    )
    made.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
    ]
    made.StructureSetROISequence = [
        item(
            ROINumber=k,
            ReferencedFrameOfReferenceUID=frame,
            ROIName=label,
            ROIGenerationAlgorithm="MANUAL",
        )
        for k, (label, _) in enumerate(rois, 1)
    ]
    made.ROIContourSequence = [
        item(ReferencedROINumber=k, ContourSequence=contours)
        for k, (_, contours) in enumerate(rois, 1)
    ]
    made.RTROIObservationsSequence = [
        item(
            ObservationNumber=k,
            ReferencedROINumber=k,
            RTROIInterpretedType="GTV",
            ROIInterpreter="",
        )
        for k, _ in enumerate(rois, 1)
    ]
    return made


def _code(value: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def segmentation(
    visit: Visit, number: str, masks: Mapping[str, Mask], *, place: int = 6
) -> Dataset:
    """A binary SEG: one segment a label, a frame per slice that holds something."""
    first = visit.slices[0]
    serial_uid = str(first.StudyInstanceUID).rsplit(".", 1)[0]
    made = base(
        SEG,
        f"{serial_uid}.{place}.1",
        f"{serial_uid}.{place}",
        str(first.StudyInstanceUID),
        str(first.FrameOfReferenceUID),
        number=number,
        modality="SEG",
        day=str(first.StudyDate),
    )
    made.ImageType, made.ContentLabel, made.ContentDescription, made.ContentCreatorName = (
        ["DERIVED", "PRIMARY"],
        "SEG",
        "",
        "",
    )
    made.ContentDate, made.ContentTime, made.InstanceNumber = str(first.StudyDate), "120000", 1
    made.SegmentationType, made.LossyImageCompression = "BINARY", "00"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = first.Rows, first.Columns
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    made.SegmentSequence = [
        item(
            SegmentNumber=k,
            SegmentLabel=label,
            SegmentAlgorithmType="MANUAL",
            SegmentedPropertyCategoryCodeSequence=[
                _code("49755003", "Morphologically Abnormal Structure")
            ],
            SegmentedPropertyTypeCodeSequence=[_code("4147007", "Mass")],
        )
        for k, label in enumerate(masks, 1)
    ]
    images = [
        item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=s.SOPInstanceUID)
        for s in visit.slices
    ]
    made.ReferencedSeriesSequence = [
        item(SeriesInstanceUID=visit.series_uid, ReferencedInstanceSequence=images)
    ]
    organization = f"{serial_uid}.8"
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[
                item(
                    PixelSpacing=[SPACING_MM, SPACING_MM],
                    SliceThickness=1.0,
                    SpacingBetweenSlices=1.0,
                )
            ],
        )
    ]
    frames, groups = [], []
    for segment, mask in enumerate(masks.values(), 1):
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            frames.append(mask[k])
            groups.append(
                item(
                    FrameContentSequence=[item(DimensionIndexValues=[segment, int(k) + 1])],
                    PlanePositionSequence=[
                        item(ImagePositionPatient=list(visit.slices[k].ImagePositionPatient))
                    ],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment)],
                )
            )
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(frames)
    made.PixelData = packed(frames)
    return made


def packed(frames: Sequence[Mask]) -> bytes:
    """Frames as the bits of a SEG, padded to an even length."""
    data = np.packbits(np.stack(frames).astype(np.uint8).ravel(), bitorder="little").tobytes()
    return data + b"\0" * (len(data) % 2)


def measure(
    mask: Mask, hu: Floats, spacing: tuple[float, float] = (SPACING_MM, SPACING_MM)
) -> Measured:
    """Volume, diameters and mean HU of a mask (z, y, x) of slices 1 mm apart.

    Diameters run between pixel corners, in the plane of the longest.

    Parameters
    ----------
    spacing
        Between rows and between columns, in mm.
    """
    hulls = [_hull(plane, spacing) for plane in mask if plane.any()]
    longest = max(float(cdist(hull, hull).max()) for hull in hulls)
    chords = sorted(chord for hull in hulls for chord in _short_axes(hull, longest))
    middle, spread = (chords[0] + chords[-1]) / 2, (chords[-1] - chords[0]) / 2
    return Measured(
        float(mask.sum()) * spacing[0] * spacing[1],
        longest,
        middle,
        float(hu[mask].mean()),
        short_within_mm=spread,
    )


def _hull(plane: Mask, spacing: tuple[float, float]) -> Floats:
    rows, columns = np.nonzero(plane)
    corners = [np.stack([columns + i, rows + j], axis=1) for i in (-0.5, 0.5) for j in (-0.5, 0.5)]
    points = np.concatenate(corners) * [spacing[1], spacing[0]]
    return np.asarray(points[ConvexHull(points).vertices], np.float64)


def _short_axes(hull: Floats, longest: float) -> Iterator[float]:
    """The short axis for each diameter that may count as the longest.

    The longest diameter of a round lesion has no unique direction.
    """
    distances = cdist(hull, hull)
    for a, b in zip(*np.nonzero(np.triu(distances > longest - LONGEST_WITHIN_MM)), strict=True):
        along = (hull[b] - hull[a]) / distances[a, b]
        yield _longest_chord_across(hull @ np.array([[along[0], -along[1]], [along[1], along[0]]]))


def _longest_chord_across(polygon: Floats) -> float:
    """Length of a convex polygon's longest chord parallel to the second axis, through a vertex."""
    ends, places = np.roll(polygon, -1, axis=0), polygon[:, :1]
    low, high = np.minimum(polygon[:, 0], ends[:, 0]), np.maximum(polygon[:, 0], ends[:, 0])
    crossed = (low <= places) & (places <= high) & (low < high)
    slopes = (ends[:, 1] - polygon[:, 1]) / np.where(low < high, ends[:, 0] - polygon[:, 0], 1.0)
    heights = polygon[:, 1] + (places - polygon[:, 0]) * slopes
    chords = np.where(crossed, heights, -np.inf).max(1) - np.where(crossed, heights, np.inf).min(1)
    return float(chords.max())


def make_visit(
    number: str,
    serial: int,
    place: int,
    name: str,
    date: dt.date,
    day: int,
    lesions: Sequence[Lesion],
) -> Visit:
    """A CT with these lesions, their masks and their truth; nothing drawn yet."""
    xs, ys = axes()
    noise = np.random.default_rng([serial, place]).normal(0, NOISE_HU, (SLICES, PIXELS, PIXELS))
    masks = {lesion.label: lesion.mask(xs, ys, slice_heights()) for lesion in lesions}
    hu = np.full((SLICES, PIXELS, PIXELS), LUNG_HU)
    for lesion in lesions:
        hu[masks[lesion.label]] = lesion.hu
    hu = np.rint(hu + noise)
    slices = ct_slices(number, serial, place, date, hu)
    return Visit(
        name,
        day,
        date,
        uid(serial, place, 2),
        slices,
        list(lesions),
        masks,
        {label: measure(m, hu) for label, m in masks.items()},
    )


PERSON = {
    "sex": ("F", "M"),
    "smoking": ("never", "former", "current"),
    "ecog": ("0", "1", "2"),
    "stage": ("IIIB", "IIIC", "IVA", "IVB"),
    "histology": ("adenocarcinoma", "squamous_cell_carcinoma"),
    "egfr": ("wild_type", "mutant"),
    "alk": ("negative", "rearranged"),
    "pd_l1_tps": ("0", "5", "35", "60", "90"),
    "line": ("1", "2"),
}
CONSTANT = {
    "regimen": "pembrolizumab+pemetrexed+carboplatin",
    "prior_malignancy": "n",
    "organ_dysfunction": "n",
    "target_radiotherapy": "n",
    "consent": "given",
}


def make_delivery(
    number: str, serial: int, *, readers: bool = False, n_lesions: int = 1
) -> Delivery:
    """A well-formed delivery whose every figure is known.

    Parameters
    ----------
    readers
        Two blinded readers with outlines and lesions.csv of their own; else outlines lie beside the
        images.
    """
    rng = Random(serial)
    first_cycle = dt.date(2023, 2, 1) + dt.timedelta(days=rng.randrange(600))
    course = rng.choice(list(COURSES))
    factors, responses = COURSES[course]
    if n_lesions > 1:
        base_lesions = [
            Lesion(
                "L1",
                (-9.0, rng.uniform(-3, 3), CENTRE_Z_MM),
                rng.uniform(5.6, 6.0),
                towards=rng.uniform(2, 4),
                hu=rng.uniform(25, 60),
            ),
            Lesion(
                "L2",
                (12.5, rng.uniform(-3, 3), CENTRE_Z_MM),
                rng.uniform(3.6, 3.9),
                towards=rng.uniform(-1, 1),
                hu=rng.uniform(25, 60),
            ),
        ]
        factors = tuple(min(f, 1.48) for f in factors)
    else:
        base_lesions = [
            Lesion(
                rng.choice(["GTV-1", "L1", "GTV"]),
                (rng.uniform(-1, 1), rng.uniform(-1, 1), CENTRE_Z_MM),
                rng.uniform(7.8, 9.0),
                towards=rng.uniform(0, 6),
                hu=rng.uniform(25, 60),
            )
        ]
    visits = []
    for place, (name, factor) in enumerate(zip(VISIT_DAYS, (1.0, *factors), strict=True), 1):
        day = VISIT_DAYS[name]
        visits.append(
            make_visit(
                number,
                serial,
                place,
                name,
                first_cycle + dt.timedelta(days=day),
                day,
                [one.grown(factor) for one in base_lesions],
            )
        )
    age = rng.randint(45, 80)
    person = {
        "patient_id": number,
        **{k: rng.choice(v) for k, v in PERSON.items()},
        **CONSTANT,
        "age": str(age),
    }
    cycles = [
        {
            "patient_id": number,
            "cycle": str(k),
            "date": f"{first_cycle + dt.timedelta(days=d):%Y-%m-%d}",
            "drugs": "pembrolizumab",
        }
        for k, d in enumerate(CYCLE_DAYS, 1)
    ]
    last = (
        ("death", rng.randint(160, 220)) if rng.random() < 0.3 else ("alive", rng.randint(240, 400))
    )
    events = [
        {
            "patient_id": number,
            "date": f"{first_cycle + dt.timedelta(days=last[1]):%Y-%m-%d}",
            "event": last[0],
            "detail": "",
        }
    ]
    made = Delivery(
        number,
        serial,
        first_cycle,
        course,
        visits,
        person,
        cycles,
        events,
        responses=responses,
        pfs=_pfs(responses, last),
        person_truth=_person_truth(person),
        event_truth=[last],
    )
    draw = draw_reads if readers else draw_beside_images
    draw(made)
    return made


def _pfs(responses: tuple[str, str], last: tuple[str, int]) -> tuple[int, bool]:
    for name, response in zip(("T1", "T2"), responses, strict=True):
        if response == "PD":
            return VISIT_DAYS[name], True
    return (last[1], True) if last[0] == "death" else (VISIT_DAYS["T2"], False)


def _person_truth(person: Row) -> dict[str, Any]:
    numbers = {
        "age_years": int(person["age"]),
        "ecog": int(person["ecog"]),
        "pd_l1_tps": float(person["pd_l1_tps"]),
        "line": int(person["line"]),
    }
    words = {
        k: person[k]
        for k in ("sex", "smoking", "stage", "histology", "egfr", "alk", "regimen", "consent")
    }
    return {
        **words,
        **numbers,
        "prior_malignancy": False,
        "organ_dysfunction": False,
        "target_radiotherapy": False,
    }


def draw_beside_images(delivery: Delivery) -> None:
    """One structure set a visit, under dicom/."""
    for visit in delivery.visits:
        rois = [(lesion.label, lesion_contours(lesion, visit.slices)) for lesion in visit.lesions]
        visit.structures = [
            Structures(
                "dicom",
                f"rs_{delivery.serial}_{visit.name}.dcm",
                structure_set(visit, delivery.number, rois),
            )
        ]


READERS = ("R1", "R2")


def draw_reads(
    delivery: Delivery, write: Callable[[Visit, str, int], Dataset] | None = None
) -> None:
    """Both readers' outlines, equal, and their lists of lesions."""
    for visit in delivery.visits:
        visit.structures = []
        for k, reader in enumerate(READERS):
            rois = [
                (lesion.label, lesion_contours(lesion, visit.slices)) for lesion in visit.lesions
            ]
            drawn = (
                write(visit, delivery.number, 5 + k)
                if write
                else structure_set(visit, delivery.number, rois, place=5 + k)
            )
            visit.structures.append(
                Structures(f"reads/{reader}", f"rs_{delivery.serial}_{visit.name}.dcm", drawn)
            )
    for reader in READERS:
        delivery.reads[reader] = [
            {
                "patient_id": delivery.number,
                "visit_date": f"{visit.date:%Y-%m-%d}",
                "lesion": lesion.label,
                "role": "target",
                "organ": "lung",
                "node": "n",
            }
            for visit in delivery.visits
            for lesion in visit.lesions
        ]
