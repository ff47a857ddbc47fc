"""How well the two blinded readers agree: the figures that the gate needs.

Each figure has beside it what it leaves out.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import READER_AGREEMENT
from dagster_project.statistics.agreement import bland_altman
from dagster_project.statistics.icc import Form
from dagster_project.statistics.icc_by_patient import icc_by_patient

Row = Mapping[str, Any]
Patient = tuple[str, str]
DiceOf = Callable[[dict[str, Any], dict[str, Any]], float | None]

MEASUREMENTS = ("longest_diameter_mm", "short_axis_mm", "volume_mm3")
"""What is compared by ICC; masks are compared by Dice."""

PAIRS: Mapping[str, pl.DataType] = {
    **dict.fromkeys(("site", "patient", "visit", "lesion", "reader_a", "reader_b"), pl.String()),
    **dict.fromkeys(("is_lymph_node", "is_present_a", "is_present_b"), pl.Boolean()),
    **{f"{name}_{side}": pl.Float64() for name in MEASUREMENTS for side in "ab"},
    "dice": pl.Float64(),
    "dice_reason": pl.String(),
    "simulated": pl.Boolean(),
    "locked_at": pl.Datetime("us", "UTC"),
    "scan": pl.String(),
    "mask_digest_a": pl.String(),
    "mask_digest_b": pl.String(),
    "readers": pl.List(pl.String()),
}
"""Columns and types of the frame of pairs.

It has one row per lesion at one visit, read by two locked readers.

