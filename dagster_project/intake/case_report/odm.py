"""Case-report data in CDISC ODM 1.3, one file or several, laid out like the three CSV files."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_project.intake.case_report.case_values import ValueFault, parse_time
from dagster_project.intake.case_report.csv_tables import CsvTable, Refusal
from dagster_project.intake.case_report.exchange_rows import (
    MISSING_CODE,
    NAMES_DIFFER,
    OTHER_SITES,
    TABLES,
    Cell,
    Entry,
    is_missing_code,
    lay_out,
    names_differ,
    occasion,
    of_cell,
    of_this_site,
    options,
    refused_whole,
    tables,
)
from dagster_project.intake.case_report.odm_metadata import Metadata, Version, of_namespace, tail
from dagster_project.intake.case_report.odm_state import Node, State, carry_out
from dagster_project.intake.case_report.xml_files import parse_xml
from dagster_project.intake.opening import LARGEST_EXPORT, NotOpenedError, read_table_file

SPACES = ("{http://www.cdisc.org/ns/odm/v1.3}", "{http://www.cdisc.org/ns/odm/v1.2}", "")
"""Namespaces whose elements mean what they mean in ODM 1.3; some programs write none."""

NO_ODM = "is not an ODM file; export it as ODM 1.3"
OTHER_ODM = "is ODM of a version that is not read here; export it as ODM 1.3"
NO_ORDER = (
    "is one of several files of which nobody can say which is the later; export them with "
    "CreationDateTime, or deliver one Snapshot. It is not read"
)
SUPERSEDED = (
    "is older than another Snapshot of the same study, which is read in its place; take it away"
)
GAP = (
    "continues a file that is not delivered (PriorFileOID): what that one changed or removed is "
    "not known; deliver all files, or a Snapshot"
)
STUDIES = (
    "and the other ODM files hold the data of {count} studies; deliver those of this study alone."
    " None of them is read"
)
VERSION = (
    "holds data of a MetaDataVersion that is not delivered; names are taken from another version "
    "of the study, codes are refused. Export the metadata with the data"
)
NO_SUBJECTS = "holds no subjects; export the clinical data with the metadata"
NO_METADATA = (
    "holds no metadata of its study, so that codes are refused; export the metadata with the data"
)
UNKNOWN_ITEM = (
    "item is not known; see dagster_project/lake/vocabulary.toml. It is left out wherever it comes"
)

_SUBJECT_NUMBERS = ("StudySubjectID", "SubjectName")
"""What vendors call the subject's number where the SubjectKey is their own (OpenClinica, Rave)."""

_GROUPS = ("SiteRef", "DataAccessGroup")
"""What says whose a subject is."""

_SUBJECT_FACTS = {"Sex": "sex", "DateOfBirth": "birth_date"}
"""What vendors say of a subject in attributes."""

_REDCAPS = re.compile(r".*_complete|record_id|redcap_\w+")


@dataclass(frozen=True, eq=False)
class _Document:
    """A file that is ODM: its name here, its root, its namespace."""

    name: str
    root: ET.Element
    space: str

    @property
    def snapshot(self) -> bool:
        """True where it holds the current state alone, by what it says or by its instructions."""
        written = self.root.get("FileType", "").lower()
        return written == "snapshot" or (not written and not _changes(self.root))

    @property
    def has_data(self) -> bool:
        return any(True for _ in self.studies())

    def subjects(self) -> Iterator[str]:
        """The keys of its subjects."""
        return (e.get("SubjectKey", "") for e in self.root.iter(f"{self.space}SubjectData"))

    def studies(self) -> Iterator[str]:
        """The studies that the file holds subjects of."""
        for data in self.root:
            if of_namespace(data, "ClinicalData", self.space) and any(
                of_namespace(e, "SubjectData", self.space) for e in data
            ):
                yield data.get("StudyOID", "")


