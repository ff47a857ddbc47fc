"""Faults that a site's delivery may have besides those that the simulation plants.

Each is written here and must be reported.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dagster_project.simulation.plan import READERS
from tests.trial import SITES, Trial

OPEN_READER = "R3"
"""A third reader who has not locked.

Nothing of this reader may reach agreement, features or responses.
"""

BEYOND_MM = 500.0
"""Far outside any of the simulated scans."""


def spoil(trial: Trial) -> None:
    """Write every fault of this module into a simulated landing."""
    chinese, western = (trial.home.landing / site for site in SITES)
    _write_contours_outside(trial, chinese)
    _write_masks_that_do_not_fit(trial, western)
    (western / "clinical" / "photographs.zip").write_bytes(b"PK")
    (western / "dicom" / "empty").touch()
    with (western / "clinical" / "treatments.csv").open("a", encoding="utf-8") as file:
        file.write(
            f"{trial.patient_truth(SITES[1], 1)['hospital_number']};"
            "one;2024-01-01;pembrolizumab\r\n;2;2024-01-01;pembrolizumab\r\n"
        )


def _write_contours_outside(trial: Trial, site: Path) -> None:
    """Contours of an open reader outside the images.

    L1 has one contour outside, L2 has all of them outside.
    """
    number = trial.patient_truth(site.name, 0)["hospital_number"]
    dataset = pydicom.dcmread(next((site / "reads" / READERS[0]).glob(f"*/*{number}_T0.dcm")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(
        entropy_srcs=["outside"]
    )
    first, second = (
        dataset.ROIContourSequence[0].ContourSequence,
        dataset.ROIContourSequence[1].ContourSequence,
    )
    first.append(_moved(copy.deepcopy(first[0])))
    for contour in second:
        _moved(contour)
    target = site / "reads" / OPEN_READER / "outside.dcm"
    target.parent.mkdir()
    dataset.save_as(target)


def _moved(contour: Dataset) -> Dataset:
    points = np.add(
        np.array(contour.ContourData, dtype=float).reshape(-1, 3), (0.0, 0.0, BEYOND_MM)
    )
    contour.ContourData = [f"{c:.2f}" for c in points.ravel()]
    del (
        contour.ContourImageSequence
    )  # no image lies there; one that it named at another height would refuse the structure
    return contour


def _write_masks_that_do_not_fit(trial: Trial, site: Path) -> None:
    """A mask on another grid than its series, and one whose name says neither series nor lesion."""
    folder = site / "reads" / OPEN_READER
    folder.mkdir()
    cube = sitk.GetImageFromArray(np.ones((4, 4, 4), np.uint8))
    series = trial.patient_truth(site.name, 1)["visits"]["T0"]["series_uid"]
    for name in (f"{series}__L1.nii.gz", "the_big_one.nii.gz"):
        sitk.WriteImage(cube, str(folder / name))


def _says(*parts: str) -> Callable[[str, str], bool]:
    return lambda item, reason: all(part in f"{item}: {reason}" for part in parts)


EXPECTED: tuple[tuple[str, str, str, Callable[[str, str], bool]], ...] = (
    ("garbage_file", SITES[0], "intake", _says("dicom/ file sha256:", "not a DICOM file")),
    ("dose_report", SITES[0], "intake", _says("dicom/ file sha256:", "X-Ray Radiation Dose SR")),
    (
        "localiser",
        SITES[0],
        "intake",
        _says("dicom/ file sha256:", "ImageType is not ORIGINAL\\PRIMARY\\AXIAL"),
    ),
    ("secondary_capture", SITES[1], "intake", _says("dicom/ file sha256:", "Secondary Capture")),
    ("truncated_file", SITES[1], "intake", _says("dicom/ file sha256:", "truncated")),
    ("empty file", SITES[1], "intake", _says("dicom/ file sha256:", "not a DICOM file")),
    (
        "mask without series in its name",
        SITES[1],
        "intake",
        _says(f"reads/{OPEN_READER}/ file sha256:", "<SeriesInstanceUID>__<lesion>"),
    ),
    (
        "unknown_column",
        SITES[0],
        "case_report",
        _says("clinical/patients.csv header 18", "header is not known"),
    ),
    (
        "bad_date",
        SITES[0],
        "case_report",
        _says("clinical/follow_up.csv row", "column date", "not a day of the calendar"),
    ),
    (
        "duplicate_patient",
        SITES[0],
        "case_report",
        _says("clinical/patients.csv row 6", "contradicts row 5", "birth_date"),
    ),
    (
        "unknown_patient",
        SITES[1],
        "case_report",
        _says(
            "reads/R1/lesions.csv row",
            "column patient_id",
            "neither in patients.csv nor among the images",
        ),
    ),
    (
        "cycle that is no number",
        SITES[1],
        "case_report",
        _says("clinical/treatments.csv row", "column cycle", "not the number of a cycle"),
    ),
    (
        "row without patient",
        SITES[1],
        "case_report",
        _says("clinical/treatments.csv row", "column patient_id", "is missing"),
    ),
    (
        "stray file",
        SITES[1],
        "case_report",
        _says("clinical", "1 entries are not part of the delivery specification"),
    ),
    (
        "contour_without_series",
        SITES[1],
        "reads",
        _says("reader R1 contours sha256:", "no series that is here"),
    ),
    (
        "mask on another grid",
        SITES[1],
        "reads",
        _says(f"reader {OPEN_READER} contours sha256:", "grid"),
    ),
    (
        "contour outside the images",
        SITES[0],
        "reads",
        _says(f"{OPEN_READER} L1", "part of the outline lies beyond the images"),
    ),
    (
        "reader who has not locked",
        SITES[0],
        "reads",
        _says(f"reads of {OPEN_READER}", "1 reads are open and withheld"),
    ),
    (
        "all contours outside the images",
        SITES[0],
        "reads",
        _says(f"{OPEN_READER} L2", "lies outside the images"),
    ),
)
"""Fault, site, stage, and what the one row of the quarantine about it says."""
