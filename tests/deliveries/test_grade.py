"""`lakehouse grade` on another trial's tables as trial offices export them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from click.testing import CliRunner

from dagster_project import cli

pytestmark = pytest.mark.real_data

EXPECTED = {
    "21": {("A", "2024-03-10"): "SD", ("A", "2024-05-02"): "PD", ("B", "2024-03-10"): "SD", ("B", "2024-05-02"): "PD"},
    "22": {("A", "2024-02-20"): "PD", **{(subject, "2024-02-20"): "PR" for subject in "BCD"}},
    "23": {(subject, "2024-02-20"): "PD" for subject in ("VT", "LS", "NEL", "LF", "OK")},
}
"""Response by subject and date: unscheduled visits, merged and split targets, control characters in cells."""


@pytest.mark.parametrize("case", EXPECTED)
def test_responses_are_those_of_the_tables(builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    builder.build(case, tmp_path / "trial")
    out = tmp_path / "graded.csv"
    result = CliRunner().invoke(cli.main, ["--home", str(tmp_path / "home"), "grade", str(tmp_path / "trial"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    graded = {(subject, date): response for subject, date, response in pl.read_csv(out).select("subject", "date", "overall_response").iter_rows()}
    assert EXPECTED[case].items() <= graded.items()
