"""A known lesion written by other programs comes back voxel by voxel, or is refused.

A refusal says what to tick in that program.
"""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.masks import read_outlines
from dagster_project.domain.imaging.outlines import Outline
from dagster_project.domain.imaging.series import Series, read_series
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.vault import vault
from dagster_project.intake.vault.file_index import Register
from dagster_project.intake.vault.process_file import take_file
from dagster_project.intake.vault.sandbox import Batch
from dagster_project.intake.vault.vault import take_in
from tests.domain.phantoms import SERIES, segmentation, series_datasets, write

SHAPE, SPACING, ORIGIN = (14, 30, 26), (2.0, 0.7, 0.9), (-11.3, -20.7, 31.0)


def _lesion() -> np.ndarray:
    """A lesion that no flip or exchange of axes maps onto itself.

    It is a block with a spur along each axis and a hole.
    """
    mask = np.zeros(SHAPE, bool)
    mask[4:9, 9:17, 6:15] = True
    mask[9:12, 9:12, 6:8] = True
    mask[6, 17:22, 10] = True
    mask[5, 13, 15:20] = True
    mask[6, 12:14, 9:11] = False
    return mask


LESION = _lesion()
Sources = Sequence[Dataset]


def _sources() -> list[Dataset]:
    hu = np.where(LESION, 40, -800).astype(np.int16)
    return [*series_datasets(hu, spacing=SPACING, origin=ORIGIN, PatientID="ZY0012345")]


def _affine(*, ras: bool) -> np.ndarray:
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = ORIGIN
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine if ras else affine


def _image(values: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN)
    return image


# ── the producers: each writes the lesion L1 of the series into a folder ──


def _highdicom(kind: str, **changes: Any) -> Callable[[Path, Sources], None]:
    def produce(folder: Path, sources: Sources) -> None:
        values = (
            LESION.astype(np.float64) * changes.get("share", 1.0)
            if kind == "FRACTIONAL"
            else LESION.astype(np.uint8)
        )
        segmentation(folder / "seg.dcm", sources, values, kind, ("L1",))

    return produce


DCMQI_META = {
    "ContentCreatorName": "Reader1",
    "ClinicalTrialSeriesID": "Session1",
    "ClinicalTrialTimePointID": "1",
    "SeriesDescription": "Segmentation",
    "SeriesNumber": "300",
    "InstanceNumber": "1",
    "BodyPartExamined": "CHEST",
    "segmentAttributes": [
        [
            {
                "labelID": 1,
                "SegmentDescription": "L1",
                "SegmentLabel": "L1",
                "SegmentAlgorithmType": "MANUAL",
                "SegmentedPropertyCategoryCodeSequence": {
                    "CodeValue": "49755003",
                    "CodingSchemeDesignator": "SCT",
                    "CodeMeaning": "Morphologically Altered Structure",
                },
                "SegmentedPropertyTypeCodeSequence": {
                    "CodeValue": "4147007",
                    "CodingSchemeDesignator": "SCT",
                    "CodeMeaning": "Mass",
                },
            }
        ]
    ],
}


def _dcmqi(kind: str, compress: str = "none") -> Callable[[Path, Sources], None]:
    def produce(folder: Path, sources: Sources) -> None:
        from importlib.resources import files

        made = folder.parent.parent.parent / f"dcmqi-{kind}-{compress}"
        write(made / "ct", sources)
        sitk.WriteImage(_image(LESION.astype(np.uint8)), str(made / "label.nrrd"))
        (made / "meta.json").write_text(json.dumps(DCMQI_META), encoding="utf-8")
        program = str(files("dcmqi").joinpath("bin/itkimage2segimage"))
        subprocess.run(
            [
                program,
                "--inputImageList",
                str(made / "label.nrrd"),
                "--inputDICOMDirectory",
                str(made / "ct"),
                "--inputMetadata",
                str(made / "meta.json"),
                "--outputDICOM",
                str(folder / "seg.dcm"),
                "--segmentationType",
                kind,
                "--skip",
                "1",
                "--compress",
                compress,
            ],
            check=True,
            capture_output=True,
        )

    return produce


def _simpleitk(
    ending: str, values: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Path, Sources], None]:
    def produce(folder: Path, _: Sources) -> None:
        sitk.WriteImage(_image(values(LESION)), str(folder / f"{SERIES}__L1.{ending}"))

    return produce


