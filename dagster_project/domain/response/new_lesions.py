"""The register of lesions that were not there at baseline.

It records since when each is there, how certain it is, and their own sum (iSumNL).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dagster_project.domain.response.findings import (
    Baseline,
    Finding,
    RecistVisit,
    Rules,
    is_measurable,
    measure,
    organ_of,
    parents,
)


@dataclass(frozen=True, slots=True)
class NewLesion:
    """A lesion that was not there at baseline.

    It has the visits (by place) of its first appearance and of its first unequivocal judgement.
    """

    label: str
    appeared: int
    certain: int | None


def find_new_lesions(
    visits: Sequence[RecistVisit], baseline: Baseline, rules: Rules
) -> list[NewLesion]:
    """New lesions in order of appearance.

    1. a finding with the role `new`, there, of no lesion or fragment known at baseline
    2. certain at the first visit where the reader called it unequivocal; a short axis below 10 mm
       is a normal node
    """
    old = {**baseline.targets, **baseline.nontargets}
    found: dict[str, NewLesion] = {}
    for place, visit in enumerate(visits):
        for finding in visit.findings:
            if (
                parents(finding.lesion, old)
                or not finding.present
                or not (finding.role == "new" or parents(finding.lesion, found))
            ):
                continue
            label = (*parents(finding.lesion, found), finding.lesion)[0]
            known = found.get(label, NewLesion(label, place, None))
            found[label] = NewLesion(
                label,
                known.appeared,
                _first(known.certain, place if _is_certain(finding, rules) else None),
            )
    return list(found.values())


def _is_certain(finding: Finding, rules: Rules) -> bool:
    normal_node = (
        finding.node
        and finding.diameter_mm is not None
        and finding.diameter_mm < rules["node_normal_mm"] - rules["tolerance"]
    )
    return bool(finding.unequivocal) and not normal_node


def _first(known: int | None, found: int | None) -> int | None:
    return found if known is None else known


def is_gone(label: str, visits: Sequence[RecistVisit], place: int, known: Iterable[str]) -> bool:
    """Whether the last finding on a new lesion, up to a visit, is that it has vanished.

    Silence leaves it where it was.
    """
    names = set(known)
    for visit in reversed(visits[: place + 1]):
        words = [f.present for f in visit.findings if label in parents(f.lesion, names)]
        if words:
            return not any(words)
    return False


@dataclass(frozen=True, slots=True)
class NewLesions:
    """The register of new lesions after one visit.

    It has all that are certain, those still there, the chosen targets, and sizes where measured.
    """

    known: frozenset[str] = frozenset()
    there: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()
    sizes: Mapping[str, float] = field(default_factory=dict)
    worse: frozenset[str] = frozenset()

    @property
    def sum_mm(self) -> float | None:
        """iSumNL; None without a new-lesion target, or where one was not measured."""
        return (
            sum(self.sizes[t] for t in self.targets)
            if self.targets and all(t in self.sizes for t in self.targets)
            else None
        )

    @property
    def others(self) -> dict[str, float]:
        """Sizes of the new-lesion non-targets that were measured."""
        return {label: size for label, size in self.sizes.items() if label not in self.targets}


def register_new_lesions(
    visits: Sequence[RecistVisit], baseline: Baseline, rules: Rules
) -> list[NewLesions]:
    """The register of new lesions after each visit.

    1. a new lesion enters when it is called unequivocal
    2. measurable ones become new-lesion targets, largest first, at most 5 and 2 an organ; places
       left over may be filled later
    3. the others are new-lesion non-targets
    """
    entered = {
        new.label: new.certain
        for new in find_new_lesions(visits, baseline, rules)
        if new.certain is not None
    }
    found, targets = [], dict[str, str]()
    for place, visit in enumerate(visits):
        known = frozenset(label for label, certain in entered.items() if certain <= place)
        shown = {
            label: [f for f in visit.findings if label in parents(f.lesion, known)]
            for label in known
        }
        targets |= _choose_targets(
            {label: shown[label] for label in known if entered[label] == place}, targets, rules
        )
        found.append(
            NewLesions(
                known,
                frozenset(label for label in known if not is_gone(label, visits, place, known)),
                tuple(targets),
                sizes_of(shown, rules),
                frozenset(label for label, fs in shown.items() if any(f.state == "PD" for f in fs)),
            )
        )
    return found


def _choose_targets(
    entering: Mapping[str, Sequence[Finding]], chosen: Mapping[str, str], rules: Rules
) -> dict[str, str]:
    organs, added = list(chosen.values()), dict[str, str]()
    for label, found in sorted(
        entering.items(), key=lambda item: (-_size(item[1], rules), item[0])
    ):
        organ = organ_of(found[0])
        free = (
            len(organs) < rules["maximum_targets"]
            and organs.count(organ) < rules["maximum_targets_per_organ"]
        )
        if free and any(is_measurable(f, rules) for f in found):
            added[label] = organ
            organs.append(organ)
    return added


def _size(found: Sequence[Finding], rules: Rules) -> float:
    return sum(measure(f, rules) or 0.0 for f in found)


def sizes_of(shown: Mapping[str, Sequence[Finding]], rules: Rules) -> dict[str, float]:
    return {
        label: _size(found, rules)
        for label, found in shown.items()
        if found and all(measure(f, rules) is not None for f in found)
    }
