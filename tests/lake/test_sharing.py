"""Another account of the study's group reads pages and publications, and nothing else.

The umask of the service closes everything, as a careful administrator sets it.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.store import open_lake
from dagster_project.reports.writing import (
    write_arbitration_pages,
    write_patient_reports,
    write_study_report,
)
from dagster_project.study import load_study
from tests.lake.test_store import rows
from tests.reports.cohort import whole

GROUP, ANALYST, STRANGER, OTHER_GROUP = 61000, 61001, 61002, 61003
NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
CLOSED = ("vault", "crosswalk", "lake", "landing", "mlflow", "dagster", "due")


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home with every kind of page and two publications, written under a closed umask.

    It lies where other accounts come to, which pytest's own folders are not.
    """
    if os.getuid() != 0:
        pytest.skip("only root may become two other accounts")
    with tempfile.TemporaryDirectory(prefix="lake-group-") as folder:
        Path(folder).chmod(0o755)
        before = os.umask(0o077)
        try:
            yield fill(Home(Path(folder) / "home"))
        finally:
            os.umask(before)


def fill(home: Home) -> Home:
    home.root.mkdir()
    os.chown(home.root, -1, GROUP)
    home.root.chmod(0o750)
    home.make()
    with open_lake(home) as lake:
        for patients in (("p1",), ("p1", "p2")):
            lake.replace("treatments", rows("AA", *patients), site="AA")
            publish(lake, home.published)
    tables, study = whole(), load_study()
    write_study_report(home.reports, tables, study, 1, NOW)
    write_patient_reports(home.reports, tables, study, 1, NOW)
    write_arbitration_pages(home.reports, tables, study, 1, NOW, lambda _: ([], []))
    (home.vault / "AA").mkdir(mode=0o755)
    for secret in (home.vault / "AA" / "0001.dcm", home.crosswalk / "crosswalk.sqlite"):
        secret.write_bytes(b"secret")
        secret.chmod(0o644)
    return home


def files(*folders: Path) -> set[str]:
    found = [p for folder in folders for p in folder.rglob("*")]
    return {str(p) for p in found if p.is_file() and not p.is_symlink()}


def test_an_analyst_of_the_group_reads_every_page_and_publication(home: Home) -> None:
    shared = files(home.reports, home.published)
    assert len([f for f in shared if f.endswith(".html")]) > 5
    assert any(f.endswith(".parquet") for f in shared)
    by_link = str(home.published / "lakehouse.duckdb")
    assert readable(ANALYST, GROUP, shared | {by_link}) == shared | {by_link}


def readable(account: int, group: int, names: set[str]) -> set[str]:
    """Which of these files an account can open, by opening each."""
    script = 'for f; do head -c1 -- "$f" >/dev/null 2>&1 && printf "%s\\0" "$f"; done; true'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *names],
        user=account,
        group=group,
        extra_groups=[],
        capture_output=True,
        check=True,
    )
    return set(done.stdout.decode().split("\0")) - {""}


def test_the_group_reads_neither_vault_nor_crosswalk_nor_lake(home: Home) -> None:
    for folder in CLOSED:
        assert files(home.root / folder) or folder in {"landing", "mlflow", "dagster", "due"}
        assert readable(ANALYST, GROUP, files(home.root / folder)) == set()
        assert not can_list(ANALYST, home.root / folder)
    assert can_list(ANALYST, home.reports), "the same look finds what is open"


def can_list(account: int, folder: Path) -> bool:
    done = subprocess.run(
        ["ls", str(folder)],
        user=account,
        group=GROUP,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_who_is_not_of_the_group_reads_nothing(home: Home) -> None:
    assert readable(STRANGER, OTHER_GROUP, files(home.root)) == set()


def test_the_group_writes_nothing(home: Home) -> None:
    for folder in (home.root, home.reports, home.published, home.reports / "patients"):
        done = subprocess.run(
            ["touch", str(folder / "x")],
            user=ANALYST,
            group=GROUP,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
