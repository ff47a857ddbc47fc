"""What of the lake gives a column away: its copies, what gives it again, and figures of it.

A column that is not published takes all of them with it (`minimisation`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dagster_project.lake.tables import BY_NAME, LESIONS, PATIENTS, READS


@dataclass(frozen=True)
class Fact:
    """One fact of a patient, by the columns that give it.

    Parameters
    ----------
    held_by
        Columns that hold it, as `table.column`. Suppressing one suppresses all of them.
    given_by
        Columns by which it can be found again: its inputs, and what is computed from it alone.
        They are suppressed with it, while suppressing one of these does not suppress the fact.
    """

    held_by: tuple[str, ...]
    given_by: tuple[str, ...] = ()


def _of(table: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{table}.{name}" for name in names)


_SCAN_DATES = (
    "scans.scan_date",
    "timepoints.scan_date",
    "responses.scan_date",
    "irecist_blocks.as_of_date",
    "dynamic_evidence.as_of_date",
)
_SCAN_DAYS = (
    "scans.day",
    "timepoints.day",
    "responses.day",
    "dynamic_evidence.day",
    "dynamic_irecist.day",
    "dynamic_risk.day",
    *_of("irecist_blocks", "opened_day", "resolved_day", "days_open"),
    *_of("irecist_blocks", "confirm_from_day", "confirm_to_day"),
    *_of("dynamic_irecist", "advice_from_day", "advice_to_day"),
    *_of("iupd_cohort", "opened_day", "days_to_next"),
    "delta_features.days",
)
_SUMS = (
    *_of("responses", "sum_mm", "baseline_sum_mm", "nadir_mm", "new_lesion_sum_mm"),
    *_of("responses", "change_from_baseline_percent", "change_from_nadir_percent"),
    *_of("irecist_blocks", "nadir_mm", "sum_at_open_mm", "smallest_since_mm"),
    *_of("irecist_blocks", "confirm_if_sum_mm", "reset_below_mm"),
    "outcomes.best_change_percent",
    "dynamic_irecist.change_from_baseline_percent",
    "iupd_cohort.margin",
)
_RESPONSES = (
    *_of("responses", "overall_response", "overall_response_as_of_visit", "irecist_response"),
    *_of("responses", "target_response", "target_response_arithmetic", "nontarget_response"),
    *_of("responses", "new_lesion", "rule"),
    *_of("outcomes", "bor", "bor_confirmed", "ibor", "responder", "icpd_day", "pseudoprogression"),
    *_of("outcomes", "pseudoprogression_d1_nadir", "pseudoprogression_d2"),
    *_of("outcomes", "pseudoprogression_d2_nadir"),
    *_of("dynamic_irecist", "overall_response", "irecist_response", "state", "block_status"),
    "dynamic_irecist.advice",
    *_of("training_cohort", "exclusion", "label"),
    "predictions.observed_response",
)
_TIMES = ("time_to_event.days", "outcomes.pfs_days", "outcomes.pfs_from_t2_days")
_EVENTS = (
    *_of("time_to_event", "event", "reason"),
    *_of("outcomes", "pfs_event", "pfs_from_t2_event", "pfs_reason"),
)
_RISKS = (
    *_of("dynamic_risk", "probability", "probability_lower", "probability_upper"),
    *_of("dynamic_risk", "probability_in_practice", "probability_in_practice_lower"),
    "dynamic_risk.probability_in_practice_upper",
)
_DHI_PARTS = (
    *_of("dhi", "texture", "density", "spatial", "radial"),
    *_of("dhi", "u_texture", "u_density", "u_spatial", "u_radial"),
)
_DELTAS = _of(
    "delta_features",
    "delta",
    "delta_symmetric",
    "delta_per_day",
    "slope_per_day",
    "curvature_per_day",
)
_SIZES = ("longest_diameter_mm", "short_axis_mm")

_OF_A_LESION = tuple(
    Fact(
        (f"reads.{name}", f"lesions.{name}"),
        (*_SUMS, "reads.diameter_ends_mm") if name in _SIZES else (),
    )
    for name in LESIONS.names
    if name in READS.names
    and name not in (*READS.key, *LESIONS.key, "reader", "simulated", "scan", "volume_mm3")
)
"""What the accepted read has of its reader's."""

