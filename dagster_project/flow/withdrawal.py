"""A patient leaves the study: out of vault, tables, snapshots, publications, pages and histories; models trained on the data are marked."""

from __future__ import annotations

import gzip
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import polars as pl

from dagster_project.flow.predictions import forget_predictions
from dagster_project.flow.publication import publish_home
from dagster_project.intake.pseudonyms import forget_site, is_audited, write_audit
from dagster_project.intake.vault import held_names, remove_patient, site_lock
from dagster_project.lake.errors import SnapshotGone
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.publish import withdraw_publications
from dagster_project.lake.tables import MODEL_RUNS, TABLES, TRAINING_COHORT
from dagster_project.resources import Lakehouse

IDENTIFIED = ("landing", "truth", "throwaway-key-medium")
"""Folders of a home that are not searched: what sites deliver is theirs to take away."""

OWN_COLUMNS = ("patient", "scan", "pixel_digest", "mask_digest", "contour_digest", "series_uid", "input_fingerprint")
"""Columns whose values are one patient's alone, where no other patient has them too."""

SHORTEST_TRACE = 12
"""A shorter value is no digest and no UID, and stands by chance in any file."""


def find_traces(lakehouse: Lakehouse, patient: str) -> frozenset[str]:
    """Everything by which a patient's data could be told: pseudonym, keyed UIDs, names of scans, digests of pixels, masks and rows."""
    found = {patient, *held_names(lakehouse.home.vault / patient.rpartition("-")[0], patient)}
    for table in (t for t in TABLES if "patient" in t.names):
        own = [c for c in OWN_COLUMNS if c in table.names]
        rows = lakehouse.lake.read(table.name).select("patient", *(c for c in own if c != "patient"))
        mine, others = rows.filter(patient=patient), rows.filter(pl.col("patient") != patient)
        for column in own:
            found |= set(mine[column].drop_nulls().unique()) - set(others[column].drop_nulls().unique())
    return frozenset(value for value in found if len(value) >= SHORTEST_TRACE)


def find_marked_runs(lakehouse: Lakehouse, patient: str) -> list[str]:
    """MLflow runs whose training cohort, as of the snapshot that they were trained on, held the patient."""
    runs = lakehouse.lake.read(MODEL_RUNS.name).select("mlflow_run_id", "snapshot").unique()
    return [run for run, snapshot in runs.iter_rows() if _learnt_from(lakehouse, patient, snapshot)]


def _learnt_from(lakehouse: Lakehouse, patient: str, snapshot: int) -> bool:
    """An unreadable snapshot has expired; nobody can say any more whom it held, so the model counts as one that was trained on the patient."""
    try:
        return lakehouse.lake.read(TRAINING_COHORT.name, as_of=snapshot).filter(patient=patient).height > 0
    except SnapshotGone:
        return True


def leave_study(lakehouse: Lakehouse, patient: str, mark: str, purpose: str) -> None:
    """Take a patient out of vault, crosswalk and tables; the mark takes the place of the pseudonym, also in the audit.

    Done again where it was cut short. The tables are emptied here and not by deriving them anew: behind a
    closed gate nothing would be derived.
    """
    home = lakehouse.home
    with uninterrupted():
        remove_patient(home.vault / patient.rpartition("-")[0], patient, crosswalk=home.crosswalk, mark=mark)
        _forget(lakehouse, (patient,), mark, "withdraw", purpose)
        lakehouse.lake.remove_patient(patient)


def remove_site(lakehouse: Lakehouse, site: str, patients: Sequence[str], purpose: str) -> None:
    """Take a site with these patients out of vault, crosswalk and tables; done again where it was cut short.

    The audit keeps that the site was removed, by its code; earlier lines about its patients lose their pseudonyms.
    """
    home = lakehouse.home
    with uninterrupted():
        with site_lock(home.vault / site):
            forget_site(home.crosswalk, site)
            shutil.rmtree(home.vault / site)
        _forget(lakehouse, patients, site, "remove_site", purpose)
        lakehouse.lake.remove_site(site)


