"""What every figure is painted on: from a function that paints to a PNG, or SVG for a page.

The same values give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from dagster_project.reports.figures.inline import inline_svg
from dagster_project.reports.palette import DOTS_PER_INCH, PAGE, WIDTH_INCH, Theme, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NothingToDraw(ValueError):
    """A figure was asked for without a value that it could show."""

    def __init__(self, figure: str, needs: str) -> None:
        super().__init__(
            f"{figure}: nothing to draw; it needs {needs}. "
            "Ask for it only where there is some, and say on the page why there is none."
        )


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, the minus a true one."""
    return f"{value:+.{digits}f}".replace("-", "−")


def drawn(
    paint: Callable[[Figure], None],
    theme: Theme,
    *,
    height: float,
    width: float = WIDTH_INCH,
    layout: Literal["constrained", "tight"] = "constrained",
    names: Mapping[str, str] | None = None,
) -> bytes:
    """Paint a figure in a theme and give its PNG, or in the theme `PAGE` its SVG.

    `names` has the Chinese of what the figure names beside the words of the catalogue.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = io.BytesIO()
    with rc_context(settings(theme)):
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        paint(figure)
        if theme is PAGE:
            figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
            return inline_svg(target.getvalue(), names)
        figure.savefig(target, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return target.getvalue()
