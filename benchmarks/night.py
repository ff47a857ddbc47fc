"""A night with nothing new over a cohort simulated as tables, and an analyst's queries.

    python -m benchmarks.night [--patients 500] [--features 100] [--home FOLDER]
        [--parts night first changed queries]

The cohort has no image; the queries are over its features.

Two readers' reads of every lesion and visit stand in a lake of eight sites, with as many features
of four regions as asked (the study has 1,316), each under the fingerprint that its read asks for,
as the night before would have left them.

- night: each site's features (`extract_new_features`) and the checks of them, as a run of every
  site has them; then the cohort tables from their rows: stability and change of features, responses
  of all evaluators, and the checks of the changes; then the gate three times, as
  `quality_verdicts`, `training_cohort` and `model_runs` judge, and the training step with what it
  kept of each task. Nothing is computed and no row is written, or the run stops; there is no scan
  in the vault, so imaging work could not be done at all. The first of two such nights finds no
  answers kept, as after an upgrade.
- changed: the same after one patient's T1 was measured anew: that patient's changes are written and
  no others. Each task's data set is built, and nothing is trained.
- publication: the first of this lake, and that after the night with one patient's T1, each in a
  process of its own; seconds, and its peak memory.
- queries: against the published DuckDB file, a fresh connection a kind of query, features and
  patients drawn at random, fetched as a polars frame; seconds by the clock. Patients bear
  pseudonyms of the form that the study gives, since what is read for one depends on how they begin.

- withdrawal: what `lakehouse withdraw` does to such a lake with one patient, a step at a time: what
  the data are known by, the rows of every table, snapshots and files, the publication from nothing,
  the catalogue's compaction, the search of the home; the steps between them are those of a night
  after one scan.
- tidy: `lakehouse tidy` with every snapshot but the newest to go; seconds, files and size of the
  lake before and after, and a night after it.

What it leaves out: intake, scans, reads and DHI (their nights compare files of the vault), training
itself, the pages, and Dagster's own time.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from checks import contracts, expectations
from dagster_project.flow import radiomic_features as flow
from dagster_project.flow import withdrawal
from dagster_project.flow.delta_features import derive_changed
from dagster_project.flow.feature_stability import compare_features
from dagster_project.flow.gate import judge
from dagster_project.flow.model_runs import Reading, load_tables_as_of
from dagster_project.flow.predictions import aliases
from dagster_project.flow.publication import publish_home
from dagster_project.flow.responses import grade_all_evaluators
from dagster_project.flow.trace_search import search_home
from dagster_project.flow.training_state import (
    TrainingState,
    load_training_state,
    save_training_state,
)
from dagster_project.lake.publish import publish, published_snapshots, withdraw_publications
from dagster_project.lake.schema import conform, polars_schema
from dagster_project.lake.store import Write
from dagster_project.lake.tables import BY_NAME, DELTA_FEATURES, RADIOMIC_FEATURES
from dagster_project.radiomics.extraction import feature_names
from dagster_project.radiomics.regions import region_names
from dagster_project.resources import Lakehouse
from dagster_project.simulation.tables import DAYS, Truth, simulate_tables
from dagster_project.study import load_study

PLAIN = {pl.String: "-", pl.Boolean: False, pl.Float64: 0.0}
"""Values of columns that may not be NULL and that the simulation leaves out; integers are 0."""

READERS = ("R1", "R2")
MOMENT = pl.lit("2026-01-12").str.to_datetime(time_zone="UTC")
QUERIES = {
    "one feature of the tumour, by site and visit": (
        "SELECT site, visit, count(*), avg(value), stddev(value) FROM radiomic_features "
        "WHERE feature = $feature AND region = 'tumor' GROUP BY ALL ORDER BY ALL"
    ),
    "everything of one patient": "SELECT * FROM radiomic_features WHERE patient = $patient",
    "change of one feature beside the response": (
        "SELECT overall_response, count(*), median(delta_symmetric) FROM delta_features d "
        "JOIN responses r USING (site, patient) "
        "WHERE feature = $feature AND region = 'tumor' AND from_visit = 'T0' "
        "AND to_visit = 'T1' AND r.visit = 'T2' AND evaluator = 'accepted' "
        "GROUP BY ALL ORDER BY ALL"
    ),
    "one feature of both readers, wide": (
        "SELECT site, patient, visit, lesion, reader, $column FROM radiomic_features_wide "
        "WHERE region = 'tumor'"
    ),
}


def _plain(kind):
    return pl.lit([] if isinstance(kind, pl.List) else None if kind is None else PLAIN.get(kind, 0))


def filled(name, frame):
    """The table's columns: the frame's, else NULL, or a plain value where NULL is not allowed."""
    kinds = polars_schema(BY_NAME[name])
    known = [c for c in frame.columns if c in kinds and frame[c].null_count() < frame.height]
    rows = frame.select(known).with_columns(pl.lit(True).alias("simulated"))
    missing = [
        _plain(None if c.nullable else kinds[c.name]).cast(kinds[c.name]).alias(c.name)
        for c in BY_NAME[name].columns
        if c.name not in rows.columns
    ]
    return conform(rows.with_columns(missing), BY_NAME[name])


def digest_of(*columns):
    return pl.concat_str(*columns, separator="/").hash(1).cast(pl.String).str.pad_start(64, "0")


def pseudonym_of(patient):
    """Site and characters that tell nothing, as the study's own."""
    body = base64.b32encode(hashlib.sha256(patient["patient"].encode()).digest()).decode()[:17]
    return f"{patient['site']}-{body}"


