"""Reads what federated runs have left in a home, for the tables of the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.federated.engine.outcomes import read_outcomes
from dagster_project.federated.records import ledger_rows, result_rows, run_rows

if TYPE_CHECKING:
    from dagster_project.lake.home import Home

RUNS = "runs"
"""Folder of outcomes below `federated`; `engine.places` writes there."""


def read_runs(home: Home) -> pl.DataFrame:
    """FEDERATED_RUNS of a home; no rows where it has taken part in none."""
    outcomes = read_outcomes(home.federated / RUNS)
    budget = None
    if outcomes and has_ledger(home):
        from dagster_project.federated.ledger import Ledger

        budget = Ledger(home.federated).account().budget
    return run_rows(outcomes, budget)


def read_results(home: Home) -> pl.DataFrame:
    """FEDERATED_RESULTS of a home."""
    return result_rows(read_outcomes(home.federated / RUNS))


def read_ledger(home: Home) -> pl.DataFrame:
    """PRIVACY_LEDGER of a home; no rows where there is no ledger, and never was.

    Raises
    ------
    LedgerDamaged, LedgerRolledBack
    """
    if not has_ledger(home):
        return ledger_rows([])
    from dagster_project.federated.ledger import Ledger

    return ledger_rows(Ledger(home.federated).records())


def has_ledger(home: Home) -> bool:
    """Whether there is a ledger, or was one: what is left of it is then looked at."""
    return any((home.federated / name).exists() for name in ("ledger", "ledger.head"))
