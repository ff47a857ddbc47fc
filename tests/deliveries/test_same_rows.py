"""The same medium and the same files give the same rows, whatever the seed of Python's hashes, the order of the files and the workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from dagster_project.intake.keys import create_throwaway_medium
from tests.conftest import REPOSITORY
from tests.real_landing import SETTINGS
from tests.trial import Trial, write_protocol

pytestmark = pytest.mark.real_data

CASES = REPOSITORY.parent / "shared" / "cases"

TABLES = ("scans", "timepoints", "reads", "radiomic_features", "patients", "treatments", "quarantine")

RUNS = {"seed 0, one worker": ("0", "1", False), "seed 1, two workers": ("1", "2", False), "seed 2, other order": ("2", "1", True)}

PROGRAM = """
import sys
import dagster as dg
from dagster_project.commands.run import install_dagster_settings
from dagster_project.definitions import defs
from dagster_project.lake.home import find_home
from dagster_project.resources import Lakehouse

if __name__ == "__main__":
    home = find_home().make()
    install_dagster_settings(home)
    with dg.DagsterInstance.get() as instance:
        sites = home.sites()
        instance.add_dynamic_partitions("site", sites)
        job = defs.resolve_job_def("site")
        for site in sites:
            job.execute_in_process(instance=instance, partition_key=site)
        defs.resolve_job_def("cohort").execute_in_process(instance=instance, asset_selection=[dg.AssetKey("quarantine")])
    for table in sys.argv[2:]:
        Lakehouse().lake.read(table).write_parquet(f"{sys.argv[1]}/{table}.parquet")
"""


def _other_order(landing: Path) -> None:
    """Files under other names and times, made last to first: a folder lists them in another order."""
    for folder in sorted({f.parent for f in landing.rglob("*.dcm")}):
        for number, file in enumerate(sorted(folder.glob("*.dcm"), reverse=True)):
            copy = folder / f"z{number:04d}.dcm"
            copy.write_bytes(file.read_bytes())
            file.unlink()
            os.utime(copy, (1_600_000_000 + number, 1_600_000_000 + number))


def _named_by_content(frame: pl.DataFrame) -> pl.DataFrame:
    """Pseudonyms are drawn by chance and shift the dates; digests of files that hold either (outline_source) differ with them."""
    drawn = [c for c in frame.columns if c in {"patient", "item", "input_fingerprint", "locked_at", "outline_source"} or frame.schema[c] == pl.Date]
    left = frame.drop(drawn)
    keyed = [c for c in left.columns if left.schema[c] != pl.List(pl.String)]
    return left.select(keyed).sort(keyed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, pl.DataFrame]]:
    folder = tmp_path_factory.mktemp("same")
    protocol = write_protocol(folder / "study.toml", SETTINGS)
    medium = create_throwaway_medium(folder / "medium")
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    found = {}
    for name, (seed, workers, other) in RUNS.items():
        trial = Trial(folder / seed, protocol)
        home = trial.home.make()
        for case in ("03", "08"):
            subprocess.run([sys.executable, "build.py", case, str(home.landing)], cwd=CASES, check=True, capture_output=True)
        if other:
            _other_order(home.landing)
        shutil.copytree(medium, home.throwaway_medium)
        environment = {**os.environ, **trial.settings, "PYTHONHASHSEED": seed, "LAKEHOUSE_WORKERS": workers, "PYTHONPATH": str(REPOSITORY)}
        out = folder / f"out{seed}"
        out.mkdir()
        subprocess.run([sys.executable, str(program), str(out), *TABLES], env=environment, check=True, capture_output=True)
        found[name] = {table: _named_by_content(pl.read_parquet(out / f"{table}.parquet")) for table in TABLES}
    return found


@pytest.mark.parametrize("table", TABLES)
def test_the_rows_are_the_same(made: dict[str, dict[str, pl.DataFrame]], table: str) -> None:
    first, *others = made.values()
    assert first[table].height > 0
    for other in others:
        assert other[table].equals(first[table], null_equal=True), table
