"""Negative controls: the lesion with its voxels shuffled, and its mask moved into muscle.

What they show is not about the tumour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.signal import fftconvolve

from dagster_project.radiomics.extraction import Row, measure_tumor, prepare_tumor
from dagster_project.radiomics.resampling import Array, Mask, bounding_box, spacing_zyx

Settings = Mapping[str, Any]

NO_MUSCLE = "no even soft tissue near the lesion is large enough to hold half of its mask"

BLOCK_MM = 4.0
"""Approximate size of the blocks in which muscle is looked for.

A block takes in no thin layer, and its mean hardly any noise.
"""

SAME_TO = 1e-6
"""Precision to which voxel counts by Fourier transform are whole numbers: equal places tie."""


def measure_controls(
    image: sitk.Image, mask: Mask, others: Mask | None, *, settings: Settings, radiomics: Settings
) -> list[tuple[str, Row]]:
    """Every feature of the tumour's mask under the two controls (shuffled, muscle).

    Each item is the control and its row of feature, value, reason and region_volume_mm3.

    1. shuffled: the lesion's crop as in `extract_lesion`, its values within the mask in another
       order (`shuffle_within`). Shape and the first-order features of the original image stay as
       they are; texture, and what filters make of it, does not.
    2. muscle: the mask moved by whole voxels to even soft tissue (`find_muscle`), cut to it, and
       measured as any mask. None with a reason where there is no such place.

    Parameters
    ----------
    image, mask, others
        Full scan in HU, the lesion's mask (z, y, x) and the union of the scan's other lesions; the
        mask is not empty.
    settings, radiomics
        Sections `muscle` and `radiomics` of study.toml.
    """
    volume, tumor = prepare_tumor(image, mask, radiomics)
    shuffled = measure_tumor(shuffle_within(volume, tumor.mask), tumor, radiomics)
    moved = find_muscle(image, mask, others, settings)
    if moved is None:
        muscle = [
            {**row, "value": None, "reason": NO_MUSCLE, "region_volume_mm3": None}
            for row in shuffled
        ]
    else:
        muscle = measure_tumor(*prepare_tumor(image, moved, radiomics), radiomics)
    return [*(("shuffled", row) for row in shuffled), *(("muscle", row) for row in muscle)]


def shuffle_within(volume: Array, mask: Mask) -> Array:
    """The same values within the mask in another order; outside, the volume as it is.

    The order is drawn from the values themselves.
    """
    values = volume[mask]
    seed = np.frombuffer(np.sort(values).tobytes()[:32].ljust(32, b"\0"), dtype=np.uint32)
    shuffled = volume.copy()
    shuffled[mask] = np.random.default_rng([values.size, *seed]).permutation(values)
    return shuffled


def find_muscle(
    image: sitk.Image, mask: Mask, others: Mask | None, settings: Settings
) -> Mask | None:
    """The mask moved to where most of it is even soft tissue, and cut to it.

    None where less than `share` of it is left.

    1. The scan within `search_mm` of the lesion's slices is divided into blocks of about 4 mm. A
       block is even soft tissue where its mean is within `hu` and the standard deviation within it
       at most `sd_hu`; muscle, in practice also liver.
    2. Blocks within `distance_mm` of a lesion are left out.
    3. The mask, in blocks, is moved over them; of equally good places the first is taken.

    It does not tell muscle from other soft tissue without structure, and asks for no anatomy.
    """
    box = bounding_box(mask)
    assert box is not None, "the mask has voxels"
    spacing = spacing_zyx(image)
    steps = _steps(spacing)
    reach = round(settings["search_mm"] / spacing[0])
    slab = slice(max(box[0].start - reach, 0), min(box[0].stop + reach, mask.shape[0]))
    hu = sitk.GetArrayViewFromImage(image)[slab]
    lesions = mask[slab] if others is None else (mask | others)[slab]
    tissue = _even_tissue(hu, steps, settings)
    tissue &= ~_near(_blocks_of(lesions, steps), spacing, steps, settings["distance_mm"])[
        tuple(slice(n) for n in tissue.shape)
    ]
    template = _blocks_of(mask[box], steps)
    place = _best_place(tissue, template)
    if place is None:
        return None
    origin = [
        at * step + start for at, step, start in zip(place, steps, (slab.start, 0, 0), strict=True)
    ]
    return _moved(mask, box, origin, tissue, steps, slab, settings["share"])


def _steps(spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    z, y, x = (max(1, round(BLOCK_MM / mm)) for mm in spacing)
    return z, y, x


def _even_tissue(hu: NDArray[Any], steps: tuple[int, int, int], settings: Settings) -> Mask:
    """Blocks of even soft tissue; what is left over at the far ends belongs to none."""
    (depth, height, width), (low, high) = (
        (n // s for n, s in zip(hu.shape, steps, strict=True)),
        settings["hu"],
    )
    found = np.zeros((depth, height, width), dtype=bool)
    for k in range(depth):
        layer = hu[
            k * steps[0] : (k + 1) * steps[0], : height * steps[1], : width * steps[2]
        ].astype(np.float32)
        blocks = layer.reshape(steps[0], height, steps[1], width, steps[2])
        mean = blocks.mean(axis=(0, 2, 4))
        found[k] = (
            (mean >= low) & (mean <= high) & (blocks.std(axis=(0, 2, 4)) <= settings["sd_hu"])
        )
    return found


def _blocks_of(mask: Mask, steps: tuple[int, int, int]) -> Mask:
    """Blocks that hold a voxel of the mask, the left-over ones at the far ends included."""
    padded = np.pad(mask, [(0, -n % s) for n, s in zip(mask.shape, steps, strict=True)])
    d, h, w = (n // s for n, s in zip(padded.shape, steps, strict=True))
    return np.asarray(
        padded.reshape(d, steps[0], h, steps[1], w, steps[2]).any(axis=(1, 3, 5)), dtype=bool
    )


def _near(
    blocks: Mask,
    spacing: tuple[float, float, float],
    steps: tuple[int, int, int],
    distance_mm: float,
) -> Mask:
    """The blocks that hold lesion, and those around them."""
    reach = [
        2 * int(np.ceil(distance_mm / (mm * step))) + 1
        for mm, step in zip(spacing, steps, strict=True)
    ]
    return binary_dilation(blocks, np.ones(reach, dtype=bool))


def _best_place(tissue: Mask, template: Mask) -> tuple[int, int, int] | None:
    """Where the template's first corner must lie so that most of its blocks are tissue.

    None where it does not fit into the array, or where there is no tissue.
    """
    if any(n < m for n, m in zip(tissue.shape, template.shape, strict=True)) or not tissue.any():
        return None
    counts = fftconvolve(
        tissue.astype(np.float64), template[::-1, ::-1, ::-1].astype(np.float64), mode="valid"
    )
    z, y, x = np.unravel_index(int(np.argmax(np.round(counts / SAME_TO) * SAME_TO)), counts.shape)
    return int(z), int(y), int(x)


def _moved(
    mask: Mask,
    box: tuple[slice, slice, slice],
    origin: list[int],
    tissue: Mask,
    steps: tuple[int, int, int],
    slab: slice,
    share: float,
) -> Mask | None:
    """The mask with its box's first corner at `origin`, cut to the tissue.

    None where less than `share` of it is left.
    """
    shape = mask[box].shape
    end = [min(at + n, size) for at, n, size in zip(origin, shape, mask.shape, strict=True)]
    there = tuple(slice(a, b) for a, b in zip(origin, end, strict=True))
    fine = tissue
    for axis, step in enumerate(steps):
        fine = np.repeat(fine, step, axis=axis)
    allowed = np.zeros_like(mask)
    allowed[slab.start : slab.start + fine.shape[0], : fine.shape[1], : fine.shape[2]] = fine
    moved = np.zeros_like(mask)
    moved[there] = mask[box][tuple(slice(0, s.stop - s.start) for s in there)]
    moved &= allowed
    return moved if moved.sum() >= share * mask[box].sum() else None
