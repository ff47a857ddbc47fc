"""RTSTRUCT as planning systems, converters and people leave them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

import numpy as np
from pydicom.dataset import Dataset

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import (
    SPACING_MM,
    Delivery,
    Lesion,
    Structures,
    Visit,
    axes,
    contour,
    get_hu,
    item,
    lesion_contours,
    measure,
    slice_heights,
    structure_set,
    uid,
)


def _drawn(one: Delivery, rng: Random) -> tuple[Visit, Dataset]:
    """A visit and its structure set."""
    visit = rng.choice(one.visits)
    content = visit.structures[0].content
    assert isinstance(content, Dataset)
    return visit, content


def _contours(made: Dataset) -> list[Dataset]:
    return made.ROIContourSequence[0].ContourSequence


def _points(one: Dataset) -> list[tuple[float, float, float]]:
    data = [float(v) for v in one.ContourData]
    return list(zip(data[::3], data[1::3], data[2::3], strict=True))


def _set_points(one: Dataset, points: list[tuple[float, float, float]]) -> None:
    one.ContourData = [f"{c:.3f}" for p in points for c in p]
    one.NumberOfContourPoints = len(points)


def _move(
    made: Dataset, change: Callable[[float, float, float], tuple[float, float, float]]
) -> None:
    for one in _contours(made):
        _set_points(one, [change(*p) for p in _points(one)])


def _without_images(made: Dataset) -> None:
    """Take away the images that contours name."""
    for roi in made.ROIContourSequence:
        for one in roi.get("ContourSequence") or []:
            if "ContourImageSequence" in one:
                del one.ContourImageSequence


def _add_roi(
    made: Dataset, number: int, label: str, contours: list[Dataset], *, frame: str = ""
) -> None:
    frame = frame or str(made.FrameOfReferenceUID)
    made.StructureSetROISequence.append(
        item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame,
            ROIName=label,
            ROIGenerationAlgorithm="MANUAL",
        )
    )
    made.ROIContourSequence.append(item(ReferencedROINumber=number, ContourSequence=contours))
    made.RTROIObservationsSequence.append(
        item(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIInterpretedType="GTV",
            ROIInterpreter="",
        )
    )


SECOND = Lesion("GTV-9", (-12.0, -12.0, 5.0), 4.0)
"""A region of lung that is no lesion."""


@distortion("structure sets", "right")
def no_frame_of_reference(one: Delivery, rng: Random) -> None:
    """No frame of reference anywhere; contours name their images."""
    _, made = _drawn(one, rng)
    del made.FrameOfReferenceUID, made.ReferencedFrameOfReferenceSequence
    del made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID


@distortion("structure sets", "right")
def frame_of_reference_alone(one: Delivery, rng: Random) -> None:
    """Series and images are not named: only the frame of reference says where contours belong."""
    _, made = _drawn(one, rng)
    del made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    _without_images(made)


@distortion("structure sets", "refused")
def another_frame_of_reference(one: Delivery, rng: Random) -> None:
    """Everything refers to a frame of reference that no CT has."""
    _, made = _drawn(one, rng)
    strange = uid(one.serial, 99)
    made.FrameOfReferenceUID = made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = (
        strange
    )
    made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = strange
    del made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    _without_images(made)


@distortion("structure sets", "refused")
def second_roi_in_another_frame(one: Delivery, rng: Random) -> None:
    """A second ROI refers to another frame of reference than the CT."""
    visit, made = _drawn(one, rng)
    contours = lesion_contours(SECOND, visit.slices)
    _without_images(made)
    for c in contours:
        del c.ContourImageSequence
    _add_roi(made, 2, SECOND.label, contours, frame=uid(one.serial, 98))


@distortion("structure sets", "either")
def two_frames_in_one_set(one: Delivery, rng: Random) -> None:
    """One structure set holds the ROIs of two visits, each in its frame of reference."""
    first, second = one.visits[0], one.visits[1]
    made = first.structures[0].content
    other = second.structures[0].content
    assert isinstance(made, Dataset)
    assert isinstance(other, Dataset)
    _add_roi(
        made, 2, second.lesions[0].label, _contours(other), frame=str(other.FrameOfReferenceUID)
    )
    made.ReferencedFrameOfReferenceSequence.append(other.ReferencedFrameOfReferenceSequence[0])
    _without_images(made)
    second.structures.clear()


@distortion("structure sets", "refused")
def no_reference_at_all(one: Delivery, rng: Random) -> None:
    """Neither frame, nor series, nor images are named."""
    _, made = _drawn(one, rng)
    no_frame = made
    del no_frame.FrameOfReferenceUID, no_frame.ReferencedFrameOfReferenceSequence
    del no_frame.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    _without_images(made)


@distortion("structure sets", "refused")
def series_not_sent(one: Delivery, rng: Random) -> None:
    """The contours were drawn on a series that was not sent."""
    visit, made = _drawn(one, rng)
    text = (
        made.to_json()
        .replace(visit.series_uid, f"{visit.series_uid}.5")
        .replace(str(visit.slices[0].FrameOfReferenceUID), uid(one.serial, 97))
    )
    moved = Dataset.from_json(text)
    moved.file_meta = made.file_meta
    visit.structures[0].content = moved


@distortion("structure sets", "either")
def every_third_slice(one: Delivery, rng: Random) -> None:
    """Contours were drawn on every third slice."""
    _, made = _drawn(one, rng)
    made.ROIContourSequence[0].ContourSequence = _contours(made)[::3]


@distortion("structure sets", "either")
def one_contour_missing(one: Delivery, rng: Random) -> None:
    """The contour of one slice within the lesion is missing."""
    _, made = _drawn(one, rng)
    del _contours(made)[len(_contours(made)) // 2]


@distortion("structure sets", "either")
def open_contours(one: Delivery, rng: Random) -> None:
    """Half of the contours are OPEN_PLANAR."""
    _, made = _drawn(one, rng)
    for c in _contours(made)[::2]:
        c.ContourGeometricType = "OPEN_PLANAR"


@distortion("structure sets", "either")
def all_contours_open(one: Delivery, rng: Random) -> None:
    """All contours are OPEN_PLANAR and end a long way from where they start."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        c.ContourGeometricType = "OPEN_PLANAR"
        _set_points(c, _points(c)[: 3 * len(_points(c)) // 4])


@distortion("structure sets", "right")
def a_point_beside(one: Delivery, rng: Random) -> None:
    """The ROI holds a POINT beside its contours, as planning systems mark the isocentre."""
    _, made = _drawn(one, rng)
    _contours(made).append(contour([(1.0, 1.0, 6.0)], kind="POINT"))


@distortion("structure sets", "right")
def equal_contours_twice(one: Delivery, rng: Random) -> None:
    """Every contour is stored twice."""
    _, made = _drawn(one, rng)
    _contours(made).extend(copy.deepcopy(list(_contours(made))))


@distortion("structure sets", "right")
def one_equal_contour_twice(one: Delivery, rng: Random) -> None:
    """One contour is stored twice, the second time from another vertex on."""
    _, made = _drawn(one, rng)
    again = copy.deepcopy(_contours(made)[3])
    points = _points(again)
    _set_points(again, points[10:] + points[:10])
    _contours(made).append(again)


@distortion("structure sets", "either")
def doubled_roi_number(one: Delivery, rng: Random) -> None:
    """Two ROIs share one ROINumber."""
    visit, made = _drawn(one, rng)
    _add_roi(made, 1, SECOND.label, lesion_contours(SECOND, visit.slices))


@distortion("structure sets", "right")
def several_items_of_one_roi(one: Delivery, rng: Random) -> None:
    """Each contour stands in an ROIContourSequence item of its own, all of one number."""
    _, made = _drawn(one, rng)
    made.ROIContourSequence = [
        item(ReferencedROINumber=1, ContourSequence=[c]) for c in _contours(made)
    ]


@distortion("structure sets", "right")
def roi_without_contours(one: Delivery, rng: Random) -> None:
    """A second ROI has no contour item."""
    _, made = _drawn(one, rng)
    _add_roi(made, 2, "GTV-9", [])
    del made.ROIContourSequence[1]


@distortion("structure sets", "right")
def off_plane_by_a_tenth(one: Delivery, rng: Random) -> None:
    """Contours lie a tenth of a millimetre beside their slices."""
    _, made = _drawn(one, rng)
    _move(made, lambda x, y, z: (x, y, z + 0.1))


@distortion("structure sets", "either")
def off_plane_by_half(one: Delivery, rng: Random) -> None:
    """Contours lie half-way between slices."""
    _, made = _drawn(one, rng)
    _without_images(made)
    _move(made, lambda x, y, z: (x, y, z + 0.5))


@distortion("structure sets", "either")
def a_number_lost(one: Delivery, rng: Random) -> None:
    """One contour has lost a number: the count is no multiple of three."""
    _, made = _drawn(one, rng)
    one_contour = _contours(made)[4]
    one_contour.ContourData = list(one_contour.ContourData)[:-1]


@distortion("structure sets", "either")
def a_far_vertex(one: Delivery, rng: Random) -> None:
    """One vertex has lost its decimal point and lies two metres away."""
    _, made = _drawn(one, rng)
    one_contour = _contours(made)[4]
    points = _points(one_contour)
    points[7] = (points[7][0] + 2000, points[7][1], points[7][2])
    _set_points(one_contour, points)


@distortion("structure sets", "either")
def count_of_points_untrue(one: Delivery, rng: Random) -> None:
    """NumberOfContourPoints is not the number of points."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        c.NumberOfContourPoints = 3


@distortion("structure sets", "right")
def sagittal_roi_beside(one: Delivery, rng: Random) -> None:
    """A second ROI was drawn on sagittal planes."""
    _, made = _drawn(one, rng)
    planes = [
        contour([(x, -5.0, 3.0), (x, 5.0, 3.0), (x, 5.0, 9.0), (x, -5.0, 9.0)])
        for x in (-4.0, -3.2, -2.4)
    ]
    _add_roi(made, 2, "GTV-9", planes)


@distortion("structure sets", "right")
def reversed_winding(one: Delivery, rng: Random) -> None:
    """Half of the contours run the other way round."""
    _, made = _drawn(one, rng)
    for c in _contours(made)[::2]:
        _set_points(c, _points(c)[::-1])


@distortion("structure sets", "right")
def closing_point_repeated(one: Delivery, rng: Random) -> None:
    """The first vertex is stored again as the last."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        _set_points(c, [*_points(c), _points(c)[0]])


def _hollow(visit: Visit) -> Lesion:
    """The inner surface of a hollow outline; the visit's truth is then the shell."""
    lesion = visit.lesions[0]
    inner = lesion.grown(0.45)
    xs, ys = axes()
    mask = visit.mask[lesion.label] & ~inner.mask(xs, ys, slice_heights())
    visit.truth[lesion.label] = measure(mask, np.stack([get_hu(s) for s in visit.slices]))
    return inner


@distortion("structure sets", "right")
def hole_as_second_contour(one: Delivery, rng: Random) -> None:
    """A hole is drawn as a second contour within the first."""
    visit, made = _drawn(one, rng)
    _contours(made).extend(lesion_contours(_hollow(visit), visit.slices))


@distortion("structure sets", "right")
def keyhole(one: Delivery, rng: Random) -> None:
    """A hole is joined to its outline by a channel of no width."""
    visit, made = _drawn(one, rng)
    holes = {
        float(c.ContourData[2]): _points(c) for c in lesion_contours(_hollow(visit), visit.slices)
    }
    for c in _contours(made):
        outer, inner = _points(c), holes.get(float(c.ContourData[2]))
        if inner:
            _set_points(c, [*outer, outer[0], inner[0], *inner[::-1], outer[0]])


@distortion("structure sets", "either", n_lesions=2)
def labels_that_fold_to_one(one: Delivery, rng: Random) -> None:
    """Two lesions are called L1-1 and L11."""
    for visit in one.visits:
        made = visit.structures[0].content
        assert isinstance(made, Dataset)
        for roi, lesion, label in zip(
            made.StructureSetROISequence, visit.lesions, ("L1-1", "L11"), strict=True
        ):
            roi.ROIName = label
            visit.truth[label] = visit.truth.pop(lesion.label)


@distortion("structure sets", "right")
def label_spelt_otherwise(one: Delivery, rng: Random) -> None:
    """At one visit the label has blanks, full-width letters and lower case."""
    for visit in one.visits:
        made = visit.structures[0].content
        assert isinstance(made, Dataset)
        made.SpecificCharacterSet = "ISO_IR 192"
        made.StructureSetROISequence[0].ROIName = "L1"
        visit.truth = {"L1": next(iter(visit.truth.values()))}
    made = rng.choice(one.visits[1:]).structures[0].content
    assert isinstance(made, Dataset)
    made.StructureSetROISequence[0].ROIName = rng.choice([" l1 ", "Ｌ１", "l 1", "L_1"])


@distortion("structure sets", "refused")
def label_missing(one: Delivery, rng: Random) -> None:
    """The ROI has no name."""
    _, made = _drawn(one, rng)
    made.StructureSetROISequence[0].ROIName = ""


@distortion("structure sets", "right")
def roi_outside_the_field(one: Delivery, rng: Random) -> None:
    """A second ROI lies outside the images."""
    visit, made = _drawn(one, rng)
    _add_roi(
        made, 2, "GTV-9", lesion_contours(Lesion("GTV-9", (70.0, 0.0, 6.0), 5.0), visit.slices)
    )


@distortion("structure sets", "either")
def outline_moved_into_air(one: Delivery, rng: Random) -> None:
    """The couch shift was added: all contours lie 30 mm beside the lesion."""
    _, made = _drawn(one, rng)
    _move(made, lambda x, y, z: (x + (12.0 if x < 0 else -12.0), y - 13.0, z))


@distortion("structure sets", "either")
def contours_in_pixels(one: Delivery, rng: Random) -> None:
    """Contours are in pixels, not in millimetres."""
    _, made = _drawn(one, rng)
    _move(made, lambda x, y, z: ((x + 22) / SPACING_MM, (y + 22) / SPACING_MM, z))


@distortion("structure sets", "either")
def contours_in_centimetres(one: Delivery, rng: Random) -> None:
    """Contours are in centimetres."""
    _, made = _drawn(one, rng)
    _move(made, lambda x, y, z: (x / 10, y / 10, z / 10))


@distortion("structure sets", "either")
def an_older_structure_set(one: Delivery, rng: Random) -> None:
    """An older structure set with a smaller outline of the same label lies beside the valid one."""
    visit, _ = _drawn(one, rng)
    old = [
        (lesion.label, lesion_contours(lesion.grown(0.6), visit.slices)) for lesion in visit.lesions
    ]
    made = structure_set(visit, one.number, old, place=7)
    made.StructureSetDate, made.StructureSetTime = "20200101", "080000"
    visit.structures.append(Structures("dicom", f"old_{one.serial}.dcm", made))


@distortion("structure sets", "right")
def same_structure_set_exported_twice(one: Delivery, rng: Random) -> None:
    """The structure set was exported twice, with a new identity."""
    visit, made = _drawn(one, rng)
    again = copy.deepcopy(made)
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = f"{made.SOPInstanceUID}.2"
    visit.structures.append(Structures("dicom", f"again_{one.serial}.dcm", again))


@distortion("structure sets", "right")
def crumbs(one: Delivery, rng: Random) -> None:
    """Sub-pixel contours and one of two points lie in the ROI."""
    _, made = _drawn(one, rng)
    _contours(made).append(contour([(0.1, 0.1, 6.0), (0.2, 0.1, 6.0), (0.2, 0.2, 6.0)]))
    _contours(made).append(contour([(0.0, 0.0, 12.0), (3.0, 0.0, 12.0)]))


@distortion("structure sets", "either", alone=True)
def set_of_another_patient(one: Delivery, rng: Random) -> None:
    """The structure set's PatientID is that of nobody else here."""
    _, made = _drawn(one, rng)
    made.PatientID = f"{one.number}77"


@distortion("structure sets", "right")
def set_without_patient(one: Delivery, rng: Random) -> None:
    """The structure set has no PatientID; it names its series."""
    _, made = _drawn(one, rng)
    made.PatientID = ""


@distortion("structure sets", "either")
def numbers_too_long(one: Delivery, rng: Random) -> None:
    """Coordinates have more digits than the standard allows."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        c.ContourData = [f"{float(v):.10f}"[:16] for v in c.ContourData]


@distortion("structure sets", "either")
def outline_over_the_chest(one: Delivery, rng: Random) -> None:
    """The lesion's outline is a rectangle around the whole image.

    Somebody outlined the body under the lesion's label.
    """
    _, made = _drawn(one, rng)
    square = [(-21.0, -21.0), (21.0, -21.0), (21.0, 21.0), (-21.0, 21.0)]
    made.ROIContourSequence[0].ContourSequence = [
        contour([(x, y, z) for x, y in square]) for z in slice_heights()
    ]


@distortion("structure sets", "either")
def contours_that_cross_themselves(one: Delivery, rng: Random) -> None:
    """Half of each contour runs backwards, so that it becomes a figure of eight."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        points = _points(c)
        half = len(points) // 2
        _set_points(c, [*points[:half], *points[half:][::-1]])


@distortion("structure sets", "right")
def island_in_a_hole(one: Delivery, rng: Random) -> None:
    """A contour lies in the hole of another: three nested contours."""
    visit, made = _drawn(one, rng)
    lesion = visit.lesions[0]
    hole, island = lesion.grown(0.6), lesion.grown(0.3)
    for inner in (hole, island):
        _contours(made).extend(lesion_contours(inner, visit.slices))
    (xs, ys), zs = axes(), slice_heights()
    mask = visit.mask[lesion.label] & ~hole.mask(xs, ys, zs) | island.mask(xs, ys, zs)
    visit.truth[lesion.label] = measure(mask, np.stack([get_hu(s) for s in visit.slices]))


@distortion("structure sets", "right")
def vertices_twice(one: Delivery, rng: Random) -> None:
    """Each vertex is stored twice."""
    _, made = _drawn(one, rng)
    for c in _contours(made):
        _set_points(c, [p for p in _points(c) for _ in range(2)])


@distortion("structure sets", "refused")
def set_that_was_rejected(one: Delivery, rng: Random) -> None:
    """The structure set is smaller than the lesion, was reviewed, and is marked as rejected."""
    _, made = _drawn(one, rng)
    made.ApprovalStatus = "REJECTED"
    _move(made, lambda x, y, z: (0.7 * x, 0.7 * y, z))


@distortion("structure sets", "refused")
def contours_a_slice_above_their_images(one: Delivery, rng: Random) -> None:
    """Each contour lies on the slice above the image that it names."""
    _, made = _drawn(one, rng)
    _move(made, lambda x, y, z: (x, y, z + 1))
