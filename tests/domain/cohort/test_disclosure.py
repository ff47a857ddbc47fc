"""k-anonymity of the patients by their quasi-identifiers."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.domain.cohort.disclosure import SETS, derive_disclosure
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DISCLOSURE

SCHEMA = {
    "site": pl.String,
    "patient": pl.String,
    "sex": pl.String,
    "age_years": pl.Int32,
    "stage": pl.String,
    "histology": pl.String,
    "simulated": pl.Boolean,
}
ALL = "site+sex+age_years+stage+histology"


def patients(*rows):
    """Site, sex, age, stage and histology of each."""
    return pl.DataFrame(
        [(r[0], f"p{i}", *r[1:], False) for i, r in enumerate(rows)], schema=SCHEMA, orient="row"
    )


def found(rows, minimised=AS_IN_THE_LAKE, form="lake", variables=ALL):
    table = derive_disclosure(rows, minimised)
    assert table.schema == polars_schema(DISCLOSURE)
    return table.filter(form=form, variables=variables).row(0, named=True)


TWINS = ("AA", "F", 62, "IVA", "adenocarcinoma")


@pytest.mark.parametrize(
    ("rows", "k", "unique", "classes", "small"),
    [
        ([TWINS], 1, 1, 1, 1),
        ([TWINS] * 2, 2, 0, 1, 2),
        ([TWINS] * 5, 5, 0, 1, 0),
        ([TWINS] * 6 + [("AA", "F", 63, "IVA", "adenocarcinoma")], 1, 1, 2, 1),
        ([TWINS] * 2 + [("BB", *TWINS[1:])] * 3, 2, 0, 2, 5),
    ],
)
def test_k_is_the_smallest_class_and_who_is_alone_is_unique(rows, k, unique, classes, small):
    row = found(patients(*rows))
    assert (row["k"], row["n_unique"], row["n_classes"], row["n_in_small_classes"]) == (
        k,
        unique,
        classes,
        small,
    )
    assert row["n_patients"] == len(rows)


def test_who_lacks_a_value_stands_out_by_that():
    """sdcMicro counts a missing value as equal to every other (its issues 225 and 363).

    By that rule k would be 3 here, for a file that singles one patient out.
    """
    row = found(patients(TWINS, TWINS, ("AA", "F", None, "IVA", "adenocarcinoma")))
    assert (row["k"], row["n_unique"]) == (1, 1)


def test_bands_and_suppressed_columns_raise_k():
    rows = patients(
        ("AA", "F", 60, "IVA", "adenocarcinoma"), ("AA", "F", 64, "IVB", "adenocarcinoma")
    )
    small = Minimisation(5, frozenset({"patients.stage"}))
    assert found(rows, small)["k"] == 1
    assert found(rows, small, "published")["k"] == 2
    assert found(rows, Minimisation(5), "published")["k"] == 1


def test_every_set_is_counted_in_both_forms():
    table = derive_disclosure(patients(TWINS), AS_IN_THE_LAKE)
    assert table.height == 2 * len(SETS)
    assert table.select(DISCLOSURE.key).is_unique().all()
    assert {
        ALL,
        "site",
        "sex",
        "age_years",
        "stage",
        "histology",
        "sex+age_years+stage+histology",
    } <= set(table["variables"])


def test_without_patients_there_is_nothing_to_count():
    assert derive_disclosure(patients(), AS_IN_THE_LAKE).is_empty()


def test_order_and_copies_of_rows_change_nothing():
    """Classes are of values: a reader that sorts differently counts the same."""
    rows = [TWINS, ("BB", "M", 71, "III", "other"), TWINS]
    assert derive_disclosure(patients(*rows), AS_IN_THE_LAKE).equals(
        derive_disclosure(patients(*reversed(rows)), AS_IN_THE_LAKE)
    )
