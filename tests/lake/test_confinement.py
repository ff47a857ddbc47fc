"""Whoever may type SQL reads the lake's tables and nothing else.

No statement writes anything, and none reads a file, a setting or the network.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from dagster_project.cli import main
from dagster_project.lake.confinement import TABLE_FUNCTIONS, Refused, check_query
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake, open_lake, read_lake
from tests.lake.test_store import rows

SECRET = "Zhang San 00123456"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A lake of two snapshots, and files beside it that nobody may read."""
    made = Home(tmp_path_factory.mktemp("confined") / "home").make()
    with open_lake(made) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        lake.replace("treatments", rows("AA", "p2"), site="AA")
    outside = made.root.parent / "outside"
    outside.mkdir()
    for name in ("notes.txt", "rows.csv", "rows.json"):
        (outside / name).write_text(f'{{"name": "{SECRET}"}}', encoding="utf-8")
    (made.root / "lake" / "data2").mkdir()
    (made.root / "lake" / "data2" / "near.csv").write_text(f"name\n{SECRET}\n", encoding="utf-8")
    duckdb.sql(f"COPY (SELECT '{SECRET}' AS name) TO '{outside / 'rows.parquet'}'")
    with duckdb.connect(str(outside / "other.duckdb")) as c:
        c.execute(f"CREATE TABLE t AS SELECT '{SECRET}' AS name")
    store = sqlite3.connect(outside / "other.sqlite")
    store.execute(f"CREATE TABLE t AS SELECT '{SECRET}' AS name")
    store.commit()
    store.close()
    return made


ATTEMPTS = (
    "COPY (SELECT * FROM treatments) TO '{out}/stolen.csv'",
    "COPY treatments TO '{out}/stolen.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{data}/planted.parquet'",
    "COPY (SELECT 1) TO '{data}/../../../outside/planted.parquet'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY treatments FROM '{out}/rows.csv'",
    "COPY FROM DATABASE lake TO memory",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/stolen.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{out}/stolen.csv'",
    "/* EXPLAIN */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/stolen.csv'",
    "EXPLAIN ANALYZE FROM read_text('{out}/notes.txt')",
    "SELECT 1; COPY (SELECT 2) TO '{out}/stolen.csv'",
    "EXPORT DATABASE '{out}/export'",
    "IMPORT DATABASE '{out}/export'",
    "SELECT * FROM read_text('{out}/notes.txt')",
    "SELECT * FROM read_blob('{out}/notes.txt')",
    "SELECT * FROM read_csv('{out}/rows.csv')",
    "SELECT * FROM READ_CSV_AUTO('{out}/rows.csv')",
    "SELECT * FROM sniff_csv('{out}/rows.csv')",
    "SELECT * FROM read_json('{out}/rows.json')",
    "SELECT * FROM read_json_objects('{out}/rows.json')",
    "SELECT * FROM read_ndjson('{out}/rows.json')",
    "SELECT * FROM read_parquet('{out}/rows.parquet')",
    "SELECT * FROM parquet_metadata('{out}/rows.parquet')",
    "SELECT * FROM parquet_schema('{out}/rows.parquet')",
    "SELECT * FROM read_duckdb('{out}/other.duckdb', table_name := 't')",
    "SELECT * FROM sqlite_scan('{out}/other.sqlite', 't')",
    "SELECT * FROM sqlite_scan('{home}/lake/catalog.sqlite', 'ducklake_data_file')",
    "SELECT * FROM sqlite_query('lake', 'SELECT 1')",
    "CALL sqlite_attach('{out}/other.sqlite')",
    "SELECT * FROM postgres_scan('host=127.0.0.1 port=1', 'public', 't')",
    "SELECT * FROM '{out}/rows.parquet'",
    "SELECT * FROM '{out}/rows.csv'",
    'SELECT * FROM "{out}/rows.json"',
    "SELECT * FROM '{data}/*.parquet'",
    "SELECT * FROM read_parquet('{data}/main/treatments/**/*.parquet')",
    "SELECT * FROM read_csv('{data}2/near.csv')",
    "SELECT * FROM glob('{out}/*')",
    "SELECT * FROM glob('{data}/**')",
    "SELECT patient, (SELECT content FROM read_text('{out}/notes.txt')) FROM treatments",
    "WITH stolen AS (SELECT * FROM read_text('{out}/notes.txt')) SELECT * FROM stolen",
    "SELECT * FROM treatments t, LATERAL (SELECT * FROM read_text('{out}/' || t.patient))",
    "SELECT 1 UNION ALL SELECT size FROM read_text('{out}/notes.txt')",
    "DESCRIBE SELECT * FROM read_csv('{out}/rows.csv')",
    "SUMMARIZE '{out}/rows.csv'",
    "DESCRIBE '{out}/rows.parquet'",
    "PIVOT (SELECT * FROM sqlite_scan('{out}/other.sqlite', 't')) ON name USING count(*)",
    "PIVOT (SELECT * FROM sqlite_scan('{out}/other.sqlite', 't')) ON name IN ('a') USING count(*)",
    "SELECT * FROM query('SELECT * FROM read_text(''{out}/notes.txt'')')",
    "SELECT * FROM query_table(['{out}/rows.parquet'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "PRAGMA json_execute_serialized_sql('x')",
    "ATTACH '{out}/other.duckdb' AS o",
    "ATTACH '{out}/other.sqlite' AS o (TYPE sqlite)",
    "ATTACH 'host=127.0.0.1 port=1' AS o (TYPE postgres)",
    "ATTACH ':memory:' AS o",
    "DETACH lake",
    "USE memory",
    "INSTALL httpfs",
    "INSTALL spatial FROM community",
    "LOAD httpfs",
    "LOAD '{out}/evil.duckdb_extension'",
    "FORCE INSTALL icu",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET allowed_directories = ['/']",
    "SET temp_directory = '{out}'",
    "SET s3_endpoint = '127.0.0.1:1'",
    "RESET enable_external_access",
    "SET VARIABLE x = 1",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = '{out}/profile.json'",
    "PRAGMA database_list",
    "PRAGMA add_parquet_key('k', '0123456789112345')",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{out}/log'}})",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{out}/log'}})",
    "SELECT * FROM enable_profiling(format = 'json', save_location = '{out}/profile.json')",
    "SELECT getenv('HOME')",
    "SELECT current_setting('s3_secret_access_key')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'b')",
    "SELECT * FROM 'https://127.0.0.1:1/rows.parquet'",
    "SELECT * FROM read_csv('http://127.0.0.1:1/rows.csv')",
    "SELECT * FROM 's3://bucket/rows.parquet'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE MACRO f() AS TABLE SELECT * FROM read_text('{out}/notes.txt')",
    "CREATE VIEW v AS SELECT 1",
    "INSERT INTO treatments SELECT * FROM treatments",
    "UPDATE treatments SET cycle = 2",
    "DELETE FROM treatments",
    "WITH gone AS (DELETE FROM treatments RETURNING *) SELECT * FROM gone",
    "WITH a AS (SELECT 1) DELETE FROM treatments",
    "WITH a AS (SELECT 1) INSERT INTO treatments SELECT * FROM treatments",
    "SELECT 1 -- ; a comment\n; COPY (SELECT 2) TO '{out}/stolen.csv'",
    "TRUNCATE treatments",
    "DROP TABLE treatments",
    "ALTER TABLE treatments ADD COLUMN x INTEGER",
    "COMMENT ON TABLE treatments IS 'x'",
    "MERGE INTO treatments USING treatments t ON false WHEN NOT MATCHED THEN INSERT",
    "CHECKPOINT lake",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS COPY (SELECT 1) TO '{out}/stolen.csv'",
    "CALL ducklake_expire_snapshots('lake', older_than => now())",
    "SELECT * FROM ducklake_expire_snapshots('lake', older_than => now())",
    "SELECT * FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_add_data_files('lake', 'treatments', '{out}/rows.parquet')",
    "SELECT * FROM ducklake_list_files('lake', 'treatments')",
    "SELECT * FROM lake.set_option('data_path', '{out}')",
    "SELECT * FROM __ducklake_metadata_lake.ducklake_data_file",
    "SELECT encryption_key FROM __ducklake_metadata_lake.main.ducklake_data_file",
    "SHOW TABLES FROM __ducklake_metadata_lake",
)
"""What somebody may try, who may type SQL."""


