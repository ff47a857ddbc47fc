"""Joining what readers wrote with what they outlined, one case per rule.

Everything left over has a reason.
"""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.reading.reads import (
    MEASURED,
    OUTLINE,
    derive_reads,
    reader_artifact_flags,
)
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE, READS
from dagster_project.study import load_study
from tests.domain.rows import LESIONS_CSV, LOCKED, LOCKS, day, frame, table

RULES = load_study().section("reads")
SCANS = table(
    "scans",
    *(
        {"scan": s, "series_instance_uid": f"u{s}", "scan_date": day(d)}
        for s, d in (("S0", -5), ("S0b", -5), ("S1", 50))
    ),
)
TIMEPOINTS = table(
    "timepoints",
    {"visit": "T0", "scan": "S0", "scan_date": day(-5), "alternative_scans": ["S0b"]},
    {"visit": "T1", "scan": "S1", "scan_date": day(50)},
)
BOTH_LOCKED = frame(
    LOCKS, {"reader": "R1", "locked_at": LOCKED}, {"reader": "R2", "locked_at": LOCKED}
)
NOTHING = pl.DataFrame()


def outline(label="L1", scan="S0", reader="R1", **facts):
    measured = dict.fromkeys(MEASURED) | {
        "voxel_count": 100,
        "volume_mm3": 100.0,
        "mean_hu": 30.0,
        "longest_diameter_mm": 20.0,
        "short_axis_mm": 15.0,
        "mask_digest": f"{scan}{reader}{label}",
        **dict.fromkeys(("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"), 0.0),
    }
    usual = {
        "site": "AA",
        "patient": "P1",
        "scan": scan,
        "reader": reader,
        "label": label,
        "mask_source": "SEG",
        "border_rule": "voxels_as_given",
        "n_outside": 0,
        "outline_flags": [],
        "outline_source": f"{label} of {reader}",
        "refused": "",
        "image_share": 0.001,
    }
    row = {**usual, **measured, **facts}
    assert set(row) >= set(OUTLINE)
    return row


def written(*rows, **usual):
    return frame(
        LESIONS_CSV,
        *rows,
        **{
            "reader": "R1",
            "series_instance_uid": "uS0",
            "lesion": "L1",
            "role": "target",
            "present": True,
            **usual,
        },
    )


def derive(outlines=(), lesions=NOTHING, locks=BOTH_LOCKED):
    reads, refused = derive_reads(outlines, lesions, locks, TIMEPOINTS, SCANS, RULES)
    return reads.rows(named=True), dict(refused.select("item", "reason").iter_rows())


def test_columns_are_those_of_the_tables():
    reads, refused = derive_reads([outline()], written({}), BOTH_LOCKED, TIMEPOINTS, SCANS, RULES)
    assert reads.schema == {
        n: t for n, t in polars_schema(READS).items() if n != "input_fingerprint"
    }
    assert refused.schema == polars_schema(QUARANTINE)
    empty, _ = derive_reads([], NOTHING, NOTHING, TIMEPOINTS, SCANS, RULES)
    assert empty.schema == reads.schema


def test_a_row_and_its_outline_make_a_read():
    (read,), refused = derive(
        [outline()], written({"organ": "lymph_node", "node": True, "nontarget_state": None})
    )
    assert refused == {}
    assert {
        k: read[k]
        for k in (
            "visit",
            "scan",
            "lesion",
            "role",
            "organ",
            "is_lymph_node",
            "is_present",
            "mask_source",
            "measurement_source",
            "longest_diameter_mm",
            "locked_at",
        )
    } == {
        "visit": "T0",
        "scan": "S0",
        "lesion": "L1",
        "role": "target",
        "organ": "lymph_node",
        "is_lymph_node": True,
        "is_present": True,
        "mask_source": "SEG",
        "measurement_source": "mask",
        "longest_diameter_mm": 20.0,
        "locked_at": LOCKED,
    }


