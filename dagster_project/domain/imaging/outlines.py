"""What every contour reader returns: a labelled mask on the CT grid, or a refusal in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Source = Literal["RTSTRUCT", "SEG", "NIFTI", "NRRD"]
BorderRule = Literal["even_odd_pixel_centres", "voxels_as_given", "fraction_at_least_half"]


FLAGS: Mapping[str, str] = {
    "slices_filled": (
        "empty slices of the outline were filled, since the object states planes of that "
        "thickness or the CT itself is interpolated there; check the outline"
    ),
    "slices_empty": (
        "slices between the first and the last of the outline are empty and nothing states what "
        "lies there; no volume and no features. Outline every slice; "
        "a lesion that is truly in pieces is named in [reads] in_pieces of study.toml"
    ),
    "traced_through_pixel_centres": (
        "the outline runs through pixel centres and loses half a pixel all round; "
        "export it along the edges of the pixels, or as SEG or NIfTI"
    ),
    "density_of_air": (
        "the mean density under the outline is that of air or lung, "
        "so that it lies beside the lesion, on another image or is inverted; no features. "
        "Check whether it was drawn on this series"
    ),
    "open_contours": (
        "open contours (OPEN_PLANAR) whose ends meet were closed; export them as CLOSED_PLANAR"
    ),
    "enclosing_nothing": (
        "points and contours of fewer than three points enclose nothing and were left out; outline "
        "these slices, or remove them"
    ),
    "repeated_contours": (
        "contours that are there twice were counted once; export the structure once"
    ),
    "crossing_contours": (
        "contours of one slice cross each other, and nobody can say what they enclose; "
        "no volume and no features. Outline each piece by one contour"
    ),
    "other_frame": (
        "the contours name images of this series, but the structure set names another frame of "
        "reference, (0020,0052), for them; check whether it was drawn on this series"
    ),
    "outside_field": (
        "the outline reaches beyond the field of view, into padding that the scanner did not "
        "measure; no features. Outline what the images show, or send a reconstruction of the "
        "whole chest"
    ),
    "cut_by_images": (
        "part of the outline lies beyond the images, so that it is cut; no volume and no features. "
        "Send the whole series, or the contours of this series"
    ),
    "longest_outside": (
        "the longest diameter may lie on the part of the outline that is beyond the images; "
        "no diameter. Send the whole series, or the contours of this series"
    ),
    "fractions_are_binary": (
        "the segmentation is FRACTIONAL and holds nothing but 0 and 1 of a larger maximum, "
        "(0062,000E) MaximumFractionalValue: taken as binary; export it as BINARY"
    ),
    "same_voxels": (
        "another lesion of this reader on this scan has the very same voxels, "
        "so that one lesion counts twice in the sum; deliver each lesion once"
    ),
    "unlike_density": (
        "the mean density under the outline is far from that of the same lesion at every other "
        "visit ([reads] unlike_density_hu of study.toml); check that the outline lies on the "
        "lesion"
    ),
    "several_pieces": (
        "the outline is in pieces that do not touch each other: several lesions under one label, a "
        "stray stroke or a damaged mask. Check it, and give each lesion its own label"
    ),
    "implausibly_large": (
        "the outline is larger than a lesion can be ([reads] implausible_… of study.toml): "
        "inverted, or of a whole organ; no diameter, no volume and no features. Check the outline"
    ),
}
"""Code of each thing that may be odd about an outline: what it means, and what to do."""

NO_VOLUME = frozenset({"slices_empty", "crossing_contours", "implausibly_large", "cut_by_images"})
"""Codes of outlines whose number of voxels is not the lesion's: volume is NULL."""

NO_DIAMETER = frozenset({"implausibly_large", "longest_outside"})
"""Codes of outlines whose longest diameter is not the lesion's: the diameters are NULL too."""

CUT = ("cut_by_images", "longest_outside")
"""Codes of a mask with voxels beyond the images, whose shape nobody measured there."""

NO_FEATURES = NO_VOLUME | {"density_of_air", "outside_field"}
"""Codes of outlines without features and without DHI.

They are shown and graded by hand alone.
"""


class MaskError(ValueError):
    """A file of contours that cannot be used on a series.

    The message says why and what to do, without a value.
    """

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
        Contours (RTSTRUCT) or voxels that lie wholly or partly outside the images and are therefore
        missing from the mask.
    flags
        What is odd about the outline: codes of `FLAGS`.
    refused
        Why this outline of a file cannot be used, where the others can; the mask is empty then.
    slab_mm
        Thickness that the object states for each plane on which something is drawn; None where it
        states none, or planes of different thickness.
    """

    label: str
    mask: Mask
    source: Source
    border_rule: BorderRule
    n_outside: int
    flags: tuple[str, ...] = ()
    refused: str = ""
    slab_mm: float | None = None


WRONG_SERIES = (
    "refers to another series than this one; send the contours together with the series they were "
    "drawn on"
)
NO_REFERENCE = (
    "names neither a series nor a frame of reference; export the contours together with their "
    "images"
)
WRONG_FRAME = (
    "refers to another frame of reference, (0020,0052), than this series; "
    "export the contours on this series"
)
NO_SERIES = "refers to no series that is here; send the CT series it was drawn on, then run again"
NO_FRAME = (
    "its frame of reference, (0020,0052), is that of no series that is here; "
    "send the CT series it was drawn on, then run again"
)
SEVERAL_SERIES = (
    "names several series, and nothing states on which of them it was drawn; "
    "draw the structure on one series and export it with its images"
)
SEVERAL_DAYS = (
    "names no series, and its frame of reference, (0020,0052), is that of scans of several days; "
    "export the contours with the series they were drawn on"
)
