"""Every statement the store runs, built here and executed there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.lake import views
from dagster_project.lake.migrations import Source
from dagster_project.lake.schema import (
    duckdb_comment,
    duckdb_comments,
    duckdb_create,
    duckdb_type,
    literal,
    quoted,
)
from dagster_project.lake.tables import TABLES, Table


@dataclass(frozen=True)
class Difference:
    """Statements of a replacement that touches only rows that differ.

    First find what goes and what comes, then delete and insert it.
    """

    going: str
    coming: str
    delete: str
    insert: str


def is_remote(data: str) -> bool:
    """True where the Parquet files lie in an object store."""
    return "://" in data


def extensions(catalog: str, data: str, *, encrypted: bool | None) -> list[str]:
    """DuckDB extensions that the catalogue and data path need; encryption is written by httpfs."""
    catalogue = "postgres_scanner" if catalog.startswith("postgres:") else "sqlite_scanner"
    remote = is_remote(data) if encrypted is None else encrypted or is_remote(data)
    return ["ducklake", catalogue, *(["httpfs"] if remote else [])]


def attach(
    catalog: str, data: str, *, read_only: bool, as_of: int | None, encrypted: bool | None
) -> str:
    """ATTACH statement of the lake.

    SQLite needs WAL and a busy time-out, or readers and writers shut each other out.
    """
    options = [f"DATA_PATH '{data}'", "DATA_INLINING_ROW_LIMIT 0"]
    if not is_remote(data):  # a home folder may be moved or restored elsewhere
        options += ["OVERRIDE_DATA_PATH true"]
    if catalog.startswith("sqlite:"):
        options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 20000"]
    encrypts = is_remote(data) if encrypted is None else encrypted
    if encrypts:
        options += ["ENCRYPTED"]
    if as_of is not None:
        options += [f"SNAPSHOT_VERSION {int(as_of)}"]
    if read_only:
        options += ["READ_ONLY"]
    return f"ATTACH 'ducklake:{catalog}' AS lake ({', '.join(options)})"


def create(table: Table) -> list[str]:
    """Statements that create a table, with its comments.

    A table by site is partitioned by site, and one of features is sorted by feature, so that one
    feature over a cohort reads few row groups.
    """
    statements = [duckdb_create(table)]
    if table.by_site:
        statements += [f'ALTER TABLE "{table.name}" SET PARTITIONED BY (site)']
    if "feature" in table.names:
        statements += [f'ALTER TABLE "{table.name}" SET SORTED BY (feature)']
    return statements + duckdb_comments(table)


def create_view(name: str) -> list[str]:
    """Create an analysts' view with its comment, in the place of the one that is there."""
    view = views.VIEWS[name]
    return [
        f"DROP VIEW IF EXISTS {quoted(name)}",
        f"CREATE VIEW {quoted(name)} AS {view.query}",
        f"COMMENT ON VIEW {quoted(name)} IS {literal(view.comment)}",
    ]


def comment_view(name: str) -> list[str]:
    """Describe the columns of a view.

    DuckDB's own files alone have such comments, not the lake.
    """
    return [duckdb_comment(name, column) for column in views.VIEWS[name].columns]


def select(
    table: Table, *, by_site: bool, as_of: int | None, where: str, source: Source | None = None
) -> str:
    """The table's rows in the order of its key; `source` where an earlier version has others."""
    version = _at(as_of)
    rows = f"({former_rows(table, source, version)})" if source else f'"{table.name}"{version}'
    site = " AND site = ?" if by_site else ""
    order = ", ".join(f'"{k}"' for k in table.key)
    return f"SELECT {columns(table)} FROM {rows} WHERE ({where}){site} ORDER BY {order}"


def _at(snapshot: int | None) -> str:
    return f" AT (VERSION => {int(snapshot)})" if snapshot is not None else ""