@pytest.mark.parametrize("label", ["l1", "L 1", "L_1", "L-1"])
def test_labels_match_without_case_blanks_and_hyphens(label):
    (read,), refused = derive([outline(label)], written({}))
    assert (read["lesion"], read["mask_source"], refused) == ("L1", "SEG", {})


def test_roi_names_the_outline_where_it_differs():
    (read,), refused = derive([outline("GTV left")], written({"roi": "gtv_left"}))
    assert (read["lesion"], read["volume_mm3"], refused) == ("L1", 100.0, {})


@pytest.mark.parametrize(
    ("facts", "scan"),
    [
        ({"series_instance_uid": "uS1"}, "S1"),
        ({"series_instance_uid": None, "visit_date": day(50)}, "S1"),
        ({"series_instance_uid": None, "visit_date": day(-5)}, "S0"),
    ],
)
def test_a_row_belongs_to_its_series_or_to_the_chosen_scan_of_its_day(facts, scan):
    (read,), _ = derive([], written({"ld_mm": 12.0, **facts}))
    assert read["scan"] == scan


def test_by_date_the_series_that_the_reader_outlined_is_meant():
    (read,), refused = derive(
        [outline(scan="S0b")], written({"series_instance_uid": None, "visit_date": day(-5)})
    )
    assert (read["scan"], read["visit"], refused) == ("S0b", "T0", {})


@pytest.mark.parametrize(
    "facts",
    [
        {"series_instance_uid": "unknown"},
        {"series_instance_uid": None, "visit_date": day(-4)},
        {"series_instance_uid": None, "visit_date": None},
    ],
)
def test_a_row_without_a_scan_is_refused(facts):
    reads, refused = derive([], written(facts))
    assert reads == []
    assert refused == {
        "lesions.csv of R1 row 2": "no CT of that series or visit date; "
        "send the CT or correct series_uid or visit_date"
    }


@pytest.mark.parametrize("facts", [{"role": None}, {"lesion": None}])
def test_a_row_without_role_or_lesion_is_refused(facts):
    reads, refused = derive([], written(facts))
    assert reads == []
    assert "role or lesion" in refused["lesions.csv of R1 row 2"]


def test_the_mask_is_measured_where_there_is_one_else_the_hand():
    reads, _ = derive(
        [outline()],
        written({"ld_mm": 44.0, "sa_mm": 33.0}, {"lesion": "L2", "ld_mm": 44.0, "sa_mm": 33.0}),
    )
    assert [
        (
            r["lesion"],
            r["longest_diameter_mm"],
            r["short_axis_mm"],
            r["measurement_source"],
            r["mask_source"],
        )
        for r in reads
    ] == [("L1", 20.0, 15.0, "mask", "SEG"), ("L2", 44.0, 33.0, "hand", "NONE")]


@pytest.mark.parametrize(
    ("longest", "short", "used"),
    [
        (12.0, 18.0, False),
        (18.0, 18.0, True),
        (18.0, 12.0, True),
        (None, 12.0, True),
        (18.0, None, True),
    ],
)
def test_a_short_axis_longer_than_the_longest_diameter_is_no_measurement(longest, short, used):
    reads, refused = derive_reads(
        [], written({"ld_mm": longest, "sa_mm": short}), BOTH_LOCKED, TIMEPOINTS, SCANS, RULES
    )
    assert reads.select("longest_diameter_mm", "short_axis_mm").rows() == [
        (longest, short) if used else (None, None)
    ]
    assert refused["reason"].str.contains("neither is used").any() is not used


def test_diameters_by_hand_that_contradict_do_not_matter_where_the_lesion_is_outlined():
    (read,), refused = derive([outline()], written({"ld_mm": 12.0, "sa_mm": 18.0}))
    assert (read["longest_diameter_mm"], refused) == (20.0, {})


