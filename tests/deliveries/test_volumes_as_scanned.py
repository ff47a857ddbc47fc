"""Series as scanners and archives leave them: repeats, midnight, padding, kernels nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from tests.deliveries.conftest import Deliveries, run_delivery
from tests.domain.phantoms import slice_dataset, structure_set

SITE = "SCANS"
N, SIDE = 24, 72
Z, Y, X = np.mgrid[:N, :SIDE, :SIDE]
CENTRE = (12, 36, 50)
BALL = (Z - 12) ** 2 + (Y - 36) ** 2 + (X - 50) ** 2 <= 49
BEYOND = np.hypot(Y[0] - 35.5, X[0] - 35.5) > 28
TRUE_MM3 = 4 / 3 * np.pi * 7**3


def chest(noise: float = 10.0, seed: int = 0, shift: int = 0) -> np.ndarray:
    hu = np.where(np.roll(BALL, shift, axis=1), 40, -820)
    return (hu + np.random.default_rng(seed).normal(0, noise, hu.shape)).round().astype(np.int16)


def slices(
    person: str, planes: np.ndarray, heights: Sequence[float], first: int = 1, **tags: object
) -> list[Dataset]:
    made = []
    for k, (plane, z) in enumerate(zip(planes, heights, strict=True)):
        one = slice_dataset(plane, (0, 0, z), first + k, **tags)
        one.PatientID = one.StudyID = person
        _of(person, one)
        made.append(one)
    return made


def _of(person: str, one: Dataset) -> None:
    """UIDs of the person's own."""
    for keyword in (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
    ):
        if keyword in one:
            setattr(one, keyword, f"{one[keyword].value}.{int(person):d}")
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID


def deliver(landing: Path, person: str, images: Sequence[Dataset]) -> None:
    folder = landing / SITE / "dicom" / person
    folder.mkdir(parents=True)
    for k, one in enumerate(images):
        one.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    path = folder / "outline.dcm"
    circles = [_circle(z) for z in range(6, 19)]
    series, frame = images[0].SeriesInstanceUID, images[0].FrameOfReferenceUID
    structure_set(path, {"GTV-1": circles}, series=series, frame=frame)
    _complete(path, person, images[0])


def _circle(z: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = np.sqrt(max(49.5 - (z - 12) ** 2, 0.4))
    return np.column_stack(
        [50 + radius * np.cos(angle), 36 + radius * np.sin(angle), np.full(60, z)]
    )


def _complete(path: Path, person: str, image: Dataset) -> None:
    outline = pydicom.dcmread(path)
    outline.PatientID, outline.PatientName, outline.StudyInstanceUID = (
        person,
        "",
        image.StudyInstanceUID,
    )
    outline.SeriesInstanceUID = outline.SOPInstanceUID = f"1.2.3.{int(person)}"
    outline.file_meta.MediaStorageSOPInstanceUID = outline.SOPInstanceUID
    outline.SOPClassUID, outline.StudyDate, outline.StructureSetDate = (
        RTStructureSetStorage,
        "20240102",
        "20240102",
    )
    outline.save_as(path, enforce_file_format=True)


def midnight() -> list[Dataset]:
    made = slices("1", chest(), range(N))
    for k, one in enumerate(made):
        one.AcquisitionDate = "20240103" if k < 9 else "20240102"
    return made


def repeated() -> list[Dataset]:
    whole = slices("2", chest(), range(N), first=40, AcquisitionNumber=2)
    part = slices("2", chest(seed=3, shift=9)[8:16], range(8, 16), AcquisitionNumber=1)
    return part + whole


def padded() -> list[Dataset]:
    hu = chest()
    hu[:, BEYOND & ~BALL.any(axis=0)] = -3024
    made = slices("3", hu, range(N))
    for one in made:
        one.add_new(0x00280120, "US", 63536)
    return made


def interleaved() -> list[Dataset]:
    soft = slices("4", chest(), range(N), ConvolutionKernel="NOBODY-1")
    sharp = slices(
        "4", chest(80, seed=4), np.arange(N) + 0.5, first=101, ConvolutionKernel="NOBODY-2"
    )
    return soft + sharp


def iodine() -> list[Dataset]:
    return slices("6", chest(), range(N), RescaleType="MGML")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    def write(landing: Path) -> None:
        deliver(landing, "1", midnight())
        deliver(landing, "2", repeated())
        deliver(landing, "3", padded())
        deliver(landing, "4", interleaved())
        deliver(landing, "5", slices("5", chest(), range(N)))
        deliver(landing, "6", iodine())
        clinical = landing / SITE / "clinical"
        clinical.mkdir()
        people = "".join(f"{k},F,61,IVA\n" for k in range(1, 7))
        (clinical / "patients.csv").write_text(
            "patient_id,sex,age,stage\n" + people, encoding="utf-8"
        )
        cycles = "".join(f"{k},1,2024-01-05,pembrolizumab\n" for k in range(1, 7))
        (clinical / "treatments.csv").write_text(
            "patient_id,cycle,date,drugs\n" + cycles, encoding="utf-8"
        )

    return run_delivery(tmp_path_factory.mktemp("volumes"), write)


@pytest.mark.parametrize("person", ["1", "2", "3", "5"])
def test_the_lesion_has_its_volume_and_density(found: Deliveries, person: str) -> None:
    assert found.exit_code == 0, found.output
    (read,) = found.reads(SITE, person)
    assert read["volume_mm3"] == pytest.approx(TRUE_MM3, rel=0.02)
    assert read["mean_hu"] == pytest.approx(40, abs=8)


def test_a_scan_over_midnight_lies_three_days_before_the_first_cycle(found: Deliveries) -> None:
    days = {
        k: found.ask("SELECT day FROM scans WHERE patient = ?", found.pseudonym(SITE, k))[0]["day"]
        for k in "15"
    }
    assert days == {"1": -3, "5": -2}


def test_of_a_partial_repeat_no_slice_is_used(found: Deliveries) -> None:
    (scan,) = found.ask(
        "SELECT n_slices, n_duplicate_slices FROM scans WHERE patient = ?",
        found.pseudonym(SITE, "2"),
    )
    assert scan == {"n_slices": N, "n_duplicate_slices": 8}
    assert sum("another acquisition" in line for line in found.refused(SITE, "scans")) == 1


def test_a_ring_beside_padding_has_the_variance_of_its_lung(found: Deliveries) -> None:
    def variance(person: str) -> float:
        (row,) = found.ask(
            "SELECT value FROM radiomic_features WHERE patient = ? AND region = 'ring_3_5' "
            "AND feature = 'original_firstorder_Variance'",
            found.pseudonym(SITE, person),
        )
        return row["value"]

    assert variance("3") == pytest.approx(variance("5"), rel=0.25)


@pytest.mark.parametrize("person", ["4", "6"])
def test_nothing_is_measured_where_a_series_is_refused(found: Deliveries, person: str) -> None:
    assert found.reads(SITE, person) == []


def test_refusals_name_what_is_wrong(found: Deliveries) -> None:
    assert any(
        "told apart by (0020,0013) InstanceNumber" in line for line in found.refused(SITE, "scans")
    )
    assert sum("RescaleType is not HU" in line for line in found.refused(SITE, "intake")) == N
