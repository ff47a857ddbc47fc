"""The map of a lesion's habitats at each visit, side by side at one scale.

Legend and composition are part of the figure.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.lesions import SCALE_BAR_MM
from dagster_project.reports.palette import LIGHT, PICTURE_DOTS_PER_INCH, WIDTH_INCH, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Codes = NDArray[np.uint8]

HEIGHT_INCH = 3.5
MARGIN_MM = 3
SHADES = "cividis"
"""Dark to light in order of density, distinguishable by colour-blind readers too."""

NARROWEST_SHARE = 0.08
"""A narrower part of the bar of composition bears no number."""


def habitat_figure(
    maps: Mapping[str, Codes], densities_hu: Sequence[float], *, caption: str = ""
) -> bytes:
    """Largest cross-section of a lesion at each visit, one colour per habitat.

    Below it is the composition of the whole lesion.

    Parameters
    ----------
    maps
        Visit → habitat of each voxel of 1 mm (z, y, x), 0 outside.
    densities_hu
        Density of each habitat's centre above the lesion's median, for the legend.

    Raises
    ------
    NothingToDraw
        Where no map has a voxel.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = {visit: codes for visit, codes in maps.items() if codes.any()}
    if not drawn:
        raise NothingToDraw("habitat_figure", "a map with at least one voxel")
    colours = colormaps[SHADES](np.linspace(0, 1, len(densities_hu)))
    side = max(max(codes.shape[1:]) for codes in drawn.values()) + 2 * MARGIN_MM
    target = io.BytesIO()
    with rc_context(settings(LIGHT)):
        canvas = FigureCanvasAgg(
            Figure(figsize=(WIDTH_INCH, HEIGHT_INCH), dpi=PICTURE_DOTS_PER_INCH)
        )
        for place, (visit, codes) in enumerate(drawn.items()):
            left, width = 0.02 + place * 0.98 / max(3, len(drawn)), 0.94 / max(3, len(drawn))
            _paint_map(
                canvas.figure.add_axes((left, 0.27, width, 0.58)), codes, colours, side, visit
            )
            _paint_composition(canvas.figure.add_axes((left, 0.17, width, 0.065)), codes, colours)
        _paint_legend(canvas.figure, colours, densities_hu, caption)
        canvas.print_png(target, metadata={"Software": None})
    return target.getvalue()


def _paint_map(
    axes: Axes, codes: Codes, colours: NDArray[np.float64], side: int, visit: str
) -> None:
    plane = codes[int(np.argmax((codes > 0).sum(axis=(1, 2))))]
    picture = np.concatenate([[(1.0, 1.0, 1.0, 1.0)], colours])[plane]
    axes.imshow(picture, interpolation="nearest")
    middle = (np.array(plane.shape) - 1) / 2
    axes.set(
        xlim=(middle[1] - side / 2, middle[1] + side / 2),
        ylim=(middle[0] + side / 2, middle[0] - side / 2),
        xticks=[],
        yticks=[],
    )
    axes.set_title(f"{visit}  {(codes > 0).sum() / 1000:.1f} ml", loc="left", fontsize=8)
    length = SCALE_BAR_MM if side > 2 * SCALE_BAR_MM else SCALE_BAR_MM / 4
    start, height = middle[1] - side / 2 + side * 0.05, middle[0] + side / 2 - side * 0.05
    axes.plot([start, start + length], [height, height], color=LIGHT.ink, linewidth=1.5)
    axes.text(
        start + length / 2,
        height - side * 0.02,
        f"{length:g} mm",
        ha="center",
        va="bottom",
        fontsize=6.5,
    )
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(LIGHT.rule)


def _paint_composition(axes: Axes, codes: Codes, colours: NDArray[np.float64]) -> None:
    shares = np.bincount(codes[codes > 0], minlength=len(colours) + 1)[1:] / (codes > 0).sum()
    ends = np.cumsum(shares)
    for colour, share, end in zip(colours, shares, ends, strict=True):
        axes.barh([0], [share], left=end - share, color=[colour], height=1.0)
        if share >= NARROWEST_SHARE:
            ink = "white" if colour[:3].mean() < 0.5 else "black"
            axes.text(
                end - share / 2,
                0,
                f"{100 * share:.0f} %",
                ha="center",
                va="center",
                fontsize=7,
                color=ink,
            )
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
    axes.set_axis_off()


def _paint_legend(
    figure: Figure, colours: NDArray[np.float64], densities_hu: Sequence[float], caption: str
) -> None:
    from matplotlib.patches import Patch

    words = [f"{k}: {hu:+.0f} HU" for k, hu in enumerate(densities_hu, start=1)]
    figure.legend(
        [Patch(facecolor=tuple(c)) for c in colours],
        words,
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=len(words),
        fontsize=7.5,
    )
    figure.text(0.02, 0.94, caption, fontsize=9)
