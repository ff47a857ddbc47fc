"""One DICOM SEG of a reader's outlines, or of the accepted ones, on the original slices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.grids import to_patient
from dagster_project.domain.imaging.masks import bounding_box
from dagster_project.domain.imaging.outlines import Mask
from dagster_project.domain.imaging.series import Series
from dagster_project.interchange import codes
from dagster_project.interchange.composite import (
    NotExportable,
    pseudonyms_as_names,
    settle,
    source_headers,
)
from dagster_project.interchange.identifiers import (
    FORMAT,
    PROGRAM,
    derived_uid,
    tracking_identifier,
    tracking_uid,
)

NO_FRAME_OF_REFERENCE = (
    "the CT series has no (0020,0052) FrameOfReferenceUID, which a DICOM SEG needs; "
    "send the original images of the scanner and run again"
)

SERIES_NUMBERS = {"accepted": 9001, "A": 9002, "B": 9003}
"""SeriesNumber by whose outlines they are; above the numbers of scanners."""

OTHER_SERIES_NUMBER = 9009

COLOURS = {"accepted": (230, 159, 0), "A": (86, 180, 233), "B": (213, 94, 0)}
"""RGB by whose outlines they are (Okabe and Ito 2008: told apart without red and green)."""

OTHER_COLOUR = (204, 121, 167)


@dataclass(frozen=True)
class OutlinedLesion:
    """One lesion of a segmentation.

    Attributes
    ----------
    mask
        Boolean (z, y, x) on the grid of the series.
    digest
        Of that mask.
    """

    lesion: str
    organ: str | None
    mask: Mask
    digest: str


@dataclass(frozen=True)
class Subject:
    """Whose visit an object is of: pseudonym, visit, and the shifted date of its scan."""

    patient: str
    visit: str
    date: dt.date | None
    version: str


def build_segmentation(
    headers: Mapping[int, Dataset],
    series: Series,
    lesions: Sequence[OutlinedLesion],
    subject: Subject,
    whose: str,
) -> Dataset:
    """A binary SEG with one segment per lesion, numbered from 1 in the order given.

    1. Frames only where an outline has a voxel, each at the place of its slice.
    2. A slice that is missing and was bridged by interpolation has its place on the series' grid;
       its frame refers to no image.

    Parameters
    ----------
    headers
        Header of the slice at each index of the series' stack (`headers_of`).
    whose
        Letter of the reader, or `accepted`.

    Raises
    ------
    NotExportable
        Where the series has no frame of reference.
    """
    import highdicom as hd

    if series.frame_of_reference_uid is None:
        raise NotExportable(NO_FRAME_OF_REFERENCE)
    box = bounding_box(np.logical_or.reduce([one.mask for one in lesions]))[0]
    indices = range(box.start, box.stop)
    here = [headers[i] for i in indices if i in headers]
    nearest = headers[min(headers, key=lambda i: abs(i - box.start))]
    sources = source_headers(here or [nearest])
    parts = _parts(lesions, subject, whose, series.uid)
    with pseudonyms_as_names():
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack([one.mask[box] for one in lesions], axis=-1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[
                _description(number, one, subject.patient, whose)
                for number, one in enumerate(lesions, 1)
            ],
            series_instance_uid=derived_uid("seg series", series.uid, subject.patient, whose),
            series_number=SERIES_NUMBERS.get(whose, OTHER_SERIES_NUMBER),
            sop_instance_uid=derived_uid("seg", parts),
            instance_number=1,
            manufacturer=PROGRAM,
            manufacturer_model_name=PROGRAM,
            software_versions=subject.version,
            device_serial_number=str(FORMAT),
            content_label="ACCEPTED" if whose == "accepted" else f"READER_{whose}",
            content_description=described(whose, subject.visit),
            omit_empty_frames=True,
            series_description=described(whose, subject.visit),
            **_positions(hd, headers, series, indices),
        )
    settle(made, sources[0], subject.date, parts)
    return made


def described(whose: str, visit: str) -> str:
    """Series description of a segmentation."""
    return (
        f"Accepted outlines {visit}" if whose == "accepted" else f"Outlines reader {whose} {visit}"
    )


def _parts(
    lesions: Sequence[OutlinedLesion], subject: Subject, whose: str, series_uid: str
) -> list[Any]:
    outlines = [[one.lesion, one.organ, one.digest] for one in lesions]
    return [
        FORMAT,
        subject.patient,
        subject.visit,
        str(subject.date),
        subject.version,
        whose,
        series_uid,
        outlines,
    ]


def _positions(
    hd: Any, headers: Mapping[int, Dataset], series: Series, indices: Sequence[int]
) -> dict[str, Any]:
    """Places of the planes where a slice among them is missing, else those of the images."""
    if all(i in headers for i in indices):
        return {}
    return {
        "plane_positions": [
            hd.PlanePositionSequence("PATIENT", _position(headers.get(i), series, i))
            for i in indices
        ]
    }


def _position(header: Dataset | None, series: Series, index: int) -> npt.NDArray[np.float64]:
    if header is not None:
        return np.array(header.ImagePositionPatient, np.float64)
    return to_patient(series.affine, np.array([[0.0, 0.0, index]]))[0]


def _description(number: int, one: OutlinedLesion, patient: str, whose: str) -> Any:
    import highdicom as hd

    organ = codes.ORGANS.get(one.organ or "")
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=one.lesion,
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.NEOPLASM,
        algorithm_type="MANUAL",
        tracking_uid=tracking_uid(patient, one.lesion),
        tracking_id=tracking_identifier(patient, one.lesion),
        anatomic_regions=[organ] if organ else None,
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS.get(whose, OTHER_COLOUR)),
    )
