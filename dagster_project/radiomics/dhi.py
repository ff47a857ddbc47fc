"""The Dynamic Heterogeneity Index (DHI).

It measures whether a lesion's inner structure has changed by more than a repeat scan would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import SimpleITK as sitk
from numpy.typing import NDArray

from dagster_project.lake.tables import DHI
from dagster_project.radiomics.density import centred_wasserstein, density_change
from dagster_project.radiomics.dhi_limits_fit import (
    COMPONENTS,
    Limits,
    amount_beyond,
    combine,
    fallback_scale,
    fit_limits,
    folds_of,
    held_back_ratios,
    null_scale,
    widen,
)
from dagster_project.radiomics.habitats import cooccurrence, habitat_codes, spatial_change
from dagster_project.radiomics.preparation import (
    ImageVisit,
    Noise,
    Prepared,
    crop_visit,
    estimate_noise,
    keep_deepest,
    match_noise,
    perturb_visit,
    prepare_visit,
)
from dagster_project.radiomics.radial import depth_correlation, radial_change
from dagster_project.radiomics.resampling import Mask
from dagster_project.radiomics.texture import (
    read_defaults,
    texture_change,
    texture_model,
    texture_values,
)

WEIGHTED = (
    *COMPONENTS,
    *(f"u_{c}" for c in COMPONENTS),
    "dhi",
    "dhi_magnitude",
    "delta_median_hu",
    "delta_log_sd",
    "wasserstein_hu",
)
"""Figures of a patient that are means of the lesions', weighted by volume."""

YARDSTICK_MM3 = 10_000.0
"""Volume of the lesion whose repeat error is the unit of `dhi_magnitude`.

A sphere of 27 mm, an ordinary target.
"""

_POLARS: dict[str, pl.DataType] = {
    "string": pl.String(),
    "double": pl.Float64(),
    "int32": pl.Int32(),
    "bool": pl.Boolean(),
}

Settings: TypeAlias = Mapping[str, Any]
Pair: TypeAlias = dict[str, Any]

MASK_MISSING = "no outline at {visit}"
TOO_SMALL = "the lesion is smaller than {volume:g} mm3 at a visit"
TOO_FEW = "fewer than {voxels} voxels remain after peeling at a visit"
NO_NULL = "no copies could be made, and the lesion's volume is outside the fallback's range"
NO_TEXTURE = "no texture feature is defined for this lesion"
NO_LESION = "none of the patient's lesions could be compared"


@dataclass(frozen=True)
class Signature:
    """What the components are computed from: a prepared lesion at the size both visits share."""

    texture: NDArray[np.float64]
    values: NDArray[np.float64]
    arrangement: NDArray[np.float64]
    depth_correlation: float


def compare_lesion(
    image_a: sitk.Image,
    mask_a: Mask | None,
    image_b: sitk.Image,
    mask_b: Mask | None,
    *,
    contour_mm: float | None,
    settings: Settings,
) -> Pair:
    """Texture, density, spatial and radial change of one lesion between two visits.

    Also what each may reach by chance in this lesion.

    1. Each visit is cropped, sampled at 1 mm, peeled and eroded (`preparation`). No outline, a
       volume below `minimum_volume_mm3` or fewer than `minimum_voxels` left: every figure None,
       with the reason.
    2. n is the smaller count of voxels; of the larger visit its n deepest count.
    3. Noise is added to the quieter visit until both are equal.
    4. T (`texture`), D (`density`), S (`habitats`) and R (`radial`) between the visits.
    5. The same between all pairs of `copies` perturbed copies of each visit, and between the larger
       visit and its own n deepest voxels.

    Swapped visits give the same numbers, as do mirrored scans and a constant added to either scan;
    identical visits give 0.

    Parameters
    ----------
    image_a, mask_a, image_b, mask_b
        Full scans in HU and the lesion's masks (z, y, x) at the earlier and the later visit; a mask
        may be None.
    contour_mm
        RMS distance between the two readers' outlines of this lesion; None takes `contour_mm` of
        the settings.
    settings
        study.toml [dhi].

    Returns
    -------
    `texture`, `density`, `spatial`, `radial`; for each component c `null_c_a` and `null_c_b`
    (lists, one distance per pair of copies) and `size_c`; `delta_median_hu`, `delta_log_volume`,
    `delta_log_sd`, `wasserstein_hu`, `n_voxels`, `volume_a_mm3`, `volume_b_mm3`, `reason`.
    """
    visits = [
        None if mask is None else crop_visit(image, mask)
        for image, mask in ((image_a, mask_a), (image_b, mask_b))
    ]
    first, second = visits
    if first is None or second is None:
        return not_compared(
            MASK_MISSING.format(visit="the earlier visit" if first is None else "the later visit")
        )
    prepared = [prepare_visit(first, settings), prepare_visit(second, settings)]
    reason = _why_not(prepared, settings)
    if reason is not None:
        return not_compared(reason) | _volumes(*prepared)
    contour = settings["contour_mm"] if contour_mm is None else contour_mm
    return _compare([first, second], prepared, contour, settings)


