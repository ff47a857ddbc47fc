"""The evaluation page: the standard beside its comparators, with what is not estimable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import polars as pl

from dagster_project.domain.evaluation.figures import ALL_SITES
from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports.evaluation_words import (
    COMPARATORS,
    POPULATIONS,
    QUESTIONS,
    question_words,
    statistic_words,
)
from dagster_project.reports.pages import render
from dagster_project.reports.wording import ABSENT, number, percent
from dagster_project.study import Study

Row = dict[str, Any]

SCALES = {"auc": 0.5, "c_index": 0.5}
"""Statistics that are drawn from 0 to 1, and where on it a score says nothing."""

DIGITS = {"1": 3, "d": 1, "patients": 1}
"""Decimals by unit; a share is in per cent."""


def render_evaluation(
    rows: pl.DataFrame, study: Study, *, snapshot: int | None, generated_at: datetime
) -> str:
    """The page of the table dynamic_evaluation.

    Parameters
    ----------
    rows
        That table; of another trial without a lake as well.
    snapshot
        Of the lake; None for another trial's tables.
    """
    shown = [_row(row) for row in rows.to_dicts()]
    together = [r for r in shown if r["site"] == ALL_SITES]
    estimable = sum(r["estimable"] for r in together)
    return render(
        "evaluation.html",
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=any(r["simulated"] for r in shown),
        sections=[_section(name, together, study) for name in QUESTIONS],
        by_site=_by_site([r for r in shown if r["site"] != ALL_SITES], study),
        counts=(len(together), estimable, len(together) - estimable),
        standard=shown[0] if shown else None,
        rules=study.protocol.evaluation,
    )


def _row(row: Row) -> Row:
    return {
        **row,
        "name": statistic_words(row["statistic"]),
        "of": COMPARATORS[row["comparator"]],
        "whom": POPULATIONS[row["population"]],
        "text": written(row["value"], row["unit"]),
        "bounds": _bounds(row),
        "scale": _scale(row),
        "reason_zh": chinese_reason(row["reason"]) if row["reason"] else None,
    }


def written(value: float | None, unit: str) -> str:
    """A figure in its unit.

    >>> written(0.1234, "share"), written(0.1234, "1"), written(12.34, "d"), written(None, "1")
    ('12.3 %', '0.123', '12.3', '–')
    """
    if value is None:
        return ABSENT
    return percent(value, 1) if unit == "share" else number(value, DIGITS[unit])


def _bounds(row: Row) -> str:
    if row["lower"] is None and row["upper"] is None:
        return ""
    return " – ".join(written(row[name], row["unit"]) for name in ("lower", "upper"))


def _scale(row: Row) -> Row | None:
    """Where value, bounds and the line of chance lie on a bar of 100; None without a bar."""
    kind = next((k for k in SCALES if row["statistic"].startswith(k)), None)
    drawn = row["unit"] == "share" or (kind and "gain" not in row["statistic"])
    if not drawn or row["value"] is None:
        return None
    low = row["value"] if row["lower"] is None else row["lower"]
    high = row["value"] if row["upper"] is None else row["upper"]
    return {
        "value": 100 * row["value"],
        "low": 100 * low,
        "width": 100 * (high - low),
        "nothing": 100 * SCALES[kind] if kind else None,
    }


def _section(question: str, rows: Sequence[Row], study: Study) -> Row:
    heading, introduction = question_words(question, study.protocol)
    own = [r for r in rows if r["question"] == question]
    return {"key": question, "heading": heading, "introduction": introduction, "rows": own}


def _by_site(rows: Sequence[Row], study: Study) -> list[tuple[str, list[Row]]]:
    """Hospitals with their rows, in the order of the questions."""
    ordered = sorted(rows, key=lambda r: (r["site"], list(QUESTIONS).index(r["question"])))
    return [(study.site_name(s), list(own)) for s, own in groupby(ordered, lambda r: r["site"])]
