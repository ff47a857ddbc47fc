"""Rows of a hospital's own lake: what is computed of them, and what is refused by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest

from dagster_project.federated.engine.certificates import make_key, read_key
from dagster_project.federated.engine.computations import Rows, computation, rows_at
from dagster_project.federated.engine.envelopes import ANSWER, REFUSED, unpack
from dagster_project.federated.engine.outcomes import read_outcome
from dagster_project.federated.engine.places import Places
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.federated.limits import REACH
from dagster_project.federated.pins import Pins
from dagster_project.lake.migrations import latest
from dagster_project.radiomics.dhi_limits_fit import fit_limits
from dagster_project.radiomics.harmonisation import fit_combat
from dagster_project.resources import Lakehouse
from dagster_project.statistics.icc import icc
from dagster_project.statistics.survival import kaplan_meier
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from tests.federated.engine.test_computations import AUC, FREE, drive
from tests.federated.engine.test_run_commands import an_executor, ask
from tests.federated.hospitals import PINNED
from tests.federated.lakes import lake_plan, simulated
from tests.federated.plans import CODES, LOGISTIC

pytestmark = pytest.mark.xdist_group("federated_processes")

COLUMNS = ["pd_l1_tps", "sum_mm_change@T0-T1", "dhi@T0-T1"]
SCALED = {"columns": COLUMNS, "centres": [50, -0.1, 1.0], "units": [25, 0.2, 0.5]}
MODEL = {**LOGISTIC, **SCALED}
FEATURES = [f"{name}@tumor@T0-T1" for name in load_study().section("model")["network_features"][:2]]
UNSTABLE = f"{load_study().section('model')['network_features'][-1]}@tumor@T0-T1"


@pytest.fixture(scope="module")
def hospitals():
    folder, whole = simulated()
    for code in CODES:
        places = Places(folder / code / "federated")
        places.make()
        places.note_medium()
    yield folder, whole
    for code in CODES:
        shutil.rmtree(folder / code / "federated")


def rows_of(hospitals, plan):
    folder, _ = hospitals
    return {code: rows_at(Places(folder / code / "federated"), plan, code) for code in CODES}


def result_of(hospitals, plan, clip=False):
    rows = rows_of(hospitals, plan)
    return drive([computation(plan, code, rows[code]) for code in CODES], clip)


@pytest.fixture(scope="module")
def pooled(hospitals):
    return build_dataset(TASKS["T1"], **hospitals[1].of_dataset())


# -- as all rows together --------------------------------------------------------------------------


def test_counts_by_a_column_of_the_case_report(hospitals):
    counts = {"arms": ["F", "M"], "hospitals": [], **FREE}
    plan = lake_plan({"outcome": "none", "group": "sex"}, counts=counts)
    found = result_of(hospitals, plan)[0]["patients"]["all"]
    assert found == dict(hospitals[1].patients.group_by("sex").len().iter_rows())


def test_survival_from_the_first_cycle(hospitals):
    survival = {"endpoint": "pfs", "groups": ["all"], "last_day": 800, "width_days": 1, **FREE}
    found = result_of(hospitals, lake_plan({"outcome": "pfs"}, survival=survival))[0]
    times = hospitals[1].outcomes
    wanted = kaplan_meier(times["pfs_days"].to_numpy().astype(float), times["pfs_event"].to_numpy())
    assert np.asarray(found["curves"]["all"]["survival"]) == pytest.approx(
        np.asarray(wanted.survival)
    )


def test_moments_are_those_of_the_pooled_data_set(hospitals, pooled):
    found = result_of(hospitals, lake_plan({"outcome": "none"}, moments=SCALED))[0]["columns"]
    for name in COLUMNS:
        values = pooled.values_of([name])[:, 0]
        assert found[name]["n"] == np.isfinite(values).sum()
        assert found[name]["mean"] == pytest.approx(np.nanmean(values), abs=1e-5)
        assert found[name]["sd"] == pytest.approx(np.nanstd(values, ddof=1), abs=1e-5)


def test_logistic_coefficients_are_those_of_all_rows(hospitals, pooled):
    plan = lake_plan(logistic=MODEL)
    found = result_of(hospitals, plan, clip=True)
    values = {n: pooled.values_of([n])[:, 0].tolist() for n in COLUMNS}
    rows = Rows({**values, "label": pooled.y.astype(bool).tolist()}, "")
    (wanted,) = drive([computation(plan, "BJCH", rows)], clip=True)
    assert found[0] == pytest.approx(wanted, abs=1e-6)
    assert found[0] == found[2]


def test_agreement_of_readers(hospitals):
    section = {"readers": 2, "centre_mm": 60.0, "unit_mm": 30.0, "one_pair_a_patient": True}
    found = result_of(hospitals, lake_plan({"outcome": "none"}, readers=section))[0]
    lakes = [Lakehouse(root=str(hospitals[0] / c)).lake.read("responses") for c in CODES]
    read = pl.concat(lakes).filter(pl.col("visit") == "T1", pl.col("evaluator") != "accepted")
    sums = read.pivot(on="evaluator", index="patient", values="sum_mm").select("R1", "R2")
    wanted = icc(sums.to_numpy())
    assert found["pairs"] == sums.height
    for name in ("value", "lower", "upper"):
        assert found["icc"][name] == pytest.approx(getattr(wanted, name), abs=1e-5)


def test_combat_of_hospitals_and_kernels(hospitals, pooled):
    kernels = {
        c: Lakehouse(root=str(hospitals[0] / c)).lake.read("scans")["kernel"][0] for c in CODES
    }
    batches = [f"{code}/{kernel}" for code, kernel in kernels.items()]
    section = {"columns": FEATURES, "centres": [0, 0], "units": [0.5, 0.5]}
    section |= {"batches": batches, "covariates": []}
    found = result_of(hospitals, lake_plan({"outcome": "none"}, combat=section))
    values = pooled.values_of(FEATURES)
    whole = np.isfinite(values).all(axis=1)
    of_patient = np.array([f"{site}/{kernels[site]}" for site in pooled.sites])
    wanted = fit_combat(values[whole], of_patient[whole].tolist())
    assert list(found[0]["level"].values()) == pytest.approx(wanted.mean.tolist(), abs=1e-5)
    assert list(found[0]["sd"].values()) == pytest.approx(wanted.sd.tolist(), abs=1e-5)
    for batch, own in zip(batches, found, strict=True):
        assert own["own"][batch]["shift"] == pytest.approx(wanted.shift[batch].tolist(), abs=1e-3)
        assert list(own["own"]) == [batch]


def test_limits_of_dhi(hospitals, pooled):
    found = result_of(hospitals, lake_plan({"outcome": "none"}, dhi_limits={}))[0]
    ratios = pooled.comparisons.ratios
    wanted = fit_limits([ratios], load_study().section("dhi")["quantile"], found["n_lesions"])
    assert found["components"] == pytest.approx(list(wanted.components), rel=2 * REACH)
    assert found["combined"] == pytest.approx(wanted.combined, rel=4 * REACH)


# -- what is refused -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    """A hospital's key, made once: it takes a second."""
    file = tmp_path_factory.mktemp("key") / "hospital.key"
    make_key(file)
    return file


