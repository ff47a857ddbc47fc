"""How much of a patient's secret shift of dates is left to guess.

The guesser has the published dates and knows the study.

.venv/bin/python -m benchmarks.shift_clues [--patients 400]
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dagster_project.intake.identity.pseudonyms import LONGEST_SHIFT_DAYS, SHORTEST_SHIFT_DAYS

Floats = npt.NDArray[np.float64]

BEGIN, END, PUBLISHED = (
    dt.date(*day).toordinal() for day in ((2024, 1, 1), (2025, 12, 31), (2026, 11, 29))
)
"""First and last day of enrolment, and the day of the publication: all are known."""

ON_WEEKENDS, ON_HOLIDAYS = 0.10, 0.05
"""Scans and cycles on such a day for each on a working day; an emergency is scanned on any."""

CONTACT_EVERY = 63
"""Who is alive at the publication was seen or called within so many days before it."""

HOLIDAYS = [((10, 1), 7), ((5, 1), 5), ((1, 1), 1)]
SPRING_FESTIVALS = [(2024, 2, 10), (2025, 1, 29), (2026, 2, 17)]
"""First day of the holiday of a week; two days before it no planned scan is made either."""


def weights(weekends: float, holidays: float) -> Floats:
    """How likely a planned scan or cycle is on each day, by its ordinal less `BEGIN` - 400."""
    days = [dt.date.fromordinal(BEGIN - 400 + k) for k in range(PUBLISHED - BEGIN + 801)]
    free = {
        dt.date(year, *day) + dt.timedelta(n)
        for year in range(2022, 2028)
        for day, length in HOLIDAYS
        for n in range(length)
    }
    free |= {dt.date(*first) + dt.timedelta(n) for first in SPRING_FESTIVALS for n in range(-2, 7)}
    return np.array(
        [holidays if day in free else weekends if day.weekday() > 4 else 1.0 for day in days]
    )


def draw(random: np.random.Generator) -> tuple[list[int], int]:
    """True days of a patient's scans and cycles, and of the last contact of one who is alive.

    Scans and cycles are on working days as a rule.
    """
    likely = weights(ON_WEEKENDS, ON_HOLIDAYS)
    planned = [-8, 0, 21, 42, 56, 63, 84, 98, 105]
    begin = int(random.integers(BEGIN, END + 1))
    days = []
    for day in planned:
        near = np.arange(begin + day - 2, begin + day + 5)
        odds = likely[near - BEGIN + 400]
        days.append(int(random.choice(near, p=odds / odds.sum())))
    return days, PUBLISHED - int(random.integers(0, CONTACT_EVERY))


Clue = Callable[[Floats, Sequence[int], int], Floats]
"""Shifts, days as shown, last contact as shown → how likely each shift is by it."""


def _in_study(shifts: Floats, shown: Sequence[int], _last: int) -> Floats:
    first, last = min(shown) + shifts, max(shown) + shifts
    return ((first >= BEGIN - 28) & (first <= END) & (last <= PUBLISHED)).astype(float)


def _planned(likely: Floats) -> Clue:
    def of(shifts: Floats, shown: Sequence[int], _last: int) -> Floats:
        days = np.clip(np.add.outer(shifts, shown).astype(int) - BEGIN + 400, 0, likely.size - 1)
        return np.prod(likely[days], axis=1)

    return of


def _of_weekdays(shifts: Floats, shown: Sequence[int], _last: int) -> Floats:
    weekday = (np.add.outer(shifts, shown).astype(int) - 1) % 7  # ordinal 1 is a Monday
    return np.prod(np.where(weekday > 4, ON_WEEKENDS, 1.0), axis=1)


def _still_followed(shifts: Floats, _shown: Sequence[int], last: int) -> Floats:
    ago = PUBLISHED - (last + shifts)
    return ((ago >= 0) & (ago < CONTACT_EVERY)).astype(float)


CASES: dict[str, tuple[Clue, ...]] = {
    "nothing but the range of shifts": (),
    "days of the week": (_of_weekdays,),
    "when the study enrolled": (_in_study,),
    "when it enrolled, days of the week": (_in_study, _of_weekdays),
    "when it enrolled, days of the week, public holidays": (
        _in_study,
        _planned(weights(ON_WEEKENDS, ON_HOLIDAYS)),
    ),
    "alive and followed at the publication": (_in_study, _still_followed),
    "all of these": (_in_study, _planned(weights(ON_WEEKENDS, ON_HOLIDAYS)), _still_followed),
}


def bits_left(clues: Sequence[Clue], shown: Sequence[int], last: int) -> float:
    """Entropy of the shift in bits, after the clues."""
    shifts = np.arange(SHORTEST_SHIFT_DAYS, LONGEST_SHIFT_DAYS + 1).astype(float)
    odds = np.prod([np.ones_like(shifts), *(clue(shifts, shown, last) for clue in clues)], axis=0)
    likely = odds[odds > 0] / odds.sum()
    return float(-(likely * np.log2(likely)).sum())


def main() -> None:
    """Print the bits that are left by what is known: the median and the least of all patients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=400)
    random = np.random.default_rng(5)
    patients = []
    for _ in range(parser.parse_args().patients):
        (days, last), shift = (
            draw(random),
            int(random.integers(SHORTEST_SHIFT_DAYS, LONGEST_SHIFT_DAYS + 1)),
        )
        patients.append(([d - shift for d in days], last - shift))
    for name, clues in CASES.items():
        bits = [bits_left(clues, *patient) for patient in patients]
        print(f"| {name} | {np.median(bits):.1f} | {min(bits):.1f} | {2 ** np.median(bits):.0f} |")


if __name__ == "__main__":
    main()
