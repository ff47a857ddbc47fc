"""Which patients a third person has to decide, and which decisions count.

Discordance is settled by endorsing one whole read.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import polars as pl

from dagster_project.domain.reading.agreement import decided_early, why_no_arbiter
from dagster_project.domain.reading.blinded_names import lesion_names
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import ARBITRATIONS, QUARANTINE

Row = Mapping[str, Any]
Patient = tuple[str, str]

BEST_FIRST = ("CR", "PR", "SD", "NON_CR_NON_PD", "PD", "NE", "NED")
"""Order in which the best overall response is sought.

Confirmation and minimum duration do not matter for a trigger.
"""


@dataclass(frozen=True)
class Case:
    """A patient whose two reads differ."""

    patient: Patient
    readers: tuple[str, str]
    triggers: tuple[str, ...]
    n_lesion_visits: int
    simulated: bool
    locked_at: dt.datetime | None = None
    all_readers: frozenset[str] = frozenset()


def derive_arbitrations(
    pairs: pl.DataFrame,
    agreement: pl.DataFrame,
    reader_responses: pl.DataFrame,
    decisions: pl.DataFrame,
    rules: Mapping[str, Any],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """ARBITRATIONS, one row per patient whose reads differ, and the refused decisions.

    The refused decisions, which do not count, are rows of QUARANTINE.

    A case is a patient; triggers (RULES C, named with visit and lesion, never with a reader, so
    that the list stays blinded):

    1. `response`: the overall response differs at a visit that both readers graded.
    2. `progression_date`: the first visit with PD differs, or only one reader has one.
    3. `best_response`: the best overall response up to the first PD differs.
    4. `new_lesion`: only one reader has a new lesion at a visit.
    5. `target_sum`: the sums of target diameters differ by more than the larger of
       `sum_difference_mm` and `sum_difference_ratio` of their mean.
    6. `dice`: the Dice of a lesion's two masks is below `dice_arbitrate`.

    A decision settles a case where the endorsed reader is one of the two, the arbiter is named and
    has read nothing of the patient, and both reads of every visit that a trigger names were locked
    when it was made; the latest of several valid ones counts, those before it stay on record as
    superseded. Every other decision is refused, and the case stays open.

    Parameters
    ----------
    pairs
        From `derive_pairs`.
    agreement
        From `derive_reader_agreement`: its rows of single lesions hold the Dice.
    reader_responses
        RESPONSES of each reader (evaluator = reader).
    decisions
        case_report/arbitrations of all sites.
    rules
        Section `agreement` of study.toml.
    """
    cases = find_cases(pairs, agreement, reader_responses, rules)
    refused: list[dict[str, Any]] = []
    valid: dict[Patient, Row] = {}
    for decision in sorted(
        decisions.iter_rows(named=True),
        key=lambda d: (d["site"], str(d["decided_at"] or ""), d["row_number"]),
    ):
        patient = (decision["site"], decision["patient"])
        reason = _why_invalid(decision, cases.get(patient))
        if reason is None and patient in valid:
            refused.append(
                _refusal(
                    valid[patient],
                    "superseded by a later decision on the same case; "
                    "remove the row that does not hold",
                )
            )
        if reason is None:
            valid[patient] = decision
        else:
            refused.append(_refusal(decision, reason))
    rows = [_row(case, valid.get(patient)) for patient, case in cases.items()]
    return pl.DataFrame(rows, schema=polars_schema(ARBITRATIONS)), pl.DataFrame(
        refused, schema=polars_schema(QUARANTINE)
    )


def find_cases(
    pairs: pl.DataFrame,
    agreement: pl.DataFrame,
    reader_responses: pl.DataFrame,
    rules: Mapping[str, Any],
) -> dict[Patient, Case]:
    """Patients with at least one trigger, by site and patient."""
    readers, paired = _readers(pairs, reader_responses), _grouped(pairs.iter_rows(named=True))
    lesions = _grouped(agreement.filter(scope="lesion").iter_rows(named=True))
    responses = _grouped(reader_responses.iter_rows(named=True))
    cases = {}
    for patient in sorted(readers):
        own, pairs_of = lesions.get(patient, []), paired.get(patient, [])
        everybody = {
            *readers[patient],
            *(r["evaluator"] for r in responses.get(patient, [])),
            *chain.from_iterable(p["readers"] for p in pairs_of),
        }
        names = lesion_names(patient[1], {r["lesion"] for r in own}, everybody)
        compared = _two_reads(responses.get(patient, []), readers[patient])
        triggers = _response_triggers(compared, rules)
        triggers += _dice_triggers(own, names, rules["dice_arbitrate"])
        if triggers:
            simulated = any(r["simulated"] for r in [*own, *responses.get(patient, [])])
            cases[patient] = Case(
                patient,
                readers[patient],
                tuple(triggers),
                max(1, len(own)),
                simulated,
                _locked_at(pairs_of, triggers),
                frozenset(everybody),
            )
    return cases


def _locked_at(pairs: Sequence[Row], triggers: Sequence[str]) -> dt.datetime | None:
    """When both reads of every visit that a trigger names were locked.

    A visit that is read after a decision is decided anew where it differs.
    """
    written = [trigger.split() for trigger in triggers]
    visits = {words[1] for words in written if len(words) > 1}
    return max((p["locked_at"] for p in pairs if p["visit"] in visits or not visits), default=None)


def _readers(pairs: pl.DataFrame, reader_responses: pl.DataFrame) -> dict[Patient, tuple[str, str]]:
    """The two readers of each patient.

    They are the first two by name where they have no lesion in common.
    """
    evaluators: dict[Patient, set[str]] = defaultdict(set)
    for row in reader_responses.iter_rows(named=True):
        evaluators[row["site"], row["patient"]].add(row["evaluator"])
    apart = {patient: sorted(names) for patient, names in evaluators.items() if len(names) > 1}
    shared = {
        (p["site"], p["patient"]): (p["reader_a"], p["reader_b"])
        for p in pairs.iter_rows(named=True)
    }
    return {patient: (names[0], names[1]) for patient, names in apart.items()} | shared


def _grouped(rows: Iterable[Row]) -> dict[Patient, list[Row]]:
    grouped: dict[Patient, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["site"], row["patient"]].append(row)
    return grouped


Reads = tuple[dict[str, Row], dict[str, Row]]


def _two_reads(responses: Iterable[Row], readers: tuple[str, str]) -> Reads:
    """Responses of the two readers by visit, in order, for the visits that both graded."""
    ordered = sorted(
        responses, key=lambda r: (r["scan_date"] is None, str(r["scan_date"]), r["visit"])
    )
    first, second = (
        {r["visit"]: r for r in ordered if r["evaluator"] == reader} for reader in readers
    )
    return {v: r for v, r in first.items() if v in second}, {
        v: second[v] for v in first if v in second
    }


def _response_triggers(reads: Reads, rules: Mapping[str, Any]) -> list[str]:
    a, b = reads
    by_visit = {
        "response": lambda v: a[v]["overall_response"] != b[v]["overall_response"],
        "new_lesion": lambda v: a[v]["new_lesion"] != b[v]["new_lesion"],
        "target_sum": lambda v: _sums_differ(a[v]["sum_mm"], b[v]["sum_mm"], rules),
    }
    found = {
        name: [f"{name} {visit}" for visit in a if differ(visit)]
        for name, differ in by_visit.items()
    }
    dates = ["progression_date"] if _first_progression(a) != _first_progression(b) else []
    best = ["best_response"] if _best_response(a) != _best_response(b) else []
    return found["response"] + dates + best + found["new_lesion"] + found["target_sum"]


def _first_progression(read: Mapping[str, Row]) -> str | None:
    return next((visit for visit, row in read.items() if row["overall_response"] == "PD"), None)


def _best_response(read: Mapping[str, Row]) -> str | None:
    seen = [row["overall_response"] for row in read.values()]
    until = seen[: seen.index("PD") + 1] if "PD" in seen else seen
    return min(until, key=BEST_FIRST.index, default=None)


def _sums_differ(a: float | None, b: float | None, rules: Mapping[str, Any]) -> bool:
    if a is None or b is None:
        return False
    return abs(a - b) > max(rules["sum_difference_mm"], rules["sum_difference_ratio"] * (a + b) / 2)


def _dice_triggers(lesions: Sequence[Row], names: Mapping[str, str], limit: float) -> list[str]:
    return [
        f"dice {r['visit']} {names[r['lesion']]}"
        for r in lesions
        if r["dice_minimum"] is not None and r["dice_minimum"] < limit
    ]


NOT_NAMED = "column arbiter is empty; name the arbiter, the case stays open"
A_READER = (
    "column arbiter names a reader of the patient; a third person has to decide, "
    "the case stays open"
)


def _why_invalid(decision: Row, case: Case | None) -> str | None:
    if case is None:
        return "decides a patient without an open case; check the patient, nothing was changed"
    if decision["accepted_reader"] not in case.readers:
        return (
            "column accepted_reader names neither of the two readers of the case; "
            "endorse one of them, the case stays open"
        )
    if why_no_arbiter(decision["arbiter"], case.all_readers):
        return NOT_NAMED if not decision["arbiter"] else A_READER
    if decided_early(decision, case.locked_at):
        return (
            "column decided_at lies before the lock of a read of the case; "
            "look at both reads and decide again, the case stays open"
        )
    return None


def mask_readers(site: str, patient: str, readers: Sequence[str]) -> dict[str, str]:
    """Readers of a case behind the letters A and B.

    So an arbiter learns from no case whose read the next one shows.

    Which of the two is A changes from case to case and stays within one: it follows from a digest
    of the case's name.

    >>> sorted(mask_readers("AA", "P1", ["R2", "R1"]).values())
    ['R1', 'R2']
    """
    turned = hashlib.sha256(f"{site}/{patient}".encode()).digest()[0] % 2 == 1
    return dict(zip("AB", sorted(readers, reverse=turned), strict=True))


def _refusal(decision: Row, reason: str) -> dict[str, Any]:
    item = f"{decision['patient']} arbitration row {decision['row_number']}"
    return {
        "site": decision["site"],
        "stage": "arbitrations",
        "item": item,
        "reason": reason,
        "simulated": decision["simulated"],
    }


def _row(case: Case, decision: Row | None) -> dict[str, Any]:
    settled = decision or {"accepted_reader": None, "arbiter": None, "decided_at": None}
    return {
        "site": case.patient[0],
        "patient": case.patient[1],
        "status": "settled" if decision else "open",
        "triggers": list(case.triggers),
        "n_lesion_visits": case.n_lesion_visits,
        "reader_a": case.readers[0],
        "reader_b": case.readers[1],
        "accepted_reader": settled["accepted_reader"],
        "arbiter": settled["arbiter"],
        "decided_at": settled["decided_at"],
        "simulated": case.simulated,
    }
