"""A page per patient under the pseudonym, found from the index."""

from __future__ import annotations

import re

from tests.bad_deliveries import OPEN_READER
from tests.trial import Stage


def test_the_index_leads_to_every_patient(grown: Stage) -> None:
    reports = grown.trial.home.reports
    index = (reports / "index.html").read_text(encoding="utf-8")
    for patient, _ in grown.trial.everyone():
        page = next(reports.glob(f"**/{patient}.html"))
        assert str(page.relative_to(reports)) in index
        text = page.read_text(encoding="utf-8")
        assert patient in text
        assert not [
            other for other, _ in grown.trial.everyone() if other != patient and other in text
        ], "another patient's pseudonym"


def test_a_lesion_is_drawn_once_and_not_while_a_read_is_open(grown: Stage) -> None:
    """Pictures are stored beside the masks that they show.

    An outline whose reader has not locked is on none.
    """
    pictures = sorted(grown.trial.home.vault.glob("*/*/*/pictures/*.png"))
    shown = grown.table("reads")
    assert OPEN_READER not in set(shown["reader"])
    of_cases = sum(
        page.read_text(encoding="utf-8").count("data:image/png")
        for page in grown.trial.home.reports.glob("arbitration/*.html")
    )
    assert of_cases
    assert len(pictures) == shown.select("scan", "lesion").n_unique() + of_cases
    for patient, _ in grown.trial.everyone():
        page = next(grown.trial.home.reports.glob(f"**/{patient}.html")).read_text(encoding="utf-8")
        assert not re.search(rf"\b{OPEN_READER}\b", re.sub(r"[A-Za-z0-9+/=]{100,}", "", page))
        drawn = shown.filter(patient=patient).select("scan", "lesion").n_unique()
        assert page.count("data:image/png") >= drawn
