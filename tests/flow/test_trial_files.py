"""Another trial's tables in the formats that trial offices send.

SAS transport files and Dataset-JSON beside CSV; and what is damaged or beside them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pyreadstat
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from dagster_project.domain.external_trials.trial_rows import TrialRow
from dagster_project.flow.sas_transport import CPORT, CUT, read_transport
from dagster_project.flow.trial_files import UnreadableFileError
from tests.domain.sdtm import rs, tr, tu

TABLES = {
    "tu": tu("T01", "P01", "N01", new_at=2),
    "tr": tr(T01=[50, 33.28, 30], P01=["PRESENT", "PRESENT", "PRESENT"]),
    "rs": [*rs(1, OVRLRESP="PR"), *rs(2, OVRLRESP="PD")],
    "dm": [TrialRow("dm", 2, {"STUDYID": "X", "USUBJID": "S1", "DTHDTC": ""})],
}
"""A response, then a new lesion."""

GRADED = ["PR", "PD"]
NUMBERS = frozenset({"VISITNUM", "TRSTRESN"})
"""Columns that SAS stores as numbers."""


def frame(rows: Sequence[TrialRow]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for r in rows for name in r.cells))
    table = pl.DataFrame(
        [{n: r.cells.get(n, "") for n in names} for r in rows],
        schema=dict.fromkeys(names, pl.String),
    )
    return table.with_columns(
        pl.col(n).cast(pl.Float64, strict=False) for n in names if n in NUMBERS
    )


def transport(rows: Sequence[TrialRow], path: Path, version: int = 5, name: str = "") -> Path:
    pyreadstat.write_xport(
        frame(rows), path, table_name=name or path.stem.upper(), file_format_version=version
    )
    return path


def dataset_json(rows: Sequence[TrialRow], path: Path, version: str = "1.1.0") -> Path:
    table = frame(rows)
    head = {
        "datasetJSONCreationDateTime": "2026-01-01T00:00:00",
        "datasetJSONVersion": version,
        "itemGroupOID": "IG.X",
        "records": table.height,
        "name": path.stem.upper(),
        "label": "",
        "columns": [
            {
                "itemOID": f"IT.{n}",
                "name": n,
                "label": n,
                "dataType": "double" if n in NUMBERS else "string",
            }
            for n in table.columns
        ],
    }
    if path.suffix == ".json":
        path.write_text(
            json.dumps({**head, "rows": [list(r) for r in table.iter_rows()]}), encoding="utf-8"
        )
        return path
    lines = "\n".join(json.dumps(part) for part in (head, *map(list, table.iter_rows())))
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".dsjc" else lines.encode())
    return path


WRITERS: dict[str, Callable[[Sequence[TrialRow], Path], Path]] = {
    "csv": lambda rows, path: (frame(rows).write_csv(path), path)[1],
    "xpt": transport,
    "version 8.xpt": lambda rows, path: transport(rows, path, version=8),
    "json": dataset_json,
    "ndjson": dataset_json,
    "dsjc": dataset_json,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    (tmp_path / "trial").mkdir()
    return tmp_path / "trial"


def write(folder: Path, kind: str = "xpt", names: Sequence[str] = tuple(TABLES)) -> Path:
    for name in names:
        WRITERS[kind](TABLES[name], folder / f"{name}.{kind.rsplit('.', maxsplit=1)[-1]}")
    return folder


def grade(folder: Path) -> Result:
    return CliRunner().invoke(
        cli.main,
        [
            "--home",
            str(folder.parent / "home"),
            "grade",
            str(folder),
            "--out",
            str(folder.parent / "graded.csv"),
        ],
    )


def graded(folder: Path) -> pl.DataFrame:
    result = grade(folder)
    assert result.exit_code == 0, result.output
    return pl.read_csv(folder.parent / "graded.csv")


def flags(folder: Path) -> list[tuple[str, str]]:
    return (
        pl.read_csv(
            folder.parent / "graded.flags.csv",
            schema_overrides={"rule": pl.String, "place": pl.String},
        )
        .select("rule", "place")
        .rows()
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_gives_the_same_grade(folder: Path, kind: str) -> None:
    found = graded(write(folder, kind))
    assert found["overall_response"].to_list() == GRADED
    assert found["sum_mm"].to_list() == [33.28, 30.0]
    assert found["differences"].to_list() == ["", ""]
    assert flags(folder) == []


def test_formats_may_be_mixed_and_the_same_table_twice_counts_once(folder: Path) -> None:
    write(write(write(folder, "csv", ["tr"]), "json", ["tu", "dm"]), "xpt", ["rs"])
    dataset_json(TABLES["tu"], folder / "tu_again.ndjson")
    assert graded(folder)["overall_response"].to_list() == GRADED
    assert flags(folder) == [("file_not_read", "tu_again.ndjson")]


def test_several_data_sets_in_one_transport_file_are_all_read(folder: Path) -> None:
    members = [
        transport(TABLES[name], folder.parent / f"{name}.xpt").read_bytes() for name in TABLES
    ]
    (folder / "all.xpt").write_bytes(members[0] + b"".join(m[240:] for m in members[1:]))
    assert [t.name for t in read_transport(folder / "all.xpt")] == [
        "all.xpt TU",
        "all.xpt TR",
        "all.xpt RS",
        "all.xpt DM",
    ]
    assert graded(folder)["overall_response"].to_list() == GRADED


@pytest.mark.parametrize(
    ("encoding", "organ"),
    [("utf-8", "右肺上叶"), ("gb18030", "右肺上叶"), ("cp1252", "à vérifier – 5 µm")],
)
def test_texts_of_a_transport_file_in_any_encoding(folder: Path, encoding: str, organ: str) -> None:
    rows = [TrialRow(r.file, r.number, {**r.cells, "TRLOC": organ}) for r in TABLES["tr"]]
    path = transport(rows, folder / "tr.xpt")
    stored = organ.encode()
    path.write_bytes(path.read_bytes().replace(stored, organ.encode(encoding).ljust(len(stored))))
    (table,) = read_transport(path)
    assert {row[table.columns.index("TRLOC")] for _, row in table.rows} == {organ}


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_text_that_was_cut_within_a_character_spoils_no_other(
    folder: Path, encoding: str
) -> None:
    rows = [
        TrialRow(r.file, r.number, {**r.cells, "TRLOC": "右肺上叶" if r.number > 3 else "右肺AB"})
        for r in TABLES["tr"]
    ]
    path = transport(rows, folder / "tr.xpt")
    data, whole = (
        path.read_bytes().replace("右肺AB".encode(), "右肺AB".encode(encoding).ljust(8)),
        "右肺上叶".encode(),
    )
    path.write_bytes(data.replace(whole, "右肺上叶".encode(encoding)[:-1].ljust(len(whole))))
    (table,) = read_transport(path)
    assert {row[table.columns.index("TRLOC")] for _, row in table.rows} == {"右肺AB", "右肺上"}


def test_special_missing_values_are_empty_and_padding_with_zeros_is_no_row(folder: Path) -> None:
    pyreadstat.write_xport(
        pl.DataFrame({"A": ["x", "y", "z"], "N": [1.0, None, 0.0]}),
        folder / "a.xpt",
        file_format_version=5,
    )
    data = (folder / "a.xpt").read_bytes()
    padded = data.rstrip(b" ")
    for missing in (b".", b"A", b"Z", b"_"):
        for padding in (b" ", b"\0"):
            changed = padded.replace(b"." + bytes(7), missing + bytes(7)) + padding * (
                len(data) - len(padded)
            )
            (folder / "b.xpt").write_bytes(changed)
            (table,) = read_transport(folder / "b.xpt")
            assert [row for _, row in table.rows] == [("x", "1"), ("y", ""), ("z", "0")]


# -- what is damaged
# --------------------------------------------------------------------------------------------------


def cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize("at", [40, 400, 1000, -80, -90, -1])
def test_a_transport_file_that_is_cut_off_is_refused_not_read_short(folder: Path, at: int) -> None:
    path = transport(TABLES["tr"], folder / "tr.xpt")
    cut(path, at)
    with pytest.raises(UnreadableFileError, match=CUT):
        read_transport(path)


def test_fewer_rows_than_version_8_states_are_a_cut(folder: Path) -> None:
    path = transport(TABLES["tr"], folder / "tr.xpt", version=8)
    data = path.read_bytes()
    place = data.index(b"OBSV8   ") + 28
    path.write_bytes(data[:place] + b"999".rjust(15) + data[place + 15 :])
    with pytest.raises(UnreadableFileError, match=CUT):
        read_transport(path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"**COMPRESSED** **COMPRESSED** " * 20, CPORT),
        (b"HEADER RECORD*******LIBV9   HEADER RECORD!!!!!!!".ljust(800), "version 5 or 8"),
        (b"PK\x03\x04 a workbook", "version 5 or 8"),
        (b"", "version 5 or 8"),
    ],
)
def test_another_version_of_a_transport_file_is_refused_by_name(
    folder: Path, data: bytes, why: str
) -> None:
    write(folder, "csv", ["tu", "rs"])
    (folder / "tr.xpt").write_bytes(data)
    result = grade(folder)
    assert result.exit_code == 1
    assert "tr.xpt" in result.output
    assert why.split(";", maxsplit=1)[0] in " ".join(result.output.split())


@pytest.mark.parametrize("name", ["tu", "tr"])
@pytest.mark.parametrize("kind", ["xpt", "ndjson", "json", "dsjc"])
def test_without_a_table_that_a_response_needs_nothing_is_graded_and_nothing_written(
    folder: Path, name: str, kind: str
) -> None:
    write(folder, kind)
    before = folder.parent / "graded.csv"
    before.write_text("the former result")
    cut(folder / f"{name}.{kind}", -90 if kind != "dsjc" else -20)
    result = grade(folder)
    assert result.exit_code == 1
    assert f"{name}.{kind} is cut off" in result.output
    assert before.read_text() == "the former result"
    assert {p.name for p in folder.parent.iterdir()} <= {"trial", "home", "graded.csv"}


@pytest.mark.parametrize("kind", ["xpt", "ndjson", "json"])
def test_a_damaged_table_that_no_response_needs_is_named_and_the_rest_is_graded(
    folder: Path, kind: str
) -> None:
    write(folder, kind)
    cut(folder / f"rs.{kind}", -90)
    found = graded(folder)
    assert found["overall_response"].to_list() == GRADED
    assert found["recorded_overall"].to_list() == [None, None]
    assert flags(folder) == [("file_unreadable", f"rs.{kind}")]


def test_a_file_that_might_have_been_the_lesions_is_not_passed_by(folder: Path) -> None:
    write(folder, "xpt", ["tr", "rs"])
    (folder / "b.xpt").write_bytes(b"HEADER RECORD*******LIBRARY ")
    assert grade(folder).exit_code == 1


def test_of_several_data_sets_in_a_file_the_damaged_one_alone_is_left_out(folder: Path) -> None:
    members = [
        transport(TABLES[name], folder.parent / f"{name}.xpt").read_bytes()
        for name in ("tu", "tr", "rs")
    ]
    (folder / "all.xpt").write_bytes(members[0] + b"".join(m[240:] for m in members[1:])[:-90])
    found = graded(folder)
    assert found["overall_response"].to_list() == GRADED
    assert flags(folder) == [("file_unreadable", "all.xpt RS")]


def test_of_a_table_that_is_no_source_the_header_alone_is_read(folder: Path) -> None:
    write(folder)
    transport([TrialRow("", 2, {"USUBJID": "S1", "LBTESTCD": "ALT"})], folder / "lb.xpt")
    cut(folder / "lb.xpt", -90)
    assert graded(folder)["overall_response"].to_list() == GRADED
    assert flags(folder) == [("file_not_read", "lb.xpt")]


def test_json_of_another_kind_is_no_data_set_even_where_it_is_damaged(folder: Path) -> None:
    write(folder, "xpt", ["tr", "rs"])
    (folder / "notes.json").write_text('{"a": ')
    (folder / "deep.json").write_text("[" * 100_000)
    graded(folder)
    assert flags(folder)[:2] == [("file_not_read", "deep.json"), ("file_not_read", "notes.json")]


def test_lesions_in_a_format_that_is_not_read_are_asked_for(folder: Path) -> None:
    write(folder, "xpt", ["tr", "rs"])
    (folder / "TU.sas7bdat").write_bytes(b"\0")
    result = grade(folder)
    assert result.exit_code == 1
    assert "TU.sas7bdat is in a format that is not read" in " ".join(result.output.split())
    write(folder, "xpt", ["tu"])
    assert graded(folder)["overall_response"].to_list() == GRADED
    assert flags(folder) == [("file_unreadable", "TU.sas7bdat")]


def test_dataset_json_of_version_1_0_is_refused_by_name(folder: Path) -> None:
    write(folder, "xpt", ["tu", "rs"])
    dataset_json(TABLES["tr"], folder / "tr.json", version="1.0.0")
    result = grade(folder)
    assert result.exit_code == 1
    assert "another version than 1.1" in result.output


# -- what lies beside
# --------------------------------------------------------------------------------------------------


def test_what_lies_beside_is_named_and_not_read(folder: Path) -> None:
    write(folder)
    (folder / "define.xml").write_text("<ODM/>")
    (folder / "package.json").write_text("{}")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "archive").mkdir()
    transport(
        [TrialRow("", 2, {"USUBJID": "S1", "RDOMAIN": "TR", "QNAM": "X"})], folder / "supptr.xpt"
    )
    transport(
        [
            TrialRow(
                "",
                2,
                {"USUBJID": "S1", "PARAMCD": "LDIAM1", "TRTESTCD": "LDIAM", "TRSTRESN": "900"},
            )
        ],
        folder / "adtr.xpt",
    )
    found = graded(folder)
    assert found["overall_response"].to_list() == GRADED
    assert {place for rule, place in flags(folder) if rule == "file_not_read"} == {
        "define.xml",
        "package.json",
        "archive",
        "supptr.xpt",
        "adtr.xpt",
    }
    printed = grade(folder).output
    assert "ADaM" in printed
    assert "2 visits of 1 subjects graded, 0 differ" in printed


def test_a_rule_is_shown_with_its_places_and_no_value(folder: Path) -> None:
    write(folder, "csv", ["tu", "rs"])
    frame(
        [
            TrialRow(
                r.file,
                r.number,
                {**r.cells, "TRSTRESN": "-4711"} if r.number in {4, 6} else r.cells,
            )
            for r in tr(T01=[50, 33.28, 30, 30], T02=[20, 20, 20, 20])
        ]
    ).write_csv(folder / "tr.csv")
    printed = " ".join(grade(folder).output.split())
    assert "negative_diameter 2: tr.csv row 4, tr.csv row 6" in printed
    assert "4711" not in printed
    assert "S1" not in printed


def test_a_visit_that_is_in_rs_alone_is_not_counted_as_graded(folder: Path) -> None:
    write(folder, "csv", ["tu", "tr"])
    frame([*TABLES["rs"], *rs(3, OVRLRESP="PD")]).write_csv(folder / "rs.csv")
    assert (
        "2 visits of 1 subjects graded, 1 recorded in RS alone and not graded, 0 differ"
        in grade(folder).output
    )


def test_two_trials_are_named_by_their_files(folder: Path) -> None:
    write(folder)
    frame([TrialRow("", 2, {**TABLES["tr"][0].cells, "STUDYID": "Y"})]).write_csv(
        folder / "tr_other.csv"
    )
    result = grade(folder)
    assert result.exit_code == 1
    assert "2 trials in STUDYID" in result.output
    assert "tr_other.csv" in result.output
    assert not (folder.parent / "graded.csv").exists()
