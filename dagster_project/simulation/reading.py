"""What two readers outline in a simulated patient.

The outlines are close to the truth and to each other, unless a reader is careless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dagster_project.simulation.biology import Lesion, Patient
from dagster_project.simulation.plan import EXPECTED, READERS, VISITS, Plan
from dagster_project.simulation.scans import Frame, place_scan
from dagster_project.simulation.surfaces import (
    Mask,
    Sections,
    Surface,
    cut,
    dice,
    draw_waves,
    measure_voxels,
    voxelise,
)

RELATIVE_ERROR, ERROR_MM = 0.058, (0.20, 0.85)
"""Standard deviation of a careful reader's outline.

Relative to the lesion's radius, and within these bounds in mm.
"""

BORDER_MARGIN, GROWTH_MARGIN_MM = 0.02, 0.4
"""Distance of a careful read from RECIST's borders.

These are 0.70 of baseline; 1.20 of and 5 mm above the nadir.
"""

DICE_MARGIN, SUM_MARGIN = 0.74, 0.85
"""Smallest Dice and largest sum difference of a careful pair.

The latter is a share of the sum difference that calls for arbitration.
"""

CARELESS_DICE = 0.68
"""A careless outline agrees less than this with the careful one, at every visit."""

ATTEMPTS = 12
"""Draws of the readers' errors, each smaller by a tenth, until the plan's margins are kept."""


@dataclass(frozen=True)
class Outline:
    """One reader's outline of one lesion at one visit.

    Polygons, voxels, and the diameters the voxels give.
    """

    sections: Sections
    mask: Mask
    longest_mm: float
    short_mm: float

    def diameter(self, node: bool) -> float:
        """What RECIST sums: a node's short axis, else the longest diameter."""
        return self.short_mm if node else self.longest_mm


Reads = Mapping[tuple[str, str, str], Outline]
"""Outlines by visit, reader and lesion label."""


def read_patient(plan: Plan, patient: Patient) -> Reads:
    """Both readers' outlines at every visit.

    They are drawn anew with smaller errors until they keep the plan's margins.

    Raises
    ------
    RuntimeError
        If no attempt keeps them: the plan asks for lesions that its pixels are too coarse for.
    """
    frames = {visit: place_scan(plan, patient, visit) for visit in VISITS}
    for attempt in range(ATTEMPTS):
        reads = _attempt(plan, patient, frames, attempt)
        if acceptable(patient, reads):
            return reads
    raise RuntimeError(
        f"site {patient.site.name}, ordinal {patient.ordinal}: no reads keep the margins; "
        "use finer pixels, larger lesions or another seed"
    )


def acceptable(patient: Patient, reads: Reads) -> bool:
    """True where careful reads show the planned course and agree, and careless ones do not.

    Careless reads must clearly disagree.
    """
    careful = READERS[:1] if patient.careless else READERS
    planned = all(follows_plan(patient, reads, reader) for reader in careful)
    agreement = [
        dice(reads[visit, READERS[0], label].mask, reads[visit, READERS[1], label].mask)
        for visit, reader, label in reads
        if reader == READERS[0]
    ]
    if patient.careless:
        return planned and max(agreement) < CARELESS_DICE
    sums = [
        (sum_of(patient, reads, READERS[0], visit), sum_of(patient, reads, READERS[1], visit))
        for visit in VISITS
    ]
    close = all(abs(a - b) <= SUM_MARGIN * max(5.0, 0.20 * min(a, b)) for a, b in sums)
    return planned and close and min(agreement) >= DICE_MARGIN


def sum_of(patient: Patient, reads: Reads, reader: str, visit: str) -> float:
    """Sum of the target diameters of one reader at one visit.

    The fragments of a lesion that split are added.
    """
    targets = [lesion for lesion in patient.lesions if lesion.role == "target"]
    return sum(
        reads[visit, reader, lesion.label].diameter(lesion.node)
        for lesion in targets
        if (visit, reader, lesion.label) in reads
    )


