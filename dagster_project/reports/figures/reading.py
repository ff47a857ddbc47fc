"""Figure of the readers' agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dagster_project.reports.figures import canvas
from dagster_project.reports.figures.canvas import NothingToDraw, signed
from dagster_project.reports.palette import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Limits = tuple[float, float | None, float | None]
"""Bias and limits of agreement."""


def agreement_figure(
    first: Sequence[float],
    second: Sequence[float],
    limits: Limits | None,
    *,
    unit: str = "mm",
    measurement: str = "Longest diameter",
    settled: Sequence[bool] | None = None,
    theme: Theme = LIGHT,
) -> bytes:
    """Bland–Altman plot with bias and 95 % limits of agreement.

    It plots the difference (second minus first reader) over the mean. `settled` marks the pairs
    that an arbiter decided. `limits` are of all pairs drawn: bias and bias ± 1.96 sd.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if limits is None:
        raise NothingToDraw("agreement_figure", "at least one lesion measured by two readers")
    mean, difference = (a + b) / 2, b - a
    open_marks = np.zeros(a.size, bool) if settled is None else np.asarray(settled, bool)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=theme.rule, linewidth=1)
        axes.scatter(
            mean[~open_marks],
            difference[~open_marks],
            s=18,
            color=theme.yes,
            alpha=0.6,
            linewidth=0,
            label="read in agreement",
        )
        if open_marks.any():
            axes.scatter(
                mean[open_marks],
                difference[open_marks],
                s=22,
                facecolor="none",
                edgecolor=theme.no,
                linewidth=1.2,
                label="patient settled by arbitration",
            )
            axes.legend(
                loc="upper left",
                ncols=2,
                bbox_to_anchor=(0, 1.12),
                borderaxespad=0,
                handletextpad=0.2,
            )
        _paint_limits(axes, difference, limits, unit, theme)
        axes.set(
            xlabel=f"{measurement}, mean of the two readers ({unit})",
            ylabel=f"Second minus first reader ({unit})",
        )

    return canvas.drawn(paint, theme, height=3.5)


def _paint_limits(
    axes: Axes, difference: np.ndarray, limits: Limits, unit: str, theme: Theme
) -> None:
    bias = limits[0]
    low, high = (bias if limit is None else limit for limit in limits[1:])
    for level, name in ((bias, "bias"), (low, "−1.96 sd"), (high, "+1.96 sd")):
        axes.axhline(
            level, color=theme.ink, linewidth=1.1, linestyle="-" if name == "bias" else (0, (5, 3))
        )
        axes.annotate(
            f"{name}\n{signed(level)} {unit}",
            (1.01, level),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=theme.soft,
        )
    reach = max(abs(low), abs(high), float(np.abs(difference).max()), 1e-6) * 1.18
    axes.set_ylim(-reach, reach)
