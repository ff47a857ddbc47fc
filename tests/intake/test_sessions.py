"""Three visits in three sessions: contours find their images, and intervals stay.

A patient has one pseudonym, and another validator finds nothing new.
"""

import datetime as dt
import io
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.vault.vault import take_in
from tests.intake.builders import PERSON, ROOT, ct, image, rtstruct, seg, to_bytes

VISITS = {"T0": "20240105", "T1": "20240312", "T2": "20240519"}


def deliver(folder, number, day):
    """One visit as a PACS exports it: three slices, a structure set, a segmentation."""
    series, dates = f"{ROOT}.{20 + number}", {"StudyDate": day, "SeriesDate": day}
    folder.mkdir(parents=True, exist_ok=True)
    objects = [ct(i, series=series, AcquisitionDate=day, **dates) for i in range(3)]
    objects += [
        rtstruct(series=series, instance=f"{ROOT}.5.{number}"),
        seg(series=series, instance=f"{ROOT}.6.{number}"),
    ]
    for n, ds in enumerate(objects):
        for keyword, value in dates.items():
            setattr(ds, keyword, value)
        (folder / f"{n}.dcm").write_bytes(to_bytes(ds))


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A vault filled by three sessions.

    Each session has keys that were unlocked anew, and the landing is emptied between sessions.
    """
    root = tmp_path_factory.mktemp("sessions")
    medium = create_throwaway_medium(root / "medium")
    for number, day in enumerate(VISITS.values()):
        shutil.rmtree(root / "landing", ignore_errors=True)
        deliver(root / "landing" / "AB" / "dicom", number, day)
        report = take_in(
            root / "landing" / "AB",
            root / "vault" / "AB",
            keys=unlock(medium),
            crosswalk=root / "crosswalk",
        )
        assert (report.accepted, report.refused) == (5, 0)
    return root


def objects(taken):
    return [pydicom.dcmread(path) for path in sorted((taken / "vault" / "AB").rglob("*.dcm"))]


def test_one_pseudonym_for_all_visits(taken):
    assert len(objects(taken)) == 15
    assert len({str(ds.PatientID) for ds in objects(taken)}) == 1


def test_every_reference_leads_to_an_image_of_the_vault(taken):
    images = {ds.SOPInstanceUID for ds in objects(taken) if ds.Modality == "CT"}
    contours = [ds for ds in objects(taken) if ds.Modality != "CT"]
    referenced = [
        str(e.value)
        for ds in contours
        for e in ds.iterall()
        if e.keyword == "ReferencedSOPInstanceUID" and e.value in images | {e.value}
    ]
    to_images = [
        str(item.ReferencedSOPInstanceUID)
        for ds in contours
        for e in ds.iterall()
        if e.keyword in {"ContourImageSequence", "ReferencedInstanceSequence"}
        for item in e.value
    ]
    assert len(contours) == 6
    assert len(to_images) >= 9
    assert set(to_images) <= images
    assert set(to_images) <= set(referenced)


def test_intervals_survive_to_the_day(taken):
    days = sorted(
        {dt.date.fromisoformat(ds.StudyDate) for ds in objects(taken) if ds.Modality == "CT"}
    )
    true = [dt.date.fromisoformat(day) for day in VISITS.values()]
    assert [b - a for a, b in pairwise(days)] == [b - a for a, b in pairwise(true)]
    assert days[0] != true[0]


# -- bad input: sent twice, other pixels, two patients under one number ----------------------------


def test_a_file_sent_twice_is_a_duplicate_and_other_pixels_under_its_uid_are_refused(tmp_path):
    keys = unlock(create_throwaway_medium(tmp_path / "medium"))
    landing = tmp_path / "landing" / "AB" / "dicom"
    deliver(landing, 0, "20240105")
    (landing / "again.dcm").write_bytes(
        to_bytes(
            ct(0, series=f"{ROOT}.20", AcquisitionDate="20240105", InstitutionName="re-exported")
        )
    )
    (landing / "other.dcm").write_bytes(
        to_bytes(ct(1, series=f"{ROOT}.20", AcquisitionDate="20240105", pixels=image(7)))
    )
    report = take_in(
        landing.parent, tmp_path / "vault" / "AB", keys=keys, crosswalk=tmp_path / "crosswalk"
    )
    assert report.duplicates == 1
    assert report.refused == 2, "which of the two is right nobody can tell"
    again = take_in(
        landing.parent, tmp_path / "vault" / "AB", keys=keys, crosswalk=tmp_path / "crosswalk"
    )
    assert (again.accepted, again.refused) == (0, 2)


def test_one_series_under_two_numbers_is_refused_for_both(tmp_path):
    keys = unlock(create_throwaway_medium(tmp_path / "medium"))
    landing = tmp_path / "landing" / "AB" / "dicom"
    landing.mkdir(parents=True)
    (landing / "a.dcm").write_bytes(to_bytes(ct(0, patient="111")))
    (landing / "b.dcm").write_bytes(to_bytes(ct(1, patient="222")))
    report = take_in(
        landing.parent, tmp_path / "vault" / "AB", keys=keys, crosswalk=tmp_path / "crosswalk"
    )
    assert (report.accepted, report.refused) == (0, 2)


# -- another validator -----------------------------------------------------------------------------


def errors(data: bytes, folder: Path) -> set[str]:
    """What dciodvfy calls an error, without the values that it quotes."""
    file = folder / "file.dcm"
    file.write_bytes(data)
    tool = shutil.which("dciodvfy")
    assert tool, "the tests need dicom3tools (requirements/debian.txt)"
    told = subprocess.run([tool, str(file)], capture_output=True, check=False)
    lines = (told.stdout + told.stderr).decode("utf-8", "replace").splitlines()
    return {
        re.sub(r"(?<=alue )<[^>]*>|<[\d.]+>|value=.*", "", line).strip()
        for line in lines
        if line.startswith("Error")
    }


@pytest.mark.parametrize("make", [ct, rtstruct, seg], ids=lambda f: f.__name__)
def test_dciodvfy_finds_no_error_that_the_original_had_not(make, tmp_path):
    data = to_bytes(make())
    assert errors(deidentify(open_source(data), PERSON).data, tmp_path) <= errors(data, tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        "lung_ct/case_1/ct",
        "sarcoma_ct/case_002/image",
        "two_readers/ct",
        "lung_ct/case_1/rtstruct.dcm",
        "sarcoma_ct/case_002/mask/RS.dcm",
        "two_readers/reader_1.rtstruct.dcm",
        "two_readers/reader_1.seg.dcm",
    ],
)
def test_dciodvfy_finds_no_error_that_a_real_original_had_not(shared_data, name, tmp_path):
    path = shared_data / name
    data = (path if path.is_file() else min(path.glob("*.dcm"))).read_bytes()
    result = deidentify(open_source(data), replace(PERSON)).data
    assert pydicom.dcmread(io.BytesIO(result)).PatientID == PERSON.pseudonym
    assert errors(result, tmp_path) <= errors(data, tmp_path)
