"""A withdrawal or the removal of a site that is cut short is completed, never left half done."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from dagster_project.commands.leaving import HALF_WAY, NOTHING_REMOVED, PENDING, leaving_file
from dagster_project.flow.trace_search import search_home
from dagster_project.flow.withdrawal import find_traces
from dagster_project.simulation.cohort import simulate_cohort
from dagster_project.simulation.plan import Trouble
from tests.conftest import REPOSITORY
from tests.forked import Commands, commands
from tests.trial import COHORT, SITES, Trial, write_protocol

PLAN = replace(
    COHORT,
    patients_per_site=1,
    troubles=(Trouble("garbage_file", 0, 0),),
    sites=(
        replace(COHORT.sites[0], courses=("stable",)),
        replace(COHORT.sites[1], courses=("stable",), careless=()),
    ),
)


@pytest.fixture(scope="module")
def forked() -> Iterator[Commands]:
    """Where commands are forked from."""
    with commands() as started:
        yield started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Two sites of a patient each, run once."""
    folder = tmp_path_factory.mktemp("leaving")
    made = Trial(folder / "home", write_protocol(folder / "study.toml"), PLAN)
    simulate_cohort(made.home.make().landing, made.root / "truth", PLAN)
    assert made.call("run").exit_code == 0
    return made


@pytest.fixture
def trial(whole: Trial, tmp_path: Path) -> Trial:
    """A copy of it."""
    shutil.copytree(whole.root, tmp_path / "home", symlinks=True)
    return Trial(tmp_path / "home", whole.protocol, PLAN)


Signalled = Callable[..., tuple[int, str]]


@pytest.fixture
def signalled(trial: Trial, forked: Commands, tmp_path: Path) -> Signalled:
    """Gives exit code and output of a command to which a signal comes at a place."""

    def call(number: signal.Signals, place: str, *arguments: str) -> tuple[int, str]:
        return forked.signalled(
            number,
            place,
            ["--home", str(trial.root), *arguments],
            {**os.environ, **trial.settings, "PYTHONPATH": str(REPOSITORY)},
            tmp_path / "output",
        )

    return call


def files(trial: Trial, *folders: str) -> dict[str, bytes]:
    """What lies in some folders of a home."""
    found = [f for folder in folders for f in (trial.root / folder).rglob("*") if f.is_file()]
    return {str(f): f.read_bytes() for f in found}


def nothing_is_left(trial: Trial, patient: str, traces: frozenset[str]) -> None:
    assert not leaving_file(trial.home).exists()
    with trial.entered():
        assert search_home(trial.home, traces) == []
    audit = [json.loads(line) for line in trial.home.audit.read_text(encoding="utf-8").splitlines()]
    assert [line["action"] for line in audit] == ["withdraw"], "once, however often it was begun"
    assert trial.rows("SELECT count(*) FROM patients WHERE consent = 'withdrawn'") == [(1,)]
    assert trial.rows("SELECT count(*) FROM scans WHERE site = 'BJCH'")[0][0] > 0, "the others stay"
    with trial.entered():
        assert trial.lakehouse.lake.read("scans").filter(patient=patient).is_empty()


def test_a_withdrawal_that_is_killed_again_and_again_is_completed(
    trial: Trial, signalled: Signalled
) -> None:
    """The withdrawal comes further each time.

    It is written down alone, the crosswalk is done, the tables are emptied, all is derived anew.
    """
    patient = trial.pseudonym(SITES[1], 0)
    with trial.entered():
        traces = find_traces(trial.lakehouse, patient)
    for place in (
        "withdrawal.remove_patient",
        "vault.drop_patient",
        "run._execute",
        "withdrawal.withdraw_publications",
    ):
        code, said = signalled(signal.SIGKILL, place, "withdraw", patient, "--yes")
        assert code == -signal.SIGKILL, said
        assert leaving_file(trial.home).is_file(), place
    assert PENDING in trial.call("status").output.replace("\n", " ")
    result = trial.call("withdraw", patient, "--yes")
    assert result.exit_code == 0, result.output
    assert "it is completed first" in "".join(trial.said)
    nothing_is_left(trial, patient, traces)


def test_a_signal_before_anything_is_removed_ends_it_and_changes_nothing(
    trial: Trial, signalled: Signalled
) -> None:
    patient = trial.pseudonym(SITES[1], 0)
    before = files(trial, "vault", "crosswalk", "published", "lake/data")
    code, said = signalled(signal.SIGINT, "withdrawal.find_traces", "withdraw", patient, "--yes")
    assert (code, NOTHING_REMOVED in said) == (130, True), said
    assert files(trial, "vault", "crosswalk", "published", "lake/data") == before


