"""`lakehouse adam` on a small lake, read back by other programs.

They are pyreadstat, R with haven and a reader of Dataset-JSON.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from datetime import date
from pathlib import Path

import polars as pl
import pyreadstat
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from dagster_project.domain.adam import DATASETS
from dagster_project.domain.response.responses import derive_responses
from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.flow.adam import write_datasets
from dagster_project.flow.dataset_json import read_dataset_json
from dagster_project.flow.sas_transport import read_transport
from dagster_project.lake.home import Home
from dagster_project.resources import Lakehouse
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST
from tests.domain.records import MOMENT, cycles, follow_up, lesions, table, timepoints

NAMES = tuple(name.lower() for name in DATASETS)
PATIENTS = ("BJCH-A", "BJCH-B")


def of(frame: pl.DataFrame, patient: str) -> pl.DataFrame:
    return frame.with_columns(patient=pl.lit(patient))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two patients: a response and a new lesion; a stable disease and a death."""
    root = Home(tmp_path_factory.mktemp("adam") / "home").make().root
    found = pl.concat(
        [
            of(lesions(L1=[60.4, 40.1, 60], L2=[40, 20, 20], N1=[None, None, 12]), "BJCH-A"),
            of(lesions(L1=[33.28, 30, 31]), "BJCH-B"),
        ]
    )
    visits = pl.concat([timepoints("T0", "T1", "T2", patient=p) for p in PATIENTS])
    tables = {
        "patients": table(
            "patients", *({"patient": p, "age_years": 60, "regimen": "x"} for p in PATIENTS)
        ),
        "timepoints": visits,
        "lesions": found,
        "treatments": pl.concat([of(cycles(0, 21), p) for p in PATIENTS]),
        "follow_up": of(follow_up(("death", 300)), "BJCH-B"),
    }
    tables["responses"] = derive_responses(
        found, visits, evaluator="accepted", recist=RECIST, irecist=IRECIST
    ).with_columns(recorded_at=pl.lit(MOMENT))
    tables["time_to_event"] = derive_time_to_event(
        *(tables[n] for n in ("responses", "treatments", "follow_up", "patients", "timepoints")),
        ENDPOINTS,
    )
    lakehouse = Lakehouse(root=str(root))
    for name, frame in tables.items():
        lakehouse.lake.replace(name, frame)
    return root


def run(home: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli.main, ["--home", str(home), "adam", "--out", str(out), *arguments]
    )


