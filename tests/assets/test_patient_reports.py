"""A page a patient under the pseudonym, found from the index."""

from __future__ import annotations

import polars as pl
import pytest

from tests.trial import Stage

pytestmark = pytest.mark.xdist_group("flow")


def test_the_index_leads_to_every_patient(grown: Stage) -> None:
    reports = grown.trial.home.reports
    index = (reports / "index.html").read_text(encoding="utf-8")
    for patient, _ in grown.trial.everyone():
        page = next(reports.glob(f"**/{patient}.html"))
        assert str(page.relative_to(reports)) in index
        text = page.read_text(encoding="utf-8")
        assert patient in text
        assert not [other for other, _ in grown.trial.everyone() if other != patient and other in text], "another patient's pseudonym"


def test_a_lesion_is_drawn_once(opened: Stage, grown: Stage) -> None:
    """Pictures are kept beside the masks that they show; a new scan adds its own alone."""
    pictures = sorted(grown.trial.home.vault.glob("*/*/*/pictures/*.png"))
    drawn = grown.table("reads").filter(pl.col("locked_at").is_not_null())
    assert len(pictures) == drawn.select("scan", "lesion").n_unique()
