"""Whatever is wrong with a delivery is told with stage, place and reason, and the rest goes on."""

from __future__ import annotations

import pytest
from rich.console import Console

from dagster_project.simulation.plan import EXCLUDING, TROUBLES
from tests.bad_deliveries import EXPECTED, OPEN_READER
from tests.trial import SITES, Stage

QUIET = {"kernel_change", "full_width_number"} | (EXCLUDING - {"duplicate_patient"})
"""Troubles that are facts about a patient and no faults of a delivery."""


@pytest.mark.parametrize(("fault", "site", "stage", "says"), EXPECTED, ids=[e[0] for e in EXPECTED])
def test_each_fault_is_told_once(closed: Stage, fault: str, site: str, stage: str, says) -> None:
    rows = closed.table("quarantine").filter(site=site, stage=stage)
    assert (
        sum(says(item, reason) for item, reason in rows.select("item", "reason").iter_rows()) == 1
    ), fault


def test_nothing_else_was_refused(closed: Stage) -> None:
    """Every refusal is one of those expected.

    Every planted trouble is either expected here or no fault of a delivery.
    """
    rows = closed.table("quarantine")
    unexpected = [
        (row["stage"], row["item"], row["reason"])
        for row in rows.iter_rows(named=True)
        if not any(
            row["site"] == site and row["stage"] == stage and says(row["item"], row["reason"])
            for _, site, stage, says in EXPECTED
        )
    ]
    assert unexpected == []
    planted = {trouble.kind for trouble in closed.trial.plan.planted()}
    assert planted <= set(TROUBLES)
    assert planted - QUIET == {fault for fault, *_ in EXPECTED} & set(TROUBLES)


def test_a_refusal_says_what_to_do_and_quotes_nothing(closed: Stage) -> None:
    for row in closed.table("quarantine").iter_rows(named=True):
        assert ";" in row["reason"] or "." in row["reason"], row["reason"]
        assert "photographs" not in row["item"] + row["reason"]
        assert "2024-13-45" not in row["item"] + row["reason"]


def test_status_counts_the_refusals_by_reason(
    grown: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dagster_project.commands.terminal.CONSOLE", Console(highlight=False, width=400)
    )
    text = grown.trial.call("status").output
    refused = text.partition("Refused")[2].partition("Open for arbitration")[0]
    rows = grown.table("quarantine")
    for (site, stage, reason), same in rows.group_by("site", "stage", "reason"):
        assert any(
            line.split()[:3] == [site, stage, f"×{same.height}"] and str(reason)[:60] in line
            for line in refused.splitlines()
        ), reason


def test_an_open_read_reaches_nothing(closed: Stage) -> None:
    for name in ("reads", "radiomic_features", "lesions"):
        assert OPEN_READER not in set(closed.table(name)["reader"]), name
    assert OPEN_READER not in set(closed.table("responses")["evaluator"])
    assert closed.table("lesions")["n_readers"].max() == 2


def test_the_number_in_full_width_digits_is_the_same_patient(closed: Stage) -> None:
    patient = closed.table("patients").filter(patient=closed.trial.pseudonym(SITES[0], 2))
    assert patient["in_case_report"].to_list() == [True]
    assert closed.table("scans").filter(patient=patient["patient"][0]).height == 3


def test_who_contradicts_himself_has_unknown_age_and_is_not_eligible(closed: Stage) -> None:
    patient = closed.trial.pseudonym(SITES[0], 3)
    assert closed.table("patients").filter(patient=patient)["age_years"].to_list() == [None]
    assert closed.table("eligibility").filter(patient=patient, criterion="I7")[
        "verdict"
    ].to_list() == ["unknown"]
