"""A small study of its own for tests of the whole flow.

It has a cohort, a protocol that such a cohort can pass, and a home to run it in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import sqlalchemy
from click.testing import CliRunner, Result
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from dagster_project.commands.run import Flow, run_flow
from dagster_project.flow.intake import session_keys
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.lake.home import Home
from dagster_project.resources import Lakehouse
from dagster_project.simulation.plan import TINY, Plan, Trouble
from dagster_project.study import PROTOCOL

CHINESE, WESTERN = TINY.sites
SITES = (CHINESE.name, WESTERN.name)

COHORT = replace(
    TINY,
    patients_per_site=4,
    sites=(
        replace(CHINESE, courses=("late_responder", "stable", "late_progressor", "stable")),
        replace(
            WESTERN, courses=("stable", "late_responder", "late_responder", "stable"), careless=(0,)
        ),
    ),
    troubles=(
        Trouble("thick_slices", 0, 3),
        Trouble("duplicate_patient", 0, 3),
        Trouble("missing_t2", 1, 3),
        Trouble("kernel_change", 0, 1),
        Trouble("full_width_number", 0, 2),
        Trouble("unknown_column", 0, 0),
        Trouble("bad_date", 0, 1),
        Trouble("unknown_patient", 1, 0),
        Trouble("garbage_file", 0, 0),
        Trouble("dose_report", 0, 1),
        Trouble("localiser", 0, 2),
        Trouble("secondary_capture", 1, 1),
        Trouble("truncated_file", 1, 2),
        Trouble("contour_without_series", 1, 1),
    ),
)
"""Two sites of four patients; the last patient of each site is ineligible.

The second reader of SHPH read the first patient carelessly.
"""

SMALLEST: Plan = replace(
    COHORT,
    patients_per_site=3,
    sites=(
        replace(CHINESE, courses=("late_responder", "stable", "late_progressor")),
        replace(WESTERN, courses=("late_responder", "stable", "late_responder"), careless=()),
    ),
    troubles=(
        Trouble("garbage_file", 0, 0),
        Trouble("bad_date", 0, 1),
        Trouble("dose_report", 0, 1),
        Trouble("contour_without_series", 1, 0),
    ),
)
"""As few patients as open the gate, so that models learn and predict."""

OF_THE_RUN = {
    "recorded_at": "when a response first stood in the lake",
    "evaluated_at": "when the gate was judged",
    "trained_at": "when a model was trained",
    "mlflow_run_id": "drawn by MLflow for each training",
}
"""Columns that describe the run and not the data; nothing else may differ."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "radiomics": {"log_sigma_mm": [], "wavelet": "", "classes": ["firstorder"], "padding_mm": 5.0},
    "dhi": {"copies": 1},
    "habitats": {"lesions_minimum": 6},
    "agreement": {"pairs_minimum": 12, "icc_raw_minimum": 0.0, "icc_lower_minimum": 0.0},
    "gate": {"minimum_patients": 6, "minimum_per_class": 3},
    "registration": {
        "amendments": [
            {
                "key": key,
                "value": value,
                "decided_by": "PI",
                "decided_on": "2026-01-05",
                "reason": "a simulated study of eight patients",
            }
            for key, value in (
                ("agreement.pairs_minimum", 12),
                ("agreement.icc_raw_minimum", 0.0),
                ("agreement.icc_lower_minimum", 0.0),
                ("gate.minimum_patients", 6),
                ("gate.minimum_per_class", 3),
            )
        ]
    },
    "model": {"folds": 3, "inner_folds": 2},
}
"""What differs from the study's own protocol.

There are fewer features and copies, and limits that eight patients can reach, with the decision on
them.
"""

