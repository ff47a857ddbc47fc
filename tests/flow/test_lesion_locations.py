"""From reads to places: what is asked of whom, and what each reader's page is made from."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.imaging.lung_registration import NO_FIT
from dagster_project.domain.reading.lesion_locations import FAR, FAR_REASON
from dagster_project.flow.lesion_locations import locate_lesions
from dagster_project.flow.lung_motions import ScanPair
from dagster_project.flow.reader_pages import list_works
from dagster_project.flow.reads import LEDGER, OPEN_READS
from dagster_project.flow.result_cache import REFUSED, write_cached
from dagster_project.lake.files import write_parquet_whole
from dagster_project.resources import Lakehouse
from tests.domain.records import table
from tests.flow.site import silent

SITE, VISITS = "BJCH", ("T0", "T1", "T2")
LOCKED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def read(patient, visit, reader, lesion, x=0.0, *, locked=True, size=12.0):
    return {
        "site": SITE,
        "patient": patient,
        "visit": visit,
        "scan": f"S{visit}",
        "reader": reader,
        "lesion": lesion,
        "role": "target",
        "is_present": True,
        "longest_diameter_mm": size,
        "centroid_x_mm": x,
        "centroid_y_mm": 0.0,
        "centroid_z_mm": 0.0,
        "mask_source": "NONE",
        "locked_at": LOCKED if locked else None,
    }


class Home:
    """A lake of one hospital whose lungs are registered already: they did not move."""

    def __init__(self, root: Path) -> None:
        self.lakehouse = Lakehouse(root=str(root))

    def patient(self, name: str, *rows: dict, refused: str | None = None) -> None:
        folder = self.lakehouse.home.vault / SITE / name
        for visit in VISITS:
            (folder / f"S{visit}").mkdir(parents=True)
        still = {"correlation": 0.99, "shared": 0.9, "size": [400, 400, 400]}
        affine = np.eye(4)
        affine[:3, 3] = -200.0
        still |= {"matrix": np.eye(4).tolist(), "affine": affine.tolist()}
        for k, later in enumerate(VISITS):
            for earlier in VISITS[:k]:
                pair = ScanPair(folder / f"S{earlier}", folder / f"S{later}")
                write_cached(pair.file, {REFUSED: refused} if refused else still)
        reads = table("reads", *rows).drop("input_fingerprint")
        waiting = pl.col("locked_at").is_null()
        for file, own in ((LEDGER, reads.filter(~waiting)), (OPEN_READS, reads.filter(waiting))):
            if own.height:
                write_parquet_whole(folder / file, own)

    def lake(self, *rows: dict, patients: tuple[str, ...]) -> None:
        visits = [
            {
                "site": SITE,
                "patient": patient,
                "visit": visit,
                "scan": f"S{visit}",
                "scan_date": dt.date(2024, 1 + 2 * k, 1),
                "day": 60 * k,
            }
            for patient in patients
            for k, visit in enumerate(VISITS)
        ]
        self.lakehouse.lake.replace("timepoints", table("timepoints", *visits), site=SITE)
        self.lakehouse.lake.replace("reads", table("reads", *rows), site=SITE)

    def works(self) -> dict:
        return {work.reader: work for work in list_works(self.lakehouse, SITE)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    monkeypatch.setattr("dagster_project.flow.reader_pages._picture", lambda *_: b"png")
    return Home(tmp_path / "home")


def test_an_outline_far_from_its_place_is_a_question_in_the_quarantine(home: Home) -> None:
    rows = [read("P1", "T0", "R1", "L1"), read("P1", "T1", "R1", "L1", x=45.0)]
    home.patient("P1", *rows)
    home.lake(*rows, patients=("P1",))
    done = locate_lesions(home.lakehouse, SITE, silent)
    flags = dict(done.rows.select("visit", "flags").iter_rows())
    assert flags == {"T1": [FAR], "T2": []}
    assert (done.counts["far"], done.counts["registered"]) == (1, 0)
    (question,) = home.lakehouse.refusals().to_dicts()
    assert (question["stage"], question["reason"]) == ("lesion_locations", FAR_REASON)
    (far,) = home.works()["R1"].far
    assert (far["visit"], far["distance_mm"]) == ("T1", 45.0)


def test_lungs_that_do_not_fit_give_the_reason(home: Home) -> None:
    rows = [read("P1", "T0", "R1", "L1")]
    home.patient("P1", *rows, refused=NO_FIT)
    home.lake(*rows, patients=("P1",))
    done = locate_lesions(home.lakehouse, SITE, silent)
    assert set(done.rows["reason"]) == {NO_FIT}
    assert done.rows["x_mm"].null_count() == done.rows.height


def test_a_worklist_is_made_from_the_readers_own_reads_alone(home: Home) -> None:
    """R2's lesions, visits and labels change nothing on what R1 has."""
    own = [read("P1", "T0", "R1", "mass"), read("P1", "T1", "R1", "other", locked=False)]
    others = [read("P1", visit, "R2", f"L{k}") for visit in VISITS for k in range(4)]
    home.patient("P1", *own, *others)
    home.lake(patients=("P1",))
    work = home.works()["R1"]
    assert [(s.visit, s.status) for s in work.scans] == [("T1", "open"), ("T2", "to_read")]
    assert [[one.row["lesion"] for one in s.lesions] for s in work.scans] == [
        ["mass"],
        ["mass", "other"],
    ]
    assert [q.about for q in work.scans[0].questions] == ["mass"]
    assert work.locked == 1
    assert home.works()["R2"].scans == []


def test_a_patient_whom_two_others_have_read_is_on_no_third_worklist(home: Home) -> None:
    home.patient("P1", read("P1", "T0", "R1", "L1"), read("P1", "T0", "R2", "L1"))
    home.patient("P2", read("P2", "T0", "R3", "L1"))
    home.lake(patients=("P1", "P2"))
    seen = {reader: {s.patient for s in work.scans} for reader, work in home.works().items()}
    assert seen == {"R1": {"P1", "P2"}, "R2": {"P1", "P2"}, "R3": {"P2"}}


def test_reads_that_wait_have_no_row_in_the_table(home: Home) -> None:
    rows = [read("P1", "T0", "R1", "L1"), read("P1", "T1", "R1", "L1", locked=False)]
    home.patient("P1", *rows)
    home.lake(patients=("P1",))
    assert locate_lesions(home.lakehouse, SITE, silent).rows.height == 0