def tables_of(patients):
    """Lesions, reads, scans and visits of the simulated cohort."""
    study = load_study()
    simulated = simulate_tables(
        Truth(), study.section("model")["network_features"][:1], patients=patients
    )
    lesions, *rest = (
        frame.with_columns(
            patient=pl.struct("site", "patient").map_elements(pseudonym_of, pl.String)
        )
        for frame in (
            simulated.lesions,
            simulated.patients,
            simulated.dhi,
            simulated.outcomes,
            simulated.cohort,
        )
    )
    days = dict(zip(("T0", "T1", "T2"), DAYS, strict=True))
    at = lesions.with_columns(
        scan=digest_of("patient", "visit"),
        is_lymph_node=False,
        too_small_to_measure=False,
        organ=pl.col("lesion"),
        day=pl.col("visit").replace_strict(days),
        acceptance_basis=pl.lit("agreement"),
        n_readers=2,
        locked_at=MOMENT,
        recorded_at=MOMENT,
        mask_source=pl.lit("SEG"),
    )
    at = at.with_columns(
        short_axis_mm=pl.col("longest_diameter_mm") * 0.8, input_fingerprint=pl.col("scan")
    )
    read = pl.concat([at.with_columns(reader=pl.lit(r)) for r in READERS])
    outlined = pl.when("is_present").then(digest_of("scan", "lesion", "reader"))
    visits = at.select(
        "site",
        "patient",
        "visit",
        "scan",
        "day",
        "input_fingerprint",
        scan_date=MOMENT.dt.date() + pl.duration(days="day"),
        pixel_digest=pl.col("scan"),
    ).unique(maintain_order=True)
    made = {
        "lesions": at,
        "reads": read.with_columns(mask_digest=outlined),
        "scans": visits,
        "timepoints": visits,
    }
    return made | dict(zip(("patients", "dhi", "outcomes", "training_cohort"), rest, strict=True))


def fill(lakehouse, tables, features):
    """Write them, and the features that the reads ask for; how many rows of features there are."""
    for name, frame in tables.items():
        lakehouse.lake.replace(name, filled(name, frame))
    random, rows = np.random.default_rng(1), 0
    regions = region_names(load_study().section("radiomics"))
    each = pl.DataFrame({"region": regions}).join(pl.DataFrame({"feature": features}), how="cross")
    for site in tables["lesions"]["site"].unique().sort():
        tasks = flow._feature_tasks(lakehouse, site)  # noqa: SLF001 - what the night will ask for
        keys = pl.DataFrame([dict(t.key) | {"reader": reader} for t in tasks for reader in t.masks])
        measured = keys.join(each, how="cross")
        added = filled(
            RADIOMIC_FEATURES.name,
            measured.with_columns(value=pl.Series(random.lognormal(size=measured.height))),
        )
        rows += lakehouse.lake.replace_by_fingerprint(
            RADIOMIC_FEATURES.name, site=site, removed=[], added=added
        ).inserted
    return rows


