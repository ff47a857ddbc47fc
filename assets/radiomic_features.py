"""Radiomic features of the tumour and its rings, as each locked reader outlined it."""

import dagster as dg

from dagster_project.flow.radiomic_features import extract_new_features
from dagster_project.lake.tables import RADIOMIC_FEATURES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(RADIOMIC_FEATURES, deps=["reads", "scans"], kinds=["pyradiomics"])
def radiomic_features(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> dg.MaterializeResult:
    """Extract what has no features yet, drop what no longer has input, and leave the rest alone."""
    done = extract_new_features(lakehouse, context.partition_key, context.log.info)
    return materialize_result(done.written, facts=done.counts)
