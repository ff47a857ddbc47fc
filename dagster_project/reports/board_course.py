"""The drawing of a patient's course on the board page: sums over days, limits and readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dagster_project.reports.summaries.tables import Row
from dagster_project.reports.wording import number, plain

WIDTH, HEIGHT = 430, 236
LEFT, RIGHT, TOP, BOTTOM = 34, 346, 18, 180
"""Frame of the drawing, in its units."""

LABEL_GAP = 12.5
"""Distance at least between two labels beside the frame."""


@dataclass(frozen=True)
class Point:
    """A visit: its place, its sum with bounds, and the sums of the other readers."""

    x: float
    y: float | None
    upper: float | None
    lower: float | None
    rings: tuple[tuple[float, str], ...]
    visit: str
    day: str
    size: str
    state: str
    tone: str
    anchor: str


@dataclass(frozen=True)
class Limit:
    """A line of a limit, with its size and the place of its label beside the frame."""

    y: float
    label_y: float
    kind: str
    text: str
    x1: float
    x2: float


@dataclass(frozen=True)
class Drawing:
    """All that is drawn."""

    points: tuple[Point, ...]
    path: str
    limits: tuple[Limit, ...]
    ticks: tuple[tuple[float, str], ...]
    cycles: tuple[float, ...]
    band: tuple[float, float, str, str] | None
    planned: tuple[float, str] | None
    last_day: float


@dataclass(frozen=True)
class Plan:
    """What is due after the last visit that is drawn, in days from the first cycle and in mm."""

    planned_day: int | None = None
    window: tuple[int, int] | None = None
    confirm_mm: float | None = None
    reset_mm: float | None = None


def draw_course(
    visits: Sequence[Row],
    others: Mapping[str, Sequence[tuple[str, float]]],
    plan: Plan,
    cycles: Sequence[int],
    error: float,
    response_mm: float | None,
    progression_mm: float | None,
) -> Drawing | None:
    """Places of everything; None without a dated visit.

    Parameters
    ----------
    visits
        In order, with visit, day, sum_mm, state and tone.
    others
        Visit → letter and sum of each reader whose read was not accepted.
    cycles
        Days of the cycles given.
    error
        Half length of the error bars, as a share of the sum.
    response_mm, progression_mm
        Sums that are a partial response, and progression, at the last visit.
    """
    dated = [v for v in visits if v["day"] is not None]
    if not dated:
        return None
    days = [0, *(v["day"] for v in dated), *cycles]
    ahead = [plan.planned_day, *(plan.window or ())]
    low, high = min(days), max([*days, *(d for d in ahead if d is not None)]) + 6
    sums = [v["sum_mm"] * (1 + error) for v in dated if v["sum_mm"] is not None]
    limits = (response_mm, progression_mm, plan.confirm_mm, plan.reset_mm)
    top = max([10.0, *sums, *(v for v in limits if v is not None)]) * 1.08

    def x(day: float) -> float:
        return round(LEFT + 8 + (day - low) / max(high - low, 1) * (RIGHT - LEFT - 8), 1)

    def y(size: float) -> float:
        return round(BOTTOM - size / top * (BOTTOM - TOP), 1)

    points = tuple(
        _point(v, x(v["day"]), y, error, others.get(v["visit"], ()), place, len(dated))
        for place, v in enumerate(dated)
    )
    drawn = [p for p in points if p.y is not None]
    window = plan.window and (x(plan.window[0]), x(plan.window[1]))
    return Drawing(
        points,
        " ".join(f"{'L' if i else 'M'}{p.x} {p.y}" for i, p in enumerate(drawn)),
        _limits(y, response_mm, progression_mm, plan, window),
        tuple((y(v), f"{v:g}") for v in _levels(top)),
        tuple(x(d) for d in cycles),
        window and (*window, *(number(d, 0) for d in plan.window or ())),  # type: ignore[arg-type]
        None if plan.planned_day is None else (x(plan.planned_day), number(plan.planned_day, 0)),
        x(dated[-1]["day"]),
    )


def _point(
    visit: Row,
    x: float,
    y: object,
    error: float,
    others: Sequence[tuple[str, float]],
    place: int,
    count: int,
) -> Point:
    assert callable(y), "a scale"
    size = visit["sum_mm"]
    anchor = "start" if place == 0 and count > 1 else "middle"
    return Point(
        x,
        None if size is None else y(size),
        None if size is None else y(size * (1 + error)),
        None if size is None else y(max(0.0, size * (1 - error))),
        tuple((y(value), letter) for letter, value in others),
        visit["visit"],
        number(visit["day"], 0),
        "" if size is None else number(size, 1),
        plain(visit["state"]) if visit["state"] else "",
        visit["tone"],
        anchor,
    )


def _limits(
    y: object,
    response_mm: float | None,
    progression_mm: float | None,
    plan: Plan,
    window: tuple[float, float] | None,
) -> tuple[Limit, ...]:
    """Lines of response and progression over the frame; of confirmation and reset in the window.

    While a sum resets, that line stands for the one of progression, which is the same.
    """
    assert callable(y), "a scale"
    whole = (float(LEFT), float(RIGHT))
    wanted: list[tuple[str, float | None, tuple[float, float]]] = [("response", response_mm, whole)]
    if plan.reset_mm is None or progression_mm is None or window is None:
        wanted.append(("progression", progression_mm, whole))
    if window:
        wanted += [("confirm", plan.confirm_mm, window), ("reset", plan.reset_mm, window)]
    found = [(kind, size, span) for kind, size, span in wanted if size is not None]
    found.sort(key=lambda limit: -limit[1])
    limits, last = [], float("-inf")
    for kind, size, (x1, x2) in found:
        last = max(y(size) + 3.5, last + LABEL_GAP)
        limits.append(Limit(y(size), last, kind, number(size, 1), x1, x2))
    return tuple(limits)


def _levels(top: float) -> list[float]:
    step = next((v for v in (5, 10, 20, 25, 50, 100, 200) if top / v <= 5), 500)
    return [float(step * i) for i in range(int(top / step) + 1)]
