"""Figures of response: waterfall, spider and swimmer plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.reports.figures import canvas
from dagster_project.reports.figures.canvas import NothingToDraw, signed
from dagster_project.reports.palette import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


RESPONSE_LINE_PERCENT, PROGRESSION_LINE_PERCENT = -30.0, 20.0
"""The two customary lines of a waterfall plot.

Progression itself is judged against the nadir, not against baseline.
"""


def waterfall_figure(
    changes: Sequence[float], responses: Sequence[str], *, theme: Theme = LIGHT
) -> bytes:
    """Waterfall plot: best change of the sum of diameters, one bar per patient, worst first.

    Bars are coloured by best overall response.
    """
    if not len(changes):
        raise NothingToDraw(
            "waterfall_figure", "at least one patient with a sum at baseline and later"
        )
    order = np.argsort(-np.asarray(changes, float), kind="stable")
    heights, kinds = np.asarray(changes, float)[order], np.asarray(responses, object)[order]
    colours = {"CR": theme.series[2], "PR": theme.yes, "SD": theme.other, "PD": theme.no}

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for kind in [k for k in (*colours, *sorted(set(kinds) - set(colours))) if k in set(kinds)]:
            chosen = kinds == kind
            axes.bar(
                np.flatnonzero(chosen),
                heights[chosen],
                width=0.82,
                label=f"{kind} ({chosen.sum()})",
                **_bar(colours.get(kind), theme),
            )
        for level in (RESPONSE_LINE_PERCENT, PROGRESSION_LINE_PERCENT):
            axes.axhline(level, color=theme.ink, linewidth=1, linestyle=(0, (5, 3)))
            axes.annotate(
                f"{signed(level, 0)} %",
                (1.005, level),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=theme.soft,
            )
        axes.axhline(0, color=theme.soft, linewidth=0.8)
        axes.set(
            ylabel="Best change of the sum (%)",
            xlim=(-0.8, len(heights) - 0.2),
            ylim=(min(-105.0, heights.min() - 5), max(45.0, heights.max() * 1.08)),
        )
        axes.set_xticks([])
        axes.set_xlabel(f"Patients (n = {len(heights)})")
        axes.legend(
            loc="upper left", ncols=6, bbox_to_anchor=(0, 1.13), borderaxespad=0, handlelength=1.2
        )

    return canvas.drawn(paint, theme, height=3.4)


def _bar(colour: str | None, theme: Theme) -> dict[str, Any]:
    return (
        {"color": colour, "linewidth": 0}
        if colour
        else {"facecolor": "none", "edgecolor": theme.soft, "linewidth": 1}
    )


MARKS: Mapping[str, str] = {
    "CR": "D",
    "PR": "o",
    "SD": "s",
    "NON_CR_NON_PD": "s",
    "PD": "X",
    "NE": ".",
}
"""Marker of a response, so that it can be recognised without colour."""


SWIMMERS_SHOWN = 60
"""Lanes of a swimmer plot; more would not be legible, and the figure says how many are left out."""


STEEPEST_PERCENT = 150.0
"""Growth in percent above which a course is drawn at the edge of the spider plot.

