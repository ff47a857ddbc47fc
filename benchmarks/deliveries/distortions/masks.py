"""Masks as segmentation tools write them: DICOM SEG, NIfTI, NRRD."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import (
    CORNER_MM,
    READERS,
    SPACING_MM,
    Delivery,
    Mask,
    Structures,
    Visit,
    segmentation,
    uid,
)


def _seg(one: Delivery, rng: Random) -> tuple[Visit, Dataset]:
    """A visit whose outline now is a SEG beside the images."""
    visit = rng.choice(one.visits)
    made = segmentation(visit, one.number, visit.mask)
    visit.structures = [Structures("dicom", f"seg_{one.serial}_{visit.name}.dcm", made)]
    return visit, made


def _frames(made: Dataset) -> Mask:
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    size = made.NumberOfFrames * made.Rows * made.Columns
    return bits[:size].reshape(made.NumberOfFrames, made.Rows, made.Columns).astype(bool)


def _store(made: Dataset, frames: Mask) -> None:
    data = np.packbits(frames.astype(np.uint8).ravel(), bitorder="little").tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made.NumberOfFrames = len(frames)


def _bytes(made: Dataset, frames: np.ndarray, kind: str, **elements: object) -> None:
    """Store frames as 8-bit numbers."""
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.SegmentationType = 7, kind
    data = frames.astype(np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    for keyword, value in elements.items():
        setattr(made, keyword, value)


@distortion("masks", "right")
def seg_beside_the_images(one: Delivery, rng: Random) -> None:
    """The outline is a binary SEG."""
    _seg(one, rng)


@distortion("masks", "right")
def seg_fractional_255(one: Delivery, rng: Random) -> None:
    """A FRACTIONAL SEG of 0 and 255."""
    _, made = _seg(one, rng)
    _bytes(
        made,
        _frames(made) * 255,
        "FRACTIONAL",
        SegmentationFractionalType="PROBABILITY",
        MaximumFractionalValue=255,
    )


@distortion("masks", "either")
def seg_fractional_of_0_and_1(one: Delivery, rng: Random) -> None:
    """A FRACTIONAL SEG of 0 and 1 whose maximum is 255."""
    _, made = _seg(one, rng)
    _bytes(
        made,
        _frames(made),
        "FRACTIONAL",
        SegmentationFractionalType="OCCUPANCY",
        MaximumFractionalValue=255,
    )


@distortion("masks", "either")
def seg_labelmap(one: Delivery, rng: Random) -> None:
    """A Label Map Segmentation (Supplement 243)."""
    _, made = _seg(one, rng)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    _bytes(made, _frames(made), "LABELMAP")
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.SegmentIdentificationSequence
    made.PixelPaddingValue = 0


@distortion("masks", "right")
def seg_frames_shuffled(one: Delivery, rng: Random) -> None:
    """Frames come in no order; each says its position."""
    _, made = _seg(one, rng)
    order = rng.sample(range(made.NumberOfFrames), made.NumberOfFrames)
    groups = list(made.PerFrameFunctionalGroupsSequence)
    _store(made, _frames(made)[order])
    made.PerFrameFunctionalGroupsSequence = [groups[k] for k in order]


@distortion("masks", "either")
def seg_positions_lost(one: Delivery, rng: Random) -> None:
    """Frames do not say their position."""
    _, made = _seg(one, rng)
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


@distortion("masks", "either")
def seg_other_spacing(one: Delivery, rng: Random) -> None:
    """The SEG says pixels of another size than the CT's."""
    _, made = _seg(one, rng)
    made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.6, 1.6]


@distortion("masks", "either")
def seg_coarser_grid(one: Delivery, rng: Random) -> None:
    """The SEG was made on a grid of half the resolution, and says so."""
    _, made = _seg(one, rng)
    frames = _frames(made)[:, ::2, ::2]
    made.Rows, made.Columns = frames.shape[1:]
    made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.6, 1.6]
    _store(made, frames)


@distortion("masks", "either")
def seg_thick_frames(one: Delivery, rng: Random) -> None:
    """Every third slice has a frame, and frames are 3 mm thick."""
    _, made = _seg(one, rng)
    frames, groups = _frames(made), list(made.PerFrameFunctionalGroupsSequence)
    _store(made, frames[1::3])
    made.PerFrameFunctionalGroupsSequence = groups[1::3]
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness = measures.SpacingBetweenSlices = 3.0


