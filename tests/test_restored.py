"""A trial that is restored at another path goes on as if nothing had happened.

The key medium comes from elsewhere, as it must: no backup holds it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from dagster_project.simulation.cohort import simulate_cohort
from tests.trial import CHINESE, COHORT, Trial, write_protocol

PLAN = replace(
    COHORT,
    patients_per_site=1,
    troubles=(),
    sites=(replace(CHINESE, courses=("late_responder",), careless=()),),
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """One patient of one site, run once and backed up."""
    folder = tmp_path_factory.mktemp("restored")
    made = Trial(folder / "home", write_protocol(folder / "study.toml"), PLAN)
    simulate_cohort(made.home.make().landing, made.root / "truth", PLAN)
    done = made.call("run")
    assert done.exit_code == 0, "".join(made.said)
    done = made.call("backup", str(folder / "backups"))
    assert done.exit_code == 0, done.output
    return made


@pytest.fixture(scope="module")
def restored(trial: Trial) -> Trial:
    """The same at another path."""
    there = Trial(trial.root.parent / "elsewhere", trial.protocol, PLAN)
    assert there.call("restore", str(trial.root.parent / "backups")).exit_code == 0
    shutil.copytree(trial.home.throwaway_medium, there.home.throwaway_medium)
    shutil.copytree(trial.home.landing, there.home.landing, dirs_exist_ok=True)
    return there


def tables(trial: Trial) -> dict[str, int]:
    return {
        name: trial.rows(f"SELECT count(*) FROM {name}")[0][0]
        for name in ("scans", "reads", "radiomic_features", "responses", "quality_verdicts")
    }


def test_status_is_as_it_was(trial: Trial, restored: Trial) -> None:
    before, after = (json.loads(t.call("status", "--json").output) for t in (trial, restored))
    of_the_moment = {"asked_at", "home", "free_bytes"}
    assert {k: v for k, v in after.items() if k not in of_the_moment} == {
        k: v for k, v in before.items() if k not in of_the_moment
    }


def test_a_run_computes_nothing_anew(trial: Trial, restored: Trial) -> None:
    snapshot = restored.snapshot()
    done = restored.call("run", "--json")
    assert done.exit_code == 0, "".join(restored.said)
    outcome = json.loads(done.output.splitlines()[-1])
    assert outcome["failed"] == []
    assert "Imaging" not in done.output, "one line for a machine, and no other"
    for asset in ("intake", "scans", "reads", "radiomic_features"):
        assert restored.told(asset, CHINESE.name)["computed"] == 0, asset
    assert restored.snapshot() == snapshot, "no row differs, so that nothing was written"
    assert tables(restored) == tables(trial)
