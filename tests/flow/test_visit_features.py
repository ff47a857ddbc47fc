"""Features of visits are read behind the open gate alone, and beside size all night long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dagster_project.federated.simulated_lakes import fill_table, simulate_hospitals
from dagster_project.flow.dynamic_evaluation import evaluate_standard
from dagster_project.flow.dynamic_risk import find_risks
from dagster_project.flow.visit_features import load_features
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import QUALITY_VERDICTS
from dagster_project.resources import Lakehouse
from models.data.visit_features import build_visit_features

PATIENTS = 24
FEATURES = pl.col("comparator") == "size_and_features"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lakehouse, object]]:
    folder: Path = tmp_path_factory.mktemp("lake")
    drawn = simulate_hospitals(folder, ["BJCH"], patients=PATIENTS, seed=2)
    made = Lakehouse(root=str(folder / "BJCH"))
    yield made, drawn
    made.lake.close()


def judge(lakehouse: Lakehouse, *, verdict: str | None) -> None:
    """The gate as it was judged; None before anybody has."""
    one = {"kind": ["cohort"], "verdict": [verdict], "protocol_digest": [lakehouse.study.digest]}
    rows = fill_table(QUALITY_VERDICTS.name, pl.DataFrame(one)) if verdict else None
    lakehouse.lake.replace(QUALITY_VERDICTS.name, empty(QUALITY_VERDICTS) if rows is None else rows)


def test_nothing_is_read_before_the_gate_is_open(found):
    lakehouse, _ = found
    for verdict in (None, "fail"):
        judge(lakehouse, verdict=verdict)
        assert load_features(lakehouse) is None
        rows = evaluate_standard(lakehouse).filter(FEATURES)
        assert rows["estimable"].any() is False
        assert set(rows["reason"]) == {"withheld: features are read behind the open gate alone"}


def test_behind_the_open_gate_they_are_those_of_the_tables(found):
    lakehouse, drawn = found
    judge(lakehouse, verdict="pass")
    own = load_features(lakehouse).features
    whole = build_visit_features(
        drawn.lesions, drawn.radiomic_features, drawn.delta_features, drawn.dhi
    )
    places = list(whole.places)
    assert own.names == whole.names
    assert own.places == whole.places
    assert own.of_visits(places) == pytest.approx(whole.of_visits(places), nan_ok=True)


def test_a_night_has_them_beside_size_and_says_the_same_twice(found):
    lakehouse, _ = found
    judge(lakehouse, verdict="pass")
    rows = evaluate_standard(lakehouse)
    figures = rows.filter(FEATURES, population="all")
    horizons = lakehouse.study.section("evaluation")["horizons_days"]
    assert sorted(figures["statistic"]) == sorted(f"brier_gain_over_size_{h}" for h in horizons)
    assert rows.filter(FEATURES, population="first_visit")["n"].max() > 0
    assert evaluate_standard(lakehouse).drop("snapshot").equals(rows.drop("snapshot"))
    risks = find_risks(lakehouse).filter(question="progression")
    assert risks.height == 2 * len(horizons) * PATIENTS
    assert risks["reason"].str.contains("withheld").all()
