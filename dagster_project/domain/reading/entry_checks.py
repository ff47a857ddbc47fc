"""What a reader should look at before locking: questions that follow from the own reads alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.findings import is_measurable, organ_of
from dagster_project.domain.response.responses import finding_of

Row = Mapping[str, Any]
Code = Literal["lesion_missing", "too_many_targets", "too_many_in_organ", "below_minimum"]


@dataclass(frozen=True)
class EntryQuestion:
    """One question to a reader.

    Attributes
    ----------
    about
        The lesion, or the organ of `too_many_in_organ`; empty for `too_many_targets`.
    found, limit
        Number of targets or diameter in mm, and what the protocol allows; None for a lesion that is
        missing.
    """

    code: Code
    about: str = ""
    found: float | None = None
    limit: float | None = None


def check_entries(
    here: Sequence[Row], known: Iterable[str], visit: str, rules: Mapping[str, Any]
) -> list[EntryQuestion]:
    """Questions about one reader's reads of one visit, while they are open.

    1. A lesion of an earlier visit without a read at this one: a lesion that is gone is read as
       absent, not left out.
    2. At the visit before treatment: more targets than `maximum_targets`, or more in one organ than
       `maximum_targets_per_organ`.
    3. At that visit: a target below the measurable size.

    Parameters
    ----------
    here
        The reader's rows of READS at that visit; without any there is nothing to check.
    known
        Lesions that the reader read at earlier visits.
    rules
        Section `recist` of study.toml.
    """
    if not here:
        return []
    missing = sorted(set(known) - {str(row["lesion"]) for row in here})
    found = [EntryQuestion("lesion_missing", lesion) for lesion in missing]
    return [*found, *_of_baseline(here, rules)] if visit == BASELINE else found


def _of_baseline(here: Iterable[Row], rules: Mapping[str, Any]) -> Iterator[EntryQuestion]:
    targets = [finding_of(row) for row in here if row["role"] == "target" and row["is_present"]]
    most, in_organ = rules["maximum_targets"], rules["maximum_targets_per_organ"]
    if len(targets) > most:
        yield EntryQuestion("too_many_targets", "", len(targets), most)
    organs = Counter(organ_of(f) for f in targets if f.node or f.organ)
    for organ, n in sorted(organs.items()):
        if n > in_organ:
            yield EntryQuestion("too_many_in_organ", organ, n, in_organ)
    for one in targets:
        if is_measurable(one, rules) is False:
            least = rules["node_target_mm"] if one.node else rules["lesion_target_mm"]
            yield EntryQuestion("below_minimum", one.lesion, one.diameter_mm, least)
