"""Further figures on two readers, beside those of the gate.

Every form of ICC, bounds clustered by patient, masks' distances, categories, and how the readers do
over time.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dagster_project.domain.reading.agreement import MEASUREMENTS
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import READER_FIGURES
from dagster_project.statistics.agreement import bland_altman, weighted_kappa
from dagster_project.statistics.bootstrap import bootstrap_groups
from dagster_project.statistics.icc import IDENTICAL, NO_ERROR, NO_SPREAD, Form, icc
from dagster_project.statistics.icc_by_patient import icc_by_patient

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
Patient = tuple[str, str]
Figure = dict[str, Any]

FORMS: tuple[Form, ...] = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")

RESPONSES = ("CR", "PR", "SD", "PD")
"""Response categories in order.

What is none of them (NE, NED, non-target disease alone) is left out of kappa.
"""

DISTANCES = ("surface_dice", "hd95_mm", "mean_surface_distance_mm")
"""What `domain.imaging.masks.surface_distances` gives of a pair of masks."""


@dataclass(frozen=True)
class Rules:
    """Limits of the protocol that figures are judged by."""

    minimum: int
    draws: int
    seed: int

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Rules:
        """From the section `agreement` of study.toml."""
        return cls(section["pairs_minimum"], section["bootstrap_draws"], section["seed"])


def derive_reader_figures(
    pairs: pl.DataFrame,
    distances: Mapping[tuple[str, str], Mapping[str, float]],
    responses: pl.DataFrame,
    arbitrations: pl.DataFrame,
    section: Mapping[str, Any],
) -> pl.DataFrame:
    """READER_FIGURES: one row per figure.

    Each has its n, its bounds where it has any, and a verdict that is never a pass.

    1. by site, by visit and for the cohort, for each measurement: the six forms of ICC over pairs,
       all bounds clustered by patient; ICC(2,1) again with the number of patients; and the
       difference in percent (Bland & Altman) with its limits
    2. `sum_change_mm`: the same forms for the change of the sum of diameters from baseline, by
       patient and visit
    3. `response`: Cohen's kappa with linear weights over CR, PR, SD, PD
    4. of each pair of masks, and the median over each scope: surface Dice, 95 % Hausdorff distance,
       mean surface distance
    5. monitoring: adjudication_rate (cases over patients read twice), disagreement_index of each
       reader (cases in which the arbiter endorsed the other, over patients read), drift (difference
       from the other reader in percent) by reader and month of the lock

    Parameters
    ----------
    pairs
        From `domain.reading.agreement.derive_pairs`.
    distances
        Figures `DISTANCES` by the two masks' digests.
    responses
        The table of that name, of the readers.
    arbitrations
        The table of that name.
    section
        Section `agreement` of study.toml.
    """
    rules, every = Rules.of(section), list(pairs.iter_rows(named=True))
    changes = _pair_responses(every, responses)
    rows = [figure for scope, own in _scopes(every) for figure in _measured(scope, own, rules)]
    rows += [figure for scope, own in _scopes(changes) for figure in _changed(scope, own, rules)]
    rows += _distances(every, distances, rules)
    rows += _monitored(every, arbitrations)
    return pl.DataFrame([_completed(row) for row in rows], schema=polars_schema(READER_FIGURES))


def _completed(row: Figure) -> Figure:
    given = {"value": None, "lower": None, "upper": None, "reason": None, "verdict": "given", **row}
    return {
        **dict.fromkeys(
            ("site", "patient", "visit", "lesion", "reader", "month", "measurement"), "*"
        ),
        **given,
    }


Scope = tuple[dict[str, str], Sequence[Row]]


def _scopes(rows: Sequence[Row]) -> list[Scope]:
    """The rows of every site, of every visit, and all."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for name in ("site", "visit"):
            found[name, row[name]].append(row)
    scopes: list[Scope] = [
        ({"scope": name, name: value}, own) for (name, value), own in sorted(found.items())
    ]
    return [*scopes, ({"scope": "cohort"}, rows)] if rows else []


def _measured(scope: Mapping[str, str], own: Sequence[Row], rules: Rules) -> list[Figure]:
    rows = []
    for measurement in MEASUREMENTS:
        asked = [
            p
            for p in own
            if (p["is_lymph_node"] or measurement != "short_axis_mm")
            and p[f"{measurement}_a"] is not None
            and p[f"{measurement}_b"] is not None
        ]
        values = np.array(
            [[p[f"{measurement}_a"], p[f"{measurement}_b"]] for p in asked], dtype=float
        ).reshape(-1, 2)
        common = {
            **scope,
            "measurement": measurement,
            "simulated": any(p["simulated"] for p in asked),
        }
        if asked:
            rows += [
                {**common, **figure} for figure in _agreement_of(values, _patients(asked), rules)
            ]
            rows.append({**common, **_in_percent(values)})
    return rows


