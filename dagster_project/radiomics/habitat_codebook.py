"""Habitats that mean the same at every visit.

They come from a frozen, ordered codebook of local density and its local spread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, spline_filter

from dagster_project.lake.files import write_whole
from dagster_project.radiomics.preparation import (
    CROP_MARGIN_MM,
    SPLINE_ORDER,
    ImageVisit,
    Prepared,
    prepare_visit,
)
from dagster_project.radiomics.resampling import (
    Mask,
    bounding_box,
    check_grid,
    grow_box,
    scan_part,
    spacing_zyx,
)
from dagster_project.study import digest_of

FEATURES = ("density_hu", "spread_hu")
"""Of a voxel: smoothed density above the lesion's median, and the standard deviation around it."""

DECIMALS = 1
"""Local features are whole tenths of a HU: what is kept is exactly what was computed."""

CENTRE_DECIMALS = 4
"""A codebook's figures are rounded, so that it is the same on every machine."""

STARTS = 10
"""Starts of k-means, of which the best is kept."""

Scope: TypeAlias = Literal["cohort", "fold"]
LesionKey: TypeAlias = tuple[str, str, str]
"""Patient, visit and lesion."""


class CodebookError(ValueError):
    """A codebook cannot be fitted, or may not be used for what it is asked for."""


@dataclass(frozen=True)
class LocalFeatures:
    """A lesion at 1 mm: the voxels that count, and their local features.

    `mask` is in the lesion's box (z, y, x). In the order of its voxels, `values` are HU above the
    visit's base (n), and `features` the local features (n, 2).
    """

    mask: Mask
    values: NDArray[np.float64]
    features: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Voxels that count."""
        return len(self.values)


@dataclass(frozen=True)
class Codebook:
    """Centres of the habitats in HU, ordered by density, and the scale of each local feature.

    `scope` is what the codebook may be used for. `cohort`: fitted on everyone, for description.
    `fold`: fitted on the training patients of a fold, for a model of that fold. `fitted_on` is a
    digest of the patients; it names none.
    """

    version: int
    scope: Scope
    centres: tuple[tuple[float, ...], ...]
    scale: tuple[float, ...]
    clip_hu: float
    seed: int
    n_lesions: int
    n_patients: int
    fitted_on: str

    @property
    def count(self) -> int:
        """Number of habitats."""
        return len(self.centres)

    @property
    def fingerprint(self) -> str:
        """Digest of everything in it."""
        return digest_of(asdict(self))

    @property
    def name(self) -> str:
        """Version and the start of the fingerprint: what a row is labelled with."""
        return f"{self.version}-{self.fingerprint[:12]}"


def localise(image: sitk.Image, mask: Mask, settings: Mapping[str, Any]) -> LocalFeatures | None:
    """Local features of the lesion's voxels at 1 mm.

    None where the mask is empty or no voxel is left after peeling.

    1. Sampled at 1 mm, peeled and eroded as DHI does it (`preparation`), but left in the scan's own
       orientation, so that the maps of several visits can be shown side by side.
    2. density_hu: HU above the median of the voxels that count, smoothed within the mask (Gaussian
       of `smoothing_mm`).
    3. spread_hu: the standard deviation of HU within the mask, weighted by a Gaussian of
       `spread_mm`.

    A mirrored scan gives mirrored features; a constant added to the scan changes nothing.
    """
    check_grid(image, mask, "the mask")
    prepared = _prepare(image, mask, settings)
    box = bounding_box(prepared.mask) if prepared else None
    if prepared is None or box is None:
        return None
    part = grow_box(box, 1, prepared.mask.shape)
    inside, volume = prepared.mask[part], prepared.volume[part]
    values = volume[inside]
    centred = np.where(inside, volume - np.median(values), 0.0)
    spacing = settings.get("spacing_mm", 1.0)
    smooth = _mean_within(centred, inside, settings["smoothing_mm"] / spacing)
    mean, square = (
        _mean_within(field, inside, settings["spread_mm"] / spacing)
        for field in (centred, centred**2)
    )
    spread = np.sqrt(np.clip(square - mean**2, 0.0, None))
    return LocalFeatures(inside, values, np.round(np.stack([smooth, spread], axis=1), DECIMALS))


def _prepare(image: sitk.Image, mask: Mask, settings: Mapping[str, Any]) -> Prepared | None:
    box = bounding_box(mask)
    if box is None:
        return None
    spacing = spacing_zyx(image)
    outer = tuple(
        grow_box((part,) * 3, int(np.ceil(CROP_MARGIN_MM / mm)), (n,) * 3)[0]
        for part, mm, n in zip(box, spacing, mask.shape, strict=True)
    )
    values = scan_part(image, outer).astype(np.float64)
    base = float(np.floor(np.median(values[mask[outer]])))
    coefficients = (
        spline_filter(values - base, SPLINE_ORDER, mode="mirror")
        if min(values.shape) > 1
        else values - base
    )
    return prepare_visit(
        ImageVisit(
            values - base, coefficients, np.ascontiguousarray(mask[outer]), spacing, base, 0
        ),
        settings,
    )


def _mean_within(field: NDArray[np.float64], mask: Mask, sigma: float) -> NDArray[np.float64]:
    """Gaussian mean of the voxels in the mask, at each of them."""
    weight = gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    return np.asarray(
        gaussian_filter(np.where(mask, field, 0.0), sigma, mode="constant")[mask] / weight[mask]
    )


def fit_codebook(
    samples: Mapping[LesionKey, LocalFeatures], settings: Mapping[str, Any], seed: int, scope: Scope
) -> Codebook:
    """Fit the habitats on the given lesions alone.

    1. Of each lesion and visit at most `voxels_per_lesion` voxels, so that large lesions do not
       decide alone.
    2. Local features clipped to ± `clip_hu` and divided by their standard deviation over the
       sample.
    3. k-means with `count` centres, the best of ten starts; the centres ordered by density.

    The order of the samples does not matter.

    Raises
    ------
    CodebookError
        Where there are fewer lesions than `lesions_minimum`, or fewer different voxels than
        habitats.
    """
    if len(samples) < settings["lesions_minimum"]:
        raise CodebookError(
            f"{len(samples)} lesions and visits of at least {settings['lesions_minimum']}"
        )
    rng, drawn = np.random.default_rng(seed), []
    for key in sorted(samples):
        features = samples[key].features
        drawn.append(features[rng.permutation(len(features))[: settings["voxels_per_lesion"]]])
    points = np.clip(np.concatenate(drawn), -settings["clip_hu"], settings["clip_hu"])
    patients = sorted({patient for patient, _, _ in samples})
    return codebook_of_points(
        points, None, settings, seed, scope, (len(samples), len(patients), patients)
    )


def codebook_of_points(
    points: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    settings: Mapping[str, Any],
    seed: int,
    scope: Scope,
    who: tuple[int, int, list[str]],
) -> Codebook:
    """Steps 2 and 3 of `fit_codebook` on points that are already drawn and clipped.

    `who` is the number of lesions, the number of patients with one, and all patients that the
    codebook is bound to.

    Raises
    ------
    CodebookError
        Fewer different points than habitats.
    """
    if len(np.unique(points, axis=0)) < settings["count"]:
        raise CodebookError(f"fewer different voxels than {settings['count']} habitats")
    deviation = (
        points.std(axis=0)
        if weights is None
        else np.sqrt(
            np.average(
                (points - np.average(points, axis=0, weights=weights)) ** 2, axis=0, weights=weights
            )
        )
    )
    scale = np.round(np.maximum(deviation, 10.0**-CENTRE_DECIMALS), CENTRE_DECIMALS)
    centres = np.round(
        _centres(points / scale, weights, settings["count"], seed) * scale, CENTRE_DECIMALS
    )
    return Codebook(
        settings["version"],
        scope,
        tuple(tuple(map(float, c)) for c in centres[np.lexsort((centres[:, 1], centres[:, 0]))]),
        tuple(map(float, scale)),
        float(settings["clip_hu"]),
        seed,
        who[0],
        who[1],
        digest_of(who[2]),
    )


def _centres(
    points: NDArray[np.float64], weights: NDArray[np.float64] | None, count: int, seed: int
) -> NDArray[np.float64]:
    """Centres by k-means, in one thread.

    The points are few, and threads that wait for one another on a busy machine cost more than they
    save.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return np.asarray(
            KMeans(count, n_init=STARTS, random_state=seed)
            .fit(points, sample_weight=weights)
            .cluster_centers_
        )


