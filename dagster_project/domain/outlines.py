"""What every reader of contours hands over: a labelled mask on the CT grid, or a refusal in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Source = Literal["RTSTRUCT", "SEG", "NIFTI", "NRRD"]
BorderRule = Literal["even_odd_pixel_centres", "voxels_as_given", "fraction_at_least_half"]


FLAGS: dict[str, str] = {}
"""Code of each thing that may be odd about an outline, and what it means."""

NO_FEATURES: frozenset[str] = frozenset()
"""Codes of outlines that are shown and graded by hand alone: no features and no DHI are computed of them."""


class MaskError(ValueError):
    """A file of contours that cannot be used on a series; the message says why and what to do, without a value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Outline:
    """One outlined structure.

    Attributes
    ----------
    mask
        (z, y, x) on the grid of the series; empty where nothing of the structure lies on it.
    n_outside
        Contours (RTSTRUCT) or voxels that lie wholly or partly outside the images and are therefore missing from the mask.
    flags
        What is odd about the outline: codes of `FLAGS`.
    """

    label: str
    mask: Mask
    source: Source
    border_rule: BorderRule
    n_outside: int
    flags: tuple[str, ...] = ()


WRONG_SERIES = "refers to another series than this one; send the contours together with the series they were drawn on"
NO_REFERENCE = "names neither a series nor a frame of reference; export the contours together with their images"
WRONG_FRAME = "refers to another frame of reference, (0020,0052), than this series; export the contours on this series"
