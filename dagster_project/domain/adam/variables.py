"""Variables of the analysis datasets: name, label and type of each, once.

Names and labels are those of pharmaverseadam 1.3.0 (adsl, adrs_onco, adtr_onco, adtte_onco), Apache
License 2.0, and
of ADaMIG 1.3 for NACTDT and AVALU, which it has not; SIMFL is this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

MOST_NAME, MOST_LABEL, MOST_TEXT = 8, 40, 200
"""Longest name, label and text of a SAS transport file of version 5, in bytes."""

TYPES: Mapping[str, Any] = {
    "text": pl.String,
    "integer": pl.Int64,
    "float": pl.Float64,
    "date": pl.Date,
}


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its name, its label in the datasets, and its type, a key of `TYPES`."""

    name: str
    label: str
    type: str = "text"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: its name, label, the variables that identify a record, and all in their order."""

    name: str
    label: str
    keys: Sequence[str]
    variables: Sequence[Variable]

    @property
    def schema(self) -> dict[str, Any]:
        """The type of each variable, for polars."""
        return {v.name: TYPES[v.type] for v in self.variables}

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Records as a table; a variable that a record has not is missing in it."""
        return pl.DataFrame(
            [{name: row.get(name) for name in self.schema} for row in rows],
            schema=self.schema,
            orient="row",
        )


_ALL = (
    Variable("STUDYID", "Study Identifier"),
    Variable("USUBJID", "Unique Subject Identifier"),
    Variable("SUBJID", "Subject Identifier for the Study"),
    Variable("SITEID", "Study Site Identifier"),
    Variable("AGE", "Age", "integer"),
    Variable("AGEU", "Age Units"),
    Variable("AGEGR1", "Pooled Age Group 1"),
    Variable("SEX", "Sex"),
    Variable("SAFFL", "Safety Population Flag"),
    Variable("TRT01P", "Planned Treatment for Period 01"),
    Variable("TRT01A", "Actual Treatment for Period 01"),
    Variable("TRTSDT", "Date of First Exposure to Treatment", "date"),
    Variable("TRTEDT", "Date of Last Exposure to Treatment", "date"),
    Variable("NACTDT", "New Anti-Cancer Therapy Date", "date"),
    Variable("DTHFL", "Subject Death Flag"),
    Variable("DTHDT", "Date of Death", "date"),
    Variable("LSTALVDT", "Date Last Known Alive", "date"),
    Variable("SIMFL", "Simulated Data Flag"),
    Variable("ASEQ", "Analysis Sequence Number", "integer"),
    Variable("ADT", "Analysis Date", "date"),
    Variable("ADY", "Analysis Relative Day", "integer"),
    Variable("AVISIT", "Analysis Visit"),
    Variable("AVISITN", "Analysis Visit (N)", "integer"),
    Variable("PARAM", "Parameter"),
    Variable("PARAMCD", "Parameter Code"),
    Variable("PARCAT1", "Parameter Category 1"),
    Variable("PARCAT2", "Parameter Category 2"),
    Variable("PARCAT3", "Parameter Category 3"),
    Variable("AVAL", "Analysis Value", "float"),
    Variable("AVALC", "Analysis Value (C)"),
    Variable("AVALU", "Analysis Value Unit"),
    Variable("BASE", "Baseline Value", "float"),
    Variable("CHG", "Change from Baseline", "float"),
    Variable("PCHG", "Percent Change from Baseline", "float"),
    Variable("NADIR", "NADIR", "float"),
    Variable("CHGNAD", "Change from NADIR", "float"),
    Variable("PCHGNAD", "Percent Change from NADIR", "float"),
    Variable("ABLFL", "Baseline Record Flag"),
    Variable("ANL01FL", "Analysis Flag 01"),
    Variable("RSEVALID", "Evaluator Identifier"),
    Variable("RSACPTFL", "Accepted Record Flag"),
    Variable("TRGRPID", "Group ID"),
    Variable("TRLNKID", "Link ID"),
    Variable("TRTESTCD", "Tumor/Lesion Assessment Short Name"),
    Variable("TRSTRESC", "Character Result/Finding in Std Format"),
    Variable("TULOC", "Location of the Tumor/Lesion"),
    Variable("TULOCGR1", "Tumor Site Group 1"),
    Variable("LSEXP", "Lesion IDs Expected"),
    Variable("LSASS", "Lesion IDs Assessed"),
    Variable("STARTDT", "Time-to-Event Origin Date for Subject", "date"),
    Variable("CNSR", "Censor", "integer"),
    Variable("EVNTDESC", "Event or Censoring Description"),
    Variable("CNSDTDSC", "Censor Date Description"),
    Variable("SRCDOM", "Source Data"),
    Variable("SRCVAR", "Source Variable"),
    Variable("SRCSEQ", "Source Sequence Number", "integer"),
)

VARIABLES: Mapping[str, Variable] = {v.name: v for v in _ALL}
"""Every variable, by name."""

SUBJECT = (
    "STUDYID",
    "USUBJID",
    "SUBJID",
    "SITEID",
    "AGE",
    "AGEU",
    "SEX",
    "SAFFL",
    "TRT01P",
    "TRT01A",
    "TRTSDT",
    "TRTEDT",
    "SIMFL",
)
"""Variables of ADSL that stand in each dataset."""


VISIT_RECORD = (
    "ASEQ",
    "ADT",
    "ADY",
    "AVISIT",
    "AVISITN",
    "PARAM",
    "PARAMCD",
    "PARCAT1",
    "PARCAT2",
    "PARCAT3",
    "AVAL",
)
"""Variables of a record of one parameter at one visit, in each dataset of such records."""


def _dataset(name: str, label: str, keys: Sequence[str], *names: str) -> Dataset:
    return Dataset(name, label, keys, [VARIABLES[n] for n in (*SUBJECT, *names)])


ADSL = _dataset(
    "ADSL",
    "Subject-Level Analysis Dataset",
    ("STUDYID", "USUBJID"),
    "AGEGR1",
    "NACTDT",
    "DTHFL",
    "DTHDT",
    "LSTALVDT",
)
ADRS = _dataset(
    "ADRS",
    "Tumor Response Analysis",
    ("STUDYID", "USUBJID", "ASEQ"),
    *VISIT_RECORD,
    "AVALC",
    "ANL01FL",
    "RSEVALID",
    "RSACPTFL",
)
ADTR = _dataset(
    "ADTR",
    "Tumor Results Analysis for Oncology",
    ("STUDYID", "USUBJID", "ASEQ"),
    *VISIT_RECORD,
    "BASE",
    "CHG",
    "PCHG",
    "NADIR",
    "CHGNAD",
    "PCHGNAD",
    "ABLFL",
    "ANL01FL",
    "TRGRPID",
    "TRLNKID",
    "TRTESTCD",
    "TRSTRESC",
    "TULOC",
    "TULOCGR1",
    "LSEXP",
    "LSASS",
)
ADTTE = _dataset(
    "ADTTE",
    "Time to Event Analysis for Oncology",
    ("STUDYID", "USUBJID", "ASEQ"),
    "ASEQ",
    "ADT",
    "PARAM",
    "PARAMCD",
    "PARCAT3",
    "AVAL",
    "AVALU",
    "STARTDT",
    "CNSR",
    "EVNTDESC",
    "CNSDTDSC",
    "SRCDOM",
    "SRCVAR",
    "SRCSEQ",
)

DATASETS: Mapping[str, Dataset] = {d.name: d for d in (ADSL, ADRS, ADTR, ADTTE)}
"""The datasets that are written, by name."""