@distortion("masks", "either")
def seg_frames_missing(one: Delivery, rng: Random) -> None:
    """Every third slice has a frame, and frames are said to be 1 mm thick."""
    _, made = _seg(one, rng)
    frames, groups = _frames(made), list(made.PerFrameFunctionalGroupsSequence)
    _store(made, frames[::3])
    made.PerFrameFunctionalGroupsSequence = groups[::3]


@distortion("masks", "right")
def seg_rows_from_below(one: Delivery, rng: Random) -> None:
    """Rows of the SEG run the other way than the CT's, and the orientation says so."""
    _, made = _seg(one, rng)
    made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [
        1,
        0,
        0,
        0,
        -1,
        0,
    ]
    for group in made.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(v) for v in position.ImagePositionPatient)
        position.ImagePositionPatient = [x, y + (made.Rows - 1) * SPACING_MM, z]
    _store(made, _frames(made)[:, ::-1])


@distortion("masks", "either")
def seg_rows_turned_unsaid(one: Delivery, rng: Random) -> None:
    """Rows and columns of the SEG are reversed and moved into air; its orientation is unchanged."""
    _, made = _seg(one, rng)
    _store(made, np.roll(_frames(made)[:, ::-1, ::-1], (25, 25), axis=(1, 2)))


@distortion("masks", "either")
def seg_inverted(one: Delivery, rng: Random) -> None:
    """Everything but the lesion is set."""
    visit, _ = _seg(one, rng)
    label, mask = next(iter(visit.mask.items()))
    visit.structures[0].content = segmentation(visit, one.number, {label: ~mask})


@distortion("masks", "either")
def seg_without_label(one: Delivery, rng: Random) -> None:
    """The segment has no label."""
    _, made = _seg(one, rng)
    made.SegmentSequence[0].SegmentLabel = ""


@distortion("masks", "refused")
def seg_of_another_frame(one: Delivery, rng: Random) -> None:
    """The SEG names no series, and a frame of reference that no CT has."""
    _, made = _seg(one, rng)
    del made.ReferencedSeriesSequence
    made.FrameOfReferenceUID = uid(one.serial, 96)


@distortion("masks", "either")
def seg_frame_alone(one: Delivery, rng: Random) -> None:
    """The SEG names no series; its frame of reference is the CT's."""
    _, made = _seg(one, rng)
    del made.ReferencedSeriesSequence


@distortion("masks", "right")
def seg_with_empty_frames(one: Delivery, rng: Random) -> None:
    """Each slice has a frame, most of them empty."""
    visit, made = _seg(one, rng)
    _, mask = next(iter(visit.mask.items()))
    group = made.PerFrameFunctionalGroupsSequence[0]
    groups = []
    for k, s in enumerate(visit.slices):
        one_group = copy.deepcopy(group)
        one_group.PlanePositionSequence[0].ImagePositionPatient = list(s.ImagePositionPatient)
        one_group.FrameContentSequence[0].DimensionIndexValues = [1, k + 1]
        groups.append(one_group)
    made.PerFrameFunctionalGroupsSequence = groups
    _store(made, mask)


@distortion("masks", "either")
def seg_two_segments_one_label(one: Delivery, rng: Random) -> None:
    """Two lesions' segments bear one label and differ by TrackingID alone."""
    visit, _ = _seg(one, rng)
    other = np.roll(next(iter(visit.mask.values())), (14, 14), axis=(1, 2)) & ~next(
        iter(visit.mask.values())
    )
    doubled = segmentation(visit, one.number, {"a": next(iter(visit.mask.values())), "b": other})
    for k, segment in enumerate(doubled.SegmentSequence):
        segment.SegmentLabel, segment.TrackingID, segment.TrackingUID = (
            visit.lesions[0].label,
            f"lesion {k}",
            uid(one.serial, 50, k),
        )
    visit.structures[0].content = doubled


@distortion("masks", "right", n_lesions=2)
def seg_segments_touching(one: Delivery, rng: Random) -> None:
    """Two lesions as two segments of one SEG."""
    _seg(one, rng)


@distortion("masks", "either")
def seg_bits_from_the_left(one: Delivery, rng: Random) -> None:
    """Bits were packed in the wrong order, as some converters do."""
    _, made = _seg(one, rng)
    data = np.packbits(_frames(made).astype(np.uint8).ravel(), bitorder="big").tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)


