"""One DICOM SR (TID 1500 Measurement Report) of a visit: its lesions, its response, its block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dagster_project.interchange import codes
from dagster_project.interchange.composite import pseudonyms_as_names, settle, source_headers
from dagster_project.interchange.identifiers import (
    DATES_SHIFTED,
    FORMAT,
    NOT_SIGNED,
    PROGRAM,
    derived_uid,
    tracking_identifier,
    tracking_uid,
)
from dagster_project.interchange.segmentation_objects import Subject

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

SERIES_NUMBER = 9000

PIXEL_CENTRE = 0.5
"""Column and row of the centre of the first pixel.

The coordinates of a report have their origin at its upper left corner (PS3.3 C.18.6.1.2).
"""

SIMULATED = "Simulated data, no patient. 模拟数据，并非真实患者。"


@dataclass(frozen=True)
class DrawnDiameter:
    """The longest diameter of a lesion: header of its slice, and its ends as (x, y) indices.

    The centre of the first pixel is (0, 0).
    """

    header: Dataset
    ends: Floats


@dataclass(frozen=True)
class ReportedLesion:
    """A row of `lesions`, its segment in an accepted SEG and its diameter, where it has them."""

    row: Row
    segmentation: Dataset | None = None
    segment: int = 0
    diameter: DrawnDiameter | None = None


@dataclass(frozen=True)
class Visit:
    """What a report says of a visit beside its lesions.

    Attributes
    ----------
    day
        From the first cycle.
    response
        Row of `responses` by what was known at the visit; None at baseline.
    block
        Row of `irecist_blocks` as of the visit, where there is one.
    """

    day: int | None
    response: Row | None = None
    block: Row | None = None
    simulated: bool = False


def build_report(
    headers: Sequence[Dataset], lesions: Sequence[ReportedLesion], visit: Visit, subject: Subject
) -> Dataset:
    """A Comprehensive SR of TID 1500, complete and unverified: a person signs elsewhere.

    1. Of a lesion with an outline a volumetric group (TID 1411) that refers to its segment, with
       its volume.
    2. Of a lesion with a drawn diameter a planar group (TID 1410) with the line on its slice, the
       longest diameter and the short axis. Both groups of a lesion have one tracking UID, which is
       the same at every visit.
    3. Diameters without a line on a slice, the sum and its changes are derived measurements;
       lesions without outline, the response and the block are qualitative evaluations. So viewers
       that draw every measurement group find a place in each.
    4. Nothing of a model: no probability and no advice.

    Parameters
    ----------
    headers
        Headers of the visit's series, the first of which stands for it.
    """
    import highdicom as hd

    sources = source_headers(_referenced(headers, lesions))
    parts = _parts(lesions, visit, subject)
    groups = [*_groups(lesions, subject)]
    report = hd.sr.MeasurementReport(
        observation_context=_observer(hd, subject),
        procedure_reported=codes.COMPUTED_TOMOGRAPHY,
        imaging_measurements=groups or [_no_group(hd)],
        referenced_images=sources,
    )
    root = report[0].ContentSequence
    if not groups:
        root.pop()
    root.extend(_derived(lesions, visit, subject.patient))
    root.extend(_evaluations(lesions, visit, subject.patient))
    with pseudonyms_as_names():
        made = hd.sr.ComprehensiveSR(
            evidence=[*sources, *_segmentations(lesions)],
            content=report,
            series_instance_uid=derived_uid(
                "sr series", sources[0].SeriesInstanceUID, subject.patient
            ),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid("sr", parts),
            instance_number=1,
            manufacturer=PROGRAM,
            manufacturer_model_name=PROGRAM,
            software_versions=subject.version,
            device_serial_number=str(FORMAT),
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"Measurements {subject.visit}",
            specific_character_set="ISO_IR 192",
        )
    settle(made, sources[0], subject.date, parts)
    made.CodingSchemeIdentificationSequence = [_scheme()]
    return made


def _referenced(headers: Sequence[Dataset], lesions: Sequence[ReportedLesion]) -> list[Dataset]:
    """Headers of slices with a diameter, in order; the first slice where there is none."""
    drawn = {
        str(one.diameter.header.SOPInstanceUID): one.diameter.header
        for one in lesions
        if one.diameter
    }
    return list(drawn.values()) or [headers[0]]


def _segmentations(lesions: Sequence[ReportedLesion]) -> list[Dataset]:
    """Each once, in the order of the lesions."""
    found = {
        str(one.segmentation.SOPInstanceUID): one.segmentation
        for one in lesions
        if one.segmentation is not None
    }
    return list(found.values())


def _parts(lesions: Sequence[ReportedLesion], visit: Visit, subject: Subject) -> list[Any]:
    drawn = [
        [dict(one.row), one.segment, one.diameter and one.diameter.ends.tolist()] for one in lesions
    ]
    return [
        FORMAT,
        [subject.patient, subject.visit, str(subject.date), subject.version],
        [str(one.SOPInstanceUID) for one in _segmentations(lesions)],
        drawn,
        [visit.day, visit.response, visit.block, visit.simulated],
    ]


def _scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.SCHEME
    item.CodingSchemeUID = codes.SCHEME_UID
    item.CodingSchemeName = codes.SCHEME_NAME
    item.CodingSchemeVersion = str(FORMAT)
    return item


def _observer(hd: Any, subject: Subject) -> Any:
    from pydicom.sr.codedict import codes as standard

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", PROGRAM, subject.version),
        name=PROGRAM,
        manufacturer_name=PROGRAM,
        model_name=subject.version,
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=standard.DCM.Device, observer_identifying_attributes=device
        )
    )


# -- measurement groups ----------------------------------------------------------------------------


def _groups(lesions: Sequence[ReportedLesion], subject: Subject) -> Iterator[Any]:
    import highdicom as hd

    for one in lesions:
        context = _context(hd, one.row, subject)
        if one.segmentation is not None:
            yield _volumetric(hd, one.segmentation, one, context)
        if one.diameter is not None:
            yield _planar(hd, one, one.diameter, context)


def _context(hd: Any, row: Row, subject: Subject) -> dict[str, Any]:
    """What both groups of a lesion have alike.

    The order of the visits is no part of it: viewers list every number of a group as a measurement.
    """
    organ = codes.ORGANS.get(row["organ"] or "")
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(
            uid=tracking_uid(subject.patient, row["lesion"]),
            identifier=tracking_identifier(subject.patient, row["lesion"]),
        ),
        "time_point_context": hd.sr.TimePointContext(time_point=subject.visit),
        "finding_type": codes.NEOPLASM,
        "finding_category": codes.ABNORMAL,
        "finding_sites": [hd.sr.FindingSite(organ)] if organ else None,
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(name, value) for name, value in _role(row["role"])
        ],
    }


def _role(role: str) -> Iterator[tuple[Code, Code]]:
    if role in codes.BASELINE_CATEGORIES:
        yield codes.BASELINE_CATEGORY, codes.BASELINE_CATEGORIES[role]
    yield codes.LESION_ROLE, codes.LESION_ROLES[role]


def _volumetric(
    hd: Any, segmentation: Dataset, one: ReportedLesion, context: Mapping[str, Any]
) -> Any:
    series = segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=one.segment,
            source_series=hd.sr.SourceSeriesForSegmentation(series),
        ),
        measurements=_volume(hd, one.row["volume_mm3"]),
        **context,
    )


def _volume(hd: Any, volume: float | None) -> list[Any]:
    if volume is None:
        return []
    return [hd.sr.Measurement(codes.VOLUME, volume, codes.MM3, method=codes.SEGMENTED_VOXELS)]


def _planar(hd: Any, one: ReportedLesion, drawn: DrawnDiameter, context: Mapping[str, Any]) -> Any:
    source = hd.sr.SourceImageForRegion(
        referenced_sop_class_uid=drawn.header.SOPClassUID,
        referenced_sop_instance_uid=drawn.header.SOPInstanceUID,
    )
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=hd.sr.ImageRegion("POLYLINE", drawn.ends + PIXEL_CENTRE, source),
        measurements=[
            hd.sr.Measurement(name, one.row[column], codes.MM, method=codes.RECIST_1_1)
            for column, name in AXES.items()
            if one.row[column] is not None
        ],
        **context,
    )


AXES: Mapping[str, Code] = {
    "longest_diameter_mm": codes.LONG_AXIS,
    "short_axis_mm": codes.SHORT_AXIS,
}
"""Diameters of a lesion: of a lymph node RECIST 1.1 takes the short axis."""


def _no_group(hd: Any) -> Any:
    """A group that is taken out again: the builder of reports wants one, the template does not."""
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=derived_uid("none"), identifier="none")
    )


# -- derived measurements and qualitative evaluations ----------------------------------------------


def _derived(lesions: Sequence[ReportedLesion], visit: Visit, patient: str) -> Iterator[Any]:
    numbers = [
        *(item for one in lesions if one.diameter is None for item in _undrawn(one.row, patient)),
        *_figures(visit),
    ]
    if numbers:
        yield _container(codes.DERIVED_MEASUREMENTS, numbers)


def _undrawn(row: Row, patient: str) -> Iterator[Any]:
    """Diameters that no line on a slice stands for: by hand, or on a slice that is missing."""
    for column, name in AXES.items():
        if row["is_present"] and row[column] is not None:
            item = _number(name, row[column], codes.MM)
            item.ContentSequence = _tracked(patient, row["lesion"])
            yield item


def _figures(visit: Visit) -> Iterator[Any]:
    response, block = visit.response or {}, visit.block or {}
    for column, (name, unit) in codes.FIGURES.items():
        if response.get(column) is not None:
            yield _number(name, response[column], unit)
    windows = {"confirm_from_day": codes.WINDOW_FROM, "confirm_to_day": codes.WINDOW_TO}
    for column, name in windows.items():
        if block.get(column) is not None and block["outcome"] == "open":
            yield _number(name, block[column], codes.DAY)
    if visit.day is not None:
        yield _number(codes.VISIT_DAY, visit.day, codes.DAY)


def _evaluations(lesions: Sequence[ReportedLesion], visit: Visit, patient: str) -> Iterator[Any]:
    texts = [DATES_SHIFTED, NOT_SIGNED, *([SIMULATED] if visit.simulated else [])]
    items = [
        *(_text(codes.COMMENT, text) for text in texts),
        *(_state(one.row, patient) for one in lesions if not is_measured(one.row)),
        *(_code(name, value) for name, value in evaluations_of(visit)),
    ]
    yield _container(codes.QUALITATIVE_EVALUATIONS, items)


def evaluations_of(visit: Visit) -> Iterator[tuple[Code, Code]]:
    """Response and block of a visit as pairs of question and answer."""
    row = visit.response
    if row is not None:
        yield codes.CURRENT_RESPONSE, codes.code_of_target(row["target_response"])
        yield codes.CURRENT_RESPONSE, codes.code_of_nontarget(row["nontarget_response"])
        yield codes.NEW_LESION, codes.YES if row["new_lesion"] else codes.NO
        yield codes.OVERALL_RESPONSE, codes.OVERALL_RESPONSES[row["overall_response"]]
        yield codes.IRECIST_RESPONSE, codes.IRECIST_RESPONSES[row["irecist_response"]]
    if visit.block is not None:
        yield codes.BLOCK_STATUS, codes.BLOCK_STATES[visit.block["status"]]


def is_measured(row: Row) -> bool:
    """Whether a lesion is there and has a volume or a diameter.

    An outline that the images cut may have neither.
    """
    return bool(row["is_present"]) and any(row[c] is not None for c in ("volume_mm3", *AXES))


def state_of(row: Row) -> str:
    """Why a lesion has no measurement, as a key of `LESION_STATES`."""
    if not row["is_present"]:
        return "absent"
    return "too_small" if row["too_small_to_measure"] else "not_measured"


def _state(row: Row, patient: str) -> Any:
    item = _code(codes.LESION_STATE, codes.LESION_STATES[state_of(row)])
    item.ContentSequence = _tracked(patient, row["lesion"])
    return item


def _tracked(patient: str, lesion: str) -> list[Any]:
    """Which lesion an item is of."""
    import highdicom as hd

    return [
        hd.sr.TextContentItem(
            codes.TRACKING_IDENTIFIER, tracking_identifier(patient, lesion), "HAS PROPERTIES"
        ),
        hd.sr.UIDRefContentItem(
            codes.TRACKING_UID, tracking_uid(patient, lesion), "HAS PROPERTIES"
        ),
    ]


def _container(name: Code, items: Sequence[Any]) -> Any:
    import highdicom as hd

    made = hd.sr.ContainerContentItem(name, relationship_type="CONTAINS")
    made.ContentSequence = hd.sr.ContentSequence(items)
    return made


def _number(name: Code, value: float, unit: Code) -> Any:
    import highdicom as hd

    return hd.sr.NumContentItem(name, value, unit, relationship_type="CONTAINS")


def _code(name: Code, value: Code) -> Any:
    import highdicom as hd

    return hd.sr.CodeContentItem(name, value, "CONTAINS")


def _text(name: Code, value: str) -> Any:
    import highdicom as hd

    return hd.sr.TextContentItem(name, value, "CONTAINS")