def former_rows(table: Table, source: Source, version: str = "") -> str:
    """A table's rows of an earlier schema version, under the names of today."""
    columns = ", ".join(
        f"{_former(source, c.name, duckdb_type(c))} AS {quoted(c.name)}" for c in table.columns
    )
    return f"SELECT {columns} FROM lake.main.{quoted(source.table)}{version}"


def _former(source: Source, name: str, kind: str) -> str:
    then, value = source.columns[name], source.added.get(name)
    if then is not None:
        return quoted(then)
    return f"CAST({'NULL' if value is None else literal(value)} AS {kind})"


def present(table: Table, source: Source) -> str:
    """Let a connection read a table of an earlier schema version under the names of today."""
    return f"CREATE TEMP VIEW {quoted(table.name)} AS {former_rows(table, source)}"


def sites(table: Table) -> str:
    """The sites that have rows of the table."""
    return f'SELECT DISTINCT site FROM "{table.name}" ORDER BY site'


def rows_of_site(table: Table, site: str | None, without: Collection[str], selected: str) -> str:
    """The rows (of one site, or without some sites) in the order in which they are published.

    `selected` is the list of columns as they leave the lake.
    """
    left_out = ", ".join(literal(name) for name in sorted(without)) if "site" in table.names else ""
    others = f" WHERE site NOT IN ({left_out})" if left_out else ""
    where = others if site is None else f" WHERE site = {literal(site)}"
    return f'SELECT {selected} FROM "{table.name}"{where} ORDER BY {published_order(table)}'


def limit(*, none: bool) -> str:
    """What a statement ends with where its rows, or none of them, are published."""
    return " LIMIT 0" if none else ""


def rows_exchanged(
    table: Table, site: str, patients: Collection[tuple[str, str]], former: str, selected: str
) -> str:
    """The same rows, of which only some patients' are read from the table.

    They follow those of a file that was published, without the same patients' rows.
    """
    some = of_patients([p for p in patients if p[0] == site])
    fresh = f'SELECT {selected} FROM "{table.name}" WHERE {some} ORDER BY {published_order(table)}'
    return (
        f"SELECT {columns(table)} FROM read_parquet({literal(former)}) WHERE NOT ({some}) "
        f"UNION ALL ({fresh})"
    )


def of_patients(patients: Collection[tuple[str, str]]) -> str:
    """Holds for their rows; where a pseudonym stands at two of the sites, for more than theirs."""
    sites, pseudonyms = map(_literals, zip(*patients, strict=True))
    return f"site IN ({sites}) AND patient IN ({pseudonyms})"


def _literals(names: Iterable[str]) -> str:
    return ", ".join(literal(name) for name in sorted(set(names)))


def copy(rows: str, file: str, metadata: Mapping[str, str]) -> str:
    """Write rows to a Parquet file."""
    pairs = ", ".join(f"{literal(k)}: {literal(v)}" for k, v in metadata.items())
    return (
        f"COPY ({rows}) TO {literal(file)} "
        f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{pairs}}})"
    )


def published_order(table: Table) -> str:
    """Order of published rows: by site and patient, then the key.

    A patient's rows lie together, so that few row groups are read for them.
    """
    first = [
        n
        for n in ("site", "patient")
        if n in table.key or ("feature" in table.names and n in table.names)
    ]
    return ", ".join(f'"{n}"' for n in dict.fromkeys((*first, *table.key)))


TABLES_WRITTEN = (
    "\nSELECT table_name FROM ducklake_table_info('lake') WHERE table_id::VARCHAR IN (\n"
    "    SELECT unnest(flatten(list_transform(list_filter(map_entries(changes),\n"
    "        lambda e: e.key <> 'tables_altered'), lambda e: e.value))) FROM lake.snapshots() "
    "WHERE snapshot_id > $since AND snapshot_id <= $until)"
)
"""Tables that the snapshots after `since` wrote: asking each table for its changes takes longer.

A column that has another name or comment is no row that differs.
"""


