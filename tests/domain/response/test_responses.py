"""The responses table: which visits are graded, from whose rows, and what is written of them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from dagster_project.domain.response.responses import (
    RepeatedLesionError,
    change_percent,
    derive_responses,
)
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import RESPONSES
from tests.domain.courses import IRECIST, RECIST
from tests.domain.records import DAY_ZERO, VISIT_DAYS, lesions, table, timepoints


def derive(found, visits, evaluator="accepted"):
    return derive_responses(found, visits, evaluator=evaluator, recist=RECIST, irecist=IRECIST)


def test_columns_are_those_of_the_table_without_recorded_at():
    found = derive(lesions(L1=[50, 50]), timepoints("T0", "T1"))
    assert dict(found.schema) == {
        n: k for n, k in polars_schema(RESPONSES).items() if n != "recorded_at"
    }


def test_a_course_in_numbers():
    found = derive(
        lesions(L1=[60, 40, 60], L2=[40, 20, 20], N1=[None, None, 12]), timepoints("T0", "T1", "T2")
    ).to_dicts()
    assert [
        (r["visit"], r["day"], r["sum_mm"], r["nadir_mm"], r["new_lesion_sum_mm"]) for r in found
    ] == [("T1", 56, 60.0, 100.0, None), ("T2", 98, 80.0, 60.0, 12.0)]
    assert [r["change_from_baseline_percent"] for r in found] == [-40.0, -20.0]
    assert found[1]["change_from_nadir_percent"] == pytest.approx(100 / 3)
    assert [(r["overall_response"], r["irecist_response"], r["new_lesion"]) for r in found] == [
        ("PR", "iPR", False),
        ("PD", "iUPD", True),
    ]
    assert {r["baseline_sum_mm"] for r in found} == {100.0}


def test_1_visits_before_t0_are_left_out_and_undated_ones_are_not_evaluable():
    days = VISIT_DAYS | {"V1": -40}
    undated = table("timepoints", {"visit": "V2", "scan": "SV2", "scan_date": None})
    found = derive(
        lesions(L1=[50, 50]), pl.concat([timepoints("T0", "T1", "V1", days=days), undated])
    ).to_dicts()
    assert [(r["visit"], r["overall_response"]) for r in found] == [("T1", "SD"), ("V2", "NE")]
    assert found[1]["rule"] == "scan without a date"


def test_1_visits_are_taken_by_date_and_not_by_name():
    days = VISIT_DAYS | {"V1": 70}
    found = derive(lesions(L1=[100, 60, 80, 61]), timepoints("T0", "T1", "T2", "V1", days=days))
    assert found["visit"].to_list() == ["T1", "V1", "T2"]
    assert found["overall_response"].to_list() == ["PR", "PR", "PD"]


def test_2_the_accepted_read_is_silent_on_a_visit_a_reader_has_not_read_it():
    found, visits = lesions(L1=[50, None, 50]), timepoints("T0", "T1", "T2")
    accepted, reader = derive(found, visits), derive(found, visits, evaluator="R1")
    assert accepted["overall_response"].to_list() == ["NE", "SD"]
    assert accepted["rule"][0].startswith("visit not read")
    assert reader.select("visit", "evaluator").rows() == [("T2", "R1")]


@pytest.mark.parametrize(
    ("found", "visits", "why"),
    [
        pytest.param(
            lesions(L1=[None, 50]), timepoints("T1"), "no scan at T0 to compare with", id="3 no T0"
        ),
        pytest.param(
            lesions(L1=[None, 50]),
            timepoints("T0", "T1"),
            "the scan at T0 was not read",
            id="3 T0 not read",
        ),
    ],
)
def test_3_without_baseline_every_visit_is_not_evaluable(found, visits, why):
    assert derive(found, visits).select("overall_response", "irecist_response", "rule").rows() == [
        ("NE", "iNE", why)
    ]


def test_a_doubtful_new_lesion_is_no_progression_until_a_later_visit_makes_it_certain():
    """In hindsight RECIST 1.1 dates the progression at T1; whoever decided at T1 could not know."""
    doubtful = lesions(L1=[50, 50, 50], N1=[None, 6, 9]).with_columns(
        unequivocal=pl.when((pl.col("lesion") == "N1") & (pl.col("visit") == "T1"))
        .then(False)
        .otherwise("unequivocal")
    )
    found = derive(doubtful, timepoints("T0", "T1", "T2"))
    assert found["overall_response"].to_list() == ["PD", "PD"]
    assert found["overall_response_as_of_visit"].to_list() == ["SD", "PD"]
    assert found["irecist_response"].to_list() == ["iSD", "iUPD"]


@pytest.mark.parametrize("sizes", [[50, 40, 60, 20], [50, None, 80, 90], [50, 0, 3, 3]])
def test_the_state_as_of_a_visit_uses_nothing_later(sizes):
    """What stands as of a visit is what stood when it was the last one."""
    doubtful = lesions(L1=sizes, N1=[None, 6, 6, 9]).with_columns(
        unequivocal=pl.col("visit") == "V1"
    )
    whole = (
        derive(doubtful, timepoints("T0", "T1", "T2", "V1"))
        .select("visit", "overall_response_as_of_visit", "irecist_response")
        .rows()
    )
    for n, seen in enumerate((("T0", "T1"), ("T0", "T1", "T2"), ("T0", "T1", "T2", "V1"))):
        then = (
            derive(doubtful.filter(pl.col("visit").is_in(seen)), timepoints(*seen))
            .select("visit", "overall_response", "irecist_response")
            .rows()
        )
        assert then[-1] == whole[n]


def test_fragments_of_a_split_lesion_are_added():
    split = pl.concat([lesions(L1=[40, 40], L1a=[None, None, 18], L1b=[None, None, 14])])
    assert derive(split, timepoints("T0", "T1", "T2"))["sum_mm"].to_list() == [40.0, 32.0]


def test_the_short_axis_is_taken_of_a_node():
    nodes = lesions(L1=[30, 30]).with_columns(
        is_lymph_node=pl.lit(True), short_axis_mm=pl.lit(18.0)
    )
    assert derive(nodes, timepoints("T0", "T1"))["sum_mm"].to_list() == [18.0]


def test_rows_of_two_readers_at_once_are_refused():
    with pytest.raises(RepeatedLesionError, match="pass the rows of one evaluator"):
        derive(pl.concat([lesions(L1=[50])] * 2), timepoints("T0"))


def test_change_needs_a_reference():
    assert change_percent(10.0, 0.0) is None
    assert change_percent(None, 10.0) is None


def test_no_rows_in_no_rows_out():
    assert derive(lesions(L1=[]), timepoints()).is_empty()


def test_patients_do_not_touch_each_other():
    courses = [
        lesions(L1=[50, 40, 30]),
        lesions(L1=[50, 70, 20], N1=[None, None, 12]),
        lesions(L1=[30, None, 0]),
    ]
    named = [c.with_columns(patient=pl.lit(f"P{n}")) for n, c in enumerate(courses)]
    visits = [timepoints("T0", "T1", "T2", patient=f"P{n}") for n in range(3)]
    alone = pl.concat([derive(c, v) for c, v in zip(named, visits, strict=True)])
    together = derive(pl.concat(named[::-1]), pl.concat(visits[::-1]))
    assert together.sort("patient", "visit").equals(alone.sort("patient", "visit"))


EARLY_DAYS = VISIT_DAYS | {"V1": VISIT_DAYS["T1"] + 20}
SECOND_NEW = lesions(L1=[50, 50, None, 50], N1=[None, 12, None, 12], N2=[None, None, None, 11])
WITHIN = IRECIST["symptom_days"]


@pytest.mark.parametrize(
    ("before", "symptoms", "response"),
    [
        pytest.param(0, True, "iCPD", id="new symptoms on the day of the CT"),
        pytest.param(WITHIN, True, "iCPD", id="at most so long before it"),
        pytest.param(WITHIN + 1, True, "iUPD", id="longer before it"),
        pytest.param(-1, True, "iUPD", id="after the CT: not its reason"),
        pytest.param(0, False, "iUPD", id="no new symptoms"),
        pytest.param(0, None, "iUPD", id="unknown is none"),
    ],
)
def test_5_an_early_ct_for_new_symptoms_with_a_further_new_lesion_confirms(
    before, symptoms, response
):
    day = EARLY_DAYS["V1"] - before
    state = table(
        "clinical_status",
        {"status_date": DAY_ZERO + timedelta(day), "day": day, "new_symptoms": symptoms},
    )
    found = derive_responses(
        SECOND_NEW,
        timepoints("T0", "T1", "V1", days=EARLY_DAYS),
        evaluator="accepted",
        recist=RECIST,
        irecist=IRECIST,
        clinical_status=state,
    )
    assert found["irecist_response"].to_list() == ["iUPD", response]


def test_5_symptoms_before_the_last_ct_are_not_new_at_this_one():
    days = VISIT_DAYS | {"V1": VISIT_DAYS["T1"] + 5}
    state = table(
        "clinical_status", {"status_date": DAY_ZERO + timedelta(days["T1"]), "new_symptoms": True}
    )
    found = derive_responses(
        SECOND_NEW,
        timepoints("T0", "T1", "V1", days=days),
        evaluator="accepted",
        recist=RECIST,
        irecist=IRECIST,
        clinical_status=state,
    )
    assert found["irecist_response"].to_list() == ["iUPD", "iUPD"]
