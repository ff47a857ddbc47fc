"""Each criterion of the registration: met, not met, unknown; and the flow chart."""

from __future__ import annotations

import re

import polars as pl
import pytest

from dagster_project.domain.cohort.eligibility import (
    CRITERIA,
    derive_eligibility,
    derive_flow,
    judge_treatment,
)
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import ELIGIBILITY
from tests.domain.courses import STUDY
from tests.domain.records import cycles, eligibility, lesions, table, timepoints

CLASSES = {
    "pembrolizumab": "pd1",
    "atezolizumab": "pdl1",
    "carboplatin": "chemo",
    "pemetrexed": "chemo",
    "bevacizumab": "antiangiogenic",
}

PATIENT = {
    "histology": "adenocarcinoma",
    "stage": "IVA",
    "regimen": "pembrolizumab+carboplatin",
    "age_years": 64,
    "sex": "F",
    "smoking": "never",
    "ecog": 1,
    "egfr": "wild_type",
    "alk": "negative",
    "pd_l1_tps": 0.0,
    "prior_malignancy": False,
    "organ_dysfunction": False,
    "target_radiotherapy": False,
    "consent": "given",
}
SCAN = {
    "slice_thickness_mm": 1.0,
    "slice_spacing_mm": 1.0,
    "n_missing_slices": 0,
    "n_duplicate_slices": 0,
    "metal_flag": False,
    "motion_flag": False,
}
VISITS = ("T0", "T1", "T2")


def judge(
    patient=(),
    scans=(),
    visits=VISITS,
    days=(0, 21, 42, 63, 84, 105),
    found=None,
    drugs="pembrolizumab+carboplatin",
    reads=(),
):
    """Verdicts of the one patient, who is eligible except for what is given.

    `scans` changes the scan of T1.
    """
    taken = [
        SCAN
        | {"scan": f"S{v}", "day": {"T0": -7, "T1": 56, "T2": 98}[v]}
        | (dict(scans) if v == "T1" else {})
        for v in visits
    ]
    tables = (
        table("patients", PATIENT | dict(patient)),
        cycles(*days, drugs=drugs),
        timepoints(*visits),
        table("scans", *taken),
        lesions(L1=[20]) if found is None else found,
        table("reads", *reads),
    )
    rows = derive_eligibility(*tables, STUDY, drug_class=CLASSES.get)
    assert rows.schema == polars_schema(ELIGIBILITY)
    return {r["criterion"]: (r["verdict"], r["evidence"]) for r in rows.iter_rows(named=True)}


def test_an_eligible_patient_meets_every_criterion():
    assert {c: v for c, (v, _) in judge().items()} == dict.fromkeys(CRITERIA, "met")


PATIENT_CASES = [
    ("I1", {"histology": "small_cell_carcinoma"}, "not_met"),
    ("I1", {"histology": "other"}, "not_met"),
    ("I1", {"histology": None}, "unknown"),
    ("I1", {"histology": "nsclc_nos"}, "met"),
    ("I2", {"stage": "IIB"}, "not_met"),
    ("I2", {"stage": "IA3"}, "not_met"),
    ("I2", {"stage": "IIIC"}, "met"),
    ("I2", {"stage": "IV"}, "met"),
    ("I2", {"stage": None}, "unknown"),
    ("I7", {"smoking": None}, "unknown"),
    ("I7", {"ecog": 0}, "met"),
    ("I7", {"age_years": None}, "unknown"),
    ("I8", {"egfr": None}, "unknown"),
    ("I8", {"pd_l1_tps": None}, "unknown"),
    ("I8", {"egfr": "mutant"}, "met"),
    ("I9", {"age_years": 17}, "not_met"),
    ("I9", {"age_years": 18}, "met"),
    ("I9", {"age_years": None}, "unknown"),
    ("E2", {"prior_malignancy": True}, "not_met"),
    ("E2", {"prior_malignancy": None}, "unknown"),
    ("E3", {"organ_dysfunction": True}, "not_met"),
    ("E3", {"organ_dysfunction": None}, "unknown"),
    ("E4", {"target_radiotherapy": True}, "not_met"),
    ("E4", {"target_radiotherapy": None}, "unknown"),
    ("E5", {"consent": "withdrawn"}, "not_met"),
    ("E5", {"consent": None}, "unknown"),
    ("E5", {"consent": "contradictory"}, "unknown"),
]


