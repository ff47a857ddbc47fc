"""The thorax phantom, as CT numbers of a patient without disease.

It has body, lungs with vessels, mediastinum, spine and ribs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dagster_project.simulation.plan import Plan, Scanner

Hounsfield = NDArray[np.float32]

AIR, LUNG, FAT, MUSCLE, BLOOD, BONE, TABLE = -1000.0, -870.0, -95.0, 52.0, 140.0, 420.0, -250.0
"""CT numbers of the phantom's materials, in HU; blood with contrast agent."""

HALF_WIDTH, HALF_DEPTH = 0.43, 0.305
"""Half-axes of the body as shares of the field of view: air remains around it."""

VESSEL_MM, VESSEL_WIDTH, PSF_PX = 6.5, 0.17, 0.6
"""Shape of the vessel tree and blur of the scanner.

Correlation length of the tree in mm, relative thickness of its branches, and blur in pixels.
"""


def body_extent_mm(plan: Plan, scanner: Scanner) -> tuple[float, float]:
    """Half-width and half-depth of the body."""
    field = plan.rows * scanner.pixel_spacing_mm
    return HALF_WIDTH * field, HALF_DEPTH * field


@dataclass(frozen=True)
class Patterns:
    """Random patterns of a site that patients and scans take from different places.

    The vessel tree (0 to 1) and the noise (SD 1).
    """

    vessels: Hounsfield
    noise: Hounsfield


def draw_patterns(plan: Plan, site_index: int) -> Patterns:
    """Draw a site's patterns.

    Vessels are where two smooth random fields are both near zero, which is along curves.
    """
    random, scanner = plan.random("patterns", site_index), plan.sites[site_index].scanner
    shape = (plan.n_slices, plan.rows, plan.rows)
    width = (VESSEL_MM, *(VESSEL_MM / scanner.pixel_spacing_mm,) * 2)
    one, other = (_smooth(random, shape, width) for _ in range(2))
    vessels = np.exp(-(one**2 + other**2) / (2 * VESSEL_WIDTH**2))
    between, within = scanner.grain_px
    return Patterns(vessels, _smooth(random, shape, (between, within, within)))


def build_anatomy(plan: Plan, site_index: int, ordinal: int, patterns: Patterns) -> Hounsfield:
    """The patient's chest on the scanner's grid, with the body centre in its middle.

    What is built later covers what was built before.

    1. air, table, fat, muscle; 2. lungs and their vessels; 3. mediastinal fat, heart, aorta,
       trachea; 4. ribs, spine; 5. blur.
    """
    random, scanner = plan.random("anatomy", site_index, ordinal), plan.sites[site_index].scanner
    half_width, half_depth = body_extent_mm(plan, scanner)
    axis = (np.arange(plan.rows, dtype=np.float32) - (plan.rows - 1) / 2) * scanner.pixel_spacing_mm
    x, y = (axis / half_width).astype(np.float32), (axis / half_depth).astype(np.float32)[:, None]
    z = np.linspace(-1, 1, plan.n_slices, dtype=np.float32)[:, None, None]
    build = random.uniform(0.965, 1.0)
    size = (build * (1.0 + 0.02 * z)).astype(np.float32)
    outline = (np.abs(x) ** 2.4 + np.abs(y) ** 2.4) ** (1 / 2.4) / size
    volume = np.where(outline < 1.0, np.float32(FAT), np.float32(AIR))
    volume[outline < random.uniform(0.905, 0.94)] = MUSCLE
    cavity = np.hypot(x / 0.80, y / 0.79) / size
    _add_lungs(volume, cavity, x, y, _rolled(patterns.vessels, random), random)
    _add_mediastinum(volume, x, y, z, random)
    _add_bones(volume, cavity, x, y, z, random)
    if scanner.table:
        volume[:, (np.abs(y - 1.16 - 0.08 * x**2) < 0.03) & (np.abs(x) < 0.8)] = TABLE
    return ndimage.gaussian_filter(volume, (0.0, PSF_PX, PSF_PX), truncate=3.0)


def _add_lungs(
    volume: Hounsfield,
    cavity: Hounsfield,
    x: Hounsfield,
    y: Hounsfield,
    vessels: Hounsfield,
    random: np.random.Generator,
) -> None:
    lungs = (cavity < 0.97) & (np.abs(x) > 0.20 + 0.03 * np.cos(3 * y))
    gravity = np.broadcast_to(LUNG + 25.0 * y, volume.shape)[lungs]
    thickness = random.uniform(0.9, 1.15) * 1.25
    volume[lungs] = gravity + (MUSCLE - gravity) * np.minimum(1.0, thickness * vessels[lungs])


def _add_mediastinum(
    volume: Hounsfield, x: Hounsfield, y: Hounsfield, z: Hounsfield, random: np.random.Generator
) -> None:
    middle = (np.abs(x) <= 0.20 + 0.03 * np.cos(3 * y)) & (np.abs(y) < 0.72)
    volume[:, middle] = FAT + 10.0
    heart = random.uniform(0.92, 1.05) * (0.82 - 0.16 * z)
    volume[np.hypot((x - 0.17) / 0.33, (y + 0.30) / 0.36) < heart] = BLOOD
    volume[:, np.hypot(x - 0.13, (y - 0.36) * 0.71) < 0.085] = BLOOD
    volume[:, np.hypot(x, (y - 0.28) * 0.71) < 0.055] = AIR + 20.0


def _add_bones(
    volume: Hounsfield,
    cavity: Hounsfield,
    x: Hounsfield,
    y: Hounsfield,
    z: Hounsfield,
    random: np.random.Generator,
) -> None:
    slope = np.arctan2(y, np.abs(x)) * 1.9
    ribs = np.cos(slope + z * volume.shape[0] / 72 * 9.0 + random.uniform(0, 6)) > 0.35
    volume[(cavity > 1.0) & (cavity < 1.085) & ribs & (np.abs(x) > 0.15)] = BONE
    spine = np.hypot(x / 0.15, (y - 0.68) / 0.19)
    volume[:, spine < 1.0] = 210.0
    volume[:, (spine > 0.88) & (spine < 1.0)] = BONE
    volume[:, np.hypot(x / 0.07, (y - 0.90) / 0.05) < 1.0] = BONE


def _rolled(pattern: Hounsfield, random: np.random.Generator) -> Hounsfield:
    """The pattern from another place; it is periodic."""
    return np.roll(pattern, [int(random.integers(0, n)) for n in pattern.shape], axis=(0, 1, 2))


def take_noise(patterns: Patterns, random: np.random.Generator) -> Hounsfield:
    """Noise of one scan.

    It is from a place of its own, mirrored at random, so that no two scans share a voxel's noise.
    """
    mirrored = patterns.noise[
        :: int(random.choice([-1, 1])),
        :: int(random.choice([-1, 1])),
        :: int(random.choice([-1, 1])),
    ]
    return _rolled(mirrored, random)


def _smooth(
    random: np.random.Generator, shape: tuple[int, int, int], width: tuple[float, ...]
) -> Hounsfield:
    field = ndimage.gaussian_filter(
        random.standard_normal(shape, dtype=np.float32), width, mode="wrap", truncate=3.0
    )
    return (field / field.std()).astype(np.float32)