@pytest.fixture
def home(hospitals, key_file, monkeypatch):
    """One hospital with a ledger, keys and pins, ready for a run."""
    folder, _ = hospitals
    places = Places(folder / "BJCH" / "federated")
    shutil.rmtree(places.folder)
    places.make()
    places.note_medium()
    Ledger.create(places.folder, "BJCH", Budget(3.0, 1e-5))
    pins = Pins(places.folder)
    shutil.copy(key_file, places.key)
    pins.pin("BJCH", fingerprint(public_bytes(read_key(places.key))))
    for code in CODES[1:]:
        pins.pin(code, PINNED[code])
    monkeypatch.setenv("LAKEHOUSE_HOME", str(places.home.root))
    return places


def refused(places, plan):
    """The name that the coordinator has, once the hospital's own sentences name no patient."""
    Ledger(places.folder).allow(plan.digest)
    executor = an_executor(plan)
    answer = unpack(ask(executor, "announce"))
    outcome = read_outcome(places.outcome(executor._name))
    if ANSWER in answer:
        return None
    assert outcome.state == "failed"
    assert outcome.en
    assert outcome.zh
    assert "BJCH-0" not in json.dumps(answer[REFUSED].decode()) + outcome.en + outcome.zh
    return answer[REFUSED].decode()


