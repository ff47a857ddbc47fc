"""Two files with one identity and different content.

If both are in one delivery, neither is believed; if one is in the vault, the vault's stays.
"""

import contextlib

import numpy as np
import polars as pl
import pydicom
import pytest

from dagster_project.intake.pacs.pacs_listener import REFUSED as SEEN_AND_REFUSED
from dagster_project.intake.pacs.pacs_listener import STORED
from dagster_project.intake.vault import vault
from dagster_project.intake.vault.manifest import audit_manifest
from dagster_project.intake.vault.sandbox import close_child
from dagster_project.intake.vault.vault import remove_patient
from dagster_project.intake.vault.vault_placement import (
    SEVERAL_PATIENTS,
    TAKEN_BEFORE,
    TWINS,
    same_content,
)
from dagster_project.lake.reasons import chinese_reason
from tests.intake import pacs_site, peers
from tests.intake.builders import ROOT, ct, image, rtstruct, to_bytes, write_mask, write_series
from tests.intake.vault.test_vault import Killed, Site, in_this_process, killing

OTHERS = {
    "pixels": {"pixels": image(5)},
    "kernel": {"ConvolutionKernel": "Br60f"},
    "voltage": {"KVP": 80},
    "maker": {"Manufacturer": "GE MEDICAL SYSTEMS"},
    "sex": {"PatientSex": "M"},
    "contrast": {"ContrastBolusAgent": "Iodine"},
    "study": {"StudyInstanceUID": f"{ROOT}.77"},
    "series": {"SeriesInstanceUID": f"{ROOT}.78"},
    "unit": {"RescaleType": "HU"},
    "number": {"InstanceNumber": 77},
}
"""What differs between two files of one SOPInstanceUID."""

