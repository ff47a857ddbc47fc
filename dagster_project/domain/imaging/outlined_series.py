"""Whose image is this outline on? The one answer for every format, the same in every run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from dagster_project.domain.imaging.outlines import (
    NO_FRAME,
    NO_REFERENCE,
    NO_SERIES,
    SEVERAL_DAYS,
    SEVERAL_SERIES,
    WRONG_FRAME,
    MaskError,
)


@dataclass(frozen=True)
class ImageSeries:
    """A CT series of the patient that an outline may lie on.

    Attributes
    ----------
    uid, frame
        SeriesInstanceUID and FrameOfReferenceUID.
    images
        SOPInstanceUIDs of its slices.
    day
        Of the scan; None where it is not known or does not matter.
    """

    uid: str
    frame: str | None
    images: frozenset[str]
    day: dt.date | None = None


@dataclass(frozen=True)
class References:
    """What one outline states about the images it was drawn on.

    Attributes
    ----------
    images
        SOPInstanceUIDs that each of its contours names; contours that name none are left out.
    frame
        Its own frame of reference, else the only one of its file.
    series
        SeriesInstanceUIDs that the file names for that frame.
    """

    images: frozenset[frozenset[str]] = frozenset()
    frame: str | None = None
    series: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """One outline of a file before it is put on a grid.

    It is a ROI, or a whole segmentation or mask (`position` 0).
    """

    position: int
    label: str
    references: References
    refused: str = ""


def find_series(references: References, candidates: Sequence[ImageSeries]) -> ImageSeries:
    """The series that an outline lies on.

    1. Contours name images: the series that holds images of all contours whose images are here.
       None holds all of them: refused.
    2. No named image is here: the series of its frame of reference, of these only those that the
       file names for it, if it names any. A series that names no frame itself counts by its name.
    3. Several are left: refused where they are of several days, else the first in the candidates'
       order.

    Parameters
    ----------
    candidates
        Series of the same patient, the one to be preferred first.

    Raises
    ------
    MaskError
        Where no series is found.
    """
    found = _by_images(references, candidates) or _by_frame(references, candidates)
    named = [one for one in found if one.uid in references.series] or found
    if len({one.day for one in named}) > 1:
        raise MaskError(SEVERAL_DAYS)
    return named[0]


def _by_images(references: References, candidates: Sequence[ImageSeries]) -> list[ImageSeries]:
    every = frozenset[str]().union(*(one.images for one in candidates))
    here = [images & every for images in references.images if images & every]
    found = [one for one in candidates if all(images & one.images for images in here)]
    if here and not found:
        raise MaskError(SEVERAL_SERIES)
    return found if here else []


def _by_frame(references: References, candidates: Sequence[ImageSeries]) -> list[ImageSeries]:
    named = [one for one in candidates if one.uid in references.series]
    if references.frame is None:
        if not references.series:
            raise MaskError(NO_REFERENCE)
        if len(named) > 1:
            raise MaskError(SEVERAL_SERIES)
        return named or _refuse(NO_SERIES)
    if references.series and not named:
        return _refuse(NO_SERIES)
    # A CT without a frame of reference can be meant by its name alone.
    there = [
        one
        for one in named or candidates
        if one.frame == references.frame or (one.frame is None and named)
    ]
    return there or _refuse(WRONG_FRAME if named else NO_FRAME)


def _refuse(reason: str) -> list[ImageSeries]:
    raise MaskError(reason)


def names_another_frame(references: References, series: ImageSeries) -> bool:
    """Whether an outline that lies on a series by its images states another frame of reference."""
    return None not in {references.frame, series.frame} and references.frame != series.frame