def read_odm(files: Mapping[str, Path], site: str = "") -> dict[str, list[CsvTable]]:
    """CDISC ODM 1.3 files of one study: a row per subject, cycle and event of follow-up.

    1. A document type declaration is refused: it may name other files, and ODM has none. So are ODM
       2 and namespaces that are not ODM's.
    2. Files of several studies are refused, all of them: nobody can say which study is this one.
    3. The newest Snapshot is the beginning, and what was created after it is carried out in order
       (odm_state.py); older Snapshots are named.
    4. What items mean is in the metadata of whichever file (odm_metadata.py).
    5. Of subjects of several locations or data access groups those of this site's own.
    6. Item groups of a form that come once, and do not say the same twice, are one row.
    7. The patient is an item that means the patient number, else the subject's number
       (StudySubjectID), else the SubjectKey.

    `files` by their names here. The number of a row is that of its ItemGroupData, counted from 1.
    """
    documents, refusals = _opened(files)
    if not documents:
        return (
            refused_whole(refusals[0].item, refusals[0].reason)
            if refusals
            else {table: [] for table in TABLES}
        )
    metadata = Metadata()
    for document in documents:
        metadata.add(document.root, document.space)
    studies = {study for document in documents for study in document.studies()}
    if len(studies) > 1:
        return refused_whole(documents[0].name, STUDIES.format(count=len(studies)))
    ordered, of_order = _in_order([document for document in documents if document.has_data])
    state = State(metadata)
    for document in ordered:
        carry_out(state, document.root, document.name, document.space, snapshot=document.snapshot)
    if not any(document.has_data for document in documents):
        refusals.append(Refusal(documents[0].name, NO_SUBJECTS))
    refusals += [*of_order, *_about_versions(ordered, metadata), *state.refusals]
    entries = _of_site(list(_entries(state)), state, site, refusals)
    refusals += _unknown_items(entries, metadata)
    entries = _without_missing(entries, metadata, refusals)
    found = lay_out(entries)
    return tables(found, [document.name for document in documents], [*refusals, *found.refusals])


def _opened(files: Mapping[str, Path]) -> tuple[list[_Document], list[Refusal]]:
    """The files that are ODM, each content once."""
    documents: dict[str, _Document] = {}
    refusals = []
    for name, path in files.items():
        try:
            data = read_table_file(path, most=LARGEST_EXPORT)
            documents.setdefault(hashlib.sha256(data).hexdigest(), _document(name, parse_xml(data)))
        except NotOpenedError as fault:
            refusals.append(Refusal(name, fault.reason))
        except ValueError as fault:
            refusals.append(Refusal(name, str(fault)))
    return list(documents.values()), refusals


def _document(name: str, root: ET.Element) -> _Document:
    space, _, tag = root.tag.rpartition("}")
    space = f"{space}}}" if space else ""
    if tag != "ODM":
        raise ValueError(NO_ODM)
    if space not in SPACES or not root.get("ODMVersion", "1.3").startswith("1."):
        raise ValueError(OTHER_ODM)
    return _Document(name, root, space)


def _changes(root: ET.Element) -> bool:
    return any(element.get("TransactionType", "Insert") != "Insert" for element in root.iter())


def _in_order(documents: Sequence[_Document]) -> tuple[list[_Document], list[Refusal]]:
    """The files that count, in the order of their creation.

    1. Snapshots that have no subject in common need no order.
    2. By CreationDateTime; where one has none, or two the same, by PriorFileOID. Where neither
       says it, or the two contradict each other, none is read.
    3. From the newest Snapshot on; older files are named, but for Snapshots of other subjects.
    4. A file whose PriorFileOID is not there is named.
    """
    if len(documents) < 2 or _are_apart(documents):
        return list(documents), _gaps(documents)
    by_time, by_prior = _by_time(documents), _by_prior(documents)
    ordered = by_time or by_prior
    if ordered is None or (by_time and by_prior and by_time != by_prior):
        return [], [Refusal(document.name, NO_ORDER) for document in documents]
    start = max((n for n, document in enumerate(ordered) if document.snapshot), default=0)
    older = [d for d in ordered[:start] if d.snapshot and _are_apart([d, *ordered[start:]])]
    counted = [*older, *ordered[start:]]
    superseded = [Refusal(d.name, SUPERSEDED) for d in ordered[:start] if d not in older]
    return counted, [*superseded, *_gaps(counted, ordered)]


