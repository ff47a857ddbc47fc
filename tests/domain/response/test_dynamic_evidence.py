"""Evidence of each visit: in numbers, with a reason for each NULL, and nothing known later."""

from __future__ import annotations

from datetime import timedelta
from math import log

import polars as pl
import pytest

from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.comparison_classes import progression_margin, shipped_classes
from dagster_project.domain.response.dynamic_evidence import (
    NO_BLOCK,
    NO_DHI,
    NO_NEW_LESION,
    NO_PAIR,
    NO_READERS,
    NO_SUM,
    NO_VOLUME,
    NOT_BY_TARGETS,
    UNCALIBRATED,
    derive_dynamic_evidence,
)
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.responses import derive_responses
from dagster_project.lake.schema import empty, polars_schema
from dagster_project.lake.tables import BY_NAME, DYNAMIC_EVIDENCE
from tests.domain.courses import IRECIST, RECIST, STUDY
from tests.domain.records import DAY_ZERO, VISIT_DAYS, cycles, follow_up, lesions, table, timepoints

STANDARD = Standard("1", "d" * 16)
ERROR = STUDY.section("dynamic")["reader_error"]
VISITS = ("T0", "T1", "T2")


def graded(rows, visits, evaluator):
    found = derive_responses(rows, visits, evaluator=evaluator, recist=RECIST, irecist=IRECIST)
    return found.with_columns(recorded_at=pl.lit(None, pl.Datetime("us", "UTC"))).select(
        BY_NAME["responses"].names
    )


def evidence(accepted, visits=VISITS, readers=None, dhi=None, events=()):
    scans = timepoints(*visits) if isinstance(visits, tuple) else visits
    reads = {"accepted": accepted, **(readers or {})}
    clock = pl.DataFrame(schema={"site": pl.String, "patient": pl.String, "as_of_date": pl.Date})
    blocks = derive_irecist_blocks(
        reads,
        scans,
        follow_up(*events),
        cycles(0, 21),
        empty(BY_NAME["clinical_status"]),
        clock,
        STUDY.sections,
        STANDARD,
    )
    responses = pl.concat([graded(rows, scans, name) for name, rows in reads.items()])
    return derive_dynamic_evidence(
        responses,
        blocks,
        accepted,
        scans,
        empty(BY_NAME["dhi"]) if dhi is None else dhi,
        STUDY.sections,
        STANDARD,
    )


def at(frame, visit):
    return {r["item"]: r for r in frame.filter(visit=visit).to_dicts()}


GROWN = lesions(L1=[50, 40, 70], L2=[30, 30, 20])


def test_every_visit_has_every_item_once_and_each_null_its_reason():
    frame = evidence(GROWN)
    assert dict(frame.schema) == polars_schema(DYNAMIC_EVIDENCE)
    items = DYNAMIC_EVIDENCE.column("item").allowed
    assert frame.group_by("visit").agg("item").sort("visit")["item"].to_list() == [
        list(items),
        list(items),
    ]
    missing = frame.filter(pl.col("value").is_null())
    assert missing["reason"].null_count() == 0
    assert frame.filter(pl.col("value").is_not_null())["reason"].null_count() > 0
    assert set(frame["standard_digest"]) == {STANDARD.digest}


def test_changes_in_numbers():
    found = at(evidence(GROWN), "T2")
    values = {name: row["value"] for name, row in found.items()}
    assert values["margin_of_progression"] == progression_margin(90, 70, ERROR, RECIST)
    assert [values[f"change_from_{name}_mm"] for name in ("baseline", "nadir", "last")] == [
        10,
        20,
        20,
    ]
    assert values["change_from_baseline_percent"] == 12.5
    days = VISIT_DAYS["T2"] - VISIT_DAYS["T1"]
    assert values["growth_per_30_days"] == pytest.approx(log(90 / 70) * 30 / days)
    assert found["margin_of_progression"]["text"] == "reader error 6.0 %, of the protocol"
    assert found["change_from_last_mm"]["direction"] == "worse"
    assert found["change_from_baseline_mm"]["direction"] == "within_error"


def test_one_lesion_grows_while_another_shrinks():
    found = at(evidence(GROWN), "T2")
    names = ("lesions_growing", "lesions_shrinking", "dissociated")
    assert [found[name]["value"] for name in names] == [1, 1, 1]
    assert at(evidence(lesions(L1=[50, 51], L2=[30, 29])), "T1")["dissociated"]["value"] == 0


