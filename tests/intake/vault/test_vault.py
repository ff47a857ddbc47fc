"""A landing becomes a vault once and whole, whatever happens in between.

Nothing in the landing changes.
"""

import contextlib
import datetime as dt
import fcntl
import gzip
import json
import os
import shutil
import sqlite3
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import polars as pl
import pydicom
import pytest

from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.vault import vault, vault_placement
from dagster_project.intake.vault.landing import locate_refused
from dagster_project.intake.vault.manifest import audit_manifest, verify_manifest
from dagster_project.intake.vault.process_file import CONSENT_CONTRADICTORY, scan_name, take_file
from dagster_project.intake.vault.sandbox import Batch
from dagster_project.intake.vault.vault import IntakeError, Reception, remove_patient, take_in
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE
from tests.intake.builders import (
    ROOT,
    ct,
    image,
    rtstruct,
    seg,
    seg_mask,
    to_bytes,
    write_mask,
    write_series,
)

PATIENTS = "patient_id,sex,birth_date,stage,consent\n"


def in_this_process(session, tasks):
    """What a child does, without one: the tests of reading.py are about the child."""
    from collections import Counter

    outcomes = [take_file(session, task) for task in tasks]
    return Batch(tuple(outcomes), sum((Counter(o.actions) for o in outcomes), Counter()))


class Site:
    """One site's landing and vault."""

    def __init__(self, root):
        self.landing, self.vault, self.crosswalk = (
            root / "landing" / "AB",
            root / "vault" / "AB",
            root / "crosswalk",
        )
        self.keys = unlock(create_throwaway_medium(root / "keys"))
        self.landing.mkdir(parents=True)

    def take(self, **changes):
        return take_in(
            self.landing, self.vault, keys=self.keys, crosswalk=self.crosswalk, **changes
        )

    def put(self, name, content):
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content
            if isinstance(content, bytes)
            else to_bytes(content)
            if isinstance(content, pydicom.Dataset)
            else content.encode()
        )
        return path

    def patient(self, number="ZY0012345"):
        return Crosswalk(self.crosswalk, self.keys).find("AB", number)

    def files(self):
        return sorted(
            str(p.relative_to(self.vault))
            for p in self.vault.rglob("*")
            if p.is_file() and p.suffix in {".dcm", ".gz"}
        )

    def refused(self):
        return {
            row["item"]: row["reason"]
            for row in pl.read_parquet(self.vault / "refused.parquet").to_dicts()
        }

    def uid(self, uid):
        return keyed_uid(uid, self.keys.uid)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(vault, "take_files", in_this_process)
    return Site(tmp_path)


@pytest.fixture
def full(site):
    """Three slices, a structure set under dicom/, one per reader, a mask, and a case report."""
    write_series(site.landing / "dicom" / "Murong" / "CT")
    site.put("dicom/Murong/RS.dcm", rtstruct())
    site.put("reads/R1/RS.dcm", rtstruct(instance=f"{ROOT}.5.2"))
    site.put("reads/R2/SEG.dcm", seg())
    write_mask(site.landing / "reads" / "R2" / f"{ROOT}.2__L1.nii.gz", np.ones((2, 3, 4), np.uint8))
    site.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,IIIB,given\n")
    return site


def test_a_landing_becomes_the_vault_of_the_contract(full):
    report = full.take()
    patient, series = full.patient(), full.uid(f"{ROOT}.2")
    assert (report.accepted, report.refused, report.patients, report.rows["patients"]) == (
        7,
        0,
        1,
        1,
    )
    assert full.files() == sorted(
        [
            *(f"{patient}/{scan_name(series)}/{n:04d}.dcm" for n in (1, 2, 3)),
            f"{patient}/contours/SITE/{full.uid(f'{ROOT}.5.1')}.dcm",
            f"{patient}/contours/R1/{full.uid(f'{ROOT}.5.2')}.dcm",
            f"{patient}/contours/R2/{full.uid(f'{ROOT}.6.1')}.dcm",
            f"{patient}/contours/R2/{series}__L1.nii.gz",
        ]
    )
    assert {p.name for p in (full.vault / "case_report").iterdir()} == {
        f"{n}.parquet"
        for n in (
            "patients",
            "treatments",
            "follow_up",
            "lesions",
            "locks",
            "arbitrations",
            "board_decisions",
            "reconciliation",
            "clock",
            "clinical_status",
        )
    }
    assert sorted(p.name for p in (full.vault / ".incoming").iterdir()) == []