def files(table: Table, as_of: int | None = None) -> str:
    """The files of a table, and beside each the file of its deletions."""
    of_snapshot = "" if as_of is None else f", snapshot_version => {as_of}"
    arguments = f"'lake', '{table.name}'{of_snapshot}"
    return f"SELECT data_file, delete_file FROM ducklake_list_files({arguments})"


def files_with_sizes(tables: Iterable[Table]) -> str:
    """The files of tables and of their deletions, each with the size that was written."""
    return " UNION ALL ".join(
        f"SELECT '{table.name}', data_file, data_file_size_bytes, delete_file, "
        f"delete_file_size_bytes FROM ducklake_list_files('lake', '{table.name}')"
        for table in tables
    )


def rows_by_site(tables: Iterable[Table]) -> str:
    """Table, site and number of rows, of tables that name the site."""
    return " UNION ALL ".join(
        f"SELECT '{table.name}', site, count(*) FROM \"{table.name}\" GROUP BY site"
        for table in tables
    )


_META = "__ducklake_metadata_lake"
_OF_FILE = (
    f"SELECT data_file_id FROM {_META}.ducklake_data_file "
    "WHERE path LIKE $name AND end_snapshot IS NULL"
)

END_FILE = [
    (
        f"UPDATE {_META}.ducklake_delete_file SET end_snapshot = $snapshot "
        f"WHERE end_snapshot IS NULL AND data_file_id IN ({_OF_FILE})"
    ),
    (
        f"UPDATE {_META}.ducklake_data_file SET end_snapshot = $snapshot "
        "WHERE path LIKE $name AND end_snapshot IS NULL"
    ),
]
"""Statements that end a data file with a snapshot, without reading it.

DuckLake has no statement for a file that is lost.
"""

STORED_VIEWS = (
    "SELECT view_name, sql FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal"
)
"""Views as the lake has them."""

DECLARED_VIEWS = (
    "SELECT view_name, sql FROM duckdb_views() WHERE database_name = 'temp' AND NOT internal"
)
"""Views of this connection alone."""

_OF_TABLES = (
    "FROM duckdb_columns() WHERE database_name = 'lake' AND NOT internal AND table_name NOT IN "
    "(SELECT view_name FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal)"
)

STORED_COLUMNS = f"SELECT table_name, column_name, data_type, is_nullable {_OF_TABLES}"
"""Columns of tables as the lake has them."""

STORED_COMMENTS = f"SELECT table_name, column_name, comment {_OF_TABLES}"
"""Comments of those columns."""


def newest_version(table: str, as_of: int | None) -> str:
    """The newest schema version that a lake records."""
    return f"SELECT max(version) FROM {quoted(table)}{_at(as_of)}"


def record_versions(table: str, names: Mapping[int, str]) -> str:
    """Record schema versions as applied now, in one file of rows."""
    rows = " UNION ALL ".join(
        f"SELECT {int(version)} AS version, {literal(name)} AS name, now() AS applied_at"
        for version, name in names.items()
    )
    return f"INSERT INTO {quoted(table)} BY NAME {rows}"


def commit_message(author: str, message: str) -> str:
    """Name author and purpose of the snapshot that a transaction will write."""
    return f"CALL lake.set_commit_message({literal(author)}, {literal(message)})"


def changed_patients(table: Table, *, since: int, until: int) -> str:
    """Site and patient of the rows inserted, deleted or changed after `since`, up to `until`.

    Both are snapshots. Of a table that names no patient: whether there was any such row.
    """
    what = "site, patient" if "patient" in table.names else "'', ''"
    return (
        f"SELECT DISTINCT {what} "
        f"FROM lake.table_changes('{table.name}', {int(since) + 1}, {int(until)})"
    )


def columns(table: Table) -> str:
    """The table's columns, quoted."""
    return ", ".join(f'"{n}"' for n in table.names)


