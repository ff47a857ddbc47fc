"""Real scans and contours made by others, laid out as hospitals might deliver them."""

from __future__ import annotations

import shutil
from pathlib import Path

LUNG, SARCOMA, CONTOURS, SEGMENTS, ONE, PAPER = (
    "LUNG",
    "SARCOMA",
    "LIDCRT",
    "LIDCSEG",
    "ONEREAD",
    "PAPER",
)
"""Sites that differ in what they deliver.

Two have their contours among the images, two deliver the same two readers in either format, one has
one reader, and one has sent no images yet.
"""

REAL = (LUNG, SARCOMA, CONTOURS, SEGMENTS, ONE, PAPER)

PERSON, FOLDER = "Murong_Shuangyan_1962", "Ouyang Mingyue"
"""Names that a hospital gave to a file that is no image, and to a folder beside the sites'."""

SETTINGS = {
    "radiomics": {"log_sigma_mm": [], "wavelet": "", "classes": ["firstorder"], "padding_mm": 5.0}
}

LUNG_CASES, SARCOMA_CASES = ("case_1", "case_3"), ("case_002", "case_019", "case_024")

LOCKED = "2025-06-01T12:00:00+08:00\n"


def deliver(data: Path, landing: Path) -> None:
    """Copy the data into a landing, with a file that is no image and a folder that is no site."""
    for case in LUNG_CASES:
        shutil.copytree(data / "lung_ct" / case / "ct", landing / LUNG / "dicom" / case / "ct")
        shutil.copy(data / "lung_ct" / case / "rtstruct.dcm", landing / LUNG / "dicom" / case)
    for case in SARCOMA_CASES:
        for part in ("image", "mask"):
            shutil.copytree(
                data / "sarcoma_ct" / case / part, landing / SARCOMA / "dicom" / case / part
            )
    for site, kind, readers in (
        (CONTOURS, "rtstruct", ("R1", "R2")),
        (SEGMENTS, "seg", ("R1", "R2")),
        (ONE, "rtstruct", ("R1",)),
    ):
        shutil.copytree(data / "two_readers" / "ct", landing / site / "dicom")
        for reader in readers:
            target = landing / site / "reads" / reader
            target.mkdir(parents=True)
            shutil.copy(data / "two_readers" / f"reader_{reader[1]}.{kind}.dcm", target)
            (target / "LOCKED").write_text(LOCKED, encoding="utf-8")
    _write_case_report(landing / CONTOURS / "clinical", "LIDC-IDRI-0314", "2000-01-08")
    _write_case_report(landing / SARCOMA / "clinical", "STS_002", "2006-02-01")
    _write_case_report(landing / PAPER / "clinical", "P-1", "2006-02-01")
    (landing / LUNG / "dicom" / f"{PERSON}.dcm").write_bytes(b"no image of anybody")
    (landing / FOLDER / "dicom").mkdir(parents=True)


def _write_case_report(folder: Path, patient: str, first_cycle: str) -> None:
    """One patient with the least that a case report may hold; the scan is that before treatment."""
    folder.mkdir(parents=True)
    (folder / "patients.csv").write_text(
        f"patient_id,sex,age,stage\n{patient},F,61,IVA\n", encoding="utf-8"
    )
    (folder / "treatments.csv").write_text(
        f"patient_id,cycle,date,drugs\n{patient},1,{first_cycle},pembrolizumab\n", encoding="utf-8"
    )