GENERATED = (contracts.evaluate_contract, expectations.evaluate_suite)
"""The checks that every table has."""


def extraction(lakehouse, sites):
    """The features of every site, of which none may be computed."""

    def features():
        every = [
            flow.extract_new_features(lakehouse, site, lambda _: None).counts for site in sites
        ]
        if any(counts[what] for counts in every for what in ("computed", "removed", "refused")):
            raise SystemExit(f"the night was not empty: {every}")

    return "radiomic_features, all sites", features


def later_steps(lakehouse, sites, looked_at):
    """What a night does after the features, a step at a time; the tables give what was written."""
    lake = lakehouse.lake
    yield (
        "checks of radiomic_features, once a site",
        lambda: (
            [check(RADIOMIC_FEATURES, lakehouse, site) for site in sites for check in GENERATED]
            and None
        ),
    )
    yield (
        "feature_stability",
        lambda: lake.replace("feature_stability", compare_features(lakehouse)),
    )
    yield "delta_features", lambda: derive_changed(lakehouse, lambda _: None).write
    yield "responses", lambda: lake.replace("responses", grade_all_evaluators(lakehouse))
    yield (
        "checks of delta_features",
        lambda: [check(DELTA_FEATURES, lakehouse) for check in GENERATED] and None,
    )
    yield "the gate, three times", lambda: [judge(lakehouse) for _ in range(3)] and None
    yield (
        "the training step, before anything is trained",
        lambda: training_step(lakehouse, looked_at),
    )


def training_step(lakehouse, looked_at):
    """Pass over unchanged tasks, and read and build the training data of the others."""
    from models.data.datasets import TASKS, DatasetError, build_dataset
    from models.operation.registry import aliases_held

    snapshot, section, reading = (
        lakehouse.lake.snapshot(),
        lakehouse.study.section("model"),
        Reading(),
    )
    for name in section["tasks"]:
        held, before = (
            aliases_held(lakehouse.home.mlflow_uri, name, aliases(lakehouse)),
            load_training_state(lakehouse, name),
        )
        if before and before.is_current(lakehouse, snapshot, pl.DataFrame(), held):
            continue
        looked_at.append(name)
        tables = load_tables_as_of(
            lakehouse, snapshot, TASKS[name], section["network_features"], reading=reading
        )
        try:
            build_dataset(TASKS[name], **tables)
        except DatasetError:
            looked_at[-1] += " (no patient has its label)"
        save_training_state(
            lakehouse, name, TrainingState(snapshot, lakehouse.study.digest, None, held, {}, ())
        )


def timed(steps):
    """Name, seconds (CPU, clock) and result of each step."""
    for what, work in steps:
        start = time.process_time(), time.perf_counter()
        done = work()
        yield what, time.process_time() - start[0], time.perf_counter() - start[1], done


def print_steps(title, lakehouse, sites, *before):
    """A night's table: some steps, and those after them; rows that it wrote."""
    print(f"\n| {title} | CPU s | s by the clock |\n|---|---|---|")
    looked_at, written, spent = [], 0, []
    for what, cpu, clock, done in timed([*before, *later_steps(lakehouse, sites, looked_at)]):
        print(f"| {what} | {cpu:.1f} | {clock:.1f} |", flush=True)
        written += done.inserted + done.deleted if isinstance(done, Write) else 0
        spent.append((cpu, clock))
    cpu, clock = np.sum(spent, axis=0)
    print(
        f"| all of it | {cpu:.1f} | {clock:.1f} |\n\nRows written: {written}; "
        f"tasks whose data sets were built: {', '.join(looked_at) or 'none'}"
    )
    return written


