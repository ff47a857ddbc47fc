"""Cells as spreadsheets leave them: the value that was meant, or a refusal by row and column."""

from __future__ import annotations

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data


def test_a_number_in_scientific_notation_is_nobodys_and_the_other_spellings_find_their_images(
    landed: Deliveries,
) -> None:
    patients = landed.ask("SELECT patient, in_case_report FROM patients WHERE site = 'K32'")
    assert len(patients) == 6, "one for each person among the images"
    written = {
        number: landed.pseudonym("K32", number)
        for number in ("12345678", "98765", "98766", "1234567", "330102198801", "330102198802")
    }
    assert {r["patient"] for r in patients if r["in_case_report"]} == {
        written[n] for n in ("12345678", "98765", "98766", "1234567")
    }
    refused = [line for line in landed.refused("K32") if "scientific notation" in line]
    assert [line.split(":")[0] for line in refused] == [
        *(f"clinical/patients.csv row {n} column patient_id" for n in (2, 3)),
        *(f"clinical/treatments.csv row {n} column patient_id" for n in range(2, 7)),
    ]
    assert len(landed.ask("SELECT 1 FROM treatments WHERE site = 'K32'")) == 1


def test_images_whose_row_names_nobody_are_listed_and_never_joined(landed: Deliveries) -> None:
    rows = landed.ask(
        "SELECT patient, finding, other_patient, question FROM reconciliation "
        "WHERE site = 'K32' ORDER BY patient"
    )
    first, second = (landed.pseudonym("K32", number) for number in ("330102198801", "330102198802"))
    assert {(r["patient"], r["finding"], r["other_patient"]) for r in rows} == {
        (first, "images_without_row", second),
        (second, "images_without_row", first),
    }
    assert all(
        "is it the same person?" in r["question"] and "3301" not in r["question"] for r in rows
    )


def test_diameters_under_a_header_in_cm_are_times_ten(landed: Deliveries) -> None:
    reads = landed.reads("K33", "933001")
    assert {(r["reader"], r["longest_diameter_mm"], r["short_axis_mm"]) for r in reads} == {
        (reader, *sizes) for reader in ("R1", "R2") for sizes in ((34.5, 22.0), (21.0, 14.0))
    }


@pytest.mark.parametrize(
    ("number", "column", "value"),
    [
        ("937002", "pd_l1_tps", 80),
        ("937012", "age_years", 63),
        ("937014", "egfr", "mutant"),
        ("937018", "line", 2),
        ("937021", "histology", "adenocarcinoma"),
        ("937022", "pd_l1_tps", 0),
        ("937004", "age_years", 62),
        ("937007", "age_years", 62),
    ],
)
def test_cells_that_say_one_thing(
    landed: Deliveries, number: str, column: str, value: object
) -> None:
    rows = landed.ask(
        "SELECT * FROM patients WHERE site = 'K37' AND patient = ?", landed.pseudonym("K37", number)
    )
    assert [r[column] for r in rows] == [value]


@pytest.mark.parametrize(
    ("number", "column"),
    [
        ("937001", "pd_l1_tps"),
        ("937003", "birth_date"),
        ("937005", "birth_date"),
        ("937006", "birth_date"),
        ("937008", "birth_date"),
        ("937009", "sex"),
        ("937010", "sex"),
        ("937011", "ecog"),
        ("937013", "stage"),
        ("937015", "pd_l1_tps"),
        ("937016", "pd_l1_tps"),
        ("937017", "age"),
        ("937018", "consent"),
        ("937019", "consent"),
        ("937020", "pd_l1_tps"),
    ],
)
def test_cells_that_say_several_things_or_none_are_refused(
    landed: Deliveries, number: str, column: str
) -> None:
    place = f"clinical/patients.csv row {int(number[3:]) + 1} column {column}"
    assert [line for line in landed.refused("K37", "case_report") if line.startswith(f"{place}:")]
    if column != "birth_date":
        (row,) = landed.ask(
            "SELECT * FROM patients WHERE site = 'K37' AND patient = ?",
            landed.pseudonym("K37", number),
        )
        assert row["age_years" if column == "age" else column] is None


def test_cycles_and_deaths_that_are_events_of_redcap(landed: Deliveries) -> None:
    for number, died in (("930001", True), ("930002", True), ("930003", False)):
        patient = landed.pseudonym("K31", number)
        cycles = landed.ask(
            "SELECT cycle FROM treatments WHERE site = 'K31' AND patient = ? ORDER BY cycle",
            patient,
        )
        assert [r["cycle"] for r in cycles] == [1, 2, 3, 4, 5]
        assert landed.ask(
            "SELECT event FROM follow_up WHERE site = 'K31' AND patient = ?", patient
        ) == ([{"event": "death"}] if died else [])
    assert not landed.refused("K31", "case_report")