@pytest.mark.parametrize(("criterion", "patient", "verdict"), PATIENT_CASES)
def test_criteria_of_the_case_report(criterion, patient, verdict):
    found, evidence = judge(patient)[criterion]
    assert found == verdict
    assert "patients." in evidence or "patients:" in evidence


@pytest.mark.parametrize(
    "patient",
    [{"histology": "small_cell_carcinoma", "stage": "IIB", "age_years": 17}, {}],
    ids=["not met", "met"],
)
def test_evidence_holds_no_value_that_a_publication_may_leave_out(patient):
    """`[publish] suppressed_columns` empties the column.

    A copy of its value in a text would be published all the same.
    """
    evidence = " ".join(text for _, text in judge(patient).values())
    row = PATIENT | patient
    assert not [
        name
        for name in ("histology", "stage", "regimen", "age_years")
        if re.search(rf"(?<![\w-]){re.escape(str(row[name]))}(?!\w)", evidence)
    ]


@pytest.mark.parametrize(
    ("regimen", "drugs", "verdict"),
    [
        pytest.param(None, ["pembrolizumab+carboplatin"], "met", id="1 given together at a cycle"),
        pytest.param(
            None,
            ["atezolizumab+carboplatin+bevacizumab", "atezolizumab"],
            "met",
            id="1 maintenance afterwards",
        ),
        pytest.param(
            "pembrolizumab+carboplatin",
            [None, ""],
            "met",
            id="1 the regimen where no cycle names its drugs",
        ),
        pytest.param(
            "pembrolizumab+carboplatin",
            ["carboplatin"],
            "not_met",
            id="1 what was given goes before what was planned",
        ),
        pytest.param(
            None,
            ["pembrolizumab", "carboplatin"],
            "not_met",
            id="2 one after the other is not combined",
        ),
        pytest.param(None, [None], "unknown", id="3 nothing written down"),
        pytest.param("carboplatin+mysterymab", [], "unknown", id="3 a name that nobody knows"),
        pytest.param(
            "pembrolizumab+carboplatin+mysterymab",
            [],
            "met",
            id="2 an unknown third drug does not matter",
        ),
        pytest.param("carboplatin+pemetrexed", [], "not_met", id="4 chemotherapy alone"),
        pytest.param("pembrolizumab", [], "not_met", id="4 antibody alone"),
    ],
)
def test_treatment(regimen, drugs, verdict):
    assert judge_treatment(regimen, drugs, CLASSES.get)[0] == verdict


@pytest.mark.parametrize(
    ("visits", "days", "verdict"),
    [
        pytest.param(
            ("T1", "T2"), (0, 21, 42, 63, 84, 105), "not_met", id="1 no T0: its window is over"
        ),
        pytest.param(
            ("T0", "T2"), (0, 21, 42, 63, 84, 105), "not_met", id="2 no T1, and T2 is there"
        ),
        pytest.param(
            ("T0", "T1"), (0, 21, 42, 63, 84, 105, 126), "not_met", id="3 no T2, cycle 7 was given"
        ),
        pytest.param(("T0", "T1"), (0, 21, 42, 63, 84, 105), "unknown", id="4 T2 may still come"),
        pytest.param(("T0", "T1"), (0, 21, 42, 63), "unknown", id="5 no cycle 5"),
        pytest.param(VISITS, (), "met", id="6 all there"),
        pytest.param((), (), "unknown", id="7 no cycle is known"),
    ],
)
def test_three_visits(visits, days, verdict):
    assert judge(visits=visits, days=days)["I4"][0] == verdict


@pytest.mark.parametrize(
    ("scan", "verdict", "evidence"),
    [
        pytest.param(
            {"slice_thickness_mm": 1.25},
            "not_met",
            "slice_thickness_mm above the limit",
            id="1 thick by the header",
        ),
        pytest.param(
            {"slice_spacing_mm": 5.0},
            "not_met",
            "slice_spacing_mm above the limit",
            id="1 thick by the positions, whatever the header says",
        ),
        pytest.param({"n_missing_slices": 1}, "not_met", "n_missing_slices", id="1 a gap"),
        pytest.param({"n_duplicate_slices": 2}, "not_met", "n_duplicate_slices", id="1 duplicates"),
        pytest.param(
            {"slice_thickness_mm": None}, "unknown", "slice_thickness_mm missing", id="2 not known"
        ),
        pytest.param(
            {"slice_thickness_mm": None, "slice_spacing_mm": 5.0},
            "not_met",
            "slice_spacing_mm",
            id="2 known enough to fail",
        ),
        pytest.param(
            {"slice_thickness_mm": 1.0, "slice_spacing_mm": 0.7},
            "met",
            "T1",
            id="3 overlapping slices",
        ),
    ],
)
def test_slices(scan, verdict, evidence):
    found = judge(scans=scan)["I5"]
    assert found[0] == verdict
    assert evidence in found[1]
    assert "T1" in found[1]