def test_an_absent_lesion_has_no_measurement():
    (read,), refused = derive([], written({"present": False, "ld_mm": 0.0, "too_small": True}))
    assert (
        read["is_present"],
        read["too_small_to_measure"],
        read["longest_diameter_mm"],
        read["measurement_source"],
        refused,
    ) == (False, False, None, None, {})


def test_an_absent_lesion_that_is_outlined_is_not_evaluable():
    (read,), refused = derive([outline()], written({"present": False, "nontarget_state": "CR"}))
    assert (read["is_present"], read["mask_digest"], read["mask_source"]) == (True, None, "NONE")
    assert (read["longest_diameter_mm"], read["nontarget_state"]) == (None, None)
    assert "marked absent but outlined or measured" in refused["lesions.csv of R1 row 2"]


def test_a_new_lesion_that_is_absent_and_outlined_is_left_out():
    row = {"role": "new", "present": False, "series_instance_uid": "uS1"}
    reads, refused = derive([outline(scan="S1")], written(row))
    assert reads == []
    assert "a new lesion is marked absent" in refused["lesions.csv of R1 row 2"]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, True),
        ({"too_small": True}, False),
        ({"ld_mm": 9.0}, False),
        ({"role": "non_target"}, False),
        ({"node": True, "ld_mm": 9.0}, True),
        ({"node": True, "sa_mm": 9.0}, False),
    ],
)
def test_a_target_that_is_there_but_not_measured_is_told(facts, told):
    reads, refused = derive([], written(facts))
    assert len(reads) == 1
    assert (["not evaluable" in reason for reason in refused.values()] == [True]) is told


def test_a_second_row_of_one_lesion_that_says_the_same_is_refused():
    reads, refused = derive([], written({"ld_mm": 10.0}, {"lesion": "l-1", "ld_mm": 10.0}))
    assert [r["longest_diameter_mm"] for r in reads] == [10.0]
    assert set(refused) == {"lesions.csv of R1 row 3"}
    assert "a second row" in refused["lesions.csv of R1 row 3"]


@pytest.mark.parametrize(
    "second", [{"ld_mm": 12.0}, {"role": "non_target"}, {"present": False, "ld_mm": None}]
)
def test_rows_of_one_lesion_that_contradict_each_other_are_refused(second):
    rows = [{"ld_mm": 10.0}, {"lesion": "l-1", "ld_mm": 10.0, **second}]
    for order in (rows, rows[::-1]):
        reads, refused = derive([], written(*order))
        assert reads == []
        assert set(refused) == {f"lesions.csv of R1 row {n}" for n in (2, 3)}
        assert all("contradict each other" in reason for reason in refused.values())


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ("GTV-1", True),
        ("gtv_mass", True),
        ("L12", True),
        ("Lesion A", True),
        ("Nodule 1", True),
        ("tumor", True),
        ("Tumour", True),
        ("MASS", True),
        ("L 1", True),
        ("l_2", True),
        ("Ｌ－3", True),
        ("L 3 vertebra", False),
        ("Lung_L", False),
        ("Heart", False),
        ("BODY", False),
    ],
)
def test_without_a_list_outlines_that_are_named_like_lesions_are_targets(label, target):
    reads, refused = derive([outline(label)])
    assert ([r["role"] for r in reads] == ["target"]) is target
    assert any("target_roi" in reason for reason in refused.values()) is not target


def test_an_outline_that_the_list_does_not_name_is_refused():
    reads, refused = derive([outline(), outline("L2")], written({}))
    assert [r["lesion"] for r in reads] == ["L1"]
    assert "in no row" in refused["P1 S0 R1 L2"]


def test_a_reader_without_a_list_is_not_bound_by_another_readers():
    reads, refused = derive([outline(), outline(reader="R2")], written({}))
    assert [(r["reader"], r["lesion"]) for r in reads] == [("R1", "L1"), ("R2", "L1")]
    assert refused == {}


