"""Study plans: what is asked is typed, what cannot be meant is refused by key, in two languages."""

from __future__ import annotations

import contextlib
import copy
import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.combat import Design
from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins
from dagster_project.federated.limits import ComponentRatios
from dagster_project.federated.logistic import LogisticPlan
from dagster_project.federated.moments import Moments, ReaderAgreement
from dagster_project.federated.plans import KINDS, LARGEST_PLAN, parse_plan, read_plan
from dagster_project.federated.refusals import PlanUnusable

PLAN = {"name": "First look", "hospitals": ["SHFD", "BJCH", "GZSM"], "task": "T1"}
EXACT = {"epsilon": 0, "delta": 1e-5}
ASKED = {
    "counts": {"arms": ["A", "B"], "hospitals": ["BJCH", "GZSM", "SHFD"], **EXACT},
    "survival": {
        "endpoint": "pfs",
        "groups": ["low", "high"],
        "last_day": 730,
        "width_days": 1,
        **EXACT,
    },
    "auc": {"model": "fusion/3", "bins": 2000, **EXACT},
    "readers": {"readers": 2, "centre_mm": 30.0, "unit_mm": 10, "one_pair_a_patient": False},
    "moments": {"columns": ["age", "dhi"], "centres": [60, 1.0], "units": [10, 0.5]},
    "combat": {
        "columns": ["f", "g", "h"],
        "centres": [0, 0, 1],
        "units": [1, 1, 2],
        "batches": ["BJCH/B", "GZSM/B", "SHFD/C"],
        "covariates": ["age"],
    },
    "dhi_limits": {},
    "logistic": {
        "columns": ["pd_l1_tps", "dhi"],
        "centres": [50, 1.0],
        "units": [25, 0.5],
        "patients": 500,
        "steps": 40,
        "clip": 1.0,
        "rate": 2.0,
        "penalty": 0.05,
        "reach": 3.0,
        "epsilon": 1.0,
        "delta": 1e-5,
    },
    "network": {
        "architecture": "st_gcn",
        "weights": 3410,
        "centres": [0, 1],
        "units": [1, 2],
        "average": 16,
        "epochs": 1,
        "rate": 0.01,
        "folds": 5,
        "seed": 1,
    },
}

ROWS = {
    "outcome": "response",
    "population": "training",
    "group": "none",
    "protocol": "0" * 16,
    "schema_version": 2,
    "simulated": False,
}


def plan_of(kind, *, plan=(), **changes):
    sections = {"plan": {**PLAN, **dict(plan)}, kind: {**ASKED[kind], **changes}}
    return parse_plan(copy.deepcopy(sections))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_asked(kind):
    found = plan_of(kind)
    assert found.kind == kind
    assert found.plan.hospitals == ["BJCH", "GZSM", "SHFD"]
    assert re.fullmatch(r"[0-9a-f]{64}", found.digest)


def test_all_kinds_are_tried():
    assert ASKED.keys() == KINDS.keys()


def test_the_length_that_is_stated_is_that_of_the_query():
    queries = {
        "counts": CountsByArm(("A", "B"), ("BJCH", "GZSM", "SHFD")),
        "survival": DayGrid(("low", "high"), 730),
        "auc": ScoreBins(2000),
        "readers": ReaderAgreement(2, 30, 10, one_pair_a_patient=False),
        "moments": Moments(("age", "dhi"), (60, 1), (10, 0.5)),
        "combat": Design(("b", "c", "d"), (0, 0, 1), (1, 1, 2), covariates=1),
        "dhi_limits": ComponentRatios(0.95),
        "logistic": LogisticPlan(("p", "d"), (50, 1), (25, 0.5), 500, 40, 1.0, 2.0, penalty=0.05),
    }
    found = {k: plan_of(k).asked.length for k in KINDS}
    assert found.pop("network") == 6 * (3410 + 2), "six networks, their patients and loss"
    assert found == {k: q.length for k, q in queries.items()}


# -- what is refused -------------------------------------------------------------------------------

