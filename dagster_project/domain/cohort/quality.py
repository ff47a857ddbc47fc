"""The gate before any model.

Some rules must hold over the whole cohort, others leave single patients out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from dagster_project.domain.cohort.training_cohort import Course, cohort_of, courses_by_task
from dagster_project.lake.contracts import Violation
from dagster_project.study import Study

Kind = Literal["row", "cohort"]
Decision = Literal["pass", "warn", "fail", "cannot_evaluate"]
Tables = Mapping[str, pl.DataFrame]

CLOSING: tuple[Decision, ...] = ("fail", "cannot_evaluate")
"""Decisions on a cohort rule by which the gate is closed, the worse first."""

NEEDED = (
    "patients",
    "scans",
    "timepoints",
    "reader_agreement",
    "arbitrations",
    "eligibility",
    "responses",
    "outcomes",
)
"""Tables without which the gate cannot be judged."""

MEASUREMENTS = ("longest_diameter_mm", "volume_mm3", "short_axis_mm")
"""What the two readers must agree on; the short axis only where a site has nodes."""

ROW_RULES = (
    "site_left_out",
    "slice_thickness",
    "artifact",
    "missing_visit",
    "consent_withdrawn",
    "ineligible",
    "unknown",
    "progressed_by",
    "responded_by",
    "no_response_after",
    "short_follow_up_after",
)
"""Row rules, each the beginning of the exclusions it counts."""


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One rule where it was looked at: the figure, the limit, and what follows."""

    rule: str
    scope: str
    kind: Kind
    statistic: float | None
    threshold: float | None
    verdict: Decision
    detail: str

    @property
    def closes(self) -> bool:
        """Whether it closes the gate: a cohort rule that failed, or that cannot be evaluated."""
        return self.kind == "cohort" and self.verdict in CLOSING


def gate_closed(verdicts: Iterable[GateVerdict]) -> list[GateVerdict]:
    """The cohort rules that close the gate: failed, or not to be evaluated."""
    return [v for v in verdicts if v.closes]


def is_open(verdicts: pl.DataFrame, protocol_digest: str) -> bool:
    """Whether stored verdicts leave the gate open.

    Every cohort rule holds, by the very protocol that is used now.

    Parameters
    ----------
    verdicts
        The table quality_verdicts.
    protocol_digest
        Digest of the protocol in use: by another one nothing was judged.
    """
    cohort = verdicts.filter(pl.col("kind") == "cohort")
    closing = cohort["verdict"].is_in(CLOSING) | (cohort["protocol_digest"] != protocol_digest)
    return cohort.height > 0 and not closing.any()


def evaluate_gate(
    tables: Tables, contract_violations: Sequence[Violation], study: Study
) -> list[GateVerdict]:
    """Judge every rule of the gate on one state of the lake.

    1. contract: no row of any table breaks its declaration
    2. a table that is needed is not there: cannot_evaluate, and nothing else is judged
    3. open arbitrations: none, at the sites that patients are trained on
    4. readers agree: ICC by site and measurement, point and lower bound; share arbitrated
    5. leakage: no patient at two sites, no images under two pseudonyms, every label from a visit
       after the task's
    6. size: patients, and patients of each class
    7. row rules: how many patients each leaves out

    Sites that no patient is trained on hold nothing up; where nobody is, all sites are judged.

    Parameters
    ----------
    tables : Mapping
        Frames by table name. `training_cohort` is derived from the others where it is not there.
    contract_violations : sequence of Violation
        What `lake.contracts.find_violations` found.
    study : Study
        Sections agreement, gate and model are used.
    """
    verdicts = judge_contracts(tables, contract_violations)
    missing = [name for name in NEEDED if name not in tables]
    if missing:
        return verdicts + [
            _unjudged("table", name, f"{name} was not passed: materialise it") for name in missing
        ]
    seen = courses_by_task(
        tables["eligibility"], tables["outcomes"], tables["responses"], tables["timepoints"], study
    )
    cohort = tables["training_cohort"] if "training_cohort" in tables else cohort_of(seen, study)
    primary, sites = (
        cohort.filter(task=study.section("model")["primary_task"]),
        _sites(cohort, tables["patients"]),
    )
    return [
        *verdicts,
        *judge_arbitrations(tables["arbitrations"], sites),
        *judge_agreement(tables["reader_agreement"], study, sites),
        *judge_leakage(tables, cohort, seen, study),
        *judge_size(primary, study),
        *count_row_rules(primary),
    ]


