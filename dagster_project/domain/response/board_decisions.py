"""Which decisions of tumour boards count, and whether the page that each names is as it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import polars as pl

from dagster_project.lake.columns import PAGE_CODE_LETTERS
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import BOARD_DECISIONS, QUARANTINE
from dagster_project.study import digest_of

Row = Mapping[str, Any]

Case = tuple[str, str, str]
"""Site, patient and visit."""

LETTERS, GROUP = 12, 4
"""Letters of a code, and of each group of it."""

NOT_USED = "the decision is not used"
UNKNOWN_PAGE = (
    "column page names no board page that was shown; "
    f"copy the code from the page that the board looked at; {NOT_USED}"
)
PAGE_OF_ANOTHER_SITE = (
    "column page names a board page of another hospital; "
    f"copy the code from this patient's page; {NOT_USED}"
)
PAGE_OF_ANOTHER_PATIENT = (
    "column page names the board page of another patient; "
    f"copy the code from this patient's page; {NOT_USED}"
)
PAGE_OF_ANOTHER_VISIT = (
    "column page names this patient's board page of another visit; "
    f"correct the visit or the page; {NOT_USED}"
)
BEFORE_THE_CT = (
    f"column date lies before the CT of the visit; correct the date or the visit; {NOT_USED}"
)
CONTRADICTORY = (
    "another row decides on the same patient and visit otherwise; "
    "neither is used; remove the row that does not hold"
)
SUPERSEDED = "the page has changed since the board looked at it; look at the page of today"


def page_code(shown: object) -> str:
    """Code of a board page: a digest of what it shows, in letters that people can copy.

    Letters alone: a spreadsheet takes digits for a number, a date or an exponent.

    >>> page_code(["T1", 53.7])
    'BP-RMVH-DDDT-BSNP'
    """
    rest, letters = int(digest_of(shown), 16), ""
    for _ in range(LETTERS):
        rest, place = divmod(rest, len(PAGE_CODE_LETTERS))
        letters += PAGE_CODE_LETTERS[place]
    return "-".join(["BP", *(letters[at : at + GROUP] for at in range(0, LETTERS, GROUP))])


def derive_board_decisions(
    delivered: pl.DataFrame,
    shown: Mapping[str, Case],
    current: Collection[str],
    timepoints: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """BOARD_DECISIONS, and the refused decisions as rows of QUARANTINE.

    1. Rows that say the same are one decision.
    2. Refused is a decision whose page is of another hospital, patient or visit, or was never
       shown, and one dated before the CT of its visit.
    3. Two decisions on one patient and visit that differ are both refused, and stay in the table as
       `contradictory`: which one holds nobody here can know.
    4. `page_superseded` is a decision on a page that has changed since.

    Parameters
    ----------
    delivered
        case_report/board_decisions of all sites.
    shown
        Code of every board page that was shown → its case.
    current
        Codes of the pages as the tables are now.
    timepoints
        Days of the CTs.
    """
    dates = {(t["site"], t["patient"], t["visit"]): t["scan_date"] for t in timepoints.to_dicts()}
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for case, decisions in sorted(_by_case(delivered).items()):
        contradict = len(decisions) > 1
        for number, decision in enumerate(decisions, start=1):
            reason = _why_refused(decision, case, shown, dates.get(case))
            reasons = [reason, CONTRADICTORY if contradict else None]
            refused += [_refusal(decision, one) for one in reasons if one]
            if reason is None:
                status, why = _status(decision, current, contradict=contradict)
                rows.append({**decision, "number": number, "status": status, "reason": why})
    return _frame(rows, polars_schema(BOARD_DECISIONS)), _frame(refused, polars_schema(QUARANTINE))


def _by_case(delivered: pl.DataFrame) -> dict[Case, list[Row]]:
    """The decisions of each case in the order of the rows, each once."""
    found: dict[Case, dict[tuple[Any, ...], Row]] = defaultdict(dict)
    for row in delivered.to_dicts():
        said = tuple(value for name, value in row.items() if name != "row_number")
        found[row["site"], row["patient"], row["visit"]].setdefault(said, row)
    return {
        case: sorted(rows.values(), key=lambda r: (r["row_number"], str(r["decision_date"])))
        for case, rows in found.items()
    }


def _why_refused(
    decision: Row, case: Case, shown: Mapping[str, Case], scan_date: Any
) -> str | None:
    """Why a decision does not count; None where it does."""
    seen = shown.get(decision["page_code"])
    if seen is None:
        return UNKNOWN_PAGE
    if seen[0] != case[0]:
        return PAGE_OF_ANOTHER_SITE
    if seen[1] != case[1]:
        return PAGE_OF_ANOTHER_PATIENT
    if seen[2] != case[2]:
        return PAGE_OF_ANOTHER_VISIT
    if scan_date is not None and decision["decision_date"] < scan_date:
        return BEFORE_THE_CT
    return None


def _status(decision: Row, current: Collection[str], *, contradict: bool) -> tuple[str, str | None]:
    if contradict:
        return "contradictory", CONTRADICTORY
    if decision["page_code"] in current:
        return "page_current", None
    return "page_superseded", SUPERSEDED


def _refusal(decision: Row, reason: str) -> dict[str, Any]:
    return {
        "site": decision["site"],
        "stage": BOARD_DECISIONS.name,
        "item": f"{decision['patient']} board decision row {decision['row_number']}",
        "reason": reason,
        "simulated": decision["simulated"],
    }


def _frame(rows: Iterable[Row], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """One row per row, of the columns of the schema alone."""
    return pl.from_dicts([dict(row) for row in rows], schema=dict(schema))
