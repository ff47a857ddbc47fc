"""Blocks of unconfirmed progression of the accepted read and of every reader, as of today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.responses import ACCEPTED, reads_by_reader

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.resources import Lakehouse

BLOCK_TABLES = ("reads", "lesions", "timepoints", "follow_up", "treatments", "clinical_status")
"""Tables that blocks are derived from."""


def find_all_blocks(lakehouse: Lakehouse) -> pl.DataFrame:
    """Rows of irecist_blocks by what the lake holds."""
    reads, lesions, timepoints, follow_up, treatments, states = lakehouse.read(*BLOCK_TABLES)
    study = lakehouse.study
    return derive_irecist_blocks(
        {ACCEPTED: lesions, **reads_by_reader(reads)},
        timepoints,
        follow_up,
        treatments,
        states,
        lakehouse.clock(),
        study.sections,
        standard_of(study, shipped_classes()),
    )
