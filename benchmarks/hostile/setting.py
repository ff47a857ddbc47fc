"""A home with one site and one good patient, beside whom a hostile input lies."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.vault.vault import IntakeReport, take_in
from tests.intake.builders import ROOT, ct, rtstruct, to_bytes, write_series

GOOD = "ZY0012345"
SERIES = f"{ROOT}.2"
SLICES = 3
PATIENTS = f"patient_id,sex,birth_date,stage\n{GOOD},F,1949-05-11,IIIB\n"
TREATMENTS = f"patient_id,cycle,date\n{GOOD},1,2024-01-08\n"


class Setting:
    """One site's landing and vault."""

    def __init__(self, root: Path, landing: Path | None = None) -> None:
        self.root, self.landing = root, landing or root / "landing" / "AB"
        self.vault, self.crosswalk = root / "vault" / "AB", root / "crosswalk"
        self.landing.mkdir(parents=True)

    def put(self, name: str, content: bytes | str) -> Path:
        """Write a file of the landing."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def sparse(self, name: str, size: int, start: bytes = b"") -> Path:
        """A file that takes no room on the disk."""
        path = self.put(name, start)
        with path.open("rb+") as file:
            file.truncate(size)
        return path

    def take_in(self) -> IntakeReport:
        """Take the landing in, as a run does."""
        medium = self.root / "keys"
        keys = unlock(medium if medium.exists() else create_throwaway_medium(medium))
        return take_in(self.landing, self.vault, keys=keys, crosswalk=self.crosswalk)

    def reasons(self) -> list[str]:
        """Why something was refused."""
        return pl.read_parquet(self.vault / "refused.parquet")["reason"].to_list()

    def holds_good_patient(self, *, of_rows: bool = True) -> bool:
        """Whether the good patient's slices, contours and row are there."""
        keys = unlock(self.root / "keys")
        patient = Crosswalk(self.crosswalk, keys).find("AB", GOOD)
        if patient is None:
            return False
        slices = list((self.vault / patient).glob("S*/*.dcm"))
        contours = list((self.vault / patient / "contours" / "SITE").glob("*"))
        rows = pl.read_parquet(self.vault / "case_report" / "patients.parquet").filter(
            patient=patient
        )
        row = rows.height == 1 and (not of_rows or rows["stage"].item() == "IIIB")
        return len(slices) >= SLICES and len(contours) >= 1 and row


def write_good_patient(setting: Setting) -> None:
    """Slices, contours and a row of the case report."""
    write_series(setting.landing / "dicom" / "good", SLICES)
    setting.put("dicom/good/RS", to_bytes(rtstruct()))
    setting.put("clinical/patients.csv", PATIENTS)
    setting.put("clinical/treatments.csv", TREATMENTS)


def slice_bytes(index: int = SLICES) -> bytes:
    """One more slice of the good patient, the next one unless another is named."""
    return to_bytes(ct(index))
