"""Deliveries of our own finding, written with the parts that the cases beside them are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HEIGHTS = np.arange(0, 30, 1.0)
MIDDLE = (0.0, 0.0, 15.0)
RADIUS = 9.0


def write_cut_outlines(parts: Any, site: Path) -> None:
    """Outlines drawn on the whole series, of which fewer slices were sent.

    1. The lower third of the ball is missing.
    2. The upper half is there without the middle, where the ball is widest.
    3. The ball as voxels, the lower third missing.
    """
    sent = {"1": slice(10, 30), "2": slice(19, 30), "3": slice(10, 30)}
    for number, slices in sent.items():
        case, patient = f"91{number}", f"95910{number}"
        images = parts.ct_slices(case, patient, HEIGHTS, parts.volume(HEIGHTS))
        outline = (
            parts.seg(case, patient, parts.ball(HEIGHTS, MIDDLE, RADIUS), HEIGHTS)
            if number == "3"
            else parts.rtstruct(case, patient, [(1, "GTV-1", None, _contours(parts, RADIUS))])
        )
        parts.save(site / "dicom", [*images[slices], outline])
    parts.clinical(site, [f"95910{number}" for number in sent])


def write_two_outlines(parts: Any, site: Path) -> None:
    """Two structure sets of one lesion: a ball and a smaller one, and the same ball twice."""
    for number, second in {"1": RADIUS - 2, "2": RADIUS - 0.2}.items():
        case, patient = f"92{number}", f"95920{number}"
        images = parts.ct_slices(case, patient, HEIGHTS, parts.volume(HEIGHTS))
        sets = [
            parts.rtstruct(case, patient, [(1, "GTV-1", None, _contours(parts, radius))], n=n)
            for n, radius in enumerate((RADIUS, second), start=5)
        ]
        parts.save(site / "dicom", [*images, *sets])
    parts.clinical(site, ["959201", "959202"])


def _contours(parts: Any, radius: float) -> Any:
    return parts.ball_contours(HEIGHTS, MIDDLE, radius)


OWN: dict[str, Callable[[Any, Path], None]] = {"B91": write_cut_outlines, "B92": write_two_outlines}
"""Writer of each site's delivery."""