def test_a_lesion_bears_one_name_within_a_patient():
    reads, _ = derive(
        [
            outline("nodule 1"),
            outline("NODULE_1", reader="R2"),
            outline("Nodule1", scan="S1", reader="R2"),
        ],
        written({"lesion": "Nodule-1"}),
    )
    assert {r["lesion"] for r in reads} == {"Nodule-1"}
    assert len(reads) == 3


@pytest.mark.parametrize(
    ("n_outside", "reason"), [(0, "encloses no voxel"), (4, "outside the images")]
)
def test_an_empty_outline_is_refused(n_outside, reason):
    reads, refused = derive([outline(voxel_count=0, n_outside=n_outside)])
    assert reads == []
    assert reason in refused["P1 S0 R1 L1"]


def test_an_outline_that_is_cut_is_used_and_told():
    (read,), refused = derive([outline(n_outside=3)])
    assert read["n_outside"] == 3
    assert refused["P1 S0 R1 L1"].startswith("3 contours or voxels")


def test_an_outline_on_a_series_that_is_not_here_is_refused():
    reads, refused = derive([outline(scan="S9")])
    assert reads == []
    assert "no visit" in refused["P1 S9 R1 L1"]


def test_equal_outlines_count_once_and_of_different_ones_the_voxels_are_used():
    reads, refused = derive(
        [outline(), outline("l 1", mask_digest="S0R1L1"), outline(mask_source="RTSTRUCT")]
    )
    assert ([r["mask_source"] for r in reads], refused) == (["SEG"], {})
    reads, refused = derive(
        [outline(mask_source="RTSTRUCT", volume_mm3=90.0, mask_digest="x"), outline()]
    )
    assert [(r["volume_mm3"], r["mask_source"]) for r in reads] == [(100.0, "SEG")]
    assert "one of several different outlines" in refused["P1 S0 R1 L1"]


@pytest.mark.parametrize(
    "other",
    [
        {"mask_digest": "x", "volume_mm3": 300.0, "voxel_count": 300},
        {"mask_digest": "x", "longest_diameter_mm": 23.0},
        {"mask_digest": "x", "centroid_z_mm": 4.0},
        {"mask_digest": "x", "mask_source": "RTSTRUCT", "longest_diameter_mm": 23.0},
        {"mask_digest": "x", "outline_flags": ["slices_empty"]},
    ],
)
def test_of_outlines_that_no_rule_of_filling_explains_none_is_used(other):
    for both in ([outline(), outline(**other)], [outline(**other), outline()]):
        reads, refused = derive(both)
        assert reads == []
        assert "none is used" in refused["P1 S0 R1 L1"]


def test_a_conflict_leaves_the_reader_s_other_lesions():
    reads, refused = derive(
        [outline(), outline(mask_digest="x", centroid_x_mm=9.0), outline("L2", centroid_x_mm=40.0)]
    )
    assert [read["lesion"] for read in reads] == ["L2"]
    assert set(refused) == {"P1 S0 R1 L1"}


@pytest.mark.parametrize(
    ("flags", "diameter"), [(["cut_by_images"], 20.0), (["cut_by_images", "longest_outside"], None)]
)
def test_an_outline_that_the_images_cut_has_no_volume(flags, diameter):
    (read,), refused = derive([outline(n_outside=3, outline_flags=flags)])
    assert (read["volume_mm3"], read["longest_diameter_mm"]) == (None, diameter)
    assert "beyond the images" in refused["P1 S0 R1 L1"]


def test_of_two_series_of_a_visit_the_chosen_one_is_read():
    reads, refused = derive([outline(scan="S0b"), outline()])
    assert [r["scan"] for r in reads] == ["S0"]
    assert "several series of one visit" in refused["P1 S0b R1 L1"]


def test_a_read_on_another_series_alone_is_kept_with_its_visit():
    (read,), _ = derive([outline(scan="S0b")])
    assert (read["scan"], read["visit"]) == ("S0b", "T0")


def test_an_open_read_has_no_lock():
    reads, _ = derive(
        [outline(), outline(reader="R2")], locks=frame(LOCKS, {"reader": "R1", "locked_at": LOCKED})
    )
    assert {r["reader"]: r["locked_at"] for r in reads} == {"R1": LOCKED, "R2": None}


