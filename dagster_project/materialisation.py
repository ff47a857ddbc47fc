"""How a declared table becomes an asset, and the metadata of its materialisation.

The metadata are rows, schema, snapshot, counts and a picture.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.code_versions import code_version
from dagster_project.flow.gate import MADE_BY_AN_OPEN_GATE, GateClosed
from dagster_project.lake.columns import Column
from dagster_project.lake.schema import comment
from dagster_project.lake.store import Lake, Write
from dagster_project.lake.tables import Table
from dagster_project.partitions import SITES
from dagster_project.study import digest_of

OWNERS = ["team:study-data"]
PREVIEW_ROWS = 5


def column_schema(table: Table) -> dg.TableSchema:
    """Dagster's Columns tab; ranges are shown as text, nothing is enforced by it."""
    return dg.TableSchema(columns=[_column(c, c.name in table.key) for c in table.columns])


def _column(column: Column, key: bool) -> dg.TableColumn:
    facts = ["key"] if key else []
    if column.minimum is not None:
        facts += [f"≥ {column.minimum:g}"]
    if column.maximum is not None:
        facts += [f"≤ {column.maximum:g}"]
    if column.allowed is not None:
        facts += ["one of " + ", ".join(column.allowed)]
    if column.pattern is not None:
        facts += [column.pattern]
    return dg.TableColumn(
        column.name,
        column.type,
        comment(column),
        dg.TableColumnConstraints(nullable=column.nullable, other=facts),
    )


TIMEZONE = "Asia/Shanghai"
"""Of the nightly schedule and of the hour at which its tables are due."""

FRESH = dg.FreshnessPolicy.cron(
    deadline_cron="0 6 * * *", lower_bound_delta=dt.timedelta(days=1), timezone=TIMEZONE
)
"""A table that moves with the calendar is made anew between two mornings, as is each delivery seen.

What is made only where the gate is open has no such hour: data that close the gate are no delay.
"""

FRESH_THIS_WEEK = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=8))
"""A table that holds what it would is left out of a night, and made and checked once a week."""

GATE_CHECK = "gate"
"""The check of an asset that is made only where the gate is open."""

GATE_TAG = {GATE_CHECK: "closed"}
"""Tag of a run in which the gate was closed; the run itself is green."""


def table_asset(
    table: Table,
    *,
    deps: Iterable[str],
    kinds: Iterable[str] = (),
    behind_gate: bool = False,
    by_day: bool = False,
) -> Callable[..., dg.AssetsDefinition]:
    """Declare the asset of a table, which gives its name, group, columns and partitions.

    One `behind_gate` yields `pass_or_skip` and has a check of its own; where the gate is closed it
    is not made, and what depends on it is skipped. One `by_day` may differ from one day to the next
    where no site has anything new (`jobs.BY_DAY_ASSETS`). Its data version is that of the table's
    rows.
    """
    fresh = FRESH if by_day else FRESH_THIS_WEEK

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        return dg.asset(
            name=table.name,
            group_name=table.group,
            description=f"{table.en}\n\n{table.zh}",
            deps=list(deps),
            kinds={"ducklake", "parquet", *kinds},
            owners=OWNERS,
            code_version=code_version(function.__module__, table),
            partitions_def=SITES if table.by_site else None,
            output_required=not behind_gate,
            check_specs=[_gate_check(table)] if behind_gate else None,
            freshness_policy=None if table.name in MADE_BY_AN_OPEN_GATE else fresh,
            metadata={
                "dagster/column_schema": column_schema(table),
                "dagster/table_name": f"lake.main.{table.name}",
                "key": ", ".join(table.key),
            },
        )(_with_data_version(function, table))

    return declare


def data_version(lake: Lake, table: Table, site: str | None = None) -> dg.DataVersion:
    """Version of a table's rows, or of one site's rows in it, by which Dagster sees what is stale.

    It stays while no row differs, since a write touches only rows that do.
    """
    return dg.DataVersion(digest_of(lake.state(table.name, site=site)))


