"""Every lesion is compared between all its visits, or a reason says why not."""

from __future__ import annotations

import polars as pl
import pytest

from tests.trial import Stage


def test_every_pair_of_visits_has_a_row(opened: Stage) -> None:
    lesions, rows = opened.table("lesions"), opened.table("dhi").filter(scope="lesion")
    visits = {key: sorted(same["visit"]) for key, same in lesions.filter(pl.col("visit").str.starts_with("T")).group_by(["patient", "lesion"])}
    expected = {(*key, a, b) for key, seen in visits.items() for a in seen for b in seen if a < b}
    assert set(rows.select("patient", "lesion", "from_visit", "to_visit").iter_rows()) == expected


def test_a_figure_is_there_or_a_reason(opened: Stage) -> None:
    rows = opened.table("dhi")
    assert (rows["dhi"].is_null() == rows["reason"].is_not_null()).all()
    assert rows["dhi"].is_not_null().sum() > 10


def test_a_patients_figure_lies_among_those_of_the_lesions(opened: Stage) -> None:
    rows = opened.table("dhi").filter(pl.col("dhi").is_not_null())
    of_patients = rows.filter(scope="patient")
    assert of_patients.height
    for row in of_patients.iter_rows(named=True):
        own = rows.filter(scope="lesion", patient=row["patient"], from_visit=row["from_visit"], to_visit=row["to_visit"])["dhi"]
        assert own.min() - 1e-9 <= row["dhi"] <= own.max() + 1e-9
        assert row["dhi_maximum"] == pytest.approx(own.max())


def test_few_lesions_do_not_calibrate(opened: Stage) -> None:
    """The limits shipped with the code stand in, or the row says that it is not calibrated."""
    assert opened.table("dhi")["calibrated"].dtype == pl.Boolean
