"""The figures of the pages, each made from plain values as the bytes of a PNG.

The same values give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_project.reports.palette import (
    DARK,
    DARK_ROOM,
    DOTS_PER_INCH,
    LIGHT,
    LINES,
    PICTURE_DOTS_PER_INCH,
    WIDTH_INCH,
    Theme,
    settings,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dagster_project.statistics.description import Quartiles
    from dagster_project.statistics.estimate import Estimate
    from dagster_project.statistics.roc import RocPoint
    from dagster_project.statistics.survival import KaplanMeier

LUNG_WINDOW_HU = (-1350.0, 150.0)
"""Window of the lung: level −600 HU, width 1500 HU."""

SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
"""Window of soft tissue: level 40 HU, width 400 HU."""

CROP_MARGIN_MM = 25.0
"""Room left around a lesion in its picture."""

PICTURE_HEIGHT_INCH = 4.05
"""Height of a lesion's picture: two square panels, a line of words above and one below."""

PANELS = (
    ((0.021, 0.085, 0.457, 0.8124), LUNG_WINDOW_HU, "Lung window"),
    ((0.521, 0.085, 0.457, 0.8124), SOFT_TISSUE_WINDOW_HU, "Soft-tissue window"),
)
"""Place in the picture, window and name of its panels."""

SCALE_BAR_MM = 20.0
"""Length of the scale bar in a picture of a lesion."""

RESPONSE_LINE_PERCENT, PROGRESSION_LINE_PERCENT = -30.0, 20.0
"""The two customary lines of a waterfall plot.

Progression itself is judged against the nadir, not against baseline.
"""


@dataclass(frozen=True)
class Stage:
    """A box of a flow chart: how many are in it, and who left before the next one, by reason."""

    title: str
    count: int
    left: tuple[tuple[str, int], ...] = ()
    left_as: str = "Left out"


class NothingToDraw(ValueError):
    """A figure was asked for without a value that it could show."""

    def __init__(self, figure: str, needs: str) -> None:
        super().__init__(
            f"{figure}: nothing to draw; it needs {needs}. "
            "Ask for it only where there is some, and say on the page why there is none."
        )


@dataclass(frozen=True)
class RocCurve:
    """Corners of a model's curve, and its AUC with the bounds to print, if any."""

    points: Sequence[RocPoint]
    auc: Estimate


@dataclass(frozen=True)
class Strip:
    """Values of a group, and their quartiles; None without a value."""

    values: Sequence[float]
    quartiles: Quartiles | None


Limits = tuple[float, float | None, float | None]
"""Bias and limits of agreement."""


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

    return drawn(paint, theme, height=3.6 + 0.24 * len(curves))


def _paint_survival(axes: Axes, name: str, curve: KaplanMeier, *, colour: str, line: Any) -> None:
    time, survival, lower, upper = _from_day_zero(curve)
    axes.fill_between(time, lower, upper, step="post", color=colour, alpha=0.13, linewidth=0)
    label = f"{name}  (n = {curve.n}, {sum(curve.events)} events)"
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

    return drawn(paint, theme, height=3.5)


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

    return drawn(paint, theme, height=max(3.9, 0.52 * len(curves)))


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

    return drawn(paint, theme, height=3.5)


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

    return drawn(paint, theme, height=3.4)


def _bar(colour: str | None, theme: Theme) -> dict[str, Any]:
    return (
        {"color": colour, "linewidth": 0}
        if colour
        else {"facecolor": "none", "edgecolor": theme.soft, "linewidth": 1}
    )


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

    return drawn(paint, theme, height=2.0 + 0.32 * len(names))


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


