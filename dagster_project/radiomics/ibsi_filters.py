"""Evidence that filtered images are those of IBSI 2: response maps of phantoms, statistics of CT.

The filters are the ones that features are computed on (`derived_images`). Where a test asks for a
boundary that they do not have, the phantom is padded so before.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dagster_project.radiomics.derived_images import derive_images, log_name
from dagster_project.radiomics.ibsi_intensity import statistics
from dagster_project.radiomics.registry import ibsi_divisor, ibsi_image_deviation
from dagster_project.radiomics.resampling import Array, Box, Mask, bounding_box

REFERENCE = Path(__file__).resolve().parents[2] / "tests" / "radiomics" / "golden" / "ibsi_2"
"""Consensus maps and values (CC0); the README beside them names their source."""

MAP_TOLERANCE = 0.01
"""Largest difference of a voxel from the consensus map, as a share of the map's range."""

PHANTOM_VOXELS = 64
"""Along each axis of a digital phantom."""

PHANTOM_SPACING_MM = 2.0

PHANTOM_INTENSITY = 255.0
"""Of what is not background."""

CHECKER_VOXELS = 8
"""Edge of a cube of the checkerboard."""

PHANTOM_CENTRE = 31
"""Of the impulse and of the spheres: the 32nd voxel along each axis."""

SPHERE_RADII = (2, 6, 10, 15, 19, 24, 28)
"""Voxels from the centre at which the seven spherical shells end: bright, dark, …, bright."""

PADDING = 32
"""Voxels put around a phantom: more than four sigma, where IBSI cuts the Laplacian of Gaussian."""

Reference = dict[str, tuple[float, float]]
"""Consensus value and tolerance by tag."""

CT_SPACING_MM = 1.0
"""Voxels of the CT phantom in configuration B."""


@dataclass(frozen=True)
class Filter:
    """One filtered image: a Laplacian of Gaussian, a band of a wavelet, or neither (the original).

    `band` has a letter each for x, y and z: L for the low-pass, H for the high-pass filter.
    `invariant` means the average over the 24 rotations of the filter by right angles.
    """

    sigma_mm: float = 0.0
    wavelet: str = ""
    band: str = ""
    invariant: bool = False

    @property
    def image(self) -> str:
        """The name of the derived image.

        >>> Filter(sigma_mm=1.5).image, Filter(wavelet="coif1", band="HHL").image
        ('log-sigma-1-5-mm-3D', 'wavelet-HHL')
        """
        if self.sigma_mm:
            return log_name(self.sigma_mm)
        return f"wavelet-{self.band}" if self.wavelet else "original"

    @property
    def words(self) -> str:
        """How the document names it."""
        named = f"{self.image} ({self.wavelet})" if self.wavelet else self.image
        return f"{named}, rotation invariant" if self.invariant else named


@dataclass(frozen=True)
class MapTest:
    """A test of phase 1: filter a digital phantom, padded with zeros, mirrored or periodically."""

    phantom: Literal["impulse", "checkerboard", "sphere"]
    boundary: Literal["zero", "mirror", "periodic"]
    filter: Filter


MAP_TESTS = {
    "2.a": MapTest("impulse", "zero", Filter(sigma_mm=3.0)),
    "2.b": MapTest("checkerboard", "mirror", Filter(sigma_mm=5.0)),
    "6.a.1": MapTest("sphere", "periodic", Filter(wavelet="coif1", band="HHL")),
    "6.a.2": MapTest("sphere", "periodic", Filter(wavelet="coif1", band="HHL", invariant=True)),
}
"""Those of phase 1 whose filter is one of the project's."""

STATISTICS_TESTS = {
    "1.B": Filter(),
    "3.B": Filter(sigma_mm=1.5),
    "6.B": Filter(wavelet="db3", band="LLH", invariant=True),
}
"""Those of phase 2 in configuration B (in space) that the project's filters can express.

Its wavelet is db3; coif1 has none. Test 7.B is a second level, which features are not computed on.
"""


