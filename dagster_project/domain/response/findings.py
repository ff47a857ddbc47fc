"""What a reader found on a CT, and what it adds to the sum of diameters.

RECIST 1.1 and iRECIST are based on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_project.domain.imaging.labels import MERGED

Rules = Mapping[str, Any]
"""A section of study.toml."""

_FRAGMENT = re.compile(r"^(?P<parent>.*\d)(?:[._-]?[A-Za-z]|[._-]\d+)$")


@dataclass(frozen=True, slots=True)
class Finding:
    """One lesion on one CT as one reader judged it.

    `diameter_mm` is the longest diameter, or the short axis of a node; None where no number could
    be given. A lesion that was looked for and is gone has `present=False`; one that was not looked
    at has no Finding.
    """

    lesion: str
    role: str
    node: bool = False
    present: bool = True
    diameter_mm: float | None = None
    too_small: bool = False
    state: str | None = None
    unequivocal: bool | None = None
    organ: str | None = None


@dataclass(frozen=True, slots=True)
class RecistVisit:
    """One CT and its findings.

    `for_symptoms` is True where a new symptom was the reason for the scan.
    """

    name: str
    day: int | None
    findings: tuple[Finding, ...]
    for_symptoms: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was there before treatment.

    It has the targets and the non-targets, each with whether it is a node, the sum, what is wrong
    with it, and which targets are nodes of normal size.
    """

    targets: Mapping[str, bool]
    nontargets: Mapping[str, bool]
    sum_mm: float | None
    queries: tuple[str, ...] = ()
    normal: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets at one visit.

    It has the measured part of the sum, which targets are missing, and which are there.
    """

    measured_mm: float
    missing: tuple[str, ...]
    there: tuple[str, ...]

    @property
    def sum_mm(self) -> float | None:
        """The sum; None where a target is missing."""
        return None if self.missing else self.measured_mm


def measure(finding: Finding, rules: Rules) -> float | None:
    """Millimetres that a lesion adds to the sum.

    1. gone, not a node: 0
    2. a number was given: that number, however small
    3. gone, a node: 0
    4. there, but too small for a number: 5
    5. None: not evaluated
    """
    if not finding.present and not finding.node:
        return 0.0
    if finding.diameter_mm is not None:
        return finding.diameter_mm
    if not finding.present:
        return 0.0
    return float(rules["too_small_mm"]) if finding.too_small else None


def parents(label: str, known: Iterable[str]) -> tuple[str, ...]:
    """Known lesions that a label denotes.

    1. the label itself
    2. the parts of a merged mass, written `L1+L2`, `L1/L2`, `L1&L2` or `L1,L2`: its diameter counts
       under the first
    3. the lesion that split, for a fragment written `L1a`, `L1B`, `L1-A`, `L1.1`, `L1-1` or `L1_1`:
       the diameters of the fragments are added
    4. none

    >>> parents("L1b", ["L1", "L2"]), parents("L1+L2", ["L1", "L2"]), parents("L9", ["L1"])
    (('L1',), ('L1', 'L2'), ())
    >>> parents("T01-2", ["T01"]), parents("T01B", ["T01"]), parents("T01/T02", ["T01", "T02"])
    (('T01',), ('T01',), ('T01', 'T02'))
    """
    names = set(known)
    if label in names:
        return (label,)
    parts = tuple(MERGED.split(label.strip()))
    if len(parts) > 1 and names.issuperset(parts):
        return parts
    fragment = _FRAGMENT.match(label)
    return (fragment["parent"],) if fragment and fragment["parent"] in names else ()


def read_baseline(visit: RecistVisit, rules: Rules) -> Baseline:
    """Targets, non-targets and sum of the visit before treatment.

    Breaches of the selection rules are named, never cut off.
    """
    there = [f for f in visit.findings if f.present]
    targets = [f for f in there if f.role == "target"]
    sizes = [(f, measure(f, rules)) for f in targets]
    measured = [(f, size) for f, size in sizes if size is not None]
    is_whole = bool(targets) and len(measured) == len(targets)
    return Baseline(
        targets={f.lesion: f.node for f in targets},
        nontargets={f.lesion: f.node for f in there if f.role == "non_target"},
        sum_mm=sum(size for _, size in measured) if is_whole else None,
        queries=tuple(_baseline_queries(visit, rules)),
        normal=frozenset(
            f.lesion for f, size in measured if f.node and _is_normal_node(size, rules)
        ),
    )


def _is_normal_node(size: float, rules: Rules) -> bool:
    return size < rules["node_normal_mm"] - rules["tolerance"]


def is_measurable(
    finding: Finding, rules: Rules, slice_thickness_mm: float | None = None
) -> bool | None:
    """Whether a lesion may be a target; None where it was not measured.

    1. node: short axis of at least 15 mm
    2. else: longest diameter of at least 10 mm and of twice the slice thickness
    """
    if finding.diameter_mm is None:
        return None
    if finding.node:
        return finding.diameter_mm >= rules["node_target_mm"] - rules["tolerance"]
    floor = max(rules["lesion_target_mm"], 2 * (slice_thickness_mm or 0.0))
    return finding.diameter_mm >= floor - rules["tolerance"]


def organ_of(finding: Finding) -> str:
    """The organ by which the limit of two targets per organ counts.

    All nodes are one organ, an unnamed organ is its own.
    """
    return "lymph node" if finding.node else (finding.organ or "organ not named").casefold()


def _baseline_queries(visit: RecistVisit, rules: Rules) -> Iterable[str]:
    targets = [f for f in visit.findings if f.role == "target"]
    named = [organ_of(f) for f in targets if f.node or f.organ]
    if len(targets) > rules["maximum_targets"]:
        yield f"{len(targets)} targets at baseline, {rules['maximum_targets']} allowed"
    for organ in sorted({o for o in named if named.count(o) > rules["maximum_targets_per_organ"]}):
        yield (
            f"{named.count(organ)} targets in one organ ({organ}), "
            f"{rules['maximum_targets_per_organ']} allowed"
        )
    for finding in targets:
        if is_measurable(finding, rules) is False:
            yield f"target {finding.lesion} is below the measurable size at baseline"
    for finding in visit.findings:
        if finding.role == "new":
            yield f"{finding.lesion} called new at baseline: ignored"
        elif not finding.present:
            yield f"{finding.lesion} listed at baseline but absent: ignored"


def measure_targets(visit: RecistVisit, baseline: Baseline, rules: Rules) -> Targets:
    """Add up the targets of one visit.

    1. a target without a finding, or with one that gives no size, is missing
    2. fragments of a target are added; a merged mass counts once, under its first lesion
    3. a target is there while its size is above 0, or at least 10 mm for a node
    """
    shares = {label: _shares_of(label, visit, baseline, rules) for label in baseline.targets}
    missing = tuple(label for label, found in shares.items() if not found or None in found)
    sizes = {
        label: sum(size for size in found if size is not None) for label, found in shares.items()
    }
    return Targets(
        measured_mm=sum(sizes.values()),
        missing=missing,
        there=tuple(
            label for label in sizes if _is_there(label, sizes[label], visit, baseline, rules)
        ),
    )


def _shares_of(
    label: str, visit: RecistVisit, baseline: Baseline, rules: Rules
) -> list[float | None]:
    found = [(parents(f.lesion, baseline.targets), f) for f in visit.findings]
    return [measure(f, rules) if names[0] == label else 0.0 for names, f in found if label in names]


def _is_there(
    label: str, size: float, visit: RecistVisit, baseline: Baseline, rules: Rules
) -> bool:
    if baseline.targets[label]:
        return not _is_normal_node(size, rules)
    merged = [f for f in visit.findings if label in parents(f.lesion, baseline.targets)[1:]]
    return size > rules["tolerance"] or any(
        (measure(f, rules) or 0.0) > rules["tolerance"] for f in merged
    )
