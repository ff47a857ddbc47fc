"""Figure of the Dynamic Heterogeneity Index."""

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

    from dagster_project.statistics.description import Quartiles


@dataclass(frozen=True)
class Strip:
    """Values of a group, and their quartiles; None without a value."""

    values: Sequence[float]
    quartiles: Quartiles | None


def dhi_figure(
    strips: Mapping[str, Mapping[str, Strip]], *, limit: bool, theme: Theme = LIGHT
) -> bytes:
    """Every patient's DHI by pair of visits and group, with median and quartiles.

    The line at 1 is drawn only where limits are calibrated.
    """
    if not any(len(s.values) for groups in strips.values() for s in groups.values()):
        raise NothingToDraw("dhi_figure", "at least one patient with a DHI")
    names = list(dict.fromkeys(name for groups in strips.values() for name in groups))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if limit:
            axes.axhline(1, color=theme.alarm, linewidth=1, linestyle=(0, (5, 3)))
            axes.annotate(
                "1: noise, position\nand contour explain\nno more",
                (1.01, 1),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=theme.soft,
            )
        for x, groups in enumerate(strips.values()):
            for offset, name, colour in zip(
                _offsets(len(names)),
                names,
                (theme.yes, theme.no, theme.other)[: len(names)],
                strict=True,
            ):
                _paint_strip(axes, x + offset, groups.get(name), colour, theme)
        _finish_dhi(axes, list(strips), names, theme)

    return canvas.drawn(paint, theme, height=3.5)


def _offsets(n: int) -> np.ndarray:
    return (np.arange(n) - (n - 1) / 2) * 0.30


def _paint_strip(axes: Axes, x: float, strip: Strip | None, colour: str, theme: Theme) -> None:
    if strip is None or strip.quartiles is None:
        return
    values, middle = np.asarray(strip.values, float), strip.quartiles.median
    spread = (np.argsort(np.argsort(values)) * 0.381966 % 1 - 0.5) * 0.16
    axes.scatter(x + spread, values, s=15, color=colour, alpha=0.55, linewidth=0)
    axes.plot([x, x], [strip.quartiles.low, strip.quartiles.high], color=theme.ink, linewidth=1.2)
    axes.plot(
        [x - 0.10, x + 0.10],
        [middle, middle],
        color=theme.ink,
        linewidth=2.2,
        solid_capstyle="round",
    )


def _finish_dhi(axes: Axes, pairs: list[str], names: list[str], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    axes.set_xticks(range(len(pairs)), pairs)
    axes.set(xlim=(-0.6, len(pairs) - 0.4), ylabel="DHI of the patient")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y")
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=c)
        for c in (theme.yes, theme.no, theme.other)[: len(names)]
    ]
    axes.legend(
        handles,
        names,
        loc="upper left",
        ncols=len(names),
        bbox_to_anchor=(0, 1.12),
        borderaxespad=0,
        handletextpad=0.2,
    )
