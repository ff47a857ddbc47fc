"""A change is the later value minus the earlier, of the accepted reader's features."""

from __future__ import annotations

import pytest

from tests.trial import Stage

pytestmark = pytest.mark.xdist_group("flow")


def test_each_change_is_the_difference_of_the_two_visits(opened: Stage) -> None:
    """Asked again of the lake itself, for all rows."""
    wrong = opened.trial.rows(f"""
        SELECT count(*), count(*) FILTER (WHERE abs(d.delta - (b.value - a.value)) > 1e-9 * greatest(1, abs(d.delta)))
        FROM delta_features AT (VERSION => {opened.snapshot}) d
        JOIN lesions AT (VERSION => {opened.snapshot}) l ON (l.site, l.patient, l.lesion, l.visit) = (d.site, d.patient, d.lesion, d.to_visit)
        JOIN radiomic_features a ON (a.site, a.patient, a.lesion, a.region, a.feature, a.visit, a.reader) = (d.site, d.patient, d.lesion, d.region, d.feature, d.from_visit, l.reader)
        JOIN radiomic_features b ON (b.site, b.patient, b.lesion, b.region, b.feature, b.visit, b.reader) = (d.site, d.patient, d.lesion, d.region, d.feature, d.to_visit, l.reader)
        WHERE d.delta IS NOT NULL""")
    compared, off = wrong[0]
    assert compared == opened.table("delta_features")["delta"].is_not_null().sum() > 1000
    assert off == 0


def test_pairs_are_those_of_the_protocol_and_days_are_true(opened: Stage) -> None:
    rows = opened.table("delta_features")
    assert set(rows.select("from_visit", "to_visit").iter_rows()) == {("T0", "T1"), ("T1", "T2"), ("T0", "T2")}
    for patient, truth in opened.trial.everyone():
        days = {name: visit["day"] for name, visit in truth["visits"].items()}
        own = rows.filter(patient=patient).select("from_visit", "to_visit", "days").unique()
        assert all(days[later] - days[earlier] == n for earlier, later, n in own.iter_rows())
