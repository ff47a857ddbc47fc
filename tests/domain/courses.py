"""Disease courses written as a table: a line per lesion, a column per visit.

The first visit is baseline.
"""

from __future__ import annotations

import csv

from dagster_project.domain.response.findings import Finding, RecistVisit
from dagster_project.domain.response.irecist import assess_irecist
from dagster_project.domain.response.recist import assess
from dagster_project.study import load_study

STUDY = load_study()
RECIST, IRECIST, ENDPOINTS = (STUDY.section(name) for name in ("recist", "irecist", "endpoints"))

ROLES = {
    "L": ("target", False),
    "K": ("target", True),
    "P": ("non_target", False),
    "Q": ("non_target", True),
    "N": ("new", False),
    "M": ("new", True),
}
"""Role and node by the first letter of a label.

L target, K target node, P non-target, Q non-target node, N new lesion, M new node.
"""

STATES = ("CR", "NON_CR_NON_PD", "PD", "NE")


def finding(label, value):
    """The finding that a table's value stands for.

    A number is a diameter, a state a non-target's; `gone`, `small`, `seen` (no size); ("?", n) is a
    new lesion that may be none.
    """
    role, node = ROLES[label[0]]
    facts = {
        "role": role,
        "node": node,
        "organ": f"organ of {label}",
        "unequivocal": True if role == "new" else None,
    }
    if isinstance(value, tuple):
        word, size = value
        return Finding(
            label,
            diameter_mm=size,
            **(facts | ({"state": word} if word in STATES else {"unequivocal": False})),
        )
    if value in STATES:
        return Finding(label, state=value, present=value != "CR", **facts)
    if value in {"gone", 0}:
        return Finding(label, present=False, diameter_mm=None if value == "gone" else 0.0, **facts)
    return Finding(
        label,
        too_small=value == "small",
        diameter_mm=value if isinstance(value, (int, float)) else None,
        **facts,
    )


def course(days=None, symptoms=(), **lesions):
    """Baseline and later visits; None means that the lesion was not looked at.

    Visits are 42 days apart where no days are given.
    """
    n = max(map(len, lesions.values()))
    assert {len(values) for values in lesions.values()} == {n}
    days = days or [42 * place for place in range(n)]
    visits = [
        RecistVisit(
            f"V{place}",
            days[place],
            tuple(
                finding(label, values[place])
                for label, values in lesions.items()
                if values[place] is not None
            ),
            for_symptoms=place in symptoms,
        )
        for place in range(n)
    ]
    return visits[0], visits[1:]


def recist(**lesions):
    return assess(*course(**lesions), RECIST)


def overall(**lesions):
    return [a.overall for a in recist(**lesions)]


def irecist(**lesions):
    return [a.response for a in assess_irecist(*course(**lesions), RECIST, IRECIST)]


def irecist_rules(**lesions):
    return [a.rule for a in assess_irecist(*course(**lesions), RECIST, IRECIST)]


def rows_of(path, delimiter=","):
    """The rows of a text table; lines that begin with # are remarks."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(
            csv.DictReader((line for line in file if not line.startswith("#")), delimiter=delimiter)
        )