@pytest.fixture(scope="module")
def written(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "adam"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_HOME", str(home))
        result = run(home, out)
    assert result.exit_code == 0, result.output
    assert "adsl: 2 records" in result.output
    return out


def cells(frame: pl.DataFrame) -> list[list[str]]:
    """A dataset as texts, as the readers of other trials' files give them."""

    def text(value: object) -> str:
        return (
            ""
            if value is None
            else value.isoformat()
            if isinstance(value, date)
            else f"{value:.15g}"
            if isinstance(value, float)
            else str(value)
        )

    return [[text(value) for value in row] for row in frame.iter_rows()]


@pytest.mark.parametrize("name", NAMES)
def test_a_transport_file_read_back_is_the_dataset_with_names_labels_and_dates(
    written: Path, name: str
) -> None:
    frame = pl.read_parquet(written / f"{name}.parquet")
    values, meta = pyreadstat.read_xport(written / f"{name}.xpt", output_format="polars")
    dataset = DATASETS[name.upper()]
    assert (meta.table_name, meta.file_label) == (dataset.name, dataset.label)
    assert meta.column_names == [v.name for v in dataset.variables] == frame.columns
    assert meta.column_labels == [v.label for v in dataset.variables]
    assert {n for n, kind in meta.original_variable_types.items() if kind == "DATE9"} == {
        v.name for v in dataset.variables if v.type == "date"
    }
    assert (
        values.select(pl.col(pl.Float64)).rows()
        == frame.select(pl.col(values.select(pl.col(pl.Float64)).columns).cast(pl.Float64)).rows()
    )
    (table_read,) = read_transport(written / f"{name}.xpt")
    assert [list(row) for _, row in table_read.rows] == cells(frame)


@pytest.mark.parametrize("name", NAMES)
def test_dataset_json_read_back_is_the_dataset(written: Path, name: str) -> None:
    frame, dataset = pl.read_parquet(written / f"{name}.parquet"), DATASETS[name.upper()]
    head = json.loads((written / f"{name}.json").read_text(encoding="utf-8"))
    assert list(head) == [
        "datasetJSONCreationDateTime",
        "datasetJSONVersion",
        "fileOID",
        "studyOID",
        "metaDataVersionOID",
        "itemGroupOID",
        "records",
        "name",
        "label",
        "columns",
        "rows",
    ], "the order that the standard recommends"
    assert (head["datasetJSONVersion"], head["records"], head["name"], head["label"]) == (
        "1.1.0",
        frame.height,
        dataset.name,
        dataset.label,
    )
    assert [(c["name"], c["label"]) for c in head["columns"]] == [
        (v.name, v.label) for v in dataset.variables
    ]
    assert [
        c["name"]
        for c in sorted(head["columns"], key=lambda c: c.get("keySequence", 99))
        if "keySequence" in c
    ] == list(dataset.keys)
    assert {c["dataType"] for c in head["columns"]} <= {"string", "integer", "float", "date"}
    read = read_dataset_json(written / f"{name}.json")
    assert read is not None
    assert [list(row) for _, row in read.rows] == cells(frame)


IN_R = """
library(haven)
for (name in commandArgs(TRUE)) {
  d <- read_xpt(name)
  for (v in names(d)) {
    values <- if (inherits(d[[v]], "Date")) format(d[[v]], "%Y-%m-%d") \
else if (is.numeric(d[[v]])) format(d[[v]], digits = 15, trim = TRUE) else d[[v]]
    if (is.numeric(d[[v]])) values <- sapply(d[[v]], function(x) \
if (is.na(x)) "" else format(x, digits = 15, trim = TRUE))
    values[is.na(values)] <- ""
    write.table(data.frame(basename(name), v, attr(d[[v]], "label"), class(d[[v]])[1], \
seq_along(values), values), sep = ",", col.names = FALSE, row.names = FALSE)
  }
}
"""


@pytest.fixture(scope="module")
def in_r(written: Path) -> dict[str, list[list[str]]]:
    """What R's haven reads of each file: name, label, class, row and value.

    Skipped where R or haven is missing (Debian: r-base-core, r-cran-haven).
    """
    if (
        shutil.which("Rscript") is None
        or subprocess.run(
            ["Rscript", "-e", "library(haven)"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("R with haven is not installed (Debian: r-base-core r-cran-haven)")
    script = written.parent / "read.R"
    script.write_text(IN_R, encoding="utf-8")
    files = [str(written / f"{name}.xpt") for name in NAMES]
    printed = subprocess.run(
        ["Rscript", str(script), *files], capture_output=True, check=True, text=True
    ).stdout
    found: dict[str, list[list[str]]] = {name: [] for name in NAMES}
    for file, *row in csv.reader(io.StringIO(printed)):
        found[Path(file).stem].append(row)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_r_with_haven_reads_what_was_written(
    written: Path, in_r: dict[str, list[list[str]]], name: str
) -> None:
    rows, frame, dataset = (
        in_r[name],
        pl.read_parquet(written / f"{name}.parquet"),
        DATASETS[name.upper()],
    )
    assert list(dict.fromkeys((r[0], r[1]) for r in rows)) == [
        (v.name, v.label) for v in dataset.variables
    ]
    kinds = {"text": "character", "date": "Date", "integer": "numeric", "float": "numeric"}
    assert {r[0]: r[2] for r in rows} == {v.name: kinds[v.type] for v in dataset.variables}
    for place, variable in enumerate(frame.columns):
        theirs, ours = (
            [r[4] for r in rows if r[0] == variable],
            [row[place] for row in cells(frame)],
        )
        numeric = dataset.variables[place].type in {"integer", "float"}
        assert (
            [float(t) if t else None for t in theirs]
            == pytest.approx([float(o) if o else None for o in ours])
            if numeric
            else theirs == ours
        )


def test_another_trial_would_not_be_graded_by_our_analysis_tables(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    result = CliRunner().invoke(
        cli.main,
        [
            "--home",
            str(tmp_path / "home"),
            "grade",
            str(written),
            "--out",
            str(tmp_path / "graded.csv"),
        ],
    )
    assert result.exit_code == 1
    assert "no file of this folder is an SDTM TR or RS table" in " ".join(result.output.split())


def test_times_that_another_protocol_gave_are_not_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
    protocol = (Path(cli.__file__).parent / "study.toml").read_text(encoding="utf-8")
    (tmp_path / "study.toml").write_text(
        protocol.replace("visit_interval_days = 63", "visit_interval_days = 400"), encoding="utf-8"
    )
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(tmp_path / "study.toml"))
    result = run(home, tmp_path / "adam")
    assert result.exit_code == 1
    assert "differs from what this protocol" in " ".join(result.output.split())
    assert not (tmp_path / "adam").exists()


def test_a_text_that_a_transport_file_would_cut_leaves_that_file_out(
    written: Path, tmp_path: Path
) -> None:
    datasets = {name: pl.read_parquet(written / f"{name.lower()}.parquet") for name in DATASETS}
    datasets["ADTR"] = datasets["ADTR"].with_columns(TULOC=pl.lit("肺" * 67))
    assert write_datasets(datasets, tmp_path, "X") == ["ADTR.TULOC"]
    names = {p.name for p in tmp_path.iterdir()}
    assert "adtr.xpt" not in names
    assert {"adtr.json", "adtr.parquet", "adsl.xpt"} <= names


def test_a_failure_while_writing_leaves_what_was_there(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = {name: pl.read_parquet(written / f"{name.lower()}.parquet") for name in DATASETS}
    (tmp_path / "adsl.csv").write_text("former")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyreadstat, "write_xport", full)
    with pytest.raises(OSError, match="No space"):
        write_datasets(datasets, tmp_path, "X")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"adsl.csv": "former"}
