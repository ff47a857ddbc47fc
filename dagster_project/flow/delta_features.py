"""Changes between visits, derived anew for the patients whose data changed, in small batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.flow.result_cache import fingerprint
from dagster_project.flow.step_result import Say, StepResult
from dagster_project.lake.schema import empty
from dagster_project.lake.store import Write
from dagster_project.lake.tables import DELTA_FEATURES, RADIOMIC_FEATURES
from dagster_project.radiomics.delta import VISITS, derive_delta_features

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

PATIENTS_AT_A_TIME = 25
"""Patients derived and written in one transaction.

Their rows stay in the processor's cache, and memory stays bounded.
"""

MEASURED = (
    "SELECT DISTINCT site, patient, visit, lesion, reader, input_fingerprint "
    f"FROM {RADIOMIC_FEATURES.name}"
)
ACCEPTED = (
    "\n    SELECT site, patient, "
    "list([visit, lesion, reader, input_fingerprint] ORDER BY visit, lesion)"
    f"\n    FROM ({MEASURED}) JOIN lesions USING (site, patient, visit, lesion, reader) "
    "WHERE list_contains(?, visit) GROUP BY site, patient"
)
"""What each patient's changes are derived from: the measured lesions of the accepted reads."""

DATED = (
    "SELECT site, patient, list([visit, scan_date::VARCHAR] ORDER BY visit) FROM timepoints "
    "WHERE list_contains(?, visit) GROUP BY ALL HAVING count(*) > 1"
)

Patient = tuple[str, str]
"""Site and pseudonym."""


def derive_changed(lakehouse: Lakehouse, say: Say) -> StepResult:
    """Derive the changes of patients whose inputs changed; leave the rest alone.

    The inputs are the accepted features and the dates; they are compared with what the stored rows
    were derived from.
    """
    wanted = _wanted(lakehouse)
    stored: dict[Patient, str] = {
        (site, patient): digest
        for site, patient, digest in lakehouse.lake.query(
            f"SELECT DISTINCT site, patient, input_fingerprint FROM {DELTA_FEATURES.name}"
        ).fetchall()
    }
    changed = sorted(p for p in wanted.keys() | stored.keys() if wanted.get(p) != stored.get(p))
    inserted = deleted = 0
    for site, patients in _batches(changed):
        removed = [stored[p] for p in patients if p in stored]
        write = lakehouse.lake.replace_by_fingerprint(
            DELTA_FEATURES.name,
            site=site,
            removed=removed,
            added=_changes_of(lakehouse, [p for p in patients if p in wanted], wanted),
        )
        inserted, deleted = inserted + write.inserted, deleted + write.deleted
        say(f"changes between visits: {len(patients)} patients of {site}")
    counts = {
        "computed": len(wanted.keys() & set(changed)),
        "reused": len(wanted.keys() - set(changed)),
        "removed": len(stored.keys() - wanted.keys()),
    }
    return StepResult(
        empty(DELTA_FEATURES),
        counts,
        write=Write(
            lakehouse.lake.count(DELTA_FEATURES.name), inserted, deleted, lakehouse.lake.snapshot()
        ),
    )


def accepted_features(lakehouse: Lakehouse, site: str, patients: list[str]) -> pl.DataFrame:
    """Features of the accepted reads of some patients of a site."""
    return lakehouse.lake.query(
        "SELECT * FROM accepted_features WHERE site = ? AND list_contains(?, patient)",
        [site, patients],
    ).pl()


def _wanted(lakehouse: Lakehouse) -> dict[Patient, str]:
    """The digest that each patient's rows should bear.

    A patient with fewer than two of the visits has no rows.
    """
    dates = {
        (site, patient): found
        for site, patient, found in lakehouse.lake.query(DATED, [list(VISITS)]).fetchall()
    }
    measured = lakehouse.lake.query(ACCEPTED, [list(VISITS)]).fetchall()
    return {
        (site, patient): fingerprint(site, patient, lesions, dates[site, patient])
        for site, patient, lesions in measured
        if (site, patient) in dates
    }


def _batches(patients: list[Patient]) -> Iterator[tuple[str, list[Patient]]]:
    for site, of_site in groupby(patients, key=itemgetter(0)):
        mine = list(of_site)
        yield from (
            (site, mine[i : i + PATIENTS_AT_A_TIME])
            for i in range(0, len(mine), PATIENTS_AT_A_TIME)
        )


def _changes_of(
    lakehouse: Lakehouse, patients: list[Patient], digests: dict[Patient, str]
) -> pl.DataFrame:
    if not patients:
        return empty(DELTA_FEATURES)
    features = accepted_features(lakehouse, patients[0][0], [patient for _, patient in patients])
    rows = derive_delta_features(features, lakehouse.lake.read("timepoints"))
    return rows.with_columns(
        input_fingerprint=pl.col("patient").replace_strict(
            {patient: digests[site, patient] for site, patient in patients}
        )
    )
