"""Responses, sums and survival times in the shape of CDISC's ADRS, ADTR and ADTTE, for analysts whose programs expect that."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

STUDY = "ChiCTR2600120951"

VISIT_NUMBERS: Mapping[str, int] = {"T0": 0, "T1": 1, "T2": 2}
"""AVISITN of the study's visits; another visit has none."""

BY_VISIT: Mapping[str, tuple[str, str]] = {
    "overall_response": ("OVR", "Overall Response by RECIST 1.1"), "overall_response_as_of_visit": ("OVRASOF", "Overall Response by RECIST 1.1 as of the Visit"),
    "target_response": ("TRGRESP", "Target Response"), "nontarget_response": ("NTRGRESP", "Non-target Response"),
    "new_lesion": ("NEWLIND", "New Lesion Indicator"), "irecist_response": ("IOVR", "Overall Response by iRECIST"),
}
"""Columns of `responses` that become records of ADRS."""

BY_PATIENT: Mapping[str, tuple[str, str]] = {
    "bor": ("BOR", "Best Overall Response, Confirmation Not Required"), "bor_confirmed": ("CBOR", "Best Overall Response, Confirmed"),
    "ibor": ("IBOR", "Best Overall Response by iRECIST"),
}
"""Columns of `outcomes` that become records of ADRS."""

ENDPOINTS: Mapping[str, str] = {"pfs": "Progression-Free Survival", "dor": "Duration of Response", "os": "Overall Survival"}

CODES: Mapping[str, str] = {
    "main": "", "new_therapy_event": "N", "clinical_progression_event": "C", "missed_visits_event": "M", "irecist": "I",
}
"""Letter that a version adds to PARAMCD; the landmark from T2 adds L."""

_WHO = (pl.lit(STUDY).alias("STUDYID"), pl.col("site").alias("SITEID"), pl.col("patient").alias("USUBJID"))
_WHEN = (pl.col("visit").alias("AVISIT"), pl.col("visit").replace_strict(VISIT_NUMBERS, default=None, return_dtype=pl.Int32).alias("AVISITN"))
_SIMULATED = pl.when("simulated").then(pl.lit("Y")).otherwise(pl.lit("N")).alias("SIMFL")


