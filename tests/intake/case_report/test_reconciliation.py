"""Who has only a row, who has only images, and whose numbers are nearly the same."""

from __future__ import annotations

from typing import Any

from dagster_project.intake.case_report.reconciliation import Held, reconcile


def found(
    rows: dict[str, str],
    images: dict[str, str],
    strangers: list[tuple[str, str]] | None = None,
    **more: Any,
) -> list[tuple[str, str, str]]:
    """(patient, finding, other) of each row; images by the number that they bear."""
    numbers = {p: n for p, n in images.items() if n and p not in rows}
    held = Held(
        "AB",
        rows,
        {p: f"row of {p}" for p in rows},
        dict.fromkeys(images, 1),
        numbers,
        strangers or [],
        **more,
    )
    return [(r["patient"], r["finding"], r["other_patient"]) for r in reconcile(held)]


def test_whoever_has_both_is_not_listed() -> None:
    assert found({"A": "123456"}, {"A": "123456"}) == []


def test_near_numbers_are_asked_about_from_both_sides() -> None:
    assert found({"A": "123456", "B": "777777"}, {"C": "123457", "D": "999999"}) == [
        ("A", "row_without_images", "C"),
        ("B", "row_without_images", "*"),
        ("C", "images_without_row", "A"),
        ("D", "images_without_row", "*"),
    ]


def test_images_without_a_row_may_be_of_a_patient_who_has_both() -> None:
    assert found({"A": "123456"}, {"A": "123456", "C": "123465"}) == [
        ("C", "images_without_row", "A")
    ]


def test_one_that_lacks_what_this_one_has_comes_before_others() -> None:
    assert found({"A": "123456", "B": "123458"}, {"A": "123456", "C": "123457"}) == [
        ("B", "row_without_images", "C"),
        ("C", "images_without_row", "B"),
    ]


def test_numbers_in_a_row_are_no_hint() -> None:
    rows = {f"P{n}": f"93400{n}" for n in range(9)}
    listed = reconcile(Held("AB", rows, {}, {**dict.fromkeys(rows, 1), "C": 1}, {"C": "934009"}))
    assert [(r["patient"], r["other_patient"]) for r in listed] == [("C", "*")]
    assert "9 other numbers are alike to it" in listed[0]["question"]


def test_who_withdrew_is_not_listed() -> None:
    assert found({"A": "123456"}, {"B": ""}, withdrawn={"A", "B"}) == []


def test_a_number_of_nobody_is_listed_once_a_file() -> None:
    rows = [
        ("clinical/treatments.csv row 2", "123457"),
        ("clinical/treatments.csv row 3", "123457"),
        ("clinical/follow_up.csv row 2", "123457"),
    ]
    listed = reconcile(Held("AB", {"A": "123456"}, {}, {"A": 1}, {}, rows))
    assert [(r["item"], r["other_patient"]) for r in listed] == [
        ("clinical/treatments.csv row 2 and 1 more", "A"),
        ("clinical/follow_up.csv row 2", "A"),
    ]
    assert "lakehouse keys alias A --site AB" in listed[0]["question"]


def test_images_whose_number_cannot_be_read_any_more_say_so() -> None:
    (row,) = reconcile(Held("AB", {"A": "123456"}, {}, {"A": 1, "C": 1}))
    assert row["patient"] == "C"
    assert "was not compared" in row["question"]


def test_no_number_is_in_what_is_stored() -> None:
    held = Held(
        "AB",
        {"A": "123456"},
        {"A": "clinical/patients.csv row 2"},
        {"C": 1},
        {"C": "123457"},
        [("clinical/follow_up.csv row 2", "123458")],
    )
    assert not any(
        number in str([*reconcile(held), held]) for number in ("123456", "123457", "123458")
    )
