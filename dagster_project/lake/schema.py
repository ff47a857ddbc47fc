"""What each consumer sees of a declared table.

One projection per target; each names what it does not claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from dagster_project.lake.columns import Column, Type
from dagster_project.lake.tables import Table
from dagster_project.study import digest_of

if TYPE_CHECKING:  # a query of the lake does without
    import polars as pl
    import pyarrow as pa


@cache
def _polars() -> Mapping[str, pl.DataType]:
    import polars as pl

    return {
        "string": pl.String(),
        "int32": pl.Int32(),
        "int64": pl.Int64(),
        "double": pl.Float64(),
        "bool": pl.Boolean(),
        "date": pl.Date(),
        "timestamp": pl.Datetime("us", "UTC"),
        "list<string>": pl.List(pl.String()),
    }


_DUCKDB = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "list<string>": "VARCHAR[]",
}


@dataclass(frozen=True)
class Kind:
    """Type of a stored column, in DuckDB's words, and whether it may be NULL."""

    type: str
    nullable: bool = False

    def __str__(self) -> str:
        return self.type + ("" if self.nullable else " NOT NULL")


Shape = Mapping[str, Mapping[str, Kind]]
"""By table and column, what is stored or declared."""


class UnknownColumns(ValueError):
    """A frame does not have exactly the columns that its table declares."""

    def __init__(self, table: str, missing: list[str], extra: list[str]) -> None:
        super().__init__(
            f"table {table}: missing columns {missing}, undeclared columns {extra}; "
            "declare a column in dagster_project/lake/tables.py or leave it out"
        )


def polars_schema(table: Table) -> dict[str, pl.DataType]:
    """Names and types for polars; it claims neither nullability nor ranges."""
    return {c.name: _polars()[c.type] for c in table.columns}


def empty(table: Table) -> pl.DataFrame:
    """A frame of the table's columns without rows."""
    import polars as pl

    return pl.DataFrame(schema=polars_schema(table))


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The frame with exactly the table's columns, in its order and types.

    Raises
    ------
    UnknownColumns
        Where a declared column is missing or an undeclared one is there.
    """
    missing = [n for n in table.names if n not in frame.columns]
    extra = [n for n in frame.columns if n not in table.names]
    if missing or extra:
        raise UnknownColumns(table.name, missing, extra)
    import polars as pl

    return frame.select(pl.col(name).cast(kind) for name, kind in polars_schema(table).items())


def with_fingerprint(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `input_fingerprint`, the digest of the row itself.

    For rows that are taken over and not computed.

    Points in time have no part in it: who has the rest of a row finds a time of a minute by trying
    all minutes.
    """
    import polars as pl

    timeless = frame.select(pl.exclude(pl.Datetime("us", "UTC")))
    return frame.with_columns(
        input_fingerprint=pl.Series(
            [digest_of(row) for row in timeless.iter_rows()], dtype=pl.String()
        )
    )


@cache
def _arrow_types() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
        "list<string>": pa.list_(pa.string()),
    }


def arrow_schema(table: Table) -> pa.Schema:
    """Arrow and Parquet schema with descriptions and units as metadata; no keys, no ranges."""
    import pyarrow as pa

    fields = [
        pa.field(c.name, _arrow_types()[c.type], nullable=c.nullable, metadata=_arrow_metadata(c))
        for c in table.columns
    ]
    return pa.schema(fields, metadata={"description": table.en, "description_zh": table.zh})


def _arrow_metadata(column: Column) -> dict[str, str]:
    facts = {"description": column.en, "description_zh": column.zh, "unit": column.unit}
    return {k: v for k, v in facts.items() if v}


def duckdb_type(column: Column) -> str:
    """The column's type in DuckDB."""
    return _DUCKDB[column.type]


def kind_of(kind: Type, *, nullable: bool = False) -> Kind:
    """How a declared type is stored."""
    return Kind(_DUCKDB[kind], nullable)


def declared_shape(tables: Iterable[Table]) -> dict[str, dict[str, Kind]]:
    """What the lake should have, by table and column."""
    return {
        t.name: {c.name: kind_of(c.type, nullable=c.nullable) for c in t.columns} for t in tables
    }


def duckdb_create(table: Table, aliases: Mapping[str, str] | None = None) -> str:
    """CREATE TABLE with names, types and NOT NULL.

    DuckLake enforces no keys or checks, the contract does (contracts.py).

    Parameters
    ----------
    aliases
        Further names of columns, each with the column that it shows: DuckDB's own files alone have
        such columns, which take no space.
    """
    columns = [f'"{c.name}" {kind_of(c.type, nullable=c.nullable)}' for c in table.columns] + [
        f'"{alias}" {duckdb_type(table.column(name))} GENERATED ALWAYS AS ("{name}") VIRTUAL'
        for alias, name in (aliases or {}).items()
    ]
    return f'CREATE TABLE IF NOT EXISTS "{table.name}" ({", ".join(columns)})'


def duckdb_comments(table: Table) -> list[str]:
    """COMMENT ON statements for the table and its columns."""
    return [f"COMMENT ON TABLE {quoted(table.name)} IS {literal(f'{table.en} | {table.zh}')}"] + [
        duckdb_comment(table.name, c) for c in table.columns
    ]


def duckdb_comment(table: str, column: Column) -> str:
    """COMMENT ON statement for a column of a table or view."""
    place = f"{quoted(table)}.{quoted(column.name)}"
    return f"COMMENT ON COLUMN {place} IS {literal(comment(column))}"


def comment(column: Column) -> str:
    """One line that says what the column holds: English, unit, Chinese."""
    unit = f" [{column.unit}]" if column.unit else ""
    return f"{column.en}{unit} | {column.zh}"


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Constraint:
    """One condition that every row of a column must meet, or a key as a whole.

    For a column: not_null, minimum, maximum, allowed, pattern, finite. For a key: unique.
    """

    kind: str
    columns: tuple[str, ...]
    limit: object = None

    @property
    def name(self) -> str:
        """A name for reports, such as `age_years maximum 90`."""
        shown = (
            "" if self.limit is None or self.kind in {"allowed", "pattern"} else f" {self.limit}"
        )
        return f"{', '.join(self.columns)} {self.kind}{shown}"


def constraints(table: Table) -> list[Constraint]:
    """Every constraint of a table.

    The Great Expectations suite and the contract check are both made of these.
    """
    found = [Constraint("unique", table.key)]
    for c in table.columns:
        one = (c.name,)
        if not c.nullable:
            found += [Constraint("not_null", one)]
        if c.minimum is not None:
            found += [Constraint("minimum", one, c.minimum)]
        if c.maximum is not None:
            found += [Constraint("maximum", one, c.maximum)]
        if c.allowed is not None:
            found += [Constraint("allowed", one, c.allowed)]
        if c.pattern is not None:
            found += [Constraint("pattern", one, c.pattern)]
        if c.type == "double":
            found += [Constraint("finite", one)]
    return found