def flow_figure(stages: Sequence[Stage], *, theme: Theme = LIGHT) -> bytes:
    """CONSORT-like flow chart: boxes from top to bottom.

    At the right of each box are those who left before the next one, by first reason.
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
                f"{stage.title}\nn = {stage.count}",
                theme,
                align="center",
            )
            if following is not None:
                _paint_way(axes, stage, -top - 0.66, -following, theme)

    return drawn(paint, theme, height=float(tops[-1]) + 0.85, layout="tight")


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
    _paint_box(
        axes, (3.05, middle - height / 2), (4.1, height), "\n".join(lines), theme, align="left"
    )


def _paint_box(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    text: str,
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
    axes.text(
        x,
        corner[1] + size[1] / 2,
        text,
        ha=align,
        va="center",
        fontsize=9.5 if align == "center" else 8.8,
        linespacing=1.45,
    )


def slice_figure(image: Any, masks: Mapping[str, np.ndarray], *, caption: str = "") -> bytes:
    """The slice of the lesion's largest cross-section in lung and soft-tissue window.

    It has the readers' contours and a scale bar.

    Parameters
    ----------
    image
        CT as a SimpleITK image in HU; of its header the spacing alone is used.
    masks
        Reader → boolean array (z, y, x) on the image's grid; readers without a voxel are left out.
    caption
        Pseudonym, visit and lesion; it is all the writing in the picture besides the readers'
        names.

    Raises
    ------
    NothingToDraw
        Where no mask has a voxel: a lesion that has vanished has no picture.
    """
    import SimpleITK as sitk

    outlines = {reader: np.asarray(mask, bool) for reader, mask in masks.items() if np.any(mask)}
    if not outlines:
        raise NothingToDraw("slice_figure", "a mask with at least one voxel")
    union = np.logical_or.reduce(list(outlines.values()))
    z = int(np.argmax(union.sum(axis=(1, 2))))
    view = _square_around(union[z], image.GetSpacing()[:2])
    plane = sitk.GetArrayViewFromImage(image)[z]

    def paint(figure: Figure) -> None:
        for place, window, name in PANELS:
            axes = figure.add_axes(place)
            _paint_plane(axes, plane, view, window)
            _paint_contours(axes, {reader: mask[z] for reader, mask in outlines.items()}, view)
            axes.set_title(name, loc="left", fontsize=8, color=DARK.soft)
            _paint_scale_bar(axes, view)
        _caption(figure, caption, outlines)

    return _indexed(paint)


def pair_figure(
    image: Any,
    masks: Mapping[str, np.ndarray],
    place: int,
    *,
    ends: Mapping[str, np.ndarray] | None = None,
    caption: str = "",
) -> bytes:
    """One slice twice, in one window, with each read's contour on its own copy.

    So neither outline leads the eye in the other.

    Parameters
    ----------
    image
        CT as a SimpleITK image in HU; of its header the spacing alone is used.
    masks
        Letter → boolean array (z, y, x); a read without a voxel in the slice leaves its copy bare.
    place
        The slice, from 0 along the stacking direction.
    ends
        Letter → the two ends of the longest diameter as (x, y, z) indices, drawn where it was
        measured in this slice.
    caption
        Pseudonym, visit, lesion and slice.

    Raises
    ------
    NothingToDraw
        Where no mask has a voxel in the slice.
    """
    import SimpleITK as sitk

    drawn = {letter: np.asarray(mask, bool)[place] for letter, mask in masks.items()}
    union = np.logical_or.reduce(list(drawn.values()))
    if not union.any():
        raise NothingToDraw("pair_figure", "a mask with a voxel in the slice")
    view = _square_around(union, image.GetSpacing()[:2])
    plane = sitk.GetArrayViewFromImage(image)[place]

    def paint(figure: Figure) -> None:
        for (axis_place, _, _), (letter, mask) in zip(PANELS, drawn.items(), strict=True):
            axes = figure.add_axes(axis_place)
            _paint_plane(axes, plane, view, LUNG_WINDOW_HU)
            _paint_contours(axes, {letter: mask}, view)
            _paint_diameter(axes, (ends or {}).get(letter), place, view)
            axes.set_title(f"Read {letter}", loc="left", fontsize=8, color=DARK.soft)
            _paint_scale_bar(axes, view)
        figure.text(PANELS[0][0][0], 0.955, caption, fontsize=9)

    return _indexed(paint)


def _paint_diameter(axes: Axes, ends: np.ndarray | None, place: int, view: _View) -> None:
    if ends is not None and round(float(ends[:, 2].mean())) == place:
        dx, dy = view.spacing
        axes.plot(
            ends[:, 0] * dx,
            ends[:, 1] * dy,
            color=DARK.series[1],
            linewidth=1.0,
            marker="+",
            markersize=5,
        )


@dataclass(frozen=True)
class _View:
    """A square part of a slice, and the pixels that fall into it.

    It is measured in mm from the centre of the slice's first pixel.
    """

    left: float
    top: float
    side: float
    spacing: tuple[float, float]
    rows: slice
    columns: slice

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top edge of the pixels shown, in mm."""
        dx, dy = self.spacing
        return (
            (self.columns.start - 0.5) * dx,
            (self.columns.stop - 0.5) * dx,
            (self.rows.stop - 0.5) * dy,
            (self.rows.start - 0.5) * dy,
        )


