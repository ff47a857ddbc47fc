"""Which features the readers agree on is determined from training patients alone.

It gives what the table feature_stability gives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.reading.feature_stability import (
    derive_feature_stability,
    spread_between_readers,
)
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.data.lesion_sequences import SequenceScaler
from models.data.stability import StableFeatures, build_moments, lower_bounds
from models.evaluation.training import train
from models.learners.model_catalogue import choose_learners
from tests.models.cohorts import SECTION, simulate

RNG = np.random.default_rng(3)
NOTHING = pl.DataFrame(schema={"region": pl.String, "feature": pl.String})
FEATURES = ("steady", "shaky", "copied", "flat")


def read_pairs(
    who: pl.DataFrame, names=FEATURES, visits=("T0", "T1", "T2"), lesions=2
) -> pl.DataFrame:
    """Both readers' values, one row per pair.

    The readers agree on the first feature, not on the second, copy the third, and see no spread in
    the fourth.
    """
    rows = []
    for site, patient in who.select("site", "patient").iter_rows():
        for visit in visits:
            for _ in range(lesions):
                a = RNG.normal(100, 10, len(names))
                b = a + RNG.normal(0, [1, 20, 0, 0][: len(names)] + [1] * (len(names) - 4))
                a[3], b[3] = 5.0, 5.0
                rows += [
                    {
                        "site": site,
                        "patient": patient,
                        "visit": visit,
                        "region": "tumor",
                        "feature": f,
                        "a": x,
                        "b": y,
                    }
                    for f, x, y in zip(names, a, b, strict=True)
                ]
    return pl.DataFrame(rows)


def moments(pairs: pl.DataFrame) -> pl.DataFrame:
    mean, difference = (pl.col("a") + pl.col("b")) / 2, pl.col("b") - pl.col("a")
    return pairs.group_by("site", "patient", "visit", "region", "feature").agg(
        n_pairs=pl.len(),
        mean_of_means=mean.mean(),
        squares_of_means=mean.var(ddof=0) * pl.len(),
        mean_difference=difference.mean(),
        squares_of_differences=difference.var(ddof=0) * pl.len(),
        largest=pl.max_horizontal(pl.col("a").abs(), pl.col("b").abs()).max(),
    )


COHORT = simulate(effect=0.3)
ROSTER = COHORT.cohort.sort("site", "patient").with_row_index("row")
PAIRS = read_pairs(ROSTER)


def of_table(pairs: pl.DataFrame) -> pl.DataFrame:
    """The table of these pairs, whose patients' visits are added up by the long way."""
    own = moments(pairs.with_columns(visit=pl.lit("all"))).with_columns(
        simulated=pl.lit(value=True)
    )
    return derive_feature_stability(
        spread_between_readers(own),
        NOTHING,
        NOTHING,
        load_study().section("agreement")["feature_icc_lower_minimum"],
    )


def test_1_patients_added_up_give_the_bounds_of_the_table():
    rows = np.arange(ROSTER.height) % 3 > 0
    mine = PAIRS.filter(pl.col("visit") != "T2").join(
        ROSTER.filter(pl.Series(rows)).select("patient"), on="patient"
    )
    wanted = of_table(mine)
    found = build_moments(ROSTER, ("T0", "T1"), moments(PAIRS)).take(rows)
    assert [f for f, _ in found.columns] == wanted["feature"].to_list()
    assert lower_bounds(found) == pytest.approx(
        wanted["icc_lower"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        abs=1e-9,
        nan_ok=True,
    )
    stable = StableFeatures.fitted(found, SECTION)
    assert (
        stable.unstable
        == {(f, "tumor") for f, keep in wanted.select("feature", "stable").iter_rows() if not keep}
        == {(f, "tumor") for f in FEATURES[1:]}
    )
    assert stable.facts == {"reader_pairs": 64.0, "features_judged": 4.0, "features_unstable": 3.0}


def test_2_a_later_visits_reads_and_patients_left_out_change_nothing():
    found = build_moments(ROSTER, ("T0", "T1"), moments(PAIRS))
    shaken = PAIRS.with_columns(
        b=pl.when((pl.col("visit") == "T2") | (pl.col("patient") == ROSTER["patient"][0]))
        .then(pl.col("b") + 900)
        .otherwise("b")
    )
    other = build_moments(ROSTER, ("T0", "T1"), moments(shaken))
    rest = np.arange(ROSTER.height) > 0
    assert lower_bounds(other.take(rest)).tolist() == pytest.approx(
        lower_bounds(found.take(rest)).tolist(), nan_ok=True
    )
    assert not np.allclose(lower_bounds(other), lower_bounds(found), equal_nan=True)


def test_3_too_few_pairs_or_no_stable_feature_leave_nothing_out():
    found = build_moments(ROSTER, ("T0",), moments(PAIRS))
    assert (
        StableFeatures.fitted(None, SECTION)
        == StableFeatures.fitted(found, {**SECTION, "reader_pairs_minimum": 49})
        == StableFeatures()
    )
    shaky = build_moments(ROSTER, ("T0",), moments(PAIRS.filter(pl.col("feature") == "shaky")))
    assert StableFeatures.fitted(shaky, SECTION) == StableFeatures(frozenset(), 1, 48)


def test_4_no_learner_uses_a_feature_that_its_training_patients_readers_do_not_agree_on():
    names = tuple(f"original_firstorder_F{k}" for k in range(30))
    pairs = read_pairs(ROSTER, names)
    values = pairs.filter(pl.col("feature").is_in(names[:4])).unique(
        ["site", "patient", "visit", "feature"], keep="first", maintain_order=True
    )
    seen = values.select(
        "site", "patient", "visit", "region", "feature", lesion=pl.lit("L1"), value="a"
    )
    data = build_dataset(
        TASKS["T1"], **vars(COHORT), reader_pairs=moments(pairs), radiomic_features=seen
    )
    section = {
        **SECTION,
        "network_patients_minimum": 10,
        "network_epochs": 1,
        "network_seeds": 1,
        "leave_site_out_for": "none",
        "folds": 2,
        "inner_folds": 2,
    }
    learners, _ = choose_learners(data, section)
    for model in train(
        [
            m
            for m in learners
            if m.name in {"delta_radiomics", "baseline_radiomics", "boosting", "st_gcn"}
        ],
        data,
        section,
        seed=1,
    ):
        used = set(getattr(model.final.model, "features", ()))
        assert not any(f"F{k}@" in name for name in used for k in (1, 2, 3))
        assert model.appraisal.tables["folds"]["features_unstable"].min() >= 3
        assert model.appraisal.facts["reader_stability"] == "judged in each training fold"
        if model.name == "st_gcn":
            scaler = model.final.model.scaler
            place = [data.series.features.index(n) for n in names[1:4]]
            assert np.isinf(scaler.scales[0, place]).all()
            assert np.isfinite(scaler.scales[0, data.series.features.index(names[0])])
    plain = replace(data, readers=None)
    assert plain.digest != data.digest
    assert SequenceScaler.fitted(data.series).apply(data.series)["x"].any()
