"""ROC curves of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from dagster_project.reports.figures import canvas
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.palette import LIGHT, LINES, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dagster_project.statistics.estimate import Estimate
    from dagster_project.statistics.roc import RocPoint


@dataclass(frozen=True)
class RocCurve:
    """Corners of a model's curve, and its AUC with the bounds to print, if any."""

    points: Sequence[RocPoint]
    auc: Estimate


def roc_figure(curves: Mapping[str, RocCurve], *, theme: Theme = LIGHT) -> bytes:
    """ROC curves by model, with AUC and, where given, its interval in the legend."""
    if not curves:
        raise NothingToDraw("roc_figure", "a model with predictions of both classes")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=theme.rule, linewidth=1.2)
        for (name, curve), colour, line in zip(curves.items(), cycle(theme.series), cycle(LINES)):
            x = [p.false_positive_rate for p in curve.points]
            y = [p.true_positive_rate for p in curve.points]
            legend = f"{name}\nAUC {curve.auc.value:.2f}{_interval(curve.auc)}"
            axes.plot(x, y, color=colour, linestyle=line, label=legend)
        axes.set(
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
            xlabel="1 − specificity",
            ylabel="Sensitivity",
        )
        axes.grid(visible=True)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.04, 0.5), labelspacing=1.1, handlelength=2.8
        )

    return canvas.drawn(paint, theme, height=max(3.9, 0.52 * len(curves)))


def _interval(auc: Estimate) -> str:
    if auc.lower is None or auc.upper is None:
        return ""
    return f" ({auc.lower:.2f} to {auc.upper:.2f})"
