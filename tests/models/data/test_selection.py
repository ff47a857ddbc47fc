"""The filter keeps what tells the classes apart, once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway
from sklearn.preprocessing import StandardScaler

from models.data.selection import RelevantColumns, relevant_columns


def standard(X: np.ndarray) -> np.ndarray:
    return StandardScaler().fit_transform(X)


def noise(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), np.arange(n) % 2 == 0


@given(st.integers(0, 50), st.integers(1, 12))
def test_1_without_copies_it_keeps_the_greatest_f_statistics(seed, keeps):
    X, y = noise(30, 20, seed)
    kept = np.flatnonzero(relevant_columns(standard(X), y, keeps=keeps, redundant=1.1))
    best = np.argsort([-f_oneway(column[y], column[~y]).statistic for column in X.T])[:keeps]
    assert sorted(kept) == sorted(best)


@given(st.integers(0, 50))
def test_2_no_two_kept_columns_are_near_copies_and_each_left_out_is_one_of_a_better(seed):
    X, y = noise(30, 6, seed)
    rng = np.random.default_rng(seed + 1000)
    Z = standard(np.hstack([X, X + rng.normal(0, 0.1, X.shape)]))
    kept = relevant_columns(Z, y, keeps=12, redundant=0.9)
    r = np.abs(np.corrcoef(Z.T))
    score = np.abs(Z.T @ (y - y.mean()))
    assert (r[np.ix_(kept, kept)] - np.eye(kept.sum()) <= 0.9).all()
    for left in np.flatnonzero(~kept):
        better = kept & (score >= score[left] - 1e-9)
        assert (r[left, better] > 0.9).any()


def test_3_a_constant_column_is_never_kept():
    X, y = noise(10, 3, 1)
    X[:, 1] = 4.0
    assert relevant_columns(standard(X), y, keeps=3, redundant=1.1).tolist() == [True, False, True]


def test_4_columns_that_always_pass_do_so_beside_the_filtered_ones():
    X, y = noise(20, 8, 2)
    X[:, 7] = 0.0
    step = RelevantColumns(keeps=2, redundant=0.9, always=(5, 6, 7)).fit(standard(X), y)
    assert step.get_support()[5:].tolist() == [True, True, False]
    assert step.get_support()[:5].sum() == 2
    assert step.transform(standard(X)).shape == (20, 4)
