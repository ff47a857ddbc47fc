"""Pictures of a lesion on its slice, for patients' pages and for the arbiter's."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.palette import (
    DARK,
    DARK_ROOM,
    LINES,
    PICTURE_DOTS_PER_INCH,
    WIDTH_INCH,
    settings,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LUNG_WINDOW_HU = (-1350.0, 150.0)
"""Window of the lung: level −600 HU, width 1500 HU."""

SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
"""Window of soft tissue: level 40 HU, width 400 HU."""

CROP_MARGIN_MM = 25.0
"""Room left around a lesion in its picture."""

PICTURE_HEIGHT_INCH = 4.05
"""Height of a lesion's picture: two square panels, a line of words above and one below."""

PANELS = (
    ((0.021, 0.085, 0.457, 0.8124), LUNG_WINDOW_HU, "W 1500 L −600"),
    ((0.521, 0.085, 0.457, 0.8124), SOFT_TISSUE_WINDOW_HU, "W 400 L 40"),
)
"""Place in the picture, window and its width and level as viewers write them.

A picture has no words, so that a page in either language may show it.
"""

SCALE_BAR_MM = 20.0
"""Length of the scale bar in a picture of a lesion."""


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
            axes.set_title(letter, loc="left", fontsize=8, color=DARK.soft)
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
