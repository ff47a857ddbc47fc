"""Subjects and lesions of another trial that one table spells otherwise than another.

`1015.0` of a spreadsheet is the subject 1015, ` s1 ` is S1, and lesion T1 of TU is T01 of TR.
Taken apart they would be two patients, or a lesion without a location or without a baseline.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice

from dagster_project.domain.external_trials.trial_rows import (
    LABEL,
    SUBJECT,
    Flags,
    TrialRow,
    evaluator_of,
    lesion_label,
    subject_of,
    visit_key,
)

_WHOLE_AS_FLOAT = re.compile(r"^(\d+)\.0+$")
_WITHIN_LABEL = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=\d)")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def subject_key(name: str) -> str:
    """What the spellings of one subject share: neither case, blanks nor a spreadsheet's `.0`.

    >>> subject_key(" s1 ") == subject_key("S1"), subject_key("1015.0"), subject_key("015")
    (True, '1015', '015')
    """
    text = "".join(name.split()).upper()
    whole = _WHOLE_AS_FLOAT.match(text)
    return whole[1] if whole else text


def label_key(label: str) -> str:
    """What the spellings of one lesion share: neither case nor leading zeros.

    >>> label_key("T01") == label_key("t-1") == label_key("T 01"), label_key("NT01")
    (True, 'NT1')
    >>> label_key("T01.1"), label_key("T10")
    ('T1.1', 'T10')
    """
    return _LEADING_ZEROS.sub("", _WITHIN_LABEL.sub("", label.strip().upper()))


def with_one_spelling(flags: Flags, *domains: Sequence[TrialRow]) -> list[list[TrialRow]]:
    """The rows of TU, TR, RS and DM, in which each subject and each lesion has one spelling.

    1. spellings of subjects with one `subject_key` are one subject, called by the commonest
    2. so are spellings of a subject's lesions with one `label_key`, unless one evaluator has two of
       them at one visit in one table: these are two lesions
    3. each other spelling is flagged once, at its first row
    """
    every = list(chain.from_iterable(domains))
    subjects = _spellings(every, subject_of, subject_key)
    renamed = [_renamed(r, SUBJECT, subjects.get(subject_of(r))) for r in every]
    _flag(flags, every, renamed, subject_of, ("subject_spelled_otherwise", "subject"))
    labels = _labels(renamed)
    named = [_renamed(r, LABEL, labels.get((subject_of(r), lesion_label(r)))) for r in renamed]
    _flag(flags, renamed, named, lesion_label, ("lesion_spelled_otherwise", "lesion"))
    rest = iter(named)
    return [list(islice(rest, len(rows))) for rows in domains]


def _spellings(
    rows: Iterable[TrialRow], name: Callable[[TrialRow], str], key: Callable[[str], str]
) -> dict[str, str]:
    """The commonest spelling for each of those that share a key with another."""
    counts = Counter(filter(None, map(name, rows)))
    groups: dict[str, list[str]] = defaultdict(list)
    for spelling, _ in counts.most_common():
        groups[key(spelling)].append(spelling)
    return {other: common for common, *others in groups.values() for other in others}


def _labels(rows: Sequence[TrialRow]) -> dict[tuple[str, str], str]:
    """The commonest spelling of a lesion, by subject and other spelling."""
    own: dict[str, list[TrialRow]] = defaultdict(list)
    for row in rows:
        own[subject_of(row)].append(row)
    found: dict[tuple[str, str], str] = {}
    for subject, theirs in own.items():
        apart = _side_by_side(theirs)
        for other, common in _spellings(theirs, lesion_label, label_key).items():
            if label_key(other) not in apart:
                found[subject, other] = common
    return found


def _side_by_side(rows: Iterable[TrialRow]) -> set[str]:
    """Keys of which one evaluator has two spellings at one visit in one table."""
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in filter(lesion_label, rows):
        at = (row("DOMAIN"), row.file, evaluator_of(row), visit_key(row))
        seen[*at, label_key(lesion_label(row))].add(lesion_label(row))
    return {key[-1] for key, spellings in seen.items() if len(spellings) > 1}


def _renamed(row: TrialRow, cell: str, name: str | None) -> TrialRow:
    return row if name is None else replace(row, cells={**row.cells, cell: name})


def _flag(
    flags: Flags,
    before: Iterable[TrialRow],
    after: Iterable[TrialRow],
    name: Callable[[TrialRow], str],
    rule: tuple[str, str],
) -> None:
    flagged: set[tuple[str, str]] = set()
    for old, new in zip(before, after, strict=True):
        spelling = (subject_of(new), name(old))
        if name(old) != name(new) and spelling not in flagged:
            flagged.add(spelling)
            flags.add(rule[0], new, f"the {rule[1]} is spelled otherwise elsewhere: taken as one")
