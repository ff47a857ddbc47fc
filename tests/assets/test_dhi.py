"""Every lesion is compared between all its visits, or a reason says why not."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.domain.imaging.comparable_scans import OTHER_KERNEL
from tests.trial import Stage


def test_every_pair_of_visits_has_a_row(opened: Stage) -> None:
    lesions, rows = opened.table("lesions"), opened.table("dhi").filter(scope="lesion")
    visits = {
        key: sorted(same["visit"])
        for key, same in lesions.filter(pl.col("visit").str.starts_with("T")).group_by(
            ["patient", "lesion"]
        )
    }
    expected = {(*key, a, b) for key, seen in visits.items() for a in seen for b in seen if a < b}
    assert set(rows.select("patient", "lesion", "from_visit", "to_visit").iter_rows()) == expected


def test_a_figure_is_there_or_a_reason(opened: Stage) -> None:
    rows = opened.table("dhi")
    assert (rows["dhi"].is_null() == rows["reason"].is_not_null()).all()
    assert rows["dhi"].is_not_null().sum() > 10


def test_a_changed_kernel_is_no_change_of_the_lesion(opened: Stage) -> None:
    """Patient and lesion have a reason instead of a figure where the kernels differ.

    It is enough that one of the two scans has the other kernel.
    """
    changed = (
        opened.table("timepoints")
        .filter(pl.col("changed_since_t0").list.contains("kernel"))
        .select("patient", "visit")
    )
    rows = opened.table("dhi")
    across = pl.concat(
        [
            rows.join(changed, left_on=["patient", end], right_on=["patient", "visit"])
            for end in ("from_visit", "to_visit")
        ]
    )
    lesions = across.filter(scope="lesion")
    assert lesions.height >= 2
    assert lesions["dhi"].null_count() == lesions.height
    assert set(lesions["reason"]) == {OTHER_KERNEL}
    assert across.filter(scope="patient")["dhi"].is_null().all()


def test_a_patients_figure_lies_among_those_of_the_lesions(opened: Stage) -> None:
    rows = opened.table("dhi").filter(pl.col("dhi").is_not_null())
    of_patients = rows.filter(scope="patient")
    assert of_patients.height
    for row in of_patients.iter_rows(named=True):
        own = rows.filter(
            scope="lesion",
            patient=row["patient"],
            from_visit=row["from_visit"],
            to_visit=row["to_visit"],
        )["dhi"]
        assert own.min() - 1e-9 <= row["dhi"] <= own.max() + 1e-9
        assert row["dhi_maximum"] == pytest.approx(own.max())


def test_few_lesions_do_not_calibrate(opened: Stage) -> None:
    """The limits shipped with the code stand in, or the row says that it is not calibrated."""
    assert opened.table("dhi")["calibrated"].dtype == pl.Boolean


def test_kept_comparisons_divided_by_the_limits_of_few_lesions_give_the_table(
    opened: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fold divides by its own limits is what the table was divided from.

    Here both have too few lesions, and take the shipped limits.
    """
    from dagster_project.flow.dhi import load_comparisons_as_of
    from dagster_project.radiomics.dhi_limits import patient_free_limits
    from dagster_project.resources import Lakehouse
    from models.data.fold_dhi import LIMITED, place_comparisons

    monkeypatch.setenv("LAKEHOUSE_STUDY", str(opened.trial.protocol))
    rows = opened.table("dhi")
    pairs = (("T0", "T1"), ("T0", "T2"))
    found = load_comparisons_as_of(
        Lakehouse(root=str(opened.trial.home.root)), opened.snapshot, pairs
    )
    roster = rows.select("site", "patient").unique().sort("site", "patient").with_row_index("row")
    columns = place_comparisons(roster, pairs, found).columns(patient_free_limits())
    known = 0
    for a, b in pairs:
        mine = roster.join(
            rows.filter(scope="patient", from_visit=a, to_visit=b),
            on=["site", "patient"],
            how="left",
            maintain_order="left",
        )
        assert not mine["calibrated"].drop_nulls().any()
        for name in LIMITED:
            wanted = mine[name].fill_null(float("nan")).to_numpy()
            known += mine[name].count()
            assert columns[f"{name}@{a}-{b}"] == pytest.approx(wanted, rel=1e-9, nan_ok=True)
    assert known > 20
