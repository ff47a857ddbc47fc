"""What the study report counts: rows in, rows out."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import duckdb
import polars as pl
import pytest

from dagster_project.lake.contracts import find_violations
from dagster_project.lake.tables import BY_NAME
from dagster_project.reports.summaries.cohort import (
    choose_population,
    find_eligible,
    list_stages,
    summarise_enrolment,
    summarise_flow,
)
from dagster_project.reports.summaries.heterogeneity import (
    count_dhi_reasons,
    group_dhi,
    list_patient_dhi,
    summarise_dhi,
)
from dagster_project.reports.summaries.models import (
    latest_runs,
    list_curves,
    roc_curves,
    summarise_dynamic,
)
from dagster_project.reports.summaries.quality import (
    summarise_gate,
    summarise_quarantine,
    summarise_scans,
)
from dagster_project.reports.summaries.reading import (
    count_triggers,
    limits_of_pairs,
    pair_reads,
    summarise_agreement,
    summarise_arbitrations,
)
from dagster_project.reports.summaries.response import summarise_response
from dagster_project.reports.summaries.survival import (
    count_pfs_reasons,
    list_survival,
    summarise_survival,
    survival_curves,
)
from dagster_project.reports.summaries.tables import completed, is_simulated, summarise_simulation
from dagster_project.study import PROTOCOL, load_study
from tests.reports.cohort import CRITERIA, MOMENT, bare, table, whole, without

STUDY = load_study(PROTOCOL)

A = {"site": "NORTH", "patient": "NORTH-A", "simulated": True}
B = {"site": "NORTH", "patient": "NORTH-B", "simulated": False}
C = {"site": "SOUTH", "patient": "SOUTH-C", "simulated": False}


def tables(**rows):
    return completed({name: table(name, part) for name, part in rows.items()})


def judged(who, **failing):
    return [{**who, "criterion": c, "verdict": failing.get(c, "met")} for c in CRITERIA]


@pytest.mark.parametrize("name", BY_NAME)
def test_the_invented_cohort_keeps_what_the_tables_declare(name):
    with duckdb.connect() as connection:
        connection.register(name, whole()[name].to_arrow())
        assert (
            find_violations(lambda query: connection.execute(query).fetchone(), BY_NAME[name]) == []
        )


def test_missing_tables_are_there_without_rows():
    made = completed({"patients": whole()["patients"]})
    assert set(made) == set(BY_NAME)
    assert made["reads"].is_empty()
    assert made["patients"].height == 45


def test_simulation_is_a_share_of_patients_by_site():
    found = tables(
        patients=[{**p, "in_case_report": True, "simulated": False} for p in (A, B, C)],
        reads=[read("R1", 10.0)],
    )
    assert summarise_simulation(found) == [
        {"site": "NORTH", "patients": 2, "simulated": 1, "share": 0.5},
        {"site": "SOUTH", "patients": 1, "simulated": 0, "share": 0.0},
    ]
    assert is_simulated(found)
    assert not is_simulated(tables(patients=[{**C, "in_case_report": True}]))


def read(reader, size, *, lesion="L1", locked=MOMENT, who=A, visit="T0"):
    return {
        **who,
        "visit": visit,
        "scan": f"S{visit}",
        "reader": reader,
        "lesion": lesion,
        "role": "target",
        "is_lymph_node": False,
        "is_present": True,
        "too_small_to_measure": False,
        "longest_diameter_mm": size,
        "locked_at": locked,
    }


def test_unknown_is_not_met_and_a_criterion_that_was_not_judged_is_not_either():
    found = tables(eligibility=judged(A) + judged(B, I8="unknown") + judged(C)[:-1])
    assert find_eligible(found).rows() == [("NORTH", "NORTH-A")]


def test_enrolment_counts_the_eligible_by_response():
    found = tables(
        eligibility=judged(A) + judged(B) + judged(C, I5="not_met"),
        patients=[{**p, "in_case_report": True} for p in (A, B, C)],
        outcomes=[{**A, "responder": True}, {**B, "responder": None}, {**C, "responder": False}],
    )
    assert summarise_enrolment(found) == [
        {
            "site": "NORTH",
            "taken_in": 2,
            "eligible": 2,
            "responders": 1,
            "non_responders": 0,
            "undetermined": 1,
        },
        {
            "site": "SOUTH",
            "taken_in": 1,
            "eligible": 0,
            "responders": 0,
            "non_responders": 0,
            "undetermined": 0,
        },
    ]


def test_flow_tells_first_reason_from_any_reason_and_unmet_from_unknown():
    rows = {
        r["criterion"]: r
        for r in summarise_flow(
            table(
                "eligibility",
                judged(A, I4="not_met", I8="unknown") + judged(B, I8="unknown") + judged(C),
            )
        )
    }
    assert (rows["I4"]["n_first_reason"], rows["I4"]["remaining"]) == (1, 2)
    assert [
        rows["I8"][k] for k in ("n_first_reason", "n_any_reason", "not_met", "unknown", "remaining")
    ] == [1, 2, 0, 2, 1]
    assert list(rows) == list(CRITERIA)
    assert rows["E5"]["remaining"] == 1


def test_flow_chart_ends_with_those_who_are_learnt_from():
    cohort = [
        {**A, "task": "T1", "included": True, "label": True},
        {**B, "task": "T1", "included": False, "exclusion": "responded_by_T1"},
        {**C, "task": "T1", "included": False, "exclusion": "slice_thickness"},
    ]
    found = tables(
        eligibility=judged(A) + judged(B) + judged(C, I5="not_met"), training_cohort=cohort
    )
    taken, eligible, learnt = list_stages(found, STUDY)
    assert (taken.count, taken.left) == (3, (("Slices ≤ 1 mm at all three (I5)", 1),))
    assert (eligible.count, eligible.left) == (2, (("responded by T1", 1),))
    assert learnt.count == 1
    assert [stage.title for stage in list_stages(tables(eligibility=judged(A)), STUDY)] == [
        "Taken in",
        "Eligible",
    ]
    assert list_stages(tables(), STUDY) == []


def test_stages_of_the_chart_add_up_in_the_cohort():
    stages = list_stages(whole(), STUDY)
    for before, after in pairwise(stages):
        assert before.count - sum(n for _, n in before.left) == after.count


def test_scans_count_as_thin_by_header_and_by_measured_spacing():
    def scan(number, thickness, spacing, **flags):
        return {
            **A,
            "scan": f"S{number}",
            "n_slices": 9,
            "n_missing_slices": 0,
            "n_duplicate_slices": 0,
            "slice_thickness_mm": thickness,
            "slice_spacing_mm": spacing,
            **flags,
        }

    row = summarise_scans(
        table(
            "scans",
            [
                scan(1, 1.0, 1.0),
                scan(2, 1.0, 1.25),
                scan(3, None, 1.0),
                scan(4, 5.0, 1.0, metal_flag=True, chest_flag=False),
            ],
        ),
        {"slice_thickness_mm": 1.0, "slice_tolerance_mm": 0.01},
    )[0]
    assert (row["scans"], row["thin"], row["thick"], row["unknown"]) == (4, 1, 2, 1)
    assert (row["metal_flag"], row["not_chest"], row["motion_flag"]) == (1, 1, 0)


def test_quarantine_lists_the_commonest_reasons_and_counts_the_rest():
    rows = [
        {**A, "stage": "reads", "item": f"i{i}", "reason": f"reason {min(i, 11)}"}
        for i in range(14)
    ] + [{**C, "stage": "intake", "item": "x", "reason": "damaged"}]
    intake, reads = summarise_quarantine(table("quarantine", rows))
    assert (intake["stage"], intake["n"], intake["reasons"][0]["sites"], intake["others"]) == (
        "intake",
        1,
        ["SOUTH"],
        0,
    )
    assert (
        reads["n"],
        reads["reasons"][0]["reason"],
        reads["reasons"][0]["n"],
        reads["others"],
    ) == (14, "reason 11", 3, 4)


def test_each_refused_item_is_named_by_its_place_with_the_reason_in_chinese():
    where = ["clinical/patients.csv row 3 column age", "clinical/patients.csv row 12 column age"]
    rows = [
        {
            **A,
            "stage": "case_report",
            "item": item,
            "reason": "is not an age, 0 to 120; the cell is left out",
        }
        for item in where
    ]
    (found,) = summarise_quarantine(table("quarantine", rows))[0]["reasons"]
    assert sorted(found["items"]) == sorted(f"{A['site']} {item}" for item in where)
    assert (found["more"], found["reason_zh"]) == (0, "不是 0–120 的年龄；该单元格未采用")


def test_a_stage_that_the_pages_have_no_word_for_comes_last():
    rows = [
        {**A, "stage": stage, "item": "x", "reason": "y"} for stage in ("something_new", "reads")
    ]
    assert [row["stage"] for row in summarise_quarantine(table("quarantine", rows))] == [
        "reads",
        "something_new",
    ]


def test_agreement_gives_the_cohort_first_then_visits_then_sites():
    shared = {"patient": "*", "lesion": "*", "n": 3, "n_resolved": 3, "simulated": False}
    rows = [
        {**shared, "scope": "site", "site": "EAST", "visit": "*", "measurement": "mask"},
        {**shared, "scope": "site", "site": "EAST", "visit": "*", "measurement": "volume_mm3"},
        {**shared, "scope": "visit", "site": "*", "visit": "T1", "measurement": "mask"},
        {**shared, "scope": "cohort", "site": "*", "visit": "*", "measurement": "mask"},
        {**shared, **A, "scope": "lesion", "visit": "T0", "lesion": "L1", "measurement": "mask"},
    ]
    found = summarise_agreement(table("reader_agreement", rows))
    assert [(title, [r["measurement"] for r in part]) for title, part in found] == [
        (("All sites", "全部医院"), ["mask"]),
        (("All sites, T1", "全部医院，T1"), ["mask"]),
        (("EAST", "EAST"), ["volume_mm3", "mask"]),
    ]


def test_pairs_are_of_locked_reads_first_reader_by_name():
    reads = [
        read("R2", 12.0),
        read("R1", 10.0),
        read("R1", 5.0, lesion="L2"),
        read("R2", 5.5, lesion="L2", locked=None),
        read("R1", 7.0, who=B),
        read("R2", 7.5, who=B),
    ]
    settled = [
        {
            **B,
            "status": "settled",
            "triggers": ["dice T0 L1"],
            "n_lesion_visits": 1,
            "reader_a": "R1",
            "reader_b": "R2",
        }
    ]
    assert pair_reads(table("reads", reads), table("arbitrations", settled)).rows() == [
        (10.0, 12.0, False),
        (7.0, 7.5, True),
    ]


def test_arbitration_by_site_and_by_trigger():
    case = {"n_lesion_visits": 2, "reader_a": "R1", "reader_b": "R2"}
    found = tables(
        reads=[read("R1", 10.0), read("R2", 10.0), read("R1", 9.0, who=C)],
        arbitrations=[
            {
                **A,
                **case,
                "status": "open",
                "triggers": ["dice T0 L1", "dice T1 L1", "target_sum T1"],
            }
        ],
    )
    assert summarise_arbitrations(found) == [
        {"site": "NORTH", "read_twice": 1, "open": 1, "settled": 0}
    ]
    assert count_triggers(found["arbitrations"]) == [
        {"trigger": "dice", "cases": 1},
        {"trigger": "target_sum", "cases": 1},
    ]


def rule(verdict, kind="cohort", name="icc_resolved"):
    return {
        "rule": name,
        "scope": verdict + kind,
        "kind": kind,
        "verdict": verdict,
        "detail": "in words",
        "protocol_digest": "d",
    }


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        ([], "not_evaluated"),
        ([rule("warn", "row")], "not_evaluated"),
        ([rule("pass"), rule("warn")], "open"),
        ([rule("pass"), rule("fail")], "closed"),
        ([rule("pass"), rule("cannot_evaluate")], "closed"),
        ([rule("pass"), rule("fail", "row")], "open"),
    ],
)
def test_only_cohort_rules_close_the_gate(rules, state):
    assert summarise_gate(table("quality_verdicts", rules), "d").state == state


def test_verdicts_on_another_protocol_leave_the_gate_shut():
    assert summarise_gate(table("quality_verdicts", [rule("pass")]), "e").state == "other_protocol"


def test_a_patient_without_an_outcome_stays_in_the_denominator():
    found = tables(
        eligibility=judged(A) + judged(B) + judged(C),
        outcomes=[
            {**A, "bor": "PR", "ibor": "iPR"},
            {**B, "bor": "NON_CR_NON_PD", "bor_confirmed": "PR"},
        ],
    )
    rates = {
        r["name"]: (r["x"], r["n"]) for r in summarise_response(found, choose_population(found))
    }
    assert rates == {"orr": (1, 3), "orr_confirmed": (1, 3), "dcr": (2, 3), "iorr": (1, 3)}


def test_intervals_are_exact():
    found = tables(
        patients=[{**A, "patient": f"NORTH-{i}", "in_case_report": True} for i in range(20)],
        outcomes=[
            {**A, "patient": f"NORTH-{i}", "bor": "PR" if i < 7 else "SD"} for i in range(20)
        ],
    )
    population = choose_population(found)
    assert population.title.startswith("all patients")
    rate = summarise_response(found, population)[0]
    assert (round(rate["low"], 4), round(rate["high"], 4)) == (0.1539, 0.5922)


def test_the_landmark_splits_by_what_was_known_at_t2():
    def known(who, response, evaluator="accepted"):
        return {
            **who,
            "visit": "T2",
            "evaluator": evaluator,
            "day": 98,
            "overall_response_as_of_visit": response,
            "irecist_response": "iSD",
            "target_response": "SD",
            "target_response_arithmetic": "SD",
            "nontarget_response": "NONE",
            "new_lesion": False,
        }

    found = tables(
        eligibility=judged(A) + judged(B) + judged(C),
        responses=[known(A, "PR"), known(A, "SD", "R1"), known(B, "SD")],
        outcomes=[
            {
                **A,
                "pfs_days": 300,
                "pfs_event": True,
                "pfs_from_t2_days": 202,
                "pfs_from_t2_event": True,
            },
            {
                **B,
                "pfs_days": 200,
                "pfs_event": False,
                "pfs_from_t2_days": 102,
                "pfs_from_t2_event": False,
            },
            {**C, "pfs_days": 50, "pfs_event": True},
        ],
    )
    everyone, landmark = list_survival(found, choose_population(found))
    assert everyone == {"All": ([300, 200, 50], [True, False, True])}
    assert landmark == {"CR or PR as of T2": ([202], [True]), "Neither, as of T2": ([102], [False])}
    assert [
        (r["name"], r["n"], r["events"], r["median"]) for r in summarise_survival(landmark)
    ] == [("CR or PR as of T2", 1, 1, 202.0), ("Neither, as of T2", 1, 0, None)]


def test_dhi_is_compared_with_the_change_of_volume_and_missing_values_are_counted():
    found = tables(
        eligibility=judged(A) + judged(B) + judged(C),
        outcomes=[{**A, "responder": True}, {**B, "responder": False}, {**C, "responder": True}],
        dhi=[
            {
                **who,
                "scope": "patient",
                "lesion": "*",
                "from_visit": "T0",
                "to_visit": "T1",
                "dhi": value,
                "dhi_magnitude": None if value is None else 3.0 - value,
                "delta_log_volume": -0.3,
                "wasserstein_hu": 1.0,
            }
            for who, value in ((A, 2.0), (B, 1.0), (C, None))
        ],
    )
    rows = list_patient_dhi(found, choose_population(found))
    assert group_dhi(rows) == {"T0 → T1": {"responders": [2.0], "non-responders": [1.0]}}
    row = summarise_dhi(rows)[0]
    assert (
        row["pair"],
        row["missing"],
        row["n"],
        row["auc_dhi"],
        row["auc_amount"],
        row["auc_shrinkage"],
        row["partial"],
    ) == ("T0 → T1", 1, 2, 1.0, 0.0, 0.5, None)


def test_the_last_run_of_a_model_stands_for_it():
    run = {
        "task": "T1",
        "n_patients": 9,
        "n_positive": 4,
        "n_features": 3,
        "brier": 0.2,
        "simulated": False,
    }
    runs = [
        {
            **run,
            "model": "size",
            "mlflow_run_id": "old",
            "auc": 0.9,
            "trained_at": MOMENT - timedelta(1),
        },
        {**run, "model": "size", "mlflow_run_id": "new", "auc": 0.7},
        {**run, "model": "clinical", "mlflow_run_id": "c", "auc": 0.8},
    ]
    assert [r["mlflow_run_id"] for r in latest_runs(table("model_runs", runs))] == ["c", "new"]


def test_dynamic_readings_are_counted_by_visit_and_state():
    row = {
        "day": 55,
        "overall_response": "PD",
        "irecist_response": "iUPD",
        "visit": "T1",
        "advice": "ct_from_day_to_day",
        "state": "open",
    }
    asked = {"visit": "T1", "day": 55, "question": "confirmed", "in_population": True}
    others = {**asked, "question": "progression", "in_population": False, "withheld": True}
    found = summarise_dynamic(
        table("dynamic_irecist", [{**A, **row}, {**B, **row}]),
        table(
            "dynamic_risk",
            [{**A, **asked, "withheld": True}, {**B, **asked, "withheld": False}, {**A, **others}],
        ),
    )
    assert found == [
        {
            "visit": "T1",
            "irecist_response": "iUPD",
            "patients": 2,
            "states": {"open": 2},
            "advice": {"ct_from_day_to_day": 2},
            "shown": 1,
            "withheld": 1,
        }
    ]


@pytest.mark.parametrize(
    "summarise",
    [
        summarise_simulation,
        summarise_enrolment,
        summarise_arbitrations,
        lambda t: summarise_response(t, choose_population(t)),
        lambda t: summarise_dhi(list_patient_dhi(t, choose_population(t))),
        lambda t: latest_runs(t["model_runs"]),
        lambda t: count_dhi_reasons(t["dhi"]),
        lambda t: count_pfs_reasons(t, choose_population(t)),
        lambda t: summarise_quarantine(t["quarantine"]),
        lambda t: count_triggers(t["arbitrations"]),
    ],
)
def test_empty_tables_give_no_rows(summarise):
    assert list(summarise(bare())) == []


def test_relabelling_patients_changes_no_count():
    renamed = {
        name: frame.with_columns(patient=pl.lit("x") + pl.col("patient").str.reverse())
        if "patient" in frame.columns
        else frame
        for name, frame in whole().items()
    }
    for summarise in (
        summarise_enrolment,
        summarise_arbitrations,
        lambda t: summarise_flow(t["eligibility"]),
        lambda t: summarise_response(t, choose_population(t)),
    ):
        assert summarise(renamed) == summarise(whole())


def test_a_table_left_out_is_as_an_empty_one():
    assert summarise_enrolment(completed(without("outcomes"))) == summarise_enrolment(
        {**whole(), "outcomes": bare()["outcomes"]}
    )


def test_a_curve_is_of_the_newest_version_alone() -> None:
    """The predictions of the champion and of the candidate lie under the same model name.

    The champion's are from an earlier training.
    """
    said = [
        {
            **who,
            "task": "T1",
            "model": "size",
            "model_version": v,
            "probability": p,
            "observed_response": label,
        }
        for v, far in (("1", 0.4), ("2", 0.1))
        for who, label, p in ((A, True, 0.5 + far), (B, False, 0.5 - far))
    ]
    runs = [
        {"task": "T1", "model": "size", "model_version": "2", "auc_lower": None, "auc_upper": None}
    ]
    curves, _ = list_curves(table("predictions", said), runs, "T1")
    assert sorted(curves["size"][1]) == [0.4, 0.6]


def test_a_group_without_a_time_has_no_curve_and_no_pair_has_no_limits():
    curves = survival_curves({"some": ([5, 9], [False, True]), "none": ([], [])})
    assert [(name, curve.median) for name, curve in curves.items()] == [("some", 9.0)]
    pairs = pair_reads(bare()["reads"], bare()["arbitrations"])
    assert limits_of_pairs(pairs) is None


def test_a_roc_curve_has_the_bounds_of_its_run():
    rows = [
        {
            **who,
            "task": "T1",
            "model": "size",
            "model_version": "1",
            "probability": p,
            "observed_response": y,
        }
        for who, p, y in ((A, 0.9, True), (B, 0.2, False), (C, 0.4, False))
    ]
    run = {"task": "T1", "model": "size", "model_version": "1"}
    bounds = {"auc_lower": 0.4, "auc_upper": 1.0}
    curve = roc_curves(table("predictions", rows), [{**run, **bounds}], "T1")["size"]
    assert (curve.auc.value, curve.auc.lower, curve.auc.upper) == (1.0, 0.4, 1.0)
    corners = [(p.false_positive_rate, p.true_positive_rate) for p in curve.points]
    assert corners == [(0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]
