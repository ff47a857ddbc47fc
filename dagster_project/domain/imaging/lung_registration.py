"""How a patient's chest moved from one CT to the next, found on the lungs.

A motion that cannot be trusted is refused by name: no place of a lesion is better than a wrong one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from dagster_project.domain.imaging.grids import affine_of, in_the_image

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

GRID_MM = 4.0
"""Spacing at which lungs are laid over each other: a rigid motion needs no finer one."""

LUNG_HU = (-950.0, -500.0)
"""Aerated lung, on a grid of `GRID_MM`."""

WINDOW_HU = (-1000.0, 0.0)
"""Densities that are compared: contrast medium and bone have no part in it."""

OUTSIDE_HU = 0.0
"""Of what lies outside the images: no air, which would look like that around the patient."""

LUNG_ML = 50.0
"""A smaller piece of lung is left out."""

AIR_BESIDE = 0.2
"""Share of the surface that touches free air from which on a piece is no lung: foam, clothes."""

RIM_VOXELS = 3
"""Chest wall, diaphragm and mediastinum within this distance of the lungs are compared too."""

STARTS_MM = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
"""Shifts along the body that are tried first: the centre of lungs that are cut is not theirs."""

ITERATIONS = 150
SAMPLES = 20_000
"""Voxels that are compared at each iteration."""

SEED = 1
"""Of the places of these voxels: ITK's own is the clock."""

CORRELATION_LEAST = 0.97
"""Between the densities of both scans: `benchmarks/lesion_places.py` says what passes."""

SHARED_LEAST = 0.5
"""Share of the smaller lungs that both scans show."""

ANGLE_MOST_DEG = 20.0
"""Nobody lies on the table turned by more than this from one scan to the next."""

NO_LUNGS = {
    "earlier": "no lungs were found on the earlier scan",
    "later": "no lungs were found on the later scan",
}
NO_FIT = "the lungs of the two scans do not fit each other"
CUT = "the two scans have less than half of the lungs in common"


class LungsError(ValueError):
    """The lungs of two scans cannot be laid over each other; the message is the reason."""


class Ct(NamedTuple):
    """A CT and its affine from index (x, y, z) to patient coordinates in mm.

    With a gantry tilt the affine is not that of the image, which has no tilt.
    """

    image: sitk.Image
    affine: Floats

    @classmethod
    def of(cls, image: sitk.Image) -> Ct:
        """A CT without tilt."""
        return cls(image, affine_of(image))


@dataclass(frozen=True)
class LungMotion:
    """Rigid motion from patient coordinates of the earlier scan to those of the later.

    Attributes
    ----------
    matrix
        (4, 4), mm.
    correlation
        Between the densities of both scans in and around the lungs that both show.
    shared
        Share of the smaller lungs that both scans show.
    """

    matrix: Floats
    correlation: float
    shared: float


class _Chest(NamedTuple):
    densities: sitk.Image
    lungs: sitk.Image
    surroundings: sitk.Image

    @property
    def centre(self) -> Floats:
        """Centre of the lungs in mm."""
        z, y, x = np.nonzero(sitk.GetArrayViewFromImage(self.lungs))
        index = (float(x.mean()), float(y.mean()), float(z.mean()))
        return np.array(self.lungs.TransformContinuousIndexToPhysicalPoint(index))


def register_lungs(earlier: Ct, later: Ct) -> LungMotion:
    """Rigid motion that lays the lungs of the earlier scan over those of the later.

    1. Both scans on a grid of `GRID_MM`. Lungs: connected voxels of `LUNG_HU` that do not lie in
       free air.
    2. Start: the lungs' centres lie on each other, shifted along the body by that of `STARTS_MM`
       which correlates best.
    3. Regular-step gradient descent on the correlation of densities within `WINDOW_HU`, in the
       later scan's lungs and their surroundings. What only one scan shows has no part in it.
    4. Refused where the densities correlate less than `CORRELATION_LEAST`, where the chest would
       be turned by more than `ANGLE_MOST_DEG`, or where less than `SHARED_LEAST` of the smaller
       lungs is on both scans.

    It does not follow breathing: a lesion near the diaphragm may lie elsewhere by a centimetre.

    Raises
    ------
    LungsError
        Where a scan shows no lung, or by rule 4.
    """
    moving, fixed = _chest(earlier, "earlier"), _chest(later, "later")
    found = _optimised(fixed, moving, _start(fixed, moving))
    correlation, shared = _agreement(fixed, moving, found)
    angle = np.degrees(np.linalg.norm([found.GetAngleX(), found.GetAngleY(), found.GetAngleZ()]))
    if correlation < CORRELATION_LEAST or angle > ANGLE_MOST_DEG:
        raise LungsError(NO_FIT)
    if shared < SHARED_LEAST:
        raise LungsError(CUT)
    matrix = np.asarray(np.linalg.inv(_matrix(found)), np.float64)
    return LungMotion(matrix, correlation, shared)


