"""Every item of the guidelines is answered, or marked as open."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from models.operation.reporting import CHECKLISTS


def test_items_bear_their_published_titles():
    told = {
        (g, i): t
        for g, i, t in pl.read_csv(CHECKLISTS, infer_schema_length=0)
        .select("guideline", "item", "title")
        .iter_rows()
    }
    published = pl.read_csv(
        Path(__file__).parents[1] / "golden" / "guideline_titles.csv", infer_schema_length=0
    )
    assert told == {(g, i): t.removesuffix(" [n/e]") for g, i, t in published.iter_rows()}
    assert published.group_by("guideline").len().sort("len")["len"].to_list() == [27, 30, 58]


def test_every_item_of_the_guidelines_is_answered_or_said_to_be_open(logged):
    rows = pl.read_csv(
        logged.artifacts("size_change") / "guidelines.csv", infer_schema_length=0
    ).to_dicts()
    for guideline, n in (("TRIPOD+AI", 27), ("CLEAR", 58), ("METRICS", 30)):
        assert [r["item"] for r in rows if r["guideline"] == guideline] == [
            str(i) for i in range(1, n + 1)
        ]
    assert {r["status"] for r in rows} == {
        "answered",
        "partly",
        "paper",
        "not done",
        "not applicable",
    }
    assert all(r["answer"] and "{" not in r["answer"] for r in rows)
    by = {(r["guideline"], r["item"]): r for r in rows}
    assert by["TRIPOD+AI", "10"]["answer"].startswith("24 patients, 12 responders")
    assert by["METRICS", "27"]["status"] == "not done"
    assert (
        f"{logged.run('size_change').data.metrics['brier']:.3f}" in by["TRIPOD+AI", "23"]["answer"]
    )
    card = (logged.artifacts("size_change") / "model_card.md").read_text(encoding="utf-8")
    assert "Trained on simulated data: it says nothing of patients." in card
    assert "| METRICS 27 | External testing | not done | not done |" in card
