"""Names of lesions where readers have letters: none says whose outline it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import polars as pl

from dagster_project.study import digest_of

LESION = ["patient", "lesion"]


def with_blinded_lesions(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Tables whose lesions bear `lesion_names`.

    Parameters
    ----------
    tables
        `reads`, which says who the readers are, and others with `patient` and `lesion`.
    """
    known = pl.concat(frame.select(LESION) for frame in tables.values()).drop_nulls().unique()
    readers = dict(
        tables["reads"].group_by("patient").agg(pl.col("reader").unique().sort()).iter_rows()
    )
    rows = [
        (patient, lesion, name)
        for (patient,), own in known.group_by(["patient"])
        for lesion, name in lesion_names(
            str(patient), own["lesion"].to_list(), readers.get(patient, [])
        ).items()
    ]
    names = pl.DataFrame(rows, schema=dict.fromkeys([*LESION, "name"], pl.String()), orient="row")
    return {
        table: frame.join(names, on=LESION, how="left", maintain_order="left")
        .with_columns(lesion=pl.col("name"))
        .drop("name")
        for table, frame in tables.items()
    }


def lesion_names(
    patient: str, lesions: Collection[str], readers: Collection[str]
) -> dict[str, str]:
    """Names of a patient's lesions without a reader's code, and without a hint at one.

    A lesion that readers number alike and outlined elsewhere is called `L5` for the reader who is
    first by name and `L5 (R2)` for the other. Both are renamed, in an order that follows from a
    digest: that one of two names is odd would say whose it is.

    Returns
    -------
    dict
        By name in the lake.

    >>> names = lesion_names("P1", ["L1", "L5", "L5 (R2)", "L7 (R2)"], ["R1", "R2"])
    >>> names["L1"], sorted([names["L5"], names["L5 (R2)"]]), names["L7 (R2)"]
    ('L1', ['L5-1', 'L5-2'], 'L7')
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for lesion in sorted(set(lesions)):
        suffix = next((f" ({r})" for r in readers if lesion.endswith(f" ({r})")), "")
        alike[lesion.removesuffix(suffix)].append(lesion)
    found: dict[str, str] = {}
    for name, group in alike.items():
        drawn = sorted(group, key=lambda lesion: digest_of([patient, lesion]))
        dash = _free_dash(name, len(drawn), {*alike, *found.values()})
        for place, lesion in enumerate(drawn, 1):
            found[lesion] = name if len(group) == 1 else f"{name}{dash}{place}"
    return found


def _free_dash(name: str, count: int, taken: Collection[str]) -> str:
    """As many dashes as make names that no lesion has."""
    dash = "-"
    while any(f"{name}{dash}{place}" in taken for place in range(1, count + 1)):
        dash += "-"
    return dash