def _sites(cohort: pl.DataFrame, patients: pl.DataFrame) -> list[str]:
    trained_on = cohort.filter(pl.col("included"))["site"].unique().to_list()
    return sorted(trained_on or patients["site"].unique().to_list())


def _unjudged(rule: str, scope: str, detail: str, limit: float | None = None) -> GateVerdict:
    return GateVerdict(rule, scope, "cohort", None, limit, "cannot_evaluate", detail)


def _at_most(rule: str, scope: str, figure: float, limit: float, detail: str) -> GateVerdict:
    return GateVerdict(
        rule, scope, "cohort", figure, limit, "pass" if figure <= limit else "fail", detail
    )


def _at_least(rule: str, scope: str, figure: float, limit: float, detail: str) -> GateVerdict:
    return GateVerdict(
        rule, scope, "cohort", figure, limit, "pass" if figure >= limit else "fail", detail
    )


def judge_contracts(tables: Tables, violations: Sequence[Violation]) -> list[GateVerdict]:
    """One verdict per table: rows that break what the schema declares; limit 0."""
    broken: dict[str, list[Violation]] = defaultdict(list)
    for violation in violations:
        broken[violation.table].append(violation)
    return [
        _at_most("contract", name, sum(v.rows for v in broken[name]), 0, _described(broken[name]))
        for name in sorted({*tables, *broken})
    ]


def _described(violations: Sequence[Violation]) -> str:
    return (
        "; ".join(f"{v.constraint}: {v.rows} rows" for v in violations)
        or "every row conforms to the schema"
    )


def judge_arbitrations(arbitrations: pl.DataFrame, sites: Sequence[str]) -> list[GateVerdict]:
    """One verdict per site: discordant cases without a decision; limit 0."""
    opened = arbitrations.filter(pl.col("status") == "open")["site"].to_list()
    return [
        _at_most(
            "open_arbitrations",
            site,
            opened.count(site),
            0,
            f"{opened.count(site)} discordant cases wait for an arbiter",
        )
        for site in sites
    ]


def judge_agreement(
    agreement: pl.DataFrame, study: Study, sites: Sequence[str] | None = None
) -> list[GateVerdict]:
    """Judge the agreement of each site's readers.

    A site has three verdicts per measurement and one for the share arbitrated.

    1. icc_resolved: ICC(2,1) over the pairs settled without an arbiter at least `icc_minimum`
    2. icc_lower_bound: its lower 95 % bound at least `icc_lower_minimum`; below `icc_minimum` a
       warning
    3. arbitrated_share: at most `arbitrated_share_maximum` of the lesion-visits, the largest share
       of any measurement
    4. no row, no ICC, or fewer than `pairs_minimum` pairs although small sites are pooled:
       cannot_evaluate
    5. short axis: left out where there is no node; a warning instead of 4, since nodes are few and
       their longest diameters are judged too
    6. by visit, over all sites together, where every site is judged: 1 and 2; a warning instead of
       4, since all visits together are judged site by site
    7. icc_raw, of a site where 1 and 2 are judged: ICC(2,1) over all pairs, arbitrated ones too, at
       least `icc_raw_minimum`: readers who agree only where no arbiter was needed need training,
       not an arbiter

    A site of few pairs is judged by the figures of its pool, which the details name
    (`derive_reader_agreement`).

    A site that fails can be left out only by `excluded_sites` of the protocol. Its pairs still
    stand in the rows by visit, so these are judged only where no site is left out.
    """
    rows = {
        (r["site"], r["measurement"]): r
        for r in agreement.filter(pl.col("scope") == "site").iter_rows(named=True)
    }
    names = sorted({site for site, _ in rows}) if sites is None else sites
    rules = study.section("agreement")
    found = [
        v
        for site in names
        for v in (*_judge_icc(rows, site, rules), _judge_share(rows, site, rules))
    ]
    return (
        found
        if {site for site, _ in rows} - set(names)
        else found + _judge_visits(agreement, rules)
    )


