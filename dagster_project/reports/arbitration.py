"""The arbiter's worklist and a page per case.

Each page shows both reads side by side as A and B, so that a decision is about the read and not its
reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from dagster_project.domain.reading.arbitration import mask_readers
from dagster_project.reports.pages import data_uri, render
from dagster_project.reports.summaries.reading import count_triggers, summarise_monitoring
from dagster_project.reports.summaries.tables import (
    Row,
    Tables,
    completed,
    is_simulated,
    summarise_simulation,
)
from dagster_project.study import Study

LETTERS = ("A", "B")
"""How the two readers of a case are called."""


@dataclass(frozen=True)
class CasePicture:
    """One slice of a lesion at a visit, read A on the left and read B on the right."""

    visit: str
    lesion: str
    slice: int
    png: bytes


def render_worklist(
    tables: Mapping[str, pl.DataFrame], study: Study, *, snapshot: int, generated_at: datetime
) -> str:
    """The worklist: open cases first, settled ones below, and what is monitored.

    Each case has its triggers and a link to its page.
    """
    filled = completed(tables)
    cases = filled["arbitrations"].sort("site", "patient").to_dicts()
    return render(
        "arbitration.html",
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=is_simulated(filled),
        simulation=summarise_simulation(filled),
        open_cases=[c for c in cases if c["status"] == "open"],
        settled=[c for c in cases if c["status"] == "settled"],
        triggers=count_triggers(filled["arbitrations"]),
        monitoring=summarise_monitoring(filled["reader_figures"]),
    )


def render_case(
    case: Mapping[str, Any],
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    *,
    snapshot: int,
    generated_at: datetime,
    pictures: Sequence[CasePicture] = (),
    proposals: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One case: triggers, the response each read would give, measurements and pictures.

    No reader's name appears on the page.
    """
    filled = completed(tables)
    own = {
        name: filled[name].filter(patient=case["patient"])
        for name in (
            "reads",
            "responses",
            "timepoints",
            "reader_agreement",
            "reader_figures",
            "lesion_locations",
        )
    }
    letters = {
        reader: letter
        for letter, reader in mask_readers(
            case["site"], case["patient"], (case["reader_a"], case["reader_b"])
        ).items()
    }
    days = dict(own["timepoints"].select("visit", "day").iter_rows())
    accepted = letters.get(case["accepted_reader"]) if case["accepted_reader"] else None
    return render(
        "case.html",
        case=case,
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        letters=LETTERS,
        accepted=accepted,
        simulated=case["simulated"],
        simulation=summarise_simulation(filled),
        responses=list_responses(own["responses"], letters, days),
        measurements=list_measurements(own, letters, days),
        pictures=[(p.visit, p.lesion, p.slice, data_uri(p.png)) for p in pictures],
        far=[r for r in far_from_place(own["lesion_locations"], letters) if r["reader"] in LETTERS],
        proposals=[{**p, "reader": letters.get(p["reader"], "–")} for p in proposals],
    )


def list_responses(
    responses: pl.DataFrame, letters: Mapping[str, str], days: Mapping[str, int | None]
) -> list[Row]:
    """The response that each read would give, by visit in order of day.

    `differs` is set where they are not the same.
    """
    found: dict[str, dict[str, Row]] = {}
    for row in responses.filter(pl.col("evaluator").is_in(list(letters))).to_dicts():
        found.setdefault(row["visit"], {})[letters[row["evaluator"]]] = row
    rows = [
        {"visit": visit, "day": days.get(visit), "of": of, "differs": _differ(of)}
        for visit, of in found.items()
    ]
    return sorted(rows, key=lambda r: (r["day"] is None, r["day"] or 0, r["visit"]))


def far_from_place(locations: pl.DataFrame, letters: Mapping[str, str]) -> list[Row]:
    """Outlines far from where the lesion is expected from the scan before, by reader's letter."""
    from dagster_project.domain.reading.lesion_locations import FAR

    rows = locations.filter(pl.col("flags").list.contains(FAR)).sort("lesion", "visit", "reader")
    return [{**row, "reader": letters.get(row["reader"], "–")} for row in rows.to_dicts()]


def _differ(of: Mapping[str, Row]) -> bool:
    return (
        len(of) < len(LETTERS)
        or len({(r["overall_response"], r["new_lesion"]) for r in of.values()}) > 1
    )


def list_measurements(
    own: Tables, letters: Mapping[str, str], days: Mapping[str, int | None]
) -> list[Row]:
    """Every lesion and visit with what each read measured, and how the two outlines overlap."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in own["reads"].filter(pl.col("reader").is_in(list(letters))).to_dicts():
        found.setdefault((row["lesion"], row["visit"]), {})[letters[row["reader"]]] = row
    dice = {
        (r["lesion"], r["visit"]): r["dice_median"]
        for r in own["reader_agreement"].filter(scope="lesion").to_dicts()
    }
    distances = {
        (r["lesion"], r["visit"], r["statistic"]): r["value"]
        for r in own["reader_figures"].filter(scope="lesion").to_dicts()
    }
    rows = [
        {
            "lesion": lesion,
            "visit": visit,
            "of": of,
            "dice": dice.get((lesion, visit)),
            "hd95_mm": distances.get((lesion, visit, "hd95_mm")),
            "mean_mm": distances.get((lesion, visit, "mean_surface_distance_mm")),
        }
        for (lesion, visit), of in found.items()
    ]
    return sorted(
        rows,
        key=lambda r: (
            r["lesion"],
            days.get(r["visit"]) is None,
            days.get(r["visit"]) or 0,
            r["visit"],
        ),
    )
