"""`lakehouse grade` on another trial's tables as trial offices export them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import polars as pl
import pyreadstat
import pytest
from click.testing import CliRunner

from dagster_project import cli

pytestmark = pytest.mark.real_data

EXPECTED = {
    "21": {
        ("A", "2024-03-10"): "SD",
        ("A", "2024-05-02"): "PD",
        ("B", "2024-03-10"): "SD",
        ("B", "2024-05-02"): "PD",
    },
    "22": {("A", "2024-02-20"): "PD", **{(subject, "2024-02-20"): "PR" for subject in "BCD"}},
    "23": {(subject, "2024-02-20"): "PD" for subject in ("VT", "LS", "NEL", "LF", "OK")},
}
"""Response by subject and date.

The cases are unscheduled visits, merged and split targets, and control characters in cells.
"""


@pytest.mark.parametrize("case", EXPECTED)
def test_responses_are_those_of_the_tables(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    builder.build(case, tmp_path / "trial")
    out = tmp_path / "graded.csv"
    result = CliRunner().invoke(
        cli.main,
        ["--home", str(tmp_path / "home"), "grade", str(tmp_path / "trial"), "--out", str(out)],
    )
    assert result.exit_code == 0, result.output
    graded = {
        (subject, date): response
        for subject, date, response in pl.read_csv(out)
        .select("subject", "date", "overall_response")
        .iter_rows()
    }
    assert EXPECTED[case].items() <= graded.items()


def graded(trial: Path, out: Path) -> pl.DataFrame:
    result = CliRunner().invoke(
        cli.main, ["--home", str(out.parent / "home"), "grade", str(trial), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    return pl.read_csv(out, infer_schema_length=None)


def test_the_same_tables_as_transport_files_give_the_same_grade(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    for kind in ("csv", "xpt"):
        (tmp_path / kind).mkdir()
    for name in ("tu", "tr", "rs"):
        source = shared_data / "response" / f"sdtm_{name}_recist.csv"
        table = pl.read_csv(source, infer_schema_length=None)
        shutil.copyfile(source, tmp_path / "csv" / f"{name}.csv")
        pyreadstat.write_xport(
            table.with_columns(pl.col(pl.String).fill_null("")),
            tmp_path / "xpt" / f"{name}.xpt",
            table_name=name.upper(),
            file_format_version=5,
        )
    csv, xpt = (graded(tmp_path / kind, tmp_path / f"{kind}_graded.csv") for kind in ("csv", "xpt"))
    assert csv.height == 24
    assert xpt.drop("flags").equals(csv.drop("flags"))
    assert xpt["flags"].str.replace_all(r"\.xpt", ".csv").equals(csv["flags"])


def test_a_blank_day_in_a_table_of_hundreds_of_patients_costs_one_row(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    (tmp_path / "trial").mkdir()
    table = tmp_path / "trial" / "sums.csv"
    shutil.copyfile(shared_data / "response" / "target_lesion_diameters_studies_1_3.csv", table)
    before = graded(tmp_path / "trial", tmp_path / "before.csv")
    lines = table.read_text(encoding="utf-8").split("\n")
    study, patient, arm, _, size = lines[2].split(",")
    lines[2] = f"{study},{patient},{arm},,{size}"
    table.write_text("\n".join(lines), encoding="utf-8")
    after = graded(tmp_path / "trial", tmp_path / "after.csv")
    assert pl.read_csv(table)["patient"].n_unique() == 628
    others = pl.col("subject") != patient
    assert after.filter(others).equals(before.filter(others))
    assert after.filter(~others).height == before.filter(~others).height - 1
    flags = pl.read_csv(tmp_path / "after.flags.csv", infer_schema_length=None)
    assert flags.filter(place="sums.csv row 3")["rule"].to_list() == ["visit_unknown"]
