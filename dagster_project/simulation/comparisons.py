"""Simulated comparisons of lesions between visits, drawn without an image.

They are what `compare_lesion` would return, with distances that repeats of one scan give too.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.radiomics.dhi import MASK_MISSING, TOO_SMALL, Pair, Settings
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS, fallback_scale
from dagster_project.radiomics.texture import read_defaults

Values = NDArray[np.float64]

VISITS = ("T0", "T1", "T2")

DIMENSIONS = dict(zip(COMPONENTS, (8, 2, 4, 1), strict=True))
"""In how many independent ways two repeats differ.

A component's distance is the root of the sum of their squares, so that its limit is based on them.
"""

CHANGE = 3.0
"""Movement of a lesion from visit to visit for each unit of change, in each component.

It is in root mean square repeat distances.
"""

OWN_CHANGE = 0.35
"""Standard deviation of what a lesion changes beside its patient, in each component."""

SIZE_EFFECT = 0.3
"""Effect of the volume alone on a component, in repeat distances per unit of ln(volume).

A doubling of the volume thus gives ln 2 times as much.
"""

NO_COPIES = 0.02
"""Share of lesions and visits of which no copies could be made.

The fallback's scale replaces their null.
"""

VOXELS = 0.6
"""Share of a lesion's voxels of 1 mm that are left after peeling."""

SHIFTS = {"delta_median_hu": 8.0, "delta_log_sd": 0.1}
"""Standard deviation of the figures beside the index, which carry no information.

`wasserstein_hu` is the size of the first.
"""


def draw_comparisons(
    lesions: pl.DataFrame, change: pl.DataFrame, settings: Settings, rng: np.random.Generator
) -> list[Pair]:
    """Comparisons of all lesions between all pairs of VISITS.

    1. A lesion and visit is a point per component, in DIMENSIONS; it moves along the first of them
       by CHANGE (patient's + own change) repeat distances per visit.
    2. The visit's noise, and that of each of its copies, is normal with the same deviation, such
       that the root mean square distance of two repeats is the fallback's for the lesion's volume,
       with a factor of the lesion's own.
    3. A component is the distance of the two visits' points, its null those of all pairs of copies
       of a visit: without change both are one distribution.
    4. An absent lesion, and one below `minimum_volume_mm3`, is not compared, with the reason that
       `compare_lesion` gives.

    Parameters
    ----------
    lesions
        site, patient, lesion, visit, present and volume_mm3 of each lesion at each visit.
    change
        site, patient, change: by how much a patient's lesions change a visit; its sign is not seen.
    settings
        study.toml [dhi].

    Returns
    -------
    Rows of site, patient, lesion, from_visit, to_visit and simulated, and what `compare_lesion`
    returns.
    """
    volume = pl.when("is_present").then("volume_mm3")
    wide = lesions.with_columns(volume=volume).pivot(
        on="visit", index=["site", "patient", "lesion"], values="volume", maintain_order=True
    )
    wide = wide.join(change, on=["site", "patient"], how="left", maintain_order="left")
    volumes = wide.select(VISITS).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    drawn = {
        c: _draw_component(c, volumes, wide["change"].to_numpy(), settings["copies"], rng)
        for c in COMPONENTS
    }
    copied = rng.random(volumes.shape) >= NO_COPIES
    shifts = {name: rng.normal(0, sd, (len(volumes), len(VISITS))) for name, sd in SHIFTS.items()}
    keys = wide.select("site", "patient", "lesion").to_dicts()
    return [
        {
            **key,
            "from_visit": VISITS[a],
            "to_visit": VISITS[b],
            "simulated": True,
            **_compare(i, (a, b), volumes, drawn, copied, shifts, settings),
        }
        for i, key in enumerate(keys)
        for a, b in combinations(range(len(VISITS)), 2)
    ]


def _draw_component(
    component: str, volumes: Values, change: Values, copies: int, rng: np.random.Generator
) -> tuple[Values, Values, Values]:
    """Points, null distances and repeat distances of one component; NaN without volume.

    Points of the visits (n, visits, k), distances of the copies' pairs (n, visits, pairs), and the
    repeat distance (n, visits).
    """
    k, (n, visits) = DIMENSIONS[component], volumes.shape
    own = np.exp(rng.normal(0, 0.2, (n, 1)))
    fallback = read_defaults()["fallback"]
    low, high = fallback["volume_mm3"]
    repeat = own * np.vectorize(lambda v: fallback_scale(component, v, fallback), otypes=[float])(
        np.clip(np.nan_to_num(volumes, nan=low), low, high)
    )
    noise = repeat / np.sqrt(2 * k)
    points = rng.normal(size=(n, visits, k)) * noise[..., None]
    moved = CHANGE * (change + rng.normal(0, OWN_CHANGE, n)) * repeat[:, 0]
    points[..., 0] += moved[:, None] * np.arange(visits)
    copied = rng.normal(size=(n, visits, copies, k)) * noise[..., None, None]
    first, second = np.array(list(combinations(range(copies), 2))).T
    return points, np.linalg.norm(copied[:, :, first] - copied[:, :, second], axis=-1), repeat


def _compare(
    i: int,
    visits: tuple[int, int],
    volumes: Values,
    drawn: dict[str, tuple[Values, Values, Values]],
    copied: NDArray[np.bool_],
    shifts: dict[str, Values],
    settings: Settings,
) -> Pair:
    """One lesion between two visits, in the columns of `compare_lesion`."""
    a, b = visits
    reason = _why_not(float(volumes[i, a]), float(volumes[i, b]), settings)
    row: Pair = {name: None for c in COMPONENTS for name in (c, f"size_{c}")} | {
        f"null_{c}_{side}": [] for c in COMPONENTS for side in "ab"
    }
    row |= dict.fromkeys((*SHIFTS, "wasserstein_hu", "n_voxels"))
    if reason is None:
        for c, (points, nulls, repeat) in drawn.items():
            row[c] = float(np.linalg.norm(points[i, a] - points[i, b]))
            row[f"size_{c}"] = float(
                SIZE_EFFECT * repeat[i, a] * abs(np.log(volumes[i, b] / volumes[i, a]))
            )
            row |= {
                f"null_{c}_{side}": nulls[i, v].tolist() if copied[i, v] else []
                for side, v in zip("ab", visits, strict=True)
            }
        row |= {name: float(values[i, b] - values[i, a]) for name, values in shifts.items()}
        row |= {
            "wasserstein_hu": abs(row["delta_median_hu"]),
            "n_voxels": int(VOXELS * volumes[i, visits].min()),
        }
    return row | _volumes(float(volumes[i, a]), float(volumes[i, b])) | {"reason": reason}


def _why_not(before: float, after: float, settings: Settings) -> str | None:
    if np.isnan([before, after]).any():
        return MASK_MISSING.format(
            visit="the earlier visit" if np.isnan(before) else "the later visit"
        )
    small = min(before, after) < settings["minimum_volume_mm3"]
    return TOO_SMALL.format(volume=settings["minimum_volume_mm3"]) if small else None


def _volumes(before: float, after: float) -> dict[str, Any]:
    """None where one of the two is unknown, as no outline leaves nothing to compare."""
    known = not np.isnan([before, after]).any()
    names = ("volume_a_mm3", "volume_b_mm3", "delta_log_volume")
    return (
        dict(zip(names, (before, after, float(np.log(after / before))), strict=True))
        if known
        else dict.fromkeys(names)
    )
