"""What truly happens in each simulated patient.

A hidden response and, driven by it, growth, texture, necrosis and dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np

from dagster_project.simulation.identities import Identity, draw_identity
from dagster_project.simulation.plan import READERS, RESPONDING, VISITS, Course, Plan, SitePlan
from dagster_project.simulation.surfaces import Surface, cut, diameters, draw_waves

UNDECIDED_MEAN, UNDECIDED_SLOPE, UNDECIDED_RANGE = 0.91, 0.06, (0.78, 1.05)
"""Sum at T1 over the baseline sum, where neither PR nor PD is due.

It is mean - slope x latent, kept off the borders 0.70 and 1.20.
"""

EVENING, NECROSIS, REARRANGEMENT = 0.70, 0.35, 0.95
"""What the whole amount of change within a lesion does.

Fall of ln(SD), rise of the necrotic share of the radius, and share of the texture replaced.
"""

LATER = 1.2
"""Amount of change after T1 over that at T1."""

FIRST_DAY = date(2023, 2, 6)
"""The first patient's first cycle; the others follow within 400 days."""

SLOTS: Mapping[str, tuple[float, float]] = {
    "L1": (-0.50, 0.02),
    "L2": (0.56, 0.22),
    "L3": (-0.02, 0.02),
    "L4": (-0.42, -0.52),
    "L5": (0.62, -0.22),
}
"""Where lesions lie, in half-widths and half-depths of the body.

In order: right lung, left lung, mediastinum, right lung in front, left lung in front.
"""


@dataclass(frozen=True)
class LesionState:
    """A lesion at one visit.

    `size_mm` is the longest diameter, or a node's short axis; 0 where the lesion has vanished.
    """

    size_mm: float
    heterogeneity_hu: float
    necrosis: float
    rearrangement: float


@dataclass(frozen=True)
class Lesion:
    """A lesion, the same at all visits but for its states.

    It has a role, a unit surface (size 1 mm), a place in the body (mm), and states at the visits
    where it is reported.
    """

    label: str
    role: str
    organ: str
    node: bool
    mean_hu: float
    position_mm: tuple[float, float, float]
    unit: Surface
    states: Mapping[str, LesionState]

    def surface(self, visit: str) -> Surface:
        """Its true surface at that visit."""
        return self.unit.scaled(self.states[visit].size_mm)

    def seen(self, visit: str) -> bool:
        """True where it is there at that visit."""
        return visit in self.states and self.states[visit].size_mm > 0


@dataclass(frozen=True)
class Patient:
    """One simulated patient, with everything that is true of them."""

    site: SitePlan
    site_index: int
    ordinal: int
    identity: Identity
    course: Course
    latent: float
    lesions: tuple[Lesion, ...]
    day_zero: date
    cycle_days: tuple[int, ...]
    visit_days: Mapping[str, int]
    troubles: frozenset[str]

    @property
    def responder(self) -> bool:
        """The hidden response."""
        return self.course in RESPONDING

    @property
    def change(self) -> float:
        """Amount of change within this patient's lesions from T0 to T1, 0 to 1.

        It increases with the latent value and never changes its sign.
        """
        return change_of(self.latent)

    @property
    def careless(self) -> bool:
        """True where reader R2 read this patient carelessly."""
        return self.ordinal in self.site.careless

    def overlooks(self, reader: str, lesion: Lesion) -> bool:
        """Whether a reader does not list a lesion: R2 a new one, where that is planted."""
        missed = reader != READERS[0] and lesion.role == "new"
        return missed and "missed_new_lesion" in self.troubles

    def day(self, days: int) -> date:
        """The date so many days after the first cycle."""
        return self.day_zero + timedelta(days=int(days))

    def visit_date(self, visit: str) -> date:
        """The date of that visit's scan."""
        return self.day(self.visit_days[visit])


def draw_patient(
    plan: Plan, site_index: int, ordinal: int, extent_mm: tuple[float, float]
) -> Patient:
    """Draw the patient of that ordinal.

    `extent_mm` are the half-width and half-depth of the body.
    """
    site = plan.sites[site_index]
    course = site.courses[ordinal % len(site.courses)]
    random = plan.random("biology", site_index, ordinal)
    latent = _latent(random, plan.signal, course in RESPONDING)
    troubles = plan.troubles_of(site_index, ordinal)
    cycle_days = _cycle_days(random, 4 if "missing_t2" in troubles else 6)
    lesions = _draw_lesions(random, plan, course, latent, extent_mm)
    if "split_lesion" in troubles:
        lesions = _split(random, lesions)
    return Patient(
        site,
        site_index,
        ordinal,
        draw_identity(plan, site_index, ordinal),
        course,
        latent,
        lesions,
        day_zero=FIRST_DAY + timedelta(days=int(random.integers(0, 400))),
        cycle_days=cycle_days,
        visit_days=_visit_days(random, cycle_days),
        troubles=troubles,
    )