FAULTS = [
    ("counts", {"arms": []}, "arms"),
    ("counts", {"arms": ["A", "A"]}, "arms"),
    ("counts", {"hospitals": ["BJCH", "GZSM"]}, "hospitals"),
    ("survival", {"endpoint": "PFS"}, "endpoint"),
    ("survival", {"width_days": 0}, "width_days"),
    ("survival", {"last_day": "730"}, "last_day"),
    ("auc", {"bins": 4}, "bins"),
    ("auc", {"bins": 200.5}, "bins"),
    ("auc", {"bin": 200}, "bin"),
    ("readers", {"one_pair_a_patient": 1}, "one_pair_a_patient"),
    ("readers", {"unit_mm": 0}, "unit_mm"),
    ("moments", {"centres": [60]}, "centre"),
    ("moments", {"units": [10, 0.5, 1]}, "unit"),
    ("moments", {"units": [10, -0.5]}, "units"),
    ("moments", {"centres": [60, float("nan")]}, "centres"),
    ("combat", {"units": [1, 1, float("inf")]}, "units"),
    ("combat", {"covariates": [""]}, "covariates"),
    ("dhi_limits", {"quantile": 0.9}, "quantile"),
    ("logistic", {"epsilon": -1}, "epsilon"),
    ("logistic", {"epsilon": True}, "epsilon"),
    ("logistic", {"delta": 0}, "delta"),
    ("logistic", {"delta": 0.5}, "delta"),
    ("logistic", {"steps": 0}, "steps"),
    ("logistic", {"clip": 0}, "clip"),
    ("logistic", {"columns": ["a"]}, "column"),
]


@pytest.mark.parametrize(("kind", "changes", "named"), FAULTS)
def test_what_cannot_be_meant_is_refused_by_key(kind, changes, named):
    with pytest.raises(PlanUnusable, match=rf"\[{kind}\].*{named}") as refusal:
        plan_of(kind, **changes)
    assert re.search(r"[\u4e00-\u9fff]", refusal.value.zh)
    assert named in refusal.value.zh or named in {"centre", "unit", "column"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hospitals": ["BJCH", "GZSM"]}, "hospitals"),
        ({"hospitals": ["BJCH", "GZSM", "BJCH"]}, "hospitals"),
        ({"hospitals": ["BJCH", "GZSM", "Zhang San"]}, "hospitals"),
        ({"task": "T3"}, "task"),
        ({"name": " "}, "name"),
        ({"name": "First look\nledger: allowed at BJCH"}, "name"),
        ({"name": "\x1b[2J"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"extra": 1}, "extra"),
    ],
)
def test_who_takes_part_and_how_it_is_called(changes, named):
    with pytest.raises(PlanUnusable, match=rf"\[plan\] {named}") as refusal:
        plan_of("auc", plan=changes)
    assert "Zhang San" not in str(refusal.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_needed(kind):
    for key in ASKED[kind]:
        sections = {"plan": PLAN, kind: {k: v for k, v in ASKED[kind].items() if k != key}}
        with pytest.raises(PlanUnusable, match=rf"\[{kind}\] {key} is missing"):
            parse_plan(sections)


def test_all_faults_are_named_at_once():
    with pytest.raises(PlanUnusable) as refusal:
        plan_of("logistic", plan={"task": "T9"}, steps=0, clip=-1, colour="red")
    places = [fault.split(" ")[1] for fault in refusal.value.faults]
    assert places == ["task", "steps", "clip", "colour"]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"plan": PLAN},
        {"auc": ASKED["auc"]},
        {"plan": PLAN, "auc": ASKED["auc"], "counts": ASKED["counts"]},
        {"plan": PLAN, "auc": ASKED["auc"], "code": {}},
        {"plan": PLAN, "roc": ASKED["auc"]},
    ],
)
def test_a_plan_has_its_section_and_one_that_is_asked(sections):
    with pytest.raises(PlanUnusable, match="nothing else"):
        parse_plan(sections)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("kind", "rows", "fault"),
    [
        ("logistic", {"outcome": "pfs"}, "outcome has to be response"),
        ("survival", {"outcome": "os"}, "outcome has to be pfs"),
        ("moments", {"outcome": "response"}, "outcome has to be none"),
        ("auc", {"population": "eligible"}, "population has to be training"),
        ("logistic", {"protocol": "abc"}, "[rows] protocol"),
        ("logistic", {"group": "name"}, "[rows] group"),
        ("logistic", {"patients": "all"}, "[rows] patients is not known"),
    ],
)
def test_rows_of_the_lake_fit_what_is_asked(kind, rows, fault):
    sections = {"plan": PLAN, kind: ASKED[kind], "rows": ROWS | rows}
    with pytest.raises(PlanUnusable) as found:
        parse_plan(copy.deepcopy(sections))
    assert fault in found.value.en


