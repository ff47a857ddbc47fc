"""`lakehouse grade` on files.

What is recognised by its columns, in which formats, and what is reported where nothing can be read.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from tests.domain.sdtm import rs, tr, tu


def frame(rows) -> pl.DataFrame:
    names = list(dict.fromkeys(name for r in rows for name in r.cells))
    return pl.DataFrame(
        [{n: r.cells.get(n) for n in names} for r in rows], schema=dict.fromkeys(names, pl.String)
    )


def delivered(folder: Path, suffix: str) -> Path:
    """A trial whose files have names that say nothing."""
    tables = {
        "a": tu("T01", "N01", new_at=2),
        "b": tr(T01=[50, 30, 30]),
        "c": [*rs(1, OVRLRESP="SD"), *rs(2, OVRLRESP="PD")],
    }
    for name, rows in tables.items():
        file, table = folder / f"{name}{suffix}", frame(rows)
        _ = (
            table.write_parquet(file)
            if suffix == ".parquet"
            else table.write_csv(file, separator=";" if name == "a" else ",")
        )
    (folder / "readme.csv").write_text("nothing,of,use\n1,2,3\n")
    return folder


def grade(folder: Path, out: Path) -> Result:
    return CliRunner().invoke(
        cli.main, ["--home", str(out.parent / "home"), "grade", str(folder), "--out", str(out)]
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_becomes_a_table_of_responses_and_one_of_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
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
    assert (
        differences[0] if suffix == ".csv" else differences[0][0]
    ) == "overall: recorded SD, by rule PR"
    assert read(tmp_path / f"graded.flags{suffix}").columns == [
        "rule",
        "place",
        "subject",
        "evaluator",
        "visit",
        "what",
    ]
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


def write_tr(folder: Path, organ: str, *, encoding: str = "utf-8", study: str = "X") -> Path:
    """A target that doubles within six weeks; the organ stands in a cell of the later row."""
    folder.mkdir(parents=True)
    rows = [
        ("SCREENING", "1", "2024-01-05", "30", "LUNG"),
        ("WEEK 6", "2", "2024-02-20", "60", organ),
    ]
    lines = [
        "STUDYID,USUBJID,TRTESTCD,TRLNKID,TRGRPID,VISIT,VISITNUM,TRDTC,TRSTRESC,TRSTRESU,TRLOC"
    ]
    lines += [
        f'{study},S1,LDIAM,T01,TARGET,{v},{n},{d},{mm},mm,"{where}"' for v, n, d, mm, where in rows
    ]
    (folder / "tr.csv").write_bytes("\r\n".join(lines).encode(encoding))
    return folder


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\n", "\r\n"])
def test_nothing_but_a_line_end_outside_quotes_ends_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    assert (
        grade(write_tr(tmp_path / "trial", f"LUNG{mark}RIGHT"), tmp_path / "graded.csv").exit_code
        == 0
    )
    assert pl.read_csv(tmp_path / "graded.csv").select("subject", "overall_response").rows() == [
        ("S1", "PD")
    ]


def test_a_row_with_an_open_quotation_mark_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    folder = write_tr(tmp_path / "trial", "LUNG")
    table = folder / "tr.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("LUNG", '"LUNG', 1), encoding="utf-8"
    )
    refused = grade(folder, tmp_path / "graded.csv")
    assert refused.exit_code
    assert "tr.csv row 2" in refused.output


def test_a_row_with_more_cells_than_the_header_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    table = write_tr(tmp_path / "trial", "LUNG") / "tr.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace('"LUNG"', "LUNG, LEFT", 1), encoding="utf-8"
    )
    refused = grade(tmp_path / "trial", tmp_path / "graded.csv")
    assert refused.exit_code
    assert "tr.csv row 2" in refused.output


def test_chinese_tables_in_gb18030_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    assert (
        grade(
            write_tr(tmp_path / "trial", "右肺上叶", encoding="gb18030"), tmp_path / "graded.csv"
        ).exit_code
        == 0
    )
    assert pl.read_csv(tmp_path / "graded.csv")["overall_response"].to_list() == ["PD"]


def test_two_trials_in_a_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    folder = write_tr(tmp_path / "trial", "LUNG")
    (write_tr(tmp_path / "other", "LUNG", study="Y") / "tr.csv").rename(folder / "tr2.csv")
    refused = grade(folder, tmp_path / "graded.csv")
    assert refused.exit_code == 1
    assert "2 trials" in refused.output


def test_a_blank_day_in_a_table_of_sums_costs_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    folder = tmp_path / "trial"
    folder.mkdir()
    rows = [
        ("P1", "1", "50"),
        ("P1", "", "10"),
        ("P1", "42.0", "30"),
        ("P2", "1", "50"),
        ("P2", "n. k.", "90"),
        ("P2", "42", "50"),
    ]
    lines = ["PATIENT,DAY,TARGET_LESION_LONG_DIAM_MM", *(",".join(row) for row in rows)]
    (folder / "sums.csv").write_text("\n".join(lines))
    assert grade(folder, tmp_path / "graded.csv").exit_code == 0
    assert pl.read_csv(tmp_path / "graded.csv").select("subject", "overall_response").rows() == [
        ("P1", "PR"),
        ("P2", "SD"),
    ]
    assert pl.read_csv(tmp_path / "graded.flags.csv")["place"].to_list() == [
        "sums.csv row 3",
        "sums.csv row 6",
    ]
