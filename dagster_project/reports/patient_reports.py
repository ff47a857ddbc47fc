"""The dynamic iRECIST page of each patient.

It shows a pseudonym and days, no identity and no calendar date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.lake.minimisation import AGE, Minimisation
from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports.pages import data_uri, render
from dagster_project.reports.risks import risks_of
from dagster_project.reports.summaries.tables import (
    Row,
    Tables,
    completed,
    find_waiting,
    is_simulated,
    list_patients,
)
from dagster_project.reports.viewer import ViewerCrop, viewer_values
from dagster_project.reports.wording import FACTS, criterion_words, fact, plain, tone
from dagster_project.study import Study

TABLES_READ = (
    "patients",
    "treatments",
    "follow_up",
    "scans",
    "timepoints",
    "reads",
    "reader_agreement",
    "arbitrations",
    "lesions",
    "eligibility",
    "responses",
    "outcomes",
    "dhi",
    "habitats",
    "dynamic_irecist",
    "dynamic_risk",
)
"""Tables that a patient's page reads; each has a row per patient or more."""

OF_THE_CASE_REPORT = ("patients", "treatments", "follow_up")
"""Tables that a page shows as they are published: it leaves the home as a publication does."""

CHART_WIDTH, CHART_HEIGHT = 900, 300
CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 54, 872, 44, 226
"""Frame of the timeline, in the units of its drawing."""

DAYS_AFTER_LAST_SCAN = 45
"""How far the timeline runs on after the last scan; later events are listed beside it."""


@dataclass(frozen=True)
class LesionPicture:
    """The picture of a lesion at a visit, as `figures.slice_figure` gives it."""

    visit: str
    lesion: str
    png: bytes


@dataclass(frozen=True)
class HabitatMap:
    """The picture of a lesion's habitats at all visits, from `habitat_figure.habitat_figure`."""

    lesion: str
    png: bytes


@dataclass(frozen=True)
class Mark:
    """A place on the timeline."""

    x: float
    y: float
    day: int
    title: str
    note: str = ""
    tone: str = "none"


@dataclass(frozen=True)
class Timeline:
    """The drawing of a patient's course.

    It holds the sums over days, the level of partial response, cycles and events.
    """

    points: tuple[Mark, ...]
    cycles: tuple[Mark, ...]
    events: tuple[Mark, ...]
    path: str
    response_y: float | None
    ticks: tuple[tuple[float, str], ...]


def render_patient_report(
    patient: str,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    *,
    snapshot: int,
    generated_at: datetime,
    pictures: Sequence[LesionPicture] = (),
    maps: Sequence[HabitatMap] = (),
    crops: Sequence[ViewerCrop] = (),
    boards: Sequence[str] = (),
    digest: str = "",
) -> str:
    """One patient's page.

    It shows the course, the states as of each visit, the risk layer beside them, DHI and every
    reader's measurements. The states are those of the tables; nothing is judged here.

    Parameters
    ----------
    pictures, maps, crops
        What is drawn of the lesions; shown where the readers' reads may be.
    boards
        Visits that have a board page.
    digest
        Digest that the page bears; none without one.
    """
    filled = completed(tables)
    published = Minimisation.of(study)
    own = {name: filled[name].filter(pl.col("patient") == patient) for name in TABLES_READ}
    own |= {name: published.frame(name, own[name]) for name in OF_THE_CASE_REPORT}
    site = list_patients(own)["site"].to_list()
    shown = may_show_reads(own, study.section("reads")["site_reader"])
    visits = list_visits(own, may_show=shown)
    return render(
        "patient.html",
        patient=patient,
        site=site[0] if site else "",
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=is_simulated(own),
        facts=_facts(own["patients"], published),
        eligibility=_eligibility(own["eligibility"], study),
        visits=visits,
        timeline=draw_timeline(visits, own, study),
        outcome=_only(own["outcomes"]),
        arbitration=_only(own["arbitrations"]),
        events=own["follow_up"].sort("day", "event").to_dicts(),
        lesions=list_lesions(own),
        dhi=_lesion_dhi(own["dhi"]),
        habitats=list_habitats(own["habitats"]),
        maps=[(m.lesion, data_uri(m.png)) for m in maps] if shown else [],
        reads_shown=shown,
        waiting=find_waiting(own).height > 0,
        by_reader=_responses_by_reader(own["responses"]) if shown else [],
        readers=sorted(set(own["reads"]["reader"])) if shown else [],
        pictures=[(p.visit, p.lesion, data_uri(p.png)) for p in pictures] if shown else [],
        boards=boards,
        digest=digest,
        **viewer_values(crops if shown else ()),
    )


