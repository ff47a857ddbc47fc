"""Real scans and contours go through the whole flow and give their known figures.

The provenance of the data is described beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deliveries.conftest import Deliveries
from tests.real_landing import CONTOURS, LUNG, ONE, PAPER, REAL, SARCOMA, SEGMENTS

pytestmark = pytest.mark.real_data

VOXEL_MM3 = 0.6104
"""Of the scan that two readers outlined."""

CASES = {
    "lung case_1": (LUNG, "1", 125256, 358681.5, -46.88),
    "lung case_3": (LUNG, "3", 4047, 11588.9, 1.85),
    "sarcoma case_002": (SARCOMA, "STS_002", 17090, None, None),
    "sarcoma case_019": (SARCOMA, "STS_019", 5564, None, None),
    "sarcoma case_024": (SARCOMA, "STS_024", 24892, None, None),
}
"""Site, patient, voxels, volume (mm³) and mean HU, as DATA.md gives them."""


@pytest.fixture
def ask(landed: Deliveries) -> Callable[..., list[dict[str, Any]]]:
    """Rows of a statement, as an analyst would ask it."""
    return landed.ask


@pytest.fixture
def pseudonym(landed: Deliveries) -> Callable[[str, str], str]:
    return landed.pseudonym


def test_no_step_failed_and_the_gate_says_why_it_is_closed(landed: Deliveries) -> None:
    assert landed.exit_code == 0, landed.output
    assert "The gate is closed." in landed.output
    verdicts = {
        (r["rule"], r["scope"]): r
        for r in landed.ask("SELECT * FROM quality_verdicts WHERE kind = 'cohort'")
    }
    assert verdicts["minimum_patients", "cohort"]["verdict"] == "fail"
    unjudged = verdicts["icc_resolved", f"{CONTOURS} volume_mm3"]
    assert (unjudged["statistic"], unjudged["threshold"], unjudged["verdict"]) == (
        None,
        0.85,
        "cannot_evaluate",
    ), "what cannot be judged closes the gate"


@pytest.mark.parametrize(("site", "number", "voxels", "volume", "mean"), CASES.values(), ids=CASES)
def test_contours_among_the_images_give_the_known_figures(
    ask: Callable[..., list[dict[str, Any]]],
    pseudonym: Callable[[str, str], str],
    site: str,
    number: str,
    voxels: int,
    volume: float | None,
    mean: float | None,
) -> None:
    (row,) = ask("SELECT * FROM reads WHERE patient = ?", pseudonym(site, number))
    assert (row["reader"], row["mask_source"], row["n_outside"]) == ("SITE", "RTSTRUCT", 0)
    assert row["voxel_count"] == voxels
    assert volume is None or row["volume_mm3"] == pytest.approx(volume, rel=1e-4)
    assert mean is None or row["mean_hu"] == pytest.approx(mean, abs=0.006)


def test_volume_is_voxels_times_voxel_in_sql(ask: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = ask(
        """
        SELECT max(abs(r.volume_mm3 - r.voxel_count * s.slice_spacing_mm * s.pixel_spacing_row_mm \
* s.pixel_spacing_column_mm) / r.volume_mm3) AS off
        FROM reads r JOIN scans s USING (site, scan) WHERE list_contains(?, site)""",
        REAL,
    )
    assert row["off"] < 1e-6


def test_segments_are_taken_voxel_by_voxel(ask: Callable[..., list[dict[str, Any]]]) -> None:
    rows = ask(
        "SELECT reader, voxel_count, volume_mm3, border_rule FROM reads "
        "WHERE site = ? ORDER BY reader",
        SEGMENTS,
    )
    assert [r["voxel_count"] for r in rows] == [3071, 3712]
    assert [r["volume_mm3"] for r in rows] == pytest.approx(
        [3071 * VOXEL_MM3, 3712 * VOXEL_MM3], rel=1e-4
    )
    assert {r["border_rule"] for r in rows} == {"voxels_as_given"}


def test_contours_lie_between_their_strict_and_their_inclusive_filling(
    ask: Callable[..., list[dict[str, Any]]],
) -> None:
    """Their vertices lie on pixel centres: half of the outline belongs to the lesion."""
    one, two = (
        r["voxel_count"]
        for r in ask("SELECT voxel_count FROM reads WHERE site = ? ORDER BY reader", CONTOURS)
    )
    assert 3071 < one < 3898
    assert 3712 < two < 4712
    flags = ask("SELECT outline_flags FROM reads WHERE site = ?", CONTOURS)
    assert [r["outline_flags"] for r in flags] == [["traced_through_pixel_centres"]] * 2


def test_two_readers_agree_as_is_known(ask: Callable[..., list[dict[str, Any]]]) -> None:
    dice = {
        r["site"]: r["dice_median"]
        for r in ask(
            "SELECT site, dice_median FROM reader_agreement "
            "WHERE scope = 'lesion' AND measurement = 'mask' AND list_contains(?, site)",
            REAL,
        )
    }
    assert dice[SEGMENTS] == pytest.approx(0.833, abs=0.0005)
    assert dice[CONTOURS] == pytest.approx(0.833, abs=0.01)
    assert set(dice) == {SEGMENTS, CONTOURS}, "contours among the images are nobody's blinded read"


def test_thick_series_are_measured_and_their_patients_are_not_eligible(
    ask: Callable[..., list[dict[str, Any]]], pseudonym: Callable[[str, str], str]
) -> None:
    thick = ask(
        "SELECT patient, scan, n_slices FROM scans "
        "WHERE slice_thickness_mm > 1.01 AND list_contains(?, site) ORDER BY n_slices",
        REAL,
    )
    assert [r["n_slices"] for r in thick] == [46, 47, 48, 55, 60]
    measured = ask(
        "SELECT DISTINCT patient FROM radiomic_features "
        "WHERE region = 'tumor' AND value IS NOT NULL"
    )
    assert {r["patient"] for r in thick} <= {r["patient"] for r in measured}
    (judged,) = ask(
        "SELECT e.verdict, e.evidence, s.scan FROM eligibility e JOIN scans s "
        "USING (site, patient) WHERE e.criterion = 'I5' AND e.patient = ?",
        pseudonym(SARCOMA, "STS_002"),
    )
    assert judged["verdict"] == "not_met"
    assert judged["scan"] in judged["evidence"]
    assert "slice_thickness_mm" in judged["evidence"]


def test_who_has_no_case_report_is_told_to_have_none(
    ask: Callable[..., list[dict[str, Any]]], pseudonym: Callable[[str, str], str]
) -> None:
    rows = {
        r["criterion"]: r
        for r in ask(
            "SELECT criterion, verdict, evidence FROM eligibility WHERE patient = ?",
            pseudonym(LUNG, "1"),
        )
    }
    assert len(rows) == 14
    assert rows["I4"]["verdict"] == "unknown"
    assert "no cycle" in rows["I4"]["evidence"]
    assert rows["I9"]["verdict"] == "unknown"
    assert ask(
        "SELECT count(*) AS n FROM patient_eligibility WHERE eligible AND list_contains(?, site)",
        REAL,
    ) == [{"n": 0}]


def test_nothing_is_dropped_in_silence(landed: Deliveries) -> None:
    """Every file that was delivered is in the vault or in the quarantine.

    Every patient is in every table that describes patients.
    """
    home = landed.trial.home
    delivered = [p for site in REAL for p in (home.landing / site).rglob("*.dcm")]
    kept = [p for site in REAL for p in (home.vault / site).rglob("*.dcm")]
    (refused,) = landed.ask(
        "SELECT count(*) AS n FROM quarantine WHERE stage = 'intake' AND list_contains(?, site)",
        REAL,
    )
    assert len(delivered) == len(kept) + refused["n"]
    known = {
        table: landed.ask(
            f"SELECT count(DISTINCT (site, patient)) AS n FROM {table} "
            "WHERE list_contains(?, site)",
            REAL,
        )[0]["n"]
        for table in (
            "patients",
            "eligibility",
            "outcomes",
            "scans",
            "timepoints",
            "reads",
            "lesions",
        )
    }
    assert known == {
        "patients": 9,
        "eligibility": 9,
        "outcomes": 9,
        "scans": 8,
        "timepoints": 8,
        "reads": 7,
        "lesions": 7,
    }


def test_the_reads_of_a_site_with_one_reader_are_withheld_by_name(landed: Deliveries) -> None:
    assert landed.reads(ONE) == []
    assert any("withheld until 2 readers" in line for line in landed.refused(ONE, "reads"))


def test_a_site_without_images_goes_through(
    ask: Callable[..., list[dict[str, Any]]], pseudonym: Callable[[str, str], str]
) -> None:
    patient = pseudonym(PAPER, "P-1")
    assert ask(
        "SELECT verdict, evidence FROM eligibility WHERE patient = ? AND criterion = 'I4'", patient
    ) == [{"verdict": "not_met", "evidence": "timepoints: no CT in the window of T0"}]
    assert ask("SELECT day FROM treatments WHERE patient = ?", patient) == [{"day": 0}]


def test_nobody_of_them_is_simulated(ask: Callable[..., list[dict[str, Any]]]) -> None:
    assert ask(
        "SELECT DISTINCT simulated FROM scans UNION SELECT DISTINCT simulated FROM patients"
    ) == [{"simulated": False}]


def test_the_mask_that_is_kept_is_the_official_one(
    landed: Deliveries,
    ask: Callable[..., list[dict[str, Any]]],
    pseudonym: Callable[[str, str], str],
    shared_data: Path,
) -> None:
    """From landing to vault and back: de-identification, scan order and filling lose no voxel."""
    import SimpleITK as sitk

    from dagster_project.domain.imaging.masks import dice, load_mask
    from dagster_project.flow.result_cache import mask_file

    patient = pseudonym(LUNG, "1")
    (row,) = ask("SELECT scan, mask_digest FROM reads WHERE patient = ?", patient)
    kept = load_mask(
        mask_file(landed.trial.home.vault / LUNG / patient / row["scan"], row["mask_digest"])
    )
    official = (
        sitk.GetArrayFromImage(
            sitk.ReadImage(str(shared_data / "lung_ct" / "case_1" / "official_mask.nii.gz"))
        )
        > 0
    )
    assert max(dice(kept, o) or 0 for o in (official, official[::-1])) == 1.0


def test_pages_of_real_patients_are_written(landed: Deliveries) -> None:
    (patients,) = landed.ask("SELECT count(*) AS n FROM patients")
    assert len(list(landed.trial.home.reports.glob("patients/*.html"))) == patients["n"]
    volumes = landed.ask("SELECT volume_mm3 AS v FROM reads WHERE list_contains(?, site)", REAL)
    assert all(r["v"] > 0 for r in volumes)
