"""A reader's pages: whole in either language, offline, with the own reads and nothing else."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from dagster_project.domain.imaging.lung_registration import NO_FIT
from dagster_project.domain.reading.entry_checks import EntryQuestion
from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports import writing
from dagster_project.reports.places import PIXELS, SIDE_MM, draw_place
from dagster_project.reports.reader_pages import (
    PlacedLesion,
    ReaderScan,
    ReaderWork,
    question_words,
)
from tests.domain.courses import STUDY
from tests.reports.boards import ball
from tests.reports.browser import CHINESE, Opened, chromium
from tests.reports.pages import Page

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
LIMIT = STUDY.section("recist")["lesion_target_mm"]
LAST = {
    "lesion": "L1",
    "visit": "T0",
    "role": "target",
    "organ": "lung",
    "is_lymph_node": False,
    "is_present": True,
    "longest_diameter_mm": 23.9,
    "short_axis_mm": 11.0,
}


def row(lesion, **more):
    return {"lesion": lesion, "patient": "BJCH-A", "visit": "T1", "from_visit": "T0", **more}


def place(image, mask, off_mm=(0.0, 0.0, 0.0)):
    """The CT around the middle of the mask, moved by so many mm, as (plane, row, column)."""
    z, y, x = (float(axis.mean()) for axis in np.nonzero(mask))
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint((x, y, z))) + off_mm
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return draw_place(image, affine, tuple(middle), "lung")


def planes(png):
    drawn = np.asarray(Image.open(io.BytesIO(png)), float)
    return drawn.reshape(PIXELS, 3, PIXELS).swapaxes(0, 1)


@pytest.fixture(scope="module")
def work():
    png = place(*ball(20.0))
    at = {"voxel_slice": 31, "x_mm": 1.0, "y_mm": -2.5, "z_mm": 30.0}
    placed = PlacedLesion(row("L1", **at), LAST, "lung", png)
    node = {**LAST, "lesion": "L2", "is_lymph_node": True, "organ": "lymph_node"}
    without = PlacedLesion(row("L2", reason=NO_FIT), node, "soft")
    scans = [
        ReaderScan("BJCH-A", "T1", 60, "to_read", [placed, without]),
        ReaderScan(
            "BJCH-B",
            "T0",
            -3,
            "open",
            questions=[
                EntryQuestion("lesion_missing", "L3"),
                EntryQuestion("too_many_targets", "", 6, 5),
                EntryQuestion("too_many_in_organ", "lymph node", 3, 2),
                EntryQuestion("below_minimum", "L1", 8.4, LIMIT),
            ],
        ),
        ReaderScan("BJCH-C", "T0", None, "to_read"),
    ]
    far = [row("L4", distance_mm=34.2)]
    return ReaderWork("BJCH", "R1", scans, 7, far, simulated=True)


@pytest.fixture(scope="module")
def files(work, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    other = ReaderWork("BJCH", "R2", [], 9)
    written = writing.write_reader_pages(folder, [work, other], STUDY, 7, MOMENT)
    return {f"{file.parent.name}/{file.stem}": file for file in written}


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def words(file, language="en"):
    return Page(file.read_text(encoding="utf-8")).in_language(language)


# -- what is shown ---------------------------------------------------------------------------------


def test_each_reader_has_a_folder_and_a_scan_with_something_to_show_a_page(files):
    assert set(files) == {"R1/index", "R1/BJCH-A_T1", "R1/BJCH-B_T0", "R2/index"}
    assert "No scan waits for you" in words(files["R2/index"])


def test_pages_are_closed_to_other_accounts(files):
    assert all(file.stat().st_mode & 0o077 == 0 for file in files.values())


def test_the_worklist_says_what_waits_and_what_lies_far_from_its_place(files):
    text = words(files["R1/index"])
    assert "BJCH-A T1, day 60 to be read 2 1 –" in text
    assert "BJCH-B T0, day −3 delivered, not locked 0 0 4" in text
    assert "BJCH-A L4 T0 T1 34" in text


def test_a_lesion_has_its_place_or_the_reason_for_none(files):
    english, chinese = (words(files["R1/BJCH-A_T1"], code) for code in ("en", "zh"))
    assert "T0: 23.9 mm · place from the outline at T0, slice 31" in english
    assert f"No place: {NO_FIT}" in english
    assert f"无建议位置： {chinese_reason(NO_FIT)}" in chinese
    assert "T0: 11.0 mm short axis" in english


def test_questions_have_the_numbers_of_the_protocol(work):
    english = [question_words(question)[0] for question in work.scans[1].questions]
    assert english == [
        "L3: not read at this visit. A lesion that is gone is read as absent.",
        "6 targets, 5 allowed.",
        "3 targets in lymph node, 2 allowed.",
        f"L1: 8.4 mm, and a target has {LIMIT:.1f} mm at least at baseline.",
    ]


def test_a_page_that_shows_the_same_is_not_written_again_and_former_ones_go(work, tmp_path):
    def write(works):
        pages = writing.write_reader_pages(tmp_path, works, STUDY, 7, MOMENT)
        return {page.name: page.stat().st_mtime_ns for page in pages}

    first, again = write([work]), write([work])
    assert first["BJCH-A_T1.html"] == again["BJCH-A_T1.html"]
    write([ReaderWork("BJCH", "R1", work.scans[1:], 7)])
    left = {page.name for page in tmp_path.rglob("*.html")}
    assert left == {"index.html", "BJCH-B_T0.html"}


# -- the pictures ----------------------------------------------------------------------------------


def test_the_place_is_the_middle_of_each_plane():
    for plane in planes(place(*ball(20.0))):
        bright = np.argwhere(plane > 200)
        assert np.abs(bright.mean(0) - (PIXELS - 1) / 2).max() < 1.0
        assert np.ptp(bright, axis=0) * SIDE_MM / PIXELS == pytest.approx(20.0, abs=1.5)


@pytest.mark.parametrize(
    ("off_mm", "plane", "axis", "sign"),
    [((8, 0, 0), 0, 1, -1), ((0, 8, 0), 0, 0, -1), ((0, 0, 8), 1, 0, 1), ((0, 8, 0), 2, 1, -1)],
    ids=["left-is-right", "back-is-down", "head-is-up", "front-is-left"],
)
def test_planes_lie_as_radiologists_look_at_them(off_mm, plane, axis, sign):
    seen = np.argwhere(planes(place(*ball(20.0), off_mm=off_mm))[plane] > 200).mean(0)
    moved = (seen[axis] - (PIXELS - 1) / 2) * SIDE_MM / PIXELS
    assert moved == pytest.approx(sign * 8.0, abs=0.5)


def test_a_scan_with_other_directions_gives_the_same_pictures():
    image, mask = ball(20.0, shape=(90, 90, 90), spacing=(1.0, 1.0, 1.0))
    turned = sitk.DICOMOrient(image, "RAS")
    same = sitk.GetArrayFromImage(turned) > -400
    np.testing.assert_allclose(planes(place(turned, same)), planes(place(image, mask)), atol=2)


def test_beyond_the_images_it_is_black():
    axial, coronal, _ = planes(place(*ball(20.0), off_mm=(0, 0, 30)))
    assert (coronal[0] == 0).all()
    assert (axial > 0).any()


# -- in the browser --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["R1/index", "R1/BJCH-A_T1", "R1/BJCH-B_T0"])
def test_a_page_is_whole_in_either_language_offline_and_accessible(files, browser, name):
    opened = Opened(browser, files[name])
    for language in ("english", "chinese"):
        opened.choose(language)
        shown = opened.page.inner_text("main")
        assert bool(CHINESE.search(shown)) == (language == "chinese")
        assert opened.violations() == {}
    assert opened.faults == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert opened.width_on_a_phone() <= 360
    opened.close()


ENGINE = re.compile(r"\b(?:RECIST|i?UPD|i?CPD|i?CR|i?PR|i?SD|i?PD|iNE|novelty|nadir)\b")


def test_nothing_of_the_engine_and_of_no_other_reader_is_on_a_readers_page(files):
    for name, file in files.items():
        text = words(file) + words(file, "zh")
        assert not ENGINE.search(text)
        assert bool(re.search(r"\bR2\b", text)) == name.startswith("R2")
