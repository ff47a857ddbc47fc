"""Confines an analyst's statement to a query of the lake's tables.

It writes nothing and reads no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from dagster_project.lake.errors import LakeError

TABLE_FUNCTIONS = frozenset(
    {
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "repeat_row",
        "json_each",
        "json_tree",
        "summary",
        "duckdb_tables",
        "duckdb_columns",
        "duckdb_views",
        "duckdb_types",
        "duckdb_functions",
        "duckdb_keywords",
        "pragma_table_info",
        "pragma_version",
        "icu_calendar_names",
        "pg_timezone_names",
        "snapshots",
        "current_snapshot",
        "last_committed_snapshot",
        "table_info",
        "table_changes",
        "table_insertions",
        "table_deletions",
        "ducklake_snapshots",
        "ducklake_current_snapshot",
        "ducklake_last_committed_snapshot",
        "ducklake_table_info",
        "ducklake_table_changes",
        "ducklake_table_insertions",
        "ducklake_table_deletions",
    }
)
"""Functions in the place of a table that touch only the lake's rows and description.

All others are refused: DuckDB's own settings leave `sqlite_scan`, `query` and DuckLake's
maintenance open.
"""

SETTINGS_FUNCTIONS = frozenset({"current_setting", "getenv", "write_log"})
"""Functions that read settings (store passwords among them) or the environment, or write a log."""

METADATA = "__ducklake_metadata"
"""How DuckLake's own tables begin: they hold the keys of encrypted files."""

_PATH = re.compile(r"[/\\:*?]|\.\w+$")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(?:\([^()]*\)\s*)?", re.IGNORECASE)

WHAT_TO_DO = (
    "`lakehouse sql` queries the lake's tables and nothing else; "
    '`lakehouse sql "SHOW TABLES"` lists them. '
    'To save rows: `lakehouse sql "SELECT …" --csv > rows.csv`. '
    "To join them with files of your own, open published/lakehouse.duckdb, "
    "or the Parquet files beside it, in your own DuckDB, Python or R"
)


class Refused(LakeError):
    """A statement of an analyst that is no query of the lake's tables."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}. {WHAT_TO_DO}")


def check_query(statement: str) -> None:
    """Refuse what is no query of the lake's tables, before it is run.

    1. One statement, and DuckDB's parser has it as a SELECT; also FROM, VALUES, WITH, SHOW,
       DESCRIBE, SUMMARIZE, and EXPLAIN of one of them.
    2. A function in the place of a table is one of `TABLE_FUNCTIONS`; none of `SETTINGS_FUNCTIONS`
       anywhere.
    3. No table by the name of a file, and none of DuckLake's own.

    What cannot be parsed is left to DuckDB, which names the place.

    Raises
    ------
    Refused
        Naming what is not allowed, and what to do instead.

    Examples
    --------
    >>> check_query("SELECT count(*) FROM scans")
    """
    explained = _EXPLAIN.match(statement)
    query = statement[explained.end() :] if explained else statement
    statements = _statements(query)
    _check_kind(query, statements)
    for node in _nodes(_tree(query)) if statements else ():
        _check_function(node)
        _check_table(node)


def _check_kind(query: str, statements: list[duckdb.Statement]) -> None:
    kinds = [statement.type.name for statement in statements]
    if kinds == ["CREATE", "SELECT"] and query.lstrip()[:5].upper() == "PIVOT":
        raise Refused("PIVOT needs its columns by name: PIVOT … ON visit IN ('T0', 'T1', 'T2')")
    if len(kinds) > 1:
        raise Refused("one statement at a time")
    if kinds and kinds != ["SELECT"]:
        raise Refused(f"{kinds[0]} is not allowed here")


def _statements(query: str) -> list[duckdb.Statement]:
    try:
        with _parser() as c:
            return c.extract_statements(query)
    except duckdb.Error:
        return []


def _parser() -> duckdb.DuckDBPyConnection:
    """A connection of its own without files: IMPORT DATABASE is read already where it is parsed."""
    return duckdb.connect(config={"enable_external_access": False})


def _tree(query: str) -> Any:
    """The parsed query.

    It stands in the statement as a literal: DuckDB imports pandas to bind any parameter, which
    takes longer than all the rest.

    Raises
    ------
    Refused
        Where DuckDB can parse the query but not show how: nobody can say then what is in it (PRAGMA
        is one).
    """
    literal = "'" + query.replace("'", "''") + "'"
    with _parser() as c:
        found = c.execute(f"SELECT json_serialize_sql({literal})").fetchall()[0][0]
    tree = json.loads(found)
    if tree["error"]:
        raise Refused(
            "only queries are allowed here (SELECT, FROM, WITH, SHOW, DESCRIBE, SUMMARIZE)"
        )
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _check_function(node: dict[str, Any]) -> None:
    name = str(node.get("function_name", "")).lower()
    called = node.get("function") if node.get("type") == "TABLE_FUNCTION" else None
    table_function = str((called or {}).get("function_name", "")).lower()
    if name in SETTINGS_FUNCTIONS or (called is not None and table_function not in TABLE_FUNCTIONS):
        raise Refused(f"the function {table_function or name} is not allowed here")


def _check_table(node: dict[str, Any]) -> None:
    places = [str(node.get(key) or "") for key in ("catalog_name", "schema_name", "table_name")]
    if any(place.lower().startswith(METADATA) for place in places):
        raise Refused(
            "DuckLake's own tables are not open here; snapshots: SELECT * FROM lake.snapshots()"
        )
    if _PATH.search(places[-1].strip('"')):
        raise Refused("a file is no table here")
