"""The study's page speaks of what is in the lake, and works offline."""

from __future__ import annotations

import re

import polars as pl

from tests.trial import Stage


def test_the_page_says_what_was_found(grown: Stage) -> None:
    page = (grown.trial.home.reports / "study_report.html").read_text(encoding="utf-8")
    assert "ChiCTR2600120951" in page
    for word in ("BJCH", "SHPH", "slice thickness", "missing visit", "SIMULATED DATA"):
        assert word in page, word
    asked = grown.table("model_runs").filter(pl.col("alias").is_not_null())["model"]
    assert asked.len()
    assert all(model.replace("_", " ") in page for model in asked)


def test_pages_ask_nothing_of_the_network(grown: Stage) -> None:
    for page in grown.trial.home.reports.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r"(?:src|href|action)=[\"']([^\"']*)|url\(([^)]*)\)", text)
        assert not [
            target for pair in asked for target in pair if target.startswith(("http", "//"))
        ], page.name