def follows_plan(patient: Patient, reads: Reads, reader: str) -> bool:
    """True where one reader's sums give the responses of the course, clear of every border."""
    baseline = nadir = sum_of(patient, reads, reader, "T0")
    for visit in VISITS[1:]:
        new = any(lesion.role == "new" and lesion.seen(visit) for lesion in patient.lesions)
        now = sum_of(patient, reads, reader, visit)
        answers = {
            _response(now, baseline, nadir, new, strictness) for strictness in (-1.0, 0.0, 1.0)
        }
        if answers != {EXPECTED[patient.course][visit]}:
            return False
        nadir = min(nadir, now)
    return True


def _response(now: float, baseline: float, nadir: float, new: bool, strictness: float) -> str:
    """Overall response by sums alone, with the borders moved by the margin.

    In order: 1. CR, 2. PD, 3. PR, 4. SD.
    """
    grown = (
        now - nadir >= 5.0 + strictness * GROWTH_MARGIN_MM
        and now >= (1.20 + strictness * BORDER_MARGIN) * nadir
    )
    if new or (grown and now > 0):
        return "PD"
    if now == 0:
        return "CR"
    return "PR" if now <= (0.70 - strictness * BORDER_MARGIN) * baseline else "SD"


def _attempt(plan: Plan, patient: Patient, frames: Mapping[str, Frame], attempt: int) -> Reads:
    reads = {}
    for lesion in patient.lesions:
        surfaces = {reader: _as_read(plan, patient, lesion, reader, attempt) for reader in READERS}
        for visit in VISITS:
            if lesion.seen(visit):
                for reader, outline in _outline(
                    frames[visit], lesion, {r: s[visit] for r, s in surfaces.items()}
                ).items():
                    reads[visit, reader, lesion.label] = outline
    return reads


def _as_read(
    plan: Plan, patient: Patient, lesion: Lesion, reader: str, attempt: int
) -> dict[str, Surface]:
    """The lesion as this reader sees it at each visit.

    It has an error of habit that stays, and one of the day.
    """
    random = plan.random("read", patient.site_index, patient.ordinal, lesion.label, reader, attempt)
    habit, bias = draw_waves(random, 1.0, frequency=3.2, n=8), random.normal(0, 0.006)
    factor = _careless_factor(plan, patient) if patient.careless and reader == READERS[1] else 1.0
    seen = {}
    for visit, state in lesion.states.items():
        radius = max(0.5 * state.size_mm, 1.0)
        error = 0.9**attempt * float(
            np.clip(RELATIVE_ERROR, ERROR_MM[0] / radius, ERROR_MM[1] / radius)
        )
        of_the_day = draw_waves(random, 0.45 * error, frequency=3.2, n=8)
        steady = type(habit)(habit.k, habit.phase, 0.9 * error * habit.amplitude)
        seen[visit] = (
            lesion.surface(visit)
            .disturbed(steady)
            .disturbed(of_the_day)
            .scaled(factor * (1 + bias + random.normal(0, 0.003)))
        )
    return seen


def _careless_factor(plan: Plan, patient: Patient) -> float:
    """How much larger, or for every third patient smaller, a careless reader draws."""
    random = plan.random("careless", patient.site_index, patient.ordinal)
    return float(
        random.uniform(0.55, 0.66) if random.random() < 0.3 else random.uniform(1.36, 1.44)
    )


def _outline(frame: Frame, lesion: Lesion, surfaces: Mapping[str, Surface]) -> dict[str, Outline]:
    """The readers' outlines of one lesion at one visit, in one box."""
    reach = max(surface.reach_mm for surface in surfaces.values())
    outlines = {}
    for reader, surface in surfaces.items():
        sections = cut(surface, frame.centre(lesion), frame.grid.axis(0))
        mask = voxelise(sections, frame.grid, reach)
        outlines[reader] = Outline(sections, mask, *measure_voxels(mask, frame.grid))
    return outlines