IMAGING = ("intake", "scans", "reads", "radiomic_features")
"""Assets of a site that do imaging work."""


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def _wait_for_no_disk(connection: object, _: object) -> None:
    """Dagster and MLflow commit after each event, and no test cuts the power of their stores.

    What a killed process has written is there all the same.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF").close()


def write_protocol(file: Path, settings: Mapping[str, Mapping[str, Any]] = SETTINGS) -> Path:
    """A copy of study.toml with other values of keys that it has."""
    wanted = {
        (section, key): value for section, keys in settings.items() for key, value in keys.items()
    }
    section, lines = "", []
    for line in PROTOCOL.read_text(encoding="utf-8").splitlines():
        section = line.partition("[")[2].partition("]")[0] if line.startswith("[") else section
        value = wanted.pop((section, line.partition("=")[0].strip()), None)
        lines.append(line if value is None else f"{line.partition('=')[0]}= {_toml(value)}")
    assert not wanted, f"study.toml has no {sorted(wanted)}"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _toml(value: Any) -> str:
    """A value as TOML has it: JSON, but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return (
        "[" + ", ".join(map(_toml, value)) + "]"
        if isinstance(value, (list, tuple))
        else json.dumps(value)
    )


@dataclass
class Trial:
    """A home, the settings under which everything in it is run, and what the runs said."""

    root: Path
    protocol: Path
    plan: Plan = COHORT
    said: list[str] = field(default_factory=list)
    analyst: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[str, int], str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return Home(self.root)

    @property
    def truth(self) -> dict[str, Any]:
        return json.loads((self.root / "truth" / "truth.json").read_text(encoding="utf-8"))

    def patient_truth(self, site: str, ordinal: int) -> dict[str, Any]:
        return next(
            p for p in self.truth["patients"] if (p["site"], p["ordinal"]) == (site, ordinal)
        )

    def pseudonym(self, site: str, ordinal: int) -> str:
        """What intake called a patient; found with the keys, as nothing else can."""
        if (site, ordinal) not in self.known:
            with self.entered():
                found = Crosswalk(self.home.crosswalk, session_keys(self.home)).find(
                    site, self.patient_truth(site, ordinal)["hospital_number"]
                )
            assert found is not None
            self.known[site, ordinal] = found
        return self.known[site, ordinal]

    def everyone(self) -> list[tuple[str, dict[str, Any]]]:
        """Each patient's pseudonym and truth."""
        return [(self.pseudonym(p["site"], p["ordinal"]), p) for p in self.truth["patients"]]

    @property
    def settings(self) -> dict[str, str]:
        """Environment of a process that works in this home."""
        return {
            "LAKEHOUSE_HOME": str(self.root),
            "DAGSTER_HOME": str(self.root / "dagster"),
            "LAKEHOUSE_STUDY": str(self.protocol),
            "LAKEHOUSE_WORKERS": "2",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
        }

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Work in this home, then leave the environment as it was."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA", "LAKEHOUSE_KEYS", "LAKEHOUSE_DASK"):
                patch.delenv(name, raising=False)
            for name, value in self.settings.items():
                patch.setenv(name, value)
            yield

    @contextlib.contextmanager
    def overheard(self) -> Iterator[None]:
        """Work in this home and keep what is said, at the level of file descriptors too."""
        with self.entered(), _others_warnings_ignored(), tempfile.TemporaryFile() as file:
            try:
                with _into(file.fileno()):
                    yield
            finally:
                file.seek(0)
                self.said.append(file.read().decode("utf-8", errors="replace"))

    def run(self, *sites: str) -> Flow:
        """The whole flow."""
        with self.overheard():
            return run_flow(self.home.make(), sites)

    def materialise(self, asset: str) -> dg.ExecuteInProcessResult:
        """One asset of the cohort, in a run of its own."""
        from dagster_project.definitions import defs

        with self.overheard(), dg.DagsterInstance.get() as instance:
            return defs.resolve_job_def("cohort").execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
            )

    def call(self, *arguments: str) -> Result:
        """The command line."""
        from dagster_project.cli import main

        with self.overheard():
            result = CliRunner().invoke(main, ["--home", str(self.root), *arguments])
        self.said.append(result.output)
        return result

    @property
    def lakehouse(self) -> Lakehouse:
        """The resource of the assets, with its one connection a process."""
        return Lakehouse(root=str(self.root))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.entered():
            return self.lakehouse.lake.query(statement).fetchall()

    def table(self, name: str, as_of: int | None = None) -> pl.DataFrame:
        """A table as it is, or was."""
        with self.entered():
            return self.lakehouse.lake.read(name, as_of=as_of)

    def snapshot(self) -> int:
        """The newest snapshot."""
        with self.entered():
            return self.lakehouse.lake.snapshot()

    def told(self, asset: str, site: str | None = None) -> dict[str, Any]:
        """Metadata of an asset's (and site's) last materialisation, as Dagster keeps it."""
        with self.entered(), dg.DagsterInstance.get() as instance:
            wanted = dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(asset), asset_partitions=[site] if site else None
            )
            record = instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization is not None
        return {
            key: getattr(value, "value", value)
            for key, value in record.asset_materialization.metadata.items()
        }

    def check_passed(self, asset: str, check: str) -> bool:
        """Whether a check is green in Dagster's pages, which show how it ended last."""
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        with self.entered(), dg.DagsterInstance.get() as instance:
            last = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        return last.status is AssetCheckExecutionRecordStatus.SUCCEEDED

    def work(self) -> dict[str, int]:
        """What the last run computed anew, by asset and site.

        The figures of `dhi` and `habitats` are of all sites.
        """
        return {
            f"{asset} {site}": self.told(asset, site)["computed"]
            for asset in IMAGING
            for site in SITES
        } | {name: self.told(name)["computed"] for name in ("dhi", "habitats")}