def may_show_reads(own: Tables, site_reader: str) -> bool:
    """Whether the readers' own reads may be seen side by side.

    1. no, while a reader's read is open: the other must not lead it
    2. no, while the case waits for an arbiter, who decides without knowing whose read is whose
    3. yes otherwise; outlines found among the site's images are nobody's blinded read
    """
    blinded = own["reads"].filter(pl.col("reader") != site_reader)
    return (
        blinded["locked_at"].null_count() == 0
        and not (own["arbitrations"]["status"] == "open").any()
    )


def _accepted(responses: pl.DataFrame) -> pl.DataFrame:
    return responses.filter(pl.col("evaluator") == "accepted")


def _only(frame: pl.DataFrame) -> Row | None:
    return frame.row(0, named=True) if frame.height else None


def _facts(
    patients: pl.DataFrame, published: Minimisation
) -> list[tuple[str, str, tuple[str, str]]]:
    row = _only(patients) or {}
    shown = {**row, AGE: published.band(row.get(AGE))}
    return [(en, zh, fact(column, shown.get(column))) for column, en, zh in FACTS]


def _eligibility(eligibility: pl.DataFrame, study: Study) -> dict[str, Any]:
    criteria, failed = criterion_words(study), eligibility.filter(pl.col("verdict") != "met")
    missed = [{**r, "words": criteria[r["criterion"]]} for r in failed.to_dicts()]
    return {
        "evaluated": eligibility.height > 0,
        "eligible": eligibility.height > 0 and not missed,
        "missed": missed,
    }


def list_visits(own: Tables, *, may_show: bool = False) -> list[Row]:
    """Every visit in order of day, with its response row, the reading beside it, and its risks.

    Response and reading are None where there is none; risks are those of `risks_of`.
    """
    responses = {r["visit"]: r for r in _accepted(own["responses"]).to_dicts()}
    readings = {
        r["visit"]: r
        | {
            "reason_zh": chinese_reason(r["reason"] or ""),
            "risks": risks_of(_risks_at(own, r["visit"]), may_show=may_show),
        }
        for r in own["dynamic_irecist"].to_dicts()
    }
    scans = {r["visit"]: r for r in own["timepoints"].to_dicts()}
    days = {visit: part[visit]["day"] for part in (readings, responses, scans) for visit in part}
    order = sorted(days, key=lambda v: (days[v] is None, days[v] or 0, v))
    baseline = next(
        (r["baseline_sum_mm"] for r in responses.values() if r["baseline_sum_mm"] is not None), None
    )
    return [
        _visit(
            visit,
            days[visit],
            scans.get(visit),
            responses.get(visit),
            readings.get(visit),
            baseline,
        )
        for visit in order
    ]


def _risks_at(own: Tables, visit: str) -> list[Row]:
    return own["dynamic_risk"].filter(visit=visit).sort("question", "horizon_days").to_dicts()


def _visit(
    visit: str,
    day: int | None,
    scan: Row | None,
    response: Row | None,
    reading: Row | None,
    baseline_mm: float | None,
) -> Row:
    is_baseline = visit == BASELINE
    later_mm = response["sum_mm"] if response else None
    sum_mm = baseline_mm if is_baseline else later_mm
    return {
        "visit": visit,
        "day": day,
        "baseline": is_baseline,
        "sum_mm": sum_mm,
        "response": None if is_baseline else response,
        "reading": reading,
        "changed": (scan or {}).get("changed_since_t0") or [],
        "tone": "base" if is_baseline else tone(response["irecist_response"] if response else None),
    }


def draw_timeline(visits: Sequence[Row], own: Tables, study: Study) -> Timeline | None:
    """Places of everything on the timeline; None without two dated visits."""
    dated = [v for v in visits if v["day"] is not None]
    if len(dated) < 2:
        return None
    low, high = min(0, dated[0]["day"]), dated[-1]["day"] + DAYS_AFTER_LAST_SCAN
    top = max([v["sum_mm"] or 0.0 for v in dated] + [10.0]) * 1.12

    def x(day: int) -> float:
        return round(CHART_LEFT + (day - low) / (high - low) * (CHART_RIGHT - CHART_LEFT), 1)

    def y(millimetres: float | None) -> float:
        return round(CHART_BOTTOM - (millimetres or 0.0) / top * (CHART_BOTTOM - CHART_TOP), 1)

    points = tuple(
        Mark(
            x(v["day"]),
            y(v["sum_mm"]),
            v["day"],
            v["visit"],
            _state(v),
            "none" if v["sum_mm"] is None else v["tone"],
        )
        for v in dated
    )
    within = [
        e
        for e in own["follow_up"].drop_nulls("day").sort("day").to_dicts()
        if low <= e["day"] <= high and e["event"] != "alive"
    ]
    cycles = [
        c
        for c in own["treatments"].drop_nulls("day").sort("cycle").to_dicts()
        if low <= c["day"] <= high
    ]
    measured = [p for p, v in zip(points, dated, strict=True) if v["sum_mm"] is not None]
    baseline = next((v["sum_mm"] for v in dated if v["baseline"]), None)
    return Timeline(
        points=points,
        cycles=tuple(Mark(x(c["day"]), CHART_BOTTOM, c["day"], f"C{c['cycle']}") for c in cycles),
        events=tuple(Mark(x(e["day"]), CHART_TOP, e["day"], plain(e["event"])) for e in within),
        path=" ".join(f"{'L' if i else 'M'}{p.x} {p.y}" for i, p in enumerate(measured)),
        response_y=None
        if baseline is None
        else y(baseline * study.section("recist")["response_ratio"]),
        ticks=tuple((y(v), f"{v:g}") for v in _levels(top)),
    )


