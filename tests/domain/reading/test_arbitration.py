"""Which reads are discordant, and which decisions settle them: one case a trigger and a rule."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.domain.reading.arbitration import derive_arbitrations, mask_readers
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import ARBITRATIONS, QUARANTINE
from dagster_project.study import load_study
from tests.domain.rows import DECISIONS, LOCKED, day, frame, table

RULES = load_study().section("agreement")
NOBODY = frame(DECISIONS)


def reads(dice=0.9, patients=("P1",)):
    rows = [
        {
            "patient": p,
            "reader": r,
            "lesion": "L1",
            "visit": v,
            "scan": v,
            "mask_digest": r + v,
            "longest_diameter_mm": 20.0,
            "volume_mm3": 900.0,
        }
        for p in patients
        for r in ("R1", "R2")
        for v in ("T0", "T1")
    ]
    return derive_pairs(table("reads", *rows), lambda *_: dice)


def responses(first, second, patient="P1"):
    """Responses of two readers: lists of facts by visit, from T1 on."""
    rows = [
        {
            "patient": patient,
            "evaluator": reader,
            "visit": f"V{n}",
            "scan_date": day(60 * n),
            **facts,
        }
        for reader, facts_of in (("R1", first), ("R2", second))
        for n, facts in enumerate(facts_of, start=1)
    ]
    return table("responses", *rows)


SAME = responses([{}], [{}])


def arbitrate(pairs=None, graded=SAME, decisions=NOBODY):
    pairs = reads() if pairs is None else pairs
    agreement = derive_reader_agreement(pairs, decisions, RULES)
    cases, refused = derive_arbitrations(pairs, agreement, graded, decisions, RULES)
    return cases.rows(named=True), refused.select("item", "reason").rows()


def triggers(graded=SAME, pairs=None):
    cases, _ = arbitrate(pairs, graded)
    return cases[0]["triggers"] if cases else []


def overall(*responses_by_visit):
    return [{"overall_response": r} for r in responses_by_visit]


def test_no_trigger_says_whose_lesion_it_is():
    pairs = reads(0.3).with_columns(lesion=pl.lit("L5 (R2)"))
    assert triggers(pairs=pairs) == ["dice T0 L5", "dice T1 L5"]


def test_columns_are_those_of_the_tables():
    pairs = reads(0.5)
    cases, refused = derive_arbitrations(
        pairs, derive_reader_agreement(pairs, NOBODY, RULES), SAME, NOBODY, RULES
    )
    assert cases.schema == polars_schema(ARBITRATIONS)
    assert refused.schema == polars_schema(QUARANTINE)


def test_reads_that_agree_are_no_case():
    assert arbitrate() == ([], [])


def test_1_a_response_that_differs():
    assert triggers(responses(overall("SD", "PR"), overall("PR", "PR"))) == ["response V1"]


def test_2_a_progression_at_another_date():
    assert triggers(responses(overall("SD", "PD", "PD"), overall("SD", "SD", "PD"))) == [
        "response V2",
        "progression_date",
    ]


def test_2_a_progression_that_only_one_sees():
    assert triggers(responses(overall("SD", "SD"), overall("SD", "PD"))) == [
        "response V2",
        "progression_date",
    ]


def test_3_a_best_response_that_differs():
    assert triggers(responses(overall("PR", "SD"), overall("SD", "SD"))) == [
        "response V1",
        "best_response",
    ]


def test_3_what_follows_progression_is_not_the_best_response():
    assert "best_response" not in triggers(responses(overall("PD", "PR"), overall("PD", "SD")))


def test_4_a_new_lesion_that_only_one_sees():
    assert triggers(responses([{"new_lesion": True}], [{}])) == ["new_lesion V1"]


@pytest.mark.parametrize(
    ("a", "b", "met"),
    [
        (20.0, 25.0, False),
        (20.0, 25.1, True),
        (50.0, 60.0, False),
        (50.0, 61.2, True),
        (100.0, 122.0, False),
        (100.0, 123.0, True),
        (0.0, 4.0, False),
        (0.0, 6.0, True),
        (None, 60.0, False),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_5_sums_differ_by_more_than_5_mm_and_20_percent_of_their_mean(a, b, met, turned):
    a, b = (b, a) if turned else (a, b)
    assert triggers(responses([{"sum_mm": a}], [{"sum_mm": b}])) == (
        ["target_sum V1"] if met else []
    )


@pytest.mark.parametrize(
    ("dice", "met"), [(0.70, False), (0.699, True), (0.0, True), (None, False)]
)
def test_6_masks_that_hardly_overlap(dice, met):
    assert triggers(pairs=reads(dice)) == (["dice T0 L1", "dice T1 L1"] if met else [])


def test_visits_that_only_one_reader_graded_are_not_compared():
    assert triggers(responses(overall("SD", "PD"), overall("SD"))) == []


def test_readers_without_a_lesion_in_common_are_compared_by_their_responses():
    (case,), _ = arbitrate(reads(patients=()), responses(overall("PR"), overall("PD")))
    assert (case["reader_a"], case["reader_b"], case["n_lesion_visits"]) == ("R1", "R2", 1)


def test_a_case_is_blind_to_who_read_what():
    (case,), _ = arbitrate(reads(0.1), responses(overall("SD", "PD"), overall("PR", "SD")))
    assert not any(reader in trigger for trigger in case["triggers"] for reader in ("R1", "R2"))


def decision(**facts):
    return {"accepted_reader": "R2", "arbiter": "R9", "decided_at": LOCKED, **facts}


def test_a_case_is_open_until_it_is_decided():
    (case,), _ = arbitrate(reads(0.1))
    assert (
        case["status"],
        case["accepted_reader"],
        case["arbiter"],
        case["decided_at"],
        case["n_lesion_visits"],
    ) == ("open", None, None, None, 2)


def test_a_decision_settles_it():
    (case,), refused = arbitrate(reads(0.1), decisions=frame(DECISIONS, decision()))
    assert (case["status"], case["accepted_reader"], case["arbiter"], case["decided_at"]) == (
        "settled",
        "R2",
        "R9",
        LOCKED,
    )
    assert refused == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"accepted_reader": "R3"}, "neither of the two readers"),
        ({"accepted_reader": None}, "neither of the two readers"),
        ({"decided_at": LOCKED - dt.timedelta(seconds=1)}, "before the lock"),
        ({"arbiter": "R1"}, "third person"),
        ({"arbiter": "R2"}, "third person"),
        ({"arbiter": None}, "arbiter is empty"),
    ],
)
def test_a_decision_that_breaks_the_rules_is_refused_and_the_case_stays_open(facts, reason):
    (case,), ((item, why),) = arbitrate(reads(0.1), decisions=frame(DECISIONS, decision(**facts)))
    assert (case["status"], item) == ("open", "P1 arbitration row 2")
    assert reason in why


THIRD = {"patient": "P1", "reader": "R3", "lesion": "L2", "visit": "T0", "scan": "T0"}


@pytest.mark.parametrize("locked", [LOCKED, None])
def test_whoever_has_read_anything_of_the_patient_is_no_third_person(locked):
    """By a delivered table as by the command.

    Neither the case nor the agreement takes the decision.
    """
    pair = [
        {
            "reader": r,
            "lesion": "L1",
            "visit": v,
            "scan": v,
            "mask_digest": r + v,
            "longest_diameter_mm": 20.0,
            "volume_mm3": 900.0,
        }
        for r in ("R1", "R2")
        for v in ("T0", "T1")
    ]
    pairs = derive_pairs(table("reads", *pair, {**THIRD, "locked_at": locked}), lambda *_: 0.1)
    by_reader = frame(DECISIONS, decision(arbiter="R3"))
    (case,), ((_, why),) = arbitrate(pairs, decisions=by_reader)
    assert case["status"] == "open"
    assert "a reader of the patient" in why
    found = derive_reader_agreement(pairs, by_reader, RULES)
    assert found.filter(scope="lesion")["arbitrated_share"].to_list() == found_without_decision(
        pairs
    )


def found_without_decision(pairs):
    return (
        derive_reader_agreement(pairs, NOBODY, RULES)
        .filter(scope="lesion")["arbitrated_share"]
        .to_list()
    )


@pytest.mark.parametrize("facts", [{}, {"patient": "P7"}, {"site": "BB"}])
def test_a_decision_without_a_case_is_refused(facts):
    cases, ((_, why),) = arbitrate(decisions=frame(DECISIONS, decision(**facts)))
    assert cases == []
    assert "without an open case" in why


def test_the_latest_valid_decision_counts_and_the_others_are_told():
    later = LOCKED + dt.timedelta(days=1)
    rows = [
        decision(accepted_reader="R1", decided_at=later),
        decision(),
        decision(arbiter="R1", decided_at=later + dt.timedelta(days=1)),
    ]
    (case,), refused = arbitrate(reads(0.1), decisions=frame(DECISIONS, *rows))
    assert (case["accepted_reader"], case["decided_at"]) == ("R1", later)
    assert sorted((item[-1], why.split()[0]) for item, why in refused) == [
        ("3", "superseded"),
        ("4", "column"),
    ]


def test_patients_do_not_mix():
    cases, _ = arbitrate(
        reads(0.1, patients=("P1", "P2")), decisions=frame(DECISIONS, decision(patient="P2"))
    )
    assert [(c["patient"], c["status"]) for c in cases] == [("P1", "open"), ("P2", "settled")]


def test_letters_stand_for_both_readers_and_change_from_case_to_case():
    masked = [mask_readers("AA", f"P{n}", ("R1", "R2")) for n in range(200)]
    assert all(sorted(of.values()) == ["R1", "R2"] for of in masked)
    assert 70 < sum(of["A"] == "R1" for of in masked) < 130
    assert all(mask_readers("AA", f"P{n}", ("R2", "R1")) == of for n, of in enumerate(masked))


def test_a_visit_read_after_a_decision_is_decided_anew_only_where_it_differs():
    later = LOCKED + dt.timedelta(days=60)
    rows = [
        {
            "reader": r,
            "lesion": "L1",
            "visit": v,
            "scan": f"S{v}",
            "longest_diameter_mm": 20.0,
            "mask_digest": f"{r}{v}",
            "locked_at": at,
        }
        for r in ("R1", "R2")
        for v, at in (("T0", LOCKED), ("T1", later))
    ]
    for dice, status in (({"T0": 0.1, "T1": 0.9}, "settled"), ({"T0": 0.1, "T1": 0.1}, "open")):
        pairs = derive_pairs(table("reads", *rows), lambda a, _, dice=dice: dice[a["visit"]])
        (case,), _ = arbitrate(pairs, decisions=frame(DECISIONS, decision()))
        assert case["status"] == status