def _compare(
    visits: list[ImageVisit], prepared: list[Prepared], contour_mm: float, settings: Settings
) -> Pair:
    n = min(p.count for p in prepared)
    noises = estimate_noise(prepared)
    matched = [
        match_noise(p, own, other, v.seed)
        for p, own, other, v in zip(prepared, noises, noises[::-1], visits, strict=True)
    ]
    first, second = (keep_deepest(p, n) for p in matched)
    found: Pair = dict(
        zip(
            COMPONENTS,
            _changes(_signature(first, settings), _signature(second, settings), n),
            strict=True,
        )
    )
    if np.isnan(found["texture"]):
        return not_compared(NO_TEXTURE) | _volumes(*prepared)
    for side, visit, noise in zip("ab", visits, noises, strict=True):
        found |= _null_of(side, visit, noise, n, contour_mm, settings)
    found |= _size_effect(max(matched, key=lambda p: p.count), n, settings)
    return (
        found | _volumes(*prepared) | _shifts(visits, prepared, n) | {"n_voxels": n, "reason": None}
    )


def _signature(prepared: Prepared, settings: Settings) -> Signature:
    spacing = settings.get("spacing_mm", 1.0)
    values = prepared.volume[prepared.mask]
    centred = np.clip(values - np.median(values), -settings["clip_hu"], settings["clip_hu"])
    codes = habitat_codes(
        prepared.volume,
        prepared.mask,
        settings["habitat_cuts_hu"],
        settings["smoothing_mm"] / spacing,
    )
    return Signature(
        texture_values(prepared, texture_model().names, settings),
        centred,
        cooccurrence(codes, len(settings["habitat_cuts_hu"]) + 2),
        depth_correlation(prepared, settings["clip_hu"]),
    )


def _changes(first: Signature, second: Signature, n: int) -> tuple[float, ...]:
    """T, D, S and R between two signatures, in the order of COMPONENTS."""
    return (
        texture_change(first.texture, second.texture, n, texture_model()),
        density_change(first.values, second.values),
        spatial_change(first.arrangement, second.arrangement),
        radial_change(first.depth_correlation, second.depth_correlation),
    )


def _null_of(
    side: str, visit: ImageVisit, noise: Noise, n: int, contour_mm: float, settings: Settings
) -> Pair:
    """The components between all pairs of a visit's perturbed copies.

    Empty where a copy has too few voxels or no texture.
    """
    copies = [
        perturb_visit(visit, k, noise, contour_mm, settings)
        for k in range(1, settings["copies"] + 1)
    ]
    size = min([n, *(c.count for c in copies)])
    pairs: list[tuple[float, ...]] = []
    if size >= settings["minimum_voxels"] / 2:
        signatures = [_signature(keep_deepest(c, size), settings) for c in copies]
        pairs = [_changes(a, b, n) for a, b in combinations(signatures, 2)]
    if np.isnan(pairs).any():
        pairs = []
    return {f"null_{c}_{side}": [pair[i] for pair in pairs] for i, c in enumerate(COMPONENTS)}


