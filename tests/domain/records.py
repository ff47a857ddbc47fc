"""Rows of the lake's tables from the few values that a case is about.

The other columns are filled as declared.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import BY_NAME

DAY_ZERO = date(2024, 3, 1)
MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
VISIT_DAYS = {"T0": -7, "T1": 56, "T2": 98, "V1": 160, "V2": 220}
WHO = {"site": "BJCH", "patient": "BJCH-A", "simulated": True}

_FILLED = {
    "string": "x",
    "int32": 1,
    "int64": 1,
    "double": 1.0,
    "bool": False,
    "date": DAY_ZERO,
    "timestamp": MOMENT,
    "list<string>": [],
}


def table(name, *rows, **shared):
    """Rows of a table with the values that each row or `shared` gives.

    A column without a value is NULL where that is allowed, else has a filler.
    """
    declared = BY_NAME[name]
    filled = [
        {
            c.name: {**WHO, **shared, **row}.get(c.name, None if c.nullable else _FILLED[c.type])
            for c in declared.columns
        }
        for row in rows
    ]
    return pl.DataFrame(filled, schema=polars_schema(declared), orient="row")


def timepoints(*visits, days=VISIT_DAYS, **who):
    rows = [
        {"visit": v, "scan": f"S{v}", "day": days[v], "scan_date": DAY_ZERO + timedelta(days[v])}
        for v in visits
    ]
    return table("timepoints", *rows, **who)


def lesions(**sizes):
    """L targets at T0, T1, ...: a row a size that is not None; 0 is gone."""
    rows = []
    for label, values in sizes.items():
        for visit, size in zip(VISIT_DAYS, values, strict=False):
            role = {"L": "target", "N": "new", "P": "non_target"}[label[0]]
            if size is not None:
                rows.append(
                    {
                        "visit": visit,
                        "scan": f"S{visit}",
                        "lesion": label,
                        "role": role,
                        "is_present": size != 0,
                        "unequivocal": role == "new" or None,
                        "longest_diameter_mm": float(size),
                        "organ": "lung",
                        "acceptance_basis": "agreement",
                    }
                )
    return table("lesions", *rows)


def responses(*graded, evaluator="accepted", days=VISIT_DAYS, **who):
    """(visit, RECIST, iRECIST) a visit."""
    rows = [
        {
            "visit": v,
            "evaluator": evaluator,
            "day": days[v],
            "scan_date": DAY_ZERO + timedelta(days[v]),
            "overall_response": r,
            "overall_response_as_of_visit": r,
            "irecist_response": i,
            "target_response": r,
            "target_response_arithmetic": r,
            "nontarget_response": "NONE",
            "sum_mm": 50.0,
            "baseline_sum_mm": 100.0,
            "nadir_mm": 100.0,
            "change_from_baseline_percent": -50.0,
        }
        for v, r, i in graded
    ]
    return table("responses", *rows, **who)


def follow_up(*events):
    return table(
        "follow_up",
        *(
            {"event": e, "day": d, "event_date": None if d is None else DAY_ZERO + timedelta(d)}
            for e, d in events
        ),
    )


def cycles(*days, drugs="pembrolizumab+pemetrexed+carboplatin"):
    return table(
        "treatments",
        *(
            {"cycle": n, "day": d, "treatment_date": DAY_ZERO + timedelta(d), "drugs": drugs}
            for n, d in enumerate(days, start=1)
        ),
    )


def eligibility(**verdicts):
    """Every criterion met but those named."""
    criteria = BY_NAME["eligibility"].column("criterion").allowed
    return table(
        "eligibility",
        *({"criterion": c, "verdict": verdicts.get(c, "met"), "evidence": "x"} for c in criteria),
    )
