"""Which slices of a series make one volume: never slices of two acquisitions or reconstructions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dagster_project.domain.imaging.headers import element_name, number, raw_value
from dagster_project.domain.imaging.slices import Floats, SeriesError, Slice

DUPLICATE_MM = 0.01
"""Slices closer than this lie at one position."""

HOLE = 1.5
"""A gap of so many spacings or more is a hole that another acquisition may fill."""

LARGEST_REPEAT = 0.5
"""Share of the volume's slices up to which another acquisition is a partial repeat."""

FEWEST_ALTERNATING = 12
"""Slices from which an alternation is no accident."""

ALTERNATING_SHARE = 0.9
"""Share of neighbours that have to differ, now up and now down, for a series to alternate."""

LEVEL_RATIO = 1.3
"""Tube current modulated along z changes less from one slice to the next, noise likewise."""

ONE_KIND = ("ConvolutionKernel", "KVP", "PatientPosition")
"""What one reconstruction has one value of; a slice that lacks it has that of the others."""

OF_AN_ACQUISITION = ("AcquisitionNumber", "ImageType", "SliceThickness", "ContrastBolusAgent")
"""What may change between two table steps; acquisitions are distinguished by it."""

EXPOSURE = ("XRayTubeCurrent", "Exposure", "ExposureTime", "CTDIvol")
"""Modulated from slice to slice; two acquisitions show where it alternates."""

SEVERAL_VOLUMES = "several volumes in one series, told apart by {}; send each as its own series"
NONE_SPANS = (
    "acquisitions overlap with different images and none spans the scan, {}; "
    "send each as its own series"
)
SEVERAL_IMAGES = (
    "different images at one position, (0020,0032) ImagePositionPatient, "
    "and nothing tells which were acquired together; send each acquisition as its own series, "
    "as the scanner made it"
)
MIXED = "slices differ in {}: several reconstructions in one series; send each as its own series"
ALTERNATES = "slices alternate in {}: two acquisitions in one series; send each as its own series"
NOISE = "the noise of the pixels"


@dataclass(frozen=True)
class Chosen:
    """The slices of one volume by position, and how many of the series are not among them.

    `n_duplicates` counts all of these, `n_repeated` those of another acquisition.
    `uids` are the SOPInstanceUIDs whose pixels the volume holds, copies included; an outline that
    names another slice of the series was drawn on pixels that are not here.
    """

    slices: list[Slice]
    n_duplicates: int
    n_repeated: int
    uids: frozenset[str]


def choose_volume(slices: Sequence[Slice], normal: Floats) -> Chosen:
    """The slices of one series that make one volume.

    1. Of slices at one position with the same pixels the first by acquisition and instance number
       is used.
    2. Slices that differ in `ONE_KIND` or `OF_AN_ACQUISITION` are of different acquisitions. Where
       these do not differ but one position has different images, or positions alternate between two
       runs of instance numbers, a run is an acquisition; refused where no run is whole.
    3. Acquisitions that follow each other along the normal, or fill each other's holes, are one
       volume. Of those that lie within each other the larger is used whole, then the first;
       the other is a repeat and none of it is used.
    4. Refused: a repeat that reaches beyond the volume (neither is whole), or that is more than
       `LARGEST_REPEAT` of it (two volumes: phases, kernels).
    5. Refused: a volume with two kernels, tube voltages or patient positions, or whose exposure or
       noise alternates from slice to slice.

    Parameters
    ----------
    normal
        Unit normal of the slices.

    Raises
    ------
    SeriesError
        Where the slices are not one volume.
    """
    ordered = _by_position(slices, normal)
    once, copies = _without_copies(ordered, normal)
    used, repeats = _without_repeats(_acquisitions(once, normal), normal)
    if repeats:
        _refuse_two_volumes(used, repeats, normal)
    volume = _by_position([s for group in used for s in group], normal)
    _refuse_mixture(volume)
    inside = {s.uid for s in volume}
    return Chosen(
        volume,
        len(slices) - len(volume),
        sum(map(len, repeats)),
        frozenset(inside | {copy.uid for copy, of in copies if of.uid in inside}),
    )


def _heights(slices: Sequence[Slice], normal: Floats) -> Floats:
    return np.array([float(s.corner @ normal) for s in slices])


def _by_position(slices: Sequence[Slice], normal: Floats) -> list[Slice]:
    """Slices along the normal, those of one position by acquisition and instance number."""
    heights = _heights(slices, normal)
    along = np.argsort(heights, kind="stable")
    places = np.zeros(len(slices), int)
    places[along[1:]] = np.cumsum(np.diff(heights[along]) > DUPLICATE_MM)
    order = sorted(range(len(slices)), key=lambda k: (places[k], slices[k].order))
    return [slices[k] for k in order]


