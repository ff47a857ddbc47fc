"""Real scans and contours made by others, laid out as four hospitals might deliver them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.trial import Trial, write_protocol

LUNG, SARCOMA, CONTOURS, SEGMENTS = "LUNG", "SARCOMA", "LIDCRT", "LIDCSEG"
"""Two sites whose contours lie among the images, and two that deliver the same two readers in either format."""

SETTINGS = {"radiomics": {"log_sigma_mm": [], "wavelet": "", "classes": ["firstorder"], "padding_mm": 5.0}}

LUNG_CASES, SARCOMA_CASES = ("case_1", "case_3"), ("case_002", "case_019", "case_024")

LOCKED = "2025-06-01T12:00:00+08:00\n"


def deliver(data: Path, folder: Path) -> Trial:
    """Copy the data into the landing of a home of its own."""
    made = Trial(folder / "home", write_protocol(folder / "study.toml", SETTINGS))
    landing = made.home.make().landing
    for case in LUNG_CASES:
        shutil.copytree(data / "lung_ct" / case / "ct", landing / LUNG / "dicom" / case / "ct")
        shutil.copy(data / "lung_ct" / case / "rtstruct.dcm", landing / LUNG / "dicom" / case)
    for case in SARCOMA_CASES:
        for part in ("image", "mask"):
            shutil.copytree(data / "sarcoma_ct" / case / part, landing / SARCOMA / "dicom" / case / part)
    for site, kind in ((CONTOURS, "rtstruct"), (SEGMENTS, "seg")):
        shutil.copytree(data / "two_readers" / "ct", landing / site / "dicom")
        for reader in ("R1", "R2"):
            target = landing / site / "reads" / reader
            target.mkdir(parents=True)
            shutil.copy(data / "two_readers" / f"reader_{reader[1]}.{kind}.dcm", target)
            (target / "LOCKED").write_text(LOCKED, encoding="utf-8")
    _write_case_report(landing / CONTOURS / "clinical")
    return made


def _write_case_report(folder: Path) -> None:
    """One patient with the least that a case report may hold; her scan is that before treatment."""
    folder.mkdir()
    (folder / "patients.csv").write_text("patient_id,sex,age,stage\nLIDC-IDRI-0314,F,61,IVA\n", encoding="utf-8")
    (folder / "treatments.csv").write_text("patient_id,cycle,date,drugs\nLIDC-IDRI-0314,1,2000-01-08,pembrolizumab\n", encoding="utf-8")
