"""Real scans of ../shared/data as deliveries, cropped around their lesion.

They have identities and dates of their own, are used where present, and are never copied into the
repository.
"""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from benchmarks.deliveries.phantom import (
    READERS,
    Delivery,
    Measured,
    Structures,
    Visit,
    make_delivery,
    uid,
)

DATA = Path(
    os.environ.get("LAKEHOUSE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)

MARGIN_PX, MARGIN_SLICES = 12, 4
"""What is left around the lesion."""

CASES = {
    "lung_ct/case_3": ("rtstruct.dcm",),
    "two_readers": ("reader_1.rtstruct.dcm", "reader_2.rtstruct.dcm"),
}
"""Folder, and its structure sets: one beside the images, or two blinded readers'."""

VOXEL_MM3 = 0.6104
TRUTH: dict[tuple[str, str], Measured] = {
    ("lung_ct/case_3", "GTV-1"): Measured(11588.9, None, None, 1.85),
    ("two_readers", "R1"): Measured(
        (3071 + 3898) / 2 * VOXEL_MM3, None, None, None, (3898 - 3071) / 2 * VOXEL_MM3
    ),
    ("two_readers", "R2"): Measured(
        (3712 + 4712) / 2 * VOXEL_MM3, None, None, None, (4712 - 3712) / 2 * VOXEL_MM3
    ),
}
"""What the folder's own references state.

For the two readers it is the middle between the strict and the inclusive outline.
"""

FITTING = frozenset(
    {
        "shuffled_instance_numbers",
        "duplicate_slice",
        "no_rescale",
        "no_rescale_in_one_slice",
        "rescale_slope_0",
        "no_pixel_spacing",
        "pixel_spacing_0",
        "thickness_untrue",
        "spacing_between_slices_negative",
        "implicit_vr",
        "run_length_encoded",
        "one_slice_turned",
        "one_slice_smaller",
        "localiser_among_slices",
        "localiser_called_axial",
        "truncated_pixel_data",
        "no_dates_in_the_images",
        "wrong_intercept",
        "one_identity_two_contents",
        "reversed_winding",
        "equal_contours_twice",
        "one_equal_contour_twice",
        "several_items_of_one_roi",
        "closing_point_repeated",
        "every_third_slice",
        "open_contours",
        "a_number_lost",
        "a_far_vertex",
        "count_of_points_untrue",
        "label_missing",
        "another_frame_of_reference",
        "contours_in_pixels",
        "contours_in_centimetres",
        "same_structure_set_exported_twice",
        "cycle_a_year_early",
        "blank_day",
        "percent_sign",
        "age_in_months_unsaid",
        "two_deaths",
        "full_width_figures",
    }
)
"""Distortions that fit any CT with its structure set, not the phantom's shape alone."""


def present() -> list[str]:
    """Cases whose data are here."""
    return [name for name in CASES if (DATA / name).is_dir()]


@cache
def _cropped(case: str) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    """Slices around the lesion, and its structure sets; identities are still the real ones."""
    sets = tuple(pydicom.dcmread(DATA / case / name) for name in CASES[case])
    slices = sorted(
        (pydicom.dcmread(f) for f in (DATA / case / "ct").iterdir()),
        key=lambda s: float(s.ImagePositionPatient[2]),
    )
    points = np.concatenate(
        [
            np.array(c.ContourData, float).reshape(-1, 3)
            for one in sets
            for roi in one.ROIContourSequence
            for c in roi.ContourSequence
        ]
    )
    low, high = points.min(0), points.max(0)
    spacing = float(slices[0].PixelSpacing[0])
    corner = np.array([float(v) for v in slices[0].ImagePositionPatient])
    first = np.floor((low - corner)[:2] / spacing).astype(int) - MARGIN_PX
    last = np.ceil((high - corner)[:2] / spacing).astype(int) + MARGIN_PX
    depth = [
        k
        for k, s in enumerate(slices)
        if low[2] - 0.1 <= float(s.ImagePositionPatient[2]) <= high[2] + 0.1
    ]
    wanted = slices[max(0, depth[0] - MARGIN_SLICES) : depth[-1] + MARGIN_SLICES + 1]
    for one in wanted:
        pixels = one.pixel_array[first[1] : last[1], first[0] : last[0]]
        x, y, z = (float(v) for v in one.ImagePositionPatient)
        one.ImagePositionPatient = [
            round(x + first[0] * spacing, 4),
            round(y + first[1] * spacing, 4),
            z,
        ]
        one.Rows, one.Columns = pixels.shape
        one.PixelData = pixels.astype("<u2").tobytes()
    return tuple(wanted), sets


def make_real(case: str, number: str, serial: int) -> Delivery:
    """A patient with one visit and a real scan with its outlines.

    Person, cycles and contacts are invented.
    """
    invented = make_delivery(number, serial)
    slices, sets = _cropped(case)
    visit = _visit(case, number, serial, invented, list(slices), list(sets))
    events = [
        {
            "patient_id": number,
            "date": f"{invented.day(300):%Y-%m-%d}",
            "event": "alive",
            "detail": "",
        }
    ]
    made = Delivery(
        number,
        serial,
        invented.first_cycle,
        case,
        [visit],
        invented.person,
        invented.cycles,
        events,
        responses=(),
        pfs=None,
        person_truth=invented.person_truth,
        event_truth=[("alive", 300)],
    )
    if len(sets) > 1:
        (label,) = {roi.ROIName for one in sets for roi in one.StructureSetROISequence}
        row = {
            "patient_id": number,
            "visit_date": f"{visit.date:%Y-%m-%d}",
            "lesion": label,
            "role": "target",
            "organ": "lung",
            "node": "n",
        }
        made.reads = {reader: [dict(row)] for reader in READERS}
    return made


def _visit(
    case: str,
    number: str,
    serial: int,
    invented: Delivery,
    slices: list[Dataset],
    sets: list[Dataset],
) -> Visit:
    day, date = -5, invented.day(-5)
    series, frame = uid(serial, 1, 2), uid(serial, 1, 9)
    own = {str(s.SOPInstanceUID): uid(serial, 1, 2, k) for k, s in enumerate(slices, 1)}
    own[str(slices[0].SeriesInstanceUID)] = series
    own[str(slices[0].StudyInstanceUID)] = uid(serial, 1, 1)
    own[str(slices[0].FrameOfReferenceUID)] = frame
    made = [_renamed(copy.deepcopy(s), number, own, f"{date:%Y%m%d}") for s in slices]
    drawn = []
    for k, one in enumerate(sets):
        renamed = _renamed(
            copy.deepcopy(one),
            number,
            own
            | {
                str(one.SOPInstanceUID): uid(serial, 1, 5 + k, 1),
                str(one.SeriesInstanceUID): uid(serial, 1, 5 + k),
            },
            f"{date:%Y%m%d}",
        )
        drawn.append(
            Structures(
                f"reads/{READERS[k]}" if len(sets) > 1 else "dicom", f"rs_{serial}_{k}.dcm", renamed
            )
        )
    label = str(sets[0].StructureSetROISequence[0].ROIName)
    by_reader = {reader: TRUTH[case, reader] for reader in READERS if (case, reader) in TRUTH}
    truth = TRUTH.get((case, label)) or by_reader[READERS[0]]
    spacing = float(slices[1].ImagePositionPatient[2]) - float(slices[0].ImagePositionPatient[2])
    return Visit(
        "T0",
        day,
        date,
        series,
        made,
        [],
        {},
        {label: truth},
        spacing,
        drawn,
        truth_of={r: {label: t} for r, t in by_reader.items()},
    )


def _renamed(one: Dataset, number: str, own: dict[str, str], day: str) -> Dataset:
    """The object under this delivery's identities and date."""
    one.PatientID, one.PatientName = number, "Testcase^Anon"
    for element in one.iterall():
        if element.VR == "UI" and isinstance(element.value, str) and element.value in own:
            element.value = own[element.value]
        elif element.VR == "DA":
            element.value = day
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return one
