"""Intake to outcomes over one home, by the flow's own assets.

The cohort's images, features and models are left out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from assets.arbitrations import arbitrations
from assets.eligibility import eligibility
from assets.follow_up import follow_up
from assets.intake import intake
from assets.lesions import lesions
from assets.outcomes import outcomes
from assets.patients import patients
from assets.quarantine import quarantine
from assets.reader_agreement import reader_agreement
from assets.reads import reads
from assets.reconciliation import reconciliation
from assets.responses import responses
from assets.scans import scans
from assets.timepoints import timepoints
from assets.treatments import treatments
from benchmarks.deliveries.site import Site, write_site
from dagster_project.flow.intake import session_keys
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.vault.process_file import scan_name
from dagster_project.lake.home import Home
from dagster_project.resources import Lakehouse, _open

SITE_STEPS = (intake, reconciliation, patients, treatments, follow_up, scans, timepoints, reads)
COHORT_STEPS = (
    reader_agreement,
    arbitrations,
    lesions,
    responses,
    outcomes,
    eligibility,
    quarantine,
)
TABLES = (
    "patients",
    "treatments",
    "follow_up",
    "scans",
    "timepoints",
    "reads",
    "arbitrations",
    "lesions",
    "responses",
    "outcomes",
    "eligibility",
    "quarantine",
    "reconciliation",
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Result:
    """What the lake holds after a run.

    Rows by table, the pseudonym of each patient, the name of each scan, and the sites or steps that
    ended with an error.
    """

    rows: Rows = field(default_factory=lambda: {name: [] for name in TABLES})
    pseudonyms: dict[int, str] = field(default_factory=dict)
    scans: dict[tuple[int, str], str] = field(default_factory=dict)
    crashed: dict[str, str] = field(default_factory=dict)


@contextmanager
def entered(home: Path) -> Iterator[None]:
    """Work in a home of its own, in this process alone."""
    wanted = {
        "LAKEHOUSE_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "LAKEHOUSE_WORKERS": "0",
    }
    gone = (
        "LAKEHOUSE_CATALOG",
        "LAKEHOUSE_DATA",
        "LAKEHOUSE_KEYS",
        "LAKEHOUSE_DASK",
        "LAKEHOUSE_AGENT",
    )
    before = {name: os.environ.get(name) for name in (*wanted, *gone)}
    os.environ.update(wanted)
    for name in gone:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def run_home(home: Path, sites: Sequence[Site]) -> Result:
    """Write the sites' landings, run the flow, read what the lake holds, and remove the home."""
    made = Home(home).make()
    for site in sites:
        write_site(made.landing, site)
    with entered(home), _without_pictures():
        try:
            return _run(made, sites)
        finally:
            Lakehouse(root=str(home)).lake.close()
            _open.cache_clear()
            shutil.rmtree(home, ignore_errors=True)


PICTURES = {
    "dagster_project.flow.reads._picture_of_a_read": None,
    "assets.reader_agreement.agreement_picture": None,
    "assets.outcomes.survival_picture": None,
    "assets.outcomes.response_pictures": {},
    "assets.eligibility.flow_picture": None,
}
"""Pictures that assets show in Dagster, and what replaces them here.

They take half the time of a small site.
"""


@contextmanager
def _without_pictures() -> Iterator[None]:
    with ExitStack() as stack:
        for name, empty in PICTURES.items():
            stack.enter_context(patch(name, lambda *_, empty=empty, **__: empty))
        yield


def _run(home: Home, sites: Sequence[Site]) -> Result:
    lakehouse, result = Lakehouse(root=str(home.root)), Result()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", [s.code for s in sites])
        for site in sites:
            result.crashed |= _materialise(SITE_STEPS, instance, lakehouse, site.code)
        result.crashed |= _materialise(COHORT_STEPS, instance, lakehouse, None)
    for name in TABLES:
        result.rows[name] = lakehouse.lake.read(name).to_dicts()
    _identify(home, sites, result)
    return result


def _materialise(
    steps: Sequence[dg.AssetsDefinition],
    instance: dg.DagsterInstance,
    lakehouse: Lakehouse,
    site: str | None,
) -> dict[str, str]:
    """Run assets; the first failing step and its reason, by site ("" for the cohort)."""
    done = dg.materialize(
        list(steps),
        instance=instance,
        resources={"lakehouse": lakehouse},
        partition_key=site,
        raise_on_error=False,
        run_config=QUIET,
    )
    for event in done.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause or error if error else None
            return {
                site
                or "": f"{event.step_key}: {cause.message.strip() if cause else 'no reason given'}"
            }
    return {}


def _identify(home: Home, sites: Sequence[Site], result: Result) -> None:
    """Pseudonyms of the true numbers, and names of the true series' scans."""
    keys = session_keys(home)
    book = Crosswalk(home.crosswalk, keys)
    for site in sites:
        for one in site.deliveries:
            result.pseudonyms[one.serial] = book.find(site.code, one.number) or ""
            for visit in one.visits:
                result.scans[one.serial, visit.name] = scan_name(
                    keyed_uid(visit.series_uid, keys.uid)
                )
