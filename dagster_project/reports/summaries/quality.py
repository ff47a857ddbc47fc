"""Data quality: scans, refused items, reconciliation, disclosure, and the quality gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.cohort.quality import CLOSING
from dagster_project.domain.imaging.slice_limits import has_fault, mark_slices
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.tables import RECONCILIATION
from dagster_project.reports.summaries.tables import Row
from dagster_project.reports.wording import STAGES

SCAN_FLAGS = (
    "metal_flag",
    "motion_flag",
    "truncated_flag",
    "rescale_flag",
    "noise_flag",
    "reader_artifact_flag",
)
"""Flags of a scan that speak against it where they are true."""

REASONS_SHOWN = 8
"""Reasons listed for a stage of the quarantine; the others are counted."""

ITEMS_SHOWN = 20
"""Items listed under a reason: file, row and column of each; the others are counted."""


def summarise_disclosure(disclosure: pl.DataFrame) -> list[Row]:
    """By set of columns: patients and disclosure figures of both forms, the largest set last.

    The figures are k, who is unique, and who is in a small class.
    """
    figures = ("k", "n_unique", "n_in_small_classes")
    forms: dict[str, dict[str, Row]] = {}
    for row in disclosure.to_dicts():
        forms.setdefault(row["variables"], {})[row["form"]] = row
    rows: list[Row] = []
    for names, of in forms.items():
        shown = {form: {f: row[f] for f in figures} for form, row in of.items()}
        rows.append({"variables": names.split("+"), "n": of["lake"]["n_patients"], **shown})
    return sorted(rows, key=lambda r: (len(r["variables"]), r["variables"]))


def summarise_scans(scans: pl.DataFrame, limits: Mapping[str, Any]) -> list[Row]:
    """By site: scans by rule I5 and by flag.

    Counts of scans, those that meet rule I5, those that are thick, have gaps or duplicates, are not
    known, and each flag raised. `limits` is study.toml [scans].
    """
    return (
        mark_slices(scans, limits)
        .group_by("site")
        .agg(
            pl.len().alias("scans"),
            (~has_fault()).sum().alias("thin"),
            pl.col("thick").sum(),
            pl.col("slice_spacing_mm").median().alias("spacing_mm"),
            pl.col("gap").sum().alias("gaps"),
            pl.col("duplicate").sum().alias("duplicates"),
            pl.col("unknown").sum(),
            (~pl.col("chest_flag")).sum().alias("not_chest"),
            *(pl.col(flag).sum().alias(flag) for flag in SCAN_FLAGS),
        )
        .sort("site")
        .to_dicts()
    )


def summarise_quarantine(quarantine: pl.DataFrame) -> list[Row]:
    """By stage of the flow: items refused, and the commonest reasons.

    Each reason has its count and sites; `others` counts the reasons not listed.
    """
    order = list(STAGES)
    rows = []
    for (stage,), part in quarantine.group_by("stage"):
        reasons = (
            part.group_by("reason")
            .agg(
                n=pl.len(),
                sites=pl.col("site").unique().sort(),
                items=(pl.col("site") + " " + pl.col("item")).sort(),
            )
            .sort("n", "reason", descending=[True, False])
        )
        rows.append(
            {
                "stage": stage,
                "n": part.height,
                "reasons": [
                    _in_both_languages(row)
                    for row in reasons.head(REASONS_SHOWN).iter_rows(named=True)
                ],
                "others": max(0, reasons.height - REASONS_SHOWN),
            }
        )
    return sorted(
        rows,
        key=lambda row: (
            order.index(row["stage"]) if row["stage"] in order else len(order),
            row["stage"],
        ),
    )


def _in_both_languages(row: Row) -> Row:
    """A reason with its Chinese and its places.

    Places are file, row and column of each item, the first of them by name.
    """
    shown = row["items"][:ITEMS_SHOWN]
    return {
        **row,
        "reason_zh": _chinese_or_nothing(row["reason"]),
        "items": shown,
        "more": len(row["items"]) - len(shown),
    }


def _chinese_or_nothing(text: str) -> str:
    chinese = chinese_reason(text)
    return chinese if chinese != text else ""


def summarise_reconciliation(reconciliation: pl.DataFrame) -> list[Row]:
    """By site: disagreements between case report and images.

    Patients with a row and no images, with images and no row, numbers that are nobody's, and the
    questions about nearly equal numbers.
    """
    rows = []
    for (site,), part in reconciliation.sort("site").group_by("site", maintain_order=True):
        subjects = part.unique(["finding", "patient", "item"])
        counts = dict(subjects.group_by("finding").len().iter_rows())
        alike = part.filter(pl.col("other_patient") != "*").sort(
            "finding", "patient", "item", "other_patient"
        )
        rows.append(
            {
                "site": site,
                **{f: counts.get(f, 0) for f in RECONCILIATION.column("finding").allowed or ()},
                "alike": alike.to_dicts(),
            }
        )
    return rows


@dataclass(frozen=True)
class Gate:
    """Whether models may be trained on this snapshot, with the cohort and the row rules.

    The state is open, closed, not_evaluated, or other_protocol where study.toml was changed after
    the verdict.
    """

    state: str
    failing: list[Row]
    cohort_rules: list[Row]
    row_rules: list[Row]


def summarise_gate(verdicts: pl.DataFrame, protocol_digest: str) -> Gate:
    """The verdicts of the gate; worst verdicts come first.

    A cohort rule that failed or could not be evaluated closes the gate.
    """
    order = [*CLOSING, "warn", "pass"]
    rows = [
        {**row, "detail_zh": _chinese_or_nothing(row["detail"])}
        for row in sorted(
            verdicts.to_dicts(), key=lambda r: (order.index(r["verdict"]), r["rule"], r["scope"])
        )
    ]
    cohort = [r for r in rows if r["kind"] == "cohort"]
    failing = [r for r in cohort if r["verdict"] in CLOSING]
    other = any(r["protocol_digest"] != protocol_digest for r in cohort)
    state = "open" if cohort else "not_evaluated"
    if other:
        state = "other_protocol"
    elif failing:
        state = "closed"
    return Gate(state, failing, cohort, [r for r in rows if r["kind"] == "row"])
