"""What a measured outline is flagged for, and what is then not measured of it."""

from __future__ import annotations

import pytest

from dagster_project.domain.imaging.outline_flags import (
    flag_same_voxels,
    flag_unlike_density,
    judge_outline,
    without_features,
)
from dagster_project.domain.imaging.outlines import FLAGS, NO_FEATURES
from dagster_project.study import load_study

RULES = load_study().section("reads")
GOOD = {
    "site": "AA",
    "patient": "P1",
    "reader": "R1",
    "label": "L1",
    "outline_flags": [],
    "mean_hu": 30.0,
    "volume_mm3": 5000.0,
    "longest_diameter_mm": 21.0,
    "image_share": 0.001,
}


def judged(rules=RULES, **facts):
    row = judge_outline({**GOOD, **facts}, rules)
    return row["outline_flags"], row["volume_mm3"]


@pytest.mark.parametrize(
    ("facts", "flags"),
    [
        ({}, []),
        ({"mean_hu": -620.0}, []),  # pure ground glass
        ({"mean_hu": -819.0}, ["density_of_air"]),  # lung beside the lesion
        ({"mean_hu": -990.0}, ["density_of_air"]),
        ({"mean_hu": None, "longest_diameter_mm": None}, []),
        ({"volume_mm3": 358681.5, "longest_diameter_mm": 120.0}, []),  # a large tumour
        ({"longest_diameter_mm": 480.0}, ["implausibly_large"]),
        ({"volume_mm3": 3.1e6}, ["implausibly_large"]),
        (
            {"image_share": 0.98, "mean_hu": -810.0},
            ["density_of_air", "implausibly_large"],
        ),  # an inverted mask
    ],
)
def test_flags_by_measures(facts, flags):
    assert judged(**facts)[0] == flags


def test_a_volume_that_is_not_the_lesions_is_null_and_the_diameter_stays():
    row = judge_outline({**GOOD, "outline_flags": ["slices_empty"]}, RULES)
    assert (row["volume_mm3"], row["longest_diameter_mm"]) == (None, 21.0)
    assert judged(outline_flags=["slices_filled"]) == (["slices_filled"], 5000.0)


def test_an_inverted_mask_has_no_diameter_either():
    row = judge_outline({**GOOD, "image_share": 0.97, "short_axis_mm": 90.0}, RULES)
    assert [row[name] for name in ("volume_mm3", "longest_diameter_mm", "short_axis_mm")] == [
        None
    ] * 3


def test_a_lesion_that_is_known_to_be_in_pieces_keeps_its_volume():
    rules = {**RULES, "in_pieces": ["AA:R1:P1:L1"]}
    assert judged(rules, outline_flags=["slices_empty"]) == ([], 5000.0)
    assert judged(rules, outline_flags=["slices_empty"], label="L2")[0] == ["slices_empty"]


@pytest.mark.parametrize("code", FLAGS)
def test_each_code_says_what_to_do_and_whether_features_are_measured(code):
    assert ("no features" in FLAGS[code] or "no volume and no features" in FLAGS[code]) == (
        code in NO_FEATURES
    )
    assert (without_features([code]) is not None) == (code in NO_FEATURES)


def test_one_outline_for_two_lesions_of_a_reader_is_flagged_on_both():
    rows = [
        {
            "site": "AA",
            "patient": "P",
            "scan": "S",
            "reader": reader,
            "lesion": lesion,
            "mask_digest": digest,
            "outline_flags": flags,
        }
        for reader, lesion, digest, flags in (
            ("R1", "L1", "m", []),
            ("R1", "L2", "m", ["slices_filled"]),
            ("R1", "L3", "n", []),
            ("R2", "L1", "m", []),
            ("R1", "L4", None, None),
            ("R1", "L5", None, None),
        )
    ]
    assert [r["outline_flags"] for r in flag_same_voxels(rows)] == [
        ["same_voxels"],
        ["slices_filled", "same_voxels"],
        [],
        [],
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("means", "flagged"),
    [
        ([30.0, 33.0, -692.0], [2]),      # half in the lung beside the tumour, at one visit
        ([30.0, -500.0], [0, 1]),         # of two nobody can tell which
        ([30.0, -50.0, -250.0], []),      # necrosis, a cavity
        ([-600.0, -620.0], []),           # ground glass at every visit
        ([30.0, None, -692.0], [0, 2]),   # measured by hand in between
        ([-692.0], []),
    ],
)  # fmt: skip
def test_a_density_unlike_that_of_the_other_visits_is_flagged(means, flagged):
    rows = [
        {
            "site": "AA",
            "patient": "P",
            "scan": f"S{k}",
            "reader": "R1",
            "lesion": "L1",
            "mean_hu": mean,
            "outline_flags": [],
        }
        for k, mean in enumerate(means)
    ]
    found = flag_unlike_density(rows, RULES["unlike_density_hu"])
    assert [
        k for k, row in enumerate(found) if row["outline_flags"] == ["unlike_density"]
    ] == flagged


def test_densities_of_other_readers_and_lesions_are_not_compared():
    rows = [
        {
            "site": "AA",
            "patient": "P",
            "scan": "S0",
            "reader": reader,
            "lesion": lesion,
            "mean_hu": mean,
            "outline_flags": [],
        }
        for reader, lesion, mean in (("R1", "L1", 30.0), ("R2", "L1", -600.0), ("R1", "L2", -600.0))
    ]
    assert flag_unlike_density(rows, RULES["unlike_density_hu"]) == rows