def _turned(folder: Path, _: Sources) -> None:
    image = sitk.PermuteAxes(
        sitk.Flip(_image(LESION.astype(np.uint8)), (True, False, True)), (2, 0, 1)
    )
    sitk.WriteImage(image, str(folder / f"{SERIES}__L1.nii.gz"))


def _nibabel(
    version: int, *, scaled: bool = False, canonical: bool = False, dtype: str = "uint8"
) -> Callable[[Path, Sources], None]:
    """Canonical is RAS, as dcm2niix and nnU-Net write after turning the axes."""

    def produce(folder: Path, _: Sources) -> None:
        import nibabel as nib

        values, affine = LESION.transpose(2, 1, 0).astype(dtype), _affine(ras=True)
        image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(values, affine, dtype=dtype)
        if scaled:
            image = nib.Nifti1Image(values * 200, affine)
            image.header.set_slope_inter(1 / 200, 0)
        nib.save(
            nib.as_closest_canonical(image) if canonical else image, folder / f"{SERIES}__L1.nii.gz"
        )

    return produce


def _pynrrd(folder: Path, _: Sources) -> None:
    import nrrd

    header = {
        "space": "left-posterior-superior",
        "space directions": _affine(ras=False)[:3, :3],
        "space origin": ORIGIN,
        "Murong": "ZY0012345",
    }
    nrrd.write(
        str(folder / f"{SERIES}__L1.nrrd"), LESION.transpose(2, 1, 0).astype(np.uint8), header
    )


def _slicerio(*names: str, overlapping: bool = False) -> Callable[[Path, Sources], None]:
    def produce(folder: Path, _: Sources) -> None:
        import slicerio

        made = slicerio.create_segmentation(SHAPE[::-1], _affine(ras=False))
        for k, name in enumerate(names):
            other = LESION if overlapping else np.roll(LESION, 8, axis=1) & ~LESION
            voxels = (LESION if k == 0 else other).transpose(2, 1, 0)
            slicerio.add_segment(made, voxels, {"name": name})
        slicerio.write_segmentation(str(folder / f"{SERIES}__L1.seg.nrrd"), made)

    return produce


def _second_file(folder: Path, _: Sources) -> None:
    sitk.WriteImage(_image(LESION.astype(np.uint8)), str(folder / f"{SERIES}__L1.mhd"))


def _surface(folder: Path, _: Sources) -> None:
    (folder / "L1.stl").write_bytes(b"solid L1\nendsolid L1\n")


def _aim(folder: Path, _: Sources) -> None:
    (folder / "L1.xml").write_text(
        "<?xml version='1.0'?><ImageAnnotationCollection/>", encoding="utf-8"
    )


READ: dict[str, tuple[Callable[[Path, Sources], None], str, tuple[str, ...]]] = {
    "highdicom BINARY": (_highdicom("BINARY"), "voxels_as_given", ()),
    "highdicom LABELMAP": (_highdicom("LABELMAP"), "voxels_as_given", ()),
    "highdicom FRACTIONAL": (_highdicom("FRACTIONAL", share=0.6), "fraction_at_least_half", ()),
    "highdicom FRACTIONAL of 0 and 1 of 200": (
        _highdicom("FRACTIONAL", share=1 / 200),
        "voxels_as_given",
        ("fractions_are_binary",),
    ),
    "dcmqi binary": (_dcmqi("binary"), "voxels_as_given", ()),
    "dcmqi labelmap": (_dcmqi("labelmap"), "voxels_as_given", ()),
    "dcmqi deflated": (_dcmqi("binary", "deflate"), "voxels_as_given", ()),
    "SimpleITK nii.gz": (_simpleitk("nii.gz", lambda m: m.astype(np.uint8)), "voxels_as_given", ()),
    "SimpleITK nii of floats": (
        _simpleitk("nii", lambda m: m.astype(np.float32) * (1 - 1e-6)),
        "voxels_as_given",
        (),
    ),
    "SimpleITK nrrd of 255": (
        _simpleitk("nrrd", lambda m: m.astype(np.uint8) * 255),
        "voxels_as_given",
        (),
    ),
    "SimpleITK mha of int16": (
        _simpleitk("mha", lambda m: m.astype(np.int16) * 2),
        "voxels_as_given",
        (),
    ),
    "SimpleITK fractions": (
        _simpleitk("nii.gz", lambda m: np.where(m, 0.5, 0.49).astype(np.float32)),
        "fraction_at_least_half",
        (),
    ),
    "SimpleITK turned axes": (_turned, "voxels_as_given", ()),
    "nibabel": (_nibabel(1), "voxels_as_given", ()),
    "nibabel int64": (_nibabel(1, dtype="int64"), "voxels_as_given", ()),
    "nibabel scaled": (_nibabel(1, scaled=True), "voxels_as_given", ()),
    "nibabel canonical (dcm2niix, nnU-Net)": (_nibabel(1, canonical=True), "voxels_as_given", ()),
    "pynrrd": (_pynrrd, "voxels_as_given", ()),
    "slicerio one segment": (_slicerio("Segment_1"), "voxels_as_given", ()),
    "slicerio two segments": (_slicerio("L1", "L2"), "voxels_as_given", ()),
    "slicerio overlapping segments": (
        _slicerio("L1", "L2", overlapping=True),
        "voxels_as_given",
        (),
    ),
}
"""What writes the lesion, how its border is decided, and what is odd about it."""

