"""What the metadata of CDISC ODM 1.3 files say: names, answers behind codes, units."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dagster_project.intake.case_report.exchange_rows import (
    Cell,
    is_measure,
    is_missing_code,
    options,
)

NOT_IN_LIST = (
    "is not in the item's code list; correct it, or deliver the metadata that have it. The cell "
    "is left out"
)
OTHER_VERSION = (
    "is a code of a metadata version that is not delivered; export the metadata with the data. "
    "The cell is left out"
)
UNIT_UNKNOWN = (
    "is in a unit that the metadata do not define, or do not choose; export it with its "
    "MeasurementUnit. The cell is left out"
)

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_NAMING = ("Name", "SDSVarName", "SASFieldName")


def of_namespace(element: ET.Element, tag: str, space: str) -> bool:
    """True for an element of this name in ODM's own namespace; a vendor's is another element."""
    return element.tag == f"{space}{tag}"


def named(element: ET.Element, tag: str, space: str) -> Iterator[ET.Element]:
    """The elements below an element by their name."""
    return element.iter(f"{space}{tag}")


def vendor(element: ET.Element, name: str) -> str:
    """An attribute of a vendor's extension, whatever its namespace; empty where there is none."""
    return next(
        (
            text
            for key, text in element.attrib.items()
            if key.startswith("{") and key.rpartition("}")[2] == name
        ),
        "",
    )


def tail(oid: str) -> str:
    """The last part of an identifier.

    >>> tail("IT.SEX"), tail("Form.follow_up")
    ('SEX', 'follow_up')
    """
    return oid.rpartition(".")[2]


def english(element: ET.Element, space: str) -> list[str]:
    """The translations of a text: English, then without a language, Chinese, the others."""
    texts = [
        (t.get(_LANGUAGE, "").lower(), (t.text or "").strip())
        for t in named(element, "TranslatedText", space)
    ]
    order = {"en": 0, "": 1, "zh": 2}
    return [
        text
        for _, text in sorted(texts, key=lambda t: order.get(t[0].partition("-")[0], 3))
        if text
    ]


@dataclass(frozen=True)
class Item:
    """An ItemDef: its names, the answers behind its codes (None without a code list), its units."""

    names: tuple[str, ...]
    answers: Mapping[str, str] | None
    units: tuple[str, ...]
    is_coded: bool = False


@dataclass
class Version:
    """A MetaDataVersion."""

    items: dict[str, Item] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of events, forms and item groups by OID."""
    repeating: set[str] = field(default_factory=set)
    """OIDs of events, forms and item groups that repeat."""


class Definitions(NamedTuple):
    """The metadata for some data, and whether they are of the version that the data name."""

    version: Version
    exact: bool


@dataclass
class Metadata:
    """All metadata of the delivered files."""

    versions: dict[tuple[str, str], Version] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    """The project's own codes for missing values, as REDCap states them."""
    record_ids: set[str] = field(default_factory=set)
    """Items that repeat the record's identifier, as REDCap states them."""

    def add(self, root: ET.Element, space: str) -> None:
        """Take in the metadata of a file."""
        for unit in named(root, "MeasurementUnit", space):
            self.units[unit.get("OID", "")] = next(iter(english(unit, space)), unit.get("Name", ""))
        for study in named(root, "Study", space):
            for element in study.iter():
                if element.tag.rpartition("}")[2] == "MissingDataCodes":
                    self.missing |= {
                        part.partition(",")[0].strip() for part in (element.text or "").split("|")
                    } - {""}
            for version in named(study, "MetaDataVersion", space):
                key = study.get("OID", ""), version.get("OID", "")
                self.record_ids |= {vendor(version, "RecordIdField")} - {""}
                self.versions[key] = _version(version, space, self.versions, key[0])

    def definitions(self, study: str, version: str) -> Definitions:
        """The metadata that clinical data name, else the last version of their study, else none."""
        if (study, version) in self.versions:
            return Definitions(self.versions[study, version], True)
        others = [found for (own, _), found in self.versions.items() if own == study]
        return Definitions(others[-1] if others else Version(), not others)

    def cell(
        self, element: ET.Element, text: str, definitions: Definitions, space: str, row: int
    ) -> Cell:
        """An item's value in words.

        1. Known by the names of its definition, in their order, else by the end of its OID.
        2. A coded value is its Decode; one that is not in the code list is refused, and so is one
           of another version of the metadata.
        3. Without a definition a digit may be a code.
        4. A figure with a unit has it behind it.
        """
        oid = element.get("ItemOID", "")
        item = definitions.version.items.get(oid)
        if item is None:
            return Cell((tail(oid),), text, doubtful=True, row=row)
        known = item.answers is None or text in item.answers
        if not known and is_missing_code(text, self.missing):
            return Cell(item.names, text, row=row)
        if item.answers is not None:
            return Cell(item.names, *_answer(item.answers, text, definitions), row=row)
        text, fault = self._with_unit(element, item, text, space)
        return Cell(
            item.names, text, fault, doubtful=item.is_coded or not definitions.exact, row=row
        )

    def _with_unit(self, element: ET.Element, item: Item, text: str, space: str) -> tuple[str, str]:
        own = [
            ref.get("MeasurementUnitOID", "") for ref in named(element, "MeasurementUnitRef", space)
        ]
        units = own or list(item.units)
        if not text or not units or not is_measure(options(item.names)):
            return text, ""
        if len(units) > 1 or units[0] not in self.units:
            return text, UNIT_UNKNOWN
        return f"{text} {self.units[units[0]]}", ""