def test_a_lesion_that_has_gone_shrank_and_one_that_is_back_grew():
    found = evidence(lesions(L1=[50, 50, 50], L2=[30, 0, 12]))
    assert at(found, "T1")["lesions_shrinking"]["value"] == 1
    assert at(found, "T2")["lesions_growing"]["value"] == 1


def test_the_comparison_class_of_an_open_block_with_exact_bounds():
    found = at(evidence(GROWN), "T2")["comparison_class"]
    shipped = next(
        c for c in shipped_classes()["class"] if (c["margin"], c["visit"]) == (1, "later")
    )
    assert (found["class_n"], found["class_confirmed"], found["class_reset"]) == (
        shipped["n"],
        shipped["confirmed"],
        shipped["reset"],
    )
    assert found["text"] == "margin above 0.5 to 2, later visit"
    share = found["class_confirmed"] / found["class_n"]
    assert found["confirmed_lower"] < share < found["confirmed_upper"]


@pytest.mark.parametrize(
    ("accepted", "visit", "item", "why"),
    [
        (GROWN, "T1", "comparison_class", NO_BLOCK),
        (lesions(L1=[50, 50], N1=[None, 12]), "T1", "comparison_class", NOT_BY_TARGETS),
        (lesions(L1=[50, 50], L2=[20, None]), "T1", "change_from_nadir_mm", NO_SUM),
        (GROWN, "T1", "new_lesion_sum", NO_NEW_LESION),
        (GROWN, "T1", "readers_agree", NO_READERS),
        (GROWN, "T1", "change_of_log_volume", NO_VOLUME),
        (GROWN, "T1", "dhi", NO_DHI),
        (lesions(L1=[50, None], L2=[20, None], N1=[None, 12]), "T1", "dissociated", NO_PAIR),
    ],
)
def test_reasons(accepted, visit, item, why):
    row = at(evidence(accepted), visit)[item]
    assert (row["value"], row["reason"]) == (None, why)


def test_volume_readers_dhi_and_scanner():
    sized = GROWN.with_columns(volume_mm3=pl.col("longest_diameter_mm") * 100)
    scans = timepoints(*VISITS).with_columns(
        changed_since_t0=pl.when(pl.col("visit") == "T2")
        .then(pl.lit(["kernel"], pl.List(pl.String)))
        .otherwise(pl.lit([], pl.List(pl.String)))
    )
    dhi = table(
        "dhi",
        {
            "scope": "patient",
            "lesion": "*",
            "from_visit": "T0",
            "to_visit": "T2",
            "dhi": 1.4,
            "calibrated": False,
        },
    )
    readers = {"R1": GROWN, "R2": lesions(L1=[50, 40, 40], L2=[30, 30, 30])}
    found = at(evidence(sized, scans, readers, dhi), "T2")
    assert found["change_of_log_volume"]["value"] == pytest.approx(log(90 / 70))
    assert (found["readers_agree"]["value"], found["readers_agree"]["text"]) == (
        0,
        "R1 iUPD; R2 iSD",
    )
    assert (found["dhi"]["value"], found["dhi"]["text"]) == (1.4, UNCALIBRATED)
    assert (found["changes_of_the_scan"]["value"], found["changes_of_the_scan"]["text"]) == (
        1,
        "kernel",
    )


def test_evidence_of_a_visit_knows_nothing_later():
    later = lesions(L1=[50, 70, 90], L2=[30, 30, 30])
    earlier = later.filter(pl.col("visit") != "T2")
    assert evidence(later).filter(visit="T1").equals(evidence(earlier, ("T0", "T1")))


def test_a_block_that_an_event_closed_before_the_visit_is_not_open_at_it():
    row = at(evidence(GROWN, events=[("lost", VISIT_DAYS["T2"])]), "T2")["comparison_class"]
    assert row["value"] is not None
    both = lesions(L1=[50, 70, 71])
    closed = at(evidence(both, events=[("lost", VISIT_DAYS["T1"] + 3)]), "T2")["comparison_class"]
    assert closed["reason"] == NO_BLOCK


def test_dates_may_be_shifted():
    scans = timepoints(*VISITS)
    moved = scans.with_columns(pl.col("scan_date") - timedelta(900))
    plain, shifted = evidence(GROWN, scans), evidence(GROWN, moved)
    assert plain.drop("as_of_date").equals(shifted.drop("as_of_date"))
    assert (plain["as_of_date"] - shifted["as_of_date"]).unique().to_list() == [timedelta(900)]
    assert plain["as_of_date"].max() == DAY_ZERO + timedelta(VISIT_DAYS["T2"])
