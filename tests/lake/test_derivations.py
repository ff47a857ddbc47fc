"""A column that is not published is not found again in another table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from dagster_project.definitions import defs
from dagster_project.domain.response.cohort_estimates import Cohort
from dagster_project.flow.cohort_estimates import ESTIMATED
from dagster_project.lake.derivations import FACTS, FIGURES_OF, emptied_by, reached_by
from dagster_project.lake.home import Home
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.publish import publish
from dagster_project.lake.schema import conform
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import BY_NAME, PUBLISHED, TABLES, Table
from dagster_project.study import PROTOCOL, load_study
from tests.reports.cohort import whole

STUDY = load_study(PROTOCOL)
GRAPH = defs.resolve_asset_graph()

HOLDS_NO_VALUE = {
    "federated_runs": "what was agreed and done, not what came out",
    "privacy_ledger": "what was spent",
    "quarantine": "texts, which quote no value",
}
"""Tables of findings that hold no value of a column, and why."""

READS_BY_ITSELF = {"federated_results"}
"""Its rows come from a plan's run over the whole lake, not from an asset upstream."""

ALSO_GIVEN = {
    *("training_cohort", "predictions", "dynamic_irecist", "iupd_cohort", "outcomes"),
    *("lesions", "irecist_blocks", "responses"),
}
"""Tables that repeat a fact of those upstream."""


def protocol(*columns: str) -> Minimisation:
    section = {"suppressed_columns": list(columns)}
    return Minimisation.of(
        replace(STUDY, sections=MappingProxyType({**STUDY.sections, "publish": section}))
    )


def test_every_place_is_a_column() -> None:
    named = {
        *(place for fact in FACTS for place in (*fact.held_by, *fact.given_by)),
        *(place for places in FIGURES_OF.values() for place in places),
    }
    columns = {f"{t.name}.{c}" for t in TABLES for c in t.names}
    assert named <= columns, named - columns
    assert set(FIGURES_OF) <= set(BY_NAME)


OF_FIGURES = [t for t in PUBLISHED if "patient" not in t.names or t.names[0] == "scope"]
"""Tables that are not of patients, or whose rows are of patients, sites and all together."""


@pytest.mark.parametrize("table", OF_FIGURES, ids=lambda t: t.name)
def test_every_table_of_figures_names_what_they_are_of(table: Table) -> None:
    """Its sources are upstream of its asset, or it holds no value of any."""
    assert (table.name in FIGURES_OF) != (table.name in HOLDS_NO_VALUE)
    sources = {place.split(".")[0] for place in FIGURES_OF.get(table.name, ())}
    if table.name not in READS_BY_ITSELF:
        assert sources <= _ancestors(table.name) | ALSO_GIVEN


def _ancestors(name: str) -> set[str]:
    upstream = dg.AssetSelection.assets(name).upstream().resolve(GRAPH)
    return {key.to_user_string() for key in upstream}


def test_what_is_reached_holds_for_each_column_of_a_fact() -> None:
    for fact in FACTS:
        for place in fact.held_by:
            assert set(fact.held_by) | set(fact.given_by) <= reached_by([place])


@pytest.mark.parametrize(
    ("column", "emptied"),
    [
        ("time_to_event.days", {"survival_curves", "survival_medians"}),
        ("time_to_event.event", {"survival_curves", "survival_medians"}),
        ("outcomes.bor", {"response_rates"}),
        ("radiomic_features.value", {"feature_stability", "delta_features"}),
        ("lesions.longest_diameter_mm", {"reader_agreement", "quality_verdicts"}),
        ("scans.scan_date", {"clinical_status"}),
    ],
)
def test_figures_of_a_suppressed_column_are_not_published(column: str, emptied: set[str]) -> None:
    assert emptied <= protocol(column).emptied
    assert not emptied & protocol("patients.smoking").emptied


def test_a_column_without_figures_takes_nothing_with_it() -> None:
    assert reached_by(["patients.smoking"]) == {"patients.smoking"}
    assert emptied_by(frozenset({"patients.smoking"})) == {"federated_results"}
    assert reached_by([]) == emptied_by(frozenset()) == frozenset()