def _same_place(a: Slice, b: Slice, normal: Floats) -> bool:
    return abs(float((a.corner - b.corner) @ normal)) <= DUPLICATE_MM


def _without_copies(
    ordered: Sequence[Slice], normal: Floats
) -> tuple[list[Slice], list[tuple[Slice, Slice]]]:
    """Slices without those whose pixels an earlier one of their position has, and the latter."""
    once: list[Slice] = []
    copies = []
    here: list[Slice] = []
    for one in ordered:
        if here and not _same_place(one, here[0], normal):
            here = []
        first = next((s for s in here if np.array_equal(s.hu, one.hu)), None)
        if first is None:
            here.append(one)
            once.append(one)
        else:
            copies.append((one, first))
    return once, copies


def _acquisitions(slices: Sequence[Slice], normal: Floats) -> list[list[Slice]]:
    """Slices grouped by what distinguishes acquisitions.

    They are grouped by runs where that alone leaves several slices at one place.
    """
    groups = _grouped(slices, _labels(slices))
    if len(groups) > max(2, len(slices) / 5) and _is_crowded(slices, normal):
        # AcquisitionNumber counts rotations, not acquisitions.
        return _told_by_runs(sorted(slices, key=lambda s: s.order), normal)
    return [part for group in groups for part in _parts(group, normal)]


def _grouped(slices: Sequence[Slice], labels: Sequence[Hashable]) -> list[list[Slice]]:
    groups: dict[Hashable, list[Slice]] = {}
    for one, label in zip(slices, labels, strict=True):
        groups.setdefault(label, []).append(one)
    return list(groups.values())


def _labels(slices: Sequence[Slice]) -> list[tuple[Hashable, ...]]:
    columns = [_values(slices, keyword) for keyword in (*ONE_KIND, *OF_AN_ACQUISITION)]
    return list(zip(*columns, strict=True))


def _values(slices: Sequence[Slice], keyword: str) -> list[Hashable]:
    """The element of each slice in one spelling; of a missing one, that of the others.

    A missing ContrastBolusAgent stays one: it means a scan without contrast.
    """
    raw = [raw_value(s.dataset, keyword) for s in slices]
    spelling = {value: _plain(value) for value in set(raw)}
    known = set(spelling.values()) - {None}
    if len(known) == 1 and keyword != "ContrastBolusAgent":
        return [known.pop()] * len(slices)
    return [spelling[value] for value in raw]


def _plain(value: str | None) -> Hashable:
    if value is None:
        return None
    try:
        return round(float(value), 2)
    except ValueError:
        return " ".join(value.upper().split())


def _is_crowded(slices: Sequence[Slice], normal: Floats) -> bool:
    """Whether several slices lie at one position; for slices in order of position."""
    return any(_same_place(a, b, normal) for a, b in pairwise(slices))


def _parts(group: list[Slice], normal: Floats) -> list[list[Slice]]:
    acquired = sorted(group, key=lambda s: s.order[1:])
    if _is_crowded(group, normal):
        return _told_by_runs(acquired, normal)
    runs = _runs(acquired, normal)
    return runs if _interleaved(group, runs) else [group]


def _told_by_runs(acquired: Sequence[Slice], normal: Floats) -> list[list[Slice]]:
    """Runs of slices of which several lie at one position; one run has a slice at each of them.

    Otherwise numbers do not show which slices were acquired together.
    """
    runs = _runs(acquired, normal)
    heights = np.sort(_heights(acquired, normal))
    n_positions = 1 + int((np.diff(heights) > DUPLICATE_MM).sum())
    if n_positions == 1 or max(map(len, runs)) < n_positions:
        raise SeriesError(SEVERAL_IMAGES)
    return runs


def _runs(acquired: Sequence[Slice], normal: Floats) -> list[list[Slice]]:
    """Slices in the order of their acquisition, cut where the way along z turns back."""
    steps = np.diff(_heights(acquired, normal))
    ways = [*np.where(np.abs(steps) > DUPLICATE_MM, np.sign(steps), 0.0)]
    runs, way = [[acquired[0]]], 0.0
    for k, one in enumerate(acquired[1:]):
        # The first step of a run is no way yet where the next one turns: a lone slice before a
        # scan.
        follows = ways[k] == way if way else ways[k] == ways[min(k + 1, len(ways) - 1)]
        way = ways[k] if follows else 0.0
        if not way:
            runs.append([])
        runs[-1].append(one)
    return runs


