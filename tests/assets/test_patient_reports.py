"""A page a patient under the pseudonym, found from the index."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_the_index_leads_to_every_patient(grown: Stage) -> None:
    reports = grown.trial.home.reports
    index = (reports / "index.html").read_text(encoding="utf-8")
    for patient, _ in grown.trial.everyone():
        page = next(reports.glob(f"**/{patient}.html"))
        assert str(page.relative_to(reports)) in index
        text = page.read_text(encoding="utf-8")
        assert patient in text
        assert not [other for other, _ in grown.trial.everyone() if other != patient and other in text], "another patient's pseudonym"


def test_a_lesion_is_drawn_once_and_not_while_a_read_is_open(grown: Stage) -> None:
    """Pictures are kept beside the masks that they show; where a reader has not locked, nobody's outline is shown."""
    pictures = sorted(grown.trial.home.vault.glob("*/*/*/pictures/*.png"))
    reads = grown.table("reads")
    blinded = reads.filter(pl.col("locked_at").is_null())["patient"].unique()
    shown = reads.filter(~pl.col("patient").is_in(blinded.to_list()))
    assert len(blinded) == 1
    assert len(pictures) == shown.select("scan", "lesion").n_unique()
    assert not [p for p in pictures if blinded[0] in p.parts]
    for patient, _ in grown.trial.everyone():
        page = next(grown.trial.home.reports.glob(f"**/{patient}.html")).read_text(encoding="utf-8")
        drawn = shown.filter(patient=patient).select("scan", "lesion").n_unique()
        assert page.count("data:image/png") >= drawn
