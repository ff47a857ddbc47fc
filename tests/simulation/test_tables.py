"""The words of a simulated cohort carry the stated signal, and no more of it than is stated."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dagster_project.radiomics.habitat_histograms import fit_histogram_codebook, measure_histograms
from dagster_project.simulation.tables import PAIRS, TISSUES, VOXELS, Truth, simulate_tables
from dagster_project.statistics.roc import auc_delong


def change_of_the_first_tissue(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Change of the least dense habitat's share, and the response, by patient.

    The change is the growth of the share's log odds from T0 to T1.
    """
    made = simulate_tables(truth, ["original_firstorder_Entropy"], patients=300, seed=2)
    words = made.habitat_histograms
    patients = words.keys["patient"].to_list()
    codebook = fit_histogram_codebook(words.words, patients, set(patients), words.settings, "fold")
    share = np.clip(measure_histograms(words.words, codebook).shares[:, 0], 0.01, 0.99)
    long = words.keys.with_columns(odds=pl.Series(np.log(share / (1 - share))))
    ends = [
        long.filter(visit=v).select("patient", "lesion", pl.col("odds").alias(v))
        for v in ("T0", "T1")
    ]
    change = (
        ends[0]
        .join(ends[1], on=["patient", "lesion"])
        .group_by("patient")
        .agg(change=(pl.col("T1") - pl.col("T0")).mean())
    )
    both = made.cohort.join(change, on="patient")
    return both["change"].to_numpy(), both["label"].to_numpy()


def test_1_words_tell_response_where_the_truth_holds_heterogeneity_and_not_where_it_holds_none():
    change, response = change_of_the_first_tissue(Truth())
    assert auc_delong(response, change).lower > 0.6
    change, response = change_of_the_first_tissue(Truth(heterogeneity=0.0))
    none = auc_delong(response, change)
    assert none.lower < 0.5 < none.upper


def test_2_every_lesion_that_is_there_has_its_words_about_the_tissues():
    made = simulate_tables(Truth(), ["original_firstorder_Entropy"], patients=40, seed=3)
    words, there = made.habitat_histograms, made.lesions.filter("is_present")
    assert set(words.keys.rows()) == set(
        there.select("site", "patient", "visit", "lesion").iter_rows()
    )
    assert set(words.words.counts.sum(axis=1)) == {VOXELS}
    assert set(np.bincount(words.words.pair_row, words.words.pair_count)) == {PAIRS}
    middle = words.words.counts.sum(axis=0) @ words.words.grid.centres / words.words.counts.sum()
    assert middle == pytest.approx(np.mean(TISSUES, axis=0), abs=6)