def _interleaved(group: Sequence[Slice], runs: Sequence[Sequence[Slice]]) -> bool:
    """Whether two or three runs of about one length lie between each other from end to end."""
    sizes = [len(run) for run in runs]
    if len(runs) > 3 or len(group) < FEWEST_ALTERNATING or max(sizes) - min(sizes) > 2:
        return False
    run_of = {id(s): n for n, run in enumerate(runs) for s in run}
    changes = sum(run_of[id(a)] != run_of[id(b)] for a, b in pairwise(group))
    return changes >= ALTERNATING_SHARE * (len(group) - 1)


Groups = list[list[Slice]]


def _without_repeats(groups: Groups, normal: Floats) -> tuple[Groups, Groups]:
    """Acquisitions that do not lie within each other, and their repeats."""
    used: Groups = []
    repeats: Groups = []
    placed: list[Floats] = []
    for group in sorted(groups, key=lambda g: (-len(g), min(s.order for s in g))):
        heights = np.sort(_heights(group, normal))
        within = any(_within(heights, other) or _within(other, heights) for other in placed)
        (repeats if within else used).append(group)
        if not within:
            placed.append(heights)
    return used, repeats


def _within(inner: Floats, outer: Floats) -> bool:
    """Whether a slice lies at one of the others, or between two that no hole parts."""
    after = np.searchsorted(outer, inner)
    below, above = outer[np.maximum(after - 1, 0)], outer[np.minimum(after, outer.size - 1)]
    same = np.minimum(np.abs(inner - below), np.abs(inner - above)) <= DUPLICATE_MM
    if outer.size < 2:
        return bool(same.any())
    hole = HOLE * float(np.median(np.diff(outer)))
    between = (after > 0) & (after < outer.size) & (above - below < hole)
    return bool((same | between).any())


def _refuse_two_volumes(used: Groups, repeats: Groups, normal: Floats) -> None:
    volume, others = [s for g in used for s in g], [s for g in repeats for s in g]
    told_apart = _told_apart(volume, others)
    what = element_name(told_apart or "InstanceNumber")
    inside, beyond = (np.sort(_heights(g, normal)) for g in (volume, others))
    spacing = float(np.median(np.diff(inside))) if inside.size > 1 else 0.0
    if beyond[0] < inside[0] - spacing or beyond[-1] > inside[-1] + spacing:
        raise SeriesError(NONE_SPANS.format(what))
    if len(others) > LARGEST_REPEAT * len(volume):
        raise SeriesError(SEVERAL_VOLUMES.format(what))


def _told_apart(volume: Sequence[Slice], others: Sequence[Slice]) -> str | None:
    """What the volume has one value of and the others another, or None."""
    both = [*volume, *others]
    for keyword in (*ONE_KIND, *reversed(OF_AN_ACQUISITION)):
        values = _values(both, keyword)
        if set(values[: len(volume)]).isdisjoint(values[len(volume) :]):
            return keyword
    return None


def _refuse_mixture(volume: Sequence[Slice]) -> None:
    for keyword in ONE_KIND:
        if len(set(_values(volume, keyword))) > 1:
            raise SeriesError(MIXED.format(element_name(keyword)))
    for keyword in EXPOSURE:
        values = {raw_value(s.dataset, keyword) for s in volume}
        if len(values) > 1 and _alternates([number(s.dataset, keyword) for s in volume]):
            raise SeriesError(ALTERNATES.format(element_name(keyword)))
    if _alternates([_noise_level(s) for s in volume]):
        raise SeriesError(ALTERNATES.format(NOISE))


def _alternates(levels: Sequence[float | None]) -> bool:
    """Whether a level jumps by `LEVEL_RATIO` from nearly every slice to the next, up and down."""
    known = [level for level in levels if level is not None and level > 0]
    if len(known) < max(len(levels), FEWEST_ALTERNATING):
        return False
    jumps = np.diff(np.log(np.array(known)))
    far = np.abs(jumps) >= np.log(LEVEL_RATIO)
    back = jumps[:-1] * jumps[1:] < 0
    return bool(far.mean() >= ALTERNATING_SHARE and back.mean() >= ALTERNATING_SHARE)


def _noise_level(one: Slice) -> float:
    """Mean absolute second difference of neighbouring pixels in every 32nd row, in HU."""
    rows: npt.NDArray[np.int32] = one.hu[::32].astype(np.int32)
    return float(np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]).mean())