def _answer(answers: Mapping[str, str], text: str, definitions: Definitions) -> tuple[str, str]:
    if not definitions.exact:
        return text, OTHER_VERSION
    if text in answers:
        return answers[text], ""
    return text, "" if not text or text in answers.values() else NOT_IN_LIST


def _version(
    element: ET.Element, space: str, known: Mapping[tuple[str, str], Version], study: str
) -> Version:
    made = Version()
    for include in named(element, "Include", space):
        former = known.get(
            (include.get("StudyOID", study), include.get("MetaDataVersionOID", "")), Version()
        )
        made.items.update(former.items)
        made.names.update(former.names)
        made.repeating |= former.repeating
    lists = {
        found.get("OID", ""): _answers(found, space) for found in named(element, "CodeList", space)
    }
    for definition in named(element, "ItemDef", space):
        made.items[definition.get("OID", "")] = _item(definition, lists, space)
    for tag in ("StudyEventDef", "FormDef", "ItemGroupDef"):
        for definition in named(element, tag, space):
            oid = definition.get("OID", "")
            made.names[oid] = _distinct(
                [definition.get("Name", ""), *english(definition, space), tail(oid)]
            )
            if definition.get("Repeating") == "Yes":
                made.repeating.add(oid)
    return made


def _answers(element: ET.Element, space: str) -> dict[str, str] | None:
    """Answers by code, those without a text left out; None for a list that is defined elsewhere."""
    if any(named(element, "ExternalCodeList", space)):
        return None
    found = {_code(item): english(item, space) for item in named(element, "CodeListItem", space)}
    listed = {_code(item): [_code(item)] for item in named(element, "EnumeratedItem", space)}
    return {code: texts[0] for code, texts in {**found, **listed}.items() if texts}


def _code(element: ET.Element) -> str:
    return element.get("CodedValue", "").strip()


def _item(element: ET.Element, lists: Mapping[str, Mapping[str, str] | None], space: str) -> Item:
    """An ItemDef; its OID and aliases name it only where nothing else does that is known."""
    questions = [
        t for question in named(element, "Question", space) for t in english(question, space)
    ]
    names = _distinct([*(element.get(name, "") for name in _NAMING), *questions])
    aliases = [alias.get("Name", "") for alias in named(element, "Alias", space)]
    known = any(options((name,)) for name in names)
    names = names if known else _distinct([*names, tail(element.get("OID", "")), *aliases])
    refs = list(named(element, "CodeListRef", space))
    answers = lists.get(refs[0].get("CodeListOID", ""), {}) if refs else None
    units = tuple(
        r.get("MeasurementUnitOID", "") for r in named(element, "MeasurementUnitRef", space)
    )
    return Item(names, answers, units, is_coded=bool(refs))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