def test_the_day_of_the_run_stands_beside_each_patient_shifted_as_the_dates(full, monkeypatch):
    full.put("clinical/follow_up.csv", "patient_id,date,event\nZY0012345,2026-01-10,alive\n")
    for day in (dt.date(2026, 1, 12), dt.date(2026, 1, 13)):
        monkeypatch.setattr(vault, "cut_off_of", lambda *_, day=day: day)
        full.take()
        folder = full.vault / "case_report"
        (clock,) = pl.read_parquet(folder / "clock.parquet").to_dicts()
        (event,) = pl.read_parquet(folder / "follow_up.parquet").to_dicts()
        assert (clock["site"], clock["patient"]) == ("AB", full.patient())
        assert clock["as_of_date"] - event["event_date"] == day - dt.date(2026, 1, 10)


def test_who_withdraws_leaves_the_clock(full):
    full.take()
    patient = full.patient()
    remove_patient(full.vault, patient, crosswalk=full.crosswalk)
    assert pl.read_parquet(full.vault / "case_report" / "clock.parquet").is_empty()


def test_nothing_of_the_patient_stands_anywhere_in_the_vault(full):
    full.take()
    for path in full.vault.rglob("*"):
        assert "Murong" not in str(path.relative_to(full.vault))
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            assert not any(
                secret in data
                for secret in (
                    b"Murong",
                    b"murong",
                    b"0012345",
                    b"19490511",
                    b"1949-05-11",
                    b"Ouyang",
                    ROOT.encode(),
                )
            ), path.name


