"""Fits dhi_calibration.toml on synthetic lesions.

The file holds which texture features are used, their repeatability, and the limits for small
cohorts. `python -m dagster_project.radiomics.calibration_fit` writes it again (about five minutes
on one core); a fixed seed gives the same file. Nothing here runs in the flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.dhi import compare_lesion
from dagster_project.radiomics.dhi_limits_fit import (
    COMPONENTS,
    fit_floor,
    fit_limits,
    held_back_ratios,
    null_scale,
)
from dagster_project.radiomics.phantoms import Lesion, draw_lesion, scan_lesion
from dagster_project.radiomics.preparation import crop_visit, keep_deepest, prepare_visit
from dagster_project.radiomics.pyradiomics_engine import TEXTURE_CLASSES, class_feature_names
from dagster_project.radiomics.texture import DEFAULTS, signed_log, texture_values
from dagster_project.study import load_study

Values = NDArray[np.float64]

N_LESIONS = 90
FIRST_SEED = 1000
VOLUMES_ML = (1.4, 50.0)
READER_MM = 0.7
"""RMS error of each simulated reader: two of them differ by 1.0 mm, the protocol's `contour_mm`."""

LARGEST_NUMBER = 12
READER_ICC = 0.6
LARGEST_VOLUME_CORRELATION = 0.6
LARGEST_CORRELATION = 0.85

HISTOGRAM_FEATURES = frozenset({
    "gldm_GrayLevelNonUniformity", "gldm_GrayLevelVariance", "gldm_LowGrayLevelEmphasis",
    "gldm_HighGrayLevelEmphasis",
})  # fmt: skip
"""First order under another name: they are based on the gray levels' histogram alone."""

HEAD = (
    "# DHI: the texture features, their repeatability, and the limits and nulls "
    "that stand in for a cohort's own.\n"
    "# Written by `python -m dagster_project.radiomics.calibration_fit`; do not edit. "
    "No patient's data are in it.\n"
    "# Provenance: {n} synthetic lesions of {low} to {high} ml (phantoms.py, seeds {first} to "
    "{last}), each scanned three times with a new\n"
    "# position, new noise and a new outline ({reader} mm RMS), and outlined twice on its first "
    "scan; study.toml [dhi] of protocol {digest}.\n"
    "# Texture: of the features of the texture classes without the histogram's own and without any "
    "named Energy, in order of their\n"
    "# repeat ICC(1,1), those with reader ICC >= {icc}, |Spearman rho with ln V| <= {rho} and "
    "pairwise |r| < {r}; at most {most}.\n"
    "# Repeatability: ln sd = intercept + slope ln(voxels) of sgn(f) ln(1 + |f| / scale) "
    "over the three scans.\n"
    "# Limits: 95th percentile of held-back repeats (calibration.py) "
    "between first and second scan.\n"
    "# Floor: what first and second scan of the larger half differ by beyond the null of their "
    "copies (calibration.py).\n"
    "# Fallback: ln s = intercept + slope ln(volume in mm3), "
    "for a lesion of which no copies can be made.\n"
)


@dataclass(frozen=True)
class Repeats:
    """Feature values of repeated scans, and of two readers on one scan.

    `scans` is (lesions × scans × features), `readers` the same with the readers' outlines in place
    of scans; `voxels` is the number compared per lesion.
    """

    names: tuple[str, ...]
    scans: Values
    readers: Values
    voxels: Values


def synthetic_lesions() -> Iterator[Lesion]:
    """The lesions of the fit, their volumes evenly spaced on a log scale and shuffled."""
    volumes = np.geomspace(*VOLUMES_ML, N_LESIONS)
    np.random.default_rng(FIRST_SEED).shuffle(volumes)
    for i, volume in enumerate(volumes):
        yield draw_lesion(FIRST_SEED + i, float(volume))


def measure_repeats(settings: Mapping[str, Any]) -> Repeats:
    """Texture features of each lesion's three scans, and of the second outline on the first."""
    names = tuple(
        f"{c}_{f}"
        for c in TEXTURE_CLASSES
        for f in class_feature_names(c)
        if f"{c}_{f}" not in HISTOGRAM_FEATURES
    )
    rows, voxels = [], []
    for lesion in synthetic_lesions():
        scans = [
            scan_lesion(lesion, repeat, reader=reader, reader_mm=READER_MM)
            for repeat, reader in ((0, 1), (1, 1), (2, 1), (0, 2))
        ]
        visits = (crop_visit(s.image, s.mask) for s in scans)
        prepared = [prepare_visit(visit, settings) for visit in visits if visit is not None]
        n = min(p.count for p in prepared)
        if n >= settings["minimum_voxels"]:
            rows.append([texture_values(keep_deepest(p, n), names, settings) for p in prepared])
            voxels.append(n)
    values = np.array(rows)
    return Repeats(names, values[:, :3], values[:, [0, 3]], np.array(voxels, dtype=float))


def select_features(repeats: Repeats) -> list[int]:
    """The features that the head of the file describes, as positions in `repeats.names`.

    The most repeatable come first.
    """
    scale = feature_scales(repeats)
    scans, readers = signed_log(repeats.scans, scale), signed_log(repeats.readers, scale)
    order = sorted(range(len(repeats.names)), key=lambda j: -_icc(scans[:, :, j]))
    chosen: list[int] = []
    for j in order:
        apart = all(
            abs(np.corrcoef(scans[:, 0, j], scans[:, 0, k])[0, 1]) < LARGEST_CORRELATION
            for k in chosen
        )
        if (
            len(chosen) < LARGEST_NUMBER
            and apart
            and _admissible(repeats, j, scans[:, :, j], readers[:, :, j])
        ):
            chosen.append(j)
    return chosen


