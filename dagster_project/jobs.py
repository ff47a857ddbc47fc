"""The three jobs: one site's part of the flow, the cohort's after all sites, and the reports.

The reports come after the cohort, whether or not the gate let a model through.
"""

from __future__ import annotations

import dagster as dg

from dagster_project.lake.tables import TABLES

SITE_ASSET_NAMES = ("intake", *(t.name for t in TABLES if t.by_site))
SITE_ASSETS = dg.AssetSelection.assets(*SITE_ASSET_NAMES)
REPORT_ASSETS = dg.AssetSelection.groups("reports") | dg.AssetSelection.assets(
    "dynamic_irecist", "dynamic_evaluation", "board_decisions"
)
"""Pages, state and advice of each visit with their evaluation, and the decisions of boards.

No closed gate holds them up.
"""
COHORT_ASSETS = dg.AssetSelection.all() - SITE_ASSETS - REPORT_ASSETS
BY_DAY_ASSETS = (dg.AssetSelection.assets("irecist_blocks").downstream()) & COHORT_ASSETS
"""What of the cohort differs from one day to the next where no site has anything new.

Blocks alone read the clock of a site; what follows from them may differ with them.
"""

site_job = dg.define_asset_job(
    "site",
    SITE_ASSETS,
    description="De-identify, describe and measure what one site delivered.",
    executor_def=dg.in_process_executor,
)
cohort_job = dg.define_asset_job(
    "cohort",
    COHORT_ASSETS,
    description="Agreement, responses, heterogeneity, the gate and the models over all sites.",
    executor_def=dg.in_process_executor,
)
report_job = dg.define_asset_job(
    "report",
    REPORT_ASSETS,
    description="State and advice of each visit, pages, and what analysts open.",
    executor_def=dg.in_process_executor,
)
JOBS = [site_job, cohort_job, report_job]
