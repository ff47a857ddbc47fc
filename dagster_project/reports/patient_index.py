"""The index of all patients: one table that is searched, filtered and sorted without a server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import polars as pl

from dagster_project.reports.pages import render, script
from dagster_project.reports.summaries.cohort import find_eligible
from dagster_project.reports.summaries.quality import summarise_gate
from dagster_project.reports.summaries.tables import (
    WHO,
    Row,
    Tables,
    completed,
    is_simulated,
    list_patients,
    summarise_simulation,
)
from dagster_project.reports.wording import CASES, GATE, STATES, criterion_words
from dagster_project.study import Study

SCRIPT = "index.js"

ANY = ""
"""Value of a filter that leaves nobody out."""


class Option(NamedTuple):
    """One choice of a filter: the word that a row has to hold, and its name."""

    value: str
    en: str
    zh: str


class Filter(NamedTuple):
    """One filter: which word of a row it looks at."""

    name: str
    en: str
    zh: str
    options: tuple[Option, ...]


def render_patient_index(
    tables: Mapping[str, pl.DataFrame], study: Study, *, snapshot: int, generated_at: datetime
) -> str:
    """The list of patients, each with the latest state and a link to the page."""
    filled = completed(tables)
    rows = list_index(filled)
    visits = visits_of(rows)
    return render(
        "index.html",
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=is_simulated(filled),
        simulation=summarise_simulation(filled),
        gate=GATE[summarise_gate(filled["quality_verdicts"], study.digest).state],
        rows=[row | {"words": words_of(row, visits)} for row in rows],
        filters=list_filters(rows, study),
        criteria=criterion_words(study),
        script=script(SCRIPT),
    )


def list_index(tables: Tables) -> list[Row]:
    """One row per patient for the index.

    Eligible or which criteria are not met, visits, latest state and reading, best response, and
    whether a case is open.
    """
    latest = (
        tables["responses"]
        .filter(evaluator="accepted")
        .sort("day", "visit", nulls_last=False)
        .group_by(WHO, maintain_order=True)
        .last()
        .select(*WHO, "visit", "irecist_response")
    )
    readings = tables["dynamic_irecist"].select(
        *WHO, "visit", "state", "advice", "advice_from_day", "advice_to_day"
    )
    missed = (
        tables["eligibility"]
        .filter(pl.col("verdict") != "met")
        .group_by(WHO)
        .agg(pl.col("criterion").sort().alias("missed"))
    )
    cases = tables["arbitrations"].select(*WHO, case="status")
    rows = list_patients(tables).join(
        find_eligible(tables).with_columns(eligible=pl.lit(value=True)), on=WHO, how="left"
    )
    short = _visits_in_short(tables["timepoints"])
    for facts in (latest, short, missed, cases, tables["outcomes"].select(*WHO, "bor")):
        rows = rows.join(facts, on=WHO, how="left")
    return (
        rows.join(readings, on=[*WHO, "visit"], how="left")
        .with_columns(
            pl.col("eligible").fill_null(value=False),
            pl.col("missed", "planned").fill_null([]),
            case=pl.col("case").fill_null("none"),
        )
        .sort(WHO)
        .to_dicts()
    )


def _visits_in_short(timepoints: pl.DataFrame) -> pl.DataFrame:
    """The protocol's visits by name, and how many others there are."""
    planned, others = (
        pl.col("visit").filter(pl.col("visit").str.starts_with("T")).sort(),
        pl.col("visit").str.starts_with("V").sum(),
    )
    short = timepoints.group_by(WHO).agg(planned.alias("planned"), others.alias("others"))
    more = pl.when(pl.col("others") > 0).then(pl.format(" +{}", "others")).otherwise(pl.lit(""))
    joined = pl.col("planned").list.join(" ")
    return short.select(*WHO, "planned", visits=(joined + more).str.strip_chars())


def list_filters(rows: Sequence[Row], study: Study) -> list[Filter]:
    """The filters, with the choices that leave somebody.

    Their words are those of `words_of`: a row is shown where it has the word of every filter.
    """
    visits = visits_of(rows)
    found = {word for row in rows for word in words_of(row, visits).split()}
    criteria = criterion_words(study)
    sites = dict.fromkeys(r["site"] for r in rows)
    why = (Option(f"missed:{c}", f"{c}: {en}", f"{c}：{zh}") for c, (en, zh) in criteria.items())
    choices = {
        ("site", "Site", "医院"): tuple(
            Option(f"site:{site}", study.site_name(site), study.site_name(site)) for site in sites
        ),
        ("visit", "CT", "CT"): tuple(chain.from_iterable(map(_with_and_without, visits))),
        ("eligible", "Eligible", "入排"): (
            Option("eligible:yes", "eligible", "符合"),
            Option("eligible:no", "not, or not yet", "尚不符合"),
            *why,
        ),
        ("case", "Arbitration", "仲裁"): tuple(
            Option(f"case:{code}", en, zh) for code, (en, zh) in CASES.items()
        ),
        ("state", "State", "状态"): (
            *(Option(f"state:{code}", name[0], name[1]) for code, name in STATES.items()),
            Option("state:none", "no state yet", "尚无状态"),
        ),
    }
    return [Filter(*names, _found(options, found)) for names, options in choices.items()]


def _found(options: Iterable[Option], words: Collection[str]) -> tuple[Option, ...]:
    """The choices that leave somebody."""
    return tuple(option for option in options if option.value in words)


def _with_and_without(visit: str) -> tuple[Option, Option]:
    return (
        Option(f"ct:{visit}", f"with {visit}", f"有{visit}"),
        Option(f"no-ct:{visit}", f"without {visit}", f"无{visit}"),
    )


def visits_of(rows: Sequence[Row]) -> list[str]:
    """The protocol's visits at which anybody has been scanned, in order."""
    return sorted({visit for row in rows for visit in row["planned"]})


def words_of(row: Row, visits: Sequence[str]) -> str:
    """What the filters find in a row.

    >>> words_of({"site": "AA", "planned": ["T0"], "eligible": False, "missed": ["I4"],
    ...           "case": "open", "state": None}, ["T0", "T1"])
    'site:AA ct:T0 no-ct:T1 eligible:no missed:I4 case:open state:none'
    """
    state = None if row["case"] == "open" else row["state"]
    words = [
        f"site:{row['site']}",
        *(f"ct:{visit}" if visit in row["planned"] else f"no-ct:{visit}" for visit in visits),
        f"eligible:{'yes' if row['eligible'] else 'no'}",
        *(f"missed:{criterion}" for criterion in row["missed"]),
        f"case:{row['case']}",
        f"state:{state or 'none'}",
    ]
    return " ".join(words)
