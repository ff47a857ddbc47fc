"""The table of blocks: rows of the lake in, days from the first cycle out."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from dagster_project.domain.response.block_rows import (
    ENDED,
    FEW_READERS,
    NO_FIRST_CYCLE,
    derive_irecist_blocks,
)
from dagster_project.domain.response.dynamic_standard import Standard, standard_of
from dagster_project.domain.response.irecist_blocks import NOT_READ
from dagster_project.domain.response.recist import progression_threshold_mm
from dagster_project.lake.clock import CLOCK_SCHEMA
from dagster_project.lake.schema import empty, polars_schema
from dagster_project.lake.tables import CLINICAL_STATUS, IRECIST_BLOCKS, published
from tests.domain.courses import IRECIST, RECIST, STUDY
from tests.domain.records import (
    DAY_ZERO,
    VISIT_DAYS,
    WHO,
    cycles,
    follow_up,
    lesions,
    table,
    timepoints,
)

NO_CLOCK = pl.DataFrame(schema=CLOCK_SCHEMA)
EARLY = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
LATE = IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"]
T1 = VISIT_DAYS["T1"]


def on(day):
    row = (WHO["site"], WHO["patient"], DAY_ZERO + timedelta(day))
    return pl.DataFrame([row], schema=CLOCK_SCHEMA, orient="row")


def derive(
    reads, visits=("T0", "T1"), *, clock=NO_CLOCK, events=(), given=(0, 21, 42, 63), states=()
):
    return derive_irecist_blocks(
        reads if isinstance(reads, dict) else {"accepted": reads},
        visits if isinstance(visits, pl.DataFrame) else timepoints(*visits),
        follow_up(*events),
        cycles(*given),
        table("clinical_status", *states) if states else empty(CLINICAL_STATUS),
        clock,
        STUDY.sections,
        Standard("1", "d" * 16),
    )


GROWN = lesions(L1=[50, 70])


def test_a_progression_at_t1_in_numbers():
    frame = derive(GROWN, clock=on(T1 + 10))
    assert dict(frame.schema) == polars_schema(IRECIST_BLOCKS)
    (row,) = frame.to_dicts()
    assert (row["opened_visit"], row["opened_day"], row["categories"]) == ("T1", T1, ["T"])
    assert (row["confirm_from_day"], row["confirm_to_day"]) == (T1 + EARLY, T1 + LATE)
    assert (row["nadir_mm"], row["sum_at_open_mm"], row["confirm_if_sum_mm"]) == (50, 70, 75)
    assert row["reset_below_mm"] == progression_threshold_mm(50, RECIST)
    assert (row["status"], row["days_open"]) == ("waiting", 10)
    assert (row["planned_scan_day"], row["planned_inside"]) == (105, True)
    assert (row["as_of_date"], row["standard_digest"]) == (DAY_ZERO + timedelta(T1 + 10), "d" * 16)
    assert (row["readers_agree"], row["reason"]) == (None, FEW_READERS)


def test_the_clock_moves_the_status_and_without_one_it_is_the_last_known_day():
    days = (T1, T1 + EARLY, T1 + LATE + 1)
    found = [derive(GROWN, clock=on(day))["status"].item() for day in days]
    assert found == ["waiting", "due", "overdue"]
    last = derive(GROWN, given=(0, 21, 42, T1 + EARLY))
    assert (last["status"].item(), last["days_open"].item()) == ("due", EARLY)


def test_what_is_published_does_not_move_with_the_day():
    """A night on which a published value changes by itself would give the shift of the dates."""
    shown = list(published(IRECIST_BLOCKS).names)
    for visits, reads in (
        (("T0", "T1"), GROWN),
        (("T0", "T1", "T2"), lesions(L1=[50, 70, 71])),
        (("T0", "T1", "T2"), GROWN),
    ):
        days = range(T1 + 50, T1 + 400, 3)
        found = [derive(reads, visits, clock=on(day)).select(shown) for day in days]
        assert all(frame.equals(found[0]) for frame in found)
    moved = {derive(GROWN, clock=on(day))["planned_scan_day"].item() for day in (100, 200)}
    assert len(moved) == 2


def test_new_symptoms_and_a_further_new_lesion_confirm_on_day_20():
    days = VISIT_DAYS | {"V1": T1 + 20}
    reads = lesions(L1=[50, 50, None, 50], N1=[None, 12, None, 12], N2=[None, None, None, 11])
    visits = timepoints("T0", "T1", "V1", days=days)
    state = {"status_date": DAY_ZERO + timedelta(T1 + 20), "new_symptoms": True}
    (with_state,) = derive(reads, visits, clock=on(T1 + 21), states=(state,)).to_dicts()
    (without,) = derive(reads, visits, clock=on(T1 + 21)).to_dicts()
    assert (with_state["outcome"], with_state["resolved_by"], with_state["days_open"]) == (
        "confirmed",
        "iCPD",
        20,
    )
    assert (without["outcome"], without["status"]) == ("open", "waiting")


def test_a_ct_that_is_not_read_yet_is_named():
    (row,) = derive(GROWN, ("T0", "T1", "T2"), clock=on(100)).to_dicts()
    assert row["status"] == "unreadable"
    assert NOT_READ in row["reason"]


def test_what_ends_a_block():
    (row,) = derive(GROWN, events=[("death", T1 + 5)], clock=on(200)).to_dicts()
    assert (row["status"], row["resolved_by"], row["resolved_day"]) == ("closed", "death", T1 + 5)
    assert (row["planned_scan_day"], row["days_open"]) == (None, 5)
    assert ENDED in row["reason"]


def test_without_a_first_cycle_no_day_is_counted_and_the_status_still_is():
    visits = timepoints("T0", "T1").with_columns(day=pl.lit(None, pl.Int32))
    (row,) = derive(GROWN, visits, clock=on(T1 + EARLY)).to_dicts()
    assert [row[name] for name in ("opened_day", "confirm_from_day", "planned_scan_day")] == [
        None
    ] * 3
    assert (row["status"], NO_FIRST_CYCLE in row["reason"]) == ("due", True)


def test_an_interval_between_visits_counts_from_the_ct_and_not_from_the_cycle():
    (row,) = derive(GROWN, clock=on(T1 + EARLY - 1)).to_dicts()
    assert row["status"] == "waiting"


@pytest.mark.parametrize(
    ("b", "agree"),
    [
        pytest.param([50, 70], True, id="the same block"),
        pytest.param([50, 72], True, id="another sum, the same block"),
        pytest.param([50, 55], False, id="no block"),
    ],
)
def test_each_readers_block_and_whether_they_agree(b, agree):
    reads = {"accepted": GROWN, "R1": GROWN, "R2": lesions(L1=b)}
    found = derive(reads, clock=on(T1 + 10))
    assert found["evaluator"].to_list() == ["accepted", "R1", *(["R2"] if agree else [])]
    assert set(found["readers_agree"]) == {agree}


def test_a_block_of_one_reader_alone_has_its_row():
    flat = lesions(L1=[50, 55])
    found = derive({"accepted": flat, "R1": flat, "R2": GROWN}, clock=on(T1 + 10))
    assert found.select("evaluator", "readers_agree").rows() == [("R2", False)]


def test_a_confirmed_and_an_open_block_differ():
    visits = ("T0", "T1", "T2")
    reads = {"accepted": lesions(L1=[50, 70, 80])}
    reads |= {"R1": reads["accepted"], "R2": lesions(L1=[50, 70, 71])}
    found = derive(reads, visits, clock=on(120))
    assert found.select("evaluator", "outcome", "readers_agree").rows() == [
        ("accepted", "confirmed", False),
        ("R1", "confirmed", False),
        ("R2", "open", False),
    ]


def test_a_reader_alone_shows_nothing():
    found = derive({"accepted": GROWN, "R1": GROWN}, clock=on(T1 + 10))
    assert found.select("evaluator", "readers_agree").rows() == [("accepted", None)]


def test_patients_without_progression_or_baseline_have_no_row():
    assert derive(lesions(L1=[50, 50])).is_empty()
    assert derive(lesions(L1=[50, 70]), ("T1",)).is_empty()


def test_the_digest_of_the_standard_is_of_its_thresholds_and_references():
    plain, other = standard_of(STUDY), standard_of(STUDY, {"classes": "x"})
    assert (plain.version, plain.digest == other.digest) == (other.version, False)