def _size_effect(larger: Prepared, n: int, settings: Settings) -> Pair:
    """The components between the larger visit and its own n deepest voxels.

    This is what a change of size alone does to them.
    """
    if larger.count == n:
        return {f"size_{c}": 0.0 for c in COMPONENTS}
    whole, deep = _signature(larger, settings), _signature(keep_deepest(larger, n), settings)
    return {
        f"size_{c}": change for c, change in zip(COMPONENTS, _changes(whole, deep, n), strict=True)
    }


def _shifts(visits: list[ImageVisit], prepared: list[Prepared], n: int) -> Pair:
    """First-order figures beside the index, on the voxels compared, before noise was matched."""
    first, second = (keep_deepest(p, n) for p in prepared)
    a, b = first.volume[first.mask], second.volume[second.mask]
    return {
        "delta_median_hu": float(np.median(b) - np.median(a))
        + visits[1].base_hu
        - visits[0].base_hu,
        "delta_log_sd": float(np.log(b.std() / a.std())) if a.std() > 0 and b.std() > 0 else None,
        "wasserstein_hu": centred_wasserstein(a, b),
    }


def _volumes(first: Prepared, second: Prepared) -> Pair:
    a, b = first.volume_mm3, second.volume_mm3
    return {
        "volume_a_mm3": a,
        "volume_b_mm3": b,
        "delta_log_volume": float(np.log(b / a)) if a > 0 and b > 0 else None,
    }


def _why_not(prepared: list[Prepared], settings: Settings) -> str | None:
    if min(p.volume_mm3 for p in prepared) < settings["minimum_volume_mm3"]:
        return TOO_SMALL.format(volume=settings["minimum_volume_mm3"])
    if min(p.count for p in prepared) < settings["minimum_voxels"]:
        return TOO_FEW.format(voxels=settings["minimum_voxels"])
    return None