def delete_fingerprints(table: Table) -> str:
    """Delete a site's rows that were computed from inputs no longer there."""
    return f'DELETE FROM "{table.name}" WHERE site = ? AND list_contains(?, input_fingerprint)'


def insert(table: Table) -> str:
    """Insert the frame registered as `incoming`, sorted as the table lies."""
    return f'INSERT INTO "{table.name}" BY NAME SELECT * FROM incoming ORDER BY {_order(table)}'


def _order(table: Table) -> str:
    names = ("feature", *table.key) if "feature" in table.names else table.key
    return ", ".join(f'"{n}"' for n in dict.fromkeys(names))


def difference(table: Table, *, by_site: bool) -> Difference:
    """What to delete and insert so that the table equals the frame registered as `incoming`.

    With `by_site`, only the rows of one site count.
    """
    site = " WHERE site = ?" if by_site else ""
    stored = f'SELECT {columns(table)} FROM "{table.name}"{site}'
    offered = f"SELECT {columns(table)} FROM incoming"
    key = ", ".join(f'"{k}"' for k in table.key)
    return Difference(
        going=(
            f"CREATE OR REPLACE TEMP TABLE going AS SELECT {key} FROM ({stored} EXCEPT {offered})"
        ),
        coming=f"CREATE OR REPLACE TEMP TABLE coming AS {offered} EXCEPT {stored}",
        delete=f'DELETE FROM "{table.name}" WHERE ({key}) IN (SELECT ({key}) FROM temp.going)',
        insert=(
            f'INSERT INTO "{table.name}" BY NAME SELECT * FROM temp.coming ORDER BY {_order(table)}'
        ),
    )


def delete_patient() -> list[str]:
    """Statements that delete a patient from every table that names one.

    Also where the patient is named as another's likely double.
    """
    columns = [
        (table.name, column)
        for table in TABLES
        for column in ("patient", "other_patient")
        if column in table.names
    ]
    return [f'DELETE FROM "{table}" WHERE {column} = ?' for table, column in columns]


def own_values(table: Table, column: str) -> str:
    """Values of a column that only the rows of one patient hold, as text."""
    of_patient = f'SELECT DISTINCT "{column}" FROM "{table.name}" WHERE patient = $patient'
    of_others = (
        f'SELECT DISTINCT "{column}" FROM "{table.name}" '
        f'WHERE patient <> $patient AND "{column}" IN ({of_patient})'
    )
    return (
        f'SELECT "{column}"::VARCHAR FROM ({of_patient} EXCEPT {of_others}) '
        f'WHERE "{column}" IS NOT NULL'
    )


def texts_by_site(table: Table, columns: Sequence[str]) -> str:
    """A row per site with every text of each column, each once; `*` where a table names no site.

    One statement per table: DuckLake plans each anew, which takes longer than reading a small
    table.
    """
    texts = (f'list(DISTINCT "{name}") FILTER (WHERE "{name}" IS NOT NULL)' for name in columns)
    site = "site" if "site" in table.names else "'*'"
    return f'SELECT {site}, {", ".join(texts)} FROM "{table.name}" GROUP BY ALL'


def sites_above(table: Table, columns: Sequence[str], largest: int) -> str:
    """A row per site: of each column, whether a number is above, in size, what it may hold."""
    above = (f'coalesce(bool_or(abs("{name}") > {int(largest)}), false)' for name in columns)
    site = "site" if "site" in table.names else "'*'"
    return f'SELECT {site}, {", ".join(above)} FROM "{table.name}" GROUP BY ALL'


