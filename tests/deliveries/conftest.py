"""Small deliveries as hospitals send them, each with a fault; one home of all of them, run once."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagster_project.flow.intake import session_keys
from dagster_project.intake.identity.pseudonyms import Crosswalk
from tests.conftest import REPOSITORY
from tests.deliveries.own_cases import OWN
from tests.real_landing import SETTINGS, deliver
from tests.trial import Trial, write_protocol

CASES = REPOSITORY.parent / "shared" / "cases"
"""Deliveries made after public bug reports; `build.py` there writes one."""


@pytest.fixture(scope="session")
def builder() -> Iterator[ModuleType]:
    """The program that writes a case."""
    spec = importlib.util.spec_from_file_location("cases_build", CASES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


def landing_cases(build: ModuleType) -> list[str]:
    """Names of the cases that are a site's delivery."""
    files = sorted(CASES.glob("[0-9]*_*.py"))
    return [f.stem for f in files if getattr(build.load(f), "SITE", None)]


class Deliveries:
    """A home in which deliveries were run, and questions to it."""

    def __init__(self, trial: Trial, exit_code: int, output: str) -> None:
        self.trial, self.exit_code, self.output = trial, exit_code, output

    def ask(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a statement."""
        with self.trial.entered():
            return self.trial.lakehouse.lake.query(statement, list(parameters)).pl().to_dicts()

    def refused(self, site: str, stage: str | None = None) -> list[str]:
        """`item: reason` of everything that was refused of a site."""
        rows = self.ask(
            "SELECT stage, item, reason FROM quarantine WHERE site = ? ORDER BY ALL", site
        )
        return [f"{r['item']}: {r['reason']}" for r in rows if stage in {None, r["stage"]}]

    def pseudonym(self, site: str, number: str) -> str:
        """What intake called a patient."""
        with self.trial.entered():
            found = Crosswalk(self.trial.home.crosswalk, session_keys(self.trial.home)).find(
                site, number
            )
        assert found is not None
        return found

    def reads(self, site: str, number: str | None = None) -> list[dict[str, Any]]:
        """The reads of a site, or of one of its patients, by lesion and scan."""
        rows = self.ask(
            "SELECT * FROM reads WHERE site = ? ORDER BY patient, lesion, scan, reader", site
        )
        return (
            rows
            if number is None
            else [r for r in rows if r["patient"] == self.pseudonym(site, number)]
        )


def run_delivery(folder: Path, write: Callable[[Path], None]) -> Deliveries:
    """Run `lakehouse run` in a new home whose landing `write` fills."""
    trial = Trial(folder / "home", write_protocol(folder / "study.toml", SETTINGS))
    write(trial.home.make().landing)
    result = trial.call("run")
    return Deliveries(trial, result.exit_code, "".join(trial.said))


@pytest.fixture(scope="session")
def landed(
    builder: ModuleType, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Deliveries:
    """Real scans and contours, and every landing case, in one home, by `lakehouse run`.

    The scans and contours are of several hospitals; a landing case is built as a landing folder,
    and so are cases of our own (`own_cases.py`).
    """

    def write(landing: Path) -> None:
        deliver(shared_data, landing)
        for name in landing_cases(builder):
            builder.build(name.split("_")[0], landing)
        parts = importlib.import_module("lib")
        for site, write_own in OWN.items():
            write_own(parts, landing / site)

    return run_delivery(tmp_path_factory.mktemp("cases"), write)