def _are_apart(documents: Sequence[_Document]) -> bool:
    """True for Snapshots of which no two hold the same subject."""
    subjects = [subject for document in documents for subject in set(document.subjects())]
    return all(d.snapshot for d in documents) and len(subjects) == len(set(subjects))


def _gaps(documents: Sequence[_Document], all_files: Sequence[_Document] = ()) -> list[Refusal]:
    known = {document.root.get("FileOID") for document in (*documents, *all_files)}
    return [
        Refusal(d.name, GAP)
        for d in documents
        if not d.snapshot and d.root.get("PriorFileOID") and d.root.get("PriorFileOID") not in known
    ]


def _by_time(documents: Sequence[_Document]) -> list[_Document] | None:
    times: dict[str, dt.datetime] = {}
    zoned = set()
    for document in documents:
        written = document.root.get("CreationDateTime", "")
        try:
            times[document.name] = parse_time(written)
        except ValueFault:
            return None
        zoned.add(re.search(r"T.*(Z|[+-]\d{2}:?\d{2})$", written) is not None)
    if len(set(times.values())) < len(documents) or len(zoned) > 1:
        return None
    return sorted(documents, key=lambda d: times[d.name])


def _by_prior(documents: Sequence[_Document]) -> list[_Document] | None:
    after = {d.root.get("PriorFileOID"): d for d in documents if d.root.get("PriorFileOID")}
    known = {d.root.get("FileOID") for d in documents}
    first = [d for d in documents if d.root.get("PriorFileOID") not in known]
    chain = first[:1]
    while (
        chain and (following := after.get(chain[-1].root.get("FileOID"))) and following not in chain
    ):
        chain.append(following)
    return chain if len(first) == 1 and len(chain) == len(documents) else None


def _about_versions(documents: Sequence[_Document], metadata: Metadata) -> list[Refusal]:
    refusals = []
    for document in documents:
        for data in document.root:
            if not of_namespace(data, "ClinicalData", document.space):
                continue
            version, exact = metadata.definitions(
                data.get("StudyOID", ""), data.get("MetaDataVersionOID", "")
            )
            if not version.items or not exact:
                refusals.append(Refusal(document.name, VERSION if version.items else NO_METADATA))
    return list(dict.fromkeys(refusals))


def _entries(state: State) -> Iterator[Entry]:
    """One entry per subject, then one per row of its forms."""
    for subject in state.subjects.below:
        number = _number(subject)
        written = ((column, subject.facts.get(n, "")) for n, column in _SUBJECT_FACTS.items())
        facts = [Cell((column,), text) for column, text in written if text]
        yield Entry(subject.file, subject.row, number, (), "", facts)
        for event in subject.below:
            for form in event.below:
                yield from _of_form(number, event, form, state)


def _of_form(subject: str, event: Node, form: Node, state: State) -> Iterator[Entry]:
    """The rows of a form: item groups that come once together, each other repeat by itself."""
    definitions = state.metadata.definitions(form.study, form.version).version
    groups = form.below
    times = Counter(group.key for group in groups)
    of_group = len(groups) > len(times)
    joined: list[Node] = []
    for group in groups:
        if times[group.key] > 1:
            yield _entry(subject, event, form, [group], definitions, of_group=of_group)
        elif joined and _overlap(joined, group):
            yield _entry(subject, event, form, joined, definitions, of_group=of_group)
            joined = [group]
        else:
            joined.append(group)
    if joined:
        yield _entry(subject, event, form, joined, definitions, of_group=of_group)


def _names(definitions: Version, oid: str) -> tuple[str, ...]:
    return definitions.names.get(oid, (tail(oid),))


