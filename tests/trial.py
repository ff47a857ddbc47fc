"""A small study of its own for tests of the whole flow: a cohort, a protocol that such a cohort can pass, and a home to run it in."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from dagster_project.commands import Flow, run_flow
from dagster_project.lake.home import Home
from dagster_project.lake.store import read_lake
from dagster_project.simulation.plan import TINY, Plan, Trouble
from dagster_project.study import PROTOCOL

CHINESE, WESTERN = TINY.sites

COHORT = replace(
    TINY, patients_per_site=5,
    sites=(
        replace(CHINESE, courses=("late_responder", "stable", "late_responder", "late_progressor", "stable")),
        replace(WESTERN, courses=("stable", "late_responder", "late_responder", "late_progressor", "stable"), careless=(0, 1)),
    ),
    troubles=(
        Trouble("thick_slices", 0, 4), Trouble("missing_t2", 1, 4),
        Trouble("garbage_file", 0, 0), Trouble("dose_report", 0, 1), Trouble("localiser", 0, 2), Trouble("secondary_capture", 1, 1), Trouble("truncated_file", 1, 2),
        Trouble("bad_date", 0, 1), Trouble("unknown_column", 0, 0), Trouble("unknown_patient", 1, 0), Trouble("contour_without_series", 1, 3),
        Trouble("full_width_number", 0, 2),
    ),
)
"""Two sites of five patients, two of them ineligible; the second reader of SHPH read two patients carelessly."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "radiomics": {"log_sigma_mm": [1.0], "wavelet": "", "classes": ["firstorder", "shape"], "padding_mm": 5.0},
    "dhi": {"copies": 1},
    "agreement": {"pairs_minimum": 6},
    "gate": {"minimum_patients": 6, "minimum_per_class": 3},
    "model": {"folds": 3, "inner_folds": 2},
}
"""What differs from the study's own protocol: fewer features and copies, and limits that ten patients can reach."""


def write_protocol(file: Path, settings: Mapping[str, Mapping[str, Any]] = SETTINGS) -> Path:
    """A copy of study.toml with other values of keys that are there already."""
    wanted = {(section, key): value for section, keys in settings.items() for key, value in keys.items()}
    section, lines = "", []
    for line in PROTOCOL.read_text(encoding="utf-8").splitlines():
        section = line.partition("[")[2].partition("]")[0] if line.startswith("[") else section
        value = wanted.pop((section, line.partition("=")[0].strip()), None)
        lines.append(line if value is None else f"{line.partition('=')[0]}= {json.dumps(value)}")
    assert not wanted, f"study.toml has no {sorted(wanted)}"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@dataclass
class Trial:
    """A home, the settings under which everything in it is run, and what the runs said."""

    root: Path
    plan: Plan
    protocol: Path
    workers: int = 2
    said: list[str] = field(default_factory=list)

    @property
    def home(self) -> Home:
        return Home(self.root)

    @property
    def truth(self) -> dict[str, Any]:
        return json.loads((self.root / "truth" / "truth.json").read_text(encoding="utf-8"))

    @property
    def settings(self) -> dict[str, str]:
        """Environment of a process that works in this home."""
        return {"LAKEHOUSE_HOME": str(self.root), "DAGSTER_HOME": str(self.root / "dagster"), "LAKEHOUSE_STUDY": str(self.protocol),
                "LAKEHOUSE_WORKERS": str(self.workers), "MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false"}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Work in this home, then leave the environment as it was."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA", "LAKEHOUSE_KEYS", "LAKEHOUSE_DASK"):
                patch.delenv(name, raising=False)
            for name, value in self.settings.items():
                patch.setenv(name, value)
            yield

    def run(self, *sites: str) -> Flow:
        """The whole flow; what it says is kept."""
        with self.entered(), _said(self.said):
            return run_flow(self.home.make(), sites)

    def rows(self, statement: str, as_of: int | None = None) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.entered(), read_lake(self.home, as_of=as_of) as lake:
            return lake.query(statement).fetchall()

    def table(self, name: str, as_of: int | None = None) -> pl.DataFrame:
        """A table as it is, or was."""
        with self.entered(), read_lake(self.home) as lake:
            return lake.read(name, as_of=as_of)

    def snapshot(self) -> int:
        """The newest snapshot."""
        with self.entered(), read_lake(self.home) as lake:
            return lake.snapshot()

    def told(self, asset: str, site: str | None = None) -> dict[str, Any]:
        """Metadata of an asset's (and site's) last materialisation, as Dagster keeps it."""
        with self.entered(), dg.DagsterInstance.get() as instance:
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[site] if site else None)
            record = instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization is not None
        return {key: getattr(value, "value", value) for key, value in record.asset_materialization.metadata.items()}

    def counts(self, figure: str) -> dict[tuple[str, str], int]:
        """A figure of the imaging assets' last materialisations, by asset and site; `dhi` is of all sites."""
        told = {(a, s): self.told(a, s)[figure] for a in ("intake", "scans", "reads", "radiomic_features") for s in self.home.sites()}
        return {**told, ("dhi", "*"): self.told("dhi")[figure]}


@contextlib.contextmanager
def _said(into: list[str]) -> Iterator[None]:
    """Keep standard output and error, at the level of file descriptors: workers write there too."""
    import sys
    import tempfile

    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with open(1, "w", closefd=False, encoding="utf-8") as out, open(2, "w", closefd=False, encoding="utf-8") as err, \
                    contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            _ = [os.close(descriptor) for descriptor in kept]
            file.seek(0)
            into.append(file.read().decode("utf-8", errors="replace"))
