"""Structure sets as hospitals send them.

Each outline is on its own CT, whole, once, or is refused by itself.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data

BALL_MM3 = 3028.48
"""What an outline of the ball of these cases measures where nothing is wrong.

The volume by formula is 3053.6 mm3.
"""

FRAMES, THIRD, OPEN, BAD, ODD = "B03", "B04", "B07", "B08", "B15"
CUT, TWO = "B91", "B92"


def lesions(landed: Deliveries, site: str, number: str | None = None) -> dict[str, dict[str, Any]]:
    return {row["lesion"]: row for row in landed.reads(site, number)}


def measured(landed: Deliveries, site: str) -> set[str]:
    """Lesions of which features were measured."""
    return {
        row["lesion"]
        for row in landed.ask("SELECT DISTINCT lesion FROM radiomic_features WHERE site = ?", site)
    }


def test_each_structure_lies_on_the_ct_of_its_own_frame(landed: Deliveries) -> None:
    found = lesions(landed, FRAMES)
    assert {label: (row["visit"], round(row["mean_hu"])) for label, row in found.items()} == {
        "GTV-1": ("T0", 40),
        "GTV-2": ("T1", 40),
    }
    assert [row["volume_mm3"] for row in found.values()] == pytest.approx([BALL_MM3] * 2, rel=0.01)


def test_contours_on_every_third_slice_give_a_diameter_and_no_volume(landed: Deliveries) -> None:
    (row,) = landed.reads(THIRD)
    assert row["outline_flags"] == ["slices_empty"]
    assert row["volume_mm3"] is None
    assert row["longest_diameter_mm"] == pytest.approx(18.73, abs=0.01)
    assert measured(landed, THIRD) == set()
    assert any("Outline every slice" in refused for refused in landed.refused(THIRD, "reads"))
    (reason,) = landed.ask("SELECT DISTINCT reason FROM habitats WHERE site = ?", THIRD)
    assert "slices_empty" in reason["reason"]


def test_open_contours_whose_ends_meet_are_closed_and_open_ones_alone_are_refused(
    landed: Deliveries,
) -> None:
    found = lesions(landed, OPEN)
    assert set(found) == {"GTV-1"}
    assert found["GTV-1"]["volume_mm3"] == pytest.approx(BALL_MM3, rel=0.001)
    assert set(found["GTV-1"]["outline_flags"]) == {"open_contours", "enclosing_nothing"}
    assert any(
        "GTV-2: holds open contours alone" in refused for refused in landed.refused(OPEN, "reads")
    )


def test_a_sagittal_structure_does_not_refuse_the_lesion_beside_it(landed: Deliveries) -> None:
    assert lesions(landed, BAD)["GTV-1"]["volume_mm3"] == pytest.approx(BALL_MM3, rel=0.001)
    (refused,) = landed.refused(BAD, "reads")
    assert "crosses slices" in refused
    assert "Sagittal" not in refused, "a structure's free text stays in the hospital"


@pytest.mark.parametrize(
    ("number", "volume", "flags"),
    [
        ("951501", BALL_MM3, []),  # a: two exclusions below a pixel
        ("951502", BALL_MM3, []),  # b: one item a contour
        ("951504", BALL_MM3, []),  # d: beside a structure without contours
        ("951505", BALL_MM3, ["enclosing_nothing"]),  # e: beside a contour of two points
        ("951506", BALL_MM3, []),  # f: no series named, by the frame of reference
        ("951508", 2496.0, []),  # h: a hole in each slice
        ("951509", BALL_MM3, ["repeated_contours"]),  # i: every contour twice
        ("951510", BALL_MM3, ["repeated_contours"]),  # j: one contour twice
    ],
)
def test_odd_structure_sets_give_the_ball(
    landed: Deliveries, number: str, volume: float, flags: list[str]
) -> None:
    (row,) = landed.reads(ODD, number)
    assert row["volume_mm3"] == pytest.approx(volume, rel=0.01)
    assert row["outline_flags"] == flags


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("951503", "ROINumber is that of another structure"),  # c
        ("951504", "encloses no voxel"),  # d: the second
        ("951507", "outside the images"),  # g
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    landed: Deliveries, number: str, reason: str
) -> None:
    patient = landed.pseudonym(ODD, number)
    assert any(patient in refused and reason in refused for refused in landed.refused(ODD, "reads"))
    assert number != "951503" or landed.reads(ODD, number) == []


@pytest.mark.parametrize(
    ("number", "diameter"), [("959101", 18.73), ("959102", None), ("959103", None)]
)
def test_an_outline_that_the_images_cut_has_no_volume(
    landed: Deliveries, number: str, diameter: float | None
) -> None:
    """The diameter stays where the widest contour is on an image, and nobody can say of voxels."""
    (row,) = landed.reads(CUT, number)
    assert row["volume_mm3"] is None
    assert row["longest_diameter_mm"] == (diameter and pytest.approx(diameter, abs=0.01))
    assert measured(landed, CUT) == set()
    patient = landed.pseudonym(CUT, number)
    assert any(
        patient in refused and "beyond the images" in refused
        for refused in landed.refused(CUT, "reads")
    )


def test_of_two_unlike_outlines_of_a_lesion_none_is_used(landed: Deliveries) -> None:
    assert landed.reads(TWO, "959201") == []
    patient = landed.pseudonym(TWO, "959201")
    named = [refused for refused in landed.refused(TWO, "reads") if patient in refused]
    assert len(named) == 1
    assert "none is used" in named[0]


def test_an_outline_that_was_exported_twice_with_other_points_is_used(landed: Deliveries) -> None:
    (row,) = landed.reads(TWO, "959202")
    assert row["volume_mm3"] == pytest.approx(BALL_MM3, rel=0.08)
