"""The one accepted read of each patient, which everything after uses.

It is endorsed, agreed, single, or provisional while a case is open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import LESIONS

Row = Mapping[str, Any]
Patient = tuple[str, str]


def derive_lesions(
    reads: pl.DataFrame, arbitrations: pl.DataFrame, rules: Mapping[str, Any]
) -> pl.DataFrame:
    """LESIONS: the accepted whole read of every patient.

    Nothing is averaged and no two readers are mixed.

    1. Only locked reads count. What was found among the site's images (`site_reader`) has no lock;
       it counts where no reader has locked a read of the patient.
    2. One reader: that read, `single_reader`.
    3. A settled case: the read that the arbiter endorsed, `arbitration`.
    4. An open case: the primary reader's read, `provisional`.
    5. Else the two agree: the primary reader's read, `agreement`. Primary is the
       `primary_reader`-th reader by name.

    Parameters
    ----------
    reads, arbitrations
        The tables of those names.
    rules
        Section `reads` of study.toml.
    """
    cases = {(row["site"], row["patient"]): row for row in arbitrations.iter_rows(named=True)}
    rows = []
    for patient, own in sorted(_usable(reads.iter_rows(named=True), rules["site_reader"]).items()):
        readers = sorted({row["reader"] for row in own})
        accepted, because = _accepted(readers, cases.get(patient), rules["primary_reader"])
        n_readers = _count_readers(own)
        rows += [
            {
                **row,
                "acceptance_basis": because,
                "n_readers": n_readers[row["visit"], row["lesion"]],
            }
            for row in own
            if row["reader"] == accepted
        ]
    schema = polars_schema(LESIONS)
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _usable(reads: Iterable[Row], site_reader: str) -> dict[Patient, list[Row]]:
    locked: dict[Patient, list[Row]] = defaultdict(list)
    of_site: dict[Patient, list[Row]] = defaultdict(list)
    for row in reads:
        patient = (row["site"], row["patient"])
        if row["reader"] == site_reader:
            of_site[patient].append(row)
        elif row["locked_at"] is not None:
            locked[patient].append(row)
    return {**of_site, **locked}


def _accepted(readers: list[str], case: Row | None, primary: int) -> tuple[str, str]:
    if len(readers) == 1:
        return readers[0], "single_reader"
    if case is not None and case["accepted_reader"] in readers:
        return case["accepted_reader"], "arbitration"
    two = sorted({case["reader_a"], case["reader_b"]} & set(readers)) if case else readers
    chosen = (two or readers)[min(primary, len(two or readers)) - 1]
    return chosen, "provisional" if case is not None else "agreement"


def _count_readers(rows: Iterable[Row]) -> dict[tuple[str, str], int]:
    readers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        readers[row["visit"], row["lesion"]].add(row["reader"])
    return {key: len(names) for key, names in readers.items()}