Otherwise one course would flatten all others.
"""


@dataclass(frozen=True)
class Course:
    """A patient over time.

    Days and changes of the sum, responses by day, and how the time ended.
    """

    best: str
    changes: Sequence[tuple[int, float]]
    responses: Sequence[tuple[int, str]]
    days: int | None
    died: bool
    going_on: bool


def colours(theme: Theme) -> dict[str, str]:
    """Colour of a response, the same in all figures."""
    return {
        "CR": theme.series[2],
        "PR": theme.yes,
        "SD": theme.other,
        "NON_CR_NON_PD": theme.other,
        "PD": theme.no,
        "NE": theme.soft,
    }


def spider_figure(courses: Sequence[Course], *, theme: Theme = LIGHT) -> bytes:
    """Spider plot: change of the sum of diameters from baseline over time.

    There is one line per patient, coloured by best overall response. Growth above STEEPEST_PERCENT
    is drawn at the edge with a triangle.
    """
    lines = [c for c in courses if c.changes]
    if not lines:
        raise NothingToDraw(
            "spider_figure", "at least one patient with a sum at baseline and later"
        )

    def paint(figure: Figure) -> None:
        axes, colour = figure.subplots(), colours(theme)
        for course in lines:
            _paint_course(axes, course, colour.get(course.best, theme.soft))
        for kind in [k for k in colour if any(c.best == k for c in lines)]:
            axes.plot(
                [],
                [],
                color=colour[kind],
                label=f"{_name(kind)} ({sum(c.best == kind for c in lines)})",
            )
        for level in (RESPONSE_LINE_PERCENT, PROGRESSION_LINE_PERCENT):
            axes.axhline(level, color=theme.ink, linewidth=1, linestyle=(0, (5, 3)))
            axes.annotate(
                f"{signed(level, 0)} %",
                (1.005, level),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=theme.soft,
            )
        axes.axhline(0, color=theme.soft, linewidth=0.8)
        axes.set(
            xlabel="Days from the first cycle",
            ylabel="Change of the sum from baseline (%)",
            ylim=(-105, _top(lines)),
        )
        axes.legend(
            loc="upper left", ncols=6, bbox_to_anchor=(0, 1.11), borderaxespad=0, handlelength=1.2
        )

    return canvas.drawn(paint, theme, height=3.7)


def _name(kind: str) -> str:
    return kind.replace("NON_CR_NON_PD", "non-CR/non-PD")


def _top(lines: Sequence[Course]) -> float:
    return min(
        STEEPEST_PERCENT * 1.05,
        max(45.0, max(change for c in lines for _, change in c.changes) * 1.08),
    )


def _paint_course(axes: Axes, course: Course, colour: str) -> None:
    days = [0, *(day for day, _ in course.changes)]
    sizes = [0.0, *(min(change, STEEPEST_PERCENT) for _, change in course.changes)]
    axes.plot(days, sizes, color=colour, linewidth=1.1, alpha=0.75, marker=".", markersize=4)
    steep = [day for day, change in course.changes if change > STEEPEST_PERCENT]
    axes.plot(
        steep, [STEEPEST_PERCENT] * len(steep), linestyle="", marker="^", markersize=6, color=colour
    )


def swimmer_figure(courses: Sequence[Course], *, theme: Theme = LIGHT) -> bytes:
    """Swimmer plot: one lane per patient, longest first, with the response at each visit.

    A lane runs from the first cycle to progression, death or censoring. An arrow says that nothing
    had ended it; a cross in a circle is death. Of more than SWIMMERS_SHOWN patients those at even
    steps of rank are drawn.
    """
    timed = sorted(
        (c for c in courses if c.days is not None), key=lambda c: (-(c.days or 0), c.best)
    )
    if not timed:
        raise NothingToDraw("swimmer_figure", "at least one patient with a survival time")
    step = -(-len(timed) // SWIMMERS_SHOWN)
    shown = timed[::step]

    def paint(figure: Figure) -> None:
        axes, colour = figure.subplots(), colours(theme)
        for row, course in enumerate(reversed(shown)):
            _paint_lane(axes, row, course, colour, theme)
        _finish_swimmer(axes, shown, len(timed), theme)

    return canvas.drawn(paint, theme, height=min(9.0, 1.5 + 0.17 * len(shown)))


def _paint_lane(
    axes: Axes, row: int, course: Course, colour: Mapping[str, str], theme: Theme
) -> None:
    end = max([course.days or 0, *(day for day, _ in course.responses)])
    axes.barh(
        row,
        course.days or 0,
        height=0.62,
        color=colour.get(course.best, theme.soft),
        alpha=0.45,
        linewidth=0,
    )
    axes.plot([0, end], [row, row], color=theme.rule, linewidth=0.8, zorder=0)
    for day, response in course.responses:
        axes.plot(
            day,
            row,
            linestyle="",
            marker=MARKS.get(response, "."),
            markersize=4.5,
            color=colour.get(response, theme.soft),
            markeredgecolor=theme.ink,
            markeredgewidth=0.4,
        )
    if course.died:
        axes.plot(
            course.days or 0,
            row,
            linestyle="",
            marker="$\\otimes$",
            markersize=7,
            color=theme.alarm,
        )
    elif course.going_on:
        axes.annotate(
            "",
            (end + 0.03 * (end or 1) + 6, row),
            (end, row),
            arrowprops={"arrowstyle": "-|>", "color": theme.soft, "linewidth": 1},
        )


def _finish_swimmer(axes: Axes, shown: Sequence[Course], n: int, theme: Theme) -> None:
    from matplotlib.lines import Line2D

    colour, seen = colours(theme), {r for c in shown for _, r in c.responses}
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKS[k],
            markersize=5,
            color=colour[k],
            markeredgecolor=theme.ink,
            markeredgewidth=0.4,
            label=_name(k),
        )
        for k in MARKS
        if k in seen
    ]
    if any(c.died for c in shown):
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="$\\otimes$",
                markersize=7,
                color=theme.alarm,
                label="death",
            )
        )
    axes.legend(
        handles=handles,
        loc="lower left",
        ncols=7,
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        handletextpad=0.2,
        columnspacing=1.2,
    )
    axes.set(
        xlabel="Days from the first cycle; "
        "the bar is progression-free survival, coloured by best response",
        ylim=(-0.8, len(shown) - 0.2),
    )
    axes.set_xlim(left=0)
    axes.set_yticks([])
    left_out = "" if len(shown) == n else f", {len(shown)} of them drawn"
    axes.set_ylabel(f"Patients (n = {n}{left_out})")
    axes.grid(visible=True, axis="x")
