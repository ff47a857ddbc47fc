"""A data set holds what the task may see, one row per patient, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.lake import tables
from models.data.datasets import (
    TASKS,
    DatasetError,
    FeatureColumn,
    LeakageError,
    Task,
    build_dataset,
)
from tests.models.cohorts import dataset, frame, simulate

T1 = TASKS["T1"]
WHO = {"site": "NORTH", "patient": "NORTH-1"}


def one_patient(**changed: pl.DataFrame):
    """A cohort of one patient whose two lesions shrink from 1000 and 3000 to 500 and 0 mm3."""
    lesion = {**WHO, "role": "target", "is_present": True}
    made = {
        "cohort": frame(
            tables.TRAINING_COHORT,
            [
                {
                    **WHO,
                    "task": "T1",
                    "included": True,
                    "label": True,
                    "label_definition": "CR or PR at T2",
                }
            ],
        ),
        "patients": frame(
            tables.PATIENTS,
            [
                {
                    **WHO,
                    "sex": "F",
                    "age_years": 61,
                    "smoking": "former",
                    "ecog": 1,
                    "stage": "IVB",
                    "egfr": "mutant",
                    "alk": "negative",
                    "pd_l1_tps": 50.0,
                    "line": 2,
                }
            ],
        ),
        "responses": frame(
            tables.RESPONSES,
            [
                {**WHO, "visit": v, "evaluator": e, "sum_mm": s}
                for v, e, s in (
                    ("T0", "accepted", 50.0),
                    ("T1", "accepted", 30.0),
                    ("T2", "accepted", 1.0),
                    ("T1", "READER1", 99.0),
                )
            ],
        ),
        "lesions": frame(
            tables.LESIONS,
            [
                {**lesion, "visit": "T0", "lesion": "L1", "volume_mm3": 1000.0},
                {**lesion, "visit": "T0", "lesion": "L2", "volume_mm3": 3000.0},
                {**lesion, "visit": "T1", "lesion": "L1", "volume_mm3": 500.0},
                {**lesion, "visit": "T1", "lesion": "L2", "is_present": False},
                {**lesion, "visit": "T1", "lesion": "L9", "role": "new", "volume_mm3": 9999.0},
            ],
        ),
        "delta_features": frame(
            tables.DELTA_FEATURES,
            [
                {
                    **WHO,
                    "lesion": lesion_,
                    "region": "tumor",
                    "feature": "glcm_A",
                    "from_visit": "T0",
                    "to_visit": "T1",
                    "delta_symmetric": d,
                }
                for lesion_, d in (("L1", 1.0), ("L2", -1.0))
            ],
        ),
        "dhi": frame(
            tables.DHI,
            [
                {
                    **WHO,
                    "scope": s,
                    "lesion": lesion_,
                    "from_visit": "T0",
                    "to_visit": "T1",
                    "dhi": d,
                }
                for s, lesion_, d in (("patient", "*", 1.5), ("lesion", "L1", 7.0))
            ],
        ),
    }
    return build_dataset(T1, **{**made, **changed}), made


def values(data) -> dict[str, float | None]:
    return {
        name: None if np.isnan(x) else float(x)
        for name, x in zip(data.feature_names, data.X[0], strict=True)
    }


def test_1_case_report_columns():
    found = values(one_patient()[0])
    assert {k: found[k] for k in list(found)[:10]} == {
        "age_years": 61,
        "male": 0,
        "former_smoker": 1,
        "current_smoker": 0,
        "ecog": 1,
        "stage_iv": 1,
        "pd_l1_tps": 50,
        "egfr_mutant": 1,
        "alk_rearranged": 0,
        "line": 2,
    }


def test_2_size_is_the_accepted_sum_and_the_targets_volume_with_a_vanished_lesion_as_0():
    found = values(one_patient()[0])
    assert found["sum_mm@T0"] == 50
    assert found["sum_mm_change@T0-T1"] == pytest.approx((30 - 50) / 40)
    assert found["volume_mm3@T0"] == 4000
    assert found["volume_mm3_change@T0-T1"] == pytest.approx((500 - 4000) / 2250)


def test_3_volume_change_is_missing_where_a_baseline_target_was_not_measured():
    lesions = one_patient()[1]["lesions"]
    unread = values(
        one_patient(
            lesions=lesions.filter(~((pl.col("visit") == "T1") & (pl.col("lesion") == "L2")))
        )[0]
    )
    by_hand = values(
        one_patient(
            lesions=lesions.with_columns(
                volume_mm3=pl.when((pl.col("visit") == "T0") | (pl.col("lesion") != "L1")).then(
                    "volume_mm3"
                )
            )
        )[0]
    )
    assert unread["volume_mm3_change@T0-T1"] is None
    assert by_hand["volume_mm3_change@T0-T1"] is None
    assert by_hand["volume_mm3@T0"] == 4000


def test_4_delta_features_are_weighted_by_the_earlier_volume():
    assert values(one_patient()[0])["glcm_A@tumor@T0-T1"] == pytest.approx(
        (1000 * 1 + 3000 * -1) / 4000
    )


def test_5_a_lesion_without_a_value_stays_out_of_the_mean():
    deltas = one_patient()[1]["delta_features"].with_columns(
        delta_symmetric=pl.when(pl.col("lesion") == "L1").then("delta_symmetric")
    )
    assert values(one_patient(delta_features=deltas)[0])["glcm_A@tumor@T0-T1"] == 1


def test_6_dhi_is_the_patients_and_missing_components_stay_missing():
    found = values(one_patient()[0])
    assert found["dhi@T0-T1"] == 1.5
    assert found["u_texture@T0-T1"] is None


def test_7_missing_case_report_values_are_missing_not_false():
    patients = one_patient()[1]["patients"].with_columns(
        sex=pl.lit(None, pl.String), stage=pl.lit(None, pl.String), egfr=pl.lit(None, pl.String)
    )
    found = values(one_patient(patients=patients)[0])
    assert (found["male"], found["stage_iv"], found["egfr_mutant"]) == (None, None, None)


def test_8_nothing_of_a_later_visit_enters_or_changes_a_task():
    made = simulate()
    whole = build_dataset(T1, **vars(made))
    early = build_dataset(
        T1,
        **made.replace(
            responses=made.responses.filter(pl.col("visit") != "T2"),
            lesions=made.lesions.filter(pl.col("visit") != "T2"),
            delta_features=made.delta_features.filter(pl.col("to_visit") == "T1"),
            dhi=made.dhi.filter(pl.col("to_visit") == "T1"),
        ),
    )
    assert whole.digest == early.digest
    assert all(set(c.visits) <= {"T0", "T1"} for c in whole.columns)


def test_9_the_later_task_sees_all_three_pairs():
    made = simulate(n_features=2)
    later = build_dataset(
        TASKS["T2"], **made.replace(cohort=made.cohort.with_columns(task=pl.lit("T2")))
    )
    assert {c.visits for c in later.columns} == {("T0",), ("T0", "T1"), ("T0", "T2"), ("T1", "T2")}
    assert {"original_firstorder_F1@tumor@T0-T2", "dhi@T1-T2", "sum_mm_change@T0-T2"} <= set(
        later.feature_names
    )


@pytest.mark.parametrize("visits", [("T0", "T2"), ("T2",), ("T0", "V1")])
def test_10_columns_of_later_or_unplanned_visits_are_refused_by_name(visits):
    data = dataset(n_features=2)
    column = FeatureColumn("glcm_late", "delta", visits)
    with pytest.raises(
        LeakageError, match=r"task T1 may see T0, T1 alone; refused: glcm_late \(.*\)\. Leave"
    ):
        replace(data, columns=(*data.columns[:-1], column))


def test_11_a_task_cannot_be_narrowed_behind_its_columns():
    with pytest.raises(LeakageError, match="dhi@T0-T1"):
        replace(dataset(n_features=2), task=Task("T0", ("T0",), "response after T0"))


def test_12_a_patient_with_two_rows_or_sites_is_refused_by_name():
    made = simulate(n_features=2)
    twice = pl.concat([made.cohort, made.cohort.head(1).with_columns(site=pl.lit("WEST"))])
    with pytest.raises(DatasetError, match="patients NORTH-000 have several rows or sites"):
        build_dataset(T1, **made.replace(cohort=twice))


def test_13_only_included_patients_of_the_task_count():
    made = simulate(n_features=2)
    cohort = made.cohort.with_columns(
        included=pl.col("patient") != "NORTH-000",
        task=pl.when(pl.col("patient") == "EAST-002").then(pl.lit("T2")).otherwise("task"),
    )
    data = build_dataset(T1, **made.replace(cohort=cohort))
    assert len(data.patients) == 22
    assert not {"NORTH-000", "EAST-002"} & set(data.patients)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.lit(False).alias("included"), "training_cohort includes no patient"),
        (
            pl.when(pl.col("patient") != "NORTH-000").then("label").alias("label"),
            "patients NORTH-000 are included without a label",
        ),
    ],
)
def test_14_a_cohort_without_patients_or_labels_is_refused(change, said):
    made = simulate(n_features=2)
    with pytest.raises(DatasetError, match=said):
        build_dataset(T1, **made.replace(cohort=made.cohort.with_columns(change)))


def test_15_without_any_change_there_is_nothing_to_learn():
    made = simulate(n_features=2)
    with pytest.raises(DatasetError, match="delta_features has no value between T0, T1"):
        build_dataset(
            T1,
            **made.replace(delta_features=made.delta_features.filter(pl.col("to_visit") == "T2")),
        )


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_16_the_order_of_rows_in_the_lake_changes_no_bit(seed):
    made = simulate(n=12, n_features=3)
    shuffled = {
        name: table.sample(fraction=1.0, shuffle=True, seed=seed)
        for name, table in vars(made).items()
    }
    assert build_dataset(T1, **shuffled).digest == build_dataset(T1, **vars(made)).digest


def test_17_the_digest_changes_with_a_value_a_label_and_a_column():
    data = dataset(n_features=2)
    moved = data.X.copy()
    moved[0, 0] += 1e-9
    renamed = (FeatureColumn("other", "clinical", ("T0",)), *data.columns[1:])
    digests = {
        data.digest,
        replace(data, X=moved).digest,
        replace(data, y=~data.y).digest,
        replace(data, columns=renamed).digest,
    }
    assert len(digests) == 4


def test_18_the_control_gives_each_patient_anothers_columns_and_keeps_labels():
    data = dataset(n_features=4)
    control = data.with_features_permuted(seed=1)
    assert (control.y == data.y).all()
    assert control.patients == data.patients
    assert sorted(map(repr, control.X.tolist())) == sorted(map(repr, data.X.tolist()))
    assert (control.X[:, 0] != data.X[:, 0]).mean() > 0.5


def test_19_rows_and_blocks_are_taken_with_their_facts():
    data = dataset(n_features=4)
    rows = np.arange(24) % 4 == 1
    part = data.of_blocks(["dhi", "size"]).take(rows)
    assert part.patients == tuple(p for p, keep in zip(data.patients, rows, strict=True) if keep)
    assert set(part.feature_blocks) == {"size", "dhi"}
    assert np.array_equal(
        part.X, data.X[rows][:, [b in {"size", "dhi"} for b in data.feature_blocks]], equal_nan=True
    )


def test_20_what_is_not_there_is_refused_by_name():
    data = dataset(n_features=2)
    with pytest.raises(DatasetError, match="no column in block sequence"):
        data.of_blocks(["sequence"])
    with pytest.raises(DatasetError, match="1 columns that are not there, first glcm_unknown"):
        data.values_of(["age_years", "glcm_unknown"])


def test_21_columns_scaled_before_the_split_are_refused_by_block():
    data = dataset(n_features=4)
    block = np.isin(data.feature_blocks, ["delta"])
    scaled = data.X.copy()
    scaled[:, block] = (scaled[:, block] - scaled[:, block].mean(axis=0)) / scaled[:, block].std(
        axis=0
    )
    with pytest.raises(DatasetError, match="block delta come scaled over all patients"):
        replace(data, X=scaled)
    assert replace(data, X=scaled * 1.01).digest