def _square_around(mask: np.ndarray, spacing: tuple[float, float]) -> _View:
    dx, dy = spacing
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    centre = (columns[0] + columns[-1]) / 2 * dx, (rows[0] + rows[-1]) / 2 * dy
    half = max(np.ptp(columns) * dx, np.ptp(rows) * dy) / 2 + CROP_MARGIN_MM
    return _View(
        centre[0] - half,
        centre[1] - half,
        2 * half,
        (dx, dy),
        _pixels(centre[1], half, dy, mask.shape[0]),
        _pixels(centre[0], half, dx, mask.shape[1]),
    )


def _pixels(centre: float, half: float, spacing: float, n: int) -> slice:
    return slice(
        max(0, math.floor((centre - half) / spacing)),
        min(n, math.ceil((centre + half) / spacing) + 1),
    )


def _paint_plane(axes: Axes, plane: np.ndarray, view: _View, window: tuple[float, float]) -> None:
    axes.imshow(
        plane[view.rows, view.columns],
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        extent=view.extent,
        interpolation="bilinear",
    )
    axes.set(
        xlim=(view.left, view.left + view.side),
        ylim=(view.top + view.side, view.top),
        aspect="equal",
        xticks=[],
        yticks=[],
    )
    axes.spines[:].set_visible(False)


def _paint_contours(axes: Axes, masks: Mapping[str, np.ndarray], view: _View) -> None:
    dx, dy = view.spacing
    x, y = (np.arange(pixels.start - 1, pixels.stop + 1) for pixels in (view.columns, view.rows))
    for mask, colour, line in zip(masks.values(), cycle(DARK.series), cycle(LINES)):
        shown = np.pad(
            mask[view.rows, view.columns].astype(float), 1
        )  # a mask that ends with the image keeps a closed outline
        if shown.any():
            axes.contour(
                x * dx,
                y * dy,
                shown,
                levels=[0.5],
                colors=[colour],
                linewidths=1.3,
                linestyles=[line],
            )


def _paint_scale_bar(axes: Axes, view: _View) -> None:
    from matplotlib.patheffects import withStroke

    x, y = view.left + 0.05 * view.side, view.top + 0.94 * view.side
    middle, edge = x + SCALE_BAR_MM / 2, [withStroke(linewidth=2.6, foreground="black")]
    axes.plot([x, x + SCALE_BAR_MM], [y, y], color="black", linewidth=4.0, solid_capstyle="butt")
    axes.plot([x, x + SCALE_BAR_MM], [y, y], color="white", linewidth=2.2, solid_capstyle="butt")
    label = f"{SCALE_BAR_MM:.0f} mm"
    axes.text(
        middle,
        y - 0.02 * view.side,
        label,
        color="white",
        fontsize=8,
        ha="center",
        va="bottom",
        path_effects=edge,
    )


def _caption(figure: Figure, caption: str, readers: Mapping[str, np.ndarray]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=c, linestyle=line, linewidth=1.5)
        for _, c, line in zip(readers, cycle(DARK.series), cycle(LINES))
    ]
    figure.legend(
        handles,
        list(readers),
        loc="lower right",
        bbox_to_anchor=(0.985, 0),
        ncols=len(handles),
        handlelength=2.6,
    )
    figure.text(PANELS[0][0][0], 0.955, caption, fontsize=9)


def _indexed(paint: Callable[[Figure], None]) -> bytes:
    """A picture with 256 colours, a third of the size."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    target = io.BytesIO()
    with rc_context(settings(DARK_ROOM)):
        canvas = FigureCanvasAgg(
            Figure(figsize=(WIDTH_INCH, PICTURE_HEIGHT_INCH), dpi=PICTURE_DOTS_PER_INCH)
        )
        paint(canvas.figure)
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    picture.quantize(256, dither=Image.Dither.NONE).save(target, format="png")
    return target.getvalue()


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, the minus a true one."""
    return f"{value:+.{digits}f}".replace("-", "−")


def _interval(auc: Estimate) -> str:
    if auc.lower is None or auc.upper is None:
        return ""
    return f" ({auc.lower:.2f} to {auc.upper:.2f})"


def drawn(
    paint: Callable[[Figure], None],
    theme: Theme,
    *,
    height: float,
    width: float = WIDTH_INCH,
    layout: Literal["constrained", "tight"] = "constrained",
) -> bytes:
    """Paint a figure in a theme and give its PNG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = io.BytesIO()
    with rc_context(settings(theme)):
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        paint(figure)
        figure.savefig(target, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return target.getvalue()
