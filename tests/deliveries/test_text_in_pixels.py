"""A delivery in which one series has a name in its pixels.

That series is refused by name, the rest is taken in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dagster_project.intake.dicom.text_in_pixels import TEXT, TEXT_IN_SERIES
from tests.deliveries.conftest import Deliveries, run_delivery
from tests.deliveries.test_volumes_as_scanned import SITE, TRUE_MM3, N, chest, deliver, slices
from tests.intake.dicom.test_text_in_pixels import drawn, ink

NAMED = 17
"""The one slice of 24 with a name in it."""


def with_a_name() -> np.ndarray:
    hu = chest()
    hu[NAMED] = drawn(hu[NAMED], ink("WANG XM", 9), 1200, (3, 3))
    return hu


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    def write(landing: Path) -> None:
        deliver(landing, "1", slices("1", with_a_name(), range(N)))
        deliver(landing, "2", slices("2", chest(), range(N)))
        clinical = landing / SITE / "clinical"
        clinical.mkdir()
        (clinical / "patients.csv").write_text(
            "patient_id,sex,age,stage\n1,F,61,IVA\n2,F,61,IVA\n", encoding="utf-8"
        )
        cycles = "".join(f"{k},1,2024-01-05,pembrolizumab\n" for k in (1, 2))
        (clinical / "treatments.csv").write_text(
            "patient_id,cycle,date,drugs\n" + cycles, encoding="utf-8"
        )

    return run_delivery(tmp_path_factory.mktemp("text"), write)


def test_the_other_patient_is_measured(found: Deliveries) -> None:
    assert found.exit_code == 0, found.output
    (read,) = found.reads(SITE, "2")
    assert read["volume_mm3"] == pytest.approx(TRUE_MM3, rel=0.02)


def test_of_the_series_with_the_name_nothing_is_in_the_vault_or_a_table(found: Deliveries) -> None:
    patient = found.pseudonym(SITE, "1")
    folder = found.trial.home.vault / SITE / patient
    assert [file for file in folder.rglob("*.dcm") if "contours" not in file.parts] == []
    assert found.ask("SELECT * FROM scans WHERE patient = ?", patient) == []
    assert [r["volume_mm3"] for r in found.reads(SITE, "1")] in ([], [None])


def test_slice_and_series_are_named(found: Deliveries) -> None:
    refused = found.refused(SITE, "intake")
    assert [r for r in refused if r.startswith("dicom/ file sha256:") and r.endswith(TEXT)]
    assert [
        r
        for r in refused
        if r.startswith(f"patient {found.pseudonym(SITE, '1')} series S")
        and r.endswith(TEXT_IN_SERIES)
    ]


def test_status_says_so_in_both_languages(found: Deliveries) -> None:
    for language, words in (("en", "text is drawn into the pixels"), ("zh", "像素中有叠加文字")):
        shown = found.trial.call("status", "--all", "--lang", language).output
        assert words in "".join(shown.split()) or words in " ".join(shown.split())