def measure_anew(lakehouse):
    """Give one patient's T1 another fingerprint; how many rows of change the patient has."""
    lake = lakehouse.lake
    site, patient = lake.query("SELECT site, patient FROM delta_features LIMIT 1").fetchone()
    stored = lake.query(
        "SELECT count(*) FROM delta_features WHERE patient = ?", [patient]
    ).fetchone()[0]
    lake.query(
        "UPDATE radiomic_features SET input_fingerprint = input_fingerprint || '+' "
        "WHERE site = ? AND patient = ? AND visit = 'T1'",
        [site, patient],
    )
    return stored


def size_of(folder):
    files = [f for f in folder.rglob("*") if f.is_file()]
    return f"{len(files)} files of {sum(f.stat().st_size for f in files) / 2**20:.0f} MiB"


def publication(root):
    """Publish in this process: its seconds (CPU, clock) and peak memory in GiB."""
    lakehouse = Lakehouse(root=root)
    start = time.process_time(), time.perf_counter()
    made = publish(lakehouse.lake, lakehouse.home.published)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return (
        made.from_nothing,
        time.process_time() - start[0],
        time.perf_counter() - start[1],
        int(peak[1]) / 2**20,
    )


def published_apart(root, what):
    """A line of the table: a publication in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        from_nothing, cpu, clock, peak = apart.submit(publication, root).result()
    return (
        f"| {what}{'' if from_nothing else ': what differs'} "
        f"| {cpu:.1f} | {clock:.1f} | {peak:.1f} |"
    )


def percentiles(database, features, patients, repeats):
    """Median and 95th percentile of each query by the clock, in milliseconds."""
    random = np.random.default_rng(2)
    for what, statement in QUERIES.items():
        spent = []
        with duckdb.connect(str(database), read_only=True) as connection:
            for _ in range(repeats):
                values = {
                    "feature": str(random.choice(features)),
                    "patient": str(random.choice(patients)),
                }
                asked = {k: v for k, v in values.items() if f"${k}" in statement}
                start = time.perf_counter()
                connection.execute(
                    statement.replace("$column", f'"{values["feature"]}"'), asked
                ).pl()
                spent.append((time.perf_counter() - start) * 1000)
        yield what, np.percentile(spent, 50), np.percentile(spent, 95)


def filled_lake(home, given, features):
    """The lake of the cohort, written where it is not there yet; its sites and patients."""
    lakehouse = Lakehouse(root=str(home))
    tables = tables_of(given.patients)
    if not lakehouse.lake.count(RADIOMIC_FEATURES.name):
        fill(lakehouse, tables, features)
        derive_changed(lakehouse, lambda _: None)
    for name in ("patients", "dhi", "outcomes", "training_cohort"):
        lakehouse.lake.replace(name, filled(name, tables[name]))
    asked = (
        "SELECT list(DISTINCT site ORDER BY site), list(DISTINCT patient ORDER BY patient) "
        "FROM reads"
    )
    return lakehouse, *lakehouse.lake.query(asked).fetchone()


def print_night(lakehouse, sites):
    for kept in (lakehouse.home.answers, *lakehouse.home.mlflow.glob("learnt-*.json")):
        shutil.rmtree(kept, ignore_errors=True) if kept.is_dir() else kept.unlink(missing_ok=True)
    print_steps(
        "a night that finds no answers kept", lakehouse, sites, extraction(lakehouse, sites)
    )
    if print_steps("a night with nothing new", lakehouse, sites, extraction(lakehouse, sites)):
        raise SystemExit("the second night wrote rows")


PUBLICATION = "\n| a publication | CPU s | s by the clock | peak GiB |\n|---|---|---|---|"


def print_first(lakehouse):
    withdraw_publications(lakehouse.home.published)
    print(PUBLICATION)
    print(published_apart(lakehouse.root, "the first, from nothing"), flush=True)


def print_changed(lakehouse, sites):
    stored = measure_anew(lakehouse)
    written = print_steps("a night after one patient's T1 was measured anew", lakehouse, sites)
    print(f"The patient has {stored} rows of change.")
    if written < 2 * stored:
        raise SystemExit(f"{written} rows were written and taken out, of a patient of {stored}")
    if published_snapshots(lakehouse.home.published):
        print(PUBLICATION)
        print(published_apart(lakehouse.root, "a night with one scan measured anew"), flush=True)
        size = (lakehouse.home.published / "lakehouse.duckdb").stat().st_size
        print(f"\nThe DuckDB file has {size / 2**20:.0f} MiB.")


def print_tidy(lakehouse, sites):
    before, data = size_of(Path(lakehouse.home.data)), Path(lakehouse.home.data)
    ((_, cpu, clock, expired),) = timed(
        [
            (
                "tidy",
                lambda: lakehouse.lake.tidy(
                    days=0, kept=published_snapshots(lakehouse.home.published)
                ),
            )
        ]
    )
    print(
        f"\ntidy: {cpu:.1f} CPU s, {clock:.1f} s by the clock; {expired} snapshots expired; "
        f"{before} before, {size_of(data)} after, the given up ones still among them"
    )
    print_steps("a night after tidying", lakehouse, sites)
    if published_snapshots(lakehouse.home.published):
        print(PUBLICATION)
        print(published_apart(lakehouse.root, "after tidying"), flush=True)


def print_withdrawal(lakehouse, patients):
    """A patient leaves the lake; what `leaving.complete` does beside deriving anew."""
    patient, home = patients[len(patients) // 2], lakehouse.home
    traces = withdrawal.find_traces(lakehouse, patient)
    steps = {
        "what the data are known by": lambda: withdrawal.find_traces(lakehouse, patient),
        "rows of every table": lambda: lakehouse.lake.remove_patient(patient),
        "snapshots and files": lakehouse.lake.purge_history,
        "the lake audited and published from nothing": lambda: (
            withdraw_publications(home.published),
            publish_home(lakehouse.lake, home, lakehouse.study),
        ),
        # freed pages still hold rows
        "the catalogue compacted": lambda: withdrawal._compact(  # noqa: SLF001
            [home.lake / "catalog.sqlite"]
        ),
        "the home searched": lambda: search_home(home, traces),
    }
    print(
        f"\n| withdrawal of one of {len(patients)}, {len(traces)} traces | CPU s "
        "| s by the clock |\n|---|---|---|"
    )
    left = []
    for what, cpu, clock, left in timed(steps.items()):  # noqa: B007 - what the last step found
        print(f"| {what} | {cpu:.1f} | {clock:.1f} |", flush=True)
    if left:
        raise SystemExit(f"a trace is left in {left}")


def print_queries(lakehouse, features, patients, repeats):
    print("\n| query | median ms | p95 ms |\n|---|---|---|")
    for what, median, p95 in percentiles(
        lakehouse.home.published / "lakehouse.duckdb", features, patients, repeats
    ):
        print(f"| {what} | {median:.0f} | {p95:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument(
        "--parts", nargs="+", default=["night", "first", "changed", "tidy", "queries"]
    )
    parser.add_argument(
        "--home", type=Path, help="keep the lake here; one that is there is used as it is"
    )
    given = parser.parse_args()
    features = feature_names(load_study().section("radiomics"))[: given.features]
    with tempfile.TemporaryDirectory() as scratch:
        lakehouse, sites, patients = filled_lake(given.home or scratch, given, features)
        counts = {
            name: f"{lakehouse.lake.count(name):,} rows of {name}"
            for name in ("radiomic_features", "delta_features")
        }
        print(
            f"{len(patients)} patients, {len(sites)} sites, {given.features} features: "
            f"{', '.join(counts.values())}"
        )
        parts = {
            "withdrawal": lambda: print_withdrawal(lakehouse, patients),
            "night": lambda: print_night(lakehouse, sites),
            "first": lambda: print_first(lakehouse),
            "changed": lambda: print_changed(lakehouse, sites),
            "tidy": lambda: print_tidy(lakehouse, sites),
            "queries": lambda: print_queries(lakehouse, features, patients, given.repeats),
        }
        for part in given.parts:
            parts[part]()


if __name__ == "__main__":
    main()