def derive_adrs(responses: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """ADRS: a record per patient, parameter, visit and evaluator; best responses once a patient.

    AVALC holds this study's words (NON_CR_NON_PD as NON-CR/NON-PD). ANL01FL is Y for the accepted read. ADT is shifted, as all dates of the lake are; ADY counts
    from day 0, the first cycle, and not from 1 as ADaM's day does.
    """
    of_visits = [_records(responses, column, *names) for column, names in BY_VISIT.items()]
    of_patients = [_records(outcomes.with_columns(visit=None, evaluator=pl.lit("accepted"), scan_date=None, day=None), column, *names) for column, names in BY_PATIENT.items()]
    return pl.concat([*of_visits, *of_patients], how="vertical_relaxed").filter(pl.col("AVALC").is_not_null()).sort("USUBJID", "RSEVALID", "ADY", "PARAMCD", nulls_last=True)


def _records(rows: pl.DataFrame, column: str, code: str, name: str) -> pl.DataFrame:
    value = pl.col(column)
    words = pl.when(value).then(pl.lit("Y")).otherwise(pl.lit("N")) if rows.schema[column] == pl.Boolean else value.str.replace("NON_CR_NON_PD", "NON-CR/NON-PD", literal=True)
    return rows.select(
        *_WHO, pl.lit(code).alias("PARAMCD"), pl.lit(name).alias("PARAM"), pl.col("visit").cast(pl.String).alias("AVISIT"),
        pl.col("visit").cast(pl.String).replace_strict(VISIT_NUMBERS, default=None, return_dtype=pl.Int32).alias("AVISITN"), pl.col("scan_date").cast(pl.Date).alias("ADT"),
        pl.col("day").cast(pl.Int32).alias("ADY"), words.alias("AVALC"), pl.col("evaluator").alias("RSEVALID"),
        pl.when(pl.col("evaluator") == "accepted").then(pl.lit("Y")).alias("ANL01FL"), _SIMULATED)


def derive_adtr(responses: pl.DataFrame, lesions: pl.DataFrame) -> pl.DataFrame:
    """ADTR: the diameter of each lesion of the accepted read (LDIAM, of nodes SAXIS), and the sum of the targets (SUMDIAM) with baseline, nadir and changes."""
    return pl.concat([_diameters(lesions), _sums(responses)], how="diagonal_relaxed").select(*_ADTR).sort("USUBJID", "PARAMCD", "TRLNKID", "AVISITN", nulls_last=True)


_ADTR = ("STUDYID", "SITEID", "USUBJID", "PARAMCD", "PARAM", "TRLNKID", "TRGRPID", "AVISIT", "AVISITN", "ADT", "ADY", "AVAL", "BASE", "CHG", "PCHG", "NADIR", "PCHGNAD", "SIMFL")


def _diameters(lesions: pl.DataFrame) -> pl.DataFrame:
    size = pl.when("node").then("short_axis_mm").otherwise(pl.when("present").then("longest_diameter_mm").otherwise(0.0))
    groups = {"target": "TARGET", "non_target": "NON-TARGET", "new": "NEW"}
    return lesions.select(
        *_WHO, pl.when("node").then(pl.lit("SAXIS")).otherwise(pl.lit("LDIAM")).alias("PARAMCD"),
        pl.when("node").then(pl.lit("Short Axis (mm)")).otherwise(pl.lit("Longest Diameter (mm)")).alias("PARAM"), pl.col("lesion").alias("TRLNKID"),
        pl.col("role").replace_strict(groups, default=None, return_dtype=pl.String).alias("TRGRPID"), *_WHEN, size.alias("AVAL"), _SIMULATED).drop_nulls("AVAL")


def _sums(responses: pl.DataFrame) -> pl.DataFrame:
    accepted = responses.filter(pl.col("evaluator") == "accepted").drop_nulls("sum_mm")
    return accepted.select(
        *_WHO, pl.lit("SUMDIAM").alias("PARAMCD"), pl.lit("Sum of Diameters of Target Lesions (mm)").alias("PARAM"), *_WHEN, pl.col("scan_date").alias("ADT"),
        pl.col("day").alias("ADY"), pl.col("sum_mm").alias("AVAL"), pl.col("baseline_sum_mm").alias("BASE"), (pl.col("sum_mm") - pl.col("baseline_sum_mm")).alias("CHG"),
        pl.col("change_from_baseline_percent").alias("PCHG"), pl.col("nadir_mm").alias("NADIR"), pl.col("change_from_nadir_percent").alias("PCHGNAD"), _SIMULATED)


def derive_adtte(time_to_event: pl.DataFrame) -> pl.DataFrame:
    """ADTTE: a record per patient and end point; AVAL in days from day 0, CNSR 0 for an event and 1 for censoring, EVNTDESC the row of the censoring table.

    PARAMCD is the end point, the letter of its version (CODES) and L for the landmark from T2: PFS, PFSI, PFSNL. Patients without a time have no record.
    """
    letter = pl.col("version").replace_strict(CODES, return_dtype=pl.String)
    landmark = pl.when(pl.col("origin") == "T2").then(pl.lit("L")).otherwise(pl.lit(""))
    name = pl.col("endpoint").replace_strict(ENDPOINTS, return_dtype=pl.String)
    return time_to_event.drop_nulls(["days", "event"]).select(
        *_WHO, pl.concat_str(pl.col("endpoint").str.to_uppercase(), letter, landmark).alias("PARAMCD"),
        pl.concat_str(name, pl.lit(", "), pl.col("version").str.replace_all("_", " "), pl.lit(", from "), pl.col("origin").str.replace_all("_", " ")).alias("PARAM"),
        pl.col("origin").alias("STARTREF"), pl.col("days").alias("AVAL"), pl.lit("DAYS").alias("AVALU"), (~pl.col("event")).cast(pl.Int32).alias("CNSR"),
        pl.col("reason").alias("EVNTDESC"), _SIMULATED).sort("USUBJID", "PARAMCD")