@pytest.fixture
def changed(home):
    """Change a table of the hospital's lake for the time of a test."""
    lake, before = Lakehouse(root=str(home.home.root)).lake, {}

    def change(name, how):
        before[name] = lake.read(name)
        lake.replace(name, how(before[name]))

    yield change
    for name, frame in before.items():
        lake.replace(name, frame)


def test_with_everything_in_order_the_hospital_takes_part(home):
    assert refused(home, lake_plan(logistic=MODEL)) is None


@pytest.mark.parametrize(
    ("rows", "asked", "name"),
    [
        ({"protocol": "0" * 16}, {"logistic": MODEL}, "OtherProtocol"),
        ({"schema_version": latest() + 1}, {"logistic": MODEL}, "OtherSchemaVersion"),
        ({"simulated": False}, {"logistic": MODEL}, "OtherMedium"),
        ({}, {"logistic": {**MODEL, "columns": [*COLUMNS[:2], "mass_kg"]}}, "ColumnsMissing"),
        ({}, {"logistic": {**MODEL, "columns": [*COLUMNS[:2], UNSTABLE]}}, "ColumnsNotStable"),
        ({}, {"auc": AUC}, "ColumnsMissing"),
    ],
    ids=["protocol", "schema", "trial keys", "column", "unstable feature", "model"],
)
def test_a_plan_that_this_hospital_cannot_answer(home, rows, asked, name):
    assert refused(home, lake_plan(rows, **asked)) == name


def test_another_key_drive_than_at_joining(home):
    home.medium.write_text("age1another")
    assert refused(home, lake_plan(logistic=MODEL)) == "OtherMedium"


def test_a_home_without_a_lake(home, tmp_path, monkeypatch):
    shutil.copytree(home.folder, tmp_path / "empty" / "federated")
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "empty"))
    assert refused(Places(tmp_path / "empty" / "federated"), lake_plan(logistic=MODEL)) == "NoLake"


def test_a_plan_of_a_table_where_none_is_named(home):
    from tests.federated.plans import plan_of

    assert refused(home, plan_of()) == "NoTable"


def test_a_closed_gate(home, changed):
    changed("reader_agreement", lambda f: f.filter(pl.col("scope") != "site"))
    assert refused(home, lake_plan(logistic=MODEL)) == "ClosedGate"


def test_nobody_eligible(home, changed):
    changed("training_cohort", lambda f: f.with_columns(included=False))
    assert refused(home, lake_plan(logistic=MODEL)) == "NoEligiblePatients"


def test_one_class_only(home, changed):
    changed("training_cohort", lambda f: f.with_columns(label=True))
    assert refused(home, lake_plan(logistic=MODEL)) == "OneClassOnly"


def test_real_patients_in_a_simulated_plan(home, changed):
    changed("training_cohort", lambda f: f.with_columns(simulated=False))
    assert refused(home, lake_plan(logistic=MODEL)) == "OtherKindOfRows"


def test_rows_of_other_sites_in_the_lake_are_not_read(home, changed):
    plan = lake_plan({"outcome": "none"}, moments=SCALED)
    before = rows_at(home, plan, "BJCH").cohort
    stranger = pl.lit("SHFD")
    changed("training_cohort", lambda f: pl.concat([f, f.with_columns(site=stranger)]))
    assert rows_at(home, plan, "BJCH").cohort == before
