"""What a reader is asked before the lock, from the own reads of one visit."""

from __future__ import annotations

import pytest

from dagster_project.domain.reading.entry_checks import EntryQuestion, check_entries
from tests.domain.courses import STUDY

RECIST = STUDY.section("recist")
MOST, IN_ORGAN = RECIST["maximum_targets"], RECIST["maximum_targets_per_organ"]
LEAST, NODE = RECIST["lesion_target_mm"], RECIST["node_target_mm"]


def read(lesion, size=LEAST + 5, role="target", organ=None, node=False, **more):
    return {
        "lesion": lesion,
        "role": role,
        "organ": organ,
        "is_lymph_node": node,
        "is_present": True,
        "too_small_to_measure": False,
        "longest_diameter_mm": None if node else size,
        "short_axis_mm": size if node else None,
        "nontarget_state": None,
        "unequivocal": None,
        **more,
    }


def targets(n, **more):
    return [read(f"L{k}", **more) for k in range(n)]


@pytest.mark.parametrize(
    ("here", "known", "visit", "expected"),
    [
        ([read("L1")], ["L1", "L2"], "T1", [EntryQuestion("lesion_missing", "L2")]),  # 1
        ([read("L1", is_present=False)], ["L1"], "T1", []),  # 1. absent is read
        ([], ["L1"], "T1", []),  # nothing was delivered yet
        (targets(MOST), [], "T0", []),  # 2
        (targets(MOST + 1), [], "T0", [EntryQuestion("too_many_targets", "", MOST + 1, MOST)]),
        (
            targets(IN_ORGAN + 1, organ="lung"),
            [],
            "T0",
            [EntryQuestion("too_many_in_organ", "lung", IN_ORGAN + 1, IN_ORGAN)],
        ),
        (
            [read("L1", LEAST - 0.1)],
            [],
            "T0",
            [EntryQuestion("below_minimum", "L1", LEAST - 0.1, LEAST)],
        ),  # 3
        ([read("L1", LEAST)], [], "T0", []),
        (
            [read("L1", NODE - 1, node=True)],
            [],
            "T0",
            [EntryQuestion("below_minimum", "L1", NODE - 1, NODE)],
        ),
        ([read("L1", 3.0)], [], "T1", []),  # a target may shrink
        ([read("L1", 3.0, role="non_target")], [], "T0", []),
        ([read("L1", None)], [], "T0", []),  # not measured is asked elsewhere
    ],
    ids=[
        "missing",
        "absent",
        "nothing-delivered",
        "as-many-as-allowed",
        "too-many",
        "too-many-in-organ",
        "below",
        "just-measurable",
        "node-below",
        "shrunk",
        "non-target",
        "unmeasured",
    ],
)
def test_questions_follow_from_the_readers_own_rows(here, known, visit, expected):
    assert check_entries(here, known, visit, RECIST) == expected
