"""The curves of a model as pictures.

ROC, calibration, decision, and what the model's attributions are worth.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster_project.statistics.calibration import calibration_curve
from dagster_project.statistics.decision_curve import net_benefit
from dagster_project.statistics.estimate import Estimate
from models.evaluation.sanity import ALIKE, SanityCheck
from models.evaluation.training import TrainedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(model: TrainedModel) -> dict[str, Any]:
    """The numbers behind the pictures.

    Corners of the ROC, groups of the calibration curve, and net benefit by threshold.
    """
    y, p = model.dataset.y, model.probabilities
    return {
        "roc": [vars(point) for point in model.evaluation.roc],
        "calibration": calibration_curve(y, p),
        "net_benefit": net_benefit(y, p, len(model.fits)),
    }


def roc_png(model: TrainedModel) -> bytes:
    """ROC out of fold."""
    figure, axes = _axes(model, "1 − specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    corners = [(p.false_positive_rate, p.true_positive_rate) for p in model.evaluation.roc]
    axes.plot(*zip(*corners, strict=True), label=f"out of fold, AUC {shown(model.evaluation.auc)}")
    return _png(figure, axes)


def calibration_png(model: TrainedModel) -> bytes:
    """Share of responders against mean probability in groups of equal size, with exact bounds."""
    figure, axes = _axes(model, "Mean probability", "Share of responders")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    groups = calibration_curve(model.dataset.y, model.probabilities)
    x, share = ([g[name] for g in groups] for name in ("mean_probability", "share"))
    below, above = ([abs(g["share"] - g[end]) for g in groups] for end in ("lower", "upper"))
    axes.errorbar(
        x,
        share,
        yerr=[below, above],
        marker="o",
        linewidth=1,
        capsize=2,
        label="out of fold, 95 % exact",
    )
    return _png(figure, axes)


def decision_png(model: TrainedModel) -> bytes:
    """Net benefit of acting at each threshold, beside acting on all and on none.

    The band is of 95 % at each threshold.
    """
    figure, axes = _axes(model, "Threshold probability", "Net benefit")
    rows = net_benefit(model.dataset.y, model.probabilities, len(model.fits))
    at, lower, upper = ([r[name] for r in rows] for name in ("threshold", "lower", "upper"))
    axes.fill_between(at, lower, upper, alpha=0.15, linewidth=0)
    for name, style in (("model", "-"), ("all", "--")):
        axes.plot(
            at,
            [r[name] for r in rows],
            style,
            label={"model": model.name, "all": "treat all"}[name],
        )
    axes.axhline(0, color="0.7", linewidth=1, label="treat none")
    axes.set_ylim(bottom=-0.1)
    return _png(figure, axes)


def sanity_png(check: SanityCheck) -> bytes:
    """Rank correlation of attributions between seeds and with shuffled models.

    The correlation with those of shuffled models must be low.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3), layout="constrained")
    axes = figure.add_subplot(
        ylabel="Rank correlation", title=f"Attributions: {check.verdict.verdict}"
    )
    known = {
        name.replace("_", "\n"): value for name, value in vars(check).items() if value is not None
    }
    axes.bar(
        list(known), list(known.values()), color=["tab:blue", *["tab:orange"] * 2][: len(known)]
    )
    for bound in (-ALIKE, ALIKE):
        axes.axhline(bound, color="0.5", linestyle="--", linewidth=1)
    axes.set_ylim(-1, 1)
    return _png(figure, axes, legend=False)


def shown(estimate: Estimate) -> str:
    """A figure with its interval."""
    if estimate.value is None or estimate.lower is None:
        return "–" if estimate.value is None else f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.lower:.3f}–{estimate.upper:.3f})"


def _axes(model: TrainedModel, x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    return figure, figure.add_subplot(
        xlabel=x, ylabel=y, title=f"{model.name}, task {model.dataset.task.name}"
    )


def _png(figure: Figure, axes: Any, *, legend: bool = True) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if legend:
        axes.legend(frameon=False, fontsize="small")
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target)
    return target.getvalue()


PICTURES: Sequence[tuple[str, Any]] = (
    ("roc.png", roc_png),
    ("calibration.png", calibration_png),
    ("decision_curve.png", decision_png),
)
"""Pictures of every model, by the name of the file."""
