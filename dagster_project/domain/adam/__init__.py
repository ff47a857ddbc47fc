"""ADSL, ADRS, ADTR and ADTTE: responses, diameters and survival times in admiral's form."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from dagster_project.domain.adam.responses import derive_adrs
from dagster_project.domain.adam.subjects import Tables, derive_adsl, subjects_of
from dagster_project.domain.adam.times import derive_adtte
from dagster_project.domain.adam.tumours import derive_adtr
from dagster_project.domain.adam.variables import DATASETS, Dataset, Variable
from dagster_project.domain.response.findings import Rules

__all__ = ["DATASETS", "SOURCES", "Dataset", "Variable", "derive_adam"]

SOURCES = ("patients", "treatments", "follow_up", "timepoints", "lesions", "responses")
"""Tables of the lake that the datasets are derived from."""


def derive_adam(
    tables: Tables, *, study: str, endpoints: Rules, recist: Rules
) -> Mapping[str, pl.DataFrame]:
    """Derive every dataset, by name.

    Parameters
    ----------
    tables : Mapping
        The tables of `SOURCES`. Their dates are shifted, a patient's all alike; so are those of the
        datasets.
    study : str
        STUDYID.
    endpoints, recist : Mapping
        Those sections of the protocol.
    """
    subjects = subjects_of(tables, study)
    adrs = derive_adrs(subjects, tables["responses"], recist)
    adtr = derive_adtr(subjects, tables["lesions"], tables["timepoints"], recist)
    return {
        "ADSL": derive_adsl(subjects),
        "ADRS": adrs,
        "ADTR": adtr,
        "ADTTE": derive_adtte(subjects, adrs, endpoints),
    }
