"""Risks of a visit as pages show them: numbers with what is behind them, or the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports.board_words import Both, joined, words
from dagster_project.reports.summaries.tables import Row

QUESTIONS: Mapping[str, Both] = {
    "response_from_baseline": ("Response", "缓解"),
    "response_when_stable": ("Response at the next visit", "下次访视缓解"),
    "progression": ("Progression or death within {n} days", "{n}天内进展或死亡"),
    "confirmed": ("Confirmed by the next evaluable CT", "下次可评价CT时确认"),
}
"""What a probability is of; {n} stands for the days."""

SOURCES: Mapping[str, Both] = {
    "model": ("response model", "应答模型"),
    "size": ("size alone", "仅大小"),
    "supermodel": ("sums and days alone", "仅径线总和与天数"),
    "size_and_features": ("sums, days and features of the images", "径线总和、天数与影像特征"),
    "class": ("progressions of its class", "同类进展"),
}

COMPARED: Mapping[str, Both] = {
    "higher": ("higher than of all", "高于总体"),
    "lower": ("lower than of all", "低于总体"),
}

NOT_YET: Both = (
    "None: the quality gate has not been open since this visit was read.",
    "无：该访视阅片后质控尚未放行。",
)
NOT_SHOWN: Both = (
    "None while a read is open or the case waits for its arbiter.",
    "阅片未锁定或待仲裁期间不展示。",
)


def risks_of(rows: Sequence[Row], *, may_show: bool) -> dict[str, Any]:
    """Numbers and reasons of one visit.

    1. nothing while a read of the patient is open, or the case waits for an arbiter
    2. each number that is shown, with its interval, the base rate, and what is behind it
    3. each reason once, with the questions that it is about; that no block is open is no reason
       that anybody asks for

    Parameters
    ----------
    rows
        Of `dynamic_risk`, of one patient and visit.
    may_show
        Whether both reads are locked and settled.
    """
    if not may_show:
        return {"shown": [], "reasons": [], "nothing": NOT_SHOWN, "closed": False, "amendments": []}
    asked = [r for r in rows if r["in_population"] or r["question"] != "confirmed"]
    shown = [_number(r) for r in asked if not r["withheld"]]
    held = [r for r in asked if r["withheld"]]
    by_reason: dict[str, list[Row]] = {}
    for row in held:
        by_reason.setdefault(row["reason"], []).append(row)
    return {
        "shown": shown,
        "reasons": [_reason(why, own) for why, own in by_reason.items()],
        "nothing": None if rows else NOT_YET,
        "closed": any(r["gate"] == "closed" for r in rows),
        "amendments": _amendments(rows),
    }


def _amendments(rows: Sequence[Row]) -> list[str]:
    """Decisions by which the protocol is looser than registered, each once."""
    lines = [line for r in rows for line in (r["amendments"] or "").splitlines()]
    return list(dict.fromkeys(lines))


def _question(row: Row) -> Both:
    english, chinese = words(QUESTIONS, row["question"])
    n = row["horizon_days"]
    return english.format(n=n), chinese.format(n=n)


def _number(row: Row) -> dict[str, Any]:
    """A number as in practice where it is known, and beside it as enrolled."""
    practice = row["probability_in_practice"] is not None
    name = "probability_in_practice" if practice else "probability"
    return {
        **row,
        "question_words": _question(row),
        "value": row[name],
        "lower": row[f"{name}_lower"],
        "upper": row[f"{name}_upper"],
        "as_enrolled": row["probability"] if practice else None,
        "source_words": words(SOURCES, row["source"]),
        "compared_words": words(COMPARED, row["compared"]) if row["compared"] else None,
    }


def _reason(why: str, rows: Sequence[Row]) -> dict[str, Both]:
    return {"questions": joined(map(_question, rows)), "why": (why, chinese_reason(why))}