def _state(visit: Row) -> str:
    if visit["baseline"]:
        return "baseline"
    return plain(visit["response"]["irecist_response"]) if visit["response"] else ""


def _levels(top: float) -> list[float]:
    step = next((v for v in (5, 10, 20, 25, 50, 100, 200) if top / v <= 5), 500)
    return [float(step * i) for i in range(int(top / step) + 1)]


def _responses_by_reader(responses: pl.DataFrame) -> list[Row]:
    """The visits' states by evaluator, the accepted read first; nothing where it stands alone."""
    if responses["evaluator"].n_unique() < 2:
        return []
    rows = (
        responses.filter(pl.col("visit") != BASELINE)
        .sort("day", "visit", nulls_last=True)
        .to_dicts()
    )
    return sorted(rows, key=lambda r: (r["evaluator"] != "accepted", r["evaluator"]))


def list_lesions(own: Tables) -> list[Row]:
    """Every lesion at every visit.

    The accepted read, each reader's measurements, and the Dice of their outlines.
    """
    order = {row["visit"]: i for i, row in enumerate(list_visits(own))}
    accepted = {(r["visit"], r["lesion"]): r for r in own["lesions"].to_dicts()}
    reads: dict[tuple[str, str], dict[str, Row]] = {}
    for read in own["reads"].to_dicts():
        reads.setdefault((read["visit"], read["lesion"]), {})[read["reader"]] = read
    lesion_rows = own["reader_agreement"].filter(
        pl.col("scope") == "lesion", pl.col("dice_median").is_not_null()
    )
    dice = {(r["visit"], r["lesion"]): r["dice_median"] for r in lesion_rows.to_dicts()}
    keys = sorted({*accepted, *reads}, key=lambda k: (k[1], order.get(k[0], len(order)), k[0]))
    return [
        {
            "visit": visit,
            "lesion": lesion,
            "accepted": accepted.get((visit, lesion)),
            "reads": reads.get((visit, lesion), {}),
            "dice": dice.get((visit, lesion)),
        }
        for visit, lesion in keys
    ]


def _lesion_dhi(dhi: pl.DataFrame) -> dict[str, Any]:
    """DHI by pair of visits, as the page draws it.

    The patient's rows come first. Also the largest value for the bars, and whether limits are
    calibrated.
    """
    rows = dhi.sort(
        "from_visit", "to_visit", "scope", "lesion", descending=[False, False, True, False]
    ).to_dicts()
    pairs = [
        (pair, list(group))
        for pair, group in groupby(rows, key=lambda r: (r["from_visit"], r["to_visit"]))
    ]
    return {
        "rows": rows,
        "pairs": pairs,
        "largest": max([r["dhi"] for r in rows if r["dhi"] is not None] + [1.0]),
        "calibrated": bool(rows) and all(r["calibrated"] for r in rows),
    }


def list_habitats(habitats: pl.DataFrame) -> dict[str, Any]:
    """One row per lesion and visit, and the number of habitats.

    A row has the habitats' shares in order, Rao's Q and Moran's I, or the reason why there are
    none.
    """
    shares = sorted(
        {m for m in habitats["measure"] if m.startswith("fraction_")},
        key=lambda m: int(m.removeprefix("fraction_")),
    )
    rows = []
    for (lesion, visit), same in habitats.sort("lesion", "visit").group_by(
        ["lesion", "visit"], maintain_order=True
    ):
        values, reasons = (
            dict(same.select("measure", "value").iter_rows()),
            dict(same.select("measure", "reason").iter_rows()),
        )
        measured = {
            "shares": [values.get(m) for m in shares],
            "rao_q": values.get("rao_q"),
            "moran_i": values.get("moran_i"),
        }
        rows.append(
            {"lesion": lesion, "visit": visit, **measured, "reason": reasons.get("n_voxels")}
        )
    return {"rows": rows, "count": len(shares)}