def scanned_visits(plan: Plan, patient: Patient) -> tuple[str, ...]:
    """The visits at which the plan has this patient scanned."""
    left_out = {"T2"} if "missing_t2" in patient.troubles else set()
    if (patient.site_index, patient.ordinal) not in plan.extra_scans:
        left_out.add("V1")
    return tuple(visit for visit in VISITS if visit not in left_out)


def _latent(random: np.random.Generator, signal: float, responder: bool) -> float:
    return float(
        signal * (1 if responder else -1) + np.sqrt(1 - signal**2) * random.standard_normal()
    )


def _cycle_days(random: np.random.Generator, n: int) -> tuple[int, ...]:
    delays = np.where(random.random(n) < 0.2, random.integers(1, 4, n), 0)
    delays[0] = 0
    return tuple(int(day) for day in 21 * np.arange(n) + np.cumsum(delays))


def _visit_days(random: np.random.Generator, cycle_days: tuple[int, ...]) -> dict[str, int]:
    fifth = cycle_days[4] if len(cycle_days) > 4 else cycle_days[-1] + 21
    t1, t2 = cycle_days[2] + int(random.integers(14, 20)), fifth + int(random.integers(14, 20))
    return {
        "T0": -int(random.integers(2, 14)),
        "T1": t1,
        "T2": t2,
        "V1": t2 + int(random.integers(56, 71)),
    }


def _draw_lesions(
    random: np.random.Generator,
    plan: Plan,
    course: Course,
    latent: float,
    extent_mm: tuple[float, float],
) -> tuple[Lesion, ...]:
    factors = _factors(random, course, latent)
    low, high = plan.lesion_mm
    middle = (low + high) / 2
    progressing = course in {"late_progressor", "early_progressor", "pseudoprogressor"}
    sizes = {
        "L1": random.uniform(middle, middle + 0.4 * (high - middle))
        if progressing
        else random.uniform(middle, high)
    }
    if random.random() < plan.second_target:
        sizes["L2"] = random.uniform(low, low + 0.9 * (middle - low) + 0.5)
    if random.random() < plan.node and course != "complete_responder":
        sizes["L3"] = random.uniform(17.0, min(21.0, 0.6 * high + 6.0))
    lesions = [
        _draw_lesion(random, label, size, factors, latent, extent_mm)
        for label, size in sizes.items()
    ]
    if random.random() < plan.non_target and course != "complete_responder":
        lesions.append(
            _draw_lesion(
                random,
                "L4",
                random.uniform(7.5, 9.5),
                dict.fromkeys(VISITS, 1.0),
                latent,
                extent_mm,
            )
        )
    if course == "new_lesion":
        lesions.append(
            _draw_lesion(
                random, "L5", random.uniform(10.5, 14.0), {"T2": 1.0, "V1": 1.15}, latent, extent_mm
            )
        )
    return tuple(lesions)


def _factors(random: np.random.Generator, course: Course, latent: float) -> dict[str, float]:
    """Size at each visit over the size at T0, by course.

    It keeps well off the borders of RECIST's categories.
    """
    undecided = float(np.clip(UNDECIDED_MEAN - UNDECIDED_SLOPE * latent, *UNDECIDED_RANGE))
    share, drift = random.uniform(0, 1), random.uniform(0.97, 1.03)
    t1, t2 = {
        "late_responder": (undecided, 0.44 + 0.14 * share),
        "early_responder": (0.52 + 0.08 * share, 0.44 + 0.08 * share),
        "complete_responder": (0.48 + 0.08 * share, 0.0),
        "stable": (undecided, undecided * (0.98 + 0.06 * share)),
        "late_progressor": (undecided, undecided * (1.42 + 0.14 * share)),
        "early_progressor": (1.36 + 0.10 * share, (1.36 + 0.10 * share) * 1.12),
        "new_lesion": (undecided, undecided * (0.98 + 0.06 * share)),
        "pseudoprogressor": (1.36 + 0.08 * share, 0.46 + 0.10 * share),
    }[course]
    return {"T0": 1.0, "T1": t1, "T2": t2, "V1": t2 * drift}


