"""k-anonymity of the patients by their quasi-identifiers, in the lake and as published."""

from __future__ import annotations

import polars as pl

from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DISCLOSURE, PATIENTS

QUASI_IDENTIFIERS = ("site", "sex", "age_years", "stage", "histology")
"""Columns of patients that somebody who knows a patient may know.

None identifies anybody alone, together they may.
"""

SETS = (
    *((name,) for name in QUASI_IDENTIFIERS),
    *(QUASI_IDENTIFIERS[:n] for n in range(2, len(QUASI_IDENTIFIERS) + 1)),
    QUASI_IDENTIFIERS[1:],
)
"""Sets that are counted: each column by itself, one more at a time, and all but the site."""

SMALL = 5
"""Patients; a class of fewer is called small, as statistical offices do for tables of counts."""


def derive_disclosure(patients: pl.DataFrame, published: Minimisation) -> pl.DataFrame:
    """DISCLOSURE: for each set of columns, the classes of patients with the same values.

    1. A missing value is a value of its own: who lacks it is recognisable by that (sdcMicro lets it
       match every other one).
    2. k is the size of the smallest class; who is alone in a class is unique.
    3. Each set is counted on the values of the lake, and on those that are published.

    Parameters
    ----------
    patients
        The table of that name.
    published
        What a publication leaves out.
    """
    forms = {"lake": patients, "published": published.frame(PATIENTS.name, patients)}
    rows = [
        _row(form, frame, names) for form, frame in forms.items() if frame.height for names in SETS
    ]
    return pl.DataFrame(rows, schema=polars_schema(DISCLOSURE))


def _row(form: str, patients: pl.DataFrame, names: tuple[str, ...]) -> dict[str, object]:
    sizes = patients.group_by(names).len()["len"]
    return {
        "form": form,
        "variables": "+".join(names),
        "n_patients": patients.height,
        "n_classes": sizes.len(),
        "k": sizes.min(),
        "n_unique": (sizes == 1).sum(),
        "n_in_small_classes": sizes.filter(sizes < SMALL).sum(),
        "simulated": bool(patients["simulated"].any()),
    }