def test_slices_and_artifacts_of_a_missing_visit_are_unknown():
    found = judge(visits=("T0", "T1"))
    assert found["I5"] == ("unknown", "scans: T2 no CT")
    assert found["E1"][0] == "unknown"


@pytest.mark.parametrize(
    ("scan", "verdict"),
    [
        pytest.param({"metal_flag": True}, "not_met", id="2 metal"),
        pytest.param({"motion_flag": True}, "not_met", id="2 motion"),
        pytest.param(
            {"motion_flag": True, "reader_artifact_flag": False},
            "met",
            id="1 the reader's word wins: usable",
        ),
        pytest.param(
            {"reader_artifact_flag": True}, "not_met", id="1 the reader's word wins: not usable"
        ),
        pytest.param({"metal_flag": None}, "unknown", id="3 not measured"),
        pytest.param(
            {"metal_flag": None, "motion_flag": True}, "not_met", id="3 known enough to fail"
        ),
    ],
)
def test_artifacts(scan, verdict):
    assert judge(scans=scan)["E1"][0] == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        pytest.param(lesions(L1=[9.9]), "not_met", id="1 below 10 mm"),
        pytest.param(lesions(L1=[10]), "met", id="2 10 mm"),
        pytest.param(lesions(N1=[30]), "not_met", id="3 no target"),
        pytest.param(lesions(L1=[0]), "not_met", id="4 not there"),
        pytest.param(lesions(L1=[None, 20]), "unknown", id="5 T0 not read"),
        pytest.param(
            lesions(L1=[20]).with_columns(longest_diameter_mm=pl.lit(None, pl.Float64)),
            "unknown",
            id="6 not measured",
        ),
        pytest.param(
            lesions(L1=[20]).with_columns(is_lymph_node=pl.lit(True), short_axis_mm=pl.lit(14.0)),
            "not_met",
            id="7 a node below 15 mm",
        ),
    ],
)
def test_measurable_target(found, verdict):
    assert judge(found=found)["I6"][0] == verdict


def test_an_open_read_is_told():
    opened = {"visit": "T0", "reader": "R1", "lesion": "L1", "locked_at": None}
    assert "1 reads are not locked" in judge(found=lesions(L1=[]), reads=[opened])["I6"][1]


def test_a_patient_without_case_report_is_judged_and_nothing_passes_in_silence():
    found = judge(dict.fromkeys(PATIENT), visits=(), days=(), found=lesions(L1=[]))
    assert {v for v, _ in found.values()} == {"unknown"}


def test_the_vocabulary_is_asked_where_no_classes_are_given():
    rows = derive_eligibility(
        table("patients", PATIENT),
        cycles(0),
        timepoints(*VISITS),
        table("scans"),
        lesions(L1=[20]),
        table("reads"),
        STUDY,
    )
    assert rows.filter(criterion="I3")["verdict"].to_list() == ["met"]


def test_flow_gives_each_patient_its_first_reason():
    people = [
        eligibility(),
        eligibility(I5="not_met", E1="not_met"),
        eligibility(I5="unknown"),
        eligibility(E2="not_met"),
    ]
    rows = pl.concat([p.with_columns(patient=pl.lit(f"P{n}")) for n, p in enumerate(people)])
    flow = {r["criterion"]: r for r in derive_flow(rows).iter_rows(named=True)}
    assert list(flow) == list(CRITERIA)
    assert [flow[c]["n_first_reason"] for c in ("I5", "E1", "E2")] == [2, 0, 1]
    assert [flow[c]["n_any_reason"] for c in ("I5", "E1", "E2")] == [2, 1, 1]
    assert flow["I5"]["n_first_unknown"] == 1
    assert [flow[c]["remaining"] for c in ("I4", "I5", "E5")] == [4, 2, 1]


def test_flow_of_nobody():
    assert derive_flow(eligibility().clear())["remaining"].sum() == 0
