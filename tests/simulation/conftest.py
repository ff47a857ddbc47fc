"""One small cohort and its truth, written once for all tests of this room."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dagster_project.simulation.cohort import simulate_cohort
from dagster_project.simulation.plan import TINY


@dataclass(frozen=True)
class Written:
    landing: Path
    truth_folder: Path
    truth: dict[str, Any]
    identifiers: list[str]
    progress: list[tuple[int, int]]

    def patient(self, site: str, ordinal: int) -> dict[str, Any]:
        return next(
            p for p in self.truth["patients"] if (p["site"], p["ordinal"]) == (site, ordinal)
        )

    def home(self, site: str, ordinal: int) -> Path:
        number = self.patient(site, ordinal)["hospital_number"]
        return next(
            folder
            for folder in (self.landing / site / "dicom").iterdir()
            if folder.name.endswith(number)
        )

    def series(self, site: str, ordinal: int, visit: str) -> list[Path]:
        return sorted(next(self.home(site, ordinal).glob(f"*{visit}/CT")).iterdir())

    def contours(self, site: str, ordinal: int, visit: str, reader: str) -> list[Path]:
        patient = self.patient(site, ordinal)
        folder = self.landing / site / "reads" / reader
        dicom = [
            p
            for p in folder.glob(f"*/*{patient['hospital_number']}_{visit}.dcm")
            if "later" not in p.parts
        ]
        return sorted([*dicom, *folder.glob(f"{patient['visits'][visit]['series_uid']}__*.nii.gz")])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("tiny")
    progress: list[tuple[int, int]] = []
    simulate_cohort(
        folder / "landing",
        folder / "truth",
        TINY,
        progress=lambda done, total: progress.append((done, total)),
    )
    truth, identifiers = (
        json.loads((folder / "truth" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("truth", "identifiers")
    )
    return Written(folder / "landing", folder / "truth", truth, identifiers, progress)