def derive_dhi(pairs: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """DHI of every lesion and patient from the comparisons of the whole cohort.

    1. Limits q_c and q* are the `quantile` of held-back repeats of the cohort's lesions, without
       those of the patient's own fold (`calibration`); with fewer than
       `calibration_lesions_minimum` lesions behind them the shipped limits of synthetic lesions
       stand in, and `calibrated` is false: then DHI > 1 must not be spoken of.
    2. r_c = sqrt(s_c² + (½ e_c)² + f_c²): the lesion's own null, widened by what its change of size
       alone does, and by what two scans of one lesion differ by that copies of one scan do not
       show.
    3. u_c = d_c / (r_c q_c); DHI = sqrt(mean u_c²) / q*.
    4. Amount: sqrt(max(0, mean (d_c² − r_c²) / k_c²)), k_c the repeat error of a synthetic lesion
       of `YARDSTICK_MM3`: no limit of a cohort is in it.
    5. Patient: the mean weighted by the lesions' volume (mean of both visits), the largest DHI, and
       the standard deviation between lesions (NULL for one); the change of ln(volume) is that of
       all volumes together.

    Parameters
    ----------
    pairs
        site, patient, lesion, from_visit, to_visit, the figures of `compare_lesion`, and
        `simulated` where it is known.
    settings
        study.toml [dhi].

    Returns
    -------
    DHI without `input_fingerprint` (and without `simulated` where `pairs` has none).
    """
    columns = [
        name
        for name in DHI.names
        if name != "input_fingerprint" and (name != "simulated" or name in pairs.columns)
    ]
    rows = pairs.sort("site", "patient", "from_visit", "to_visit", "lesion").to_dicts()
    limits = _cross_fit(rows, settings)
    lesions = [_lesion_row(row, limits[row["site"], row["patient"]], settings) for row in rows]
    patients = [
        _patient_row(list(group))
        for _, group in groupby(
            lesions, key=itemgetter("site", "patient", "from_visit", "to_visit")
        )
    ]
    schema = {c.name: _POLARS[c.type] for c in DHI.columns}
    return pl.DataFrame(
        lesions + patients, schema={name: schema[name] for name in columns}, orient="row"
    )


def derive_trajectories(dhi: pl.DataFrame) -> pl.DataFrame:
    """The trajectory through the three visits: its steps, path length and directness.

    The steps are DHI01, DHI12 and DHI02; path length is DHI01 + DHI12, directness DHI02 / path
    length.

    One row per scope and lesion; NULL where a pair of visits is missing, directness also where
    nothing changed at all.
    """
    steps = {"dhi_01": ("T0", "T1"), "dhi_12": ("T1", "T2"), "dhi_02": ("T0", "T2")}
    of_step = [
        pl.col("dhi")
        .filter((pl.col("from_visit") == a) & (pl.col("to_visit") == b))
        .first()
        .alias(name)
        for name, (a, b) in steps.items()
    ]
    return (
        dhi.group_by("site", "patient", "scope", "lesion", maintain_order=True)
        .agg(of_step)
        .with_columns(path_length=pl.col("dhi_01") + pl.col("dhi_12"))
        .with_columns(
            directness=pl.when(pl.col("path_length") > 0).then(
                pl.col("dhi_02") / pl.col("path_length")
            )
        )
    )


def _cross_fit(rows: list[Pair], settings: Settings) -> dict[tuple[str, str], Limits]:
    """Each patient's limits: from the repeats of all lesions outside the patient's fold."""
    folds = folds_of([(row["site"], row["patient"]) for row in rows])
    ratios = [
        np.stack(
            [held_back_ratios(row[f"null_{c}_a"], row[f"null_{c}_b"]) for c in COMPONENTS], axis=1
        )
        for row in rows
    ]
    of_fold = {}
    for fold in set(folds.values()):
        others = [
            i
            for i, row in enumerate(rows)
            if folds[row["site"], row["patient"]] != fold and ratios[i].size
        ]
        n_lesions = len({(rows[i]["site"], rows[i]["patient"], rows[i]["lesion"]) for i in others})
        of_fold[fold] = limits_from([ratios[i] for i in others], n_lesions, settings)
    return {patient: of_fold[fold] for patient, fold in folds.items()}


class OtherQuantile(ValueError):
    """The protocol's quantile is not that of the limits which stand in for a small cohort."""

    def __init__(self, asked: float, shipped: float) -> None:
        super().__init__(
            f"study.toml [dhi] quantile = {asked:g} cannot be used while the cohort is small: "
            f"the limits that stand in for its own are of {shipped:g}. "
            "Write that, or fit them anew: python -m dagster_project.radiomics.calibration_fit"
        )


def limits_from(
    ratios: Sequence[NDArray[np.float64]], n_lesions: int, settings: Settings
) -> Limits:
    """Limits fitted on held-back ratios, or the shipped ones where there are too few lesions.

    Too few is fewer than `calibration_lesions_minimum`.

    Raises
    ------
    OtherQuantile
        The shipped limits are needed, and are of another quantile than the protocol's.
    """
    if n_lesions >= settings["calibration_lesions_minimum"]:
        return fit_limits(ratios, settings["quantile"], n_lesions)
    shipped = read_defaults()["limits"]["quantile"]
    if settings["quantile"] != shipped:
        raise OtherQuantile(settings["quantile"], shipped)
    return shipped_limits()


def shipped_limits() -> Limits:
    """Limits of synthetic lesions, for a cohort that is too small; they hold no patient's data."""
    limits = read_defaults()["limits"]
    return Limits(tuple(limits[c] for c in COMPONENTS), limits["combined"], 0)


def _lesion_row(row: Pair, limits: Limits, settings: Settings) -> Pair:
    scales = None if row["reason"] else scales_of(row)
    units = (
        None
        if scales is None
        else [
            row[c] / (scale * limit)
            for c, scale, limit in zip(COMPONENTS, scales, limits.components, strict=True)
        ]
    )
    found = {
        "scope": "lesion",
        "dhi": None if units is None else combine(units, limits),
        "dhi_magnitude": None
        if scales is None
        else amount_beyond([row[c] for c in COMPONENTS], scales, yardsticks()),
        "calibrated": limits.n_lesions >= settings["calibration_lesions_minimum"],
        "reason": row["reason"] or (NO_NULL if units is None else None),
    }
    return (
        row
        | found
        | dict(zip([f"u_{c}" for c in COMPONENTS], units or (None,) * len(COMPONENTS), strict=True))
    )


def units_of(row: Mapping[str, Any]) -> tuple[float, ...] | None:
    """d_c / r_c of each component.

    None where a null is neither measured nor within the fallback's range.
    """
    scales = scales_of(row)
    return (
        None
        if scales is None
        else tuple(row[c] / scale for c, scale in zip(COMPONENTS, scales, strict=True))
    )


def scales_of(row: Mapping[str, Any]) -> tuple[float, ...] | None:
    """r_c of each component.

    None where a null is neither measured nor within the fallback's range.
    """
    volume, floors = (row["volume_a_mm3"] + row["volume_b_mm3"]) / 2, read_defaults()["floor"]
    scales = []
    for c in COMPONENTS:
        scale = null_scale(row[f"null_{c}_a"], row[f"null_{c}_b"]) or fallback_scale(
            c, volume, read_defaults()["fallback"]
        )
        if scale is None:
            return None
        scales.append(widen(scale, row[f"size_{c}"], floors[c]))
    return tuple(scales)


def yardsticks() -> tuple[float, ...]:
    """k_c of each component; no patient took part in them."""
    scales = [fallback_scale(c, YARDSTICK_MM3, read_defaults()["fallback"]) for c in COMPONENTS]
    return tuple(scale for scale in scales if scale is not None)


def _patient_row(lesions: list[Pair]) -> Pair:
    """One patient's row of a pair of visits: weighted means over the lesions that have a DHI."""
    known = [row for row in lesions if row["dhi"] is not None]
    row: Pair = {
        name: lesions[0][name] for name in ("site", "patient", "from_visit", "to_visit")
    } | {"scope": "patient", "lesion": "*"}
    row["simulated"] = any(lesion.get("simulated", False) for lesion in lesions)
    row["calibrated"] = bool(known) and all(lesion["calibrated"] for lesion in known)
    row["reason"] = None if known else NO_LESION
    return row | (_patient_figures(known) if known else {})


def _patient_figures(lesions: list[Pair]) -> Pair:
    before, after = (sum(row[f"volume_{side}_mm3"] for row in lesions) for side in "ab")
    values = [row["dhi"] for row in lesions]
    figures: Pair = {name: _weighted_mean(lesions, name) for name in WEIGHTED}
    figures["dhi_maximum"] = max(values)
    figures["dhi_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    figures["delta_log_volume"] = float(np.log(after / before))
    figures["n_voxels"] = sum(row["n_voxels"] for row in lesions)
    return figures


def _weighted_mean(lesions: list[Pair], name: str) -> float | None:
    """Mean over the lesions that have the figure, weighted by their volume."""
    known = [
        (row[name], row["volume_a_mm3"] + row["volume_b_mm3"])
        for row in lesions
        if row[name] is not None
    ]
    return (
        float(np.average([v for v, _ in known], weights=[w for _, w in known])) if known else None
    )


def not_compared(reason: str) -> Pair:
    """What `compare_lesion` gives where nothing can be compared."""
    lists: Pair = {f"null_{c}_{side}": [] for c in COMPONENTS for side in "ab"}
    figures = (
        "delta_median_hu",
        "delta_log_volume",
        "delta_log_sd",
        "wasserstein_hu",
        "n_voxels",
        "volume_a_mm3",
        "volume_b_mm3",
    )
    return (
        dict.fromkeys((*COMPONENTS, *(f"size_{c}" for c in COMPONENTS), *figures))
        | lists
        | {"reason": reason}
    )
