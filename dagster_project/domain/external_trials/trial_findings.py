"""What one evaluator found of each lesion at a visit of another trial.

Role and organ are those of TU; whether a lesion is a lymph node decides which axis counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dagster_project.domain.external_trials.trial_rows import (
    UNIT_TOLERANCE_MM,
    Flags,
    Size,
    TrialRow,
    evaluator_of,
    is_accepted,
    is_node,
    lesion_label,
    role_of,
    role_of_label,
    size_of,
    state_of,
    subject_of,
)
from dagster_project.domain.response.findings import Finding

Who = tuple[str, str]
"""Subject and evaluator."""

SHORT_AXES, LONGEST = ("SAXIS", "LPERP"), "LDIAM"

NODE_TESTS, LESION_TESTS = (*SHORT_AXES, "DIAMETER"), (LONGEST, "DIAMETER")
"""TRTESTCD codes of a node's short axis and of another lesion's longest diameter.

The first code that is there counts.
"""

SIZE_TESTS = frozenset({*NODE_TESTS, *LESION_TESTS})


@dataclass(frozen=True, slots=True)
class Lesion:
    """What is known of a lesion: its role, its organ, and whether that is a lymph node.

    `role` is None where TU has none of this label.
    """

    role: str | None
    organ: str | None
    node: bool


UNNAMED = "(not named)"
"""Label of the lesion of diameters without one: at baseline it is a target without a size."""

Identified = Mapping[tuple[str, str], Sequence[TrialRow]]
"""Rows of TU that give a role, by subject and label."""


def identified(tu: Iterable[TrialRow]) -> Identified:
    """The rows of TU that give a role, by subject and label."""
    found: dict[tuple[str, str], list[TrialRow]] = defaultdict(list)
    for row in tu:
        if _identified_role(row):
            found[subject_of(row), lesion_label(row)].append(row)
    return found


def _identified_role(row: TrialRow) -> str | None:
    return role_of(row("TUSTRESC", "TUORRES"))


def lesions_of(
    who: Who, rows: Sequence[TrialRow], tu: Identified, flags: Flags
) -> dict[str, Lesion]:
    """What is known of each lesion of one subject, over all visits of one evaluator.

    1. role and organ are those that TU gives it, for this evaluator, else for any
    2. without an organ in TU it is that of TR (TRLOC)
    3. whether it is a lymph node: `_is_lymph_node`
    """
    by_label: dict[str, list[TrialRow]] = defaultdict(list)
    for row in rows:
        by_label[lesion_label(row)].append(row)
    found = {}
    for label, own in by_label.items():
        known = tu.get((who[0], label), ())
        known = [r for r in known if evaluator_of(r) == who[1]] or known
        organ = known[0]("TULOC") if known else ""
        organ = organ or next(filter(None, (row("TRLOC") for row in own)), "")
        role = _identified_role(known[0]) if known else None
        _flag_other_identification(known, flags)
        found[label] = Lesion(role, organ or None, _is_lymph_node(organ, own, flags))
    return found


def _flag_other_identification(rows: Sequence[TrialRow], flags: Flags) -> None:
    for row in rows[1:]:
        located = (is_node(rows[0]("TULOC")), is_node(row("TULOC")))
        if _identified_role(row) != _identified_role(rows[0]) or {True, False} == {*located}:
            what = f"role or location contradict {rows[0].place}, which counts"
            flags.add("identification_contradicts", row, what)


def _is_lymph_node(organ: str, rows: Sequence[TrialRow], flags: Flags) -> bool:
    """Whether a lesion is a lymph node, which decides the axis that counts.

    1. by its location
    2. else where it has SAXIS, a test of nodes
    3. else where its short axis alone was measured: flagged
    4. else none: flagged where both axes were measured
    """
    node = is_node(organ)
    if node is not None:
        return node
    tests = {row("TRTESTCD").upper(): row for row in reversed(rows)}
    if "LPERP" not in tests or "SAXIS" in tests:
        return "SAXIS" in tests
    if tests.keys().isdisjoint(LESION_TESTS):
        what = "no location, and the short axis alone: taken as a lymph node"
        flags.add("node_by_axis", tests["LPERP"], what)
        return True
    what = "no location tells whether it is a lymph node: its longest diameter counts"
    flags.add("location_unknown", tests["LPERP"], what)
    return False


def find_lesions(
    rows: Sequence[TrialRow], lesions: Mapping[str, Lesion], flags: Flags
) -> Iterable[Finding]:
    """What was found of each lesion at one visit, from all rows of that visit."""
    by_label: dict[str, list[TrialRow]] = defaultdict(list)
    unnamed = False
    for row in rows:
        label = lesion_label(row)
        if label:
            by_label[label].append(row)
        elif row("TRTESTCD").upper() in SIZE_TESTS:
            flags.add("lesion_not_named", row, "a diameter of no lesion: left out")
            unnamed = True
    if unnamed:
        yield Finding(UNNAMED, "target")
    for label, own in by_label.items():
        facts = _facts(label, own, lesions[label], flags)
        found = _finding(label, facts, own, flags) if facts else None
        if found is not None:
            yield found


def _facts(label: str, rows: Sequence[TrialRow], known: Lesion, flags: Flags) -> Lesion | None:
    """The lesion with its role: by TU, else by TRGRPID, else by the customary label.

    A role by label is flagged; a lesion without a role is left out.
    """
    roles = (role_of(row("TRGRPID", "TRCAT", "TRSCAT")) for row in rows)
    grouped = next(filter(None, roles), None)
    if known.role is not None:
        if grouped and grouped != known.role:
            flags.add(
                "role_contradicts",
                rows[0],
                f"TU calls the lesion {known.role}, TRGRPID {grouped}: TU stands",
            )
        return known
    role = grouped or role_of_label(label)
    if role is None:
        flags.add(
            "role_unknown", rows[0], "the lesion is neither target, non-target nor new: left out"
        )
        return None
    if grouped is None:
        flags.add(
            "role_by_label", rows[0], f"not in TU and without TRGRPID: taken as {role} by its label"
        )
    return replace(known, role=role)


def _finding(label: str, facts: Lesion, rows: Sequence[TrialRow], flags: Flags) -> Finding | None:
    """What one evaluator found of one lesion at one visit; None where nothing is known of it.

    1. the diameter (`_diameter`) and the state (TUMSTATE), each refused where its rows contradict
       each other
    2. gone and yet measured, or there with a diameter of 0: flagged, not evaluated
    3. a target without a size is there unmeasured: a baseline without it has no sum
    4. else gone, too small, progressed, measured or merely there; a lesion that TU calls new needs
       no more than that. UNEQUIVOCAL of a non-target lesion is its progression (pharmaverse's RS:
       NTRGRESP PD); of a new one, that it is there
    """
    node, role = facts.node, facts.role or "target"
    unmeasured = Finding(label, role, node, organ=facts.organ) if role == "target" else None
    size, state = _diameter(rows, flags, node=node), _state(rows, flags)
    if size is None and state is None and not any(r("TULNKID") for r in rows):
        return unmeasured
    if size is not None and (
        (state == "gone" and size > 0 and not node)
        or (state in {"there", "too small"} and size == 0)
    ):
        flags.add(
            "contradictory_state",
            rows[0],
            "state and diameter contradict each other: not evaluated",
        )
        return unmeasured
    if state == "not evaluated" and size is None:
        not_evaluated = Finding(label, role, node, state="NE", organ=facts.organ)
        return not_evaluated if role == "non_target" else unmeasured
    return Finding(
        label,
        role,
        node,
        present=not (state == "gone" or size == 0),
        diameter_mm=size,
        too_small=state == "too small" and size is None,
        state="PD"
        if state == "progressed" or (role == "non_target" and state == "unequivocal")
        else None,
        unequivocal=state != "equivocal" if role == "new" else None,
        organ=facts.organ,
    )


def _diameter(rows: Sequence[TrialRow], flags: Flags, *, node: bool) -> float | None:
    """The short axis of a node, the longest diameter of another lesion.

    None where there is none, its rows contradict each other, or the short axis is the longer one.
    """
    tests: dict[str, list[TrialRow]] = defaultdict(list)
    for row in rows:
        tests[row("TRTESTCD").upper()].append(row)
    chosen = _first(NODE_TESTS if node else LESION_TESTS, tests)
    others = _first(LESION_TESTS if node else NODE_TESTS, tests)
    if others and not chosen:
        rule, what = _AXIS_MISSING[node]
        flags.add(rule, others[0], f"{what}: not evaluated")
    size = _agreed([size_of(r, flags) for r in chosen], chosen, flags).mm
    other = _agreed([size_of(r, Flags()) for r in others], others, Flags()).mm
    short, longest = (size, other) if node else (other, size)
    if chosen != others and short and longest and short > longest + UNIT_TOLERANCE_MM:
        what = "the short axis is longer than the longest diameter: not evaluated"
        flags.add("axes_contradict", chosen[0], what)
        return None
    return size


_AXIS_MISSING = {
    True: ("short_axis_missing", "a node with its longest diameter alone"),
    False: ("longest_diameter_missing", "no node, and its short axis alone"),
}


def _first(names: Sequence[str], tests: Mapping[str, list[TrialRow]]) -> list[TrialRow]:
    return next((tests[name] for name in names if name in tests), [])


def _agreed(sizes: Sequence[Size], rows: Sequence[TrialRow], flags: Flags) -> Size:
    accepted = [size for size, row in zip(sizes, rows, strict=True) if is_accepted(row)]
    distinct = list(dict.fromkeys(accepted or sizes))
    if len(sizes) > 1:
        rule, what = (
            ("repeated_row", "counted once")
            if len(distinct) == 1
            else ("contradictory_rows", "they differ: not evaluated")
        )
        flags.add(
            rule,
            rows[-1],
            f"the lesion has {len(sizes)} rows of one test at this visit, "
            f"as {rows[0].place}: {what}",
        )
    return distinct[0] if len(distinct) == 1 else Size()


def _state(rows: Sequence[TrialRow], flags: Flags) -> str | None:
    """The tumour's state: TUMSTATE, else the word in place of a diameter."""
    written = [r for r in rows if r("TRTESTCD").upper() == "TUMSTATE"]
    measured = [r for r in rows if r("TRTESTCD").upper() in SIZE_TESTS]
    states = (state_of(r("TRSTRESN", "TRSTRESC", "TRORRES")) for r in measured)
    words = {_written(r, flags) for r in written} or {*filter(None, states)}
    if len(words) > 1:
        flags.add(
            "contradictory_rows",
            rows[-1],
            "states of one lesion at one visit differ: not evaluated",
        )
    if len(words) == 1:
        return next(iter(words))
    return "not evaluated" if words or measured else _of_identification(rows)


def _written(row: TrialRow, flags: Flags) -> str:
    text = row("TRSTRESC", "TRORRES")
    state = "not evaluated" if row("TRSTAT").upper() == "NOT DONE" or not text else state_of(text)
    if state is None:
        flags.add("state_unknown", row, "the tumour state is no known word: not evaluated")
    return state or "not evaluated"


def _of_identification(rows: Sequence[TrialRow]) -> str | None:
    words = " ".join(r("TUSTRESC", "TUORRES", "TUTESTCD") for r in rows).upper()
    return "equivocal" if "EQUIVOCAL" in words.replace("UNEQUIVOCAL", "") else None