def _judge_visits(agreement: pl.DataFrame, rules: Mapping) -> list[GateVerdict]:
    found = []
    for row in (
        agreement.filter((pl.col("scope") == "visit") & pl.col("measurement").is_in(MEASUREMENTS))
        .sort("visit", "measurement")
        .iter_rows(named=True)
    ):
        scope, why = f"{row['visit']} {row['measurement']}", _why_no_icc(row, rules)
        found += _icc_unjudged(scope, why, rules, "warn") if why else _icc_judged(scope, row, rules)
    return found


def _judge_icc(
    rows: Mapping[tuple[str, str], Mapping], site: str, rules: Mapping
) -> list[GateVerdict]:
    found = []
    for measurement in MEASUREMENTS:
        row, scope, nodes = (
            rows.get((site, measurement)),
            f"{site} {measurement}",
            measurement == "short_axis_mm",
        )
        why = _why_no_icc(row, rules)
        if row is not None and not why:
            found += [*_icc_judged(scope, row, rules), _raw_judged(scope, row, rules)]
        elif not nodes or (row is not None and row["n"]):
            found += _icc_unjudged(scope, why or "", rules, "warn" if nodes else "cannot_evaluate")
    return found


def _why_no_icc(row: Mapping | None, rules: Mapping) -> str | None:
    if row is None:
        return "no lesion was read by two locked readers"
    if row["n_resolved"] < rules["pairs_minimum"]:
        return (
            f"{row['n_resolved']} pairs settled without an arbiter, "
            f"{rules['pairs_minimum']} required"
        )
    return (
        str(row["reason"] or "no ICC could be computed")
        if row["icc_resolved"] is None or row["icc_lower"] is None
        else None
    )


def _icc_unjudged(scope: str, why: str, rules: Mapping, verdict: Decision) -> list[GateVerdict]:
    limits = {"icc_resolved": rules["icc_minimum"], "icc_lower_bound": rules["icc_lower_minimum"]}
    return [
        GateVerdict(rule, scope, "cohort", None, limit, verdict, why)
        for rule, limit in limits.items()
    ]


def _icc_judged(scope: str, row: Mapping, rules: Mapping) -> list[GateVerdict]:
    detail = f"{row['n_resolved']} pairs settled without an arbiter"
    if row["pooled_with"]:
        detail += f", pooled with {row['pooled_with']}"
    bound = _at_least(
        "icc_lower_bound", scope, row["icc_lower"], rules["icc_lower_minimum"], detail
    )
    near = bound.verdict == "pass" and row["icc_lower"] < rules["icc_minimum"]
    warned = (
        GateVerdict(
            bound.rule,
            scope,
            "cohort",
            bound.statistic,
            bound.threshold,
            "warn",
            f"{detail}; below {rules['icc_minimum']}",
        )
        if near
        else bound
    )
    return [
        _at_least("icc_resolved", scope, row["icc_resolved"], rules["icc_minimum"], detail),
        warned,
    ]


def _raw_judged(scope: str, row: Mapping, rules: Mapping) -> GateVerdict:
    if row["icc_raw"] is None:
        return GateVerdict(
            "icc_raw",
            scope,
            "cohort",
            None,
            rules["icc_raw_minimum"],
            "cannot_evaluate",
            str(row["reason"]),
        )
    detail = f"all {row['n']} pairs, arbitrated ones too; below the limit train the readers"
    if row["pooled_with"]:
        detail = (
            f"all {row['n']} pairs, arbitrated ones too, pooled with {row['pooled_with']} "
            f"where its own are fewer than {rules['pairs_minimum']}; "
            "below the limit train the readers"
        )
    return _at_least("icc_raw", scope, row["icc_raw"], rules["icc_raw_minimum"], detail)


def _judge_share(rows: Mapping[tuple[str, str], Mapping], site: str, rules: Mapping) -> GateVerdict:
    shares = [
        r["arbitrated_share"]
        for (where, _), r in rows.items()
        if where == site and r["arbitrated_share"] is not None
    ]
    limit = rules["arbitrated_share_maximum"]
    if not shares:
        return _unjudged(
            "arbitrated_share", site, "no lesion was read by two locked readers", limit
        )
    return _at_most(
        "arbitrated_share",
        site,
        max(shares),
        limit,
        "share of lesion-visits that an arbiter settled; above the limit train the readers",
    )