def _overlap(joined: Sequence[Node], group: Node) -> bool:
    """True where a group may say what another says too: then they are rows of their own."""
    present = {
        pair
        for node in joined
        for cell in node.cells.values()
        if cell.text
        for pair in options(cell.names).items()
    }
    return any(
        pair in present
        for cell in group.cells.values()
        if cell.text
        for pair in options(cell.names).items()
    )


def _entry(
    subject: str,
    event: Node,
    form: Node,
    groups: Sequence[Node],
    definitions: Version,
    *,
    of_group: bool,
) -> Entry:
    """A row; the repeats of its form are those of the item group, or of the form and its event."""
    own, group = _names(definitions, form.key), _names(definitions, groups[0].key)
    events = (event.facts.get("UniqueEventName", ""), *_names(definitions, event.key))
    repeats = [(own, form.repeat), (events, event.repeat)]
    happened = occasion((events, ""), *([(group, groups[0].repeat)] if of_group else repeats))
    cells = [cell for g in groups for cell in g.cells.values()]
    forms = tuple(dict.fromkeys([*own, *group]))
    return Entry(groups[0].file, groups[0].row, subject, forms, happened, cells)


def _number(subject: Node) -> str:
    """The number of a subject: what a vendor's attribute says, else its key."""
    numbers = (subject.facts.get(name, "") for name in _SUBJECT_NUMBERS)
    return next(filter(None, numbers), subject.key)


def _of_site(entries: list[Entry], state: State, site: str, refusals: list[Refusal]) -> list[Entry]:
    """The entries of subjects of this site."""
    groups = {
        _number(subject): next(filter(None, map(subject.facts.get, _GROUPS)), "") or _group(subject)
        for subject in state.subjects.below
    }
    own, reason = of_this_site(groups, site)
    if reason:
        refusals.append(Refusal(state.subjects.below[0].file, reason))
    return [] if reason == OTHER_SITES else [entry for entry in entries if entry.key in own]


def _group(subject: Node) -> str:
    """The data access group that REDCap writes as an item of a record."""
    forms = (form for event in subject.below for form in event.below)
    groups = (group for form in forms for group in form.below)
    cells = (group.cells.get("redcap_data_access_group") for group in groups)
    return next((cell.text for cell in cells if cell), "")


def _is_redcaps(cell: Cell, metadata: Metadata) -> bool:
    """True for what REDCap adds to a form: its state, its group, the record's identifier."""
    added = any(_REDCAPS.fullmatch(n.lower()) or n in metadata.record_ids for n in cell.names)
    return added and not options(cell.names)


def _unknown_items(entries: Sequence[Entry], metadata: Metadata) -> list[Refusal]:
    first: dict[tuple[str, ...], Refusal] = {}
    for entry in entries:
        place: Counter[int] = Counter()
        for cell in entry.cells:
            place[cell.row] += 1
            if not _is_redcaps(cell, metadata) and not of_cell(cell, entry):
                reason = NAMES_DIFFER if names_differ(cell.names, entry.forms) else UNKNOWN_ITEM
                item = f"{entry.item(cell)} item {place[cell.row]}"
                first.setdefault(cell.names, Refusal(item, reason))
    return list(first.values())


def _without_missing(
    entries: Sequence[Entry], metadata: Metadata, refusals: list[Refusal]
) -> list[Entry]:
    """The entries without codes for missing values, which are named once per item."""
    first: dict[tuple[str, ...], str] = {}
    made = []
    for entry in entries:
        cells = []
        for cell in entry.cells:
            column = next(iter(of_cell(cell, entry).values()), "")
            if not is_missing_code(cell.text, metadata.missing):
                if not _is_redcaps(cell, metadata):
                    cells += [cell]
            elif column:
                first.setdefault(cell.names, entry.item(cell, column))
        made.append(entry._replace(cells=cells))
    refusals += [Refusal(where, MISSING_CODE) for where in first.values()]
    return made
