"""Masks as programs write them, from the landing to `reads`.

Each is one lesion, or a refusal that names the way out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.deliveries.conftest import Deliveries, run_delivery
from tests.domain.phantoms import segmentation, series_datasets, write

SHAPE, SPACING = (24, 64, 64), (1.0, 0.8, 0.8)
VOXEL_MM3 = float(np.prod(SPACING))
LOCKED = "2024-06-01T12:00:00+08:00\n"


def _ball(*centre: int) -> np.ndarray:
    places = np.indices(SHAPE).reshape(3, -1).T - np.array(centre)
    return ((places * SPACING) ** 2).sum(1).reshape(SHAPE) <= 25


LEFT, RIGHT = _ball(11, 20, 20), _ball(12, 40, 44)


def _write_mask(path: Path, values: np.ndarray) -> None:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))


def _segmentation(path: Path, sources: list) -> None:
    segmentation(
        path, sources, np.stack([LEFT, RIGHT], axis=-1).astype(np.uint8), labels=("Tumor", "Tumor")
    )
    import pydicom

    dataset = pydicom.dcmread(path)
    for number, item in enumerate(dataset.SegmentSequence, start=1):
        item.TrackingID, item.TrackingUID = f"L{number}", f"1.2.826.0.1.3680043.10.{number}"
    dataset.save_as(path)


def _series(uid: str, number: str, day: str) -> list:
    hu = np.where(LEFT | RIGHT, 40, -800).astype(np.int16)
    sources = series_datasets(
        hu,
        spacing=SPACING,
        PatientID=number,
        StudyDate=day,
        SeriesDate=day,
        AcquisitionDate=day,
        SeriesInstanceUID=uid,
        StudyInstanceUID=f"{uid}.9",
        FrameOfReferenceUID=f"{uid}.8",
    )
    for k, one in enumerate(sources):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{uid}.7.{k}"
    return sources


EQUAL, TRACKED = "1.2.826.0.1.3680043.10.51", "1.2.826.0.1.3680043.10.52"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    """Two sites with masks as programs write them.

    Site AA: one patient whose two readers submit the same mask under two labels. Site BB: a
    segmentation and masks of one reader.
    """

    def fill(landing: Path) -> None:
        write(landing / "AA" / "dicom", _series(EQUAL, "A1", "20240105"))
        for reader, lesion, values in (
            ("R1", "L1", LEFT.astype(np.uint8)),
            ("R2", "L2", LEFT.astype(np.uint8)),
            ("R1", "L3.seg", RIGHT * np.float32(0.7)),
            ("R1", "L4", RIGHT * np.float32(0.2)),
        ):
            folder = landing / "AA" / "reads" / reader
            folder.mkdir(parents=True, exist_ok=True)
            _write_mask(folder / f"{EQUAL}__{lesion}.nrrd", values)
            (folder / "LOCKED").write_text(LOCKED, encoding="utf-8")
        sources = _series(TRACKED, "B1", "20240105")
        write(landing / "BB" / "dicom", sources)
        _segmentation(landing / "BB" / "dicom" / "seg.dcm", sources)

    return run_delivery(tmp_path_factory.mktemp("masks"), fill)


def test_the_run_ends_with_0(home: Deliveries) -> None:
    assert home.exit_code == 0, home.output


def test_an_equal_mask_of_a_second_reader_bears_its_own_label(home: Deliveries) -> None:
    found = {
        (r["reader"], r["reader_label"] or r["lesion"]): r["voxel_count"]
        for r in home.reads("AA", "A1")
    }
    assert found["R1", "L1"] == found["R2", "L2"] == LEFT.sum()


def test_fractions_count_from_one_half_and_are_refused_below(home: Deliveries) -> None:
    rows = {
        r["reader_label"] or r["lesion"]: r for r in home.reads("AA", "A1") if r["reader"] == "R1"
    }
    assert (rows["L3"]["voxel_count"], rows["L3"]["border_rule"]) == (
        RIGHT.sum(),
        "fraction_at_least_half",
    )
    assert "L4" not in rows
    assert any("one half" in reason for reason in home.refused("AA", "intake"))


def test_two_segments_of_one_label_are_two_lesions(home: Deliveries) -> None:
    rows = {r["lesion"]: r["volume_mm3"] for r in home.reads("BB", "B1")}
    assert rows == {
        "L1": pytest.approx(LEFT.sum() * VOXEL_MM3),
        "L2": pytest.approx(RIGHT.sum() * VOXEL_MM3),
    }
