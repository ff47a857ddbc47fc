"""Days and hospital numbers in fields in which a scanner should count.

They decide the order of series as before, and are nowhere in the home afterwards.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deliveries.conftest import Deliveries, run_delivery
from tests.deliveries.test_volumes_as_scanned import SITE, N, chest, deliver, slices
from tests.test_privacy import searched, unfolded

LOW, HIGH, COUNT = 1949051107, 2019070415, 1330102195
"""A birthday, a day and an hour, the beginning of an identity number."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    def write(landing: Path) -> None:
        first = slices("1", chest(), range(N), SeriesNumber=HIGH, AcquisitionNumber=HIGH, KVP=120)
        second = slices(
            "1",
            chest(seed=1),
            range(N),
            first=200,
            SeriesNumber=LOW,
            AcquisitionNumber=LOW,
            KVP=100,
        )
        for k, one in enumerate(second):
            one.SeriesInstanceUID, one.InstanceNumber = f"{one.SeriesInstanceUID}.7", COUNT + k
        deliver(landing, "1", [*first, *second])
        (landing / SITE / "clinical").mkdir()
        (landing / SITE / "clinical" / "patients.csv").write_text(
            "patient_id,sex\n1,F\n", encoding="utf-8"
        )

    return run_delivery(tmp_path_factory.mktemp("numbers"), write)


def test_series_are_numbered_in_the_order_that_the_scanner_gave_them(found: Deliveries) -> None:
    assert found.exit_code == 0
    rows = found.ask("SELECT kvp, series_number, n_slices FROM scans ORDER BY kvp")
    assert [(r["kvp"], r["series_number"], r["n_slices"]) for r in rows] == [
        (100, 1, N),
        (120, 2, N),
    ]


def test_of_series_that_are_alike_otherwise_the_one_with_the_lowest_number_is_the_visits(
    found: Deliveries,
) -> None:
    (row,) = found.ask(
        "SELECT kvp, len(t.alternative_scans) AS others "
        "FROM timepoints t JOIN scans s USING (site, scan)"
    )
    assert (row["kvp"], row["others"]) == (100, 1)


def test_what_stood_there_is_nowhere_in_the_home(found: Deliveries) -> None:
    needles = [str(n).encode() for n in (LOW, HIGH, *range(COUNT, COUNT + N))]
    files = searched(found.trial)
    assert {p.relative_to(found.trial.root).parts[0] for p in files} >= {
        "vault",
        "lake",
        "reports",
        "published",
        "dagster",
    }
    assert [
        (str(file.relative_to(found.trial.root)), n)
        for file in files
        for part in unfolded(file)
        for n in needles
        if n in part
    ] == []
    assert not [n for n in needles if n.decode() in found.output]
