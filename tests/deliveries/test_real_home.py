"""What the simulated trial shows must hold where nothing is simulated.

It covers checks, privacy, and pages in a browser.
"""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

from tests.deliveries.conftest import Deliveries
from tests.needles import Needles
from tests.real_landing import FOLDER, PERSON
from tests.test_privacy import ENCODINGS, searched, unfolded

pytestmark = pytest.mark.real_data

TOLD = (
    "PatientID",
    "PatientName",
    "OtherPatientIDs",
    "AccessionNumber",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "StationName",
    "DeviceSerialNumber",
)

SHORTEST = 7
"""A shorter text stands by chance in any file."""


def _of_image(file: Path) -> set[str]:
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TOLD))
    except pydicom.errors.InvalidDicomError:
        return set()
    return {str(dataset[name].value).strip() for name in TOLD if name in dataset}


def _of_table(file: Path) -> set[str]:
    rows = list(csv.reader(file.read_text(encoding="utf-8", errors="replace").splitlines()))
    column = rows[0].index("patient_id") if rows and "patient_id" in rows[0] else None
    return set() if column is None else {row[column] for row in rows[1:] if len(row) > column}


def _is_common(text: str) -> bool:
    """A word of the tools, or characters in a row as indices of any column are."""
    in_a_row = all(ord(b) - ord(a) == 1 for a, b in pairwise(text))
    return in_a_row or text in {"REMOVED", "Anonymous", "SIMULATION"}


@pytest.fixture(scope="module")
def needles(landed: Deliveries) -> Needles:
    """What identifies people and machines in the landing.

    Numbers, names, UIDs, and names that hospitals gave to files and folders.
    """
    landing = landed.trial.home.landing
    found = {PERSON, FOLDER, *PERSON.split("_"), *FOLDER.split()}
    for file in (f for f in landing.rglob("*") if f.is_file()):
        found |= (
            _of_table(file)
            if file.suffix == ".csv"
            else _of_image(file)
            if file.suffix == ".dcm"
            else set()
        )
    wanted = {text for text in found if len(text) >= SHORTEST and not _is_common(text)}
    assert len(wanted) > 50
    return Needles(text.encode(e, "replace") for text in wanted for e in ENCODINGS)


def test_no_check_of_severity_error_fails(landed: Deliveries) -> None:
    said = " ".join(landed.output.split())
    assert re.search(r"\d+ checks: 0 errors, \d+ warnings", said), re.findall(
        r"\d+ checks: .{300}", said
    )


def test_nothing_that_identifies_left_the_landing(landed: Deliveries, needles: Needles) -> None:
    trial = landed.trial
    files = searched(trial)
    assert {p.relative_to(trial.root).parts[0] for p in files} >= {
        "vault",
        "crosswalk",
        "lake",
        "reports",
        "published",
        "dagster",
    }
    leaks = {
        f"{f.relative_to(trial.root)}: {m.group()[:3]!r}…"
        for f in files
        for part in unfolded(f)
        if (m := needles.search(part))
    }
    assert leaks == set()
    assert [f for f in files if needles.search(str(f.relative_to(trial.root)).encode())] == []
    assert [text for text in trial.said if needles.search(text.encode())] == []


def test_a_folder_that_is_no_site_was_counted_and_is_no_partition(landed: Deliveries) -> None:
    import dagster as dg

    assert "1 folders and 0 files" in landed.output
    with landed.trial.entered(), dg.DagsterInstance.get() as instance:
        assert sorted(instance.get_dynamic_partitions("site")) == landed.trial.home.landing_sites()


def test_every_page_opens_in_a_browser_without_an_error(landed: Deliveries) -> None:
    from playwright.sync_api import sync_playwright

    pages = sorted(landed.trial.home.reports.rglob("*.html"))
    faults: list[str] = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.on("requestfailed", lambda request: faults.append(f"not found: {request.url[-80:]}"))
        for file in pages:
            page.goto(file.as_uri())
            if not page.inner_text("h1").strip():
                faults.append(f"{file.name} has no heading")
        browser.close()
    assert len(pages) > 30
    assert faults == []
