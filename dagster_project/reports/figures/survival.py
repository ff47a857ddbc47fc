"""Kaplan–Meier curves with the number at risk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.reports.figures import canvas
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.palette import LIGHT, LINES, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagster_project.statistics.survival import KaplanMeier


def survival_figure(
    curves: Mapping[str, KaplanMeier],
    *,
    x_label: str = "Days from the first cycle",
    y_label: str = "Progression-free survival",
    theme: Theme = LIGHT,
) -> bytes:
    """Kaplan–Meier curves with 95 % bands (log-log), censoring ticks and medians.

    The number at risk is under the axis. The figure compares nothing: groups made from what
    happened after day 0 need a landmark before they may appear in one figure.
    """
    if not curves:
        raise NothingToDraw("survival_figure", "at least one patient with a time")

    def paint(figure: Figure) -> None:
        ratios = [5, 0.45 + 0.42 * len(curves)]
        axes, table = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
        for (name, curve), colour, line in zip(curves.items(), cycle(theme.series), cycle(LINES)):
            _paint_survival(axes, name, curve, colour=colour, line=line)
        _finish_survival(axes, x_label, y_label, theme)
        _paint_at_risk(table, curves, axes.get_xticks(), theme)

    return canvas.drawn(paint, theme, height=3.6 + 0.24 * len(curves))


def _paint_survival(axes: Axes, name: str, curve: KaplanMeier, *, colour: str, line: Any) -> None:
    time, survival, lower, upper = _from_day_zero(curve)
    axes.fill_between(time, lower, upper, step="post", color=colour, alpha=0.13, linewidth=0)
    label = f"{name}  (n = {curve.n}, events {sum(curve.events)})"
    axes.step(time, survival, where="post", color=colour, linestyle=line, label=label)
    censored = np.array(curve.censored)
    axes.plot(
        censored,
        _step_at(time, survival, censored),
        "|",
        color=colour,
        markersize=6,
        markeredgewidth=1.1,
    )
    if curve.median is not None:
        axes.plot(
            [curve.median, curve.median], [0, 0.5], color=colour, linestyle=":", linewidth=1.1
        )


def _from_day_zero(curve: KaplanMeier) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    time, survival, lower, upper = (
        np.array([math.nan if v is None else v for v in values], float)
        for values in (curve.time, curve.survival, curve.lower, curve.upper)
    )
    if time.size and time[0] == 0:
        return time, survival, lower, upper
    return np.r_[0.0, time], np.r_[1.0, survival], np.r_[1.0, lower], np.r_[1.0, upper]


def _step_at(time: np.ndarray, value: np.ndarray, at: np.ndarray) -> np.ndarray:
    return value[np.searchsorted(time, at, side="right") - 1]


def _finish_survival(axes: Axes, x_label: str, y_label: str, theme: Theme) -> None:
    axes.axhline(0.5, color=theme.rule, linewidth=1)
    axes.set(ylim=(0, 1.03), ylabel=y_label, xlabel=x_label)
    axes.set_xlim(left=0)
    axes.set_xticks(_day_ticks(axes.get_xlim()[1]))
    axes.tick_params(labelbottom=True)
    axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
    axes.legend(loc="upper right", handlelength=2.6)


def _day_ticks(longest: float) -> np.ndarray:
    steps = (7, 14, 30, 60, 90, 180, 360, 720, 1440)
    step = next((s for s in steps if longest / s <= 8), steps[-1])
    return np.arange(0, longest + 1e-9, step)


def _paint_at_risk(
    axes: Axes, curves: Mapping[str, KaplanMeier], ticks: np.ndarray, theme: Theme
) -> None:
    axes.set_ylim(-0.5 - len(curves), 0.6)
    axes.set_axis_off()
    axes.text(0, 0.1, "At risk", color=theme.soft, fontsize=8, ha="left", va="center")
    for row, (curve, colour) in enumerate(zip(curves.values(), cycle(theme.series)), 1):
        axes.plot(
            [-0.034],
            [-row],
            marker="s",
            markersize=4.5,
            color=colour,
            transform=axes.get_yaxis_transform(),
            clip_on=False,
        )
        for tick in ticks:
            at_risk = str(curve.at_risk_at(tick))
            axes.text(tick, -row, at_risk, ha="center", va="center", fontsize=8.5)
