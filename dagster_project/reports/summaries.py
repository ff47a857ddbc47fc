"""What the study report counts and computes from the tables.

The results are rows of plain values, without a word about how they look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

from dagster_project.domain.cohort.eligibility import CRITERIA as ORDER_OF_CRITERIA
from dagster_project.domain.cohort.eligibility import derive_flow
from dagster_project.domain.cohort.quality import CLOSING
from dagster_project.domain.imaging.slice_limits import has_fault, mark_slices
from dagster_project.domain.response.best_response import response_rate
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME, RECONCILIATION
from dagster_project.reports.figures import Limits, RocCurve, Stage, Strip
from dagster_project.reports.response_figures import Course
from dagster_project.reports.wording import MEASUREMENTS, STAGES, criterion_words, english
from dagster_project.statistics.agreement import bland_altman
from dagster_project.statistics.binomial import Proportion, clopper_pearson
from dagster_project.statistics.correlation import partial_rank_correlation, rank_correlation
from dagster_project.statistics.description import quartiles
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.predictive_values import outcome_weights
from dagster_project.statistics.roc import auc_delong, roc_points
from dagster_project.statistics.survival import KaplanMeier, kaplan_meier, log_rank
from dagster_project.study import Study

Tables = Mapping[str, pl.DataFrame]
Row = dict[str, Any]

WHO = ["site", "patient"]
"""What names a patient in every table."""

RESPONSE = ("CR", "PR")
"""Best responses that count for the objective response rate."""

DISEASE_CONTROL = ("CR", "PR", "SD", "NON_CR_NON_PD")
"""Best responses that count for the disease control rate."""

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

OF_THE_ACCEPTED_READ = (
    "lesions",
    "responses",
    "outcomes",
    "time_to_event",
    "dhi",
    "habitats",
    "dynamic_irecist",
    "irecist_blocks",
    "dynamic_evidence",
)
"""Tables whose rows are based on the accepted read.

Of responses and blocks, those of the evaluator `accepted`.
"""


def completed(tables: Tables) -> dict[str, pl.DataFrame]:
    """Every declared table, without what a provisional read gave.

    A table that is not there has no rows. Every page takes its tables from here. While a case waits
    for its arbiter, one of its two reads is taken for the time being: its numbers are for no page.
    """
    whole = {
        name: tables[name] if name in tables else empty(declared)
        for name, declared in BY_NAME.items()
    }
    waiting = find_waiting(whole)
    return (
        whole
        if waiting.is_empty()
        else {name: _without_provisional(name, rows, waiting) for name, rows in whole.items()}
    )


def find_waiting(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of the patients whose case waits for its arbiter."""
    return tables["arbitrations"].filter(pl.col("status") == "open").select(WHO).sort(WHO)


