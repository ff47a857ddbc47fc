"""Features of each visit for the risk of progression, read behind the open gate alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.flow.feature_stability import moments_of_patients
from dagster_project.flow.gate import gate_state
from dagster_project.flow.model_runs import FEATURES_SEEN
from dagster_project.radiomics.delta import VISITS

if TYPE_CHECKING:
    from dagster_project.domain.evaluation.supermodel import FeatureSource
    from dagster_project.resources import Lakehouse

FEATURE_TABLES = ("radiomic_features", "delta_features", "dhi", "quality_verdicts")
"""Tables that features of visits are made from, beside `lesions`."""

CHANGES = (
    "\nSELECT site, patient, lesion, region, feature, from_visit, to_visit, delta_symmetric "
    "FROM delta_features"
    "\nWHERE delta_symmetric IS NOT NULL AND from_visit = 'T0' AND list_contains(?, feature)"
)


def load_features(lakehouse: Lakehouse) -> FeatureSource | None:
    """Features of the visits of all patients; None behind a closed gate, or where there are none.

    Only the features that the protocol registers for networks take part (`[model]
    network_features`): a penalised score of all that are measured would be fitted to chance.
    """
    if gate_state(lakehouse.lake, lakehouse.study) != "open":
        return None
    from models.data.visit_features import build_visit_features
    from models.learners.feature_score import ScoredFeatures

    section, lake = lakehouse.study.learning, lakehouse.lake
    names = list(section["network_features"])
    lesions, dhi = lakehouse.read("lesions", "dhi")
    found = build_visit_features(
        lesions,
        lake.query(FEATURES_SEEN, [names]).pl(),
        lake.query(CHANGES, [names]).pl(),
        dhi,
        moments_of_patients(lake, VISITS, names),
    )
    return ScoredFeatures(found, section) if found.places else None