`readers` are all who have read anything of the patient, locked or not.
"""


def derive_pairs(
    reads: pl.DataFrame, dice_of: DiceOf | None = None, *, site_reader: str = "SITE"
) -> pl.DataFrame:
    """One row per lesion and visit that both readers of a patient read and locked; columns `PAIRS`.

    1. Only locked reads count, and not those found among the site's images (`site_reader`): nobody
       was blinded for them.
    2. The two readers of a patient are those who share the most lesion-visits, ties by name; reader
       a is the first by name.
    3. An absent lesion measures 0 (RECIST 1.1); where both readers call it absent nothing is
       compared.
    4. A diameter that a reader could not or did not measure leaves that measurement out of the
       pair.
    5. Dice: of the two masks on one scan. One reader's outline of a lesion that the other calls
       absent: 0. Both absent, no outline of a lesion that is there, or outlines on different
       series: NULL with the reason.

    Parameters
    ----------
    reads
        The table reads, of all sites.
    dice_of
        Gives the Dice of the masks of two rows of reads that both have one on the same scan.
        Without it nothing is compared: enough for `derive_arbitrations`, which takes the Dice from
        reader_agreement.
    """
    persons = reads.filter(pl.col("reader") != site_reader)
    readers = dict(_readers_by_patient(persons))
    locked = persons.filter(pl.col("locked_at").is_not_null())
    rows = []
    for patient, own in _by_patient(locked.iter_rows(named=True)).items():
        of_reader = {(r["reader"], r["visit"], r["lesion"]): r for r in own}
        for a, b in _two_readers(of_reader):
            shared = sorted(
                {key[1:] for key in of_reader if key[0] == a}
                & {key[1:] for key in of_reader if key[0] == b}
            )
            rows += [
                {
                    **_pair(patient, of_reader[a, *key], of_reader[b, *key], dice_of),
                    "readers": readers[patient],
                }
                for key in shared
            ]
    return pl.DataFrame(rows, schema=PAIRS)


def _readers_by_patient(reads: pl.DataFrame) -> Iterable[tuple[Patient, list[str]]]:
    grouped = reads.group_by("site", "patient").agg(pl.col("reader").unique().sort())
    return (((site, patient), readers) for site, patient, readers in grouped.iter_rows())


def why_no_arbiter(arbiter: str | None, readers: Collection[str]) -> str | None:
    """Why somebody may not decide on a patient; None where they may.

    1. nobody is named
    2. whoever is named has read something of the patient: one of the two readers, or any other

    >>> why_no_arbiter("R3", ["R1", "R2", "R3"])
    'a reader of the patient'
    >>> why_no_arbiter("A1", ["R1", "R2", "R3"]) is None
    True
    """
    if not arbiter:
        return "not named"
    return "a reader of the patient" if arbiter in readers else None


def _by_patient(rows: Iterable[Row]) -> dict[Patient, list[dict[str, Any]]]:
    grouped: dict[Patient, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        grouped[row["site"], row["patient"]].append(dict(row))
    return dict(sorted(grouped.items()))


def _two_readers(read: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """The pair of readers with the most lesion-visits in common, or none."""
    readers_of: dict[tuple[str, str], set[str]] = defaultdict(set)
    for reader, visit, lesion in read:
        readers_of[visit, lesion].add(reader)
    shared = Counter(
        pair for readers in readers_of.values() for pair in combinations(sorted(readers), 2)
    )
    return sorted(shared, key=lambda pair: (-shared[pair], pair))[:1]


def _pair(
    patient: Patient, a: dict[str, Any], b: dict[str, Any], dice_of: DiceOf | None
) -> dict[str, Any]:
    overlap, reason = _overlap(a, b, dice_of)
    return {
        "site": patient[0],
        "patient": patient[1],
        "visit": a["visit"],
        "lesion": a["lesion"],
        "reader_a": a["reader"],
        "reader_b": b["reader"],
        "is_lymph_node": a["is_lymph_node"] and b["is_lymph_node"],
        "is_present_a": a["is_present"],
        "is_present_b": b["is_present"],
        **{
            f"{name}_{side}": _measured(row, name, either=a["is_present"] or b["is_present"])
            for name in MEASUREMENTS
            for side, row in (("a", a), ("b", b))
        },
        "dice": overlap,
        "dice_reason": reason,
        "simulated": a["simulated"] or b["simulated"],
        "locked_at": max(a["locked_at"], b["locked_at"]),
        "scan": a["scan"] if a["scan"] == b["scan"] else None,
        "mask_digest_a": a["mask_digest"],
        "mask_digest_b": b["mask_digest"],
    }


def _measured(row: Row, name: str, *, either: bool) -> float | None:
    if row["is_present"]:
        return row[name]
    return 0.0 if either else None


def _overlap(
    a: dict[str, Any], b: dict[str, Any], dice_of: DiceOf | None
) -> tuple[float | None, str | None]:
    if not a["is_present"] and not b["is_present"]:
        return None, "agree_absent: both readers call the lesion absent"
    outlined = [row["mask_digest"] is not None for row in (a, b)]
    if a["is_present"] != b["is_present"] and any(outlined):
        return 0.0, None
    if not all(outlined):
        return None, "not_outlined: a reader measured by hand or not at all"
    if a["scan"] != b["scan"]:
        return None, "different_series: the readers outlined different series of the visit"
    return (dice_of(a, b), None) if dice_of else (None, "not_compared")


@dataclass(frozen=True)
class _Scope:
    """The pairs behind one row of the table.

    It has the row's subject, its own pairs, and the pairs that its two ICC are based on.
    """

    scope: str
    site: str
    visit: str
    own: Sequence[Row]
    raw: Sequence[Row]
    resolved: Sequence[Row]
    pooled_with: str | None = None
    note: str | None = None


def derive_reader_agreement(
    pairs: pl.DataFrame, decisions: pl.DataFrame, rules: Mapping[str, Any]
) -> pl.DataFrame:
    """READER_AGREEMENT: agreement by lesion and visit, by site, by visit and for the cohort.

    One row per lesion-visit has its Dice; one row per site, per visit and for the cohort has the
    figures of each measurement.

    1. A lesion-visit is arbitrated where an arbiter (`why_no_arbiter`) decided its patient's case
       for one of the two readers, after both had locked.
    2. `icc_raw` is over all pairs, `icc_resolved` over those that were settled without an arbiter.
       Every row has both, and `arbitrated_share`: leaving out what was discordant flatters. Bounds
       are clustered by patient (`icc_by_patient`).
    3. ICC(2,1) where the same two readers read all pairs of the row, else ICC(1,1), and the reason
       says so.
    4. A site with fewer than `pairs_minimum` resolved pairs is judged pooled with the other such
       sites, or with all sites where these are still too few. `n_resolved` and `icc_resolved` are
       then the pool's, `pooled_with` and `reason` say so. A pool that is still too small shows it
       by `n_resolved`. `n` and `icc_raw` are the pool's only where the site has fewer than
       `pairs_minimum` pairs in all: otherwise a reader whose pairs all went to the arbiter would be
       judged by other hospitals' readers. Everything else is the site's own.
    5. Bias and limits of agreement (Bland-Altman): second reader minus first, over the row's own
       pairs.
    6. A measurement without any pair has no row. One that cannot be computed is NULL with the
       reason: never a pass.

    Parameters
    ----------
    pairs
        From `derive_pairs`.
    decisions
        case_report/arbitrations of all sites.
    rules
        Section `agreement` of study.toml.
    """
    every = list(pairs.iter_rows(named=True))
    settled = _decided_patients(every, decisions)
    rows = [_lesion_row(pair, (pair["site"], pair["patient"]) in settled) for pair in every]
    for measurement in (*MEASUREMENTS, "mask"):
        compared = [pair for pair in every if _compared(pair, measurement)]
        rows += [
            _scope_row(scope, measurement, settled)
            for scope in _scopes(compared, settled, rules["pairs_minimum"])
        ]
    return pl.DataFrame(rows, schema=polars_schema(READER_AGREEMENT))


def _decided_patients(pairs: Iterable[Row], decisions: pl.DataFrame) -> set[Patient]:
    locked = lock_times(pairs)
    of_patient = {(p["site"], p["patient"]): p for p in pairs}
    found = set()
    for decision in decisions.iter_rows(named=True):
        patient = (decision["site"], decision["patient"])
        pair = of_patient.get(patient)
        if pair is None or decision["accepted_reader"] not in {pair["reader_a"], pair["reader_b"]}:
            continue
        barred = why_no_arbiter(decision["arbiter"], pair["readers"])
        if barred is None and not decided_early(decision, locked.get(patient)):
            found.add(patient)
    return found


def lock_times(pairs: Iterable[Row]) -> dict[Patient, dt.datetime]:
    """When the first pair of each patient was locked by both readers.

    Nobody may have looked at both reads before.
    """
    found: dict[Patient, dt.datetime] = {}
    for p in pairs:
        patient = (p["site"], p["patient"])
        found[patient] = min(found.get(patient, p["locked_at"]), p["locked_at"])
    return found


def decided_early(decision: Row, locked_at: dt.datetime | None) -> bool:
    """Whether a decision was made before that lock."""
    return (
        locked_at is not None
        and decision["decided_at"] is not None
        and decision["decided_at"] < locked_at
    )


def _compared(pair: Row, measurement: str) -> bool:
    if measurement == "mask":
        return pair["dice"] is not None
    if measurement == "short_axis_mm" and not pair["is_lymph_node"]:
        return False
    return pair[f"{measurement}_a"] is not None and pair[f"{measurement}_b"] is not None


def _scopes(compared: Sequence[Row], settled: set[Patient], minimum: int) -> list[_Scope]:
    if not compared:
        return []
    of_site, of_visit = (_grouped(compared, name) for name in ("site", "visit"))
    cohort = [_Scope("cohort", "*", "*", compared, compared, _resolved(compared, settled))]
    visits = [
        _Scope("visit", "*", visit, own, own, _resolved(own, settled))
        for visit, own in of_visit.items()
    ]
    return _site_scopes(of_site, settled, minimum) + visits + cohort


def _grouped(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[name]].append(row)
    return dict(sorted(grouped.items()))


def _site_scopes(
    of_site: Mapping[str, list[Row]], settled: set[Patient], minimum: int
) -> list[_Scope]:
    resolved = {site: _resolved(own, settled) for site, own in of_site.items()}
    small = [site for site, pairs in resolved.items() if len(pairs) < minimum]
    enough = sum(len(resolved[site]) for site in small) >= minimum
    pool = small if enough else list(of_site)
    scopes = [
        _Scope("site", site, "*", own, own, resolved[site])
        for site, own in of_site.items()
        if site not in small
    ]
    for site in small:
        own, others = of_site[site], [s for s in pool if s != site]
        note = (
            f"{len(resolved[site])} resolved pairs of its own, fewer than {minimum}: "
            f"judged together with {', '.join(others) or 'no other site, as there is none'}"
        )
        raw = own if len(own) >= minimum else [p for s in pool for p in of_site[s]]
        scopes.append(
            _Scope(
                "site",
                site,
                "*",
                own,
                raw,
                [p for s in pool for p in resolved[s]],
                ", ".join(others) or None,
                note,
            )
        )
    return scopes


def _resolved(pairs: Sequence[Row], settled: set[Patient]) -> list[Row]:
    return [p for p in pairs if (p["site"], p["patient"]) not in settled]


def _lesion_row(pair: Row, arbitrated: bool) -> dict[str, Any]:
    compared = pair["dice"] is not None
    return {
        "scope": "lesion",
        **{name: pair[name] for name in ("site", "patient", "visit", "lesion", "simulated")},
        "measurement": "mask",
        "n": int(compared),
        "n_resolved": int(compared and not arbitrated),
        "arbitrated_share": float(arbitrated),
        "dice_median": pair["dice"],
        "dice_minimum": pair["dice"],
        "reason": pair["dice_reason"],
    }


def _scope_row(scope: _Scope, measurement: str, settled: set[Patient]) -> dict[str, Any]:
    figures, reasons = (
        ({}, []) if measurement == "mask" else _icc_columns(scope.raw, scope.resolved, measurement)
    )
    overlaps = [p["dice"] for p in scope.own if p["dice"] is not None]
    return {
        "scope": scope.scope,
        "site": scope.site,
        "patient": "*",
        "visit": scope.visit,
        "lesion": "*",
        "measurement": measurement,
        "n": len(scope.raw),
        "n_resolved": len(scope.resolved),
        "arbitrated_share": 1 - len(_resolved(scope.own, settled)) / len(scope.own),
        **figures,
        **({} if measurement == "mask" else _bias_columns(scope.own, measurement)),
        "dice_median": float(np.median(overlaps)) if overlaps else None,
        "dice_minimum": min(overlaps, default=None),
        "pooled_with": scope.pooled_with,
        "reason": "; ".join(filter(None, [scope.note, *reasons])) or None,
        "simulated": any(p["simulated"] for p in (*scope.raw, *scope.resolved)),
    }


def _icc_columns(
    every: Sequence[Row], resolved: Sequence[Row], measurement: str
) -> tuple[dict[str, float | None], list[str]]:
    form: Form = (
        "ICC(2,1)"
        if len({(p["reader_a"], p["reader_b"]) for p in (*every, *resolved)}) == 1
        else "ICC(1,1)"
    )
    raw, rest = (
        icc_by_patient(_values(pairs, measurement), _patients(pairs), form)
        for pairs in (every, resolved)
    )
    columns = {
        "icc_raw": raw.value,
        "icc_raw_lower": raw.lower,
        "icc_raw_upper": raw.upper,
        "icc_resolved": rest.value,
        "icc_lower": rest.lower,
        "icc_upper": rest.upper,
    }
    reasons = (
        []
        if form == "ICC(2,1)"
        else ["ICC(1,1), since the two readers are not the same for all pairs"]
    )
    if raw.reason:
        reasons += [f"icc_raw: {raw.reason}"]
    return columns, reasons + ([f"icc_resolved: {rest.reason}"] if rest.reason else [])


def _patients(pairs: Sequence[Row]) -> list[Patient]:
    return [(p["site"], p["patient"]) for p in pairs]


def _values(pairs: Sequence[Row], measurement: str) -> np.ndarray:
    return np.array(
        [[p[f"{measurement}_a"], p[f"{measurement}_b"]] for p in pairs], dtype=np.float64
    ).reshape(-1, 2)


def _bias_columns(pairs: Sequence[Row], measurement: str) -> dict[str, float | None]:
    return dict(
        zip(
            ("bias", "loa_lower", "loa_upper"),
            bland_altman(_values(pairs, measurement)),
            strict=True,
        )
    )
