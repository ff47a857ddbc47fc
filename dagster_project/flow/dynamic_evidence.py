"""Evidence beside the state of each visit, from what the lake holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_evidence import derive_dynamic_evidence
from dagster_project.domain.response.dynamic_standard import standard_of

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.resources import Lakehouse


def gather_evidence(lakehouse: Lakehouse) -> pl.DataFrame:
    """Rows of dynamic_evidence."""
    names = ("responses", "irecist_blocks", "lesions", "timepoints", "dhi")
    responses, blocks, lesions, timepoints, dhi = lakehouse.read(*names)
    return derive_dynamic_evidence(
        responses,
        blocks,
        lesions,
        timepoints,
        dhi,
        lakehouse.study.sections,
        standard_of(lakehouse.study, shipped_classes()),
    )