STRANGE_DAYS = """
SELECT DISTINCT site FROM (
    SELECT site, patient, scan_date - day AS first_day FROM scans UNION ALL
    SELECT site, patient, scan_date - day FROM timepoints UNION ALL
    SELECT site, patient, treatment_date - day FROM treatments UNION ALL
    SELECT site, patient, event_date - day FROM follow_up UNION ALL
    SELECT site, patient, status_date - day FROM clinical_status UNION ALL
    SELECT site, patient, decision_date - day FROM board_decisions)
WHERE first_day IS NOT NULL GROUP BY site, patient HAVING count(DISTINCT first_day) > 1"""
"""Sites of patients for whom day 0 is not the same date everywhere."""


CATALOGUE_TABLES = (
    "ducklake_data_file",
    "ducklake_delete_file",
    "ducklake_files_scheduled_for_deletion",
    "ducklake_file_column_stats",
    "ducklake_table_column_stats",
    "ducklake_file_partition_value",
    "ducklake_snapshot_changes",
    "ducklake_tag",
    "ducklake_column_tag",
    "ducklake_view",
    "ducklake_metadata",
    "ducklake_inlined_data_tables",
)
"""Tables of the catalogue that hold texts.

DuckDB does not list them, since they are DuckLake's own.
"""


def catalogue_rows(table: str) -> str:
    """Every row of a table of the catalogue."""
    return f"SELECT * FROM {_META}.{table}"


LOCK_SECONDS = 60
"""How long a table of the catalogue is waited for that somebody else reads."""


def vacuum_postgres(catalog: str) -> list[str]:
    """Statements that rewrite every table of a catalogue on PostgreSQL.

    Deleted rows stay in its files until then.
    """
    connection = f"{catalog.removeprefix('postgres:')} options='-c lock_timeout={LOCK_SECONDS}s'"
    return [
        f"ATTACH {literal(connection)} AS catalogue (TYPE postgres)",
        "CALL postgres_execute('catalogue', 'VACUUM FULL', use_transaction => false)",
        "DETACH catalogue",
    ]


def delete_site() -> list[str]:
    """Statements that take a site out of every table that names one."""
    return [
        f'DELETE FROM "{table.name}" WHERE site = ?' for table in TABLES if "site" in table.names
    ]


EXPIRABLE = (
    "\nSELECT snapshot_id FROM lake.snapshots() WHERE snapshot_time < now() - to_days($days) "
    "AND NOT list_contains($kept, snapshot_id)\n"
    "    AND snapshot_id < (SELECT max(snapshot_id) FROM lake.snapshots()) ORDER BY snapshot_id"
)
"""Snapshots of more than so many days that nobody names."""

SMALL_FILE, GRACE = 16 * 2**20, "INTERVAL 1 DAY"
"""Size of the largest file that is merged, in bytes, and the delay before a file is deleted.

Larger files are left as they are. A file that no snapshot needs stays a day, for queries that
began before.
"""


def expire(snapshots: list[int]) -> str:
    """Let these snapshots expire."""
    return f"CALL ducklake_expire_snapshots('lake', versions => {[int(n) for n in snapshots]})"


def tidy() -> list[str]:
    """Statements that tidy the lake's files.

    Files of which half is deleted are rewritten, small ones are merged, and those that no snapshot
    needs or knows are deleted.
    """
    return [
        "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0.5)",
        f"CALL ducklake_merge_adjacent_files('lake', max_file_size => {SMALL_FILE})",
        f"CALL ducklake_cleanup_old_files('lake', older_than => now() - {GRACE})",
        f"CALL ducklake_delete_orphaned_files('lake', older_than => now() - {GRACE})",
    ]


def purge_history() -> list[str]:
    """Statements that leave the newest snapshot alone, and of it only rows that are there."""
    rewrite = [
        f"CALL ducklake_rewrite_data_files('lake', '{table.name}', delete_threshold => 0)"
        for table in TABLES
    ]
    return [
        *rewrite,
        "CALL ducklake_expire_snapshots('lake', older_than => now())",
        "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
        "CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)",
        (
            "UPDATE __ducklake_metadata_lake.ducklake_table_column_stats "
            "SET min_value = NULL, max_value = NULL"
        ),
    ]
