"""Every accepted lesion has its habitats by one frozen codebook, or a reason says why not."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.radiomics.habitat_codebook import read_codebook
from tests.trial import Stage


def test_every_accepted_lesion_has_every_measure_or_a_reason(opened: Stage) -> None:
    lesions, rows = opened.table("lesions"), opened.table("habitats")
    assert set(rows.select("patient", "visit", "lesion").iter_rows()) == set(
        lesions.select("patient", "visit", "lesion").iter_rows()
    )
    assert rows.group_by("patient", "visit", "lesion").len()["len"].n_unique() == 1
    assert (rows["value"].is_null() == rows["reason"].is_not_null()).all()
    assert rows.filter(measure="rao_q")["value"].is_not_null().sum() > 10


@pytest.mark.parametrize("start", ["fraction_", "msi_"])
def test_shares_of_a_lesion_sum_to_one(opened: Stage, start: str) -> None:
    rows = opened.table("habitats").filter(
        pl.col("measure").str.starts_with(start), pl.col("value").is_not_null()
    )
    sums = rows.group_by("patient", "visit", "lesion").agg(pl.col("value").sum())["value"]
    assert sums.to_list() == pytest.approx([1.0] * len(sums))


def test_one_codebook_is_fitted_once_and_stays(closed: Stage, grown: Stage) -> None:
    files = list(grown.trial.home.codebooks.iterdir())
    assert len(files) == 1
    codebook = read_codebook(files[0])
    assert codebook.scope == "cohort"
    for stage in (closed, grown):
        assert set(stage.table("habitats")["codebook"]) == {codebook.name}


def test_one_more_scan_maps_the_lesions_of_that_scan_alone(opened: Stage, grown: Stage) -> None:
    before, now = opened.table("habitats"), grown.table("habitats")
    new = now.join(before, on=before.columns, how="anti", nulls_equal=True)
    assert new.height
    assert new["scan"].n_unique() == 1
    assert before.join(now, on=before.columns, how="anti", nulls_equal=True).height == 0


def test_words_kept_beside_the_lesions_tell_the_same_habitats(
    opened: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lesions count as many voxels in words as the table has.

    Shares by the cohort's codebook differ by the grain of the grid alone.
    """
    from dagster_project.flow.habitats import load_histograms_as_of
    from dagster_project.radiomics.habitat_histograms import measure_histograms
    from dagster_project.resources import Lakehouse

    monkeypatch.setenv("LAKEHOUSE_STUDY", str(opened.trial.protocol))
    found = load_histograms_as_of(
        Lakehouse(root=str(opened.trial.home.root)), opened.snapshot, ("T0", "T1")
    )
    keys = ["site", "patient", "visit", "lesion"]
    rows = opened.table("habitats").filter(
        pl.col("visit").is_in(["T0", "T1"]), pl.col("value").is_not_null()
    )
    wide = found.keys.join(
        rows.pivot(on="measure", index=keys, values="value"),
        on=keys,
        how="left",
        maintain_order="left",
    )
    measured = wide["n_voxels"].is_not_null().to_numpy()
    assert measured.sum() > 10
    assert (
        found.words.counts.sum(axis=1)[measured].tolist() == wide["n_voxels"].drop_nulls().to_list()
    )
    codebook = read_codebook(next(opened.trial.home.codebooks.iterdir()))
    shares = measure_histograms(found.words, codebook).shares[measured]
    wanted = (
        wide.filter(pl.col("n_voxels").is_not_null())
        .select(f"fraction_{k}" for k in range(1, 6))
        .to_numpy()
    )
    assert abs(shares - wanted).mean() < 0.03
