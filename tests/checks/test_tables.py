"""The contract and the suite of a table share a step, and each gives its own result."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import pytest

from checks import tables
from checks.tables import CHECKS, EVALUATED_BY, table_checks
from dagster_project.lake.tables import BY_NAME, TABLES
from dagster_project.partitions import SITES
from dagster_project.resources import Lakehouse

NAME = "responses"
"""A table of all sites at once."""


def test_every_table_has_both() -> None:
    found = Counter(
        (key.asset_key.to_user_string(), key.name) for check in CHECKS for key in check.check_keys
    )
    assert found == Counter((t.name, name) for t in TABLES for name in EVALUATED_BY)


def test_those_of_a_table_by_site_are_by_site() -> None:
    for check in CHECKS:
        for spec in check.check_specs:
            by_site = BY_NAME[spec.asset_key.to_user_string()].by_site
            assert spec.partitions_def == (SITES if by_site else None)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(
    lakehouse: Lakehouse, instance: dg.DagsterInstance, *, made: bool = True
) -> dg.ExecuteInProcessResult:
    """A run of the table's asset, which is made or not, with its checks."""

    @dg.asset(name=NAME, output_required=False)
    def as_it_is() -> Iterator[dg.MaterializeResult]:
        if made:
            yield dg.MaterializeResult()

    @dg.asset(deps=[NAME])
    def after() -> None:
        """What depends on the table."""

    defs = dg.Definitions(
        assets=[as_it_is, after],
        asset_checks=[table_checks(BY_NAME[NAME])],
        resources={"lakehouse": lakehouse},
        jobs=[dg.define_asset_job("look", "*")],
        executor=dg.in_process_executor,
    )
    return defs.resolve_job_def("look").execute_in_process(instance=instance, raise_on_error=False)


def results(found: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in found.get_asset_check_evaluations()}


def test_both_are_given_by_one_step(lakehouse: Lakehouse, instance: dg.DagsterInstance) -> None:
    found = run(lakehouse, instance)
    assert found.success
    assert results(found) == {"contract": True, "expectations": True}
    steps = {e.step_key for e in found.all_events if e.is_step_success}
    assert steps == {NAME, "after", f"{NAME}_rules"}


def test_a_broken_row_turns_both_red_and_stops_nothing(
    lakehouse: Lakehouse, fill, instance: dg.DagsterInstance
) -> None:
    fill(NAME, {"evaluator": "R1", "overall_response": "XX"})
    found = run(lakehouse, instance)
    assert found.success
    assert results(found) == {"contract": False, "expectations": False}
    assert all(
        e.severity == dg.AssetCheckSeverity.ERROR for e in found.get_asset_check_evaluations()
    )


def test_where_the_table_is_not_made_neither_is_given(
    lakehouse: Lakehouse, instance: dg.DagsterInstance
) -> None:
    """As behind a closed gate."""
    found = run(lakehouse, instance, made=False)
    assert found.success
    assert results(found) == {}
    skipped = {e.step_key for e in found.all_events if e.event_type_value == "STEP_SKIPPED"}
    assert skipped == {"after", f"{NAME}_rules"}


def test_a_suite_that_cannot_be_run_fails_no_table(
    lakehouse: Lakehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> dg.AssetCheckResult:
        raise RuntimeError("the suite cannot be read")

    monkeypatch.setattr(tables, "EVALUATED_BY", {**EVALUATED_BY, "expectations": stop})
    found = run(lakehouse, instance)
    assert {e.step_key for e in found.all_events if e.is_step_failure} == {f"{NAME}_rules"}
    assert {e.step_key for e in found.all_events if e.is_step_success} == {NAME, "after"}
    assert results(found) == {"contract": True}


def test_one_can_be_run_without_the_other(
    lakehouse: Lakehouse, instance: dg.DagsterInstance
) -> None:
    @dg.asset(name=NAME)
    def as_it_is() -> None:
        """The rows are there."""

    key = dg.AssetCheckKey(dg.AssetKey(NAME), "contract")
    defs = dg.Definitions(
        assets=[as_it_is],
        asset_checks=[table_checks(BY_NAME[NAME])],
        resources={"lakehouse": lakehouse},
        jobs=[dg.define_asset_job("one", dg.AssetSelection.checks(key))],
        executor=dg.in_process_executor,
    )
    found = defs.resolve_job_def("one").execute_in_process(instance=instance)
    assert results(found) == {"contract": True}
