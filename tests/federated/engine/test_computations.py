"""What a hospital computes of its rows: the sums over hospitals give what all rows give."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from dagster_project.federated.engine.computations import computation, read_rows
from dagster_project.federated.engine.simulation import deal
from dagster_project.federated.refusals import KindNotRun, RowsUnusable
from dagster_project.statistics.icc import icc
from dagster_project.statistics.roc import auc_delong
from dagster_project.statistics.survival import kaplan_meier
from tests.federated.engine.cases import a_table
from tests.federated.plans import CODES, COUNTS, LOGISTIC, plan_of

FREE = {"epsilon": 0, "delta": 1e-5}
SURVIVAL = {"endpoint": "os", "groups": ["high", "low"], "last_day": 400, "width_days": 1, **FREE}
AUC = {"model": "champion", "bins": 2000, **FREE}
MOMENTS = {"columns": ["size", "dhi"], "centres": [0, 0], "units": [1, 1]}
FRAME = pl.DataFrame(a_table())


def rows_at(folder, plan, frame, name="rows.csv"):
    frame.write_csv(folder / name)
    return read_rows(plan, folder / name)


def drive(computations, clip=False):
    """The sums of several hospitals' vectors, round by round, to the result of each."""
    sent = [next(c) for c in computations]
    while True:
        total = np.sum([np.asarray(v).sum(axis=0) if clip else v for v in sent], axis=0)
        ended = []
        for i, each in enumerate(computations):
            try:
                sent[i] = each.send(total)
            except StopIteration as done:
                ended.append(done.value)
        if ended:
            return ended


def result_of(folder, plan, clip=False):
    """Of three hospitals with a third of the rows each, who must agree."""
    parts = [
        computation(plan, code, rows_at(folder, plan, FRAME[i::3])) for i, code in enumerate(CODES)
    ]
    first, *others = drive(parts, clip)
    assert all(json.dumps(o) == json.dumps(first) for o in others)
    return first


def test_counts(tmp_path):
    found = result_of(tmp_path, plan_of(counts=COUNTS))["patients"]["all"]
    assert found == {arm: FRAME["arm"].to_list().count(arm) for arm in "ABC"}


def test_counts_by_hospital(tmp_path):
    plan = plan_of(counts={**COUNTS, "hospitals": list(CODES)})
    found = result_of(tmp_path, plan)["patients"]
    for i, code in enumerate(CODES):
        assert found[code] == {arm: FRAME[i::3]["arm"].to_list().count(arm) for arm in "ABC"}


def test_survival(tmp_path):
    found = result_of(tmp_path, plan_of(survival=SURVIVAL))["curves"]["high"]
    high = FRAME.filter(pl.col("group") == "high")
    wanted = kaplan_meier(high["days"].to_numpy().astype(float), high["event"].to_numpy())
    assert np.asarray(found["survival"]) == pytest.approx(np.asarray(wanted.survival))


def test_auc(tmp_path):
    found = result_of(tmp_path, plan_of(auc=AUC))
    wanted = auc_delong(FRAME["label"].to_numpy(), FRAME["score"].to_numpy())
    assert found["auc"]["value"] == pytest.approx(wanted.value, abs=found["reach"] + 1e-12)


def test_moments(tmp_path):
    found = result_of(tmp_path, plan_of(moments=MOMENTS))["columns"]["size"]
    assert found["n"] == 60
    assert found["mean"] == pytest.approx(FRAME["size"].mean())
    assert found["sd"] == pytest.approx(FRAME["size"].std())


def test_logistic(tmp_path):
    plan = plan_of(logistic=LOGISTIC)
    (pooled,) = drive([computation(plan, "BJCH", rows_at(tmp_path, plan, FRAME))], clip=True)
    assert result_of(tmp_path, plan, clip=True) == pytest.approx(pooled)


def test_with_noise_a_row_a_patient_is_handed_over(tmp_path):
    for asked in (
        {"counts": {**COUNTS, "epsilon": 1.0}},
        {"survival": {**SURVIVAL, "epsilon": 1.0}},
        {"auc": {**AUC, "epsilon": 1.0}},
    ):
        plan = plan_of(**asked)
        sent = np.asarray(next(computation(plan, "BJCH", rows_at(tmp_path, plan, FRAME))))
        assert sent.shape == (60, plan.asked.length)
        assert (np.linalg.norm(sent, axis=1) == 1).all()


