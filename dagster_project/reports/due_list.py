"""The due list: unconfirmed progressions that need a CT, a read or a word, and why.

It is for those who look after the patients: a day beside a patient would reveal the shift of dates,
so that the list stays in a closed folder and is never published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from dagster_project.domain.evaluation.risk_reasons import is_of_the_answer
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports.board_words import value_of
from dagster_project.reports.pages import render, script
from dagster_project.reports.summaries.tables import (
    WHO,
    Row,
    completed,
    find_waiting,
    is_simulated,
    summarise_simulation,
)
from dagster_project.study import Study

SECTIONS: dict[str, tuple[str, str]] = {
    "overdue": ("Overdue: no evaluable CT within the window", "已逾期：窗口内无可评价CT"),
    "due": ("Due this week", "本周到期"),
    "unreadable": ("Unreadable: the last CT could not be evaluated", "不可评价：末次CT无法评价"),
    "differ": ("The readers differ on the block", "阅片者对区段判断不一致"),
    "withheld": ("A probability is withheld, and why", "概率不予展示及原因"),
    "standing": ("Neither confirmed nor reset", "未确认亦未重置"),
    "waiting": ("The window has not begun", "窗口未到"),
}
"""Sections of the page in order, with their headings."""

SCRIPT = "due_list.js"
"""Sorts and searches; the page is whole without it."""

CATEGORIES: dict[str, tuple[str, str]] = {
    "T": ("targets", "靶病灶"),
    "NT": ("non-targets", "非靶病灶"),
    "NL": ("new lesion", "新病灶"),
}
"""Where progression began."""

CONFIRMS: dict[str, tuple[str, str]] = {
    "further_new_lesion": ("a further new lesion", "再出现新病灶"),
    "new_lesion_growth": ("growth of new lesions", "新病灶增大"),
    "non_target_growth": ("further growth of non-targets", "非靶病灶继续增大"),
    "non_target_progression": ("progression of non-targets", "非靶病灶进展"),
}
"""What confirms beside the sum."""

OUTCOMES = {"open": "未结束", "reset": "已重置", "confirmed": "已确认", "closed": "已关闭"}
"""Outcomes of a block in Chinese."""

CSV = (
    "section",
    "site",
    "patient",
    "opened_visit",
    "opened_day",
    "today",
    "days_open",
    "confirm_from_day",
    "confirm_to_day",
    "days_left",
    "planned_scan_day",
    "planned_inside",
    "confirm_if_sum_mm",
    "reset_below_mm",
    "clinically_stable",
    "new_symptoms",
    "status_day",
    "board_visit",
    "board_decision",
    "board_status",
    "readers",
    "reason",
)
"""Columns of the list as a table."""


def list_due(tables: Mapping[str, pl.DataFrame], study: Study) -> list[Row]:
    """Open blocks by section, the longest open first; one block may be in two sections.

    1. of the accepted read: overdue, unreadable, standing; due, also where the window opens within
       `due_soon_days`; waiting
    2. differ: blocks on which the readers do not agree, of the accepted read or of one reader alone
    3. a patient whose case waits for an arbiter is in `differ` alone
    """
    filled = completed(tables)
    blocks, states = filled["irecist_blocks"], filled["clinical_status"]
    soon = study.section("dynamic")["due_soon_days"]
    accepted = blocks.filter(evaluator=ACCEPTED, outcome="open").to_dicts()
    decisions = filled["board_decisions"]
    rows = [_row(_section_of(b, soon), b, states) for b in accepted]
    rows += [_row("differ", b, states) | {"readers": of} for b, of in _differing(blocks)]
    rows = [row | _decided(row, decisions) for row in rows]
    order = list(SECTIONS)
    return sorted(
        rows, key=lambda r: (order.index(r["section"]), -(r["days_open"] or 0), r["patient"])
    )


def list_withheld(tables: Mapping[str, pl.DataFrame]) -> list[Row]:
    """Patients whose latest visit has a probability that is withheld, and why.

    Reasons that are the same for every patient are left out. Beside them the class of the open
    block with its counts, which needs no probability.
    """
    filled = completed(tables)
    latest = filled["dynamic_irecist"].sort("day", "visit", nulls_last=False)
    last = latest.group_by(WHO, maintain_order=True).last()
    reasons = _reasons_of_patients(filled["dynamic_risk"])
    held = last.drop("reason").join(reasons, on=[*WHO, "visit"])
    classes = filled["dynamic_evidence"].filter(item="comparison_class")
    counts = classes.select(
        *WHO, "visit", "class_n", "class_confirmed", "class_reset", label="text"
    )
    rows = held.sort(WHO).join(counts, on=[*WHO, "visit"], how="left").to_dicts()
    return [_withheld(row) for row in rows]


def _reasons_of_patients(risks: pl.DataFrame) -> pl.DataFrame:
    """By patient and visit the reasons of questions that could be asked, each once."""
    asked = risks.filter(
        pl.col("withheld"), (pl.col("question") != "confirmed") | pl.col("in_population")
    )
    own = [not is_of_the_answer(reason) for reason in asked["reason"]]
    return (
        asked.filter(pl.Series(own, dtype=pl.Boolean))
        .group_by(*WHO, "visit")
        .agg(pl.col("reason").unique().sort().str.join("; "))
    )


def _withheld(row: Row) -> Row:
    return {
        **row,
        "section": "withheld",
        "reason_zh": chinese_reason(row["reason"]),
        "label_zh": chinese_reason(row["label"]) if row["label"] else None,
    }


def _section_of(block: Row, soon: int) -> str:
    opens = _left(block, "confirm_from_day")
    if block["status"] == "waiting" and opens is not None and opens <= soon:
        return "due"
    return str(block["status"])


def _left(block: Row, column: str) -> int | None:
    """Days from today to a day of the block; below 0 where it has passed."""
    days = (block[column], block["opened_day"], block["days_open"])
    if None in days:
        return None
    return int(days[0] - days[1] - days[2])


def _differing(blocks: pl.DataFrame) -> list[tuple[Row, tuple[str, str]]]:
    """A block for each patient and visit on which readers differ, and their outcomes by number."""
    found = blocks.filter(~pl.col("readers_agree"), pl.col("evaluator") != ACCEPTED)
    return [
        (rows.row(0, named=True), _outcomes(rows))
        for _, rows in found.group_by(*WHO, "opened_visit", maintain_order=True)
        if "open" in rows["outcome"].to_list()
    ]


def _outcomes(rows: pl.DataFrame) -> tuple[str, str]:
    """How many readers have the block with which outcome, in both languages; none is named."""
    counts = list(rows["outcome"].value_counts().sort("outcome").iter_rows())
    english = ", ".join(f"{outcome} for {n}" for outcome, n in counts)
    return english, "、".join(f"{OUTCOMES[outcome]}{n}名" for outcome, n in counts)


def _row(section: str, block: Row, states: pl.DataFrame) -> Row:
    own = states.filter(site=block["site"], patient=block["patient"])
    latest = own.sort("status_date").to_dicts()[-1:] or [{}]
    opened, days_open = block["opened_day"], block["days_open"]
    reason = block["reason"]
    return {
        **block,
        "section": section,
        "today": None if opened is None or days_open is None else opened + days_open,
        "days_left": _left(block, "confirm_to_day"),
        "clinically_stable": latest[0].get("clinically_stable"),
        "new_symptoms": latest[0].get("new_symptoms"),
        "status_day": latest[0].get("day"),
        "status_known": bool(latest[0]),
        "readers": None,
        "began": _named(CATEGORIES, block["categories"]),
        "also": _named(CONFIRMS, block["confirms_also"]),
        "reason_zh": chinese_reason(reason) if reason else None,
    }


def _decided(block: Row, decisions: pl.DataFrame) -> Row:
    """What a board decided last on the patient since the block opened, if anything."""
    own = decisions.filter(site=block["site"], patient=block["patient"])
    at_opening, opened = pl.col("visit") == block["opened_visit"], block["opened_day"]
    since = at_opening if opened is None else at_opening | (pl.col("day") >= opened)
    last = own.filter(since).sort("decision_date", "number").to_dicts()[-1:] or [{}]
    decision = last[0].get("decision")
    contradict = last[0].get("status") == "contradictory"
    return {
        "board_visit": last[0].get("visit"),
        "board_decision": None if contradict else decision,
        "board_status": last[0].get("status"),
        "board_words": value_of("decision", decision),
    }


def render_due_list(
    tables: Mapping[str, pl.DataFrame], study: Study, *, snapshot: int, generated_at: datetime
) -> str:
    """The page: a section a kind, each with its rows or the sentence that there is none."""
    filled = completed(tables)
    rows, held = list_due(tables, study), list_withheld(tables)
    return render(
        "due_list.html",
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=is_simulated(filled),
        simulation=summarise_simulation(filled),
        sections=[(key, *SECTIONS[key], _of([*rows, *held], key)) for key in SECTIONS],
        script=script(SCRIPT),
        waiting_cases=find_waiting(filled).height,
        window=study.section("irecist"),
        soon=study.section("dynamic")["due_soon_days"],
    )


def _named(words: Mapping[str, tuple[str, str]], codes: Sequence[str]) -> tuple[str, str]:
    """Codes in English and Chinese."""
    return ", ".join(words[c][0] for c in codes), "、".join(words[c][1] for c in codes)


def _of(rows: Sequence[Row], section: str) -> list[Row]:
    return [row for row in rows if row["section"] == section]


def due_table(tables: Mapping[str, pl.DataFrame], study: Study) -> pl.DataFrame:
    """The same rows as a table, for a spreadsheet."""
    kinds: dict[str, Any] = {
        **dict.fromkeys(CSV, pl.Int64),
        **dict.fromkeys(
            (
                "section",
                "site",
                "patient",
                "opened_visit",
                "board_visit",
                "board_decision",
                "board_status",
                "readers",
                "reason",
            ),
            pl.String,
        ),
        **dict.fromkeys(("planned_inside", "clinically_stable", "new_symptoms"), pl.Boolean),
        **dict.fromkeys(("confirm_if_sum_mm", "reset_below_mm"), pl.Float64),
    }
    listed = [*list_due(tables, study), *list_withheld(tables)]
    rows = [
        {name: row.get(name) for name in CSV} | {"readers": (row.get("readers") or [None])[0]}
        for row in listed
    ]
    return pl.DataFrame(rows, schema=kinds)