def test_no_refusal_shows_a_value():
    _, refused = derive(
        [outline(voxel_count=0)], written({"series_instance_uid": "1.2.840.99", "ld_mm": 123.4})
    )
    assert not any(
        "1.2.840" in text or "123.4" in text for pair in refused.items() for text in pair
    )


def test_the_order_of_outlines_does_not_matter():
    outlines = [
        outline(label, scan, reader)
        for label in ("L1", "l1", "GTV")
        for scan in ("S0", "S0b", "S1")
        for reader in ("R1", "R2")
    ]
    assert derive(outlines) == derive(outlines[::-1])


def test_what_readers_say_about_artifacts():
    lesions = written(
        {"artifact": True},
        {"artifact": False, "reader": "R2"},
        {"series_instance_uid": None, "visit_date": day(50), "artifact": False},
        {"artifact": None, "series_instance_uid": "uS0b"},
    )
    assert reader_artifact_flags(lesions, SCANS).rows() == [("AA", "S0", True), ("AA", "S1", False)]
    assert reader_artifact_flags(NOTHING, SCANS).rows() == []


def by_hand(*sizes, **facts):
    """One lesion measured by hand on S0, S1 and, with a third size, S2."""
    scans = ("S0", "S1", "S2")
    rows = [
        {"series_instance_uid": f"u{scan}", "ld_mm": size, "row_number": k, **facts}
        for k, (scan, size) in enumerate(zip(scans, sizes, strict=False), start=2)
    ]
    third = {"scan": "S2", "series_instance_uid": "uS2", "scan_date": day(100)}
    reads, refused = derive_reads(
        [],
        written(*rows),
        BOTH_LOCKED,
        pl.concat(
            [TIMEPOINTS, table("timepoints", {"visit": "T2", "scan": "S2", "scan_date": day(100)})]
        ),
        pl.concat([SCANS, table("scans", third)]),
        RULES,
    )
    return [r["longest_diameter_mm"] for r in reads.rows(named=True)], refused["reason"].to_list()


@pytest.mark.parametrize(
    ("sizes", "used"),
    [
        ((17.3, 173.0, 16.0), [17.3, None, 16.0]),
        ((34.5, 3.1, 30.0), [34.5, None, 30.0]),
        ((345.0, 30.0, 28.0), [None, 30.0, 28.0]),
        ((17.3, 173.0), [None, None]),
        ((60.0, 30.0, 8.0), [60.0, 30.0, 8.0]),
        ((18.0, 180.0, 27.0), [18.0, None, 27.0]),
        ((18.0, 1.2, 9.0), [18.0, None, 9.0]),
        ((18.0, 2.8, 27.0), [18.0, None, 27.0]),
        ((40.0, 8.0, 30.0), [40.0, 8.0, 30.0]),
        ((40.0, 8.0), [40.0, 8.0]),
        ((8.0, 40.0), [None, None]),
        ((10.0, 40.0, 79.0), [10.0, 40.0, 79.0]),
        ((173.0,), [173.0]),
        ((40.0, None, 4.0), [None, None, None]),
    ],
)
def test_a_diameter_that_no_other_visit_supports_is_not_used(sizes, used):
    found, reasons = by_hand(*sizes)
    assert found == used
    assert sum("ten times" in r for r in reasons) == sum(
        u is None and s is not None for u, s in zip(used, sizes, strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(10, 12)] * 3),
    st.integers(0, 2),
    st.sampled_from([0.1, 10.0]),
    st.floats(0.55, 1.8),
)
def test_a_factor_of_ten_is_found_wherever_it_is(sizes, place, factor, course):
    """And beside a course of the lesion that is true."""
    true = [sizes[0], sizes[1] * course, sizes[2]] if place == 1 else list(sizes)
    wrong = [size * factor if k == place else size for k, size in enumerate(true)]
    found, _ = by_hand(*wrong)
    assert found == [None if k == place else size for k, size in enumerate(wrong)]
    assert by_hand(*true)[0] == true


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(10, 49), min_size=1, max_size=3))
def test_what_changes_less_than_fivefold_is_believed(sizes):
    assert by_hand(*sizes)[0] == sizes