HARMLESS = {
    "nothing": {},
    "description": {"StudyDescription": "exported again"},
    "display": {"WindowCenter": 40, "WindowWidth": 400},
    "name": {"PatientName": "Murong^S"},
    "spelling": {"ImagePositionPatient": ["-10.50", "-20.250", "1.0"]},
}
"""What a copy may differ in: nothing that is measured, chosen by or shown hangs on it."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(vault, "take_files", in_this_process)
    made = Site(tmp_path)
    write_series(made.landing / "dicom" / "CT")
    return made


def slices(site):
    """InstanceNumber of each image that the vault holds."""
    return sorted(
        pydicom.dcmread(site.vault / f).InstanceNumber for f in site.files() if "contours" not in f
    )


@pytest.mark.parametrize("difference", OTHERS)
@pytest.mark.parametrize("name", ["dicom/0.dcm", "dicom/z.dcm"], ids=["before", "behind"])
@pytest.mark.parametrize("batch", [1, 200])
def test_none_of_two_in_one_delivery_is_taken_in_whatever_their_order(
    site, monkeypatch, difference, name, batch
):
    monkeypatch.setattr(vault, "FILES_A_BATCH", batch)
    site.put(name, ct(1, **OTHERS[difference]))
    report = site.take()
    assert slices(site) == [1, 3], "the gap is seen where slices are judged"
    assert list(site.refused().values()) == [TWINS, TWINS]
    assert len(set(site.refused())) == 2, "both are named"
    assert (report.accepted, report.refused) == (2, 2)
    assert audit_manifest(site.vault / "manifest.jsonl") is None
    assert pl.read_parquet(site.vault / "case_report" / "patients.parquet").height == 1
    again = site.take()
    assert (again.accepted, again.refused, slices(site)) == (0, 2, [1, 3])


@pytest.mark.parametrize("difference", HARMLESS)
def test_a_copy_that_becomes_the_same_file_is_harmless(site, difference):
    site.put("dicom/0.dcm", ct(1, **HARMLESS[difference]))
    report = site.take()
    assert (report.accepted, report.duplicates, report.refused) == (3, 1, 0)


@pytest.mark.parametrize("difference", OTHERS)
def test_what_comes_later_is_refused_and_the_vaults_stays(site, difference):
    site.take()
    before = {f: (site.vault / f).read_bytes() for f in site.files()}
    site.put("dicom/0.dcm", ct(1, **OTHERS[difference]))
    report = site.take()
    assert {f: (site.vault / f).read_bytes() for f in site.files()} == before
    (reason,) = site.refused().values()
    assert reason == TAKEN_BEFORE
    assert (report.accepted, report.refused) == (0, 1)


def test_the_right_one_alone_is_taken_in(site):
    wrong = site.put("dicom/0.dcm", ct(1, pixels=image(5)))
    site.take()
    wrong.unlink()
    report = site.take()
    assert (report.accepted, report.refused, slices(site)) == (1, 0, [1, 2, 3])


def test_a_file_that_is_corrected_in_its_place_settles_it(site):
    site.put("dicom/0.dcm", ct(1, pixels=image(5)))
    site.take()
    site.put("dicom/0.dcm", ct(1, StudyDescription="corrected"))
    report = site.take()
    assert (report.accepted, report.duplicates, report.refused, slices(site)) == (
        1,
        1,
        0,
        [1, 2, 3],
    )


def test_a_third_file_does_not_decide_between_two(site):
    site.put("dicom/0.dcm", ct(1, pixels=image(5)))
    site.put("dicom/copy.dcm", ct(1))
    site.take()
    assert slices(site) == [1, 3]
    site.put("dicom/later.dcm", ct(1))
    site.take()
    assert (slices(site), list(site.refused().values())) == ([1, 3], [TWINS] * 2), (
        "equal bytes have one name"
    )


def test_the_bytes_decide_where_the_vocabulary_has_changed(site, monkeypatch):
    site.take()
    assert same_content("c p h1 rules1", "c p h2 rules2")
    site.put("dicom/again.dcm", (site.landing / "dicom/CT/Murong_1.dcm").read_bytes())
    monkeypatch.setattr(
        "dagster_project.intake.vault.vault_placement.same_content", lambda *_: False
    )
    assert site.take().duplicates == 1


@pytest.mark.parametrize("name", ["dicom/0.dcm", "dicom/z.dcm"], ids=["before", "behind"])
@pytest.mark.parametrize("index", [1, 8], ids=["same image", "another image"])
@pytest.mark.parametrize("batch", [1, 200])
def test_a_series_of_two_patients_is_nobodys_whatever_the_order(
    site, monkeypatch, name, index, batch
):
    monkeypatch.setattr(vault, "FILES_A_BATCH", batch)
    wrong = site.put(name, ct(index, patient="ZY0099999"))
    site.put("dicom/other.dcm", ct(0, series=f"{ROOT}.3"))
    report = site.take()
    assert (report.accepted, report.refused, slices(site)) == (1, 4, [1])
    assert set(site.refused().values()) <= {SEVERAL_PATIENTS, TWINS}
    assert site.take().accepted == 0
    wrong.unlink()
    report = site.take()
    assert (report.accepted, report.refused, slices(site)) == (3, 0, [1, 1, 2, 3])
    assert {f.partition("/")[0] for f in site.files()} == {site.patient()}


def test_a_later_slice_under_another_number_leaves_the_series_to_its_patient(site):
    site.take()
    site.put("dicom/0.dcm", ct(8, patient="ZY0099999"))
    report = site.take()
    assert (report.refused, slices(site)) == (1, [1, 2, 3])
    assert "another patient number" in str(site.refused())


def test_contours_and_masks_of_one_reader_too(site):
    site.put("reads/R1/1.dcm", rtstruct())
    site.put("reads/R1/2.dcm", rtstruct(names=("GTV-2",)))
    for name, size in (("L1.nii.gz", 2), ("L1.nrrd", 3)):
        path = site.landing / "reads" / "R2" / f"{ROOT}.2__{name}"
        path.parent.mkdir(exist_ok=True)
        write_mask(path, np.ones((2, size, 4), np.uint8))
    report = site.take()
    assert ([f for f in site.files() if "contours" in f], report.refused) == ([], 4)
    assert set(site.refused().values()) == {TWINS}


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("place", ["manifest", "commit", "settle", "batch"])
def test_a_run_that_was_killed_decides_as_one_that_was_not(site, monkeypatch, place, after):
    monkeypatch.setattr(vault, "FILES_A_BATCH", 1)
    site.put("dicom/z.dcm", ct(1, pixels=image(5)))
    owner, name = {
        "manifest": (vault.Manifest, "append"),
        "commit": (vault.Register, "put_file"),
        "settle": (vault.Register, "settle"),
        "batch": (vault, "place_batch"),
    }[place]
    with monkeypatch.context() as killer:
        killing(killer, owner, name, after)
        with contextlib.suppress(Killed):
            site.take()
    site.take()
    assert (slices(site), list(site.refused().values())) == ([1, 3], [TWINS, TWINS])


def test_who_leaves_is_in_no_list_of_contradictions(site):
    site.put("dicom/0.dcm", ct(1, pixels=image(5)))
    site.take()
    uid = site.uid(f"{ROOT}.2.1002").encode()
    assert uid in (site.vault / "intake.sqlite").read_bytes()
    remove_patient(site.vault, site.patient(), crosswalk=site.crosswalk)
    assert uid not in (site.vault / "intake.sqlite").read_bytes()
    site.take()
    assert all("consent is withdrawn" in reason for reason in site.refused().values())


def test_both_reasons_are_shown_in_chinese():
    assert all(
        chinese_reason(reason).isascii() is False and "identity" not in chinese_reason(reason)
        for reason in (TWINS, TAKEN_BEFORE, SEVERAL_PATIENTS)
    )


# ── by the network ──


@pytest.fixture
def online(tmp_path):
    yield pacs_site.Site(tmp_path)
    close_child()


def test_of_one_association_none_of_two_stays_and_both_are_named(online):
    taken = [online.reception.take(f"{ROOT}.2.{1001 + i}", to_bytes(ct(i))) for i in range(3)]
    outcome = online.reception.take(f"{ROOT}.2.1002", to_bytes(ct(1, KVP=80)))
    online.reception.close()
    assert [o.reason for o in taken] == ["", "", ""]
    assert outcome.reason == TWINS
    assert len(online.content()) == 2
    assert online.refused() == [TWINS, TWINS]
    assert online.reception.missing([f"{ROOT}.2.1002"]), "a pull requests it again"
    online.reception.take(f"{ROOT}.2.1002", to_bytes(ct(1)))
    online.reception.close()
    assert (len(online.content()), online.quarantine()) == (3, []), "the right one alone settles it"


def test_a_later_association_and_a_folder_change_nothing_that_was_stored(online):
    online.reception.take(f"{ROOT}.2.1001", to_bytes(ct(0)))
    online.reception.close()
    before = online.content()
    assert (
        online.reception.take(f"{ROOT}.2.1001", to_bytes(ct(0, pixels=image(5)))).reason
        == TAKEN_BEFORE
    )
    online.reception.close()
    pacs_site.folder_of(online.landing / "dicom", [ct(0, KVP=80)])
    online.take_folder()
    assert (online.content(), online.refused()) == (before, [TAKEN_BEFORE, TAKEN_BEFORE])


def test_a_real_sender_hears_that_the_second_is_refused(online, tmp_path):
    folder = pacs_site.folder_of(tmp_path / "out", [ct(0), ct(1), ct(0, KVP=80)])
    with online.listener() as listener:
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    assert (listener.stored, listener.refused, len(online.content())) == (2, 1, 1)
    assert online.refused() == [TWINS, TWINS]
    assert SEEN_AND_REFUSED != STORED


def test_equal_objects_in_one_association_stay_however_often_they_come(online):
    """An archive deleted the file when the same object came twice in a row."""
    for _ in range(2):
        for copy in (ct(0), ct(0, StudyDescription="sent again")):
            assert online.reception.take(f"{ROOT}.2.1001", to_bytes(copy)).reason == ""
    online.reception.close()
    assert len(online.content()) == 1