def digital_phantom(name: Literal["impulse", "checkerboard", "sphere"]) -> Array:
    """A digital phantom of IBSI 2 (z, y, x): 64³ voxels of 2 mm, intensities 0 and 255."""
    places = np.indices((PHANTOM_VOXELS,) * 3)
    squared = ((places - PHANTOM_CENTRE) ** 2).sum(axis=0)
    if name == "impulse":
        bright = squared == 0
    elif name == "checkerboard":
        bright = (places // CHECKER_VOXELS).sum(axis=0) % 2 == 1
    else:
        bright = np.searchsorted(np.square(SPHERE_RADII), squared) % 2 == 0
    return np.where(bright, PHANTOM_INTENSITY, 0.0).astype(np.float32)


def respond(volume: Array, box: Box, how: Filter, spacing_mm: float) -> NDArray[np.float64]:
    """The response of the project's filter inside `box`, as features are computed on it.

    Rotation invariance: the 24 rotations by right angles put the odd letter of a band (the L of
    HHL) on each axis and flip the filter along all axes in all eight ways, each combination once.
    A filter is flipped by flipping the volume before and the response after it.
    """
    if not how.invariant:
        return _images(volume, box, how, spacing_mm)[how.image].astype(np.float64)
    bands = [f"wavelet-{band}" for band in _arrangements(how.band)]
    total = np.zeros(tuple(s.stop - s.start for s in box))
    for steps in product((1, -1), repeat=3):
        flip = tuple(slice(None, None, step) for step in steps)
        images = _images(volume[flip], _flipped(box, volume.shape, steps), how, spacing_mm)
        for band in bands:
            total += images[band][flip]
    return total / (8 * len(bands))


@dataclass(frozen=True)
class MapVerdict:
    """A response beside its consensus map, as stored and divided by the registered divisor.

    `stored` and `divided` count voxels within tolerance; `greatest` is the greatest difference that
    is left after the division, as a share of the map's range.
    """

    name: str
    test: MapTest
    divisor: float
    voxels: int
    stored: int
    divided: int
    greatest: float


@dataclass(frozen=True)
class StatisticsVerdict:
    """The statistics of a filtered CT phantom: how many are within tolerance, which are not."""

    name: str
    filter: Filter
    divisor: float
    values: int
    stored: int
    outside: tuple[str, ...]

    @property
    def divided(self) -> int:
        """Values within tolerance once the image is divided by the registered divisor."""
        return self.values - len(self.outside)


@dataclass(frozen=True)
class FilterVerdicts:
    """Both phases."""

    maps: list[MapVerdict]
    statistics: list[StatisticsVerdict]


def judge_map(name: str, test: MapTest) -> MapVerdict:
    """Filter a phantom and compare it voxel by voxel with a consensus map."""
    reference = reference_map(name).astype(np.float64)
    allowed = MAP_TOLERANCE * np.ptp(reference)
    found = _phantom_response(test)
    divisor = ibsi_divisor(test.filter.image, PHANTOM_SPACING_MM)
    off = np.abs(found / divisor - reference)
    stored = np.abs(found - reference) <= allowed
    return MapVerdict(
        name, test, divisor, reference.size, int(stored.sum()), int((off <= allowed).sum()),
        float(off.max() / np.ptp(reference)),
    )  # fmt: skip


def judge_statistics(name: str, how: Filter, volume: Array, inside: Mask) -> StatisticsVerdict:
    """The 18 statistics of a response inside the intensity mask, beside the consensus.

    `volume` and `inside` are the CT phantom in configuration B. Its boundary (mirror) is not felt:
    the tumour is 50 mm away from it, the filters reach less than 10 mm.
    """
    box = bounding_box(inside)
    if box is None:
        raise ValueError("the intensity mask of the CT phantom has no voxel")
    reference = reference_statistics()[name]
    values = respond(volume, box, how, CT_SPACING_MM)[inside[box]]
    divisor = ibsi_divisor(how.image, CT_SPACING_MM)
    stored = list(_outside(statistics(values), reference))
    divided = list(_outside(statistics(values / divisor), reference))
    return StatisticsVerdict(
        name, how, divisor, len(reference), len(reference) - len(stored), tuple(divided)
    )


def filter_verdicts(volume: Array, inside: Mask) -> FilterVerdicts:
    """All tests of both phases; of the CT phantom, HU and intensity mask in configuration B."""
    return FilterVerdicts(
        [judge_map(name, test) for name, test in MAP_TESTS.items()],
        [judge_statistics(name, how, volume, inside) for name, how in STATISTICS_TESTS.items()],
    )


def reference_map(name: str) -> Array:
    """The consensus map of a test (z, y, x)."""
    path = REFERENCE / f"{name.replace('.', '_')}.nii.gz"
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def reference_statistics() -> dict[str, Reference]:
    """Consensus value and tolerance by test and tag; a value without consensus is left out."""
    found: dict[str, Reference] = {}
    with (REFERENCE / "reference_values.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter=";"):
            if row["consensus_value"]:
                pair = float(row["consensus_value"]), float(row["tolerance"])
                found.setdefault(row["filter_id"], {})[row["feature_tag"]] = pair
    return found


def filter_section(verdicts: FilterVerdicts) -> Iterator[str]:
    """The lines of docs/ibsi.md about IBSI 2."""
    yield "\n## IBSI 2: voxels within tolerance of the consensus response map\n"
    yield "| test | phantom, boundary | image | as stored | divided by | divided | at most off |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for m in verdicts.maps:
        yield (
            f"| {m.name} | {m.test.phantom}, {m.test.boundary} | {m.test.filter.words} "
            f"| {m.stored:,} of {m.voxels:,} | {m.divisor:g} | {m.divided:,} | {m.greatest:.2%} |"
        )
    yield "\n## IBSI 2: statistics of the CT phantom, configuration B, within tolerance\n"
    yield "| test | image | as stored | divided by | divided | outside |"
    yield "|---|---|---:|---:|---:|---|"
    for s in verdicts.statistics:
        yield (
            f"| {s.name} | {s.filter.words} | {s.stored} of {s.values} | {s.divisor:g} "
            f"| {s.divided} | {', '.join(s.outside) or 'none'} |"
        )
    named = (ibsi_image_deviation(s.filter.image) for s in verdicts.statistics)
    yield f"\nRegistered deviation: {'; '.join(text for text in named if text)}."


def _phantom_response(test: MapTest) -> NDArray[np.float64]:
    """The response inside a phantom that is padded as its test asks."""
    phantom = digital_phantom(test.phantom)
    if test.boundary == "zero":
        padded = np.pad(phantom, PADDING)
    else:
        padded = np.pad(phantom, PADDING, "symmetric" if test.boundary == "mirror" else "wrap")
    inner = slice(PADDING, PADDING + PHANTOM_VOXELS)
    return respond(padded, (inner, inner, inner), test.filter, PHANTOM_SPACING_MM)


def _images(volume: Array, box: Box, how: Filter, spacing_mm: float) -> dict[str, Array]:
    sigmas = [how.sigma_mm] if how.sigma_mm else []
    asked = {"log_sigma_mm": sigmas, "wavelet": how.wavelet, "spacing_mm": spacing_mm}
    return dict(derive_images(volume, box, asked))


def _arrangements(band: str) -> list[str]:
    """The bands of the same letters, in every order.

    >>> _arrangements("HHL")
    ['HHL', 'HLH', 'LHH']
    """
    return sorted({"".join(letters) for letters in permutations(band)})


def _flipped(box: Box, shape: tuple[int, ...], steps: tuple[int, ...]) -> Box:
    """Where a box lies once the axes with step -1 are flipped."""
    z, y, x = (
        s if step > 0 else slice(n - s.stop, n - s.start)
        for s, n, step in zip(box, shape, steps, strict=True)
    )
    return z, y, x


def _outside(found: dict[str, float], reference: Reference) -> Iterator[str]:
    """Tag, value and consensus of each statistic that is not within tolerance."""
    for tag, (value, tolerance) in reference.items():
        if not abs(found[tag] - value) <= tolerance:
            yield f"{tag} ({found[tag]:.6g}, reference {value:.6g} ± {tolerance:g})"
