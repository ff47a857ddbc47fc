"""Studies, series and dates that contradict each other: refused by name, the rest is taken in.

What intake takes in has no finding of the audit, which would block the whole site.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dagster_project.intake.vault import vault
from dagster_project.intake.vault.vault import remove_patient
from dagster_project.intake.vault.vault_audit import audit_vault
from dagster_project.intake.vault.vault_placement import (
    ANOTHER_PATIENTS_STUDY,
    DATES_CONTRADICT,
    OTHER_DAY,
    SEVERAL_DAYS,
    SEVERAL_PATIENTS_OF_A_STUDY,
    TOO_OLD,
)
from dagster_project.lake.reasons import chinese_reason
from tests.intake.builders import ROOT, ct, rtstruct, write_series
from tests.intake.vault.test_vault import Site, in_this_process

OTHER, STUDY, SERIES = "ZY0099999", f"{ROOT}.55", f"{ROOT}.56"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with three good slices of one patient, dated 2024-01-05."""
    monkeypatch.setattr(vault, "take_files", in_this_process)
    made = Site(tmp_path)
    write_series(made.landing / "dicom" / "CT")
    return made


def put(site: Site, name: str, count: int = 3, **changes: Any) -> None:
    """Deliver a series; a callable change is called with the number of the slice."""
    for index in range(count):
        given = {k: v(index) if callable(v) else v for k, v in changes.items()}
        site.put(f"dicom/{name}/{index}.dcm", ct(index, **given))


def dated(day: str) -> dict[str, str]:
    return dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate"), day)


def findings(site: Site) -> list[Any]:
    return audit_vault(site.vault.parent, ocr=False).findings


def of_two_people(name: str, **changes: Any) -> Callable[[Site], None]:
    """A series of another patient beside the good one."""
    return lambda site: put(
        site, name, patient=OTHER, series=SERIES, **({"StudyInstanceUID": STUDY} | changes)
    )


@pytest.mark.parametrize("name", ["0", "z"], ids=["before", "behind"])
def test_one_study_under_two_numbers_is_nobodys(site: Site, name: str) -> None:
    of_two_people(name, StudyInstanceUID=ct().StudyInstanceUID)(site)
    report = site.take()
    assert (report.accepted, report.refused) == (0, 6)
    assert set(site.refused().values()) == {SEVERAL_PATIENTS_OF_A_STUDY}
    put(site, name, patient=OTHER, series=SERIES, StudyInstanceUID=STUDY)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (6, 0, [])


def test_a_study_that_is_in_the_vault_stays_its_patients(site: Site) -> None:
    site.take()
    of_two_people("0", StudyInstanceUID=ct().StudyInstanceUID)(site)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (0, 3, [])
    assert set(site.refused().values()) == {ANOTHER_PATIENTS_STUDY}


@pytest.mark.parametrize(
    "changes",
    [
        {"FrameOfReferenceUID": "1.2.3"},
        {"ContentDate": lambda i: "20240105" if i else "20260105"},
        {"StudyInstanceUID": lambda i: f"{STUDY}.{i}"},
        dated("19000101"),
        dated("00010101"),
        dated("19800101"),
        dated(""),
        {"SeriesDate": "20250601"},
    ],
    ids=["frame", "content date", "study by slice", "1900", "year 1", "1980", "no date", "series"],
)
def test_what_is_odd_and_harmless_is_taken_in(site: Site, changes: dict[str, Any]) -> None:
    put(site, "b", FrameOfReferenceUID="1.2.3", series=f"{ROOT}.57")
    of_two_people("c", **changes)(site)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (9, 0, [])


def test_a_placeholder_is_no_date(site: Site) -> None:
    of_two_people("c", **dated("19000101"))(site)
    site.take()
    written = [pydicom.dcmread(site.vault / f) for f in site.files()]
    assert sorted(bool(ds.StudyDate) for ds in written) == [False] * 3 + [True] * 3
    assert sum("AcquisitionDate" in ds for ds in written) == 3


@pytest.mark.parametrize("name", ["0", "z"], ids=["before", "behind"])
@pytest.mark.parametrize("batch", [1, 200])
def test_a_series_of_two_days_far_apart_is_not_mixed(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, batch: int
) -> None:
    """Two examinations under one SeriesInstanceUID, as tools that write new UIDs make them."""
    monkeypatch.setattr(vault, "FILES_A_BATCH", batch)
    uid = {"SOPInstanceUID": lambda i: f"{ROOT}.58.{i}", "StudyInstanceUID": f"{ROOT}.77"}
    put(site, name, **uid, **dated("20240505"))
    of_two_people("c")(site)
    report = site.take()
    assert (report.accepted, report.refused) == (3, 6)
    assert set(site.refused().values()) == {SEVERAL_DAYS}
    assert findings(site) == []
    put(site, name, series=f"{ROOT}.59", **uid, **dated("20240505"))
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (6, 0, [])