@distortion("masks", "either")
def seg_with_a_frame_too_few(one: Delivery, rng: Random) -> None:
    """NumberOfFrames and the pixels disagree."""
    _, made = _seg(one, rng)
    made.PixelData = made.PixelData[: -2 * (made.Rows * made.Columns // 16)]


@distortion("masks", "either")
def seg_mask_moved_into_air(one: Delivery, rng: Random) -> None:
    """The mask lies beside the lesion, in lung."""
    _, made = _seg(one, rng)
    _store(made, np.roll(_frames(made), (22, 24), axis=(1, 2)))


@distortion("masks", "right")
def seg_cropped_to_the_lesion(one: Delivery, rng: Random) -> None:
    """Frames hold the lesion's box alone, and their positions say so."""
    _, made = _seg(one, rng)
    rows, columns = (np.flatnonzero(_frames(made).any(axis=axes)) for axes in ((0, 2), (0, 1)))
    top, left = int(rows[0]), int(columns[0])
    frames = _frames(made)[:, top : rows[-1] + 1, left : columns[-1] + 1]
    made.Rows, made.Columns = frames.shape[1:]
    for group in made.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        x, y, z = (float(c) for c in place.ImagePositionPatient)
        place.ImagePositionPatient = [x + left * SPACING_MM, y + top * SPACING_MM, z]
    _store(made, frames)


@distortion("masks", "refused")
def seg_two_frames_a_hair_apart(one: Delivery, rng: Random) -> None:
    """A slice has two different frames, whose positions differ by hundredths of a millimetre."""
    _, made = _seg(one, rng)
    frames, groups = _frames(made), list(made.PerFrameFunctionalGroupsSequence)
    again = copy.deepcopy(groups[4])
    place = again.PlanePositionSequence[0]
    place.ImagePositionPatient = [*CORNER_MM, float(place.ImagePositionPatient[2]) + 0.02]
    made.PerFrameFunctionalGroupsSequence = [*groups, again]
    _store(made, np.concatenate([frames, np.roll(frames[4:5], 9, axis=2)]))


# -- NIfTI and NRRD, which lie in the readers' folders
# ----------------------------------------------------------------------


def _image(mask: np.ndarray, kind: type = np.uint8) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(kind))
    image.SetSpacing([SPACING_MM, SPACING_MM, 1.0])
    image.SetOrigin([*CORNER_MM, 0.0])
    return image


def _file(image: sitk.Image, ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mask{ending}"
        sitk.WriteImage(image, str(path))
        return path.read_bytes()


def _volumes(
    one: Delivery,
    rng: Random,
    make: Callable[[Mask], sitk.Image],
    ending: str = ".nii.gz",
    name: Callable[[Visit, str], str] | None = None,
) -> None:
    """Both readers' outlines of one visit as mask files."""
    visit = rng.choice(one.visits)
    visit.structures = []
    for reader in READERS:
        for label, mask in visit.mask.items():
            title = name(visit, label) if name else f"{visit.series_uid}__{label}"
            visit.structures.append(
                Structures(f"reads/{reader}", f"{title}{ending}", _file(make(mask), ending))
            )


@distortion("masks", "right", readers=True)
def nifti(one: Delivery, rng: Random) -> None:
    """Masks are NIfTI files of 8-bit numbers."""
    _volumes(one, rng, _image)


@distortion("masks", "right", readers=True)
def nifti_int16(one: Delivery, rng: Random) -> None:
    """Masks are NIfTI files of 16-bit numbers."""
    _volumes(one, rng, lambda m: _image(m, np.int16))


@distortion("masks", "right", readers=True)
def nifti_float(one: Delivery, rng: Random) -> None:
    """Masks are NIfTI files of floating-point numbers."""
    _volumes(one, rng, lambda m: _image(m, np.float32))


@distortion("masks", "right", readers=True)
def nifti_of_255(one: Delivery, rng: Random) -> None:
    """The value inside is 255."""
    _volumes(one, rng, lambda m: _image(m * np.uint8(255)))


@distortion("masks", "either", readers=True)
def nifti_fractional(one: Delivery, rng: Random) -> None:
    """The mask was resampled: its border holds fractions."""

    def soften(mask: Mask) -> sitk.Image:
        soft = _image(mask, np.float32)
        return sitk.Clamp(sitk.DiscreteGaussian(soft, 0.05), lowerBound=0.0, upperBound=1.0)

    _volumes(one, rng, soften)


@distortion("masks", "either", readers=True)
def nifti_inverted(one: Delivery, rng: Random) -> None:
    """Everything but the lesion is set."""
    _volumes(one, rng, lambda m: _image(~m))


@distortion("masks", "right", readers=True)
def nifti_flipped(one: Delivery, rng: Random) -> None:
    """Axes run the other way, and the header says so."""
    _volumes(one, rng, lambda m: sitk.Flip(_image(m), [rng.random() < 0.5, True, False]))


@distortion("masks", "right", readers=True)
def nifti_axes_permuted(one: Delivery, rng: Random) -> None:
    """Axes are stored in another order, and the header says so."""
    _volumes(one, rng, lambda m: sitk.PermuteAxes(_image(m), [2, 0, 1]))


@distortion("masks", "either", readers=True)
def nifti_without_place(one: Delivery, rng: Random) -> None:
    """The header lost origin and direction."""

    def lose(mask: Mask) -> sitk.Image:
        image = _image(mask)
        image.SetOrigin([0.0, 0.0, 0.0])
        return image

    _volumes(one, rng, lose)


@distortion("masks", "either", readers=True)
def nifti_other_spacing(one: Delivery, rng: Random) -> None:
    """The header says voxels of 1 mm."""

    def lie(mask: Mask) -> sitk.Image:
        image = _image(mask)
        image.SetSpacing([1.0, 1.0, 1.0])
        return image

    _volumes(one, rng, lie)


@distortion("masks", "either", readers=True)
def nifti_a_slice_short(one: Delivery, rng: Random) -> None:
    """The mask has one slice fewer than the CT."""
    _volumes(one, rng, lambda m: _image(m[:-1]))


@distortion("masks", "either", readers=True)
def nifti_upside_down(one: Delivery, rng: Random) -> None:
    """Rows and columns were turned round and nothing says so; the mask lies in lung."""
    _volumes(one, rng, lambda m: _image(np.roll(m[:, ::-1, ::-1], (24, 22), axis=(1, 2))))


@distortion("masks", "refused", readers=True)
def nifti_name_turned(one: Delivery, rng: Random) -> None:
    """Label and series have changed places in the file's name."""
    _volumes(one, rng, _image, name=lambda v, label: f"{label}__{v.series_uid}")


@distortion("masks", "right", readers=True)
def nrrd(one: Delivery, rng: Random) -> None:
    """Masks are NRRD files."""
    _volumes(one, rng, _image, ".nrrd")


@distortion("masks", "right", readers=True)
def seg_nrrd(one: Delivery, rng: Random) -> None:
    """Masks end in .seg.nrrd, as 3D Slicer names them."""
    _volumes(one, rng, _image, ".seg.nrrd")


@distortion("masks", "right", readers=True)
def plain_nii(one: Delivery, rng: Random) -> None:
    """Masks end in .nii."""
    _volumes(one, rng, _image, ".nii")


@distortion("masks", "either", readers=True)
def mha(one: Delivery, rng: Random) -> None:
    """Masks are MetaImage files."""
    _volumes(one, rng, _image, ".mha")


@distortion("masks", "either", readers=True, n_lesions=2)
def nifti_of_many_labels(one: Delivery, rng: Random) -> None:
    """One file holds both lesions, as 1 and 2, under the first one's label."""
    visit = rng.choice(one.visits)
    both = sum(
        (k * m.astype(np.uint8) for k, m in enumerate(visit.mask.values(), 1)),
        start=np.zeros(1, np.uint8),
    )
    visit.structures = [
        Structures(
            f"reads/{reader}",
            f"{visit.series_uid}__{visit.lesions[0].label}.nii.gz",
            _file(_image(both), ".nii.gz"),
        )
        for reader in READERS
    ]


@distortion("masks", "either", readers=True)
def nifti_with_nan(one: Delivery, rng: Random) -> None:
    """Outside the lesion the mask holds no number."""
    _volumes(one, rng, lambda m: _image(np.where(m, 1.0, np.nan), np.float32))


@distortion("masks", "either", readers=True)
def nifti_truncated(one: Delivery, rng: Random) -> None:
    """The files end in the middle."""
    _volumes(one, rng, _image)
    for visit in one.visits:
        for file in visit.structures:
            if isinstance(file.content, bytes):
                file.content = file.content[: 2 * len(file.content) // 3]


@distortion("masks", "either", readers=True)
def nifti_two_pieces(one: Delivery, rng: Random) -> None:
    """A corner of the image is set too: a click that nobody saw."""

    def click(mask: Mask) -> sitk.Image:
        clicked = mask.copy()
        clicked[0, :3, :3] = True
        return _image(clicked)

    _volumes(one, rng, click)
