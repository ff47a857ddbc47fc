"""CT series of every kind of grid, and outlines on them."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dagster_project.domain.imaging.masks import mask_digest, measure_mask
from dagster_project.domain.imaging.series import Series, read_series
from dagster_project.interchange.composite import headers_of
from dagster_project.interchange.segmentation_objects import OutlinedLesion, Subject
from tests.domain.phantoms import body, series_datasets, write

SHAPE = (14, 40, 48)
SUBJECT = Subject("AA-P1", "T1", dt.date(2024, 5, 1), "0")


def ct(**changes) -> list[Dataset]:
    return series_datasets(
        body(SHAPE, changes.get("spacing", (2.5, 5.0, 5.0))),
        **{"spacing": (2.5, 5.0, 5.0), "origin": (-120.0, -100.0, 40.0), **changes},
    )


def without(places: set[int]) -> list[Dataset]:
    return [one for k, one in enumerate(ct()) if k not in places]


def last_digits_differ() -> list[Dataset]:
    """Cosines that differ from slice to slice by less than anybody can see."""
    made = ct()
    for one in made[::2]:
        one.ImageOrientationPatient = [1.0, 0.00001, 0.0, -0.00001, 1.0, 0.0]
    return made


def without_type_2() -> list[Dataset]:
    made = ct()
    for one in made:
        for keyword in ("AccessionNumber", "StudyID", "StudyTime", "PatientBirthDate"):
            del one[keyword]
    return made


def windows_of_several_values() -> list[Dataset]:
    return ct(WindowCenter=[40, -600], WindowWidth=[400, 1500])


def compressed() -> list[Dataset]:
    made = ct()
    for one in made:
        one.compress(RLELossless)
    return made


def without_thickness(value: str | None) -> list[Dataset]:
    made = ct()
    for one in made:
        del one.SliceThickness
        if value is not None:
            one.SliceThickness = value
    return made


GRIDS: Mapping[str, Callable[[], list[Dataset]]] = {
    "axial": ct,
    "feet first": lambda: ct(cosines=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "from the head down": lambda: ct(step=(0.0, 0.0, -2.5)),
    "pixels that are not square": lambda: ct(spacing=(2.5, 5.0, 4.0)),
    "gantry tilted": lambda: ct(
        cosines=(1.0, 0.0, 0.0, 0.0, float(np.cos(0.35)), float(np.sin(0.35))), step=(0.0, 0.0, 2.5)
    ),
    "coronal": lambda: ct(cosines=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)),
    "oblique": lambda: ct(cosines=(0.8, 0.6, 0.0, -0.6, 0.8, 0.0)),
    "a slice missing": lambda: without({5}),
    "first slices missing within the outline": lambda: without({4, 5}),
    "cosines that differ in their last digits": last_digits_differ,
    "no element of type 2": without_type_2,
    "windows of several values": windows_of_several_values,
    "compressed slices": compressed,
    "no SliceThickness": lambda: without_thickness(None),
    "empty SliceThickness": lambda: without_thickness(""),
}


def stacked(folder: Path, slices: list[Dataset]) -> tuple[Series, dict[int, Dataset]]:
    """The series as the lake reads it, and the headers of its slices by their place."""
    series = read_series(write(folder, slices, shuffled=True))
    read = (pydicom.dcmread(f, stop_before_pixels=True) for f in folder.glob("*.dcm"))
    return series, headers_of(series, read)


def outlined(
    series: Series, name: str, low: int, high: int, seed: int = 0, columns: int = 11
) -> OutlinedLesion:
    """A ragged outline, in two parts with an empty slice between them where it is long enough."""
    mask = np.zeros(series.shape, bool)
    drawn = np.random.default_rng(seed).random(series.shape) > 0.3
    box = (slice(low, high), slice(10, 17), slice(20, 20 + columns))
    mask[box] = drawn[box]
    if high - low > 6:
        mask[low + 5] = False
    return OutlinedLesion(name, "lung", mask, mask_digest(mask))


def row_of(series: Series, one: OutlinedLesion, **facts) -> dict:
    """What the lake measures of an outline, as a row of `lesions` and of `reads` has it."""
    usual = {
        "lesion": one.lesion,
        "organ": "lung",
        "role": "target",
        "is_present": True,
        "too_small_to_measure": False,
    }
    return {**usual, **measure_mask(one.mask, series.image, series.affine), **facts}


def found_by_dciodvfy(file: Path) -> list[str]:
    """What dicom3tools has against a file."""
    done = subprocess.run(["dciodvfy", str(file)], check=False, capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