def _draw_lesion(
    random: np.random.Generator,
    label: str,
    size_mm: float,
    factors: Mapping[str, float],
    latent: float,
    extent_mm: tuple[float, float],
) -> Lesion:
    node = label == "L3"
    jitter = random.uniform(-4, 4, 3) * (0.5 if node else 1.0)
    x, y = SLOTS[label]
    return Lesion(
        label,
        role={"L4": "non_target", "L5": "new"}.get(label, "target"),
        organ="lymph_node" if node else "lung",
        node=node,
        mean_hu=float(random.uniform(32, 58)),
        position_mm=(x * extent_mm[0] + jitter[0], y * extent_mm[1] + jitter[1], jitter[2]),
        unit=_unit_surface(random, node),
        states=_states(random, size_mm, factors, latent),
    )


def _unit_surface(random: np.random.Generator, node: bool) -> Surface:
    """A surface whose longest diameter (a node's short axis) is 1 mm.

    It is measured, since bumps change it.
    """
    ratio = random.uniform(0.68, 0.80) if node else random.uniform(0.74, 0.95)
    raw = Surface(
        (10.0, 10.0 * ratio, 10.0 * random.uniform(0.80, 1.05)),
        random.uniform(0, np.pi),
        draw_waves(random, 0.05),
    )
    long, short = diameters(cut(raw, (0.0, 0.0, 0.0), np.linspace(-10, 10, 33)))
    return raw.scaled(1.0 / (short if node else long))


def change_of(latent: float) -> float:
    """Phi(latent), the amount of change of a latent value.

    It preserves the order of the latent values among patients, which is all that AUC looks at.
    """
    return NormalDist().cdf(latent)


def _states(
    random: np.random.Generator, size_mm: float, factors: Mapping[str, float], latent: float
) -> dict[str, LesionState]:
    """States of a lesion at each visit, with texture by the latent value.

    A response makes tissue after T0 more even, more necrotic and otherwise arranged, the more so
    the more response.
    """
    sd = float(np.exp(random.normal(np.log(26.0), 0.15) - 0.03 * latent))
    core = float(random.uniform(0.10, 0.40))
    states = {}
    for visit, factor in factors.items():
        after = {"T0": 0.0, "T1": 1.0}.get(visit, LATER)
        amount, wobble = after * change_of(latent), random.normal(0, 1, 4)
        states[visit] = LesionState(
            size_mm=float(
                size_mm * factor * (1 + (0.008 * np.clip(wobble[0], -2, 2) if after else 0.0))
            ),
            heterogeneity_hu=float(
                np.clip(sd * np.exp(-EVENING * amount + 0.06 * wobble[1]), 6.0, 60.0)
            ),
            necrosis=float(np.clip(core + NECROSIS * amount + 0.02 * wobble[2], 0.0, 0.75)),
            rearrangement=float(
                np.clip(REARRANGEMENT * amount + after * 0.05 * wobble[3], 0.0, 0.95)
            ),
        )
    return states


def _split(random: np.random.Generator, lesions: tuple[Lesion, ...]) -> tuple[Lesion, ...]:
    """Let L1 fall apart after T1.

    Two fragments of 56 and 44 % of its diameter lie apart along its longest axis.
    """
    first, rest = lesions[0], lesions[1:]
    late = {visit: state for visit, state in first.states.items() if visit in {"T2", "V1"}}
    reach = max(state.size_mm for state in late.values())
    axis = np.array([np.cos(first.unit.angle), np.sin(first.unit.angle), 0.0])
    fragments = []
    for number, share, side in ((1, 0.56, -1), (2, 0.44, 1)):
        states = {
            visit: LesionState(share * s.size_mm, s.heterogeneity_hu, s.necrosis, s.rearrangement)
            for visit, s in late.items()
        }
        position = tuple(
            float(p) for p in np.asarray(first.position_mm) + side * (0.5 * reach + 2.0) * axis
        )
        unit = _unit_surface(random, node=False)
        label = f"{first.label}.{number}"
        fragments.append(
            Lesion(
                label,
                first.role,
                first.organ,
                first.node,
                first.mean_hu,
                (position[0], position[1], position[2]),
                unit,
                states,
            )
        )
    early = {visit: state for visit, state in first.states.items() if visit not in late}
    whole = Lesion(
        first.label,
        first.role,
        first.organ,
        first.node,
        first.mean_hu,
        first.position_mm,
        first.unit,
        early,
    )
    return (whole, *fragments, *rest)