FACTS: tuple[Fact, ...] = (
    # With days published, one date gives all others of the patient.
    Fact(
        (
            *_SCAN_DATES,
            "treatments.treatment_date",
            "follow_up.event_date",
            "clinical_status.status_date",
            "board_decisions.decision_date",
        )
    ),
    Fact(_SCAN_DAYS, (*_SCAN_DATES, *_TIMES)),
    Fact(("treatments.day",), ("treatments.treatment_date",)),
    Fact(("follow_up.day",), ("follow_up.event_date",)),
    Fact(("clinical_status.day",), ("clinical_status.status_date",)),
    Fact(("board_decisions.day",), ("board_decisions.decision_date",)),
    Fact(("patients.ecog", "clinical_status.ecog")),
    Fact(("patients.regimen", "treatments.drugs")),
    *(
        Fact((f"patients.{name}",), ("eligibility.verdict", "training_cohort.exclusion"))
        for name in ("prior_malignancy", "organ_dysfunction", "target_radiotherapy")
    ),
    *(
        Fact((f"scans.{name}",), ("eligibility.verdict", "eligibility.evidence"))
        for name in ("metal_flag", "motion_flag", "reader_artifact_flag")
    ),
    *_OF_A_LESION,
    Fact(
        ("reads.volume_mm3", "lesions.volume_mm3"),
        (
            "reads.voxel_count",
            "lesions.voxel_count",
            "radiomic_features.region_volume_mm3",
            "control_features.region_volume_mm3",
            "radiomic_features.value",
        ),
    ),
    Fact(("arbitrations.accepted_reader",), ("lesions.reader",)),
    Fact(_SUMS, tuple(f"{table}.{name}" for table in ("reads", "lesions") for name in _SIZES)),
    Fact(_RESPONSES, _SUMS),
    Fact(_TIMES, ("follow_up.day", "follow_up.event_date", *_SCAN_DAYS, *_SCAN_DATES)),
    Fact(_EVENTS, ("follow_up.event", *_RESPONSES)),
    Fact(("irecist_blocks.outcome", "iupd_cohort.outcome"), ("irecist_blocks.status",)),
    Fact(("dhi.dhi", "dynamic_irecist.dhi"), _DHI_PARTS),
    Fact(_DELTAS, ("radiomic_features.value",)),
    Fact(("predictions.probability",), ("attributions.value", *_RISKS)),
)
"""Facts that more than one column gives."""

_LESION_MEASURES = tuple(
    f"{table}.{name}" for table in ("reads", "lesions") for name in (*_SIZES, "volume_mm3")
)

FIGURES_OF: dict[str, tuple[str, ...]] = {
    "reader_agreement": _LESION_MEASURES,
    "reader_figures": (*_LESION_MEASURES, *_RESPONSES),
    "irecist_blocks": _RESPONSES,
    "dynamic_evidence": (*_RESPONSES, *_SUMS, *_LESION_MEASURES, "dhi.dhi"),
    "iupd_cohort": (*_RESPONSES, *_SUMS, *_of("irecist_blocks", "status", "outcome")),
    "survival_curves": (*_TIMES, *_EVENTS),
    "survival_medians": (*_TIMES, *_EVENTS),
    "response_rates": _RESPONSES,
    "feature_stability": ("radiomic_features.value", "control_features.value"),
    "delta_features": ("radiomic_features.value",),
    "dynamic_risk": _RESPONSES,
    "model_runs": (*_RESPONSES, "predictions.probability", "predictions.predicted_positive"),
    "dynamic_evaluation": (
        *_RESPONSES,
        *_TIMES,
        *_EVENTS,
        *_RISKS,
        *_of("irecist_blocks", "status", "outcome"),
        "predictions.probability",
    ),
    "quality_verdicts": (
        *_of("reader_agreement", "arbitrated_share", "icc_raw", "icc_resolved", "icc_lower"),
        *_of("eligibility", "verdict", "evidence"),
        "arbitrations.status",
        *_RESPONSES,
        *_LESION_MEASURES,
    ),
    "disclosure": _of("patients", "sex", "age_years", "stage", "histology"),
    "federated_results": (
        *(f"patients.{name}" for name in PATIENTS.names),
        *_RESPONSES,
        *_TIMES,
        *_EVENTS,
        "radiomic_features.value",
        "delta_features.delta",
        "dhi.dhi",
        *_LESION_MEASURES,
    ),
}
"""Each table whose rows are figures, and the columns that they are figures of.

Where one of these is not published, the table is published without rows.
"""


def reached_by(asked: Iterable[str]) -> frozenset[str]:
    """The columns, and all that give one of them away."""
    wanted = frozenset(asked)
    reached = [f for f in FACTS if wanted.intersection(f.held_by)]
    return wanted.union(*((*f.held_by, *f.given_by) for f in reached))


def emptied_by(suppressed: frozenset[str]) -> frozenset[str]:
    """Tables published without rows.

    Those whose figures are of a suppressed column, and those whose rows it identifies.
    """
    figures = {name for name, sources in FIGURES_OF.items() if suppressed.intersection(sources)}
    keys = {name for name, t in BY_NAME.items() if suppressed.intersection(_of(name, *t.key))}
    return frozenset(figures | keys)