def test_only_the_owner_may_read(full):
    full.take()
    for path in (full.vault, *full.vault.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path.name


def test_the_landing_is_not_touched(full):
    before = {
        p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in full.landing.rglob("*")
    }
    full.take()
    assert {
        p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in full.landing.rglob("*")
    } == before


def test_the_manifest_tells_every_file_and_every_action_and_is_whole(full):
    report = full.take()
    lines = [json.loads(line) for line in (full.vault / "manifest.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["accepted"] * 7 + ["run"]
    assert lines[-1]["actions"]["pixels"] == {"7FE00010": 4}
    assert (
        lines[-1]["actions"]["dropped"]["00080050"]
        if "00080050" in lines[-1]["actions"]["dropped"]
        else lines[-1]["actions"]["empty"]["00080050"] == 6
    )
    assert audit_manifest(full.vault / "manifest.jsonl") is None
    assert lines[-1]["hash"] == report.manifest_head


# ── again ──


def test_a_second_run_reads_nothing(full, monkeypatch):
    first = full.take()
    before = {
        p: p.stat().st_mtime_ns for p in full.vault.rglob("*") if p.name.endswith((".dcm", ".gz"))
    }
    monkeypatch.setattr(vault, "take_files", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(vault, "read_people", lambda *_: pytest.fail("the case report was read"))
    second = full.take()
    assert (second.accepted, second.reused, second.refused, second.rows) == (0, 7, 0, first.rows)
    assert second.manifest_head == first.manifest_head
    assert {
        p: p.stat().st_mtime_ns for p in full.vault.rglob("*") if p.name.endswith((".dcm", ".gz"))
    } == before


def test_one_new_slice_is_one_file_of_work(full):
    full.take()
    full.put("dicom/new", ct(7))
    seen = []
    report = full.take(progress=lambda done, total: seen.append((done, total)))
    assert (report.accepted, report.reused, seen) == (1, 7, [(1, 1)])
    assert (
        len(list((full.vault / full.patient() / scan_name(full.uid(f"{ROOT}.2"))).iterdir())) == 4
    )


def test_touched_files_are_looked_at_and_not_taken_twice(full):
    full.take()
    for path in full.landing.rglob("*.dcm"):
        os.utime(path, (1, 1))
    report = full.take()
    assert (report.accepted, report.duplicates, report.reused) == (0, 0, 7)


def test_a_file_sent_twice_is_a_duplicate_whatever_its_name_and_encoding(full):
    full.take()
    shutil.copy(full.landing / "dicom/Murong/CT/Murong_0.dcm", full.landing / "dicom/again")
    reexported = pydicom.dcmread(full.landing / "dicom/Murong/CT/Murong_1.dcm")
    reexported.StudyDescription, reexported.ImagePositionPatient = (
        "exported again",
        ["-10.50", "-20.250", "1.0"],
    )
    full.put("dicom/again2", reexported)
    report = full.take()
    assert (report.accepted, report.duplicates, report.refused) == (0, 2, 0)
    assert len([f for f in full.files() if "contours" not in f]) == 3


def test_two_lesions_with_the_same_voxels_are_two_masks(full):
    for lesion in ("L2", "L3"):
        write_mask(
            full.landing / "reads" / "R2" / f"{ROOT}.2__{lesion}.nii.gz",
            np.ones((2, 3, 4), np.uint8),
        )
    assert (full.take().accepted, len([f for f in full.files() if f.endswith(".nii.gz")])) == (9, 3)


def test_one_identity_with_other_content_is_refused(full):
    full.take()
    full.put("dicom/other", ct(0, pixels=image(5)))
    full.put("reads/R1/other.dcm", rtstruct(instance=f"{ROOT}.5.2", size=9.0))
    report = full.take()
    assert (report.accepted, report.refused) == (0, 2)
    assert all("other content" in reason for reason in full.refused().values())
    kept = full.vault / full.patient() / scan_name(full.uid(f"{ROOT}.2")) / "0001.dcm"
    assert np.array_equal(pydicom.dcmread(kept).pixel_array, image(0))


def test_a_series_or_a_contour_of_another_patient_is_refused(full):
    full.take()
    full.put("dicom/mixed", ct(8, patient="ZY9999999"))
    full.put("reads/R1/mixed.dcm", rtstruct(patient="ZY9999999", instance=f"{ROOT}.5.9"))
    full.take()
    assert sorted(reason.partition(";")[0] for reason in full.refused().values()) == [
        "it refers to a CT series of another patient number",
        "its series belongs to another patient number",
    ]


def test_a_reader_who_corrects_a_contour_in_its_place_has_one(full):
    full.take()
    full.put("reads/R1/RS.dcm", rtstruct(instance=f"{ROOT}.5.3", size=7.0))
    write_mask(
        full.landing / "reads" / "R2" / f"{ROOT}.2__L1.nii.gz", np.array([[[0, 1]]], np.uint8)
    )
    report = full.take()
    assert (report.accepted, report.superseded, report.refused) == (2, 2, 0)
    contours = [f for f in full.files() if "/contours/R" in f]
    assert len(contours) == 3
    assert any(full.uid(f"{ROOT}.5.3") in f for f in contours)
    assert not any(full.uid(f"{ROOT}.5.2") in f for f in contours)


def test_a_correction_that_is_damaged_leaves_what_was_there_until_it_is_mended(full):
    full.take()
    full.put("reads/R1/RS.dcm", b"Murong")
    assert full.take().refused == 1
    assert any(full.uid(f"{ROOT}.5.2") in f for f in full.files())
    full.put("reads/R1/RS.dcm", rtstruct(instance=f"{ROOT}.5.3"))
    report = full.take()
    assert (report.superseded, report.refused) == (1, 0)
    assert not any(full.uid(f"{ROOT}.5.2") in f for f in full.files())


def test_names_of_images_are_used_again_by_exports_and_replace_nothing(full):
    full.take()
    full.put("dicom/Murong/CT/Murong_0.dcm", ct(0, series=f"{ROOT}.3"))
    report = full.take()
    assert (report.accepted, report.superseded) == (1, 0)
    assert len([f for f in full.files() if "contours" not in f]) == 4


def test_a_file_gone_from_the_landing_stays_in_the_vault_and_no_longer_refused(full):
    full.put("dicom/garbage", b"Murong")
    full.take()
    assert len(full.refused()) == 1
    shutil.rmtree(full.landing / "dicom")
    report = full.take()
    assert (report.refused, len(full.files())) == (0, 7)


def test_a_refused_file_is_named_by_its_digest_and_found_by_the_site(full):
    path = full.put("dicom/Murong_tel_139.tmp", b"Murong")
    full.take()
    frame = pl.read_parquet(full.vault / "refused.parquet")
    assert dict(frame.schema) == polars_schema(QUARANTINE)
    (row,) = frame.to_dicts()
    assert (row["site"], row["stage"], row["simulated"]) == ("AB", "intake", False)
    assert "Murong" not in str(row)
    assert list(locate_refused(full.landing, [row["item"]]).values()) == [path]


def test_a_refused_file_is_read_again_only_when_what_refused_it_has_changed(full, monkeypatch):
    full.put("dicom/garbage", b"Murong")
    full.take()
    read = []
    monkeypatch.setattr(
        vault,
        "take_files",
        lambda session, tasks: read.extend(tasks) or in_this_process(session, tasks),
    )
    full.take()
    assert read == []
    monkeypatch.setattr(vault, "_rules_digest", lambda: "new rules")
    full.take()
    assert [task.path.rpartition("/")[2] for task in read if not task.head_only] == ["garbage"]


def test_a_mask_waits_for_its_series(site):
    write_mask(site.landing / f"{ROOT}.2__L1.nii.gz", np.ones((2, 3, 4), np.uint8))
    (site.landing / "reads" / "R1").mkdir(parents=True)
    (site.landing / f"{ROOT}.2__L1.nii.gz").rename(
        site.landing / "reads" / "R1" / f"{ROOT}.2__L1.nii.gz"
    )
    assert "send its images" in next(iter((site.take(), site.refused())[1].values()))
    write_series(site.landing / "dicom")
    report = site.take()
    assert (report.accepted, report.refused) == (4, 0)


def test_a_contour_without_patient_finds_its_series_in_the_same_run(site):
    site.put("dicom/0_first.dcm", rtstruct(patient=""))
    write_series(site.landing / "dicom" / "later")
    report = site.take()
    assert (report.accepted, report.refused) == (4, 0)


# ── consent ──


def test_who_withdraws_in_the_case_report_leaves_the_vault(full):
    full.take()
    full.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,IIIB,withdrawn\n")
    report = full.take()
    assert (full.files(), report.patients, report.withdrawn) == ([], 0, 1)
    assert not (full.vault / full.patient()).exists()
    assert all(
        "consent is withdrawn" in r or "send its images" in r for r in full.refused().values()
    )
    assert full.take().refused == report.refused == 7
    full.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,IIIB,given\n")
    assert full.take().accepted == 7


def test_whose_consent_is_contradictory_is_held_out_and_nothing_is_deleted(full):
    full.take()
    before = {f: (full.vault / f).read_bytes() for f in full.files()}
    for order in (("given", "withdrawn"), ("withdrawn", "given")):
        full.put(
            "clinical/patients.csv",
            PATIENTS + "".join(f"ZY0012345,F,1949-05-11,IIIB,{c}\n" for c in order),
        )
        new = full.put("dicom/new", ct(7))
        report = full.take()
        assert {f: (full.vault / f).read_bytes() for f in full.files()} == before
        assert (report.accepted, report.withdrawn) == (0, 0)
        assert pl.read_parquet(full.vault / "case_report" / "patients.parquet")[
            "consent"
        ].to_list() == ["contradictory"]
        assert {
            item.partition(" ")[0]
            for item, reason in full.refused().items()
            if "lakehouse withdraw" in reason
        } == {"clinical/patients.csv", "dicom/"}
        assert full.take().accepted == 0, "in every run"
        new.unlink()
    full.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,IIIB,given\n")
    full.put("dicom/new", ct(7))
    assert full.take().accepted == 1
    assert full.refused() == {}


def test_a_contradictory_consent_can_be_withdrawn_by_command(full):
    full.take()
    full.put(
        "clinical/patients.csv",
        PATIENTS + "ZY0012345,F,1949-05-11,IIIB,given\nZY0012345,F,1949-05-11,IIIB,withdrawn\n",
    )
    full.take()
    patient = full.patient()
    mark = remove_patient(full.vault, patient, crosswalk=full.crosswalk)
    report = full.take()
    assert (report.accepted, full.files()) == (0, [])
    (row,) = pl.read_parquet(full.vault / "case_report" / "patients.parquet").to_dicts()
    assert (row["patient"], row["consent"]) == (mark, "withdrawn")
    assert not any(patient.encode() in p.read_bytes() for p in full.vault.rglob("*") if p.is_file())


def test_who_is_withdrawn_by_command_leaves_files_rows_and_crosswalk_and_stays_out(full):
    full.take()
    patient = full.patient()
    mark = remove_patient(full.vault, patient, crosswalk=full.crosswalk)
    for path in full.vault.rglob("*"):
        assert not path.is_file() or patient.encode() not in path.read_bytes()
    report = full.take()
    assert (report.accepted, full.files(), report.rows["patients"]) == (0, [], 1)
    row = pl.read_parquet(full.vault / "case_report" / "patients.parquet").to_dicts()[0]
    assert {k: v for k, v in row.items() if v is not None} == {
        "site": "AB",
        "patient": mark,
        "consent": "withdrawn",
        "in_case_report": True,
        "simulated": False,
    }
    assert patient not in str(full.refused())


# ── faults ──


def test_a_site_must_have_a_name_and_a_folder(site, tmp_path):
    with pytest.raises(IntakeError, match="no delivery folder"):
        take_in(
            tmp_path / "landing" / "CD",
            tmp_path / "vault" / "CD",
            keys=site.keys,
            crosswalk=site.crosswalk,
        )
    with pytest.raises(IntakeError, match="2 to 8 characters, capital letters first"):
        take_in(
            tmp_path / "landing" / "Murong",
            tmp_path / "vault" / "x",
            keys=site.keys,
            crosswalk=site.crosswalk,
        )


def test_two_runs_at_once_do_not_meet(full):
    full.take()
    with (full.vault / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IntakeError, match="another run"):
            full.take()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (
            "dagster_project.intake.vault.process_file._write",
            OSError(28, "No space left on device"),
        ),
        (
            "dagster_project.intake.vault.process_file.Crosswalk.find_or_create",
            sqlite3.OperationalError("disk is full"),
        ),
    ],
)
def test_a_full_disk_ends_the_run_and_condemns_no_file(full, monkeypatch, place, error):
    full.put("clinical/patients.csv", PATIENTS)
    with monkeypatch.context() as broken:
        broken.setattr(place, lambda *_, **__: (_ for _ in ()).throw(error))
        with pytest.raises(IntakeError, match="free space or mend the disk") as failed:
            full.take()
    assert "Murong" not in str(failed.value)
    assert (full.take().refused, len(full.files())) == (0, 7)


class Killed(BaseException):
    """A process that ends here."""


def killing(monkeypatch, owner, name, after):
    """End the run at the n-th call of a function."""
    real, calls = getattr(owner, name), []

    def called(*arguments, **keywords):
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, called)


@pytest.mark.parametrize("after", range(0, 7, 2))
@pytest.mark.parametrize(
    "place", ["move", "folder", "settle", "manifest", "commit", "parquet", "file"]
)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(full, monkeypatch, place, after):
    from pathlib import Path

    monkeypatch.setattr(vault, "FILES_A_BATCH", 2)
    with monkeypatch.context() as killer:
        owner, name = {
            "move": (Path, "replace"),
            "folder": (vault_placement, "_make_folder"),
            "settle": (vault.Register, "settle"),
            "manifest": (vault.Manifest, "append"),
            "commit": (vault.Register, "put_file"),
            "parquet": (pl.DataFrame, "write_parquet"),
            "file": (vault, "place_batch"),
        }[place]
        killing(killer, owner, name, after)
        try:
            full.take()
            interrupted = False
        except Killed:
            interrupted = True
    report = full.take()
    expected = {
        "patients": 1,
        "treatments": 0,
        "follow_up": 0,
        "clinical_status": 0,
        "lesions": 0,
        "locks": 0,
        "arbitrations": 0,
        "board_decisions": 0,
        "reconciliation": 0,
    }
    assert (len(full.files()), report.refused, report.rows) == (7, 0, expected)
    assert interrupted or report.accepted == 0
    slices = [pydicom.dcmread(full.vault / f) for f in full.files() if "contours" not in f]
    assert sorted(ds.InstanceNumber for ds in slices) == [1, 2, 3]
    assert audit_manifest(full.vault / "manifest.jsonl") is None
    assert full.take().accepted == 0
    assert pl.read_parquet(full.vault / "case_report" / "patients.parquet").height == 1


def test_a_half_written_copy_is_cleared_away(full):
    full.take()
    (full.vault / ".incoming" / "half.dcm").write_bytes(b"half")
    full.take()
    assert list((full.vault / ".incoming").iterdir()) == []


def test_simulated_data_are_marked_everywhere(full):
    full.put("SIMULATED", "")
    full.put("dicom/garbage", b"Murong")
    full.take()
    assert pl.read_parquet(full.vault / "refused.parquet")["simulated"].to_list() == [True]
    assert pl.read_parquet(full.vault / "case_report" / "patients.parquet")[
        "simulated"
    ].to_list() == [True]


def test_faults_of_the_case_report_stand_beside_those_of_files(full):
    full.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,very late,given\n")
    full.put("clinical/Murong.xlsx", b"")
    full.take()
    assert full.refused().keys() == {"clinical/patients.csv row 2 column stage", "clinical"}


# ── as in production ──


def test_through_child_processes_and_an_executor_the_result_is_the_same(full, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(vault, "FILES_A_BATCH", 4)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report = full.take(mapper=pool.map)
    assert (report.accepted, report.refused, len(full.files())) == (7, 0, 7)
    full.put("dicom/new", ct(9))
    assert full.take().accepted == 1


@pytest.mark.real_data
def test_real_scans_with_their_contours(site, shared_data):
    cases = {
        "case_1": "lung_ct/case_1/ct",
        "002": "sarcoma_ct/case_002/image",
        "lidc": "two_readers/ct",
    }
    for name, folder in cases.items():
        (site.landing / "dicom").mkdir(exist_ok=True)
        shutil.copytree(shared_data / folder, site.landing / "dicom" / name)
    for reader, name in (
        ("R1", "lung_ct/case_1/rtstruct.dcm"),
        ("R2", "sarcoma_ct/case_002/mask/RS.dcm"),
        ("R1", "two_readers/reader_1.seg.dcm"),
        ("R2", "two_readers/reader_2.rtstruct.dcm"),
    ):
        (site.landing / "reads" / reader).mkdir(parents=True, exist_ok=True)
        shutil.copy(shared_data / name, site.landing / "reads" / reader / name.replace("/", "_"))
    uid = pydicom.dcmread(
        next((shared_data / "sarcoma_ct/case_002/image").glob("*.dcm")), stop_before_pixels=True
    ).SeriesInstanceUID
    shutil.copy(
        next((shared_data / "sarcoma_ct/case_002/official_nifti").glob("*mask*")),
        site.landing / "reads" / "R1" / f"{uid}__GTV.nii.gz",
    )
    report = site.take()
    assert (report.accepted, report.refused, report.patients) == (60 + 48 + 50 + 5, 0, 3)
    for patient in report_patients(site):
        (scan,) = [p for p in (site.vault / patient).iterdir() if p.name.startswith("S")]
        image_ = pydicom.dcmread(next(scan.iterdir()), stop_before_pixels=True)
        contours = [pydicom.dcmread(p) for p in (site.vault / patient / "contours").rglob("*.dcm")]
        assert contours
        for ds in (
            contours
        ):  # the sarcoma sets refer to frame of reference and study, not to these instances
            assert {
                image_.FrameOfReferenceUID,
                image_.StudyInstanceUID,
                image_.SeriesInstanceUID,
            } & referenced(ds)
            assert ds.PatientID == patient
    frame = pl.read_parquet(site.vault / "case_report" / "patients.parquet")
    assert frame["in_case_report"].to_list() == [False] * 3


def report_patients(site):
    return [p.name for p in site.vault.iterdir() if p.name.startswith("AB-")]


def referenced(ds):
    return {str(e.value) for e in ds.iterall() if e.VR == "UI"}


def test_a_renamed_mask_takes_the_place_of_the_former_one(full):
    """The same voxels under another lesion's name are the same outline, called otherwise."""
    folder = full.landing / "reads" / "R1"
    write_mask(folder / f"{ROOT}.2__L7.nii.gz", seg_mask(2))
    full.take()
    (folder / f"{ROOT}.2__L7.nii.gz").rename(folder / f"{ROOT}.2__L8.seg.nii.gz")
    report = full.take()
    names = sorted(f.name.split("__")[1] for f in full.vault.glob("*/contours/R1/*.nii.gz"))
    assert report.superseded == 1
    assert "L8.nii.gz" in names
    assert "L7.nii.gz" not in names


def test_equal_masks_of_two_lesions_are_two_masks(full):
    for lesion in ("L7", "L8"):
        write_mask(full.landing / "reads" / "R1" / f"{ROOT}.2__{lesion}.nii.gz", seg_mask(2))
    full.take()
    assert {f.name.split("__")[1] for f in full.vault.glob("*/contours/R1/*.nii.gz")} >= {
        "L7.nii.gz",
        "L8.nii.gz",
    }


def test_masks_are_read_again_where_other_rules_hold(full, monkeypatch):
    full.take()
    before = full.take()
    monkeypatch.setattr("dagster_project.intake.vault.vault.MASK_RULES", "next")
    again = full.take()
    assert (before.duplicates, again.duplicates > 0, again.accepted) == (0, True, 0)
    assert full.take().duplicates == 0


def test_a_corrected_reference_of_a_readers_contours_takes_the_place_of_the_former_one(full):
    full.take()
    full.put("reads/R2/SEG.dcm", seg(series=f"{ROOT}.7"))
    assert full.take().superseded == 1
    full.put("reads/R2/copy.dcm", seg())
    full.take()
    assert any("other content" in reason for reason in full.refused().values()), (
        "the old one beside it is no duplicate"
    )


# ── rows and images ──


def reconciled(site):
    found = pl.read_parquet(site.vault / "case_report" / "reconciliation.parquet").to_dicts()
    assert not any(number in str(found) for number in ("0012345", "0012354"))
    return {(r["patient"], r["finding"], r["other_patient"]): r["question"] for r in found}


def test_a_number_typed_wrong_is_a_question_as_long_as_the_images_are_there(full):
    full.put("clinical/patients.csv", PATIENTS + "ZY0012354,F,1949-05-11,IIIB,given\n")
    full.take()
    row, images = full.patient("ZY0012354"), full.patient()
    found = reconciled(full)
    assert set(found) == {(row, "row_without_images", images), (images, "images_without_row", row)}
    assert f"lakehouse keys merge {row} {images}" in found[row, "row_without_images", images]
    assert "ZY00123" not in b"".join(
        p.read_bytes() for p in full.vault.rglob("*") if p.is_file()
    ).decode("latin-1")
    shutil.rmtree(full.landing / "dicom")
    full.take()
    full.put("clinical/follow_up.csv", "patient_id,date,event\n")
    full.take()
    found = reconciled(full)
    assert set(found) == {(row, "row_without_images", "*"), (images, "images_without_row", "*")}
    assert "was not compared" in found[images, "images_without_row", "*"]
    full.put("clinical/patients.csv", PATIENTS + "ZY0012345,F,1949-05-11,IIIB,given\n")
    full.take()
    assert reconciled(full) == {}


def test_who_leaves_is_in_no_question_about_another(full):
    full.put("clinical/patients.csv", PATIENTS + "ZY0012354,F,1949-05-11,IIIB,given\n")
    full.take()
    gone = full.patient()
    remove_patient(full.vault, gone, crosswalk=full.crosswalk)
    assert gone not in str(
        pl.read_parquet(full.vault / "case_report" / "reconciliation.parquet").to_dicts()
    )


# ── dates after the cut-off ──


def test_an_image_of_the_future_is_refused_until_its_day_has_come(full, monkeypatch):
    from datetime import date

    full.put(
        "dicom/late.dcm", ct(7, series=f"{ROOT}.8", SeriesDate="20620101", AcquisitionDate=None)
    )
    full.put("clinical/treatments.csv", "patient_id,cycle,date\nZY0012345,1,2062-01-02\n")
    full.take()
    reasons = [r for r in full.refused().values() if "cut-off" in r]
    assert sorted(reasons) == [
        "is dated after the data cut-off; correct its dates where it was made, and export it again",
        "lies after the data cut-off; correct the date",
    ]
    monkeypatch.setattr(vault._Run, "cut_off", date(2062, 12, 31))
    full.take()
    assert not any("cut-off" in r for r in full.refused().values())
    assert pl.read_parquet(full.vault / "case_report" / "treatments.parquet")["day"].to_list() == [
        0
    ]


# -- by the network --------------------------------------------------------------------------------


ROWS = "patient_id,name,consent\n" + "".join(
    f"ZY{n:07d},Murong {n},{consent}\n"
    for n, consent in ((12345, "enrolled"), (12346, "withdrawn"), (12347, "enrolled"))
)


def received(site, *images):
    """Reasons for which objects are refused that come one after the other."""
    reception = Reception(site.landing, site.vault, keys=site.keys, crosswalk=site.crosswalk)
    reasons = [reception.take(str(i.SOPInstanceUID), to_bytes(i)).reason for i in images]
    reception.close()
    return reasons


def known(site):
    """How many patients the crosswalk knows."""
    with contextlib.closing(sqlite3.connect(site.crosswalk / "crosswalk.sqlite")) as crosswalk:
        return crosswalk.execute("SELECT count(*) FROM patient").fetchone()[0]


def test_of_a_large_site_only_patients_whose_objects_come_are_looked_up(site):
    site.put("clinical/patients.csv", ROWS)
    assert received(site, ct(0), ct(1)) == ["", ""]
    assert known(site) == 1
    withdrawn = ct(0, patient="ZY0012346", series=f"{ROOT}.3")
    assert received(site, withdrawn)[0].startswith("consent is withdrawn")
    assert known(site) == 2
    site.take()
    assert known(site) == 3


def test_a_row_under_another_number_of_the_patient_counts_by_the_network_too(site):
    received(site, ct(0))
    Crosswalk(site.crosswalk, site.keys).add_alias(site.patient(), "AB", "ZY0012346")
    site.put("clinical/patients.csv", ROWS)
    assert received(site, ct(1)) == [CONSENT_CONTRADICTORY]


def test_what_was_written_beside_an_open_association_is_seen_by_its_next_object(site):
    site.put("clinical/patients.csv", ROWS)
    reception = Reception(site.landing, site.vault, keys=site.keys, crosswalk=site.crosswalk)
    assert reception.take(f"{ROOT}.2.1001", to_bytes(ct(0))).reason == ""
    remove_patient(site.vault, site.patient(), crosswalk=site.crosswalk)
    assert reception.take(f"{ROOT}.2.1002", to_bytes(ct(1))).reason.startswith("consent is")
    site.put("clinical/patients.csv", ROWS.replace("ZY0012347,Murong 12347,enrolled\n", ""))
    other = ct(0, patient="ZY0012347", series=f"{ROOT}.4")
    assert reception.take(str(other.SOPInstanceUID), to_bytes(other)).reason == ""
    reception.close()
    assert verify_manifest(site.vault / "manifest.jsonl").broken_line == 0


# -- decisions of a board --------------------------------------------------------------------------


def test_each_file_of_decisions_is_in_the_chain_by_a_keyed_digest(full):
    def events():
        lines = (full.vault / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [(r["event"], r["input"]) for r in records if "board" in r["event"]]

    code = "BP-BCDF-GHJK-LMNP"
    content = (
        f"patient_id,visit,date,decision,role,page\nZY0012345,T1,2024-03-08,stop,chair,{code}\n"
    )
    full.put("board/decisions.csv", content)
    full.take()
    full.take()
    ((event, first),) = events()
    assert event == "board_decisions"
    full.put("board/decisions.csv", content.replace("stop", "continue"))
    assert full.take().rows["board_decisions"] == 1
    assert [event for event, _ in events()] == [
        "board_decisions",
        "board_decisions",
        "board_decisions_gone",
    ]
    assert events()[2][1] == first != events()[1][1]
    assert not verify_manifest(full.vault / "manifest.jsonl").reason
    text = (full.vault / "manifest.jsonl").read_text(encoding="utf-8")
    assert "ZY0012345" not in text
    assert code not in text
