"""REDCap's data dictionary: what codes mean, and whether it is that of the project."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dagster_project.intake.case_report.csv_tables import read_records
from dagster_project.intake.opening import NotOpenedError, read_table_file
from dagster_project.lake.vocabulary import word_key

CANNOT_BE_READ = (
    "cannot be read as a data dictionary of REDCap; download it from REDCap once more, as CSV"
)
OTHER_PROJECT = (
    "is a data dictionary of another project or version: the export has fields that it does not "
    "know. It is not used; deliver that of this project"
)
SEVERAL = (
    "is one of several data dictionaries that fit the export and give its codes other meanings; "
    "deliver that of this project alone. None is used"
)
NO_EXPORT = "is a data dictionary beside which no REDCap export lies; it is not used"

_COLUMNS = {
    "variablefieldname": "name",
    "fieldname": "name",
    "formname": "form",
    "fieldtype": "type",
    "fieldlabel": "label",
    "choicescalculationsorsliderlabels": "choices",
    "selectchoicesorcalculations": "choices",
    "textvalidationtypeorshowslidernumber": "validation",
}
"""Headers of the dictionary as the menu writes them, and as the API does."""

_YES_NO = {"1": "Yes", "0": "No"}
_FIXED = {"yesno": _YES_NO, "truefalse": _YES_NO}
_CHOSEN = frozenset({"radio", "dropdown", "select"})
_TAG = re.compile(r"<[^>]*>")
_CODE = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Definition:
    """A field of a project; its answers by code are None where it has none."""

    name: str
    form: str = ""
    type: str = ""
    label: str = ""
    answers: Mapping[str, str] | None = None
    validation: str = ""


@dataclass(frozen=True)
class Dictionary:
    """A data dictionary: its name here, and its fields in order."""

    name: str
    fields: Sequence[Definition]
    by_name: Mapping[str, Definition] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, list[Definition]]:
        """Fields by their label, in order: two fields may have one label."""
        found: dict[str, list[Definition]] = defaultdict(list)
        for definition in self.fields:
            found[word_key(definition.label)].append(definition)
        return found

    def explains(self, headers: Iterable[str], forms: Iterable[str]) -> bool:
        """True where every field and form of an export is in it, by name or label."""
        labels, own = self.labels, {word_key(d.form) for d in self.fields}
        known = all(
            h.partition("___")[0].lower() in self.by_name
            or word_key(h.partition("(choice=")[0]) in labels
            for h in headers
        )
        return known and all(word_key(form) in own for form in forms)

    def meaning(self) -> dict[str, tuple[object, ...]]:
        """What it says of each field, to be compared with another."""
        return {d.name: (d.type, tuple((d.answers or {}).items())) for d in self.fields}


def read_dictionary(name: str, path: Path) -> Dictionary:
    """A data dictionary as CSV, from the menu or the API, or as JSON.

    1. Answers of radio buttons and lists are `code, label | code, label`; yes-no fields have 1 and
       0.
    2. Labels without their HTML.

    Raises
    ------
    ValueError
        Where it is none.
    """
    try:
        rows = _rows(path)
    except NotOpenedError as fault:
        raise ValueError(fault.reason) from fault
    except ValueError as error:
        raise ValueError(CANNOT_BE_READ) from error
    found = [_definition(row) for row in rows if row.get("name")]
    if not found:
        raise ValueError(CANNOT_BE_READ)
    return Dictionary(name, tuple(found), {definition.name: definition for definition in found})


def _rows(path: Path) -> list[dict[str, str]]:
    if path.suffix.lower() == ".json":
        items = json.loads(read_table_file(path).decode("utf-8-sig"))
        return [
            {_COLUMNS[word_key(k)]: str(v) for k, v in item.items() if word_key(k) in _COLUMNS}
            for item in items
        ]
    lines = read_records(path)
    header = [_COLUMNS.get(word_key(cell), "") for cell in lines[0].cells] if lines else []
    if not {"name", "type"} <= set(header):
        raise ValueError(CANNOT_BE_READ)
    return [
        {column: cell for column, cell in zip(header, line.cells, strict=False) if column}
        for line in lines[1:]
        if not line.fault
    ]


def _definition(row: Mapping[str, str]) -> Definition:
    kind = row.get("type", "").strip().lower()
    answers = _FIXED.get(kind) or (_answers(row.get("choices", "")) if kind in _CHOSEN else None)
    return Definition(
        row["name"].strip().lower(),
        row.get("form", "").strip(),
        kind,
        _plain(row.get("label", "")),
        answers,
        row.get("validation", "").strip().lower(),
    )


def _answers(text: str) -> dict[str, str]:
    """Answers by code.

    1. `code, label | code, label`; an empty part is none.
    2. Where no part has a comma, each is code and label at once, as older projects have it.
    3. Else a part without a code before its first comma belongs to the label before it: labels may
       hold bars.

    >>> _answers("1, IIIB | 2, IVA, or |worse| | 99,Unknown"), _answers("F | M")
    ({'1': 'IIIB', '2': 'IVA, or | worse', '99': 'Unknown'}, {'F': 'F', 'M': 'M'})
    """
    parts = [part.strip() for part in text.split("|") if part.strip()]
    if not any("," in part for part in parts):
        return {part: _plain(part) for part in parts}
    pairs: list[tuple[str, str]] = []
    for part in parts:
        code, comma, label = part.partition(",")
        if comma and _CODE.fullmatch(code.strip()):
            pairs.append((code.strip(), label))
        elif pairs:
            pairs[-1] = pairs[-1][0], f"{pairs[-1][1]} | {part}"
    return {code: _plain(label) or code for code, label in pairs}


def _plain(text: str) -> str:
    return " ".join(_TAG.sub(" ", text).split())


def choose(
    dictionaries: Sequence[Dictionary], headers: Sequence[str], forms: Iterable[str]
) -> tuple[Dictionary | None, Sequence[Dictionary]]:
    """The dictionary of an export, and those that fit as well and say otherwise."""
    fitting = [d for d in dictionaries if d.explains(headers, forms)]
    if not fitting:
        return None, ()
    first, names = fitting[0].meaning(), {header.lower() for header in headers}
    differing = [d for d in fitting[1:] if _differ(first, d.meaning(), names)]
    return (None, (fitting[0], *differing)) if differing else (fitting[0], ())


def _differ(
    first: Mapping[str, object], other: Mapping[str, object], names: Collection[str]
) -> bool:
    return any(first.get(n) != meaning for n, meaning in other.items() if n in names)
