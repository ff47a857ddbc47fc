"""One restrained palette for every figure and page.

It has few colours, each with one meaning, that colour-blind readers can tell apart as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

DOTS_PER_INCH = 200
"""Resolution of figures, which are 7.2 inches wide and shown 720 pixels wide.

Thus they stay sharp on screens of double density.
"""

PICTURE_DOTS_PER_INCH = 130
"""CT pictures hold no detail beyond their pixels; there is one for every lesion and visit."""

WIDTH_INCH = 7.2
"""Width of a full figure."""


@dataclass(frozen=True)
class Theme:
    """Colours by meaning.

    Blue and ochre differ in hue and in lightness, and never represent a value alone.
    """

    name: str
    paper: str
    ink: str
    soft: str
    rule: str
    yes: str
    no: str
    other: str
    alarm: str
    series: tuple[str, ...]


LIGHT = Theme(
    "light",
    paper="#ffffff",
    ink="#1f2a30",
    soft="#66737a",
    rule="#dfe4e6",
    yes="#1d6a86",
    no="#cf8a2e",
    other="#a9b3b8",
    alarm="#a8402d",
    series=("#1d6a86", "#cf8a2e", "#7a5c99", "#5c8a4a", "#a34a62"),
)
"""For paper and for screens by day."""

DARK = Theme(
    "dark",
    paper="#1a2024",
    ink="#dfe6e9",
    soft="#96a4ab",
    rule="#313b41",
    yes="#5fb2d0",
    no="#e6ab5a",
    other="#6f7d84",
    alarm="#e58a76",
    series=("#5fb2d0", "#e6ab5a", "#b79be0", "#93c281", "#e08fa3"),
)
"""For screens by night."""

DARK_ROOM = replace(DARK, name="dark_room", paper="#0c0f11")
"""For CT pictures, by day and by night: a bright surround would hide detail in them."""

PAGE = replace(LIGHT, name="page")
"""For figures within a page: SVG, in which each colour is the page's own (`STYLE_NAMES`)."""

STYLE_NAMES = {
    "paper": "card",
    "ink": "ink",
    "soft": "soft",
    "rule": "rule",
    "yes": "yes",
    "no": "no-fill",
    "other": "other-fill",
    "alarm": "alarm",
}
"""What report.css calls each colour of a theme."""

LINES: tuple[Any, ...] = (
    "-",
    (0, (6, 2)),
    (0, (1, 1.4)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
"""Dash patterns in the order of `Theme.series`, so that curves differ without colour too."""


def settings(theme: Theme) -> dict[Any, Any]:
    """Matplotlib's settings for a theme."""
    return {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "legend.fontsize": 8.5,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.edgecolor": theme.soft,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "grid.color": theme.rule,
        "grid.linewidth": 0.8,
        "axes.linewidth": 0.8,
        "axes.axisbelow": True,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",
        "svg.hashsalt": "figure",
    }
