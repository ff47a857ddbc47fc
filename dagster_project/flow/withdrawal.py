"""A patient leaves the study.

The patient is removed from vault, tables, snapshots, publications, pages and histories; models
trained on the data are marked.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Container, Iterable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

from dagster_project.flow.model_runs import with_aliases
from dagster_project.flow.predictions import forget_predictions, load_predictions, save_predictions
from dagster_project.flow.publication import bring_up_to_date, publish_home
from dagster_project.flow.trace_search import picture_marks
from dagster_project.flow.unfinished_training import undo_unfinished
from dagster_project.intake.identity.pseudonyms import forget_site, is_audited, write_audit
from dagster_project.intake.vault.vault import held_names, remove_patient, site_lock
from dagster_project.lake.catalogue_backup import remove_backups
from dagster_project.lake.errors import SnapshotGone
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.publish import withdraw_publications
from dagster_project.lake.tables import MODEL_RUNS, TABLES, TRAINING_COHORT
from dagster_project.resources import Lakehouse

OWN_COLUMNS = (
    "patient",
    "scan",
    "pixel_digest",
    "mask_digest",
    "contour_digest",
    "series_uid",
    "input_fingerprint",
    "page_code",
)
"""Columns whose values are one patient's alone, where no other patient has them too."""

OWN_FIGURES = (
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
    "x_mm",
    "y_mm",
    "z_mm",
    "noise_hu",
    "dhi",
)
"""Columns whose figures are one patient's alone, to the last digit.

Probabilities are left out: they are the thresholds of a marked model's curves, which stay on record
without a name.
"""

DIGITS_OF_A_FIGURE, LARGEST_DENOMINATOR = 12, 2000

PAGES_OF_PATIENTS = ("patients", "board", "readers")
"""Folders of the pages of patients and of their visits, below the reports."""

SHORTEST_TRACE = 12
"""A shorter value is no digest and no UID, and stands by chance in any file."""


def find_traces(lakehouse: Lakehouse, patient: str) -> frozenset[str]:
    """Everything by which a patient's data could be recognised.

    1. Pseudonym, keyed UIDs, names of scans, digests of pixels, masks and rows.
    2. Figures of the patient's rows that nobody else has and that no figure is by chance.
    """
    found = {patient, *held_names(lakehouse.home.vault / patient.rpartition("-")[0], patient)}
    for table in (t for t in TABLES if "patient" in t.names):
        own = [c for c in OWN_COLUMNS if c in table.names and c != "patient"]
        found |= lakehouse.lake.own_values(table.name, own, patient)
        figures = [c for c in OWN_FIGURES if c in table.names]
        found |= set(filter(_is_telling, lakehouse.lake.own_values(table.name, figures, patient)))
    return frozenset(value for value in found if len(value) >= SHORTEST_TRACE)


def _is_telling(figure: str) -> bool:
    """Whether a figure has many digits and is no simple fraction.

    The fraction 0.6666666666666666 occurs in many files.
    """
    digits = re.sub(r"[^0-9]", "", figure.partition("e")[0]).strip("0")
    value = Fraction(figure) if len(digits) >= DIGITS_OF_A_FIGURE else Fraction(0)
    return value != 0 and abs(value.limit_denominator(LARGEST_DENOMINATOR) / value - 1) > Fraction(
        1, 10**12
    )


def find_pictures(lakehouse: Lakehouse, patient: str) -> frozenset[str]:
    """What pictures and CT on the patient's pages are known by, those on others' pages left out."""
    reports = lakehouse.home.reports
    pages = sorted(p for folder in PAGES_OF_PATIENTS for p in (reports / folder).rglob("*.html"))
    own = [page for page in pages if patient in {page.stem, page.stem.rpartition("_")[0]}]
    marks = picture_marks(page.read_bytes() for page in own)
    if not marks:
        return marks
    return marks - picture_marks(page.read_bytes() for page in pages if page not in own)


def find_marked_runs(lakehouse: Lakehouse, patient: str) -> list[str]:
    """MLflow runs whose training cohort held the patient, as of the snapshot trained on."""
    runs = lakehouse.lake.read(MODEL_RUNS.name).select("mlflow_run_id", "snapshot").unique()
    seen = {
        snapshot: _learnt_from(lakehouse, patient, snapshot)
        for snapshot in runs["snapshot"].unique()
    }
    return [run for run, snapshot in runs.iter_rows() if seen[snapshot]]


def _learnt_from(lakehouse: Lakehouse, patient: str, snapshot: int) -> bool:
    """Whether the training cohort of a snapshot held the patient.

    An unreadable snapshot has expired, and nobody knows any more whom it held; so the model counts
    as one that was trained on the patient.
    """
    try:
        return (
            lakehouse.lake.read(TRAINING_COHORT.name, as_of=snapshot).filter(patient=patient).height
            > 0
        )
    except SnapshotGone:
        return True


def withdraw_patient(lakehouse: Lakehouse, patient: str, mark: str, purpose: str) -> None:
    """Take a patient out of vault, crosswalk and tables.

    The mark takes the place of the pseudonym, also in the audit.

    Done again where it was cut short. The tables are emptied here and not by deriving them anew:
    behind a closed gate nothing would be derived.
    """
    home = lakehouse.home
    with uninterrupted():
        remove_patient(
            home.vault / patient.rpartition("-")[0], patient, crosswalk=home.crosswalk, mark=mark
        )
        _forget(lakehouse, (patient,), mark, "withdraw", purpose)
        lakehouse.lake.remove_patient(patient)