def _patients(rows: Iterable[Row]) -> list[Patient]:
    return [(row["site"], row["patient"]) for row in rows]


def _agreement_of(values: Floats, patients: Sequence[Patient], rules: Rules) -> list[Figure]:
    rows = [_form(values, patients, form, rules) for form in FORMS]
    found = icc_by_patient(values, patients)
    return [
        *rows,
        {
            "statistic": "ICC(2,1) by patient",
            "n": len(set(patients)),
            "value": found.value,
            "lower": found.lower,
            "upper": found.upper,
            "reason": found.reason,
            "verdict": rows[1]["verdict"] if found.reason is None else "not_defined",
        },
    ]


def _form(values: Floats, patients: Sequence[Patient], form: Form, rules: Rules) -> Figure:
    """A form over all pairs; its bounds are clustered by patient."""
    found, bounds = icc(values, form), icc_by_patient(values, patients, form)
    verdict = _verdict(len(values), found.reason, rules)
    unbounded = found.reason is None and bounds.lower is None
    return {
        "statistic": form,
        "n": len(values),
        "value": found.value,
        "lower": bounds.lower,
        "upper": bounds.upper,
        "reason": found.reason or bounds.reason,
        "verdict": "no_bounds" if unbounded and verdict == "given" else verdict,
    }


def _verdict(n: int, reason: str | None, rules: Rules) -> str:
    """Why a figure may not be leant on, by name."""
    named = {NO_SPREAD: "no_variance", IDENTICAL: "identical", NO_ERROR: "no_bounds"}
    if reason:
        return named.get(reason, "not_defined")
    return "too_few" if n < rules.minimum else "given"


def _in_percent(values: Floats) -> Figure:
    """Difference of the readers in percent of their mean; two absent lesions differ by nothing."""
    mean = values.mean(axis=1)
    share = np.divide(values[:, 1] - values[:, 0], mean, out=np.zeros(len(values)), where=mean > 0)
    bias, low, high = bland_altman(np.column_stack([np.zeros(len(values)), 100 * share]))
    return {
        "statistic": "difference_percent",
        "n": len(values),
        "value": bias,
        "lower": low,
        "upper": high,
        "verdict": "given" if low is not None else "too_few",
    }


def _pair_responses(pairs: Iterable[Row], responses: pl.DataFrame) -> list[Figure]:
    """Both readers' responses of each patient and visit after baseline."""
    readers = {(p["site"], p["patient"]): (p["reader_a"], p["reader_b"]) for p in pairs}
    graded = {
        (r["site"], r["patient"], r["visit"], r["evaluator"]): r
        for r in responses.iter_rows(named=True)
    }
    rows = []
    for site, patient, visit in sorted({key[:3] for key in graded}):
        a, b = (
            graded.get((site, patient, visit, reader))
            for reader in readers.get((site, patient), ("", ""))
        )
        if a and b and a["baseline_sum_mm"] is not None and b["baseline_sum_mm"] is not None:
            rows.append(
                {
                    "site": site,
                    "patient": patient,
                    "visit": visit,
                    "a": a,
                    "b": b,
                    "simulated": a["simulated"] or b["simulated"],
                }
            )
    return rows


def _changed(scope: Mapping[str, str], own: Sequence[Row], rules: Rules) -> list[Figure]:
    common = {**scope, "simulated": any(r["simulated"] for r in own)}
    summed = [r for r in own if r["a"]["sum_mm"] is not None and r["b"]["sum_mm"] is not None]
    values = np.array(
        [[r[s]["sum_mm"] - r[s]["baseline_sum_mm"] for s in "ab"] for r in summed], dtype=float
    ).reshape(-1, 2)
    rows = (
        [
            {**common, "measurement": "sum_change_mm", **figure}
            for figure in _agreement_of(values, _patients(summed), rules)
        ]
        if summed
        else []
    )
    graded = [
        r for r in own if {r["a"]["overall_response"], r["b"]["overall_response"]} <= set(RESPONSES)
    ]
    return [*rows, {**common, "measurement": "response", **_kappa_of(graded, rules)}]


def _kappa_of(graded: Sequence[Row], rules: Rules) -> Figure:
    codes = np.array(
        [[RESPONSES.index(r[s]["overall_response"]) for s in "ab"] for r in graded], dtype=np.int64
    ).reshape(-1, 2)
    value = weighted_kappa(codes[:, 0], codes[:, 1], len(RESPONSES))
    lower, upper = bootstrap_groups(
        lambda i: weighted_kappa(codes[i, 0], codes[i, 1], len(RESPONSES)),
        _patients(graded),
        draws=rules.draws,
        seed=rules.seed,
    )
    reason = (
        None
        if value is not None
        else (
            "both readers gave every visit one and the same response, or none was graded: "
            "chance explains all"
        )
    )
    verdict = "too_few" if len(codes) < rules.minimum else "given"
    if reason:
        verdict = "no_variance"
    return {
        "statistic": "weighted_kappa",
        "n": len(codes),
        "value": value,
        "lower": lower,
        "upper": upper,
        "reason": reason,
        "verdict": verdict,
    }