def test_a_lesion_that_shrank_to_nothing_supports_the_size_before():
    assert by_hand(34.0, 8.0, 0.0, present=None)[0] == [34.0, 8.0, 0.0]


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        ({"ld_mm": 200.0}, True),  # a decimal point that was lost
        ({"ld_mm": 2.0, "sa_mm": 1.5}, True),  # in cm
        ({"sa_mm": 7.0}, True),
        ({"ld_mm": 39.0, "sa_mm": 8.0}, False),
        ({"ld_mm": 0.0}, False),
        ({}, False),
    ],
)
def test_a_diameter_beside_an_outline_of_another_size_is_asked_about(size, asked):
    (read,), refused = derive([outline()], written({"roi": "L1", **size}))
    assert (read["longest_diameter_mm"], read["measurement_source"]) == (20.0, "mask")
    assert ("that of the outline" in refused.get("lesions.csv of R1 row 2", "")) is asked


def test_a_lesion_cannot_be_new_before_treatment():
    reads, refused = derive([outline()], written({"role": "new"}))
    assert reads == []
    assert "cannot be new" in refused["lesions.csv of R1 row 2"]


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ({"present": True, "ld_mm": 0.0}, False),
        ({"present": True, "ld_mm": 0.0, "too_small": True}, False),
        ({"present": None, "ld_mm": 0.0, "too_small": True}, False),
        ({"present": True, "node": True, "organ": "lymph_node", "sa_mm": 0.0}, False),
        ({"present": None, "ld_mm": 0.0}, True),
    ],
)
def test_a_lesion_that_is_there_has_no_diameter_of_0(said, used):
    (read,), refused = derive([], written({"too_small": None, **said}))
    assert (0.0 in (read["longest_diameter_mm"], read["short_axis_mm"])) is used
    named = [reason for reason in refused.values() if "with a diameter of 0" in str(reason)]
    assert (not named) is used


@pytest.mark.parametrize("size", [{"ld_mm": 12.0}, {"sa_mm": 9.0}])
def test_an_absent_lesion_with_a_diameter_is_not_evaluable(size):
    (read,), refused = derive([], written({"present": False, "too_small": True, **size}))
    assert (read["is_present"], read["longest_diameter_mm"]) == (True, None)
    assert read["too_small_to_measure"] is False
    assert "marked absent" in refused["lesions.csv of R1 row 2"]


@pytest.mark.parametrize(
    ("organ", "node", "named"),
    [
        ("lung", True, True),
        ("lymph_node", False, True),
        ("lymph_node", True, False),
        ("mediastinum", True, False),
        ("other", True, False),
        (None, True, False),
        ("lung", False, False),
    ],
)
def test_a_node_in_an_organ_without_nodes_is_named(organ, node, named):
    (read,), refused = derive([outline()], written({"organ": organ, "node": node}))
    assert any("node and organ" in reason for reason in refused.values()) is named
    assert (read["longest_diameter_mm"] is None) is named
    assert (read["short_axis_mm"] is None) is named


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"role": "non_target"}, "role is another"),
        ({"role": "new"}, "role is another"),
        ({"node": True}, "lymph node at one visit"),
        ({}, ""),
    ],
)
def test_a_lesion_is_the_same_at_every_visit(later, reason):
    rows = ({"node": False}, {"series_instance_uid": "uS1", "node": False, **later})
    reads, refused = derive([outline(), outline(scan="S1")], written(*rows))
    assert len(reads) == 2
    found = [r for r in refused.values() if "role is another" in r or "at one visit" in r]
    assert ([reason in r for r in found]) == ([True] if reason else [])