def _forget(lakehouse: Lakehouse, patients: Sequence[str], mark: str, action: str, purpose: str) -> None:
    """Audit, predictions that are kept, and answers: the largest value of a feature may have been the patient's."""
    home = lakehouse.home
    _remove_unfinished(home.crosswalk)
    if not is_audited(home.audit, action, mark):
        write_audit(home.audit, action, mark, purpose)
    audit = home.audit.read_bytes()
    for patient in patients:
        audit = audit.replace(patient.encode(), mark.encode())
        forget_predictions(lakehouse, patient)
    write_whole(home.audit, audit)
    if home.answers.is_dir():
        shutil.rmtree(home.answers)


def _remove_unfinished(folder: Path) -> None:
    """What a process that was killed had not finished writing, which may hold a pseudonym."""
    for file in folder.glob(".*.part"):
        file.unlink()


def forget_partition(site: str) -> None:
    """Take a site from Dagster's partitions."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        if instance.has_dynamic_partition("site", site):
            instance.delete_dynamic_partition("site", site)


def expunge(lakehouse: Lakehouse, runs: list[str]) -> None:
    """After the tables were derived without the patient: nothing older stays.

    1. Snapshots before this one expire; files that held the rows are rewritten and deleted; the catalogue is compacted.
    2. Older publications go, and this snapshot is published.
    3. The models that were trained on the patient are marked and lose their alias.
    """
    from models.tracking import mark_models

    home = lakehouse.home
    lakehouse.lake.expunge()
    withdraw_publications(home.published)
    publish_home(lakehouse.lake, home, lakehouse.study)
    if runs:
        mark_models(home.mlflow_uri, runs)
    _compact(home.mlflow.glob("*.sqlite"))
    if home.lake_made:
        _compact([home.lake / "catalog.sqlite"])


def forget_history(home: Home) -> int:
    """Delete the history of Dagster's runs: their events hold previews of rows and pictures of lesions.

    Whoever holds the home alone knows that a run which began and has no end was killed; those that wait to begin stay.
    """
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        waiting = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}
        done = [run.run_id for run in instance.get_runs() if run.status not in waiting]
        for run in done:
            instance.delete_run(run)
            shutil.rmtree(home.dagster / "storage" / run, ignore_errors=True)
            for rest in (home.dagster / "history" / "runs").glob(f"{run}.db*"):
                rest.unlink()
    return len(done)


def scrub(home: Home, traces: Iterable[str], mark: str) -> None:
    """Put the mark in place of what is left in Dagster's own stores: the last materialisation of an asset is kept beside the events."""
    wanted = _pattern(traces)
    stores = sorted(home.dagster.rglob("*.db"))
    for store in stores:
        with closing(sqlite3.connect(store, timeout=60)) as connection, connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                _scrub_table(connection, table, wanted, mark)
    _compact(stores)


def _scrub_table(connection: sqlite3.Connection, table: str, wanted: re.Pattern[bytes], mark: str) -> None:
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall()]
    for column in columns:
        for row_id, text in connection.execute(f'SELECT rowid, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\'').fetchall():
            clean = wanted.sub(mark.encode(), text.encode())
            if clean != text.encode():
                connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (clean.decode(), row_id))


def _compact(stores: Iterable[Path]) -> None:
    """Overwrite what SQLite files have deleted."""
    for store in stores:
        with closing(sqlite3.connect(store, timeout=60, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _pattern(traces: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(trace.encode()) for trace in sorted(traces, key=len, reverse=True)))


def search_home(home: Home, traces: Iterable[str], *, besides: Container[Path] = ()) -> list[str]:
    """Files of the home, landing, keys and those named aside, in whose name or bytes a trace is left; compressed and columnar files are searched unpacked too."""
    wanted = _pattern(traces)
    files = (f for f in sorted(home.root.rglob("*")) if f.relative_to(home.root).parts[0] not in IDENTIFIED and f not in besides)
    return [str(f.relative_to(home.root)) for f in files if wanted.search(str(f).encode()) or (f.is_file() and any(map(wanted.search, _contents(f))))]


def _contents(file: Path) -> Iterator[bytes]:
    data = file.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            yield from map(archive.read, archive.namelist())
    elif data[:4] == b"PAR1":
        yield pl.read_parquet(file).write_ndjson().encode()
    elif file.suffix == ".duckdb":
        yield from _tables_of(file)


def _tables_of(file: Path) -> Iterator[bytes]:
    import duckdb

    with duckdb.connect(str(file), read_only=True) as store:
        for (table,) in store.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield store.execute(f'SELECT * FROM "{table}"').pl().write_ndjson().encode()
