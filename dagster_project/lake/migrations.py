"""The schema's versions: how a lake of an earlier one becomes a lake of this one, as data.

1. A change of a column that lakes already have is a migration; its steps are declared here, beside
   the declaration of the column in tables.py.
2. A table or view that is new is no version: it is created where it is missing, by every command
   that writes. Any other difference between lake and declaration stops those commands.
3. A step on a table that a lake does not have does nothing: the table is created as it is declared
   today.
4. Versions that were released are never changed; the next change is the next version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from dagster_project.lake.schema import Kind, Shape, declared_shape, kind_of, literal, quoted
from dagster_project.lake.tables import TABLES, Table

BASELINE = 1
"""Version of a lake without the table `schema_version`: lakes were begun anew until then."""

VERSIONS = "schema_version"
"""The table of the lake that records its versions; it holds no rows of patients."""

VERSION_KINDS: Mapping[str, Kind] = {
    "version": kind_of("int32"),
    "name": kind_of("string"),
    "applied_at": kind_of("timestamp"),
}
"""Columns of `schema_version`."""

ARRANGED_BY = frozenset({"site", "feature"})
"""Columns by which tables are partitioned and sorted; DuckLake cannot drop them."""


@dataclass(frozen=True)
class Source:
    """How a table of today is read from an earlier version.

    Parameters
    ----------
    table
        Its name there.
    columns
        By today's name: the name there, or None where the column was added since.
    added
        The value of columns that were added since; None for NULL.
    """

    table: str
    columns: Mapping[str, str | None]
    added: Mapping[str, str | None] = field(default_factory=dict)


class Step(Protocol):
    """One change of one table."""

    @property
    def table(self) -> str:
        """The table that a lake must have for the step to do anything."""
        ...

    def words(self) -> str:
        """What the step does, in one line."""
        ...

    def statements(self) -> list[str]:
        """SQL of the step on a table that holds rows."""
        ...

    def applied(self, shape: Shape) -> Shape:
        """Tables and columns after the step."""
        ...

    def undone(self, source: Source) -> Source:
        """How a table that is read after the step is read before it."""
        ...


@dataclass(frozen=True)
class RenameColumn:
    """Give a column another name; no file is written."""

    table: str
    old: str
    new: str

    def words(self) -> str:
        return f"{self.table}: rename {self.old} to {self.new}"

    def statements(self) -> list[str]:
        return [
            f"ALTER TABLE {quoted(self.table)} "
            f"RENAME COLUMN {quoted(self.old)} TO {quoted(self.new)}"
        ]

    def applied(self, shape: Shape) -> Shape:
        columns = {self.new if n == self.old else n: k for n, k in shape[self.table].items()}
        return {**shape, self.table: columns}

    def undone(self, source: Source) -> Source:
        columns = {
            today: self.old if then == self.new else then for today, then in source.columns.items()
        }
        return replace(source, columns=columns)


@dataclass(frozen=True)
class AddColumn:
    """Add a column with one value for all rows that are there, NULL where none is given.

    A column that is never NULL needs a value; its rows are written anew. Where the code writes
    another value, every row differs at the next run, and times at which a row was first seen are
    lost: the value is what the code gives for such a row.

    Parameters
    ----------
    value
        As text, of the column's type: `true`, `2020-01-31`, `0.5`.
    """

    table: str
    column: str
    kind: Kind
    value: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.kind.nullable:
            raise ValueError(f"{self.table}.{self.column} is never NULL and has no value")
        if self.value is not None and self.kind.type.endswith("[]"):
            raise ValueError(f"{self.table}.{self.column}: DuckLake has no default for a list")

    def words(self) -> str:
        value = "NULL" if self.value is None else self.value
        return f"{self.table}: add {self.column} ({self.kind}) with {value} in rows that are there"

    def statements(self) -> list[str]:
        table, column = quoted(self.table), quoted(self.column)
        default = (
            f" DEFAULT {literal(self.value)}"
            if self.value is not None and self.kind.nullable
            else ""
        )
        added = f"ALTER TABLE {table} ADD COLUMN {column} {self.kind.type}{default}"
        if self.value is None or self.kind.nullable:
            return [added]
        return [
            added,
            f"UPDATE {table} SET {column} = {literal(self.value)}",
            f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL",
        ]

    def applied(self, shape: Shape) -> Shape:
        return {**shape, self.table: {**shape[self.table], self.column: self.kind}}

    def undone(self, source: Source) -> Source:
        new = [today for today, then in source.columns.items() if then == self.column]
        return replace(
            source,
            columns={**source.columns, **dict.fromkeys(new)},
            added={**source.added, **dict.fromkeys(new, self.value)},
        )


@dataclass(frozen=True)
class DropColumn:
    """Take a column away; earlier snapshots keep it."""

    table: str
    column: str

    def __post_init__(self) -> None:
        if self.column in ARRANGED_BY:
            raise ValueError(f"{self.table} is arranged by {self.column}, which cannot be dropped")

    def words(self) -> str:
        return f"{self.table}: drop {self.column}"

    def statements(self) -> list[str]:
        return [f"ALTER TABLE {quoted(self.table)} DROP COLUMN {quoted(self.column)}"]

    def applied(self, shape: Shape) -> Shape:
        columns = {n: k for n, k in shape[self.table].items() if n != self.column}
        return {**shape, self.table: columns}

    def undone(self, source: Source) -> Source:
        return source


@dataclass(frozen=True)
class AllowNull:
    """Let a column be NULL."""

    table: str
    column: str

    def words(self) -> str:
        return f"{self.table}: {self.column} may be NULL"

    def statements(self) -> list[str]:
        table, column = quoted(self.table), quoted(self.column)
        return [f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"]

    def applied(self, shape: Shape) -> Shape:
        columns = {
            n: replace(k, nullable=k.nullable or n == self.column)
            for n, k in shape[self.table].items()
        }
        return {**shape, self.table: columns}

    def undone(self, source: Source) -> Source:
        return source


@dataclass(frozen=True)
class RenameTable:
    """Give a table another name, in a migration of its own.

    DuckLake 1.5.5 writes a lake that cannot be opened again where a table's column is changed and
    the table renamed in one transaction.
    """

    table: str
    new: str

    def words(self) -> str:
        return f"{self.table}: rename the table to {self.new}"

    def statements(self) -> list[str]:
        return [f"ALTER TABLE {quoted(self.table)} RENAME TO {quoted(self.new)}"]

    def applied(self, shape: Shape) -> Shape:
        return {self.new if n == self.table else n: columns for n, columns in shape.items()}

    def undone(self, source: Source) -> Source:
        return replace(source, table=self.table) if source.table == self.new else source


@dataclass(frozen=True)
class DropTable:
    """Take a table away with its rows; earlier snapshots keep them."""

    table: str

    def words(self) -> str:
        return f"{self.table}: drop the table"

    def statements(self) -> list[str]:
        return [f"DROP TABLE {quoted(self.table)}"]

    def applied(self, shape: Shape) -> Shape:
        return {n: columns for n, columns in shape.items() if n != self.table}

    def undone(self, source: Source) -> Source:
        return source


@dataclass(frozen=True)
class NewTable:
    """Make a table out of the rows of another; one that begins empty is created by itself.

    Parameters
    ----------
    table
        The table that the rows are of.
    rows
        A query of them, whose columns are those of the new table.
    """

    table: str
    new: str
    columns: Mapping[str, Kind]
    rows: str

    def words(self) -> str:
        return f"{self.new}: new, of the rows of {self.table}"

    def statements(self) -> list[str]:
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in self.columns.items())
        return [
            f"CREATE TABLE {quoted(self.new)} ({columns})",
            f"INSERT INTO {quoted(self.new)} BY NAME {self.rows}",
        ]

    def applied(self, shape: Shape) -> Shape:
        return {**shape, self.new: dict(self.columns)}

    def undone(self, source: Source) -> Source:
        return source


@dataclass(frozen=True)
class Migration:
    """One version of the schema, and the steps that lead to it.

    Raises
    ------
    ValueError
        Where a table is renamed beside other steps.
    """

    version: int
    name: str
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if len(self.steps) > 1 and any(isinstance(s, RenameTable) for s in self.steps):
            raise ValueError(f"version {self.version}: a table is renamed in a version of its own")

    @property
    def message(self) -> str:
        """The commit message of its snapshot."""
        return f"schema version {self.version}: {self.name}"

    def applied(self, shape: Shape) -> Shape:
        """Tables and columns after it."""
        for step in self.steps:
            if step.table in shape:
                shape = step.applied(shape)
        return shape


MIGRATIONS: tuple[Migration, ...] = (
    Migration(BASELINE, "baseline"),
    Migration(
        2,
        "columns under the field's names; state and advice in dynamic_irecist",
        (
            RenameColumn("responses", "known_from", "recorded_at"),
            RenameColumn("timepoints", "chosen_because", "selection_reason"),
            RenameColumn("timepoints", "runners_up", "alternative_scans"),
            *(
                RenameColumn(table, old, new)
                for table in ("reads", "lesions")
                for old, new in (
                    ("node", "is_lymph_node"),
                    ("present", "is_present"),
                    ("too_small", "too_small_to_measure"),
                )
            ),
            RenameColumn("lesions", "accepted_because", "acceptance_basis"),
            RenameColumn("control_features", "control", "control_type"),
            RenameColumn("control_features", "copy", "replicate"),
            RenameColumn("reader_figures", "figure", "statistic"),
            RenameColumn("dhi", "dhi_amount", "dhi_magnitude"),
            RenameColumn("predictions", "positive", "predicted_positive"),
            RenameColumn("predictions", "label", "observed_response"),
            RenameColumn("predictions", "spread", "ensemble_sd"),
            RenameColumn("predictions", "novelty", "ood_score"),
            RenameColumn("attributions", "spread", "ensemble_sd"),
            RenameColumn("quality_verdicts", "figure", "statistic"),
            RenameColumn("quality_verdicts", "limit", "threshold"),
            *(
                DropColumn("dynamic_irecist", name)
                for name in (
                    "dynamic_label",
                    "probability",
                    "model",
                    "model_version",
                    "gate",
                    "amendments",
                )
            ),
            AddColumn("dynamic_irecist", "state", kind_of("string"), "not_gradable"),
            AddColumn("dynamic_irecist", "block_status", kind_of("string", nullable=True)),
            AddColumn("dynamic_irecist", "advice_from_day", kind_of("int32", nullable=True)),
            AddColumn("dynamic_irecist", "advice_to_day", kind_of("int32", nullable=True)),
            AddColumn("dynamic_irecist", "standard_version", kind_of("string"), ""),
            AddColumn("dynamic_irecist", "standard_digest", kind_of("string"), ""),
        ),
    ),
)
"""Every version, in order."""


def latest() -> int:
    """The version of lakes that this program reads and writes."""
    return MIGRATIONS[-1].version


def baseline() -> Migration:
    """The version of a lake that records none."""
    return MIGRATIONS[0]


def since(version: int) -> tuple[Migration, ...]:
    """The migrations that a lake of a version lacks, in order."""
    return tuple(m for m in MIGRATIONS if m.version > version)


def after(shape: Shape, migrations: Iterable[Migration]) -> Shape:
    """Tables and columns after some migrations."""
    for migration in migrations:
        shape = migration.applied(shape)
    return shape


def source_of(table: Table, version: int) -> Source:
    """How a table of today is read from a snapshot of an earlier version."""
    source = Source(table.name, {name: name for name in table.names})
    for migration in reversed(since(version)):
        for step in reversed(migration.steps):
            if _touches(step, source.table):
                source = step.undone(source)
    return source


def _touches(step: Step, table: str) -> bool:
    return table == (step.new if isinstance(step, RenameTable) else step.table)


def renamed_columns(table: Table) -> dict[str, str]:
    """Today's name of each column of a table by every name that it had before.

    Files outside the lake hold rows under the names of the version that wrote them. A name that
    another column has now is left out.
    """
    found: dict[str, str] = {}
    for step in (s for m in MIGRATIONS for s in m.steps if isinstance(s, RenameColumn)):
        if step.table == table.name:
            found = {old: step.new if new == step.old else new for old, new in found.items()}
            found[step.old] = step.new
    return {o: n for o, n in found.items() if n in table.names and o not in table.names}


def former_names(table: Table) -> dict[str, str]:
    """Names that columns of a table had in the version before this one: today's by the former.

    The published DuckDB file has them beside today's for as long as this version is the newest. A
    name that another column has now is left out, and so are columns that the table lacks.
    """
    steps = [s for s in MIGRATIONS[-1].steps if isinstance(s, RenameColumn)]
    return {
        s.old: s.new
        for s in steps
        if s.table == table.name and s.new in table.names and s.old not in table.names
    }


@dataclass(frozen=True)
class Difference:
    """What a stored table has otherwise than it is declared."""

    table: str
    lacks: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    """Columns of another type, or that may or may not be NULL otherwise than declared."""
    undeclared: bool = False


def differences(shape: Shape) -> list[Difference]:
    """Tables that differ from their declaration; tables that are missing are none.

    An undeclared table is one: rows of a patient who withdraws would stay in it.
    """
    declared = declared_shape(TABLES) | {VERSIONS: dict(VERSION_KINDS)}
    found = [
        _difference(table, columns, declared[table])
        if table in declared
        else Difference(table, undeclared=True)
        for table, columns in sorted(shape.items())
    ]
    return [d for d in found if d != Difference(d.table)]


def _difference(table: str, stored: Mapping[str, Kind], declared: Mapping[str, Kind]) -> Difference:
    return Difference(
        table,
        tuple(n for n in declared if n not in stored),
        tuple(n for n in stored if n not in declared),
        tuple(n for n in declared if n in stored and stored[n] != declared[n]),
    )