def remove_site(lakehouse: Lakehouse, site: str, patients: Sequence[str], purpose: str) -> None:
    """Take a site with these patients out of vault, crosswalk and tables.

    It is done again where it was cut short.

    The audit keeps that the site was removed, by its code; earlier lines about its patients lose
    their pseudonyms.
    """
    home = lakehouse.home
    with uninterrupted():
        with site_lock(home.vault / site):
            forget_site(home.crosswalk, site)
            shutil.rmtree(home.vault / site)
        _forget(lakehouse, patients, site, "remove_site", purpose)
        lakehouse.lake.remove_site(site)


def _forget(
    lakehouse: Lakehouse, patients: Sequence[str], mark: str, action: str, purpose: str
) -> None:
    """Take patients out of the audit and the stored predictions, and delete all answers.

    The largest value of a feature in an answer may have been the patient's.
    """
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


def mark_learnt(lakehouse: Lakehouse, runs: Sequence[str]) -> None:
    """Mark the models that were trained on the patient: they lose their alias, also in the tables.

    They predict nothing any more; the next run trains others without the patient. Models of a
    training that was killed have no row by which to know them: they go.
    """
    undo_unfinished(lakehouse)
    if not runs:
        return
    from models.operation.registry import mark_models

    mark_models(lakehouse.home.mlflow_uri, list(runs))
    rows = lakehouse.lake.read(MODEL_RUNS.name)
    for task in rows["task"].unique().sort():
        rows, _ = with_aliases(lakehouse, rows, task)
    lakehouse.lake.replace(MODEL_RUNS.name, rows)
    save_predictions(lakehouse, load_predictions(lakehouse).with_aliases(rows))


def purge_history(lakehouse: Lakehouse) -> None:
    """After the tables were derived without the patient: nothing older stays.

    1. Snapshots before this one expire; files that held the rows are rewritten and deleted; the
       catalogue is compacted, and its copies from before migrations are deleted.
    2. Older publications go, and this snapshot is published.
    """
    home = lakehouse.home
    bring_up_to_date(lakehouse.lake, lakehouse.study)
    lakehouse.lake.purge_history()
    remove_backups(home)
    withdraw_publications(home.published)
    publish_home(lakehouse.lake, home, lakehouse.study)
    _compact(home.mlflow.glob("*.sqlite"))
    if home.lake_made:
        _compact([home.lake / "catalog.sqlite"])


def forget_history(home: Home) -> int:
    """Delete the history of Dagster's runs.

    Their events hold previews of rows and pictures of lesions.

    1. Whoever holds the home alone knows that a run which began and has no end was killed; those
       that wait to begin stay.
    2. The last materialisation of each asset and the results of checks go too: they are kept beside
       the events.
    3. What was deleted is overwritten.
    """
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        waiting = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}
        runs = instance.get_runs()
        left = {run.run_id for run in runs if run.status in waiting}
        done = [run.run_id for run in runs if run.run_id not in left]
        for run in done:
            instance.delete_run(run)
    _remove_rests(home, left)
    stores = sorted(home.dagster.rglob("*.db"))
    for store in (s for s in stores if s.stem not in left):
        with closing(sqlite3.connect(store, timeout=60)) as connection, connection:
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for table in sorted(HISTORY.intersection(name for (name,) in tables)):
                connection.execute(f'DELETE FROM "{table}"')
    _compact(stores)
    return len(done)


HISTORY = frozenset({"event_logs", "asset_keys", "asset_check_executions", "asset_event_tags"})
"""Tables of Dagster's stores that hold events, or the last of them."""


def _remove_rests(home: Home, left: Container[str]) -> None:
    """Folders and event logs of runs that nobody knows any more, also of those deleted before."""
    storage, logs = home.dagster / "storage", home.dagster / "history" / "runs"
    for folder in storage.iterdir() if storage.is_dir() else ():
        if folder.name not in left and folder.is_dir():
            shutil.rmtree(folder)
    for log in logs.glob("*.db*"):
        run = log.name.partition(".")[0]
        if run not in left and run != "index":
            log.unlink()


def redact_stores(home: Home, traces: Iterable[str], mark: str) -> None:
    """Put the mark in place of what is left in Dagster's own stores.

    The last materialisation of an asset is stored beside the events.
    """
    wanted = _pattern(traces)
    stores = sorted(home.dagster.rglob("*.db"))
    for store in stores:
        with closing(sqlite3.connect(store, timeout=60)) as connection, connection:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                _redact_table(connection, table, wanted, mark)
    _compact(stores)


def _redact_table(
    connection: sqlite3.Connection, table: str, wanted: re.Pattern[bytes], mark: str
) -> None:
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall()]
    for column in columns:
        for row_id, text in connection.execute(
            f'SELECT rowid, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\''
        ).fetchall():
            clean = wanted.sub(mark.encode(), text.encode())
            if clean != text.encode():
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (clean.decode(), row_id)
                )


def _compact(stores: Iterable[Path]) -> None:
    """Overwrite what SQLite files have deleted."""
    for store in stores:
        with closing(sqlite3.connect(store, timeout=60, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _pattern(traces: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(
        b"|".join(re.escape(trace.encode()) for trace in sorted(traces, key=len, reverse=True))
    )