def test_images_of_another_day_do_not_join_a_series_of_the_vault(site: Site) -> None:
    site.take()
    put(site, "z", SOPInstanceUID=lambda i: f"{ROOT}.58.{i}", **dated("20240505"))
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (0, 3, [])
    assert set(site.refused().values()) == {OTHER_DAY}


@pytest.mark.parametrize("name", ["0", "z"], ids=["before", "behind"])
@pytest.mark.parametrize("at_once", [True, False])
def test_images_of_decades_before_are_no_visit(site: Site, name: str, at_once: bool) -> None:
    old = {"series": f"{ROOT}.59", "StudyInstanceUID": STUDY, **dated("20050105")}
    if at_once or name == "z":
        if not at_once:
            site.take()
        put(site, name, **old)
    else:
        for file in (site.landing / "dicom" / "CT").iterdir():
            file.rename(site.landing / file.name)
        put(site, name, **old)
        assert site.take().accepted == 3
        for file in site.landing.glob("*.dcm"):
            file.rename(site.landing / "dicom" / "CT" / file.name)
    site.take()
    assert set(site.refused().values()) == {TOO_OLD}
    assert (len(site.refused()), len(site.files()), findings(site)) == (3, 3, [])
    assert site.take().accepted == 0


def test_a_clock_that_was_reset_is_named(site: Site) -> None:
    of_two_people("c", AcquisitionDate="20000101")(site)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (3, 3, [])
    assert set(site.refused().values()) == {DATES_CONTRADICT}


@pytest.mark.parametrize("wrong", [0, 1], ids=["before", "behind"])
@pytest.mark.parametrize("batch", [1, 200])
def test_a_clock_that_was_wrong_for_some_slices_costs_the_whole_series(
    site: Site, monkeypatch: pytest.MonkeyPatch, wrong: int, batch: int
) -> None:
    """What is left of it would be measured with gaps."""
    monkeypatch.setattr(vault, "FILES_A_BATCH", batch)
    of_two_people("c", AcquisitionDate=lambda i: "20000101" if i == wrong else "20240105")(site)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (3, 3, [])
    assert set(site.refused().values()) == {DATES_CONTRADICT}
    assert site.take().accepted == 0
    of_two_people("c")(site)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (3, 0, [])


def test_outlines_of_a_study_of_another_patient_are_refused(site: Site) -> None:
    of_two_people("c")(site)
    outlines = rtstruct()
    outlines.StudyInstanceUID = STUDY
    site.put("dicom/r.dcm", outlines)
    report = site.take()
    assert (report.accepted, report.refused, findings(site)) == (6, 1, [])


def test_who_leaves_is_in_no_note(site: Site) -> None:
    site.take()
    uid = site.uid(f"{ROOT}.2").encode()
    assert uid in (site.vault / "intake.sqlite").read_bytes()
    remove_patient(site.vault, site.patient(), crosswalk=site.crosswalk)
    assert uid not in (site.vault / "intake.sqlite").read_bytes()


def uids_of(series: int) -> Callable[[int], str]:
    return lambda index: f"{ROOT}.6{series}.{index}"


@pytest.mark.parametrize("seed", range(12))
def test_what_is_taken_in_has_no_finding_and_what_is_not_is_named(site: Site, seed: int) -> None:
    draw = random.Random(seed)
    days = ["20240105", "20240118", "20240601", "20060101", "19000101", "20000101", ""]
    total = 3
    for k in range(6):
        fixed = {
            "patient": draw.choice(["ZY0012345", OTHER]),
            "series": draw.choice([f"{ROOT}.2", SERIES, f"{ROOT}.7{k}"]),
            "StudyInstanceUID": draw.choice([ct().StudyInstanceUID, STUDY, f"{ROOT}.8{k}"]),
            "FrameOfReferenceUID": draw.choice(["1.2.3", f"{ROOT}.9{k}"]),
        }
        spoilt = draw.random() < 0.5
        day = draw.choice(days[:2])
        dates = {
            tag: draw.choice(days) if spoilt else day
            for tag in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
        }
        put(
            site,
            f"{draw.random()}",
            SOPInstanceUID=lambda i, k=k: f"{ROOT}.6{k}.{i}",
            **fixed,
            **dates,
        )
        total += 3
    report = site.take()
    assert findings(site) == []
    assert report.accepted + report.refused + report.duplicates == total
    assert all(site.refused().values())
    assert site.take().accepted == 0, "the next night changes nothing"
    assert findings(site) == []


@pytest.mark.parametrize(
    "reason",
    [
        ANOTHER_PATIENTS_STUDY,
        SEVERAL_PATIENTS_OF_A_STUDY,
        SEVERAL_DAYS,
        OTHER_DAY,
        TOO_OLD,
        DATES_CONTRADICT,
    ],
)
def test_every_reason_has_chinese(reason: str) -> None:
    assert not chinese_reason(reason).isascii()
    assert "images" not in chinese_reason(reason)
