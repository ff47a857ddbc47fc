"""Figures are legible, give the same bytes for the same values, and hold no image header.

Their curves agree with an oracle.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy.ndimage import binary_dilation

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.cohort import Stage, enrolment_figure, flow_figure
from dagster_project.reports.figures.heterogeneity import Strip, dhi_figure
from dagster_project.reports.figures.lesions import SCALE_BAR_MM, slice_figure
from dagster_project.reports.figures.models import RocCurve, roc_figure
from dagster_project.reports.figures.reading import agreement_figure
from dagster_project.reports.figures.response import waterfall_figure
from dagster_project.reports.figures.survival import survival_figure
from dagster_project.reports.palette import DARK, LIGHT, PAGE
from dagster_project.statistics.agreement import bland_altman
from dagster_project.statistics.description import quartiles
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import roc_points
from dagster_project.statistics.survival import kaplan_meier

LIMITS = bland_altman(np.array([[10.0, 11.0], [20.0, 19.5], [30.0, 33.0]]))
CORNERS = roc_points(np.array([True, False, True, False]), np.array([0.9, 0.2, 0.4, 0.4]))


def strip(values):
    return Strip(values, quartiles(values))


DRAWN = {
    "survival": lambda **k: survival_figure(
        {
            "CR or PR": kaplan_meier([10, 40, 90, 200], [True, False, True, True]),
            "neither": kaplan_meier([5, 9], [False, True]),
        },
        **k,
    ),
    "agreement": lambda **k: agreement_figure(
        [10.0, 20.0, 30.0], [11.0, 19.5, 33.0], LIMITS, settled=[False, True, False], **k
    ),
    "roc": lambda **k: roc_figure({"size": RocCurve(CORNERS, Estimate(0.875, 0.5, 1.0))}, **k),
    "dhi": lambda **k: dhi_figure(
        {"T0 → T1": {"responders": strip([1.0, 2.0]), "non-responders": strip([])}}, limit=True, **k
    ),
    "waterfall": lambda **k: waterfall_figure(
        [-60.0, 10.0, 35.0, -100.0, 0.0], ["PR", "SD", "PD", "CR", "NE"], **k
    ),
    "enrolment": lambda **k: enrolment_figure(
        {"NORTH": (3, 2, 1), "SOUTH": (0, 0, 0)},
        target_responders=250,
        target_non_responders=250,
        **k,
    ),
    "flow": lambda **k: flow_figure(
        [Stage("Taken in", 9, (("no CT at T2", 2),)), Stage("Eligible", 7)], **k
    ),
}


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_png_of_double_density_and_the_same_each_time(name):
    first, again = DRAWN[name](), DRAWN[name]()
    assert first == again
    assert Image.open(io.BytesIO(first)).format == "PNG"
    assert opened(first).shape[1] == 1440


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_a_figure_stands_on_the_paper_of_its_theme(name, theme):
    corner = opened(DRAWN[name](theme=theme))[-1, -1]
    assert "#" + "".join(f"{v:02x}" for v in corner) == theme.paper


NAMES = {"no CT at T2", "size", "NORTH", "SOUTH", "neither"}
"""What the figures of these tests name: a site, a model, a group, a reason."""


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_of_a_page_is_svg_with_its_words_in_both_languages(name):
    svg = DRAWN[name](theme=PAGE)
    assert svg == DRAWN[name](theme=PAGE)
    texts = [e for e in ET.fromstring(svg).iter() if e.tag == "text"]
    in_one, chinese = (
        " ".join(e.text for e in texts if e.get("lang") in codes) for codes in ((None,), ("zh",))
    )
    for known in NAMES:
        in_one, chinese = in_one.replace(known, ""), chinese.replace(known, "")
    assert not re.findall(r"[a-z]{3,}", in_one + chinese)
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 2
    assert [e.get("lang") for e in texts].count("en") == [e.get("lang") for e in texts].count("zh")


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_of_a_page_has_no_colour_rule_or_name_that_reaches_beyond_it(name):
    svg = DRAWN[name](theme=PAGE).decode()
    assert set(re.findall(r": (#[0-9a-f]{6})", svg)) <= {"#000000"}
    assert not re.search(r"<style|<metadata|DOCTYPE|xlink", svg)
    ids, used = set(re.findall(r' id="([^"]+)"', svg)), set(re.findall(r"#(f[^\")]+)", svg))
    assert ids == used
    assert len(ids) == svg.count(' id="')


def test_names_of_two_figures_on_a_page_are_not_the_same():
    one, other = (
        set(re.findall(r' id="([^"]+)"', DRAWN[name](theme=PAGE).decode()))
        for name in ("survival", "agreement")
    )
    assert one
    assert not one & other


def test_a_figure_takes_the_chinese_of_what_it_names():
    stages = [Stage("Taken in", 9, (("no CT at T2", 2),)), Stage("Eligible", 7)]
    svg = flow_figure(stages, names={"no CT at T2": "T2无CT"}, theme=PAGE).decode()
    assert 'lang="zh"' in svg
    assert ">   2  T2无CT</text>" in svg


def test_a_word_that_looks_like_a_tag_stays_a_word():
    svg = enrolment_figure(
        {"<b>A&B": (1, 1, 1)}, target_responders=1, target_non_responders=1, theme=PAGE
    )
    assert b"&lt;b&gt;A&amp;B</text>" in svg
    assert b"<b>" not in svg


@pytest.mark.parametrize(
    "draw",
    [
        lambda: survival_figure({}),
        lambda: agreement_figure([], [], None),
        lambda: roc_figure({}),
        lambda: dhi_figure({"T0 → T1": {"responders": strip([])}}, limit=False),
        lambda: waterfall_figure([], []),
        lambda: flow_figure([]),
        lambda: enrolment_figure({}, target_responders=1, target_non_responders=1),
    ],
)
def test_nothing_to_draw_is_an_error_that_says_what_is_needed(draw):
    with pytest.raises(NothingToDraw, match="it needs"):
        draw()


def test_a_survival_figure_without_an_event_or_after_the_last_one_is_drawn():
    assert survival_figure({"all": kaplan_meier([30, 60], [False, False])})
    assert survival_figure({"all": kaplan_meier([30, 60], [True, True])})
    assert survival_figure({"all": kaplan_meier([0, 0], [True, False])})


def phantom(spacing=(0.7, 0.7, 1.0), radius_mm=12.0):
    z, y, x = np.mgrid[:20, :180, :180]
    mask = ((z - 7) * spacing[2]) ** 2 + ((y - 90) * spacing[1]) ** 2 + (
        (x - 90) * spacing[0]
    ) ** 2 <= radius_mm**2
    image = sitk.GetImageFromArray(np.where(mask, 40, -800).astype(np.int16))
    image.SetSpacing(spacing)
    return image, mask


def test_the_picture_shows_the_largest_cross_section():
    image, mask = phantom()
    below = mask & (np.arange(20) < 5)[:, None, None]
    marked = sitk.GetArrayFromImage(image)
    marked[7] = 1000
    white = sitk.GetImageFromArray(marked)
    white.CopyInformation(image)
    share = [
        (opened(slice_figure(white, {"A": m})) > 250).all(axis=2).mean() for m in (mask, below)
    ]
    assert share[0] > 0.5 > share[1]


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.0), (0.5, 1.0, 2.0)])
def test_the_scale_bar_measures_the_picture_in_both_directions(spacing):
    image, mask = phantom(spacing)
    pixels = opened(slice_figure(image, {"A": mask}))[:, :468]
    white = (pixels > 250).all(axis=2)
    bar = max(np.ptp(np.flatnonzero(row)) + 1 if row.any() else 0 for row in white[430:])
    blue = np.abs(pixels - [0x5F, 0xB2, 0xD0]).max(axis=2) < 40
    blue[490:] = False
    height, width = (np.ptp(np.flatnonzero(blue.any(axis=k))) + 1 for k in (1, 0))
    assert width / bar * SCALE_BAR_MM == pytest.approx(24, abs=1.6)
    assert height / bar * SCALE_BAR_MM == pytest.approx(24, abs=1.6)


def test_both_readers_are_drawn_and_a_reader_without_a_voxel_is_not():
    image, mask = phantom()
    shifted = np.roll(mask, 6, axis=2)
    ochre = [
        (np.abs(opened(slice_figure(image, masks)) - [0xE6, 0xAB, 0x5A]).max(axis=2) < 30).sum()
        for masks in ({"A": mask, "B": shifted}, {"A": mask, "B": mask & False})
    ]
    assert ochre[0] > 200
    assert ochre[1] == 0


def lopsided(at, spacing=(0.7, 0.7, 1.0)):
    mask = np.zeros((3, 200, 160), bool)
    mask[1, at[0] : at[0] + 40, at[1] : at[1] + 12] = True
    mask[1, at[0] + 28 : at[0] + 40, at[1] : at[1] + 25] = True
    image = sitk.GetImageFromArray(np.where(mask, 140, -1300).astype(np.int16))
    image.SetSpacing(spacing)
    return image, mask


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.0), (0.9, 0.6, 2.0)])
@pytest.mark.parametrize("at", [(60, 90), (5, 3), (159, 134)])
def test_a_contour_lies_on_the_border_of_what_it_encloses(at, spacing):
    image, mask = lopsided(at, spacing)
    pixels = opened(slice_figure(image, {"A": mask}))[60:440, 25:440]
    blue = np.abs(pixels - [0x5F, 0xB2, 0xD0]).max(axis=2) < 40
    grey = np.ptp(pixels, axis=2) < 12
    bright, dark = grey & (pixels.mean(axis=2) > 180), grey & (pixels.mean(axis=2) < 60)
    near_both = binary_dilation(bright, iterations=6) & binary_dilation(dark, iterations=6)
    assert blue.sum() > 300
    assert (blue & near_both).sum() / blue.sum() > 0.97


def test_no_word_of_the_image_s_header_is_in_the_picture():
    image, mask = phantom()
    image.SetMetaData("0010|0010", "PLANTED^NAME")
    png = slice_figure(image, {"A": mask}, caption="NORTH-ABC-D   T0   L1")
    assert b"PLANTED" not in png
    assert not Image.open(io.BytesIO(png)).info


def test_a_vanished_lesion_has_no_picture():
    image, mask = phantom()
    with pytest.raises(NothingToDraw, match="at least one voxel"):
        slice_figure(image, {"A": mask & False})


def test_importing_the_pages_imports_no_plotting_library():
    code = (
        "import sys, dagster_project.reports.writing; "
        "print([m for m in ('matplotlib', 'SimpleITK', 'PIL') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
