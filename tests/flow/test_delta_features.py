"""Whose changes are derived again: those of patients whose data changed, and of nobody else."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from dagster_project.flow import delta_features as flow
from tests.domain.records import lesions, table, timepoints
from tests.flow.site import Site, silent

PATIENTS = ("P1", "P2", "P3")


def features(site: Site, patient: str, visit: str, value: float, digest: str) -> None:
    row = {
        "site": site.name,
        "patient": patient,
        "visit": visit,
        "scan": f"S{visit}",
        "lesion": "L1",
        "reader": "R1",
        "region": "tumor",
        "feature": "f",
    }
    site.lakehouse.lake.replace_by_fingerprint(
        "radiomic_features",
        site=site.name,
        removed=[],
        added=table("radiomic_features", row | {"value": value, "input_fingerprint": digest}),
    )


def write(site: Site, name: str, frames: list[pl.DataFrame]) -> None:
    others = site.lakehouse.lake.read(name, where=f"site <> '{site.name}'")
    site.lakehouse.lake.replace(name, pl.concat([others, *frames]))


@pytest.fixture
def seen(site: Site) -> Site:
    """Three patients with T0 and T1, read by R1."""
    write(site, "timepoints", [timepoints("T0", "T1", site=site.name, patient=p) for p in PATIENTS])
    write(
        site,
        "lesions",
        [
            lesions(L1=(10, 8)).with_columns(
                site=pl.lit(site.name), patient=pl.lit(p), reader=pl.lit("R1")
            )
            for p in PATIENTS
        ],
    )
    for p in PATIENTS:
        for k, visit in enumerate(("T0", "T1")):
            features(site, p, visit, float(k), f"{site.name}{p}{visit}")
    return site


def changes(site: Site) -> dict[str, Any]:
    return dict(
        site.lakehouse.lake.query(
            "SELECT patient, delta FROM delta_features WHERE site = ?", [site.name]
        ).fetchall()
    )


def run(site: Site) -> tuple[dict[str, int], int]:
    """Counts of this run, and rows that it wrote or took out."""
    done = flow.derive_changed(site.lakehouse, silent)
    assert done.write is not None
    return done.counts, done.write.inserted + done.write.deleted


def test_a_second_night_derives_nothing_and_writes_nothing(seen: Site) -> None:
    run(seen)
    assert changes(seen) == dict.fromkeys(PATIENTS, 1.0)
    snapshot = seen.lakehouse.lake.snapshot()
    counts, written = run(seen)
    assert (counts["computed"], counts["removed"], written) == (0, 0, 0)
    assert seen.lakehouse.lake.snapshot() == snapshot


def test_a_new_scan_of_one_patient_touches_that_patient_alone(seen: Site) -> None:
    run(seen)
    write(
        seen,
        "timepoints",
        [
            timepoints(*("T0", "T1", "T2")[: 3 if p == "P2" else 2], site=seen.name, patient=p)
            for p in PATIENTS
        ],
    )
    write(
        seen,
        "lesions",
        [
            lesions(L1=(10, 8, 7)[: 3 if p == "P2" else 2]).with_columns(
                site=pl.lit(seen.name), patient=pl.lit(p), reader=pl.lit("R1")
            )
            for p in PATIENTS
        ],
    )
    features(seen, "P2", "T2", 5.0, f"{seen.name}P2T2")
    counts, _ = run(seen)
    assert (counts["computed"], counts["removed"]) == (1, 0)
    found = seen.lakehouse.lake.query(
        "SELECT from_visit, to_visit, delta FROM delta_features WHERE site = ? AND patient = 'P2'",
        [seen.name],
    ).fetchall()
    assert set(found) == {("T0", "T1", 1.0), ("T1", "T2", 4.0), ("T0", "T2", 5.0)}


@pytest.mark.parametrize("table_name", ["timepoints", "lesions"])
def test_another_date_or_another_accepted_reader_is_something_that_differs(
    seen: Site, table_name: str
) -> None:
    run(seen)
    lake = seen.lakehouse.lake
    own = lake.read(table_name, where=f"site = '{seen.name}'")
    moved = {
        "timepoints": pl.col("scan_date").dt.offset_by("1d"),
        "lesions": pl.lit("R2").alias("reader"),
    }[table_name]
    theirs = (pl.col("patient") == "P1") & (pl.col("visit") == "T1")
    write(
        seen,
        table_name,
        [
            own.with_columns(
                pl.when(theirs)
                .then(moved)
                .otherwise(pl.col(moved.meta.output_name()))
                .alias(moved.meta.output_name())
            )
        ],
    )
    counts, _ = run(seen)
    assert counts["computed"] == 1
    assert changes(seen)["P1"] == (1.0 if table_name == "timepoints" else None)


def test_who_has_one_visit_left_has_no_changes(seen: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And many patients are written in several transactions."""
    monkeypatch.setattr(flow, "PATIENTS_AT_A_TIME", 1)
    run(seen)
    write(
        seen,
        "timepoints",
        [timepoints("T0", "T1", site=seen.name, patient=p) for p in PATIENTS[:2]],
    )
    counts, _ = run(seen)
    assert (counts["computed"], counts["removed"]) == (0, 1)
    assert changes(seen) == {"P1": 1.0, "P2": 1.0}
