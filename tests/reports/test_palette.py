"""Colours: apart also for colour-blind eyes, and words with contrast."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from dagster_project.reports.palette import DARK, DARK_ROOM, LIGHT, LINES

DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
"""Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB."""


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def linear(colour):
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def seen(colour, sight):
    light = np.clip(sight @ linear(rgb(colour)), 0, 1)
    return rgb2lab(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize(
    "sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["full", "deuteranopia", "protanopia"]
)
@pytest.mark.parametrize("theme", [LIGHT, DARK, DARK_ROOM], ids=lambda t: t.name)
def test_response_and_progression_can_be_told_apart(theme, sight):
    yes, no, other = (seen(c, sight) for c in (theme.yes, theme.no, theme.other))
    assert min(np.linalg.norm(a - b) for a, b in ((yes, no), (yes, other), (no, other))) > 18


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_words_have_contrast(theme):
    luminance = {
        c: float(linear(rgb(c)) @ [0.2126, 0.7152, 0.0722])
        for c in (theme.paper, theme.ink, theme.soft)
    }
    contrast = {
        c: (max(v, luminance[theme.paper]) + 0.05) / (min(v, luminance[theme.paper]) + 0.05)
        for c, v in luminance.items()
    }
    assert contrast[theme.ink] > 10
    assert contrast[theme.soft] > 4.5


def test_curves_can_be_told_apart_without_colour():
    assert len({str(line) for line in LINES}) == len(LINES) == len(LIGHT.series) == len(DARK.series)