def _without_provisional(name: str, rows: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    if name not in OF_THE_ACCEPTED_READ:
        return rows
    settled = rows.join(waiting, on=WHO, how="anti", maintain_order="left")
    if name not in {"responses", "irecist_blocks"}:
        return settled
    by_reader = rows.filter(pl.col("evaluator") != "accepted").join(
        waiting, on=WHO, how="semi", maintain_order="left"
    )
    return pl.concat([settled, by_reader])


def list_patients(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of every patient, in order.

    A patient is everyone with a case-report row, a scan, a response or an outcome.
    """
    return (
        pl.concat(
            [tables[name].select(WHO) for name in ("patients", "scans", "responses", "outcomes")]
        )
        .unique()
        .sort(WHO)
    )


def summarise_simulation(tables: Tables) -> list[Row]:
    """By site: patients, and those with any row that is based on simulated data."""
    rows = pl.concat(
        [tables[name].select(*WHO, "simulated") for name in ("patients", "scans", "reads")]
    )
    by_patient = rows.group_by(WHO).agg(pl.col("simulated").any())
    return (
        by_patient.group_by("site")
        .agg(patients=pl.len(), simulated=pl.col("simulated").sum())
        .with_columns(share=pl.col("simulated") / pl.col("patients"))
        .sort("site")
        .to_dicts()
    )


def is_simulated(tables: Tables) -> bool:
    """True where any row of any table is based on simulated data."""
    return any(
        "simulated" in frame.columns and bool(frame["simulated"].any()) for frame in tables.values()
    )


def find_eligible(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of the patients who meet every criterion; unknown is not met."""
    met = pl.col("criterion").filter(pl.col("verdict") == "met").n_unique()
    return (
        tables["eligibility"]
        .group_by(WHO)
        .agg(met=met)
        .filter(pl.col("met") == len(ORDER_OF_CRITERIA))
        .select(WHO)
        .sort(WHO)
    )


@dataclass(frozen=True)
class Population:
    """Patients whom a section speaks of, and what they are called."""

    title: str
    patients: pl.DataFrame

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame's rows of these patients."""
        return frame.join(self.patients, on=WHO, how="semi")


def choose_population(tables: Tables) -> Population:
    """The eligible patients; where nobody is eligible yet, everyone, and the title says so.

    Who waits for the arbiter is not among them: a patient without figures would count as one
    without response.
    """
    waiting = find_waiting(tables)
    eligible = find_eligible(tables).join(waiting, on=WHO, how="anti")
    return (
        Population("eligible patients", eligible)
        if eligible.height
        else Population(
            "all patients, since none is eligible yet",
            list_patients(tables).join(waiting, on=WHO, how="anti"),
        )
    )


def summarise_enrolment(tables: Tables) -> list[Row]:
    """By site: patients taken in, eligible, and the eligible by response.

    A patient without a best response yet is undetermined.
    """
    eligible = find_eligible(tables).with_columns(eligible=pl.lit(1))
    rows = (
        list_patients(tables)
        .join(eligible, on=WHO, how="left")
        .join(tables["outcomes"].select(*WHO, "responder"), on=WHO, how="left")
    )
    counted = pl.col("eligible").is_not_null()
    return (
        rows.group_by("site")
        .agg(
            taken_in=pl.len(),
            eligible=counted.sum(),
            responders=(counted & pl.col("responder")).sum(),
            non_responders=(counted & ~pl.col("responder")).sum(),
            undetermined=(counted & pl.col("responder").is_null()).sum(),
        )
        .sort("site")
        .to_dicts()
    )


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


def summarise_flow(eligibility: pl.DataFrame) -> list[Row]:
    """By criterion: the counts of the flow of patients.

    Patients for whom it is the first reason, any reason, unmet, unknown, and those who remain after
    it.
    """
    if eligibility.is_empty():
        return []
    verdicts = eligibility.group_by("criterion").agg(
        not_met=(pl.col("verdict") == "not_met").sum(),
        unknown=(pl.col("verdict") == "unknown").sum(),
    )
    return (
        derive_flow(eligibility)
        .join(verdicts, on="criterion", how="left", maintain_order="left")
        .with_columns(pl.col("not_met", "unknown").fill_null(0))
        .to_dicts()
    )


def list_stages(tables: Tables, study: Study) -> list[Stage]:
    """The boxes of the flow chart, for the primary task: taken in, eligible, and trained on."""
    task, criteria = study.section("model")["primary_task"], criterion_words(study)
    flow, cohort = (
        summarise_flow(tables["eligibility"]),
        tables["training_cohort"].filter(pl.col("task") == task),
    )
    if not flow:
        return []
    left = tuple(
        (f"{english(criteria, r['criterion'])} ({r['criterion']})", r["n_first_reason"])
        for r in flow
        if r["n_first_reason"]
    )
    stages = [
        Stage(
            "Taken in",
            tables["eligibility"].select(WHO).n_unique(),
            left,
            "First criterion not met or not known",
        ),
        Stage("Eligible", flow[-1]["remaining"]),
    ]
    if cohort.is_empty():
        return stages
    return [
        stages[0],
        Stage(
            "Eligible",
            stages[1].count,
            _exclusions(cohort, find_eligible(tables)),
            "Left out of the training cohort",
        ),
        Stage(f"Training cohort, task {task}", int(cohort["included"].sum())),
    ]


def _exclusions(cohort: pl.DataFrame, eligible: pl.DataFrame) -> tuple[tuple[str, int], ...]:
    out = cohort.filter(~pl.col("included")).join(eligible, on=WHO, how="semi")
    return tuple(
        (str(reason).replace("_", " "), n)
        for reason, n in out.group_by("exclusion")
        .len()
        .sort("len", "exclusion", descending=[True, False])
        .iter_rows()
    )


def summarise_exclusions(cohort: pl.DataFrame) -> list[Row]:
    """By task: patients included, and those each row rule leaves out."""
    return (
        cohort.group_by("task", "included", "exclusion")
        .len("patients")
        .sort("task", "included", "patients", descending=[False, True, True])
        .to_dicts()
    )


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


def summarise_agreement(agreement: pl.DataFrame) -> list[tuple[str, list[Row]]]:
    """Rows of reader_agreement by measurement, under the name of their scope.

    The cohort comes first, then its visits, then the sites.
    """
    order, scopes = list(MEASUREMENTS), ["cohort", "visit", "site"]
    rows = sorted(
        agreement.filter(pl.col("scope").is_in(scopes)).to_dicts(),
        key=lambda r: (
            scopes.index(r["scope"]),
            r["visit"],
            r["site"],
            order.index(r["measurement"]),
        ),
    )
    titles = {"cohort": "All sites", "visit": "All sites, {visit}", "site": "{site}"}
    return [
        (titles[scope].format(visit=visit, site=site), list(group))
        for (scope, visit, site), group in groupby(
            rows, key=lambda r: (r["scope"], r["visit"], r["site"])
        )
    ]


def pair_reads(reads: pl.DataFrame, arbitrations: pl.DataFrame) -> pl.DataFrame:
    """Longest diameters of each lesion-visit that two readers measured and locked.

    Also whether an arbiter settled the patient. The first reader by name comes first.
    """
    locked = reads.filter(
        pl.col("locked_at").is_not_null(), pl.col("longest_diameter_mm").is_not_null()
    )
    pairs = (
        locked.sort("reader")
        .group_by(*WHO, "scan", "lesion")
        .agg("longest_diameter_mm")
        .filter(pl.col("longest_diameter_mm").list.len() >= 2)
    )
    settled = arbitrations.filter(pl.col("status") == "settled").select(
        *WHO, settled=pl.lit(value=True)
    )
    return (
        pairs.join(settled, on=WHO, how="left")
        .sort(*WHO, "scan", "lesion")
        .select(
            first=pl.col("longest_diameter_mm").list.get(0),
            second=pl.col("longest_diameter_mm").list.get(1),
            settled=pl.col("settled").fill_null(value=False),
        )
    )


def limits_of_pairs(pairs: pl.DataFrame) -> Limits | None:
    """Bias and limits of agreement of what `pair_reads` gives; None without a pair."""
    values = pairs.select("first", "second").to_numpy().astype(np.float64)
    return bland_altman(values) if len(values) else None


def summarise_arbitrations(tables: Tables) -> list[Row]:
    """By site: patients whom two readers read, and of their cases the open and the settled ones."""
    read_twice = (
        tables["reads"]
        .filter(pl.col("locked_at").is_not_null())
        .group_by(WHO)
        .agg(n=pl.col("reader").n_unique())
        .filter(pl.col("n") >= 2)
    )
    cases = (
        tables["arbitrations"]
        .group_by("site")
        .agg(open=(pl.col("status") == "open").sum(), settled=(pl.col("status") == "settled").sum())
    )
    rows = (
        read_twice.group_by("site")
        .agg(read_twice=pl.len())
        .join(cases, on="site", how="full", coalesce=True)
    )
    return (
        rows.with_columns(pl.col("read_twice", "open", "settled").fill_null(0))
        .sort("site")
        .to_dicts()
    )


@dataclass(frozen=True)
class Monitoring:
    """Adjudication rates by site and reader figures.

    The whole cohort's rate comes last. Each reader has a disagreement index with the drift by
    month.
    """

    rates: list[Row]
    readers: list[Row]


def summarise_monitoring(figures: pl.DataFrame) -> Monitoring:
    """What is watched of the readers over time."""
    rates = (
        figures.filter(pl.col("statistic") == "adjudication_rate")
        .sort("scope", "site", descending=[True, False])
        .to_dicts()
    )
    drift = figures.filter(pl.col("statistic") == "drift_percent").sort("month").to_dicts()
    readers = (
        figures.filter(pl.col("statistic") == "disagreement_index")
        .sort("site", "reader")
        .to_dicts()
    )
    return Monitoring(
        rates,
        [
            {
                **r,
                "drift": [d for d in drift if (d["site"], d["reader"]) == (r["site"], r["reader"])],
            }
            for r in readers
        ],
    )


def count_triggers(arbitrations: pl.DataFrame) -> list[Row]:
    """Cases that met a trigger at least once, by trigger.

    A trigger's name is the text before its visit and lesion.
    """
    named = (
        arbitrations.select(*WHO, pl.col("triggers"))
        .explode("triggers")
        .with_columns(trigger=pl.col("triggers").str.extract(r"^([^ :(]+)"))
    )
    return (
        named.drop_nulls("trigger")
        .group_by("trigger")
        .agg(cases=pl.struct(WHO).n_unique())
        .sort("cases", "trigger", descending=[True, False])
        .to_dicts()
    )


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


def summarise_response(tables: Tables, population: Population) -> list[Row]:
    """Response and disease control of the population, with exact 95 % intervals.

    All patients are in the denominator.
    """
    n, outcomes = population.patients.height, population.of(tables["outcomes"])
    if not n or outcomes.is_empty():
        return []
    rates = (
        ("ORR", "bor", RESPONSE),
        ("ORR, confirmed", "bor_confirmed", RESPONSE),
        ("DCR", "bor", DISEASE_CONTROL),
        ("iORR, by iRECIST", "ibor", tuple(f"i{r}" for r in RESPONSE)),
    )
    counts = {name: int(outcomes[column].is_in(list(of)).sum()) for name, column, of in rates}
    return [_rate(name, clopper_pearson(x, n)) for name, x in counts.items()]


def _rate(name: str, found: Proportion) -> Row:
    bounds = {"low": found.lower, "high": found.upper}
    return {"name": name, "x": found.count, "n": found.n, "share": found.value, **bounds}


SUBGROUPS = ("site", "stage", "histology", "line")
"""Columns of `patients` by whose values response rates are compared."""


def summarise_response_by(tables: Tables, population: Population) -> list[tuple[str, list[Row]]]:
    """Response and disease control by site and by group of patients.

    Each has exact intervals. Small groups are shown as they are, and nothing is tested.
    """
    people = population.of(tables["patients"]).join(
        tables["outcomes"].select(*WHO, "bor"), on=WHO, how="left"
    )
    found = []
    for column in SUBGROUPS:
        groups = (
            people.with_columns(group=pl.col(column).cast(pl.String).fill_null("not known"))
            .group_by("group")
            .agg("bor")
            .sort("group")
        )
        rows = [_rates_of(group, best) for group, best in groups.iter_rows()]
        if len(rows) > 1 or column == "site":
            found.append((column, rows))
    return [(column, rows) for column, rows in found if rows]


def _rates_of(group: str, best: Sequence[str | None]) -> Row:
    rates = (("orr", "ORR", RESPONSE), ("dcr", "DCR", DISEASE_CONTROL))
    found = {key: _rate(name, response_rate(best, counted=of)) for key, name, of in rates}
    return {"group": group, **found}


def weight_disease_control(
    tables: Tables, population: Population, share_in_practice: float
) -> Row | None:
    """Disease control as enrolled, and weighted to the share of responders in practice.

    None without patients of both outcomes.
    """
    outcomes = population.of(tables["outcomes"]).drop_nulls("responder")
    responders = outcomes["responder"].to_list()
    if len(set(responders)) < 2:
        return None
    controlled, weights = (
        outcomes["bor"].is_in(list(DISEASE_CONTROL)).to_list(),
        outcome_weights(responders, share_in_practice),
    )
    weighted = sum(w for w, c in zip(weights, controlled, strict=True) if c) / sum(weights)
    return {
        "n": len(responders),
        "enrolled": sum(controlled) / len(controlled),
        "weighted": weighted,
        "share": share_in_practice,
        "responders": sum(responders) / len(responders),
    }


def count_best_responses(tables: Tables, population: Population) -> list[Row]:
    """Patients by best overall response, those without one as NULL."""
    return (
        population.patients.join(tables["outcomes"].select(*WHO, "bor"), on=WHO, how="left")
        .group_by("bor")
        .len("patients")
        .sort("patients", descending=True)
        .to_dicts()
    )


def count_pseudoprogressions(tables: Tables, population: Population) -> Row:
    """Patients with a pseudoprogression by each of the four definitions.

    Also those in whom it could be determined.
    """
    outcomes = population.of(tables["outcomes"])
    definitions = (
        "pseudoprogression",
        "pseudoprogression_d1_nadir",
        "pseudoprogression_d2",
        "pseudoprogression_d2_nadir",
    )
    return {
        "n": int(outcomes["pseudoprogression"].count()),
        **{name: int(outcomes[name].sum() or 0) for name in definitions},
    }


def list_courses(tables: Tables, population: Population) -> list[Course]:
    """The population's patients over time by the accepted read.

    For the spider plot and the swimmer plot.
    """
    rows = (
        population.of(tables["responses"])
        .filter(pl.col("evaluator") == "accepted")
        .drop_nulls("day")
        .sort("day")
    )
    visits = {
        who: list(part.iter_rows(named=True))
        for who, part in rows.group_by(WHO, maintain_order=True)
    }
    return [
        _course(o, visits.get((o["site"], o["patient"]), []))
        for o in population.of(tables["outcomes"]).sort(WHO).iter_rows(named=True)
    ]


def _course(outcome: Row, visits: Sequence[Row]) -> Course:
    return Course(
        best=outcome["bor"] or "NE",
        changes=[
            (v["day"], v["change_from_baseline_percent"])
            for v in visits
            if v["change_from_baseline_percent"] is not None
        ],
        responses=[(v["day"], v["overall_response"]) for v in visits],
        days=outcome["pfs_days"],
        died=outcome["pfs_reason"] == "death",
        going_on=outcome["pfs_event"] is False,
    )


def summarise_times(tables: Tables, population: Population) -> list[Row]:
    """Every end point by version and origin, main first.

    Patients, events, and the median with its log-log interval.
    """
    times = population.of(tables["time_to_event"]).drop_nulls(["days", "event"])
    found = []
    for (endpoint, version, origin), part in times.group_by(
        "endpoint", "version", "origin", maintain_order=True
    ):
        curve = kaplan_meier(part["days"].to_list(), part["event"].to_list())
        found.append(
            {
                "endpoint": endpoint,
                "version": version,
                "origin": origin,
                "n": part.height,
                "events": int(part["event"].sum()),
                "median": curve.median,
                "low": curve.median_lower,
                "high": curve.median_upper,
            }
        )
    order = {
        name: n
        for n, name in enumerate(("pfs", "dor", "os", "first_cycle", "T2", "response", "main"))
    }
    return sorted(
        found, key=lambda r: tuple(order.get(r[k], 99) for k in ("endpoint", "origin", "version"))
    )


def compare_curves(curves: Curves) -> Row | None:
    """Log-rank test of the groups of a figure; None with fewer than two groups or no event."""
    filled = {name: times for name, times in curves.items() if times[0]}
    if len(filled) < 2 or not any(any(events) for _, events in filled.values()):
        return None
    days, events = ([x for times in filled.values() for x in times[k]] for k in (0, 1))
    found = log_rank(days, events, [name for name, times in filled.items() for _ in times[0]])  # type: ignore[arg-type]
    return {"statistic": found.statistic, "degrees": found.degrees, "p": found.p}


Curves = dict[str, tuple[list[int], list[bool]]]


def list_survival(tables: Tables, population: Population) -> tuple[Curves, Curves]:
    """Times and events for the survival curves.

    Of all from the first cycle, and from T2 (landmark) by the response as of T2.
    """
    outcomes = population.of(tables["outcomes"])
    at_t2 = (
        tables["responses"]
        .filter(pl.col("visit") == "T2", pl.col("evaluator") == "accepted")
        .select(*WHO, at_t2=pl.col("overall_response_as_of_visit").is_in(list(RESPONSE)))
    )
    landmark = outcomes.drop_nulls(["pfs_from_t2_days", "pfs_from_t2_event"]).join(
        at_t2, on=WHO, how="left"
    )
    whole = {"All": _times(outcomes.drop_nulls(["pfs_days", "pfs_event"]), "pfs_days", "pfs_event")}
    groups = {
        "CR or PR as of T2": landmark.filter("at_t2"),
        "Neither, as of T2": landmark.filter(~pl.col("at_t2")),
        "Not evaluated at T2": landmark.filter(pl.col("at_t2").is_null()),
    }
    split = {
        name: _times(part, "pfs_from_t2_days", "pfs_from_t2_event") for name, part in groups.items()
    }
    return _filled(whole), _filled(split)


def _filled(curves: Curves) -> Curves:
    return {name: times for name, times in curves.items() if times[0]}


def _times(outcomes: pl.DataFrame, days: str, event: str) -> tuple[list[int], list[bool]]:
    return outcomes[days].to_list(), outcomes[event].to_list()


def survival_curves(curves: Curves) -> dict[str, KaplanMeier]:
    """The Kaplan-Meier curve of each group that has a time, for the figure."""
    return {name: kaplan_meier(*times) for name, times in curves.items() if times[0]}


def summarise_survival(curves: Curves) -> list[Row]:
    """By group: patients, events, and the median with its log-log interval.

    NULL where the median is not reached.
    """
    rows = []
    for name, curve in survival_curves(curves).items():
        rows.append(
            {
                "name": name,
                "n": curve.n,
                "events": sum(curve.events),
                "median": curve.median,
                "low": curve.median_lower,
                "high": curve.median_upper,
            }
        )
    return rows


def count_pfs_reasons(tables: Tables, population: Population) -> list[Row]:
    """Patients by the row of the censoring table that gave their date."""
    return (
        population.of(tables["outcomes"])
        .drop_nulls("pfs_reason")
        .group_by("pfs_reason", "pfs_event")
        .len("patients")
        .sort("pfs_event", "patients", "pfs_reason", descending=[True, True, False])
        .to_dicts()
    )


def list_patient_dhi(tables: Tables, population: Population) -> pl.DataFrame:
    """The population's DHI rows of scope patient with the response, pairs of visits in order."""
    order = pl.Enum(["T0 → T1", "T1 → T2", "T0 → T2"])
    rows = (
        population.of(tables["dhi"])
        .filter(pl.col("scope") == "patient")
        .with_columns(pair=pl.format("{} → {}", "from_visit", "to_visit"))
    )
    kept = rows.filter(pl.col("pair").is_in(order.categories.to_list())).with_columns(
        pl.col("pair").cast(order)
    )
    return kept.join(tables["outcomes"].select(*WHO, "responder"), on=WHO, how="left").sort(
        "pair", *WHO
    )


def group_dhi(rows: pl.DataFrame) -> dict[str, dict[str, list[float]]]:
    """DHI values by pair of visits and response group, for the figure."""

    def values(part: pl.DataFrame, responder: bool) -> list[float]:
        return part.filter(pl.col("responder") == responder)["dhi"].drop_nulls().to_list()

    parts = {str(pair): part for (pair,), part in rows.group_by("pair", maintain_order=True)}
    return {
        pair: {"responders": values(part, True), "non-responders": values(part, False)}
        for pair, part in parts.items()
    }


def dhi_strips(rows: pl.DataFrame) -> dict[str, dict[str, Strip]]:
    """`group_dhi` with the quartiles of each group."""
    return {
        pair: {name: Strip(values, quartiles(values)) for name, values in groups.items()}
        for pair, groups in group_dhi(rows).items()
    }


def summarise_dhi(rows: pl.DataFrame) -> list[Row]:
    """By pair of visits: quartiles by response, values missing, and DHI's discrimination.

    The last is how well DHI predicts response beside and beyond the change of volume.
    """
    return [
        {
            "pair": str(pair),
            "missing": part["dhi"].null_count(),
            "groups": _quartiles(part),
            **_worth(part),
        }
        for (pair,), part in rows.group_by("pair", maintain_order=True)
    ]


def _quartiles(part: pl.DataFrame) -> list[Row]:
    groups = (
        ("responders", part.filter("responder")),
        ("non-responders", part.filter(~pl.col("responder"))),
    )
    return [_spread(name, group["dhi"].drop_nulls()) for name, group in groups]


def _spread(name: str, values: pl.Series) -> Row:
    found = quartiles(values.to_numpy())
    figures = ("low", "median", "high")
    shown = {figure: None if found is None else getattr(found, figure) for figure in figures}
    return {"name": name, "n": len(values), **shown}


def _worth(part: pl.DataFrame) -> Row:
    known = part.drop_nulls(
        ["dhi", "dhi_magnitude", "responder", "delta_log_volume", "wasserstein_hu"]
    )
    dhi, volume = known["dhi"].to_numpy(), known["delta_log_volume"].to_numpy()
    label = known["responder"].to_numpy().astype(bool)
    return {
        "n": known.height,
        "auc_dhi": auc_delong(label, dhi).value,
        "auc_amount": auc_delong(label, known["dhi_magnitude"].to_numpy()).value,
        "auc_shrinkage": auc_delong(label, -volume).value,
        "auc_wasserstein": auc_delong(label, known["wasserstein_hu"].to_numpy()).value,
        "rho_volume": rank_correlation(dhi, np.abs(volume)),
        "partial": partial_rank_correlation(dhi, label, volume),
    }


def count_dhi_reasons(dhi: pl.DataFrame) -> list[Row]:
    """Lesion pairs without a DHI, by reason."""
    return (
        dhi.filter(pl.col("scope") == "lesion", pl.col("dhi").is_null())
        .group_by("reason")
        .len("lesions")
        .sort("lesions", "reason", descending=[True, False])
        .to_dicts()
    )


def latest_runs(model_runs: pl.DataFrame) -> list[Row]:
    """The last run of every task and model, best AUC first within a task."""
    last = model_runs.sort("trained_at", "mlflow_run_id").unique(["task", "model"], keep="last")
    return last.sort("task", "auc", "model", descending=[False, True, False]).to_dicts()


def list_curves(
    predictions: pl.DataFrame, runs: Sequence[Row], task: str
) -> tuple[dict[str, tuple[list[bool], list[float]]], dict[str, tuple[float | None, float | None]]]:
    """Labels and probabilities out of fold by model of a task, and the intervals of their AUC."""
    known = predictions.filter(pl.col("task") == task).drop_nulls("observed_response").sort(*WHO)
    shown = [r for r in runs if r["task"] == task]
    parts = {
        r["model"]: known.filter(
            (pl.col("model") == r["model"]) & (pl.col("model_version") == r["model_version"])
        )
        for r in shown
    }
    curves = {
        model: (part["observed_response"].to_list(), part["probability"].to_list())
        for model, part in parts.items()
        if part["observed_response"].n_unique() == 2
    }
    return curves, {r["model"]: (r["auc_lower"], r["auc_upper"]) for r in shown}


def roc_curves(predictions: pl.DataFrame, runs: Sequence[Row], task: str) -> dict[str, RocCurve]:
    """The ROC curve of each model of a task out of fold, its AUC with the bounds of its run."""
    curves, intervals = list_curves(predictions, runs, task)
    return {model: _roc_curve(*curve, intervals[model]) for model, curve in curves.items()}


def _roc_curve(
    labels: Sequence[bool], scores: Sequence[float], bounds: tuple[float | None, float | None]
) -> RocCurve:
    y, p = np.asarray(labels, bool), np.asarray(scores, float)
    return RocCurve(roc_points(y, p), Estimate(auc_delong(y, p).value, *bounds))


FEDERATED_SHOWN = 20
"""Statistics of a federated run that the report lists; all of them are in the table."""


def summarise_federated(runs: pl.DataFrame, results: pl.DataFrame) -> list[Row]:
    """Federated runs, newest first, each with its statistics; points of curves are left out."""
    figures = results.filter(~pl.col("statistic").str.contains("@", literal=True))
    return [
        {**run, "statistics": figures.filter(run=run["run"]).head(FEDERATED_SHOWN).to_dicts()}
        for run in runs.sort("ended_at", "run", descending=True).iter_rows(named=True)
    ]


def newest_ledger_line(ledger: pl.DataFrame) -> Row | None:
    """The last line of the privacy ledger, which has what is spent; None where there is none."""
    return ledger.sort("line").row(-1, named=True) if ledger.height else None


def summarise_dynamic(dynamic: pl.DataFrame) -> list[Row]:
    """By visit and iRECIST response: patients by state and advice, probabilities shown and not."""
    order = ["iCR", "iPR", "iSD", "iNON_CR_NON_PD", "iUPD", "iCPD", "iNE", "iNED"]
    rows = []
    for (visit, response), part in dynamic.group_by("visit", "irecist_response"):
        rows.append(
            {
                "visit": visit,
                "irecist_response": response,
                "patients": part.height,
                "states": dict(part.group_by("state").len().iter_rows()),
                "advice": dict(part.group_by("advice").len().iter_rows()),
                "shown": part["probability"].drop_nulls().len(),
                "withheld": int(part["withheld"].sum()),
            }
        )
    return sorted(rows, key=lambda r: (r["visit"], order.index(r["irecist_response"])))
