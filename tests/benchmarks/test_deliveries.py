"""The benchmark of distorted deliveries counts what it should, and can fail."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.deliveries.detections import DETECTIONS, switched_off
from benchmarks.deliveries.distortions import DISTORTIONS
from benchmarks.deliveries.phantom import SPACING_MM, get_hu, make_delivery
from benchmarks.deliveries.site import Site, dicom_bytes, fill_sheets
from benchmarks.deliveries.trial import Case, Findings, build, plan, run_sites
from benchmarks.deliveries.verdicts import (
    CRASH,
    FLAGGED,
    REFUSED,
    RIGHT,
    SILENT,
    Fact,
    Named,
    Near,
    Verdict,
    verdict_on,
)

NAMES = ("reversed_winding", "blank_day", "wrong_intercept")
"""Three distortions: one whose truth comes through, one refused, one flagged.

The value of the flagged one is wrong.
"""


def verdicts(home: Path, planned: list[tuple[str, list[Case]]]) -> dict[tuple[str, ...], str]:
    return {v.distortions: v.verdict for v in run_sites(home, planned)}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """A home of four patients, and a site with a patient whose two rows contradict.

    One of the four is without any fault.
    """
    folder = tmp_path_factory.mktemp("deliveries")
    shared = [Case(9001 + k, (name,)) for k, name in enumerate(NAMES)]
    return verdicts(
        folder / "home",
        [("AA", [*shared, Case(9010, ())]), ("BB", [Case(9020, ("patient_twice_and_different",))])],
    )


def test_a_bystander_stays_right(counted: dict[tuple[str, ...], str]) -> None:
    assert counted[()] == RIGHT


def test_a_fault_that_changes_nothing_is_right(counted: dict[tuple[str, ...], str]) -> None:
    assert counted["reversed_winding",] == RIGHT


def test_what_is_refused_by_cell_is_refused_and_named(counted: dict[tuple[str, ...], str]) -> None:
    assert counted["blank_day",] in {REFUSED, FLAGGED}


def test_a_wrong_intercept_never_passes_in_silence(counted: dict[tuple[str, ...], str]) -> None:
    assert counted["wrong_intercept",] in {REFUSED, FLAGGED}


def test_two_rows_that_contradict_are_named(counted: dict[tuple[str, ...], str]) -> None:
    assert counted["patient_twice_and_different",] == REFUSED


def test_without_its_detection_a_fault_is_wrong_in_silence(tmp_path: Path) -> None:
    with switched_off(["rows that contradict"]):
        found = run_sites(
            tmp_path / "home", [("BB", [Case(9020, ("patient_twice_and_different",))])]
        )
    assert [v.verdict for v in found] == [SILENT]
    assert "stage" in found[0].wrong[0]


def test_every_rule_that_may_be_switched_off_is_there() -> None:
    with switched_off(list(DETECTIONS)):
        assert len(DETECTIONS) >= 4


# -- what counts as what, without a run
# ---------------------------------------------------------------------------------------

WRONG = Fact("volume", Near(100.0, 3.0), 50.0, frozenset({"images T0"}))
GONE = Fact("volume", Near(100.0, 3.0), None, frozenset({"images T0"}))


def named(*places: str) -> Named:
    made = Named()
    for place in places:
        made.add(place, "a reason")
    return made


@pytest.mark.parametrize(
    ("facts", "places", "expected"),
    [
        ([Fact("volume", Near(100.0, 3.0), 102.9, frozenset({"images T0"}))], (), RIGHT),
        ([WRONG], (), SILENT),
        ([GONE], (), SILENT),
        ([WRONG], ("images T1", "clinical/patients.csv"), SILENT),
        ([WRONG], ("images T0",), FLAGGED),
        ([GONE], ("images T0",), REFUSED),
        ([GONE, WRONG], ("images T0",), FLAGGED),
    ],
)
def test_verdicts(facts: list[Fact], places: tuple[str, ...], expected: str) -> None:
    assert verdict_on(make_delivery("ZY1", 1), facts, named(*places)).verdict == expected


def test_a_phantom_is_measured_as_its_pixels_are() -> None:
    visit = make_delivery("ZY1", 3).visits[0]
    ((label, mask),) = visit.mask.items()
    hu = np.stack([get_hu(s) for s in visit.slices])
    assert visit.truth[label].volume_mm3 == pytest.approx((hu > -400).sum() * SPACING_MM**2)
    assert visit.truth[label].mean_hu == pytest.approx(hu[mask].mean())


@pytest.mark.parametrize("name", sorted(DISTORTIONS)[::12])
def test_a_distortion_changes_what_is_delivered(name: str) -> None:
    one = DISTORTIONS[name]
    (_, cases), *_ = plan(1, 5, [name])
    distorted = build("AA", cases)
    plain = Site(
        "AA",
        [
            make_delivery(d.number, d.serial, readers=one.readers, n_lesions=one.n_lesions)
            for d in distorted.deliveries
        ],
    )
    fill_sheets(plain)
    assert content(distorted) != content(plain)


def test_every_distortion_says_what_it_is() -> None:
    assert len(DISTORTIONS) >= 60
    assert [one.name for one in DISTORTIONS.values() if not one.about.endswith(".")] == []


def content(site: Site) -> object:
    """All that a site would deliver."""
    images = [dicom_bytes(s) for d in site.deliveries for v in d.visits for s in v.slices]
    drawn = [
        (f.folder, f.name, f.content if isinstance(f.content, bytes) else f.content.to_json_dict())
        for d in site.deliveries
        for v in d.visits
        for f in (*v.structures, *v.extra)
    ]
    return images, drawn, [s.content() for s in site.sheets.values()], site.locks


def test_the_same_seed_plans_the_same_deliveries() -> None:
    assert plan(40, 7, sorted(DISTORTIONS)) == plan(40, 7, sorted(DISTORTIONS))


@pytest.mark.parametrize(
    "names",
    [
        ("acquisition_dates_a_year_late", "no_dates_in_the_images"),
        ("measured_by_hand", "labels_swapped_at_one_visit"),
        ("typo_in_a_label", "longest_and_short_swapped"),
    ],
)
def test_a_second_fault_finds_what_the_first_left(names: tuple[str, str]) -> None:
    (one,) = build("SAAAAA", [Case(9901, names)]).deliveries
    assert one.distortions == list(names)


def test_the_table_counts_a_delivery_with_two_faults_under_both() -> None:
    found = Findings([Verdict(1, ("no_rescale", "blank_day"), CRASH), Verdict(2, (), RIGHT)])
    assert found.table().count("| 1 |\n") == 2
    assert "| **1** | **0** | **0** | **0** | **1** |" in found.table()


def test_random_numbers_of_a_delivery_are_its_own() -> None:
    assert make_delivery("ZY1", 5).rng.random() == Random(5).random()