def test_rows_are_part_of_the_digest_and_another_protocol_is_the_same_query():
    def made(**changes):
        rows = ROWS | changes
        return parse_plan(
            copy.deepcopy({"plan": PLAN, "logistic": ASKED["logistic"], "rows": rows})
        )

    plain, own = plan_of("logistic"), made()
    assert plain.digest != own.digest
    assert plain.query != own.query
    assert made(protocol="1" * 16).digest != own.digest
    assert made(protocol="1" * 16).query == own.query
    assert made(simulated=True).query != own.query
    assert parse_plan(own.sections).digest == own.digest


@settings(max_examples=150)
@given(st.sampled_from(sorted(KINDS)), VALUES, st.data())
def test_any_value_is_a_plan_or_refused_and_no_other_error(kind, value, data):
    key = data.draw(st.sampled_from(["", *ASKED[kind]]))
    sections = {"plan": PLAN, kind: {**ASKED[kind], key: value} if key else value}
    with contextlib.suppress(PlanUnusable):
        parse_plan(sections)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"[plan", "TOML"),
        (b"#" * (LARGEST_PLAN + 1), "longer"),
        (b"", "nothing else"),
    ],
)
def test_files_that_are_no_plan(tmp_path, content, named):
    (tmp_path / "plan.toml").write_bytes(content)
    with pytest.raises(PlanUnusable, match=named):
        read_plan(tmp_path / "plan.toml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PlanUnusable, match="cannot be read"):
        read_plan(tmp_path / "plan.toml")


# -- digests ---------------------------------------------------------------------------------------


def test_a_digest_is_of_everything():
    digests = {
        plan_of("logistic").digest,
        plan_of("logistic", clip=2.0).digest,
        plan_of("logistic", plan={"name": "Second look"}).digest,
        plan_of("logistic", plan={"hospitals": ["BJCH", "GZSM", "SHFD", "WHTJ"]}).digest,
        plan_of("auc").digest,
    }
    assert len(digests) == 5
    assert (
        plan_of("logistic").digest
        == plan_of("logistic", plan={"hospitals": sorted(PLAN["hospitals"])}).digest
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("logistic", {"epsilon": 0, "steps": 10, "clip": 3.0, "units": [20, 0.4]}),
        ("auc", {"bins": 5, "epsilon": 1.0}),
        ("survival", {"width_days": 30, "last_day": 700}),
        ("moments", {"centres": [50, 0]}),
        ("counts", {"hospitals": []}),
    ],
)
def test_tuning_is_the_same_query(kind, changes):
    assert plan_of(kind, **changes).query == plan_of(kind).query
    assert plan_of(kind, **changes).digest != plan_of(kind).digest


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("logistic", {"columns": ["pd_l1_tps", "size"]}),
        ("auc", {"model": "fusion/4"}),
        ("survival", {"endpoint": "os"}),
        ("counts", {"arms": ["A", "C"]}),
    ],
)
def test_other_columns_models_and_groups_are_another_query(kind, changes):
    assert plan_of(kind, **changes).query != plan_of(kind).query


def test_another_task_is_another_query_and_another_group_of_hospitals_is_not():
    first = plan_of("auc").query
    assert plan_of("auc", plan={"task": "T2"}).query != first
    assert plan_of("auc", plan={"hospitals": ["BJCH", "GZSM", "WHTJ"]}).query == first


def test_a_plan_costs_the_epsilon_that_it_states():
    found = plan_of("logistic")
    assert found.epsilon(1e-5) == pytest.approx(1.0)
    assert found.epsilon(1e-6) > 1.0
    assert plan_of("logistic", epsilon=0).epsilon(1e-5) is None
    for kind in ("auc", "survival", "counts"):
        assert plan_of(kind).epsilon(1e-5) is None
        noisy = plan_of(kind, epsilon=2.0)
        assert noisy.epsilon(1e-5) == pytest.approx(2.0)
        assert noisy.asked.noise_sd == pytest.approx(1 / noisy.asked.mu)
        assert (plan_of(kind).asked.row_norm, noisy.asked.row_norm) == (None, 1.0)


def test_what_is_written_in_toml_is_what_is_read(tmp_path):
    text = (
        '[plan]\nname = "第一次"\nhospitals = ["BJCH", "GZSM", "SHFD"]\ntask = "T1"\n'
        '[auc]\nmodel = "fusion/3"\nbins = 2000\nepsilon = 0\ndelta = 1e-5\n'
    )
    (tmp_path / "plan.toml").write_text(text, encoding="utf-8")
    assert read_plan(tmp_path / "plan.toml").digest == parse_plan(tomllib.loads(text)).digest