REFUSED: dict[str, tuple[Callable[[Path, Sources], None], str]] = {
    "nibabel NIfTI-2": (_nibabel(2), "NIfTI-1"),
    "SimpleITK fractions below one half": (
        _simpleitk("nii.gz", lambda m: m.astype(np.float32) * 0.3),
        "one half",
    ),
    "SimpleITK two labels": (
        _simpleitk("nii.gz", lambda m: m.astype(np.uint8) + np.roll(m, 9, axis=1) * 2),
        "one file per lesion",
    ),
    "slicerio segments of other names": (_slicerio("Tumor", "Vessel"), "one file per segment"),
    "MetaImage in two files": (_second_file, "one file"),
    "a surface": (_surface, "DICOM SEG or RTSTRUCT"),
    "AIM": (_aim, "DICOM SEG or RTSTRUCT"),
}
"""What writes something else, and what its refusal names as the way out."""


class Delivery:
    """Every producer's files, each in a folder of a reader, in one landing that was taken in."""

    def __init__(self, root: Path) -> None:
        self.readers = {name: f"P{k:02d}" for k, name in enumerate([*READ, *REFUSED], start=1)}
        landing, self.vault = root / "landing" / "AB", root / "vault" / "AB"
        sources = _sources()
        write(landing / "dicom", sources)
        for name, reader in self.readers.items():
            folder = landing / "reads" / reader
            folder.mkdir(parents=True)
            (READ.get(name) or REFUSED[name])[0](folder, sources)
        take_in(
            landing,
            self.vault,
            keys=unlock(create_throwaway_medium(root / "keys")),
            crosswalk=root / "crosswalk",
        )
        (scan,) = {f.parent for f in self.vault.glob("*/S*/*.dcm")}
        self.series: Series = read_series(scan)

    def outlines(self, name: str) -> list[Outline]:
        """What is read of a producer's files, on the series that intake made."""
        return [
            o
            for f in sorted(self.vault.glob(f"*/contours/{self.readers[name]}/*"))
            for o in read_outlines(f, self.series)
        ]

    def reasons(self, name: str) -> list[str]:
        """Why files of a producer were refused."""
        register = Register(self.vault / "intake.sqlite")
        try:
            return [
                reason
                for item, reason in register.refused()
                if item.startswith(f"reads/{self.readers[name]}/")
            ]
        finally:
            register.close()


def _in_this_process(session: Any, tasks: Sequence[Any]) -> Batch:
    from collections import Counter

    outcomes = [take_file(session, task) for task in tasks]
    return Batch(tuple(outcomes), sum((Counter(o.actions) for o in outcomes), Counter()))


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.setattr(vault, "take_files", _in_this_process)
        return Delivery(tmp_path_factory.mktemp("producers"))


@pytest.mark.parametrize("name", READ)
def test_the_lesion_comes_back_voxel_by_voxel(delivery: Delivery, name: str) -> None:
    _, rule, flags = READ[name]
    (found,) = delivery.outlines(name)
    assert np.array_equal(found.mask, LESION)
    assert (found.label, found.border_rule, found.n_outside, found.flags, found.refused) == (
        "L1",
        rule,
        0,
        flags,
        "",
    )
    assert delivery.reasons(name) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_way_out(delivery: Delivery, name: str) -> None:
    reasons = delivery.reasons(name)
    assert delivery.outlines(name) == []
    assert reasons
    assert any(REFUSED[name][1] in reason for reason in reasons), reasons
