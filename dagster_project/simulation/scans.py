"""One CT scan of a simulated patient, and the grid it all lies on.

Lesions are set into the anatomy, with artifacts where planned, and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dagster_project.simulation.anatomy import Hounsfield, Patterns, body_extent_mm, take_noise
from dagster_project.simulation.biology import Lesion, Patient
from dagster_project.simulation.plan import Plan, Scanner
from dagster_project.simulation.surfaces import Grid

THICK = 5
"""Slices of 1 mm that a slice of the trouble `thick_slices` is made of."""

GRAIN_MM, EDGE_MM, NECROSIS_HU = 1.5, 1.0, -38.0
"""Properties of a lesion's tissue.

Correlation length of its texture in mm, width of its partial-volume edge in mm, and how much darker
its necrotic core is in HU.
"""

METAL_HU, STREAK_HU, MOTION_MM = 3400.0, 260.0, 11.0
"""Metal and its streaks, and how far a slice is displaced by motion."""


@dataclass(frozen=True)
class Frame:
    """Where a scan lies.

    Its grid in patient coordinates, the body's centre there, and its displacement in pixels from
    the grid's centre.
    """

    grid: Grid
    body_mm: tuple[float, float, float]
    shift_px: tuple[int, int]

    def centre(self, lesion: Lesion) -> tuple[float, float, float]:
        """Centre of a lesion in patient coordinates."""
        x, y, z = (float(a + b) for a, b in zip(self.body_mm, lesion.position_mm, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Scan:
    """A scan as the scanner would deliver it."""

    patient: Patient
    visit: str
    frame: Frame
    hu: NDArray[np.int16]
    kernel: str


def place_scan(plan: Plan, patient: Patient, visit: str) -> Frame:
    """Grid of one visit, with the table at another position each time.

    The position is always between 100 and 999 mm from the table's zero.
    """
    random = plan.random("frame", patient.site_index, patient.ordinal, visit)
    pixel = patient.site.scanner.pixel_spacing_mm
    thick = THICK if "thick_slices" in patient.troubles else 1
    n_slices = plan.n_slices // thick
    side = -1 if patient.site.scanner.descending else 1
    centre = np.array(
        [0.0, round(random.uniform(-40, 40), 1), side * round(random.uniform(300, 600), 1)]
    )
    half = np.array(
        [(plan.rows - 1) / 2 * pixel, (plan.rows - 1) / 2 * pixel, (n_slices - 1) / 2 * thick]
    )
    origin = tuple(float(v) for v in np.round(centre - half, 3))
    shift = (int(random.integers(-2, 3)), int(random.integers(-2, 3)))
    middle = np.array(origin) + half
    body = (
        float(middle[0] + shift[0] * pixel),
        float(middle[1] + shift[1] * pixel),
        float(middle[2]),
    )
    grid = Grid(
        (n_slices, plan.rows, plan.rows),
        (float(thick), pixel, pixel),
        (origin[0], origin[1], origin[2]),
    )
    return Frame(grid, body, shift)


def draw_scan(
    plan: Plan, patient: Patient, visit: str, anatomy: Hounsfield, patterns: Patterns
) -> Scan:
    """Draw one scan.

    1. the anatomy where the patient lies this time; 2. lesions; 3. metal; 4. slices averaged where
       they are thick;
    5. noise, less in air; 6. motion; 7. whole HU from -1024.
    """
    random = plan.random("scan", patient.site_index, patient.ordinal, visit)
    frame, scanner = place_scan(plan, patient, visit), patient.site.scanner
    thin = _thin_grid(plan, frame)
    volume = np.roll(anatomy, frame.shift_px, axis=(2, 1))
    for lesion in patient.lesions:
        if lesion.seen(visit):
            _set_lesion(plan, patient, lesion, visit, volume, thin, frame.centre(lesion))
    if "metal" in patient.troubles:
        _set_metal(volume, thin, frame, body_extent_mm(plan, scanner))
    volume = _thickened(volume, frame.grid.shape[0])
    other_kernel = "kernel_change" in patient.troubles and visit == "T2"
    volume += _noise(random, scanner, volume, patterns, other_kernel)
    if "motion" in patient.troubles and visit == "T1":
        _move(volume, round(MOTION_MM / scanner.pixel_spacing_mm))
    hu = np.clip(np.rint(volume), -1024, METAL_HU).astype(np.int16)
    return Scan(patient, visit, frame, hu, scanner.other_kernel if other_kernel else scanner.kernel)


def _thin_grid(plan: Plan, frame: Frame) -> Grid:
    """The grid of 1 mm slices behind the delivered one.

    Thick slices are averages of whole slices; the rest is left out at the ends.
    """
    n, pixel = plan.n_slices, frame.grid.spacing_mm[1]
    used = frame.grid.shape[0] * int(frame.grid.spacing_mm[0])
    z = frame.body_mm[2] - (used - 1) / 2 - (n - used) // 2
    return Grid((n, plan.rows, plan.rows), (1.0, pixel, pixel), (*frame.grid.origin_mm[:2], z))


def _thickened(volume: Hounsfield, n_slices: int) -> Hounsfield:
    if n_slices == volume.shape[0]:
        return volume
    first = (volume.shape[0] - n_slices * THICK) // 2
    return (
        volume[first : first + n_slices * THICK]
        .reshape(n_slices, THICK, *volume.shape[1:])
        .mean(axis=1)
    )


def _noise(
    random: np.random.Generator,
    scanner: Scanner,
    volume: Hounsfield,
    patterns: Patterns,
    other_kernel: bool,
) -> Hounsfield:
    noise = take_noise(patterns, random)[: volume.shape[0]]
    if other_kernel:
        noise = ndimage.gaussian_filter(noise, (0.0, 0.7, 0.7))
    level = scanner.noise_hu * random.uniform(0.95, 1.05)
    return noise * np.where(volume > -960.0, np.float32(level), np.float32(0.5 * level))


def _set_lesion(
    plan: Plan,
    patient: Patient,
    lesion: Lesion,
    visit: str,
    volume: Hounsfield,
    grid: Grid,
    centre_mm: tuple[float, float, float],
) -> None:
    state, surface = lesion.states[visit], lesion.surface(visit)
    box, texture = _texture(plan, patient, lesion, state.rearrangement, grid, centre_mm)
    z, y, x = (grid.axis(d)[box[d]] - centre_mm[2 - d] for d in range(3))
    offset = np.stack(np.broadcast_arrays(x, y[:, None], z[:, None, None]), axis=-1)
    level = surface.level(offset)
    radius = 0.5 * state.size_mm
    share = np.clip(0.5 + (1.0 - level) * radius / EDGE_MM, 0.0, 1.0)
    core = 1.0 / (1.0 + np.exp(np.clip((level - state.necrosis) / 0.07, -40, 40)))
    tissue = lesion.mean_hu + state.heterogeneity_hu * texture + NECROSIS_HU * core
    volume[box] += (share * (tissue - volume[box])).astype(np.float32)


def _texture(
    plan: Plan,
    patient: Patient,
    lesion: Lesion,
    rearrangement: float,
    grid: Grid,
    centre_mm: tuple[float, float, float],
) -> tuple[tuple[slice, slice, slice], Hounsfield]:
    """A lesion's texture (mean 0, SD 1) on its box.

    It is the same field at every visit, a share of it replaced by a second one.
    """
    reach = 1.15 * max(s.size_mm for s in lesion.states.values()) * (1.6 if lesion.node else 1.0)
    middle = [
        round((centre_mm[2 - d] - grid.origin_mm[2 - d]) / grid.spacing_mm[d]) for d in range(3)
    ]
    half = [int(np.ceil(0.5 * reach / s)) + 2 for s in grid.spacing_mm]
    random = plan.random("texture", patient.site_index, patient.ordinal, lesion.label)
    shape = tuple(2 * h + 1 for h in half)
    width = [GRAIN_MM / s for s in grid.spacing_mm]
    fields = [
        ndimage.gaussian_filter(random.standard_normal(shape, dtype=np.float32), width, mode="wrap")
        for _ in range(2)
    ]
    first, second = (field / field.std() for field in fields)
    mixed = np.sqrt(1 - rearrangement**2) * first + rearrangement * second
    start = [max(0, m - h) for m, h in zip(middle, half, strict=True)]
    stop = [min(n, m + h + 1) for n, m, h in zip(grid.shape, middle, half, strict=True)]
    inner = tuple(
        slice(a - m + h, b - m + h) for a, b, m, h in zip(start, stop, middle, half, strict=True)
    )
    box = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    return box, mixed[inner]


def _set_metal(
    volume: Hounsfield, grid: Grid, frame: Frame, extent_mm: tuple[float, float]
) -> None:
    """A port in the left chest wall: a sphere of 5 mm radius with streaks.

    Dark and bright rays surround it in the slices that hold it.
    """
    x0, y0 = frame.body_mm[0] + 0.62 * extent_mm[0], frame.body_mm[1] - 0.66 * extent_mm[1]
    x, y = grid.axis(2) - x0, (grid.axis(1) - y0)[:, None]
    distance, ray = np.hypot(x, y), np.arctan2(y, x)
    streaks = (STREAK_HU * np.cos(11 * ray) * np.exp(-distance / 45.0)).astype(np.float32)
    height = grid.axis(0) - frame.body_mm[2]
    for index in np.flatnonzero(np.abs(height) < 5.0):
        volume[index] += streaks
        volume[index][distance**2 + height[index] ** 2 < 25.0] = METAL_HU


def _move(volume: Hounsfield, pixels: int) -> None:
    """Displace three runs of slices sideways; the first slice of each shows both places."""
    n = volume.shape[0]
    for start in (n // 4, n // 2, 3 * n // 4):
        run = slice(start, start + max(2, n // 14))
        moved = np.roll(volume[run], pixels, axis=2)
        moved[0] = (moved[0] + volume[start]) / 2
        volume[run] = moved
