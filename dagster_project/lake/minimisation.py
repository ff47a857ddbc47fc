"""Minimises what leaves with a publication, as the protocol's section [publish] defines.

Ages are given in bands, and columns without values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagster_project.lake.columns import FINGERPRINT, Column
from dagster_project.lake.derivations import emptied_by, reached_by
from dagster_project.lake.tables import PATIENTS, TABLES, Table
from dagster_project.protocol import is_usable, wording_of
from dagster_project.study import Study, StudyError

if TYPE_CHECKING:
    import polars as pl

AGE = "age_years"
"""The column that bands are for."""

ANYWHERE = "*"
"""In the place of a table: the column in every table that has it."""

NEEDED = ("site", "patient", "simulated", "consent")
"""Columns that are never suppressed: who a row is of, what is simulated, and who has withdrawn."""

MODEL_INPUTS = "predictions.input_digest"
"""Digest of a patient's inputs of a model, some of which are columns of patients."""


@dataclass(frozen=True)
class Minimisation:
    """The section [publish], checked.

    Parameters
    ----------
    age_band_years
        Width of the bands; a published age is the lower bound of its band. 1: the age itself.
    suppressed
        Columns without values, as `table.column`: those of the protocol, and all that give one of
        them away (`derivations`).
    """

    age_band_years: int = 1
    suppressed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, study: Study) -> Minimisation:
        """Read from a protocol; a protocol without the section publishes what the lake holds.

        Raises
        ------
        StudyError
            Where an entry cannot be meant, naming it and what may stand there.
        """
        section = study.sections.get("publish", {})
        for name, value in section.items():
            if not is_usable(f"publish.{name}", value):
                raise StudyError(_how_to_write(name))
        width, listed = section.get("age_band_years", 1), section.get("suppressed_columns", [])
        return cls(width, reached_by(place for entry in listed for place in _places(entry)))

    @cached_property
    def emptied(self) -> frozenset[str]:
        """Tables published without rows: figures of a suppressed column."""
        return emptied_by(self.suppressed)

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Columns without values.

        The suppressed ones, and the digest of every row of which anything is changed.

        A digest gives a suppressed value, or an age within its band, to whoever tries all values.
        """
        changed = {place.partition(".")[0] for place in self.suppressed}
        if self.age_band_years > 1:
            changed |= {table.name for table in TABLES if AGE in table.names}
        digests = {
            f"{t.name}.{FINGERPRINT.name}"
            for t in TABLES
            if t.name in changed and FINGERPRINT.name in t.names
        }
        return self.suppressed | digests | ({MODEL_INPUTS} if PATIENTS.name in changed else set())

    def as_json(self) -> dict[str, Any]:
        """As a publication's manifest says it."""
        return {
            "age_band_years": self.age_band_years,
            "suppressed_columns": sorted(self.left_out),
            "tables_without_rows": sorted(self.emptied),
        }

    def table(self, table: Table) -> Table:
        """The table as it is published; the descriptions say what was done to it."""
        columns = tuple(self._column(table, column) for column in table.columns)
        if table.name not in self.emptied:
            return replace(table, columns=columns)
        en, zh = f"{table.en}; {WITHOUT_ROWS[0]}", f"{table.zh}；{WITHOUT_ROWS[1]}"
        return replace(table, columns=columns, en=en, zh=zh)

    def _column(self, table: Table, column: Column) -> Column:
        if f"{table.name}.{column.name}" in self.left_out:
            en, zh = f"{column.en}; not published, always NULL", f"{column.zh}；不发布，恒为空"
            return replace(column, en=en, zh=zh, nullable=True)
        if column.name == AGE and self.age_band_years > 1:
            width = self.age_band_years
            en = f"{column.en}; published in bands of {width} years, as the lower bound"
            return replace(column, en=en, zh=f"{column.zh}；按{width}岁分组发布，取组下限")
        return column

    def columns(self, table: Table) -> str:
        """The table's columns as they are selected for a publication."""
        return ", ".join(self._selected(table, column) for column in table.columns)

    def _selected(self, table: Table, column: Column) -> str:
        # every command checks [publish]: it imports nothing heavy
        from dagster_project.lake.schema import duckdb_type

        if f"{table.name}.{column.name}" in self.left_out:
            return f'NULL::{duckdb_type(column)} AS "{column.name}"'
        if column.name == AGE and self.age_band_years > 1:
            return f'("{AGE}" // {self.age_band_years} * {self.age_band_years})::INTEGER AS "{AGE}"'
        return f'"{column.name}"'

    def frame(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of a table as they are published."""
        import polars as pl

        if name in self.emptied:
            return rows.clear()
        gone = [c for c in rows.columns if f"{name}.{c}" in self.left_out]
        shown = rows.with_columns(pl.lit(None, rows.schema[c]).alias(c) for c in gone)
        banded = AGE in rows.columns and self.age_band_years > 1
        return (
            shown.with_columns(pl.col(AGE) // self.age_band_years * self.age_band_years)
            if banded
            else shown
        )

    def band(self, age_years: int | None) -> str | None:
        """An age as text: itself, or its band.

        >>> Minimisation(5).band(62), Minimisation(5).band(90), Minimisation().band(62), Minimisation(5).band(None)
        ('60-64', '>=90', '62', None)
        """  # noqa: E501
        if age_years is None or self.age_band_years == 1:
            return None if age_years is None else str(age_years)
        low = age_years // self.age_band_years * self.age_band_years
        high = low + self.age_band_years - 1
        return f">={low}" if high >= TOP_AGE else f"{low}-{high}"


WITHOUT_ROWS = (
    "not published, always without rows: its figures are of columns that are not published",
    "不发布，恒无记录：其结果由不发布的列算得",
)
"""What the description of such a table adds."""

TOP_AGE = PATIENTS.column(AGE).maximum or 0
"""Above it every age is given as this one."""

AS_IN_THE_LAKE = Minimisation()
"""Everything as it is."""

WRONG_COLUMN = (
    "study.toml [publish] suppressed_columns, {0}: {1}. "
    "Columns are written table.column, or *.column for all tables (docs/dictionary.md)\n"
    "study.toml [publish] suppressed_columns，{0}：{2}。"
    "列名写作“表.列”，或“*.列”表示所有表（见 docs/dictionary.md）"
)


def _how_to_write(name: str) -> str:
    place, allowed = f"study.toml [publish] {name}", wording_of(f"publish.{name}")
    return f"{place}: write {allowed.en}\n{place}：请填写{allowed.zh}"


def _places(entry: str) -> list[str]:
    """The columns that an entry names.

    Raises
    ------
    StudyError
        Where there is none, or one cannot be left out: rows are identified by it.
    """
    if entry.count(".") != 1:
        raise StudyError(_how_to_write("suppressed_columns"))
    where, name = entry.split(".")
    tables = [t for t in TABLES if where in (t.name, ANYWHERE) and name in t.names]
    if not tables:
        raise StudyError(WRONG_COLUMN.format(entry, "there is no such column", "没有该列"))
    needed = [t.name for t in tables if name in t.key or name in NEEDED]
    if needed:
        why = "it cannot be left out: it identifies the row, or says whose and of what kind it is"
        raise StudyError(
            WRONG_COLUMN.format(entry, why, "该列用于区分各行或标明归属与性质，不能省略")
        )
    return [f"{t.name}.{name}" for t in tables]
