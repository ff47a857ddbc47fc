"""`lakehouse evaluate` on another trial's tables: figures and page, or a refusal by name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from dagster_project.lake.tables import DYNAMIC_EVALUATION

COURSES = {"A": [50, 45, 30], "B": [50, 80, 95], "C": [50, 80, 40], "D": [50, 52, 51]}
"""Diameters in mm six weeks apart: response, confirmed, reset, stable."""


def evaluate(trial: Path, out: Path, *more: str) -> Result:
    home = str(out.parent / "home")
    command = ["--home", home, "evaluate", str(trial), "--out", str(out), *more]
    return CliRunner().invoke(cli.main, command)


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    folder = tmp_path / "trial"
    folder.mkdir()
    rows = [
        f"{subject},{42 * place},{size}"
        for subject, sizes in COURSES.items()
        for place, size in enumerate(sizes)
    ]
    text = "\n".join(["patient,day,target_lesion_long_diam_mm", *rows])
    (folder / "sums.csv").write_text(f"{text}\n", encoding="utf-8")
    return folder


def test_figures_and_page_are_written_together(trial: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation.csv"
    result = evaluate(trial, out)
    assert result.exit_code == 0, result.output
    assert "4 subjects" in result.output
    found = pl.read_csv(out, infer_schema_length=None)
    assert found.columns == list(DYNAMIC_EVALUATION.names)
    counts = dict(found.filter(question="rescan").select("statistic", "events").iter_rows())
    assert counts["rescanned"] == 2
    days = found.filter(question="timing", statistic="days_open")
    assert days["n"].to_list() == [1, 1, 1]
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "Another trial’s tables" in page
    assert "不可估计" in page


def test_what_was_not_read_or_flagged_is_named(trial: Path, tmp_path: Path) -> None:
    (trial / "notes.txt").write_text("no table\n", encoding="utf-8")
    with (trial / "sums.csv").open("a", encoding="utf-8") as sums:
        sums.write("E,0,40\nE,42,about 30\n")
    result = evaluate(trial, tmp_path / "evaluation.csv")
    assert result.exit_code == 0, result.output
    assert "notes.txt: no CSV" in result.output
    assert "not_a_number 1: sums.csv row 15" in result.output


def test_recorded_responses_without_measurements_are_refused(tmp_path: Path) -> None:
    trial, out = tmp_path / "trial", tmp_path / "evaluation.csv"
    trial.mkdir()
    header = "STUDYID,USUBJID,RSTESTCD,RSSTRESC,RSEVAL,VISITNUM,VISIT,RSDTC"
    row = "T,1,OVRLRESP,SD,INVESTIGATOR,2,WEEK 6,2020-02-12"
    (trial / "rs.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    result = evaluate(trial, out)
    assert (result.exit_code, "1 visits are in RS alone" in result.output) == (1, True)
    assert not out.exists()


def test_the_same_trial_as_parquet_gives_the_same_figures(trial: Path, tmp_path: Path) -> None:
    csv, parquet = tmp_path / "evaluation.csv", tmp_path / "evaluation.parquet"
    assert evaluate(trial, csv).exit_code == evaluate(trial, parquet).exit_code == 0
    names = ["question", "comparator", "statistic", "n", "reason"]
    first, second = pl.read_csv(csv, infer_schema_length=None), pl.read_parquet(parquet)
    assert first.select(names).rows() == second.select(names).rows()


def test_a_file_of_another_kind_is_refused_before_anything_is_read(
    trial: Path, tmp_path: Path
) -> None:
    result = evaluate(trial, tmp_path / "evaluation.xlsx")
    assert (result.exit_code, ".csv or .parquet" in result.output) == (1, True)


def test_a_folder_without_tumour_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = evaluate(tmp_path / "empty", tmp_path / "evaluation.csv")
    assert (result.exit_code, "TR or RS table" in result.output) == (1, True)


@pytest.mark.real_data
def test_of_several_evaluators_one_is_named(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    for name in ("tu", "tr", "rs"):
        source = shared_data / "response" / f"sdtm_{name}_recist.csv"
        shutil.copyfile(source, folder / f"{name}.csv")
    out = tmp_path / "evaluation.csv"
    result = evaluate(folder, out)
    assert (result.exit_code, "with --evaluator" in result.output) == (1, True)
    assert not out.exists()
    names = re.findall(r"'([^']+)'", result.output)
    assert len(names) > 1
    chosen = evaluate(folder, out, "--evaluator", names[0])
    assert chosen.exit_code == 0, chosen.output
    assert evaluate(folder, out, "--evaluator", "NOBODY").exit_code == 1
