"""Files: all of them, whole or not at all, and none left of a patient who is gone."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from dagster_project.reports import writing
from dagster_project.reports.figures import canvas
from dagster_project.reports.patient_reports import LesionPicture
from dagster_project.study import load_study
from tests.reports.cohort import MOMENT, whole

STUDY = load_study()
FEW = whole()["patients"].filter(site="EAST")["patient"].to_list()[:2]
OPEN = whole()["arbitrations"].filter(pl.col("status") == "open", site="EAST")["patient"][0]


def few(*patients):
    return {
        name: frame.filter(pl.col("patient").is_in(patients))
        if "patient" in frame.columns and name != "reader_agreement"
        else frame
        for name, frame in whole().items()
    }


@pytest.fixture(autouse=True)
def unpainted(monkeypatch):
    """The figures have tests of their own."""
    monkeypatch.setattr(canvas, "drawn", lambda *_, **__: b"<svg></svg>")


def write(folder, tables, **more):
    patients = writing.write_patient_reports(folder, tables, STUDY, 41, MOMENT, **more)
    return [writing.write_study_report(folder, tables, STUDY, 41, MOMENT), *patients]


def test_it_writes_report_index_and_a_page_a_patient(tmp_path):
    written = write(tmp_path, few(*FEW))
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "study_report.html",
        "index.html",
        *(f"patients/{who}.html" for who in sorted(FEW)),
    ]
    assert all(path.read_text(encoding="utf-8").startswith("<!doctype html>") for path in written)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


def test_the_page_of_a_patient_who_is_gone_goes_too(tmp_path):
    write(tmp_path, few(*FEW))
    write(tmp_path, few(FEW[0]))
    assert [path.name for path in (tmp_path / "patients").iterdir()] == [f"{FEW[0]}.html"]
    assert not any(FEW[1] in path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html"))


def test_a_page_from_split_tables_is_the_page_from_whole_ones(tmp_path):
    tables = few(*FEW)
    path = write(tmp_path, tables)[-1]
    visits = tables["timepoints"].filter(patient=path.stem).sort("day")["visit"].to_list()
    assert path.read_text(encoding="utf-8") == writing.render_patient_report(
        path.stem,
        tables,
        STUDY,
        snapshot=41,
        generated_at=MOMENT,
        boards=visits,
        digest=writing.digest_on(path),
    )


def test_a_page_of_which_nothing_changed_stays_as_it_is(tmp_path):
    tables = few(*FEW)
    before = {path: path.stat().st_mtime_ns for path in write(tmp_path, tables)}
    arbitrated = tables["outcomes"].with_columns(
        bor=pl.when(patient=FEW[0]).then(pl.lit("NE")).otherwise(pl.col("bor"))
    )
    write(tmp_path, {**tables, "outcomes": arbitrated})
    changed = [p.stem for p, moment in before.items() if p.stat().st_mtime_ns != moment]
    assert changed == ["study_report", "index", FEW[0]]


class OnDemand(dict):
    """Pictures that are made when they are asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def get(self, patient, _=None):
        self.asked.append(patient)
        return [LesionPicture("T0", "L1", b"\x89PNG")]


def test_pictures_that_may_not_be_shown_are_not_asked_for(tmp_path):
    slices = OnDemand()
    write(tmp_path, few(OPEN), slices=slices)
    assert slices.asked == []


def test_pictures_are_asked_for_one_patient_at_a_time(tmp_path):
    slices = OnDemand()
    assert "data:image/png;base64,iVBORw" in write(tmp_path, few(*FEW), slices=slices)[
        -1
    ].read_text(encoding="utf-8")
    assert slices.asked == sorted(FEW)


def test_a_pseudonym_that_cannot_name_a_file_stops_before_anything_is_written(tmp_path):
    tables = few(FEW[0])
    tables["patients"] = tables["patients"].with_columns(patient=pl.lit("../../escaped"))
    with pytest.raises(writing.UnusableName, match="site EAST") as error:
        write(tmp_path, tables)
    assert "escaped" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_study_report_that_shows_these_rows_of_this_snapshot_stays(tmp_path):
    tables = few(*FEW)
    later = MOMENT + dt.timedelta(days=1)
    path = writing.write_study_report(tmp_path, tables, STUDY, 41, MOMENT)
    first = path.read_bytes()
    writing.write_study_report(tmp_path, tables, STUDY, 41, later)
    assert path.read_bytes() == first
    for changed, snapshot in ((few(FEW[0]), 41), (tables, 42)):
        before = path.read_bytes()
        writing.write_study_report(tmp_path, changed, STUDY, snapshot, later)
        assert path.read_bytes() != before
