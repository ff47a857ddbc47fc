"""A feature's stability is based on the readers' pairs that are in the lake."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.statistics.icc import icc
from tests.trial import Stage


def test_figures_are_those_of_the_reads_in_the_lake(opened: Stage) -> None:
    """One feature's pairs put together again from its rows, reader beside reader."""
    what = {"region": "tumor", "feature": "original_firstorder_Mean"}
    values = opened.table("radiomic_features").filter(**what).drop_nulls("value").sort("reader")
    pairs = (
        values.group_by("site", "scan", "lesion")
        .agg("value")
        .filter(pl.col("value").list.len() == 2)["value"]
        .to_list()
    )
    row = opened.table("feature_stability").filter(**what).row(0, named=True)
    assert row["n_pairs"] == len(pairs) > 10
    assert row["icc"] == pytest.approx(icc(pairs).value)


def test_every_region_and_feature_has_a_row(opened: Stage) -> None:
    key = ["region", "feature"]
    there = opened.table("radiomic_features").select(key).unique()
    rows = opened.table("feature_stability")
    assert rows.select(key).sort(key).equals(there.sort(key))
    assert 0 < rows["stable"].sum() < rows.height


def test_changes_stand_in_units_of_the_readers_spread(opened: Stage) -> None:
    """`repeatable_change`: every change of a feature, over √2 of its spread.

    Where there are no units, a reason.
    """
    changes, spreads = (
        {row[:-1]: row[-1] for row in opened.trial.rows(s)}
        for s in (
            "SELECT site, patient, lesion, region, feature, from_visit, to_visit, delta "
            "FROM delta_features",
            "SELECT region, feature, within_sd FROM feature_stability",
        )
    )
    told = opened.trial.rows(
        "SELECT site, patient, lesion, region, feature, from_visit, to_visit, "
        "repeatability_units, reason FROM repeatable_change"
    )
    assert {row[:-2] for row in told} == set(changes)
    assert all((units is None) == (reason is not None) for *_, units, reason in told)
    known = [row for row in told if row[-2] is not None]
    assert len(known) > 100
    for *key, units, _ in known:
        assert units == pytest.approx(changes[tuple(key)] / (2**0.5 * spreads[key[3], key[4]]))


def test_one_new_scan_moves_the_units_and_writes_no_change_of_another_scan(
    grown: Stage, opened: Stage
) -> None:
    """The spread is the cohort's and moves with a new scan.

    The changes between older scans stay the rows that they were.
    """
    assert not opened.table("feature_stability").equals(grown.table("feature_stability"))
    assert opened.table("delta_features").equals(grown.table("delta_features"))
    assert grown.trial.told("delta_features")["computed"] == 0, (
        "the new scan is no visit that is compared"
    )


def test_tumour_features_are_judged_by_copies_too_and_rings_by_readers_alone(opened: Stage) -> None:
    rows = opened.table("feature_stability")
    patients = opened.table("control_features").select("site", "patient").n_unique()
    tumour, rings = rows.filter(region="tumor"), rows.filter(pl.col("region") != "tumor")
    assert set(tumour["n_lesions_perturbed"]) == {patients}
    assert set(rings["n_lesions_perturbed"]) == {0}
    assert tumour.select((pl.col("within_sd_perturbation") > 0).all()).item()
    by_readers, by_copies = (
        (pl.col(name) >= 0.75).fill_null(value=False)
        for name in ("icc_lower", "icc_perturbation_lower")
    )
    assert tumour.select((pl.col("stable") == (by_readers & by_copies)).all()).item()
    assert rings.select((pl.col("stable") == by_readers).all()).item()


def test_without_repeat_scans_there_is_no_figure_of_them(opened: Stage) -> None:
    rows = opened.table("feature_stability")
    assert set(rows["n_lesions_repeated"]) == {0}
    assert rows["icc_repeat"].null_count() == rows["within_sd_repeat"].null_count() == rows.height


def test_patients_moments_add_up_to_the_table(opened: Stage) -> None:
    """What a training fold judges features by gives the bounds of the table.

    Here it is over all patients and visits.
    """
    from dagster_project.flow.feature_stability import moments_of_patients
    from dagster_project.lake.store import read_lake
    from models.data.stability import build_moments, lower_bounds

    with read_lake(opened.trial.home, as_of=opened.snapshot) as lake:
        visits = tuple(
            v
            for (v,) in lake.query(
                "SELECT DISTINCT visit FROM radiomic_features "
                "WHERE visit IS NOT NULL ORDER BY visit"
            ).fetchall()
        )
        moments = moments_of_patients(lake, visits)
    roster = (
        moments.select("site", "patient").unique().sort("site", "patient").with_row_index("row")
    )
    found = build_moments(roster, visits, moments)
    wanted = (
        opened.table("feature_stability").filter(pl.col("n_pairs") > 0).sort("feature", "region")
    )
    assert [*found.columns] == wanted.select("feature", "region").rows()
    assert found.n_pairs.sum(axis=0).tolist() == wanted["n_pairs"].to_list()
    assert lower_bounds(found) == pytest.approx(
        wanted["icc_lower"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        rel=1e-6,
        abs=1e-7,
        nan_ok=True,
    )