def feature_scales(repeats: Repeats) -> Values:
    """Median of |f| over all scans: where its signed log turns from linear to logarithmic."""
    return np.median(np.abs(repeats.scans), axis=(0, 1))


def fit_repeatability(repeats: Repeats, j: int) -> tuple[float, float]:
    """Intercept and slope of ln sd over ln(voxels), sd between a lesion's scans."""
    scans = signed_log(repeats.scans[:, :, j], feature_scales(repeats)[j])
    slope, intercept = np.polyfit(np.log(repeats.voxels), np.log(scans.std(axis=1, ddof=1)), 1)
    return float(intercept), float(slope)


def compare_repeats(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """First against second scan of every lesion."""
    pairs = []
    for lesion in synthetic_lesions():
        first, second = (scan_lesion(lesion, repeat, reader_mm=READER_MM) for repeat in (0, 1))
        pairs.append(
            compare_lesion(
                first.image,
                first.mask,
                second.image,
                second.mask,
                contour_mm=None,
                settings=settings,
            )
        )
    return [pair for pair in pairs if pair["reason"] is None]


def write_texture(repeats: Repeats, chosen: Sequence[int]) -> str:
    """The file's [texture] section."""
    scale = feature_scales(repeats)
    lines = ["[texture]", f"voxels = [{repeats.voxels.min():.0f}, {repeats.voxels.max():.0f}]"]
    for j in chosen:
        intercept, slope = fit_repeatability(repeats, j)
        lines += [
            "",
            "[[texture.features]]",
            f'name = "{repeats.names[j]}"',
            f"scale = {scale[j]:.6g}",
        ]
        lines += [f"intercept = {intercept:.4f}", f"slope = {slope:.4f}"]
    return "\n".join(lines) + "\n"


def write_limits(pairs: Sequence[Mapping[str, Any]], quantile: float) -> str:
    """The file's [limits], [floor] and [fallback] sections."""
    ratios = [
        np.stack([held_back_ratios(p[f"null_{c}_a"], p[f"null_{c}_b"]) for c in COMPONENTS], axis=1)
        for p in pairs
    ]
    limits = fit_limits(ratios, quantile, len(pairs))
    volumes = np.array([(p["volume_a_mm3"] + p["volume_b_mm3"]) / 2 for p in pairs])
    lines = [
        "[limits]",
        f"quantile = {quantile}",
        *(f"{c} = {q:.4f}" for c, q in zip(COMPONENTS, limits.components, strict=True)),
    ]
    lines += [
        f"combined = {limits.combined:.4f}",
        "",
        "[floor]",
        *(f"{c} = {_floor(pairs, c, volumes):.4f}" for c in COMPONENTS),
        "",
        "[fallback]",
        f"volume_mm3 = [{volumes.min():.0f}.0, {volumes.max():.0f}.0]",
    ]
    for c in COMPONENTS:
        scales = _scales(pairs, c)
        slope, intercept = np.polyfit(np.log(volumes), np.log(scales), 1)
        lines += ["", f"[fallback.{c}]", f"intercept = {intercept:.4f}", f"slope = {slope:.4f}"]
    return "\n".join(lines) + "\n"


def _scales(pairs: Sequence[Mapping[str, Any]], component: str) -> Values:
    return np.array(
        [null_scale(p[f"null_{component}_a"], p[f"null_{component}_b"]) for p in pairs], dtype=float
    )


def _floor(pairs: Sequence[Mapping[str, Any]], component: str, volumes: Values) -> float:
    return fit_floor(
        [p[component] for p in pairs], _scales(pairs, component).tolist(), volumes.tolist()
    )


def main() -> None:
    """Write the file: the texture features first, since the limits depend on them.

    Until the new limits are known, the file holds the old ones.
    """
    study = load_study()
    settings = study.section("dhi")
    repeats = measure_repeats(settings)
    head = HEAD.format(
        n=N_LESIONS, low=VOLUMES_ML[0], high=VOLUMES_ML[1], first=FIRST_SEED,
        last=FIRST_SEED + N_LESIONS - 1, reader=READER_MM, digest=study.section_digest("dhi"),
        icc=READER_ICC, rho=LARGEST_VOLUME_CORRELATION, r=LARGEST_CORRELATION, most=LARGEST_NUMBER,
    )  # fmt: skip
    texture = write_texture(repeats, select_features(repeats))
    old = DEFAULTS.read_text(encoding="utf-8").partition("[limits]")[2]
    DEFAULTS.write_text(f"{head}\n{texture}\n[limits]{old}", encoding="utf-8")
    DEFAULTS.write_text(
        f"{head}\n{texture}\n{write_limits(compare_repeats(settings), settings['quantile'])}",
        encoding="utf-8",
    )


def _admissible(repeats: Repeats, j: int, scans: Values, readers: Values) -> bool:
    from scipy.stats import spearmanr

    if "Energy" in repeats.names[j] or not np.isfinite(scans).all() or scans.std() == 0:
        return False
    rho = spearmanr(scans.mean(axis=1), repeats.voxels).statistic
    return _icc(readers) >= READER_ICC and abs(rho) <= LARGEST_VOLUME_CORRELATION


def _icc(values: Values) -> float:
    """ICC(1,1) of lesions (rows) over repeats (columns); −1 for a missing value or no variation."""
    n, k = values.shape
    means = values.mean(axis=1, keepdims=True)
    between = k * float(((means - values.mean()) ** 2).sum()) / (n - 1)
    within = float(((values - means) ** 2).sum()) / (n * (k - 1))
    total = between + (k - 1) * within
    return (between - within) / total if np.isfinite(total) and total > 0 else -1.0


if __name__ == "__main__":
    main()