def judge_leakage(
    tables: Tables, cohort: pl.DataFrame, seen: Mapping[str, Sequence[Course]], study: Study
) -> list[GateVerdict]:
    """Four rules against label leakage.

    1. patient_at_two_sites: no pseudonym at two sites
    2. images_under_two_pseudonyms: no scan of two patients that are trained on has the same pixels
    3. label_after_task, for each task: every label is based on a visit after the task's
    4. decided_by_task, for each task: nobody whose response was known by the task's visit; a
       warning where the protocol keeps them
    """
    twice = (
        tables["patients"]
        .group_by("patient")
        .agg(pl.col("site").n_unique())
        .filter(pl.col("site") > 1)
        .height
    )
    return [
        _at_most(
            "patient_at_two_sites",
            "cohort",
            twice,
            0,
            f"{twice} pseudonyms occur at more than one site",
        ),
        _judge_images(tables["scans"], cohort),
        *(
            verdict
            for task, found in seen.items()
            for verdict in _judge_task(
                found, cohort.filter(pl.col("included"), task=task), task, study
            )
        ),
    ]


def _judge_task(
    found: Sequence[Course], included: pl.DataFrame, task: str, study: Study
) -> list[GateVerdict]:
    known = {c.patient: c for c in found}
    trained_on = [known[p] for p in included.select("site", "patient").iter_rows() if p in known]
    unlabelled = included.height - sum(c.label is not None for c in trained_on)
    return [
        _at_most(
            "label_after_task",
            task,
            unlabelled,
            0,
            f"{unlabelled} labels are based on no visit after {task}",
        ),
        _judge_decided(trained_on, task, study.section("model")["early_outcome_policy"]),
    ]


def _judge_images(scans: pl.DataFrame, cohort: pl.DataFrame) -> GateVerdict:
    own = (
        scans.join(cohort.filter(pl.col("included")), on=["site", "patient"], how="semi")
        .select("site", "patient", "pixel_digest")
        .unique()
    )
    shared = (
        own.filter(pl.col("pixel_digest").is_duplicated()).select("site", "patient").unique().height
    )
    return _at_most(
        "images_under_two_pseudonyms",
        "cohort",
        shared,
        0,
        f"{shared} patients share a scan's pixels with another patient",
    )


def _judge_decided(included: Sequence[Course], task: str, policy: str) -> GateVerdict:
    forbidden = {
        "exclude": ("progressed", "responded"),
        "exclude_progressed": ("progressed",),
        "keep": (),
    }[policy]
    decided = [c.decided for c in included if c.decided]
    against = sum(d in forbidden for d in decided)
    verdict: Decision = "warn" if decided else "pass"
    if against:
        verdict = "fail"
    return GateVerdict(
        "decided_by_task",
        task,
        "cohort",
        len(decided),
        0,
        verdict,
        f"{len(decided)} patients were progressed or responding by {task} (protocol: {policy})",
    )


def judge_size(cohort: pl.DataFrame, study: Study) -> list[GateVerdict]:
    """Three rules for the primary task: patients trained on, and patients of each class."""
    rules, labels = study.section("gate"), cohort.filter(pl.col("included"))["label"].to_list()
    counts = {
        "minimum_patients": (len(labels), rules["minimum_patients"]),
        "minimum_responders": (labels.count(True), rules["minimum_per_class"]),
        "minimum_non_responders": (labels.count(False), rules["minimum_per_class"]),
    }
    return [
        _at_least(rule, "cohort", n, limit, f"{n} patients, {limit} required")
        for rule, (n, limit) in counts.items()
    ]


def count_row_rules(cohort: pl.DataFrame) -> list[GateVerdict]:
    """One verdict per row rule: how many patients it leaves out; it warns, and closes nothing."""
    reasons = [str(r) for r in cohort["exclusion"].to_list() if r is not None]
    counts = {rule: sum(r.startswith(rule) for r in reasons) for rule in ROW_RULES}
    return [
        GateVerdict(
            rule, "cohort", "row", n, None, "warn" if n else "pass", f"{n} patients left out"
        )
        for rule, n in counts.items()
    ]
