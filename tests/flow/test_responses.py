"""A late arbitration changes history visibly.

The lake before and after it differs in the rows that it explains, and in no other.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from dagster_project import cli
from dagster_project.domain.reading.lesions import derive_lesions
from dagster_project.domain.response.endpoints import derive_outcomes
from dagster_project.flow.responses import grade_all_evaluators
from dagster_project.lake.home import Home
from dagster_project.resources import Lakehouse
from tests.domain.records import cycles, follow_up, table, timepoints

SIZES = {
    # patient, reader: L1 at T0, T1, T2
    ("BJCH-A", "R1"): (50, 52, 53),
    ("BJCH-A", "R2"): (50, 30, 28),
    ("BJCH-B", "R1"): (40, 41, 40),
    ("BJCH-B", "R2"): (40, 40, 41),
}
"""The readers disagree about A, and agree about B."""


def reads():
    rows = [
        {
            "patient": patient,
            "reader": reader,
            "visit": visit,
            "scan": f"{patient}-{visit}",
            "lesion": "L1",
            "role": "target",
            "is_present": True,
            "is_lymph_node": False,
            "too_small_to_measure": False,
            "longest_diameter_mm": float(size),
            "organ": "lung",
            "mask_source": "NONE",
            "n_outside": 0,
            "locked_at": datetime(2025, 1, 1, tzinfo=UTC),
        }
        for (patient, reader), sizes in SIZES.items()
        for visit, size in zip(("T0", "T1", "T2"), sizes, strict=True)
    ]
    return table("reads", *rows)


def case(**decision):
    return table(
        "arbitrations",
        {
            "patient": "BJCH-A",
            "status": "open",
            "triggers": ["response T1"],
            "reader_a": "R1",
            "reader_b": "R2",
            "n_lesion_visits": 3,
            **decision,
        },
    )


def grade(lakehouse, arbitrations):
    """From the reads to the outcomes, as the assets do it; gives the snapshot."""
    lake, study = lakehouse.lake, lakehouse.study
    lake.replace("arbitrations", arbitrations)
    lake.replace(
        "lesions", derive_lesions(*lakehouse.read("reads", "arbitrations"), study.section("reads"))
    )
    lake.replace("responses", grade_all_evaluators(lakehouse))
    found = lakehouse.read("responses", "treatments", "follow_up", "patients", "timepoints")
    lake.replace(
        "outcomes", derive_outcomes(*found, study.section("endpoints"), study.section("recist"))
    )
    return lake.snapshot()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory):
    """A home whose case was open at one snapshot and settled at a later one."""
    home = Home(tmp_path_factory.mktemp("history") / "home").make().root
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LAKEHOUSE_HOME", "DAGSTER_HOME"):
            patch.setenv(name, str(home))
        yield make_history(home)


def make_history(home: Path):
    lakehouse = Lakehouse(root=str(home))
    patients = ("BJCH-A", "BJCH-B")
    for name, frame in {
        "reads": reads(),
        "patients": table("patients", *({"patient": p} for p in patients)),
        "follow_up": follow_up(),
        "timepoints": pl.concat([timepoints("T0", "T1", "T2", patient=p) for p in patients]),
        "treatments": pl.concat([cycles(0).with_columns(patient=pl.lit(p)) for p in patients]),
    }.items():
        lakehouse.lake.replace(name, frame)
    before = grade(lakehouse, case())
    return (
        home,
        before,
        grade(
            lakehouse,
            case(
                status="settled",
                accepted_reader="R2",
                arbiter="R9",
                decided_at=datetime(2025, 3, 1, tzinfo=UTC),
            ),
        ),
    )


def asked(home, statement, snapshot):
    result = CliRunner().invoke(
        cli.main, ["--home", str(home), "sql", statement, "--json", "--as-of", str(snapshot)]
    )
    assert result.exit_code == 0, result.output
    return {json.dumps(row, sort_keys=True) for row in json.loads(result.output)}


def test_the_lake_before_and_after_differs_exactly_in_the_rows_that_the_decision_explains(history):
    home, before, after = history
    then, now = (asked(home, "SELECT * FROM responses", snapshot) for snapshot in (before, after))
    gone, come = ([json.loads(row) for row in rows] for rows in (then - now, now - then))
    place = [("BJCH-A", "T1", "accepted"), ("BJCH-A", "T2", "accepted")]
    assert sorted((r["patient"], r["visit"], r["evaluator"]) for r in gone) == place
    assert sorted((r["patient"], r["visit"], r["evaluator"]) for r in come) == place
    assert {r["overall_response"] for r in gone} == {"SD"}
    assert {r["overall_response"] for r in come} == {"PR"}
    assert min(r["recorded_at"] for r in come) > max(r["recorded_at"] for r in gone)
    assert {r["scan_date"] for r in come} == {r["scan_date"] for r in gone}


def test_the_readers_rows_and_the_other_patient_keep_the_day_they_were_recorded_at(history):
    home, before, after = history
    statement = (
        "SELECT patient, visit, evaluator, recorded_at FROM responses "
        "WHERE patient = 'BJCH-B' OR evaluator <> 'accepted'"
    )
    assert asked(home, statement, before) == asked(home, statement, after)


def test_the_outcome_changes_with_it_and_the_earlier_one_can_still_be_asked(history):
    home, before, after = history
    statement = "SELECT patient, bor FROM outcomes"
    assert asked(home, statement, before) == {
        '{"bor": "SD", "patient": "BJCH-A"}',
        '{"bor": "SD", "patient": "BJCH-B"}',
    }
    assert asked(home, statement, after) == {
        '{"bor": "PR", "patient": "BJCH-A"}',
        '{"bor": "SD", "patient": "BJCH-B"}',
    }


def test_adam_of_either_snapshot_as_parquet_and_csv(history, tmp_path):
    home, before, _ = history
    best = []
    for arguments in (["--as-of", str(before)], []):
        result = CliRunner().invoke(
            cli.main, ["--home", str(home), "adam", "--out", str(tmp_path / "adam"), *arguments]
        )
        assert result.exit_code == 0, result.output
        adrs = pl.read_parquet(tmp_path / "adam" / "adrs.parquet")
        assert (
            pl.read_csv(tmp_path / "adam" / "adrs.csv")["AVALC"].to_list()
            == adrs["AVALC"].to_list()
        )
        best.append(adrs.filter(PARAMCD="BOR", USUBJID="BJCH-A")["AVALC"].to_list())
    assert best == [["SD"], ["PR"]]
    assert {p.name for p in (tmp_path / "adam").iterdir()} == {
        f"{n}{s}"
        for n in ("adsl", "adrs", "adtr", "adtte")
        for s in (".csv", ".parquet", ".xpt", ".json")
    }