def _distances(
    pairs: Sequence[Row], distances: Mapping[tuple[str, str], Mapping[str, float]], rules: Rules
) -> list[Figure]:
    """The distances of each pair of masks, and their medians over each scope."""
    compared = ((p, distances.get((p["mask_digest_a"], p["mask_digest_b"]))) for p in pairs)
    known = [{**p, **found} for p, found in compared if found]
    rows = []
    for name in DISTANCES:
        rows += [
            {
                "scope": "lesion",
                **{k: p[k] for k in ("site", "patient", "visit", "lesion", "simulated")},
                "measurement": "mask",
                "statistic": name,
                "n": 1,
                "value": p[name],
            }
            for p in known
        ]
        for scope, own in _scopes(known):
            rows.append(
                {
                    **scope,
                    "measurement": "mask",
                    "statistic": f"{name}_median",
                    "n": len(own),
                    "value": float(np.median([p[name] for p in own])),
                    "verdict": "too_few" if len(own) < rules.minimum else "given",
                    "simulated": any(p["simulated"] for p in own),
                }
            )
    return rows


def _monitored(pairs: Sequence[Row], arbitrations: pl.DataFrame) -> list[Figure]:
    cases = {(c["site"], c["patient"]): c for c in arbitrations.iter_rows(named=True)}
    read = {(p["site"], p["patient"]): p for p in pairs}
    return [*_adjudication_rates(read, cases), *_disagreement_indices(read, cases), *_drifts(pairs)]


def _adjudication_rates(read: Mapping[Patient, Row], cases: Mapping[Patient, Row]) -> list[Figure]:
    scopes = [(site, [p for p in read if p[0] == site]) for site in sorted({p[0] for p in read})]
    if read:
        scopes += [("*", list(read))]
    return [
        {
            "scope": "cohort" if site == "*" else "site",
            "site": site,
            "measurement": "case",
            "statistic": "adjudication_rate",
            "n": len(own),
            "value": sum(p in cases for p in own) / len(own),
            "simulated": any(read[p]["simulated"] for p in own),
        }
        for site, own in scopes
    ]


def _disagreement_indices(
    read: Mapping[Patient, Row], cases: Mapping[Patient, Row]
) -> list[Figure]:
    """Of each reader: cases in which the arbiter endorsed the other, over patients read."""
    read_by: dict[tuple[str, str], list[Patient]] = defaultdict(list)
    for patient, pair in read.items():
        for side in "ab":
            read_by[patient[0], pair[f"reader_{side}"]].append(patient)
    rows = []
    for (site, reader), own in sorted(read_by.items()):
        settled = [p for p in own if p in cases]
        against = [p for p in settled if cases[p]["accepted_reader"] not in {None, reader}]
        rows.append(
            {
                "scope": "reader",
                "site": site,
                "reader": reader,
                "measurement": "case",
                "statistic": "disagreement_index",
                "n": len(own),
                "value": len(against) / len(own),
                "simulated": any(read[p]["simulated"] for p in own),
            }
        )
    return rows


def _drifts(pairs: Iterable[Row]) -> list[Figure]:
    """Drift of each reader by month of the lock.

    The difference from the other reader's longest diameter in percent of their mean.

    Months count from the reader's first, 01: a month that is true beside dates that are shifted
    would tell of the shift.
    """
    pairs, found = list(pairs), defaultdict[tuple[str, str, str], list[tuple[float, bool]]](list)
    first = _first_months(pairs)
    for p in pairs:
        a, b = p["longest_diameter_mm_a"], p["longest_diameter_mm_b"]
        if a is not None and b is not None and a + b > 0:
            for side, sign in (("a", 1.0), ("b", -1.0)):
                reader = (p["site"], p[f"reader_{side}"])
                month = f"{_month(p) - first[reader] + 1:02d}"
                found[*reader, month].append((sign * 200 * (a - b) / (a + b), p["simulated"]))
    return [
        {
            "scope": "reader",
            "site": site,
            "reader": reader,
            "month": month,
            "measurement": "longest_diameter_mm",
            "statistic": "drift_percent",
            "n": len(own),
            "value": float(np.mean([d for d, _ in own])),
            "simulated": any(s for _, s in own),
        }
        for (site, reader, month), own in sorted(found.items())
    ]


def _first_months(pairs: Sequence[Row]) -> dict[tuple[str, str], int]:
    """The month of each reader's first lock."""
    first: dict[tuple[str, str], int] = {}
    for p in pairs:
        for side in "ab":
            reader = (p["site"], p[f"reader_{side}"])
            first[reader] = min(first.get(reader, _month(p)), _month(p))
    return first


def _month(pair: Row) -> int:
    locked: dt.datetime = pair["locked_at"]
    return 12 * locked.year + locked.month
