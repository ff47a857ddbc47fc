"""The clinical data that CDISC ODM 1.3 files leave: inserted, changed and removed by keys."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from dagster_project.intake.case_report.csv_tables import Refusal
from dagster_project.intake.case_report.exchange_rows import TWICE, Cell
from dagster_project.intake.case_report.odm_metadata import (
    Definitions,
    Metadata,
    of_namespace,
    vendor,
)

LEVELS = (
    ("SubjectData", "SubjectKey", ""),
    ("StudyEventData", "StudyEventOID", "StudyEventRepeatKey"),
    ("FormData", "FormOID", "FormRepeatKey"),
    ("ItemGroupData", "ItemGroupOID", "ItemGroupRepeatKey"),
)
"""Elements from the subject down to the item group, with the attributes of key and repeat."""

INSTRUCTIONS = ("Insert", "Update", "Upsert", "Remove", "Context")

NO_KEY = (
    "has no {attribute}, so that nobody can say what it is of; export it with its keys. It is "
    "left out"
)
NO_REPEAT_KEY = (
    "has no {attribute}, and there are several that it may mean; export it with its keys. It is "
    "left out"
)
NO_SUCH_INSTRUCTION = "has a TransactionType that ODM 1.3 does not have; it is left out"
NOT_THERE = (
    "changes or removes what no delivered file holds; deliver the files before it, or a Snapshot."
    " {count} such instructions; the others are carried out"
)
MARKED_REMOVED = "is marked as removed in the study database; it is left out"
OUTSIDE = (
    "holds items that are in no item group of a subject; export it as ODM 1.3. They are left out"
)
SNAPSHOT_CHANGES = (
    "is a Snapshot and yet changes or removes; its instructions are carried out in the order of "
    "the file. Check the export"
)

_REMOVED = frozenset({"removed", "auto-removed", "deleted", "auto-deleted"})


@dataclass(eq=False)
class Node:
    """A subject, event, form or item group: its keys, its place, what is below it, its cells."""

    key: str = ""
    repeat: str = ""
    file: str = ""
    row: int = 0
    order: int = 0
    study: str = ""
    version: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    children: dict[str, dict[str, list[Node]]] = field(default_factory=dict)
    """What is below it, by key and repeat."""
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def below(self) -> list[Node]:
        """What is below it, by the order of the files."""
        found = (
            n for repeats in self.children.values() for nodes in repeats.values() for n in nodes
        )
        return sorted(found, key=lambda node: node.order)

    def of_key(self, key: str) -> list[Node]:
        """Every repeat of a key."""
        return [node for nodes in self.children.get(key, {}).values() for node in nodes]

    def of_repeat(self, key: str, repeat: str) -> Node | None:
        """The one of a key and repeat."""
        return next(iter(self.children.get(key, {}).get(repeat, [])), None)

    def add(self, node: Node) -> None:
        """Put a node below this one."""
        self.children.setdefault(node.key, {}).setdefault(node.repeat, []).append(node)

    def remove(self, node: Node) -> None:
        """Take a node away, with all that is below it."""
        nodes = self.children[node.key][node.repeat]
        nodes.remove(node)
        if not nodes:
            del self.children[node.key][node.repeat]


@dataclass
class State:
    """Everything that the files say, after the instructions that were carried out so far."""

    metadata: Metadata
    subjects: Node = field(default_factory=Node)
    refusals: list[Refusal] = field(default_factory=list)
    orders: Iterator[int] = field(default_factory=count)


@dataclass
class _File:
    """A file while it is carried out."""

    name: str
    space: str
    snapshot: bool
    rows: int = 0
    not_there: list[str] = field(default_factory=list)
    changes: bool = False

    def item(self) -> str:
        return f"{self.name} row {max(self.rows, 1)}"


def carry_out(state: State, root: ET.Element, name: str, space: str, *, snapshot: bool) -> None:
    """Carry out the instructions of a file on the state, in the order of the file.

    1. An element is found by its keys: SubjectKey, and below it OID and repeat key. Without a
       repeat key it is the only one of its OID; where there are several, or the definition says
       that it repeats, it is refused. In a Snapshot it is one more.
    2. Remove takes it away with all that is below it; Insert, Update and Upsert add it where it is
       not there and go on below it; Context changes nothing itself.
    3. Without a TransactionType of its own it has that of the element above it; Insert in a
       Snapshot, else Upsert.
    4. An item that is inserted twice with different values is refused; Update and Upsert replace
       its value, IsNull empties it.
    5. What is changed or removed without being there is named.
    6. In a Snapshot an event, form or group may lack its OID, and an event or form be left out.
    7. What the study database marks as removed (OpenClinica's Status or Removed) is left out, and
       named.

    Rows are the item groups of the file, counted from 1.
    """
    file = _File(name, space, snapshot)
    for data in root:
        if of_namespace(data, "ClinicalData", space):
            study, version = data.get("StudyOID", ""), data.get("MetaDataVersionOID", "")
            definitions = state.metadata.definitions(study, version)
            for element in data:
                if of_namespace(element, LEVELS[0][0], space):
                    _Walk(state, file, definitions, study, version).element(
                        state.subjects, element, 0, "Insert" if snapshot else "Upsert"
                    )
    if _outside(root, space, file.rows):
        state.refusals.append(Refusal(name, OUTSIDE))
    if file.not_there:
        state.refusals.append(
            Refusal(file.not_there[0], NOT_THERE.format(count=len(file.not_there)))
        )
    if snapshot and file.changes:
        state.refusals.append(Refusal(name, SNAPSHOT_CHANGES))


def _outside(root: ET.Element, space: str, rows: int) -> bool:
    """True where item groups stand in no subject, or items in no item group."""
    tag = f"{space}{LEVELS[-1][0]}"
    clinical = [data for data in root if of_namespace(data, "ClinicalData", space)]
    groups = [group for data in clinical for group in data.iter(tag)]
    items = sum(c.tag.startswith(f"{space}ItemData") for group in groups for c in group)
    every = sum(e.tag.startswith(f"{space}ItemData") for data in clinical for e in data.iter())
    return len(groups) > rows or every > items


@dataclass
class _Walk:
    state: State
    file: _File
    definitions: Definitions
    study: str
    version: str

    def element(
        self, above: Node, element: ET.Element, level: int, inherited: str, *, beside: bool = False
    ) -> None:
        """Carry out the instruction of an element, and those below it."""
        tag, key, _ = LEVELS[level]
        own = self.file.rows + 1 if tag == LEVELS[-1][0] else self.file.rows
        self.file.rows = own
        instruction = self._instruction(element, inherited)
        reason = "" if instruction else NO_SUCH_INSTRUCTION
        new = self.file.snapshot and instruction == "Insert" and level > 0
        if not reason and not element.get(key) and not new:
            reason = NO_KEY.format(attribute=key)
        node, fault = None, reason
        if not reason:
            node, fault = self._find(above, element, level, instruction, beside=beside)
        if fault or not instruction:
            self._leave_out(element, level, fault)
        elif instruction == "Remove":
            self._remove(above, node, element, level)
        elif _is_marked(element):
            if node is not None:
                above.remove(node)
            self._leave_out(element, level, MARKED_REMOVED)
        else:
            self._go_on(node or self._added(above, element, level), element, level, instruction)

    def _instruction(self, element: ET.Element, inherited: str) -> str:
        written = element.get("TransactionType")
        instruction = (
            next((i for i in INSTRUCTIONS if i.lower() == written.strip().lower()), "")
            if written
            else inherited
        )
        self.file.changes |= instruction not in {"Insert", "Context", ""}
        return instruction

    def _find(
        self, above: Node, element: ET.Element, level: int, instruction: str, *, beside: bool
    ) -> tuple[Node | None, str]:
        """The node that an element is, or why nobody can say which; none for a new one.

        `beside`: another element with this OID and without a repeat key has the same parent.
        """
        _, key, repeat = LEVELS[level]
        oid, number = element.get(key, ""), _repeat(element, level)
        if (number and oid) or not repeat:
            exact = above.of_repeat(oid, number)
            return exact or (_only_without_repeat(above, oid) if number == "1" else None), ""
        if self.file.snapshot and instruction == "Insert":
            return None, ""
        same = above.of_key(oid)
        if self._is_open(element, instruction, same, beside=beside):
            return None, NO_REPEAT_KEY.format(attribute=repeat)
        return next(iter(same), None), ""

    def _is_open(
        self, element: ET.Element, instruction: str, same: list[Node], *, beside: bool
    ) -> bool:
        """Whether an element without a repeat key may be one of several.

        1. Several of its OID are there.
        2. Its definition says that it repeats; where one says that it does not, it is the only one.
        3. It is inserted, and one was before it; or it is changed beside another one.
        """
        oid = next(element.get(key, "") for tag, key, _ in LEVELS if element.tag.endswith(tag))
        version = self.definitions.version
        if len(same) > 1 or oid in version.names:
            return len(same) > 1 or oid in version.repeating
        if instruction == "Insert":
            return bool(same) and (beside or element.get("TransactionType") is not None)
        return beside

    def _leave_out(self, element: ET.Element, level: int, reason: str) -> None:
        if level < len(LEVELS) - 1:
            place = f"{self.file.name} row {self.file.rows + 1}"
            self.file.rows += sum(1 for _ in element.iter(f"{self.file.space}{LEVELS[-1][0]}"))
        else:
            place = self.file.item()
        self.state.refusals.append(Refusal(place, f"{LEVELS[level][0]} {reason}"))

    def _remove(self, above: Node, node: Node | None, element: ET.Element, level: int) -> None:
        if node is None:
            self.file.not_there.append(self.file.item())
        else:
            above.remove(node)
        if level < len(LEVELS) - 1:
            self.file.rows += sum(1 for _ in element.iter(f"{self.file.space}{LEVELS[-1][0]}"))

    def _added(self, above: Node, element: ET.Element, level: int) -> Node:
        _, key, _ = LEVELS[level]
        if element.get("TransactionType") in {"Update", "Context"}:
            self.file.not_there.append(self.file.item())
        node = Node(
            element.get(key, ""),
            _repeat(element, level),
            self.file.name,
            max(self.file.rows, 1),
            next(self.state.orders),
            self.study,
            self.version,
        )
        above.add(node)
        return node

    def _go_on(self, node: Node, element: ET.Element, level: int, instruction: str) -> None:
        node.facts.update(
            {
                name.rpartition("}")[2]: text
                for name, text in element.attrib.items()
                if name.startswith("{")
            }
        )
        below = "Upsert" if instruction in {"Update", "Context"} else instruction
        space = self.file.space
        if level == len(LEVELS) - 1:
            for child in element:
                if child.tag.startswith(f"{space}ItemData"):
                    self._item(node, child, below)
            return
        for lower in range(level + 1, len(LEVELS)):
            tag, key, _ = LEVELS[lower]
            children = [child for child in element if of_namespace(child, tag, space)]
            times = Counter(c.get(key, "") for c in children if not _repeat(c, lower))
            host = self._between(node, lower - level - 1) if children else node
            for child in children:
                self.element(host, child, lower, below, beside=times[child.get(key, "")] > 1)
        for site in (child for child in element if of_namespace(child, "SiteRef", space)):
            node.facts["SiteRef"] = site.get("LocationOID", "")

    def _between(self, node: Node, levels: int) -> Node:
        """The node in place of levels which a file leaves out, as REDCap does with events."""
        for _ in range(levels):
            lower = node.of_repeat("", "")
            if lower is None:
                place = max(self.file.rows, 1), next(self.state.orders), self.study, self.version
                lower = Node("", "", self.file.name, *place)
                node.add(lower)
            node = lower
        return node

    def _item(self, node: Node, element: ET.Element, inherited: str) -> None:
        """Carry out an item's instruction on its group."""
        oid, instruction = element.get("ItemOID", ""), self._instruction(element, inherited)
        if not oid or not instruction:
            reason = NO_SUCH_INSTRUCTION if oid else NO_KEY.format(attribute="ItemOID")
            self.state.refusals.append(Refusal(self.file.item(), f"ItemData {reason}"))
        elif instruction == "Remove":
            if node.cells.pop(oid, None) is None:
                self.file.not_there.append(self.file.item())
        elif instruction == "Context":
            if oid not in node.cells:
                self.file.not_there.append(self.file.item())
        else:
            self._write(node, element, oid, instruction)

    def _write(self, node: Node, element: ET.Element, oid: str, instruction: str) -> None:
        text = (
            ""
            if element.get("IsNull") == "Yes"
            else (element.get("Value") or element.text or "").strip()
        )
        cell = self.state.metadata.cell(
            element, text, self.definitions, self.file.space, self.file.rows
        )._replace(file=self.file.name)
        former = node.cells.get(oid)
        if former is None and element.get("TransactionType") == "Update":
            self.file.not_there.append(self.file.item())
        twice = (
            instruction == "Insert"
            and former is not None
            and former.text
            and former.text != cell.text
        )
        node.cells[oid] = cell._replace(fault=TWICE) if twice else cell


def _repeat(element: ET.Element, level: int) -> str:
    """The repeat key of an element; empty where it has none."""
    repeat = LEVELS[level][2]
    return element.get(repeat, "").strip() if repeat else ""


def _only_without_repeat(above: Node, oid: str) -> Node | None:
    """The only node of an OID, where it came without a repeat key."""
    same = above.of_key(oid)
    return same[0] if len(same) == 1 and not same[0].repeat else None


def _is_marked(element: ET.Element) -> bool:
    return (
        vendor(element, "Status").strip().lower() in _REMOVED
        or vendor(element, "Removed").strip().lower() == "yes"
    )
