"""The features that changes are derived from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.lake.tables import RADIOMIC_FEATURES

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse


def accepted_features(lakehouse: Lakehouse) -> pl.DataFrame:
    """Features of the accepted reads alone."""
    names = ", ".join(f'f."{n}"' for n in RADIOMIC_FEATURES.names)
    return lakehouse.lake.query(
        f"SELECT {names} FROM radiomic_features f JOIN lesions l USING (site, patient, visit, lesion) WHERE f.reader = l.reader").pl()