def find_lungs(ct: Ct) -> tuple[sitk.Image, Mask]:
    """Densities on a grid of `GRID_MM` along the patient's axes, and the lungs on it as (z, y, x).

    No lungs give a mask without a voxel.
    """
    densities = _on_grid(ct)
    inside = sitk.Cast((densities > LUNG_HU[0]) & (densities < LUNG_HU[1]), sitk.sitkUInt8)
    opened = sitk.BinaryMorphologicalOpening(inside, [1, 1, 1])
    least = int(LUNG_ML * 1000 / GRID_MM**3)
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(opened), least)
    labels = sitk.GetArrayFromImage(pieces)
    air = sitk.GetArrayViewFromImage(densities) < LUNG_HU[0]
    lungs = [n for n in range(1, int(labels.max()) + 1) if not _in_free_air(pieces == n, air)]
    return densities, np.isin(labels, lungs)


def _in_free_air(piece: sitk.Image, air: Mask) -> bool:
    grown = sitk.GetArrayFromImage(sitk.BinaryDilate(piece, [2, 2, 2])).astype(bool)
    shell = grown & ~sitk.GetArrayViewFromImage(piece).astype(bool)
    return bool(shell.any() and air[shell].mean() > AIR_BESIDE)


def _chest(ct: Ct, which: str) -> _Chest:
    densities, lungs = find_lungs(ct)
    if not lungs.any():
        raise LungsError(NO_LUNGS[which])
    mask = sitk.GetImageFromArray(lungs.astype(np.uint8))
    mask.CopyInformation(densities)
    around = sitk.BinaryDilate(mask, [RIM_VOXELS] * 3)
    box = _bounding_box(sitk.GetArrayViewFromImage(around))
    windowed = sitk.Clamp(densities, sitk.sitkFloat32, *WINDOW_HU)
    return _Chest(*(sitk.RegionOfInterest(one, *box) for one in (windowed, mask, around)))


def _bounding_box(mask: npt.NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Size and first index (x, y, z) of what is set."""
    places = np.argwhere(mask)
    first, last = places.min(0)[::-1], places.max(0)[::-1]
    return (last - first + 1).tolist(), first.tolist()


def _on_grid(ct: Ct) -> sitk.Image:
    binned = sitk.BinShrink(ct.image, [max(1, int(GRID_MM // s)) for s in ct.image.GetSpacing()])
    corners = np.array(list(itertools.product(*((0, n - 1) for n in ct.image.GetSize()))))
    ends = corners @ ct.affine[:3, :3].T + ct.affine[:3, 3]
    size = np.maximum(1, np.ptp(ends, axis=0) // GRID_MM).astype(int)
    first = ends.min(0) + GRID_MM / 2
    return sitk.Resample(
        sitk.Cast(binned, sitk.sitkFloat32),
        size.tolist(),
        in_the_image(ct.image, ct.affine),
        sitk.sitkLinear,
        first.tolist(),
        [GRID_MM] * 3,
        np.eye(3).ravel().tolist(),
        OUTSIDE_HU,
    )


def _start(fixed: _Chest, moving: _Chest) -> sitk.Euler3DTransform:
    starts = []
    for shift in STARTS_MM:
        transform = sitk.Euler3DTransform()
        transform.SetCenter(fixed.centre.tolist())
        transform.SetTranslation((moving.centre - fixed.centre + [0.0, 0.0, shift]).tolist())
        correlation, shared = _agreement(fixed, moving, transform)
        starts.append((correlation if shared > 0 else -1.0, -abs(shift), transform))
    return max(starts, key=lambda start: start[:2])[2]


def _optimised(
    fixed: _Chest, moving: _Chest, start: sitk.Euler3DTransform
) -> sitk.Euler3DTransform:
    method = sitk.ImageRegistrationMethod()
    # One thread: the order of a sum decides its last digits.
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(fixed.surroundings)
    compared = int(sitk.GetArrayViewFromImage(fixed.surroundings).sum())
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / compared), SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0,
        minStep=5e-3,
        numberOfIterations=ITERATIONS,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(sitk.Euler3DTransform(start), inPlace=True)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return sitk.Euler3DTransform(method.Execute(fixed.densities, moving.densities))
    except RuntimeError as error:
        # So ITK says that the scans have come to lie wholly beside each other.
        raise LungsError(NO_FIT) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _agreement(fixed: _Chest, moving: _Chest, transform: sitk.Transform) -> tuple[float, float]:
    """Correlation of densities where both scans show the chest, and the share of lungs in both."""
    there = sitk.Resample(moving.densities, fixed.densities, transform, sitk.sitkLinear, np.nan)
    moved = sitk.GetArrayFromImage(there)
    compared = sitk.GetArrayViewFromImage(fixed.surroundings).astype(bool) & ~np.isnan(moved)
    lungs = sitk.Resample(moving.lungs, fixed.lungs, transform, sitk.sitkNearestNeighbor, 0)
    both = sitk.GetArrayViewFromImage(lungs).astype(bool)
    both = both & sitk.GetArrayViewFromImage(fixed.lungs).astype(bool)
    smaller = min(int(sitk.GetArrayViewFromImage(c.lungs).sum()) for c in (fixed, moving))
    own, other = sitk.GetArrayViewFromImage(fixed.densities)[compared], moved[compared]
    if own.size < 2 or own.std() == 0 or other.std() == 0:
        return -1.0, 0.0
    return float(np.corrcoef(own, other)[0, 1]), float(both.sum() / smaller)


def _matrix(transform: sitk.Transform) -> Floats:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [
        np.array(transform.TransformPoint(tuple(map(float, unit)))) - origin for unit in np.eye(3)
    ]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.column_stack(columns), origin
    return matrix
