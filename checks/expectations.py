"""Great Expectations over every table.

The suite is generated from the schema; the run is ephemeral and offline.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import dagster as dg

from dagster_project.lake.expectations import expectation_suite
from dagster_project.lake.query_cache import answer_file, cached_query
from dagster_project.lake.tables import Table
from dagster_project.resources import Lakehouse

SAMPLED_ROWS = 100_000
"""Number of rows of a longer table that Great Expectations sees.

It takes pandas frames in memory. The contract check sees all rows.
"""


@contextlib.contextmanager
def _absent(module: str) -> Iterator[None]:
    """Let an optional module that is not imported yet be taken for one that is not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def library() -> Any:
    """Great Expectations.

    It imports jsonschema, which takes two thirds of the time to build a grammar of addresses where
    `rfc3987_syntax` is installed. No address is validated here.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with _absent("rfc3987_syntax"):
        import great_expectations as gx
    return gx


@functools.cache
def _context() -> Any:
    from tqdm import tqdm

    # bars are made although they are hidden, and the first one would start a thread for good
    tqdm.monitor_interval = 0
    context: Any = library().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def validate(table: Table, frame: Any) -> Any:
    """Run the table's suite on a pandas frame."""
    gx, context = library(), _context()
    from great_expectations.expectations.registry import get_expectation_impl

    suite = gx.ExpectationSuite(
        table.name,
        expectations=[
            get_expectation_impl(kind)(**arguments) for kind, arguments in expectation_suite(table)
        ],
    )
    batch = (
        context.data_sources.add_or_update_pandas(table.name)
        .add_dataframe_asset(table.name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    return batch.validate(suite, result_format="BOOLEAN_ONLY")


def evaluate_suite(
    table: Table, lakehouse: Lakehouse, site: str | None = None
) -> dg.AssetCheckResult:
    """Which expectations the rows of a table, or of one site in it, do not meet.

    A site may have no rows; that the table has some is a rule of its contract.
    """
    asked = table if site is None else replace(table, minimum_rows=0)
    found = cached_query(
        lakehouse.lake,
        answer_file(lakehouse.home, "expectations", table, site),
        [table.name],
        [version("great_expectations"), SAMPLED_ROWS, expectation_suite(asked)],
        lambda: _ask(lakehouse, asked, site),
        site=site,
    )
    return dg.AssetCheckResult(
        passed=found["success"],
        description="; ".join(found["failed"]) or "all expectations met",
        metadata={
            "expectations": found["expectations"],
            "failed": len(found["failed"]),
            "rows_seen": found["rows_seen"],
            "rows": lakehouse.lake.count(table.name, site=site),
        },
    )


def _ask(lakehouse: Lakehouse, table: Table, site: str | None) -> dict[str, Any]:
    of_site = "" if site is None else "WHERE site = $site"
    rows = lakehouse.lake.query(
        f'SELECT * FROM (SELECT * FROM "{table.name}" {of_site}) '
        f"USING SAMPLE reservoir({SAMPLED_ROWS} ROWS) REPEATABLE (1)",
        {} if site is None else {"site": site},
    )
    frame = rows.pl().to_pandas()
    result = validate(table, frame)
    failed = [
        f"{r.expectation_config.type} {r.expectation_config.kwargs.get('column', '')}".strip()
        for r in result.results
        if not r.success
    ]
    return {
        "success": bool(result.success),
        "failed": failed,
        "expectations": len(result.results),
        "rows_seen": len(frame),
    }
