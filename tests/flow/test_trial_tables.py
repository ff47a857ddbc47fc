"""`lakehouse grade` on files: what is known by its columns, in which formats, and what is said where nothing can be read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from tests.domain.sdtm import rs, tr, tu


def frame(rows) -> pl.DataFrame:
    names = list(dict.fromkeys(name for r in rows for name in r.cells))
    return pl.DataFrame([{n: r.cells.get(n) for n in names} for r in rows], schema=dict.fromkeys(names, pl.String))


def delivered(folder: Path, suffix: str) -> Path:
    """A trial whose files have names that say nothing."""
    tables = {"a": tu("T01", "N01", new_at=2), "b": tr(T01=[50, 30, 30]), "c": [*rs(1, OVRLRESP="SD"), *rs(2, OVRLRESP="PD")]}
    for name, rows in tables.items():
        file, table = folder / f"{name}{suffix}", frame(rows)
        _ = table.write_parquet(file) if suffix == ".parquet" else table.write_csv(file, separator=";" if name == "a" else ",")
    (folder / "readme.csv").write_text("nothing,of,use\n1,2,3\n")
    return folder


def grade(folder: Path, out: Path) -> Result:
    return CliRunner().invoke(cli.main, ["--home", str(out.parent / "home"), "grade", str(folder), "--out", str(out)])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_becomes_a_table_of_responses_and_one_of_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    folder = tmp_path / "trial"
    folder.mkdir()
    result = grade(delivered(folder, suffix), tmp_path / f"graded{suffix}")
    assert result.exit_code == 0, result.output
    read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
    graded = read(tmp_path / f"graded{suffix}")
    assert graded["overall_response"].to_list() == ["PR", "PD"]
    assert graded["irecist_response"].to_list() == ["iPR", "iUPD"]
    assert "new lesion N01 unequivocal" in graded["rule"][1]
    differences = graded["differences"].to_list()
    assert (differences[0] if suffix == ".csv" else differences[0][0]) == "overall: recorded SD, by rule PR"
    assert read(tmp_path / f"graded.flags{suffix}").columns == ["rule", "place", "subject", "evaluator", "visit", "what"]
    assert "2 visits of 1 subjects graded, 1 differ" in result.output


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    folder = tmp_path / "trial"
    folder.mkdir()
    empty = grade(folder, tmp_path / "graded.csv")
    assert empty.exit_code == 1
    assert "TRTESTCD or RSTESTCD" in empty.output
    (folder / "tr.parquet").write_bytes(b"no parquet")
    broken = grade(folder, tmp_path / "graded.csv")
    assert broken.exit_code == 1
    assert "tr.parquet cannot be read" in broken.output
    assert "must end in .csv or .parquet" in grade(folder, tmp_path / "graded.xlsx").output