@contextlib.contextmanager
def _others_warnings_ignored() -> Iterator[None]:
    """Makes warnings that our code causes errors, and ignores the others.

    Those that libraries cause among themselves are not ours to mend.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module=r"(dagster_project|assets|checks|models)(\.|$)")
        yield


@contextlib.contextmanager
def _into(descriptor: int) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(descriptor, number)
        with (
            open(1, "w", closefd=False, encoding="utf-8") as out,
            open(2, "w", closefd=False, encoding="utf-8") as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


@dataclass(frozen=True)
class Stage:
    """State after a run: what the run gave, the lake's snapshot, and the imaging work done."""

    trial: Trial
    outcome: Flow | Result
    snapshot: int
    work: dict[str, int]

    def table(self, name: str) -> pl.DataFrame:
        """A table as it stood then."""
        return self.trial.table(name, as_of=self.snapshot)


def after(trial: Trial, outcome: Flow | Result) -> Stage:
    """The stage that a run has led to."""
    return Stage(trial, outcome, trial.snapshot(), trial.work())


def deliver_decisions(trial: Trial) -> None:
    """Copy the arbiter's decisions into the landing."""
    for decisions in sorted((trial.root / "truth" / "arbitration").glob("*/*.csv")):
        target = trial.home.landing / decisions.parent.name / "arbitration"
        target.mkdir()
        shutil.copy(decisions, target)


def deliver_board_decision(trial: Trial, site: str) -> None:
    """A decision on T1 of a site's first patient, by the code that the page prints."""
    patient, truth = trial.pseudonym(site, 0), trial.patient_truth(site, 0)
    page = (trial.home.reports / "board" / f"{patient}_T1.html").read_text(encoding="utf-8")
    code = page.partition("Code of this page")[2].partition("<code>")[2].partition("</code>")[0]
    day = truth["visits"]["T1"]["date"]
    file = trial.home.landing / site / "board" / "decisions.csv"
    file.parent.mkdir()
    rows = [
        "研究编号,访视,讨论日期,决定,角色,讨论页编号,临床稳定,下次CT日期",
        f"{patient},T1,{day},继续并提前复查,肿瘤内科,{code},是,",
    ]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def mlflow_runs(trial: Trial) -> int:
    """Runs in MLflow's own store; none where there is no store."""
    store = trial.home.mlflow / "mlflow.sqlite"
    if not store.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT count(*) FROM runs").fetchone()[0]