def _filled(attempt: str, home: Home) -> str:
    return attempt.format(out=home.root.parent / "outside", data=home.data, home=home.root)


def _files(home: Home) -> dict[str, int]:
    found = [
        p
        for p in home.root.parent.rglob("*")
        if p.is_file() and not p.name.endswith(("-wal", "-shm"))
    ]
    return {str(p): p.stat().st_size for p in found}


def _call(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.root), "sql", *arguments])


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=range(len(ATTEMPTS)))
def test_nothing_is_written_and_no_file_is_read(home: Home, attempt: str) -> None:
    before = _files(home)
    result = _call(home, _filled(attempt, home), "--csv")
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert "Traceback" not in result.output
    assert "SHOW TABLES" in result.output  # where to go from here
    assert _files(home) == before


@pytest.mark.parametrize(
    "attempt",
    [
        "COPY (SELECT 1) TO '{out}/stolen.csv'",
        "COPY (SELECT 1) TO '{data}/../../../outside/planted.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/stolen.csv'",
        "EXPORT DATABASE '{out}/export'",
        "IMPORT DATABASE '{out}'",
        "SELECT * FROM read_text('{out}/notes.txt')",
        "SELECT * FROM '{out}/rows.parquet'",
        "SELECT * FROM read_csv('{data}2/near.csv')",
        "SELECT * FROM query('FROM read_text(''{out}/notes.txt'')')",
        "SELECT * FROM glob('{out}/*')",
        "ATTACH '{out}/other.duckdb' AS o",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SELECT * FROM 'https://127.0.0.1:1/rows.parquet'",
    ],
)
def test_the_settings_alone_keep_it_out_too(home: Home, attempt: str) -> None:
    """DuckDB's own lock stops a statement that deceives the parser.

    It leaves `sqlite_scan` open, hence the list of functions.
    """
    before = _files(home)
    with read_lake(home) as lake:
        lake.confine()
        with pytest.raises(duckdb.Error):
            lake.query(_filled(attempt, home)).fetchall()
    assert _files(home) == before


