"""DHI is divided by limits from a fold's training patients alone.

The cohort's own values never reach a model.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from dagster_project.radiomics.dhi import derive_dhi, units_of
from dagster_project.radiomics.dhi_limits import (
    FoldLimits,
    LimitsError,
    fit_fold_limits,
    patient_free_limits,
    raw_dhi,
)
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS, fit_limits, held_back_ratios
from dagster_project.study import load_study
from models.data.datasets import (
    CLINICAL,
    DELTA,
    DHI,
    PD_L1,
    TASKS,
    DatasetError,
    LeakageError,
    build_dataset,
)
from models.data.fold_dhi import LIMITED, limits_facts, limits_of
from models.evaluation.explanation import contributions
from models.evaluation.training import train
from models.learners.baselines import Baseline, LinearModel
from models.learners.boosting import BoostedModel, Boosting
from models.operation.prediction import input_digests
from tests.models.cohorts import PAIRS, SECTION, simulate

SETTINGS = MappingProxyType({**load_study().section("dhi"), "calibration_lesions_minimum": 4})
COHORT = simulate(n=36)
RNG = np.random.default_rng(8)
HALF = np.arange(36) < 18


def comparison(who: dict, lesion: str, visits: tuple[str, str]) -> dict:
    """A comparison with a gamma null that is heavier the later the patient is in the cohort.

    One in ten has no outline.
    """
    figures = {
        f"null_{c}_{side}": RNG.gamma(2, 1 + 0.1 * int(who["patient"][-3:]), 10).tolist()
        for c in COMPONENTS
        for side in "ab"
    }
    figures |= {c: float(RNG.gamma(3)) for c in COMPONENTS} | {
        f"size_{c}": float(RNG.gamma(1)) for c in COMPONENTS
    }
    lost = RNG.random() < 0.1
    if lost:
        figures = {name: [] if isinstance(value, list) else None for name, value in figures.items()}
    shifts = dict.fromkeys(
        ("delta_median_hu", "delta_log_sd", "delta_log_volume", "wasserstein_hu"),
        None if lost else 1.0,
    )
    volumes = {
        f"volume_{side}_mm3": None if lost else float(RNG.uniform(2000, 9000)) for side in "ab"
    }
    return {
        **who,
        "lesion": lesion,
        "from_visit": visits[0],
        "to_visit": visits[1],
        "simulated": True,
        **figures,
        **shifts,
        **volumes,
        "n_voxels": None if lost else 900,
        "reason": "no outline" if lost else None,
    }


ROWS = [
    comparison(who, lesion, pair)
    for who in COHORT.patients.select("site", "patient").to_dicts()
    for lesion in ("L1", "L2")
    for pair in PAIRS
]
TABLE = derive_dhi(pl.DataFrame(ROWS, infer_schema_length=None), SETTINGS).with_columns(
    input_fingerprint=pl.lit("f")
)
TABLES = {**vars(COHORT), "dhi": TABLE}
DATA = build_dataset(TASKS["T1"], **TABLES, comparisons=raw_dhi(ROWS, SETTINGS))
PLAIN = build_dataset(TASKS["T1"], **TABLES)


def of_dhi(data, names=LIMITED):
    return data.values_of([f"{name}@T0-T1" for name in names])


def test_1_divided_by_the_same_limits_a_patient_has_the_tables_figures():
    """The oracle is the table derived with everyone's limits.

    Those are the limits of a cohort too small to calibrate.
    """
    table = derive_dhi(
        pl.DataFrame(ROWS, infer_schema_length=None),
        {**SETTINGS, "calibration_lesions_minimum": 10**6},
    )
    wanted = build_dataset(
        TASKS["T1"], **{**TABLES, "dhi": table.with_columns(input_fingerprint=pl.lit("f"))}
    )
    assert of_dhi(DATA) == pytest.approx(of_dhi(wanted), rel=1e-9, nan_ok=True)
    assert np.isfinite(of_dhi(DATA)).all(axis=1).sum() > 20
    assert not np.allclose(of_dhi(DATA), of_dhi(PLAIN), equal_nan=True), (
        "the cohort's own values are not in it"
    )
    assert of_dhi(DATA, ("delta_median_hu",)) == pytest.approx(
        of_dhi(PLAIN, ("delta_median_hu",)), nan_ok=True
    )


def test_2_limits_are_the_quantiles_of_the_folds_own_repeats_at_the_visits_of_the_task():
    training = DATA.take(HALF)
    found = training.fit_dhi_limits()
    mine = [
        r
        for r in ROWS
        if r["patient"] in training.patients and r["to_visit"] == "T1" and not r["reason"]
    ]
    ratios = [
        np.stack([held_back_ratios(r[f"null_{c}_a"], r[f"null_{c}_b"]) for c in COMPONENTS], axis=1)
        for r in mine
    ]
    wanted = fit_limits(ratios, SETTINGS["quantile"], len(mine))
    assert found.components == pytest.approx(wanted.components)
    assert (found.combined, found.n_lesions) == (pytest.approx(wanted.combined), wanted.n_lesions)
    row = next(r for r in mine)
    divided, _ = found.divide(np.array([units_of(row)]))
    assert divided[0] == pytest.approx(np.array(units_of(row)) / wanted.components)


def test_3_held_out_patients_and_later_visits_do_not_move_them():
    def shaken(row):
        later = row["to_visit"] == "T2" or row["patient"] in DATA.patients[18:]
        return (
            {**row, **{f"null_{c}_a": [v**2 for v in row[f"null_{c}_a"]] for c in COMPONENTS}}
            if later
            else row
        )

    other = build_dataset(TASKS["T1"], **TABLES, comparisons=raw_dhi(map(shaken, ROWS), SETTINGS))
    assert other.take(HALF).fit_dhi_limits() == DATA.take(HALF).fit_dhi_limits()
    assert other.take(~HALF).fit_dhi_limits() != DATA.take(~HALF).fit_dhi_limits()
    assert other.digest != DATA.digest
    assert DATA.take(HALF).fit_dhi_limits().fingerprint != DATA.fit_dhi_limits().fingerprint
    with pytest.raises(LeakageError, match="comparisons T0-T2"):
        replace(DATA, comparisons=replace(DATA.comparisons, pairs=(("T0", "T2"),)))


def test_4_limits_of_other_patients_are_refused():
    limits = DATA.take(HALF).fit_dhi_limits()
    learner = Baseline("delta_radiomics_dhi", (DELTA, DHI), "elastic_net")
    with pytest.raises(LimitsError, match="other patients"):
        learner._path(DATA, SECTION, 1, limits)
    with pytest.raises(LimitsError, match="other patients"):
        patient_free_limits().check(DATA.patients)
    with pytest.raises(ValueError, match="18 patients for comparisons of 36"):
        DATA.comparisons.fit_limits(DATA.patients[:18])


def test_5_too_few_lesions_take_the_shipped_limits():
    few = fit_fold_limits(DATA.comparisons.ratios, 3, DATA.patients, SETTINGS)
    assert few.n_lesions == 0
    assert few.components == patient_free_limits().components
    assert pytest.approx(DATA.X, nan_ok=True) == DATA.scale_dhi(few).X


@pytest.mark.parametrize(
    "learner",
    [
        Baseline("delta_radiomics_dhi", (DELTA, DHI), "elastic_net"),
        Boosting(blocks=(CLINICAL, PD_L1, DELTA, DHI)),
    ],
    ids=["elastic net", "boosting"],
)
def test_6_each_fold_divides_by_its_own_limits_and_stores_them(learner):
    section = {**SECTION, "folds": 2, "inner_folds": 2, "leave_site_out_for": "none"}
    (found,) = train([learner], DATA, section, seed=3)
    for k, fit in enumerate(found.fits):
        training = found.dataset.take(found.fold != k)
        assert fit.model.limits == training.fit_dhi_limits()
        held = found.dataset.take(found.fold == k)
        by_hand = replace(held.scale_dhi(fit.model.limits), comparisons=None)
        assert (
            fit.model.probabilities(held).tolist()
            == replace(fit.model, limits=None).probabilities(by_hand).tolist()
        )
    assert found.final.model.limits == DATA.fit_dhi_limits()
    kind = LinearModel if isinstance(found.final.model, LinearModel) else BoostedModel
    again = kind.from_tensors(found.final.model.tensors(), found.final.model.config())
    assert again.probabilities(DATA).tolist() == found.final.model.probabilities(DATA).tolist()
    with pytest.raises(DatasetError, match="no comparisons to divide"):
        found.final.model.probabilities(PLAIN)
    with pytest.raises(DatasetError, match="the table's DHI"):
        replace(found.final.model, limits=None).probabilities(DATA)
    assert found.appraisal.facts["dhi_limits"] == "fitted in each training fold"
    assert found.appraisal.tables["folds"]["dhi_lesions"].min() > 4
    told = contributions(found.final.model, DATA)
    blocks = sum(v for (scope, _), v in told.items() if scope == "block")[0]
    p = found.final.model.probabilities(DATA)
    assert np.ptp(np.log(p / (1 - p)) - blocks) < 1e-6


def test_7_a_data_set_without_comparisons_is_as_before():
    assert PLAIN.fit_dhi_limits() is None
    assert PLAIN.scale_dhi(patient_free_limits()) is PLAIN
    assert DATA.of_blocks([CLINICAL]).comparisons is None
    assert limits_of(limits_facts(None)) is None
    limits = DATA.fit_dhi_limits()
    assert isinstance(limits, FoldLimits)
    assert limits_of(limits_facts(limits)) == limits
    order = np.random.default_rng(1).permutation(36)
    assert of_dhi(DATA.with_features_permuted(1).scale_dhi(limits)) == pytest.approx(
        of_dhi(DATA.scale_dhi(limits))[order], nan_ok=True
    )


def test_8_a_patients_own_comparisons_are_inputs_of_that_patient():
    first = next(
        r
        for r in ROWS
        if r["patient"] == DATA.patients[0] and not r["reason"] and r["to_visit"] == "T1"
    )
    moved = [{**r, "texture": r["texture"] * 2} if r is first else r for r in ROWS]
    other = build_dataset(TASKS["T1"], **TABLES, comparisons=raw_dhi(moved, SETTINGS))
    assert np.flatnonzero(
        np.array(input_digests(other)) != np.array(input_digests(DATA))
    ).tolist() == [0]