def _with_data_version(function: Callable[..., Any], table: Table) -> Callable[..., Any]:
    """An asset's function, whose materialisation bears the table's data version."""
    signature = inspect.signature(function)

    def versioned(result: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(result, dg.MaterializeResult):
            return result
        given = signature.bind(*args, **kwargs).arguments
        site = given["context"].partition_key if table.by_site else None
        version = data_version(given["lakehouse"].lake, table, site)
        instance = dg.AssetExecutionContext.get().instance
        metadata = without_repeats(instance, table, site, result.metadata or {})
        return result._replace(data_version=version, metadata=metadata)

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        return versioned(function(*args, **kwargs), *args, **kwargs)

    @functools.wraps(function)
    def make_each(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for result in function(*args, **kwargs):
            yield versioned(result, *args, **kwargs)

    return make_each if inspect.isgeneratorfunction(function) else make


SHOWN, SHOWN_IN = "shown", "shown_in"
"""Metadata: digest of preview and pictures, and the run that holds them."""


def without_repeats(
    instance: dg.DagsterInstance, table: Table, site: str | None, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Preview and pictures once: a night that would show the same ones links to the run that does.

    Dagster stores the metadata of a materialisation four times, in every run anew.
    """
    blocks = {k: v for k, v in metadata.items() if isinstance(v, dg.MarkdownMetadataValue)}
    if not blocks:
        return dict(metadata)
    digest = digest_of({name: block.md_str for name, block in blocks.items()})
    asked = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(table.name), asset_partitions=[site] if site else None
    )
    records = instance.fetch_materializations(asked, limit=1).records
    made = records[0].asset_materialization if records else None
    before = made.metadata if made else {}
    if before.get(SHOWN) != dg.TextMetadataValue(digest):
        return {**metadata, SHOWN: digest}
    link = before.get(SHOWN_IN) or dg.MetadataValue.dagster_run(records[0].run_id)
    if not instance.has_run(str(link.value)):
        return {**metadata, SHOWN: digest}
    left = {name: value for name, value in metadata.items() if name not in blocks}
    return {**left, SHOWN: digest, SHOWN_IN: link}


def _gate_check(table: Table) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        GATE_CHECK,
        asset=table.name,
        description=(
            "Every rule of the quality gate holds on the snapshot that is used; "
            "else nothing is made here.\n\n"
            "所用快照满足全部质控规则；否则此处不生成任何数据。"
        ),
    )


def pass_or_skip(
    context: dg.AssetExecutionContext, work: Callable[[], dg.MaterializeResult]
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Do the work behind the gate; where the gate is closed, give the reasons as a check instead.

    A closed gate is no fault: the step succeeds without a materialisation, what depends on it is
    skipped, and the run bears `GATE_TAG`.
    """
    try:
        result = work()
    except GateClosed as closed:
        context.instance.add_run_tags(context.run.run_id, GATE_TAG)
        yield dg.AssetCheckResult(
            check_name=GATE_CHECK,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=str(closed),
            metadata=dict(closed.facts),
        )
        return
    yield result
    yield dg.AssetCheckResult(check_name=GATE_CHECK, passed=True)


REPORT_DEPS = (
    "dynamic_irecist",
    "dynamic_risk",
    "dynamic_evaluation",
    "board_decisions",
    "irecist_blocks",
    "dynamic_evidence",
    "clinical_status",
    "quality_verdicts",
    "quarantine",
    "reconciliation",
    "eligibility",
    "outcomes",
    "time_to_event",
    "survival_curves",
    "survival_medians",
    "response_rates",
    "reader_agreement",
    "reader_figures",
    "radiomic_features",
    "lesion_locations",
    "disclosure",
)
"""Assets that pages and publication are made from."""


def page_asset(*, kinds: Iterable[str]) -> Callable[..., dg.AssetsDefinition]:
    """Declare an asset that is no table: pages, or what analysts open."""
    return dg.asset(group_name="reports", deps=list(REPORT_DEPS), kinds=set(kinds), owners=OWNERS)


def materialize_result(
    write: Write,
    rows: pl.DataFrame | None = None,
    *,
    picture: bytes | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> dg.MaterializeResult:
    """Rows, snapshot, counts and a preview as metadata; facts in bytes are shown as pictures."""
    metadata: dict[str, Any] = {
        "dagster/row_count": write.rows,
        "rows_inserted": write.inserted,
        "rows_deleted": write.deleted,
        "snapshot": write.snapshot,
        **{
            name: picture_markdown(fact) if isinstance(fact, bytes) else fact
            for name, fact in facts.items()
        },
    }
    if rows is not None and rows.height:
        metadata["preview"] = dg.MetadataValue.md(markdown(rows.head(PREVIEW_ROWS)))
    if picture:
        metadata["picture"] = picture_markdown(picture)
    return dg.MaterializeResult(metadata=metadata)


def markdown(rows: pl.DataFrame) -> str:
    """A frame as a Markdown table."""
    return markdown_table(rows.columns, rows.iter_rows())


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows as a Markdown table."""
    lines = [columns, ["---"] * len(columns), *(map(_cell, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def picture_markdown(png: bytes) -> dg.MarkdownMetadataValue:
    """A picture inside the metadata, so that it needs no server of its own."""
    return dg.MetadataValue.md(
        f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})"
    )