LEGITIMATE = (
    ("SELECT count(*) AS n FROM treatments", "n\n1\n"),
    ("FROM treatments SELECT patient;", "patient\np2\n"),
    ("SELECT patient FROM lake.treatments -- the newest\n", "patient\np2\n"),
    (
        "WITH a AS (SELECT patient FROM treatments) "
        "SELECT count(*) AS n FROM a JOIN treatments USING (patient)",
        "n\n1\n",
    ),
    ("SELECT x FROM range(3) t(x) WHERE x > 1", "x\n2\n"),
    ("SELECT unnest([1, 2]) AS x", "x\n1\n2\n"),
    (
        "PIVOT treatments ON cycle IN (1, 2) USING count(*) GROUP BY patient",
        "patient,1,2\np2,1,0\n",
    ),
    (
        "SELECT patient FROM treatments QUALIFY row_number() OVER (ORDER BY patient) = 1",
        "patient\np2\n",
    ),
    ("SELECT 'a/b.csv' AS path", "path\na/b.csv\n"),
    ("SELECT 'a; DROP TABLE treatments' AS text", "text\na; DROP TABLE treatments\n"),
    ("VALUES (1)", "col0\n1\n"),
    ("SELECT list_transform([1], lambda x: x + 1) AS l", "l\n[2]\n"),
    (
        "SELECT count(*) > 0 AS some FROM response_over_time "
        "UNION ALL SELECT false ORDER BY 1 LIMIT 1",
        "some\nFalse\n",
    ),
)


@pytest.mark.parametrize(("statement", "rows"), LEGITIMATE, ids=range(len(LEGITIMATE)))
def test_what_analysts_ask_is_answered(home: Home, statement: str, rows: str) -> None:
    result = _call(home, statement, "--csv")
    assert result.output == rows
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SHOW TABLES",
        "DESCRIBE scans",
        "SUMMARIZE treatments",
        "SHOW ALL TABLES",
        "SELECT * FROM lake.snapshots()",
        "SELECT * FROM ducklake_snapshots('lake')",
        "SELECT table_name, comment FROM duckdb_tables()",
        "SELECT column_name, comment FROM duckdb_columns()",
        "SELECT * FROM information_schema.columns",
        "EXPLAIN SELECT * FROM treatments",
        "EXPLAIN ANALYZE SELECT * FROM treatments",
        "SELECT * FROM pragma_table_info('scans')",
        "SELECT * FROM patient_delta_features",
        "SELECT * FROM patient_eligibility",
    ],
)
def test_tables_columns_views_and_snapshots_can_be_looked_up(home: Home, statement: str) -> None:
    assert _call(home, statement).exit_code == 0


def test_earlier_states_can_be_asked(home: Home) -> None:
    with read_lake(home) as lake:
        first = lake.snapshot() - 1
    asked = _call(home, "SELECT patient FROM treatments", "--as-of", str(first), "--csv")
    assert asked.output == "patient\np1\n"
    within = _call(home, f"SELECT patient FROM treatments AT (VERSION => {first})", "--csv")
    assert within.output == "patient\np1\n"
    changes = _call(
        home,
        f"SELECT count(*) AS n FROM lake.table_changes('treatments', {first + 1}, {first + 1})",
        "--csv",
    )
    assert changes.output == "n\n2\n"


def test_a_large_query_may_still_spill_to_the_disk(home: Home) -> None:
    with read_lake(home) as lake:
        lake.query("SET memory_limit = '60MB'")
        lake.confine()
        found = lake.query(
            "SELECT count(*) FROM (SELECT x, hash(x) AS h FROM range(3000000) t(x) ORDER BY h)"
        ).fetchall()
    assert found == [(3_000_000,)]


def test_every_function_that_duckdb_has_for_files_is_refused(home: Home) -> None:
    """Also those of a later version: what is not listed is refused."""
    with read_lake(home) as lake:
        names = {
            n
            for (n,) in lake.query(
                "SELECT DISTINCT function_name FROM duckdb_functions() "
                "WHERE function_type = 'table'"
            ).fetchall()
        }
    for name in sorted(names - TABLE_FUNCTIONS):
        with pytest.raises(Refused, match=name):
            check_query(f"SELECT * FROM {name}('x')")


def test_an_encrypted_lake_is_read_too(tmp_path: Path) -> None:
    """Its files are opened by httpfs, which is loaded before the connection is shut in."""
    home = Home(tmp_path / "home").make()
    with Lake(home.catalog, home.data, encrypted=True) as lake:
        lake.create_missing()
        lake.replace("treatments", rows("AA", "p1"), site="AA")
    with Lake(home.catalog, home.data, read_only=True, encrypted=True) as lake:
        lake.confine()
        assert lake.query("SELECT patient FROM treatments").fetchall() == [("p1",)]
        with pytest.raises(duckdb.Error):
            lake.query("SELECT * FROM 'https://127.0.0.1:1/rows.parquet'")
