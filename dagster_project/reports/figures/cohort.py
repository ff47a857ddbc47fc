"""Figures of the cohort: enrolment against its targets, and the flow of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_project.reports.figures import canvas
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.palette import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Stage:
    """A box of a flow chart: how many are in it, and who left before the next one, by reason."""

    title: str
    count: int
    left: tuple[tuple[str, int], ...] = ()
    left_as: str = "Left out"


LINE_HEIGHT = 0.23
"""From one line of a box of the flow chart to the next, in inches."""


def enrolment_figure(
    sites: Mapping[str, tuple[int, int, int]],
    *,
    target_responders: int,
    target_non_responders: int,
    theme: Theme = LIGHT,
) -> bytes:
    """Eligible patients by site, and their totals against the registration's targets.

    The bars of a site count responders, non-responders and undetermined patients; the totals of
    responders and of non-responders are drawn against their targets.
    """
    if not sites:
        raise NothingToDraw("enrolment_figure", "at least one site")
    names = list(sites)
    counts = np.array([sites[n] for n in names], int)

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, height_ratios=[2, max(1.2, 0.62 * len(names) + 0.5)])
        _paint_targets(above, counts.sum(0), (target_responders, target_non_responders), theme)
        _paint_sites(below, names, counts, theme)

    return canvas.drawn(paint, theme, height=2.0 + 0.32 * len(names))


def _paint_targets(axes: Axes, totals: np.ndarray, targets: tuple[int, int], theme: Theme) -> None:
    axes.barh([1, 0], targets, height=0.5, color=theme.rule)
    axes.barh([1, 0], totals[:2], height=0.5, color=[theme.yes, theme.no])
    for row, total, target in zip((1, 0), totals[:2], targets, strict=True):
        axes.annotate(
            f"{total} of {target}",
            (max(target, total), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks([1, 0], ["Responders", "Non-responders"])
    axes.set_xlim(0, max(*targets, *totals[:2], 1) * 1.16)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title("Against the registration's targets", loc="left", color=theme.soft)


def _paint_sites(axes: Axes, names: list[str], counts: np.ndarray, theme: Theme) -> None:
    from matplotlib.ticker import MaxNLocator

    rows, start = np.arange(len(names))[::-1], np.zeros(len(names))
    for column, (label, colour) in enumerate(
        (
            ("responders", theme.yes),
            ("non-responders", theme.no),
            ("not yet determined", theme.other),
        )
    ):
        axes.barh(rows, counts[:, column], left=start, height=0.62, color=colour, label=label)
        start = start + counts[:, column]
    axes.set_yticks(rows, names)
    axes.set_title("Eligible patients by site", loc="left", color=theme.soft)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(float(start.max()), 1) * 1.16)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)


def flow_figure(
    stages: Sequence[Stage], *, names: Mapping[str, str] | None = None, theme: Theme = LIGHT
) -> bytes:
    """CONSORT-like flow chart: boxes from top to bottom.

    At the right of each box are those who left before the next one, by first reason. `names` has
    the Chinese of the reasons.
    """
    if not stages:
        raise NothingToDraw("flow_figure", "at least one stage")
    tops = np.cumsum([0.0, *(max(1.5, 0.95 + 0.27 * len(s.left)) for s in stages[:-1])])

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set(xlim=(0, 7.2), ylim=(-tops[-1] - 0.72, 0.05))
        for (stage, top), following in zip(
            zip(stages, tops, strict=True), [*tops[1:], None], strict=True
        ):
            _paint_box(
                axes,
                (0.05, -top - 0.66),
                (2.6, 0.64),
                (stage.title, f"n = {stage.count}"),
                theme,
                align="center",
            )
            if following is not None:
                _paint_way(axes, stage, -top - 0.66, -following, theme)

    return canvas.drawn(paint, theme, height=float(tops[-1]) + 0.85, layout="tight", names=names)


def _paint_way(axes: Axes, stage: Stage, begin: float, end: float, theme: Theme) -> None:
    axes.annotate(
        "",
        (1.35, end),
        (1.35, begin),
        arrowprops={
            "arrowstyle": "-|>",
            "color": theme.soft,
            "linewidth": 1,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    if not stage.left:
        return
    middle, height = (begin + end) / 2, 0.40 + 0.23 * len(stage.left)
    axes.annotate(
        "",
        (3.05, middle),
        (1.35, middle),
        arrowprops={
            "arrowstyle": "-|>",
            "color": theme.soft,
            "linewidth": 1,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    lines = [
        f"{stage.left_as}: n = {sum(n for _, n in stage.left)}",
        *(f"{n:>4}  {reason}" for reason, n in stage.left),
    ]
    _paint_box(axes, (3.05, middle - height / 2), (4.1, height), lines, theme, align="left")


def _paint_box(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    lines: Sequence[str],
    theme: Theme,
    *,
    align: str,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    edge = theme.yes if align == "center" else theme.other
    axes.add_patch(
        FancyBboxPatch(
            corner,
            *size,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=theme.paper,
            edgecolor=edge,
            linewidth=1.1,
        )
    )
    x = corner[0] + (size[0] / 2 if align == "center" else 0.14)
    middle, size_pt = corner[1] + size[1] / 2, 9.5 if align == "center" else 8.8
    # One text per line: lines of one text would be placed by the width of the English.
    for place, line in enumerate(lines):
        y = middle + LINE_HEIGHT * ((len(lines) - 1) / 2 - place)
        axes.text(x, y, line, ha=align, va="center", fontsize=size_pt)
