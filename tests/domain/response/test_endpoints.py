"""The outcomes table: one row per patient, from the rows of the other tables."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.domain.response.endpoints import derive_outcomes
from dagster_project.domain.response.progression_free import NEW_THERAPY
from dagster_project.domain.response.responses import derive_responses
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import OUTCOMES
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST
from tests.domain.records import cycles, follow_up, lesions, responses, table, timepoints

EVERY = ("T0", "T1", "T2", "V1", "V2")


def outcome(graded, events=(), *, treated=True, visits=EVERY):
    """The row of the one patient."""
    found = derive_outcomes(
        graded,
        cycles(0, 21) if treated else cycles(),
        follow_up(*events),
        table("patients", {}),
        timepoints(*visits),
        ENDPOINTS,
        RECIST,
    )
    assert found.schema == polars_schema(OUTCOMES)
    return found.row(0, named=True)


def graded(*visits):
    return responses(*(v.split() for v in visits))


def from_lesions(**sizes):
    visits = ("T0", "T1", "T2", "V1", "V2")[: max(map(len, sizes.values()))]
    found = derive_responses(
        lesions(**sizes), timepoints(*visits), evaluator="accepted", recist=RECIST, irecist=IRECIST
    )
    return outcome(found, visits=visits)


def test_a_responder():
    found = from_lesions(L1=[50, 40, 20, 18])
    assert (found["bor"], found["bor_confirmed"], found["ibor"], found["responder"]) == (
        "PR",
        "PR",
        "iPR",
        True,
    )
    assert found["best_change_percent"] == -64.0
    assert (found["pfs_days"], found["pfs_event"], found["pfs_reason"]) == (
        160,
        False,
        "no progression, alive",
    )
    assert (found["pfs_from_t2_days"], found["pfs_from_t2_event"]) == (62, False)
    assert found["reason"] is None


def test_a_pseudoprogressor():
    found = from_lesions(L1=[50, 70, 20, 18])
    assert (found["bor"], found["responder"], found["ibor"]) == ("PD", False, "iPR")
    assert (found["pfs_days"], found["pfs_event"]) == (56, True)
    assert (
        found["pseudoprogression"],
        found["pseudoprogression_d1_nadir"],
        found["pseudoprogression_d2"],
    ) == (True, True, True)
    assert found["icpd_day"] is None
    assert found["pfs_from_t2_days"] is None


def test_confirmed_progression_has_the_day_of_the_first_iupd():
    found = from_lesions(L1=[50, 45, 60, 70])
    assert (found["icpd_day"], found["ibor"], found["bor"]) == (98, "iSD", "SD")


def test_the_change_at_the_first_progression_counts_and_none_after():
    assert from_lesions(L1=[50, 70, 20])["best_change_percent"] == pytest.approx(40)


def test_nothing_after_a_new_therapy_counts_as_response():
    seen = graded("T1 SD iSD", "T2 SD iSD", "V1 PR iPR")
    assert outcome(seen)["bor"] == "PR"
    found = outcome(seen, [("new_therapy", 120)])
    assert (found["bor"], found["ibor"], found["pfs_days"], found["pfs_reason"]) == (
        "SD",
        "iSD",
        98,
        NEW_THERAPY,
    )


def test_a_therapy_before_the_first_cycle_is_not_new():
    assert (
        outcome(graded("T1 SD iSD"), [("new_therapy", -30)])["pfs_reason"]
        == "no progression, alive"
    )


def test_death_is_an_event():
    found = outcome(
        graded("T1 SD iSD", "T2 SD iSD"), [("death", 150), ("alive", 100)], visits=EVERY[:3]
    )
    assert (found["pfs_days"], found["pfs_event"], found["pfs_reason"]) == (150, True, "death")


def test_a_ct_after_death_leaves_no_survival_time():
    found = outcome(graded("T1 SD iSD", "V1 SD iSD"), [("death", 100)])
    assert (found["pfs_days"], found["pfs_event"], found["pfs_reason"], found["bor"]) == (
        None,
        None,
        None,
        "SD",
    )
    assert found["reason"] == "a CT is dated after death: one of the two dates is wrong"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([("death", -100)], "death is dated before the first cycle: one of the two dates is wrong"),
        ([("death", None)], "death on a day that is not known"),
    ],
)
def test_a_death_whose_day_is_not_known_leaves_no_survival_time_but_the_response(events, reason):
    found = outcome(graded("T1 SD iSD", "T2 PR iPR"), events, visits=EVERY[:1])
    assert (
        found["pfs_days"],
        found["pfs_event"],
        found["pfs_from_t2_days"],
        found["bor"],
        found["reason"],
    ) == (None, None, None, "PR", reason)


def test_a_progression_before_a_death_without_day_is_the_event():
    found = outcome(graded("T1 SD iSD", "T2 PD iUPD"), [("death", None)])
    assert (found["pfs_days"], found["pfs_event"], found["pfs_reason"]) == (98, True, "progression")


def test_after_a_new_therapy_on_an_unknown_day_nothing_is_known_of_the_response():
    found = outcome(graded("T1 PR iPR", "T2 PR iPR"), [("new_therapy", None)])
    assert (
        found["bor"],
        found["responder"],
        found["ibor"],
        found["best_change_percent"],
        found["pfs_days"],
    ) == (None, None, None, None, None)
    why = "another anticancer therapy began on a day that is not known"
    assert found["reason"] == f"{why}; {why}: no best response"


def test_a_patient_without_a_date_of_cycle_1_has_no_response_rather_than_none_that_was_seen():
    found = outcome(graded("T1 NE iNE", "V1 NE iNE"), treated=False, visits=("V1", "V2"))
    assert (found["bor"], found["responder"]) == (None, None)


def test_readers_do_not_count():
    seen = pl.concat([graded("T1 SD iSD"), responses(("T2", "PD", "iUPD"), evaluator="R1")])
    assert outcome(seen)["bor"] == "SD"


def test_what_is_missing_is_told():
    found = outcome(graded(), treated=False, visits=("T0",))
    assert (found["bor"], found["responder"], found["pfs_days"]) == (None, None, None)
    assert (
        found["reason"]
        == "no date of a first cycle: no survival time; no visit after baseline: no best response"
    )
    assert "read both visits again" in outcome(graded("T1 CR iCR", "T2 PR iPR"))["reason"]


def test_not_evaluable_counts_as_no_response_and_not_as_missing():
    assert outcome(graded("T1 NE iNE"))["responder"] is False


def test_every_patient_has_a_row_and_no_other():
    others = pl.concat([table("patients", {}), table("patients", {"patient": "BJCH-B"})])
    found = derive_outcomes(
        graded("T1 PR iPR"),
        cycles(0),
        follow_up(),
        others,
        timepoints("T0", "T1"),
        ENDPOINTS,
        RECIST,
    )
    assert found.select("patient", "bor").rows() == [("BJCH-A", "PR"), ("BJCH-B", None)]
