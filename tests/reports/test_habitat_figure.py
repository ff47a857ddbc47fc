"""The picture of habitats: one scale for all visits, and one colour per habitat.

The same maps give the same bytes.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.habitat_figure import SHADES, habitat_figure

DENSITIES = [-60.0, -15.0, 0.0, 20.0, 55.0]


def block(size: int, habitat: int) -> np.ndarray:
    codes = np.zeros((size + 2,) * 3, np.uint8)
    codes[1:-1, 1:-1, 1:-1] = habitat
    return codes


def count_of(png: bytes, habitat: int, part: slice = slice(None)) -> int:
    """Pixels of a habitat's colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[part]
    colour = np.round(np.array(colormaps[SHADES]((habitat - 1) / 4)[:3]) * 255)
    return int((np.abs(pixels - colour).max(axis=2) <= 1).sum())


def test_the_same_maps_give_the_same_bytes() -> None:
    maps = {"T0": block(12, 2), "T1": block(9, 4)}
    assert habitat_figure(maps, DENSITIES, caption="P L1") == habitat_figure(
        maps, DENSITIES, caption="P L1"
    )


def test_areas_stand_in_the_ratio_of_the_lesions() -> None:
    png = habitat_figure({"T0": block(20, 2), "T1": block(10, 4)}, DENSITIES)
    above = slice(0, 340)  # the maps, without composition and legend
    assert count_of(png, 2, above) / count_of(png, 4, above) == pytest.approx(4.0, rel=0.1)
    assert count_of(png, 5, above) == 0


def test_a_vanished_lesion_has_no_panel_and_alone_no_picture() -> None:
    one = habitat_figure({"T0": block(8, 1)}, DENSITIES)
    assert (
        habitat_figure({"T0": block(8, 1), "T1": np.zeros((3, 3, 3), np.uint8)}, DENSITIES) == one
    )
    with pytest.raises(NothingToDraw):
        habitat_figure({"T0": np.zeros((3, 3, 3), np.uint8)}, DENSITIES)
