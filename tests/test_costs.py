"""What `lakehouse run --profile` counts."""

from __future__ import annotations

import time

import pytest

from dagster_project.commands.costs import BETWEEN, Costs, counted
from dagster_project.console import LISTENERS


def spend(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass


def test_seconds_belong_to_the_step_that_spends_them() -> None:
    costs = Costs()
    spend(0.05)
    costs.listen("STEP_START", "patients")
    spend(0.2)
    costs.listen("ASSET_MATERIALIZATION", "patients")
    spend(0.1)
    costs.listen("STEP_SUCCESS", "patients")
    spend(0.05)
    costs.listen("STEP_START", "scans")
    spend(0.1)
    costs.listen("STEP_FAILURE", "scans")
    assert costs.cpu["patients"] == pytest.approx(0.3, abs=0.05)
    assert costs.cpu["scans"] == pytest.approx(0.1, abs=0.05)
    assert costs.cpu[BETWEEN] == pytest.approx(0.1, abs=0.05)
    assert costs.times == {"patients": 1, "scans": 1}
    assert next(row[0] for row in costs.rows()) == "patients"


def test_steps_that_cost_little_stand_in_one_row_and_nothing_is_lost() -> None:
    costs = Costs()
    costs.cpu |= {"dear": 9.0, "a": 0.05, "b": 0.04}
    costs.clock |= {"dear": 10.0, "a": 0.1, "b": 0.1}
    costs.times |= {"dear": 1, "a": 2, "b": 3}
    assert costs.rows() == [
        ("dear", "9.0", "99%", "10.0", 1),
        ("2 other steps", "0.1", "1%", "0.2", 5),
    ]


def test_nothing_listens_where_nobody_asked_and_afterwards(capsys) -> None:
    with counted(wanted=False):
        assert LISTENERS == []
    with counted(wanted=True):
        assert len(LISTENERS) == 1
    assert LISTENERS == []
    assert "What each step cost" in capsys.readouterr().out
