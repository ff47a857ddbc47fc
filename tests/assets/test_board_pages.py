"""A board page per patient and visit, beside the patients' pages and closed as the vault is."""

from __future__ import annotations

import re

from dagster_project.flow.board_pages import write_board_pages
from tests.bad_deliveries import OPEN_READER
from tests.trial import Stage


def test_each_read_patient_has_a_page_per_visit_and_a_second_night_writes_none(
    grown: Stage,
) -> None:
    trial = grown.trial
    folder = trial.home.reports / "board"
    read = set(grown.table("lesions")["patient"])
    wanted = {
        f"{row['patient']}_{row['visit']}.html"
        for row in grown.table("timepoints").iter_rows(named=True)
        if row["patient"] in read
    }
    assert wanted
    assert {file.name for file in folder.iterdir()} == wanted
    with_ct = [f for f in folder.iterdir() if 'id="crop-' in f.read_text(encoding="utf-8")]
    assert with_ct
    assert all(file.stat().st_mode & 0o077 == 0 for file in with_ct)
    with trial.entered():
        pages, written = write_board_pages(trial.lakehouse)
    assert (len(pages), written) == (len(wanted), 0)


def test_pages_hold_the_crops_of_locked_reads_alone(grown: Stage) -> None:
    pages = sorted((grown.trial.home.reports / "board").iterdir())
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert any('id="crop-' in text for text in texts)
    assert not any(
        re.search(rf"\b{OPEN_READER}\b", re.sub(r"[A-Za-z0-9+/=]{100,}", "", text))
        for text in texts
    )
    for page, text in zip(pages, texts, strict=True):
        own = page.stem.rpartition("_")[0]
        assert own in text
        assert not [p for p, _ in grown.trial.everyone() if p != own and p in text]
