"""Contradictions in iRECIST responses that were written down.

One numbered case per rule; then thirteen dirty subjects.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.external_trials.recorded_responses import (
    Recorded,
    audit_recorded,
    normalise,
)
from dagster_project.lake.columns import IRECIST_RESPONSES
from tests.domain.courses import irecist, rows_of


def sequence(text, **last):
    words = text.split()
    return [
        Recorded(f"V{n}", 42 * n, w, **(last if n == len(words) - 1 else {}))
        for n, w in enumerate(words)
    ]


CASES = {
    "1 no day": ([Recorded("V0", None, "iSD")], ["V0: no complete date"]),
    "1 dated before": (
        [Recorded("V0", 42, "iSD"), Recorded("V1", 41, "iSD")],
        ["V1: dated before a visit that is numbered lower"],
    ),
    "2 a target's word of non-targets": (
        sequence("iSD", target="iSD", nontarget="iSD"),
        ["V0: iSD is no non-target response"],
    ),
    "2 a non-target's word overall": (
        sequence("iNON_CR_NON_PD", target="iSD", nontarget="iNON_CR_NON_PD"),
        ["V0: overall iNON_CR_NON_PD although there are targets"],
    ),
    "3 new lesion, not evaluable": (
        sequence("iNE", target="iNE", nontarget="iNE", new_lesion=True),
        ["V0: a component has progressed, the overall response has not"],
    ),
    "3 new lesion let pass after iUPD": (
        sequence("iUPD iPR", target="iPR", nontarget="iCR", new_lesion=True),
        [],
    ),
    "3 progression without a cause": (
        sequence("iUPD", target="iSD", nontarget="iCR", new_lesion=False),
        ["V0: overall progression, and no component has progressed"],
    ),
    "4 components": (
        sequence("iCR", target="iCR", nontarget="iNON_CR_NON_PD"),
        ["V0: the components do not give the overall response"],
    ),
    "5 confirmed at once": (sequence("iCPD"), ["V0: iCPD without an iUPD before it"]),
    "5 confirmed after a reset": (
        sequence("iUPD iSD iCPD"),
        ["V2: iCPD without an iUPD before it"],
    ),
    "5 confirmed across a visit not evaluable": (sequence("iUPD iNE iCPD iCPD"), []),
    "6 after confirmation": (sequence("iUPD iCPD iSD"), ["V2: iSD after iCPD"]),
    "7 after iCR": (sequence("iCR iPR"), ["V1: iPR after iCR"]),
    "7 after iPR": (sequence("iPR iSD"), ["V1: iSD after iPR"]),
    "7 a progression lies between": (sequence("iPR iUPD iSD"), []),
}


@pytest.mark.parametrize(("visits", "expected"), CASES.values(), ids=CASES.keys())
def test_contradictions(visits, expected):
    assert audit_recorded(visits) == expected


def test_what_the_engine_grades_does_not_contradict_itself():
    graded = irecist(L1=[100, 90, 60, 75, 62, 75, 82, 60])
    assert audit_recorded([Recorded(str(n), n, r) for n, r in enumerate(graded)]) == []


@given(
    st.lists(
        st.builds(
            Recorded,
            st.just("V"),
            st.none() | st.integers(0, 400),
            *[st.none() | st.sampled_from((*IRECIST_RESPONSES, "?"))] * 3,
            st.none() | st.booleans(),
        )
    )
)
def test_no_sequence_makes_it_fail(visits):
    assert all(line.startswith("V: ") for line in audit_recorded(visits))


@pytest.mark.real_data
def test_dirty_subjects_are_flagged_and_clean_ones_are_not(shared_data):
    rows = rows_of(shared_data / "response" / "sdtm_rs_irecist_dirty.csv")
    found = {who[-4:]: audit_recorded(visits) for who, visits in recorded(rows).items()}
    assert len(found) == 13
    assert {who for who, lines in found.items() if lines} == {
        "1028",
        "1034",
        "1097",
        "1148",
        "1153",
        "1203",
    }
    assert found["1028"] == ["WEEK 6: no complete date", "WEEK 18: iSD after iCPD"]
    assert found["1153"] == [
        "UNSCHEDULED 9.3: dated before a visit that is numbered lower",
        "UNSCHEDULED 9.2: iPR after iCR",
        "WEEK 24: iSD after iPR",
    ]


def recorded(rows):
    values, found = defaultdict(dict), defaultdict(list)
    for r in rows:
        values[r["USUBJID"], float(r["VISITNUM"]), r["VISIT"], r["RSDTC"]][r["RSTESTCD"]] = r[
            "RSSTRESC"
        ]
    for (who, _, visit, day), given_ in sorted(values.items()):
        if "OVRLRESP" in given_:
            words = [normalise(given_.get(test)) for test in ("OVRLRESP", "TRGRESP", "NTRGRESP")]
            found[who].append(
                Recorded(
                    visit,
                    date.fromisoformat(day).toordinal() if len(day) == 10 else None,
                    *words,
                    given_.get("NEWLIND") == "Y",
                )
            )
    return found
