"""The record of every board page that was shown, beside the patient's scans in the vault.

A file for each state of a page, which is never written again: nothing that was shown is rewritten
in silence, and a patient who leaves takes the record along.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagster_project.domain.response.board_decisions import Case
from dagster_project.lake.columns import PAGE_CODE_PATTERN

if TYPE_CHECKING:
    from dagster_project.lake.home import Home
    from dagster_project.reports.board import Sheet
    from dagster_project.resources import Lakehouse

BOARDS = "boards"
"""Folder of a patient in the vault, which intake knows by its files' names."""

_NAME = re.compile(rf"(?P<visit>[TV]\d+)_\d{{4}}_(?P<code>{PAGE_CODE_PATTERN[1:-1]})")


@dataclass
class ShownBoards:
    """The states of all board pages that were shown.

    Attributes
    ----------
    home
        Where they lie.
    codes
        By site, patient and visit the codes in the order in which they were shown.
    """

    home: Home
    codes: dict[Case, list[str]] = field(default_factory=dict)

    def cases(self) -> Mapping[str, Case]:
        """Code → site, patient and visit of the page."""
        return {code: case for case, codes in self.codes.items() for code in codes}

    def record(self, sheet: Sheet, code: str, facts: Mapping[str, Any]) -> None:
        """Add a state of a page, where it is not the one that was shown last.

        A patient whose folder has left the vault has no page from the next run on, and no record.
        """
        case = (sheet.site, sheet.patient, sheet.visit)
        known = self.codes.get(case, [])
        folder = self.home.vault / sheet.site / sheet.patient / BOARDS
        if known[-1:] == [code] or not folder.parent.is_dir():
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"{sheet.visit}_{len(known) + 1:04}_{code}.json"
        written = {"site": sheet.site, "patient": sheet.patient, "visit": sheet.visit}
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8"
        ) as out:
            json.dump({**written, "day": sheet.day, "page_code": code, **facts}, out)
            out.flush()
            os.fsync(out.fileno())
        self.codes[case] = [*known, code]


def read_shown_boards(lakehouse: Lakehouse) -> ShownBoards:
    """What was shown until now; patients held out are left out."""
    home = lakehouse.home
    found: dict[Case, list[str]] = {}
    held_out = {site: lakehouse.held_out(site) for site in home.sites()}
    # the numbers in the names put the states of one page in order
    for file in sorted(home.vault.glob(f"*/*/{BOARDS}/*.json")):
        site, patient = file.parts[-4:-2]
        named = _NAME.fullmatch(file.stem)
        if named and patient not in held_out.get(site, frozenset()):
            found.setdefault((site, patient, named["visit"]), []).append(named["code"])
    return ShownBoards(home, found)
