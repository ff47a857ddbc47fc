"""The gate: each rule passes, fails, or cannot be judged.

Each planted fault closes it and nothing else does.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.cohort.quality import (
    ROW_RULES,
    GateVerdict,
    evaluate_gate,
    gate_closed,
    is_open,
    judge_agreement,
)
from dagster_project.domain.cohort.training_cohort import derive_training_cohort
from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.lake.contracts import Violation
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.tables import QUALITY_VERDICTS
from tests.domain.cohort.test_training_cohort import protocol
from tests.domain.courses import STUDY
from tests.domain.records import eligibility, responses, table, timepoints
from tests.domain.rows import DECISIONS, LOCKED, frame
from tests.domain.rows import table as read_table

AGREED = {
    "scope": "site",
    "patient": "*",
    "visit": "*",
    "lesion": "*",
    "n": 60,
    "n_resolved": 50,
    "arbitrated_share": 0.17,
    "icc_raw": 0.91,
    "icc_resolved": 0.97,
    "icc_lower": 0.93,
}


def agreement(*sites, **changes):
    rows = [
        AGREED | {"site": s, "measurement": m} | changes
        for s in sites
        for m in ("longest_diameter_mm", "volume_mm3", "mask")
    ]
    return table("reader_agreement", *rows)


def people(n=8, site="BJCH"):
    return [{"site": site, "patient": f"{site}-{number}"} for number in range(n)]


def cohort_tables(*who):
    """Patients who are eligible, stable at T1, and by turns respond or not at T2."""
    courses = [
        (("T1", "SD", "iSD"), ("T2", "PR", "iPR")),
        (("T1", "SD", "iSD"), ("T2", "SD", "iSD")),
    ]
    each = list(enumerate(who))
    return {
        "patients": pl.concat([table("patients", p) for p in who]),
        "scans": pl.concat(
            [table("scans", p | {"scan": f"S{n}", "pixel_digest": f"{n:064}"}) for n, p in each]
        ),
        "timepoints": pl.concat([timepoints("T0", "T1", "T2", **p) for p in who]),
        "eligibility": pl.concat(
            [eligibility().with_columns(**{k: pl.lit(v) for k, v in p.items()}) for p in who]
        ),
        "responses": pl.concat([responses(*courses[n % 2], **p) for n, p in each]),
        "outcomes": pl.concat([table("outcomes", p) for p in who]),
        "reader_agreement": agreement(*sorted({p["site"] for p in who})),
        "arbitrations": table("arbitrations"),
    }


GOOD = cohort_tables(*people(), *people(site="SHPH"))


def judge(violations=(), study=STUDY, **changed):
    return evaluate_gate(GOOD | changed, violations, study)


def closed_by(**changes):
    return [(v.rule, v.scope, v.verdict) for v in gate_closed(judge(**changes))]


def verdict(rule, scope, **changes):
    return next(v for v in judge(**changes) if (v.rule, v.scope) == (rule, scope))


def test_a_good_cohort_opens_the_gate():
    assert closed_by() == []


def test_verdicts_have_the_columns_of_their_table_and_one_row_a_key():
    found = judge()
    assert set(QUALITY_VERDICTS.names) - {"protocol_digest", "snapshot", "evaluated_at"} == set(
        GateVerdict.__slots__
    )
    assert len({(v.rule, v.scope) for v in found}) == len(found)


def test_a_broken_contract_closes_the_gate():
    broken = [Violation("patients", "age_years maximum 90", 2), Violation("dhi", "dhi finite", 1)]
    assert closed_by(violations=broken) == [
        ("contract", "dhi", "fail"),
        ("contract", "patients", "fail"),
    ]
    assert verdict("contract", "patients", violations=broken).statistic == 2


@pytest.mark.parametrize(
    "name", ["patients", "reader_agreement", "arbitrations", "eligibility", "responses"]
)
def test_a_missing_table_closes_the_gate(name):
    found = evaluate_gate({k: v for k, v in GOOD.items() if k != name}, [], STUDY)
    assert [(v.rule, v.scope, v.verdict) for v in gate_closed(found)] == [
        ("table", name, "cannot_evaluate")
    ]


def test_an_open_case_closes_the_gate():
    cases = table(
        "arbitrations",
        {"site": "BJCH", "status": "open"},
        {"site": "BJCH", "patient": "x", "status": "settled"},
    )
    assert closed_by(arbitrations=cases) == [("open_arbitrations", "BJCH", "fail")]
    assert verdict("open_arbitrations", "BJCH", arbitrations=cases).statistic == 1


AGREEMENT_CASES = {
    "1 point estimate": ({"icc_resolved": 0.849}, "icc_resolved", "fail"),
    "1 just reached": ({"icc_resolved": 0.85}, "icc_resolved", "pass"),
    "2 lower bound": ({"icc_lower": 0.749}, "icc_lower_bound", "fail"),
    "2 lower bound between the limits warns": ({"icc_lower": 0.80}, "icc_lower_bound", "warn"),
    "3 more than half arbitrated": ({"arbitrated_share": 0.51}, "arbitrated_share", "fail"),
    "3 half arbitrated": ({"arbitrated_share": 0.50}, "arbitrated_share", "pass"),
    "4 no ICC": (
        {"icc_resolved": None, "icc_lower": None, "reason": "no spread"},
        "icc_resolved",
        "cannot_evaluate",
    ),
    "4 too few pairs": ({"n_resolved": 29}, "icc_resolved", "cannot_evaluate"),
    "4 too few pairs in the whole pool": (
        {"n_resolved": 29, "pooled_with": "GZ01"},
        "icc_resolved",
        "cannot_evaluate",
    ),
    "7 raw agreement": ({"icc_raw": 0.699}, "icc_raw", "fail"),
    "7 just reached": ({"icc_raw": 0.70}, "icc_raw", "pass"),
    "7 no ICC over all pairs": (
        {"icc_raw": None, "reason": "no spread"},
        "icc_raw",
        "cannot_evaluate",
    ),
    "4 enough pairs in the pool": (
        {"n_resolved": 30, "pooled_with": "GZ01"},
        "icc_resolved",
        "pass",
    ),
}


@pytest.mark.parametrize(
    ("row", "rule", "expected"), AGREEMENT_CASES.values(), ids=AGREEMENT_CASES.keys()
)
def test_agreement(row, rule, expected):
    found = judge_agreement(agreement("BJCH", **row), STUDY)
    assert {v.verdict for v in found if v.rule == rule} == {expected}


def test_7_of_a_pool_the_detail_names_the_other_sites():
    """The pairs are then not the site's alone.

    The site's readers may not be those who need training.
    """
    (found,) = (
        v
        for v in judge_agreement(agreement("BJCH", icc_raw=0.5, pooled_with="GZ01"), STUDY)
        if v.scope == "BJCH volume_mm3" and v.rule == "icc_raw"
    )
    assert (
        "all 60 pairs, arbitrated ones too, pooled with GZ01 where its own are fewer than 30;"
        in found.detail
    )
    assert "与 GZ01 合并计算" in str(chinese_reason(found.detail))


def test_7_a_reader_who_measures_another_patient_in_half_of_the_cases_closes_the_gate_by_name():
    """Every case that the triggers find is arbitrated.

    What is left agrees well, and the raw figure shows the reader's fault.
    """
    random = np.random.default_rng(4)
    size = random.uniform(12, 80, (60, 3))
    wrong = random.random(60) < 0.48
    second = np.where(wrong[:, None], size[random.permutation(60)], size) + random.normal(
        0, 1.5, size.shape
    )
    reads = read_table(
        "reads",
        *(
            {
                "site": "BJCH",
                "patient": f"P{p:02}",
                "lesion": f"L{n}",
                "reader": reader,
                "scan": "S",
                "locked_at": LOCKED,
                "volume_mm3": mm**3 / 2,
                "longest_diameter_mm": mm,
                "mask_digest": None,
            }
            for reader, sizes in (("R1", size), ("R2", second))
            for p, lesions in enumerate(sizes)
            for n, mm in enumerate(lesions)
        ),
    )
    decided = frame(
        DECISIONS,
        *(
            {
                "site": "BJCH",
                "patient": f"P{p:02}",
                "accepted_reader": "R1",
                "arbiter": "R9",
                "decided_at": LOCKED,
            }
            for p in np.flatnonzero(wrong)
        ),
    )
    found = judge_agreement(
        derive_reader_agreement(derive_pairs(reads), decided, STUDY.section("agreement")), STUDY
    )
    site = {v.rule: v.verdict for v in found if v.scope == "BJCH longest_diameter_mm"}
    assert site["icc_resolved"] == "pass"
    assert site["icc_raw"] == "fail"


def test_4_a_site_that_nobody_read_twice_cannot_be_judged():
    found = closed_by(reader_agreement=agreement("SHPH"))
    assert {site.split()[0] for _, site, _ in found} == {"BJCH"}
    assert {v for _, _, v in found} == {"cannot_evaluate"}


def test_5_a_short_axis_is_asked_for_only_where_there_are_nodes():
    nodes = table(
        "reader_agreement",
        AGREED | {"site": "BJCH", "measurement": "short_axis_mm", "icc_resolved": 0.5},
    )
    assert ("icc_resolved", "BJCH short_axis_mm", "fail") in closed_by(
        reader_agreement=pl.concat([GOOD["reader_agreement"], nodes])
    )
    none = nodes.with_columns(n=pl.lit(0, pl.Int32), icc_resolved=pl.lit(None, pl.Float64))
    assert closed_by(reader_agreement=pl.concat([GOOD["reader_agreement"], none])) == []


def test_5_too_few_nodes_warn_and_close_nothing():
    few = table(
        "reader_agreement",
        AGREED | {"site": "BJCH", "measurement": "short_axis_mm", "n": 12, "n_resolved": 9},
    )
    changed = pl.concat([GOOD["reader_agreement"], few])
    assert closed_by(reader_agreement=changed) == []
    assert verdict("icc_resolved", "BJCH short_axis_mm", reader_agreement=changed).verdict == "warn"


def of_visit(visit, **figures):
    return table(
        "reader_agreement",
        AGREED
        | {"scope": "visit", "site": "*", "visit": visit, "measurement": "volume_mm3", **figures},
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"icc_resolved": 0.80}, "fail"),
        ({}, "pass"),
        ({"n_resolved": 29}, "warn"),
        ({"icc_resolved": None, "icc_lower": None, "reason": "no spread"}, "warn"),
    ],
)
def test_6_a_visit_is_judged_over_all_sites(figures, expected):
    changed = pl.concat([GOOD["reader_agreement"], of_visit("T1", **figures)])
    assert verdict("icc_resolved", "T1 volume_mm3", reader_agreement=changed).verdict == expected
    assert (closed_by(reader_agreement=changed) != []) == (expected == "fail")


def test_6_visits_are_not_judged_where_a_site_is_left_out():
    both = pl.concat([agreement("BJCH", "SHPH"), of_visit("T1", icc_resolved=0.2)])
    assert not [v for v in judge_agreement(both, STUDY, ["BJCH"]) if v.scope.startswith("T1")]


def test_a_site_that_nobody_is_learnt_from_holds_nothing_up():
    tables = cohort_tables(*people(), *people(site="SHPH"), *people(2, site="GZ01"))
    refused = tables["eligibility"].with_columns(
        verdict=pl.when((pl.col("site") == "GZ01") & (pl.col("criterion") == "I5"))
        .then(pl.lit("not_met"))
        .otherwise("verdict")
    )
    disagreeing = pl.concat([agreement("BJCH", "SHPH"), agreement("GZ01", icc_resolved=0.2)])
    found = evaluate_gate(
        tables | {"eligibility": refused, "reader_agreement": disagreeing}, [], STUDY
    )
    assert gate_closed(found) == []
    assert next(v.statistic for v in found if v.rule == "slice_thickness") == 2


def test_a_pseudonym_at_two_sites_closes_the_gate():
    twice = pl.concat([GOOD["patients"], table("patients", {"site": "SHPH", "patient": "BJCH-0"})])
    assert closed_by(patients=twice) == [("patient_at_two_sites", "cohort", "fail")]


def test_the_same_pixels_under_two_pseudonyms_close_the_gate():
    same = GOOD["scans"].with_columns(
        pixel_digest=pl.when(pl.col("patient").is_in(["BJCH-0", "SHPH-3"]))
        .then(pl.lit("d"))
        .otherwise("pixel_digest")
    )
    assert closed_by(scans=same) == [("images_under_two_pseudonyms", "cohort", "fail")]


def test_the_same_pixels_twice_in_one_patient_do_not():
    own = pl.concat([GOOD["scans"], GOOD["scans"].with_columns(scan=pl.col("scan") + "b")])
    assert closed_by(scans=own) == []


def included(**changes):
    tables = GOOD | changes
    return derive_training_cohort(
        *(tables[n] for n in ("eligibility", "outcomes", "responses", "timepoints")), STUDY
    )


def test_a_label_that_rests_on_the_tasks_own_visit_closes_the_gate():
    early = GOOD["responses"].filter(pl.col("visit") == "T1")
    assert ("label_after_task", "T1", "fail") in closed_by(
        responses=early, training_cohort=included()
    )


def test_a_patient_decided_by_the_task_closes_the_gate_unless_the_protocol_keeps_such():
    at_t1 = (pl.col("patient") == "BJCH-0") & (pl.col("visit") == "T1")
    decided = GOOD["responses"].with_columns(
        irecist_response=pl.when(at_t1).then(pl.lit("iPR")).otherwise("irecist_response")
    )
    assert closed_by(responses=decided) == []
    assert closed_by(responses=decided, training_cohort=included()) == [
        ("decided_by_task", "T1", "fail")
    ]
    kept = verdict(
        "decided_by_task", "T1", responses=decided, study=protocol(early_outcome_policy="keep")
    )
    assert (kept.statistic, kept.verdict) == (1, "warn")


def test_too_few_patients_or_too_few_of_a_class_close_the_gate():
    few = evaluate_gate(cohort_tables(*people(6)), [], STUDY)
    assert [v.rule for v in gate_closed(few)] == [
        "minimum_patients",
        "minimum_responders",
        "minimum_non_responders",
    ]
    assert [v.statistic for v in gate_closed(few)] == [6, 3, 3]


def test_with_nobody_left_all_sites_are_judged_and_the_gate_is_closed():
    none = GOOD["eligibility"].with_columns(verdict=pl.lit("unknown"))
    rules = {v.rule for v in gate_closed(judge(eligibility=none))}
    assert rules == {"minimum_patients", "minimum_responders", "minimum_non_responders"}
    assert {v.scope for v in judge(eligibility=none) if v.rule == "open_arbitrations"} == {
        "BJCH",
        "SHPH",
    }


def test_row_rules_count_and_close_nothing():
    one = (pl.col("patient") == "BJCH-0") & (pl.col("criterion") == "E1")
    refused = GOOD["eligibility"].with_columns(
        verdict=pl.when(one).then(pl.lit("not_met")).otherwise("verdict")
    )
    found = {
        v.rule: (v.statistic, v.verdict) for v in judge(eligibility=refused) if v.kind == "row"
    }
    assert found == dict.fromkeys(ROW_RULES, (0, "pass")) | {"artifact": (1, "warn")}
    assert closed_by(eligibility=refused) == []


def test_every_exclusion_belongs_to_one_row_rule():
    reasons = [
        "ineligible_I1",
        "unknown_I8",
        "missing_visit",
        "slice_thickness",
        "artifact",
        "consent_withdrawn",
        "progressed_by_T1",
        "responded_by_T1",
        "no_response_after_T1",
        "short_follow_up_after_T2",
    ]
    assert [sum(r.startswith(rule) for rule in ROW_RULES) for r in reasons] == [1] * len(reasons)


@pytest.mark.parametrize(
    ("verdicts", "digest", "state"),
    [
        ([], "d", False),
        ([("cohort", "pass")], "d", True),
        ([("cohort", "pass"), ("cohort", "warn"), ("row", "fail")], "d", True),
        ([("cohort", "pass"), ("cohort", "fail")], "d", False),
        ([("cohort", "pass"), ("cohort", "cannot_evaluate")], "d", False),
        ([("row", "pass")], "d", False),
        ([("cohort", "pass")], "another protocol", False),
    ],
    ids=str,
)
def test_stored_verdicts_open_the_gate_only_by_the_protocol_in_use(verdicts, digest, state):
    rows = [
        {"rule": f"r{i}", "kind": kind, "verdict": verdict, "protocol_digest": "d"}
        for i, (kind, verdict) in enumerate(verdicts)
    ]
    schema = {
        "rule": pl.String,
        "kind": pl.String,
        "verdict": pl.String,
        "protocol_digest": pl.String,
    }
    assert is_open(pl.DataFrame(rows, schema=schema), digest) is state