def check_fold(codebook: Codebook, patients: Collection[str]) -> None:
    """Let a model use a codebook only where it was fitted on exactly its training patients.

    Raises
    ------
    CodebookError
        Where it describes the cohort, or was fitted on other patients.
    """
    if codebook.scope != "fold":
        raise CodebookError(
            "this codebook was fitted on the whole cohort, for description; "
            "fit one on the fold's training patients"
        )
    if codebook.fitted_on != digest_of(sorted(set(patients))):
        raise CodebookError(
            "this codebook was fitted on other patients than the fold's training patients; "
            "fit it on those"
        )


def assign_habitats(local: LocalFeatures, codebook: Codebook) -> NDArray[np.uint8]:
    """Habitat 1, 2, … of each voxel in the lesion's box, 0 outside.

    The nearest centre; of equally near ones the less dense.
    """
    codes = np.zeros(local.mask.shape, dtype=np.uint8)
    codes[local.mask] = nearest_habitats(local.features, codebook) + 1
    return codes


def nearest_habitats(features: NDArray[np.float64], codebook: Codebook) -> NDArray[np.intp]:
    """Index of the nearest centre of each row of local features (n, 2).

    Of equally near ones the less dense.
    """
    points = np.clip(features, -codebook.clip_hu, codebook.clip_hu) / np.array(codebook.scale)
    centres = np.array(codebook.centres) / np.array(codebook.scale)
    distances = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
    return np.asarray(distances.argmin(axis=1))


def write_codebook(file: Path, codebook: Codebook) -> None:
    """Write it whole or not at all."""
    write_whole(
        file,
        json.dumps({**asdict(codebook), "fingerprint": codebook.fingerprint}, indent=1).encode(),
    )


def read_codebook(file: Path) -> Codebook:
    """Read what `write_codebook` wrote.

    Raises
    ------
    CodebookError
        Where the file does not hold what its fingerprint says.
    """
    found = json.loads(file.read_text(encoding="utf-8"))
    stated = found.pop("fingerprint")
    codebook = Codebook(
        **found | {"centres": tuple(map(tuple, found["centres"])), "scale": tuple(found["scale"])}
    )
    if codebook.fingerprint != stated:
        raise CodebookError(
            f"{file.name} was changed after it was fitted; remove it, and it is fitted anew"
        )
    return codebook
