"""Cells as spreadsheets leave them: the value that was meant, or a refusal by row and column."""

from __future__ import annotations

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data


def test_a_number_in_scientific_notation_is_nobodys_and_the_other_spellings_find_their_images(landed: Deliveries) -> None:
    patients = landed.ask("SELECT patient, in_case_report FROM patients WHERE site = 'K32'")
    assert len(patients) == 6, "one for each person among the images"
    written = {number: landed.pseudonym("K32", number) for number in ("12345678", "98765", "98766", "1234567", "330102198801", "330102198802")}
    assert {r["patient"] for r in patients if r["in_case_report"]} == {written[n] for n in ("12345678", "98765", "98766", "1234567")}
    refused = [line for line in landed.refused("K32") if "scientific notation" in line]
    assert [line.split(":")[0] for line in refused] == [
        *(f"clinical/patients.csv row {n} column patient_id" for n in (2, 3)), *(f"clinical/treatments.csv row {n} column patient_id" for n in range(2, 7))]
    assert len(landed.ask("SELECT 1 FROM treatments WHERE site = 'K32'")) == 1