# -- published rows do not depend on what is suppressed --------------------------------------------

VARIED = {
    "time_to_event.days": ["pfs_days"],
    "outcomes.bor": ["bor", "bor_confirmed", "ibor", "responder", "best_change_percent"],
}
"""Columns of outcomes by which the cohorts differ."""


@pytest.mark.parametrize("column", VARIED)
def test_two_cohorts_that_differ_in_a_suppressed_fact_alone_are_published_alike(
    column: str, tmp_path: Path
) -> None:
    """Whoever has the publication cannot tell which of the two it is of."""
    first, second = _published_cohorts(tmp_path, VARIED[column], protocol(column))
    assert first == second


def test_without_suppression_the_same_cohorts_differ(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    varied = [name for names in VARIED.values() for name in names]
    first, second = _published_cohorts(tmp_path, varied, protocol())
    differing = {name for name in first if first[name] != second[name]}
    assert {"survival_curves", "survival_medians", "response_rates", "outcomes"} <= differing


def _published_cohorts(folder: Path, varied: list[str], minimised: Minimisation) -> list[Any]:
    outcomes = whole()["outcomes"].drop_nulls("pfs_days").with_columns(ibor=pl.lit("iSD"))
    outcomes = outcomes.with_columns(
        ibor=pl.when("responder").then(pl.lit("iPR")).otherwise("ibor")
    )
    other = outcomes.with_columns(
        pl.col(varied).shift(1, fill_value=None).fill_null(strategy="backward")
    )
    homes = [Home(folder / name).make() for name in ("one", "other")]
    for home, rows in zip(homes, (outcomes, other), strict=True):
        _publish_figures(home, rows, minimised)
    return [_everything(home) for home in homes]


def _publish_figures(home: Home, outcomes: pl.DataFrame, minimised: Minimisation) -> None:
    times = outcomes.select(
        "site",
        "patient",
        "simulated",
        endpoint=pl.lit("pfs"),
        version=pl.lit("main"),
        origin=pl.lit("first_cycle"),
        days="pfs_days",
        event="pfs_event",
        reason=pl.lit("last evaluable CT"),
    )
    tables = {"outcomes": outcomes, "time_to_event": times}
    cohort = Cohort("all", outcomes.select("site", "patient"))
    with open_lake(home) as lake:
        lake.replace("outcomes", outcomes)
        lake.replace("time_to_event", times.select(BY_NAME["time_to_event"].names))
        for name, (of, derive) in ESTIMATED.items():
            lake.replace(name, derive(tables[of.name], cohort))
        publish(lake, home.published, minimised=minimised)


def test_a_later_night_adds_no_row_to_a_table_without_rows(tmp_path: Path) -> None:
    """Also where a site's file is made of the former one and of the patients who differ."""
    home, minimised = Home(tmp_path / "home").make(), protocol("radiomic_features.value")
    with open_lake(home) as lake:
        for delta in (1.0, 2.0):
            lake.replace("delta_features", _delta(delta), site="NORTH")
            publish(lake, home.published, minimised=minimised)
            assert lake.count("delta_features") == 1
            assert not _everything(home)["delta_features"]


def _delta(value: float) -> pl.DataFrame:
    table = BY_NAME["delta_features"]
    row = dict.fromkeys(table.names) | {
        **dict.fromkeys(("lesion", "region", "feature", "input_fingerprint"), "L1"),
        "site": "NORTH",
        "patient": "NORTH-1",
        "from_visit": "T0",
        "to_visit": "T1",
        "region": "tumor",
        "delta": value,
        "simulated": True,
    }
    return conform(pl.DataFrame([row], infer_schema_length=None), table)


def _everything(home: Home) -> dict[str, list[Any]]:
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        return {t.name: c.execute(f'FROM "{t.name}" ORDER BY ALL').fetchall() for t in PUBLISHED}
