"""Whether outlines of two visits lie where their labels say.

The result is a proposal for a person, never applied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Kind = Literal["label_swapped", "split", "merged", "new", "vanished"]


@dataclass(frozen=True)
class Spot:
    """A lesion's outline: label, centroid in patient coordinates (mm) and longest diameter (mm)."""

    label: str
    centroid: tuple[float, float, float]
    diameter_mm: float


@dataclass(frozen=True)
class Proposal:
    """What the places of outlines suggest about their labels."""

    kind: Kind
    from_lesions: tuple[str, ...]
    to_lesions: tuple[str, ...]
    distance_mm: float | None


def propose_identities(
    before: Sequence[Spot], after: Sequence[Spot], move: Floats
) -> list[Proposal]:
    """Compare places with labels, once the earlier scan is moved onto the later one.

    1. A lesion of one visit is near one of the other where their centroids lie closer than half the
       sum of the two diameters, so that spheres of that size would touch.
    2. One earlier lesion near several later ones that bear other labels, none of which was there
       before: `split`.
    3. Several earlier ones near one later, where their own labels are gone: `merged`.
    4. An outline whose nearest earlier lesion bears another label, though its own label is there
       too or not at all: `label_swapped`.
    5. A later outline near nothing whose label was not there before: `new`. An earlier one near
       nothing whose label is gone: `vanished`.
    6. Where place and label agree nothing is proposed.

    Parameters
    ----------
    move
        (4, 4): from coordinates of the earlier scan to those of the later.
    """
    distances = ((a, b, _distance(a, b, move)) for a in before for b in after)
    near = {
        (a.label, b.label): d for a, b, d in distances if d <= (a.diameter_mm + b.diameter_mm) / 2
    }
    to: dict[str, list[str]] = defaultdict(list)
    back: dict[str, list[str]] = defaultdict(list)
    for a, b in sorted(near, key=near.__getitem__):
        to[a].append(b)
        back[b].append(a)
    old, now = {a.label for a in before}, {b.label for b in after}
    splits = [
        Proposal("split", (a,), tuple(sorted(of)), near[a, of[0]])
        for a, of in sorted(to.items())
        if len(of) > 1 and set(of) - old == set(of) - {a}
    ]
    merges = [
        Proposal("merged", tuple(sorted(of)), (b,), near[of[0], b])
        for b, of in sorted(back.items())
        if len(of) > 1 and not (set(of) & now) - {b}
    ]
    reported = {b for p in splits for b in p.to_lesions} | {p.to_lesions[0] for p in merges}
    swapped = [
        Proposal("label_swapped", (of[0],), (b,), near[of[0], b])
        for b, of in sorted(back.items())
        if b not in reported and of[0] != b
    ]
    alone = [Proposal("new", (), (b,), None) for b in sorted(now - old - set(back))]
    gone = [Proposal("vanished", (a,), (), None) for a in sorted(old - now - set(to))]
    return [*splits, *merges, *swapped, *alone, *gone]


def _distance(a: Spot, b: Spot, move: Floats) -> float:
    moved = (move @ np.array([*a.centroid, 1.0]))[:3]
    return float(np.linalg.norm(moved - np.array(b.centroid)))


def spots_of(reads: Sequence[Mapping[str, object]]) -> list[Spot]:
    """Outlined lesions of one reader at one visit."""
    return [
        Spot(
            str(r["lesion"]),
            (float(r["centroid_x_mm"]), float(r["centroid_y_mm"]), float(r["centroid_z_mm"])),  # type: ignore[arg-type]
            float(r["longest_diameter_mm"]),  # type: ignore[arg-type]
        )
        for r in reads
        if r["centroid_x_mm"] is not None and r["longest_diameter_mm"] is not None
    ]