def test_a_signal_after_that_is_heard_when_vault_and_tables_have_forgotten_and_the_next_run_completes_it(  # noqa: E501
    trial: Trial, signalled: Signalled
) -> None:
    patient = trial.pseudonym(SITES[1], 0)
    with trial.entered():
        traces = find_traces(trial.lakehouse, patient)
    code, said = signalled(signal.SIGTERM, "vault.drop_patient", "withdraw", patient, "--yes")
    assert (code, HALF_WAY in " ".join(said.split("\n"))) == (143, True), said
    assert trial.rows("SELECT count(*) FROM scans WHERE site = 'SHPH'") == [(0,)]
    shutil.rmtree(trial.home.landing / SITES[1])
    result = trial.call("run")
    assert result.exit_code == 0, result.output
    nothing_is_left(trial, patient, traces)


# ── a site ──


OF_ALL_SITES = {
    "reader_agreement": "judged together where a site has too few pairs",
    "repeatable_change": "in units of what the readers of all sites differ by",
    "patient_summary": "probabilities and their state, behind the gate",
    "survival_curves": "of the eligible patients, or of everyone where no hospital has one",
    "survival_medians": "of the eligible patients, or of everyone where no hospital has one",
    "response_rates": "of the eligible patients, or of everyone where no hospital has one",
    "dynamic_risk": "models and classes are of the patients of all sites",
    "iupd_cohort": "margins are in units of what the readers of all sites differ by",
    "dynamic_irecist": "DHI beside the state is calibrated on the lesions of all sites",
    "board_decisions": "pages show the readers' error and the comparison classes of all sites",
    "dynamic_evaluation": "comparators and classes are fitted on other patients of all sites",
}
"""Tables and views of which a site's rows depend on the other sites too."""


def rows_of(trial: Trial, site: str) -> dict[str, pl.DataFrame]:
    """A site's rows in every table that names sites, without what tells of the run."""
    with trial.entered():
        lake = trial.lakehouse.lake
        names = [
            name
            for (name,) in lake.query(
                "SELECT DISTINCT table_name FROM duckdb_columns() "
                "WHERE database_name = 'lake' AND column_name = 'site'"
            ).fetchall()
        ]
        return {
            name: lake.query(f'SELECT * FROM "{name}" WHERE site = ? ORDER BY ALL', [site])
            .pl()
            .drop("recorded_at", "snapshot", strict=False)
            for name in names
        }


def own_rows(trial: Trial, site: str) -> dict[str, pl.DataFrame]:
    """Those that no other site changes; the fingerprint of `dhi` names the pairs of all."""
    rows = rows_of(trial, site)
    return {
        name: found.drop("input_fingerprint") if name == "dhi" else found
        for name, found in rows.items()
        if name not in OF_ALL_SITES
    }


def test_a_site_is_removed_from_everything_and_the_others_do_not_change(
    trial: Trial, signalled: Signalled
) -> None:
    patient = trial.pseudonym(SITES[1], 0)
    refused = trial.call("site", "remove", SITES[1], "--yes")
    assert refused.exit_code == 1
    assert "landing/SHPH is still there" in refused.output
    shutil.move(trial.home.landing / SITES[1], trial.root.parent / "moved away")
    others = own_rows(trial, SITES[0])
    code, said = signalled(
        signal.SIGKILL,
        "Lake.remove_site",
        "site",
        "remove",
        SITES[1],
        "--yes",
        "--purpose",
        "contract ended",
    )
    assert code == -signal.SIGKILL, said
    result = trial.call("site", "remove", SITES[1], "--yes", "--purpose", "contract ended")
    assert result.exit_code == 0, result.output
    assert "Nothing of SHPH is left in this home but the line of the audit" in "".join(trial.said)
    assert {
        name: rows.height for name, rows in rows_of(trial, SITES[1]).items() if rows.height
    } == {}
    after = own_rows(trial, SITES[0])
    assert [
        name for name, rows in others.items() if not rows.equals(after[name], null_equal=True)
    ] == []
    assert trial.home.sites() == [SITES[0]]
    with trial.entered():
        assert search_home(trial.home, [patient]) == []
    audit = [json.loads(line) for line in trial.home.audit.read_text(encoding="utf-8").splitlines()]
    assert [(line["action"], line["pseudonym"], line["purpose"]) for line in audit] == [
        ("remove_site", "SHPH", "contract ended")
    ]


@pytest.mark.parametrize("code", ["NOSITE", "../landing"])
def test_a_site_that_is_not_there_is_named_with_those_that_are(whole: Trial, code: str) -> None:
    result = whole.call("site", "remove", code, "--yes")
    assert result.exit_code == 1
    assert "sites are BJCH, SHPH" in result.output
