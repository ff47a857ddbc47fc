"""The codes that columns may hold, and the reasons of refusals, as a table of the published file.

They are the same for every lake of this version, and so are no table of the lake.
"""

from __future__ import annotations

from collections.abc import Iterator

from dagster_project.lake.columns import string
from dagster_project.lake.reasons import REASONS_LIST, reason_templates
from dagster_project.lake.tables import PUBLISHED, Table
from dagster_project.lake.views import VIEWS

CODE_LISTS = Table(
    "code_lists",
    "quality",
    "Codes that a column may hold, and the templates of reasons of refusals",
    "各列可取的代码，以及退回原因的模板",
    key=("list", "code"),
    columns=(
        string(
            "list",
            "Column whose codes these are, as table.column; reasons for those of quarantine",
            "代码所属的列（表.列）；reasons为退回原因",
        ),
        string(
            "code",
            "The code; of a reason its English template, where {name} stands for what differs",
            "代码；退回原因为英文模板，{name}代表可变部分",
        ),
        string(
            "column_en",
            "Meaning of the column in English; NULL for reasons",
            "该列的英文含义；退回原因为空",
            nullable=True,
        ),
        string(
            "zh",
            "Meaning of the column, or the reason, in Chinese",
            "该列的中文含义，或退回原因的中文",
        ),
    ),
)
"""Declared as the lake's tables are, so that columns have the same comments."""

Code = tuple[str, str, str | None, str]
"""One row, in the order of the columns."""


def list_codes() -> list[Code]:
    """All rows, in the order of the tables and then of the codes."""
    return [*_allowed(), *((REASONS_LIST, en, None, zh) for en, zh in reason_templates().items())]


def _allowed() -> Iterator[Code]:
    declared = {t.name: t.columns for t in PUBLISHED} | {v.name: v.columns for v in VIEWS.values()}
    for name, columns in declared.items():
        for column in columns:
            place = f"{name}.{column.name}"
            yield from ((place, code, column.en, column.zh) for code in column.allowed or ())
