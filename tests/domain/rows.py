"""Rows of the lake's tables with usual values, so that a test writes only what matters to it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import BY_NAME

DAY_0 = dt.date(2024, 3, 1)
LOCKED = dt.datetime(2024, 9, 1, 12, tzinfo=dt.UTC)

USUAL: dict[str, dict[str, Any]] = {
    "scans": {
        "study_instance_uid": "1",
        "manufacturer": "ACME",
        "manufacturer_model_name": "X1",
        "kernel": "B31f",
        "kvp": 120.0,
        "contrast": True,
        "series_number": 2,
        "axial_original": True,
        "slice_thickness_mm": 1.0,
        "slice_spacing_mm": 1.0,
        "n_slices": 300,
        "chest_flag": True,
    },
    "timepoints": {"selection_reason": "", "alternative_scans": [], "changed_since_t0": []},
    "reads": {
        "role": "target",
        "is_lymph_node": False,
        "is_present": True,
        "too_small_to_measure": False,
        "mask_source": "SEG",
        "n_outside": 0,
        "measurement_source": "mask",
        "locked_at": LOCKED,
    },
    "responses": {
        "sum_mm": 50.0,
        "target_response_arithmetic": "SD",
        "target_response": "SD",
        "nontarget_response": "NONE",
        "new_lesion": False,
        "overall_response": "SD",
        "overall_response_as_of_visit": "SD",
        "irecist_response": "iSD",
        "rule": "",
    },
    "arbitrations": {
        "status": "open",
        "triggers": [],
        "n_lesion_visits": 1,
        "reader_a": "R1",
        "reader_b": "R2",
    },
}

LESIONS_CSV = {
    "site": pl.String,
    "patient": pl.String,
    "reader": pl.String,
    "series_instance_uid": pl.String,
    "visit_date": pl.Date,
    "lesion": pl.String,
    "role": pl.String,
    "organ": pl.String,
    "node": pl.Boolean,
    "present": pl.Boolean,
    "too_small": pl.Boolean,
    "ld_mm": pl.Float64,
    "sa_mm": pl.Float64,
    "nontarget_state": pl.String,
    "unequivocal": pl.Boolean,
    "artifact": pl.Boolean,
    "roi": pl.String,
    "row_number": pl.Int64,
    "simulated": pl.Boolean,
}
LOCKS = {"site": pl.String, "reader": pl.String, "locked_at": pl.Datetime("us", "UTC")}
DECISIONS = {
    "site": pl.String,
    "patient": pl.String,
    "accepted_reader": pl.String,
    "arbiter": pl.String,
    "decided_at": pl.Datetime("us", "UTC"),
    "row_number": pl.Int64,
    "simulated": pl.Boolean,
}


def table(name: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of a declared table; what a row does not say is usual, else NULL."""
    schema = polars_schema(BY_NAME[name])
    usual = {
        "site": "AA",
        "patient": "P1",
        "simulated": False,
        "input_fingerprint": "f",
        **USUAL[name],
    }
    return pl.DataFrame(
        [{c: row.get(c, usual.get(c)) for c in schema} for row in rows], schema=schema
    )


def frame(schema: dict[str, Any], *rows: dict[str, Any], **usual: Any) -> pl.DataFrame:
    """Rows of a vault file."""
    usual = {"site": "AA", "patient": "P1", "simulated": False, **usual}
    numbered = [{"row_number": n, **row} for n, row in enumerate(rows, start=2)]
    return pl.DataFrame(
        [{c: row.get(c, usual.get(c)) for c in schema} for row in numbered], schema=schema
    )


def day(n: int) -> dt.date:
    """A date by its distance from the first cycle."""
    return DAY_0 + dt.timedelta(days=n)