def test_parquet_and_csv_are_the_same_rows(tmp_path):
    plan = plan_of(logistic=LOGISTIC)
    FRAME.write_parquet(tmp_path / "rows.parquet")
    read = read_rows(plan, tmp_path / "rows.parquet")
    assert read == rows_at(tmp_path, plan, FRAME)


def test_the_digest_is_of_the_rows_and_not_of_their_order(tmp_path):
    plan = plan_of(moments=MOMENTS)
    first = rows_at(tmp_path, plan, FRAME).cohort
    assert rows_at(tmp_path, plan, FRAME.reverse()).cohort == first
    assert rows_at(tmp_path, plan, FRAME.drop("arm")).cohort == first
    changed = FRAME.with_columns(size=pl.col("size") + 1e-6)
    assert rows_at(tmp_path, plan, changed).cohort != first
    assert rows_at(tmp_path, plan, FRAME[1:]).cohort != first


def test_a_hospital_without_rows_and_a_column_without_values(tmp_path):
    plan = plan_of(moments=MOMENTS)
    empty = next(computation(plan, "BJCH", rows_at(tmp_path, plan, FRAME[:0])))
    assert np.asarray(empty).tolist() == [0] * 6
    gone = FRAME.with_columns(size=pl.lit(None))
    assert np.asarray(next(computation(plan, "BJCH", rows_at(tmp_path, plan, gone))))[0] == 0


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (FRAME.drop("patient"), "patient"),
        (FRAME.with_columns(patient=pl.lit("P1")), "patient"),
        (FRAME.with_columns(patient=pl.lit(None)), "patient"),
        (FRAME.drop("dhi"), "dhi"),
        (FRAME.with_columns(dhi=pl.lit("high")), "dhi"),
        (FRAME.with_columns(dhi=pl.lit(True)), "dhi"),
        (FRAME.with_columns(label=pl.lit(2)), "label"),
        (FRAME.with_columns(label=pl.when(pl.col("size") > 0).then("label")), "label"),
    ],
)
def test_a_table_that_cannot_be_used_names_its_column(tmp_path, change, column):
    with pytest.raises(RowsUnusable, match=column) as found:
        rows_at(tmp_path, plan_of(logistic=LOGISTIC), change)
    assert "P0" not in str(found.value)


def test_gaps_are_refused_where_a_patient_would_vanish(tmp_path):
    gaps = FRAME.with_columns(days=pl.when(pl.col("size") > 0).then("days"))
    with pytest.raises(RowsUnusable, match="days"):
        rows_at(tmp_path, plan_of(survival=SURVIVAL), gaps)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(RowsUnusable, match="cannot be read"):
        read_rows(plan_of(), tmp_path / "rows.parquet")
    with pytest.raises(RowsUnusable, match="cannot be read"):
        read_rows(plan_of(), tmp_path / "none.csv")


def test_agreement_of_readers(tmp_path):
    frame = FRAME.with_columns(reader_1=pl.col("size") * 9 + 30, reader_2=pl.col("size") * 9 + 31)
    plan = plan_of(
        readers={"readers": 2, "centre_mm": 30.0, "unit_mm": 9.0, "one_pair_a_patient": True}
    )
    parts = [
        computation(plan, code, rows_at(tmp_path, plan, frame[i::3]))
        for i, code in enumerate(CODES)
    ]
    wanted = icc(frame.select("reader_1", "reader_2").to_numpy())
    for found in drive(parts):
        assert found["pairs"] == 60
        assert found["icc"]["value"] == pytest.approx(wanted.value, abs=1e-5)
        assert found["icc"]["lower"] == pytest.approx(wanted.lower, abs=1e-5)


def test_kinds_that_take_rows_from_the_lake_alone(tmp_path):
    with pytest.raises(KindNotRun, match="dhi_limits"):
        rows_at(tmp_path, plan_of(dhi_limits={}), FRAME)


def test_rows_that_are_dealt_out_are_all_there_once(tmp_path):
    FRAME.write_csv(tmp_path / "all.csv")
    tables = deal(tmp_path / "all.csv", CODES, tmp_path)
    dealt = pl.concat([pl.read_parquet(file) for file in tables.values()])
    assert list(tables) == list(CODES)
    assert dealt.sort("patient").equals(pl.read_csv(tmp_path / "all.csv").sort("patient"))
