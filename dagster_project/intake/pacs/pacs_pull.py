"""Pulls the scans of a site's patients around their cycles from its PACS.

What the vault already has is not requested again.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from dagster_project.intake.dicom.deidentification import KINDS
from dagster_project.intake.identity.pseudonyms import canonical_number
from dagster_project.intake.pacs.pacs_faults import PacsError, RequestError
from dagster_project.intake.pacs.pacs_wanted import Wanted
from dagster_project.intake.vault.file_index import PullNote
from dagster_project.intake.vault.vault import Reception

MODALITIES = ("CT", "RTSTRUCT", "SEG")
"""In this order: a contour needs its CT in the vault."""

LEVELS: Mapping[str, tuple[str, ...]] = {
    "STUDY": ("StudyInstanceUID", "PatientID", "StudyDate", "NumberOfStudyRelatedSeries"),
    "SERIES": ("SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances", "SeriesNumber"),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID"),
}
"""What is asked of each level of the Query/Retrieve model; the level's own key first."""

MOST_ANSWERS = 20_000
"""Answers to one query: no patient has more studies, no series more images; a PACS that gives more
does not look at the query."""

IN_VAIN = 24
"""Requests in a row that brought nothing of a series, after which the rest of it waits for the next
pull: a series of 400 slices whose disk is lost costs these and not 800."""

SERIES_IN_VAIN = 3
"""Series in a row, the first of a pull, of which nothing came: then nothing will."""

NOTHING_COMES = (
    "nothing came of the first {count} series ({why}); "
    "does the PACS know our AE title with this host and port, and does the firewall let it in?"
)

QUERIES_IN_VAIN = 3
"""Patients in a row whose queries fail, after which the pull ends."""

Answer = Mapping[str, str]
"""An answer to a query: texts by keyword, empty where the PACS gives nothing."""

# ── what is counted of a query's answers, and not asked for ──
REPEATED = "answers that repeat an earlier one"
WITHOUT_UID = "answers without the UID of their level"
WITHOUT_NUMBER = "studies without PatientID (0010,0020)"
OTHER_SPELLING = (
    "studies whose PatientID differs in zeros, case or spaces alone (see number_digits)"
)
OTHER_NUMBER = "studies of another PatientID than was asked for"
WITHOUT_DATE = "studies without a StudyDate (0008,0020) to compare with the dates asked for"
OUTSIDE_DATES = "studies outside the dates asked for"
OTHER_MODALITY = "series of other modalities"
OTHER_CLASS = "objects of other kinds: screens, dose reports, enhanced images"
UNASKED = "objects that the PACS sent without being asked"
WITHDRAWN = "patients whose consent is withdrawn"

# ── reasons, seen in the quarantine ──
DID_NOT_COME = (
    "the PACS did not give these objects ({why}); ask its administrator whether it still has them, "
    "then run lakehouse pacs pull again, which asks for them alone"
)
NO_REASON = "it named no reason"
GIVEN_UP = "and the rest of the series was not asked for after {count} requests in vain"
NOT_ANSWERED = "the PACS did not answer the query ({why}); run lakehouse pacs pull again"
CUT_SHORT = (
    "the PACS says that it has more studies, series or objects than it lists, "
    "and does not list the rest when asked for it; "
    "its administrator has to raise the limit of answers to a query"
)
UNLISTED = (
    "the PACS cannot list {count} objects of this series; their files may be lost, or a limit of "
    "answers hides them, ask its administrator"
)
NOTHING_FOUND = (
    "the PACS has no study of this patient number within the dates asked for; compare the number "
    "with the PACS, zeros in front and letters included (number_digits in pacs.toml), and the dates"
)
NOTHING_TAKEN = (
    "the PACS has studies of this patient number, and no CT, RTSTRUCT or SEG among them; look for "
    "them in the PACS"
)


@dataclass(frozen=True)
class Found:
    """A series that the PACS has."""

    study: str
    series: str
    modality: str
    objects: int = 0
    """How many the PACS counts in it; 0 where it does not say."""
    number: int = field(default=0, repr=False)
    """SeriesNumber: the series of a study are requested in its order, to be numbered in it."""


@dataclass(frozen=True)
class Absent:
    """Objects of a series that did not come, with the UIDs that the PACS knows them by."""

    place: str
    found: Found
    instances: tuple[str, ...]
    reason: str


@dataclass
class Pulled:
    """What a pull did; `stopped` says why it ended before its end."""

    patients: int = 0
    series: int = 0
    known: int = 0
    asked: int = 0
    came: int = 0
    missing: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    notes: list[PullNote] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    stopped: str = ""


class Archive(Protocol):
    """A PACS that can be asked."""

    most_a_request: int
    """Instances that one request may name."""

    unasked: int
    """Objects that came and were not asked for."""

    cut_short: int
    """Queries whose answers the PACS did not give whole, as it says itself."""

    unlisted: int
    """Objects of a series that the PACS counts and cannot describe."""

    def find(self, level: str, keys: Mapping[str, str]) -> list[Answer]:
        """Answers to a query of a level, with the elements that `LEVELS` names.

        Raises
        ------
        RequestError, PacsError
            Where this query is not answered; where nothing can be asked at all.
        """

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """Bring these instances into the vault.

        Raises
        ------
        RequestError, PacsError
            Where some may not have come though the PACS has them; where nothing can be asked.
        """

    def fetch_series(self, found: Found) -> None:
        """Bring a whole series into the vault, as far as its objects are not listed.

        Raises
        ------
        RequestError, PacsError
            As `fetch`; where the archive lists all that it has, `RequestError`.
        """


def pull(
    archive: Archive, reception: Reception, wanted: Iterable[Wanted], digits: Sequence[int] = ()
) -> Pulled:
    """Ask for what is missing, patient by patient.

    1. Series of the modalities taken in, within the dates; CT first.
    2. Of each series the instances that the vault neither holds nor refused for good.
    3. What a query or a series does not give is noted for the quarantine, and the pull goes on.
    4. Where the PACS cannot be spoken with at all, the pull ends and `stopped` says why.
    5. What did not come is counted and noted; the next pull asks for it again.
    """
    done, in_vain = Pulled(), 0
    try:
        for person in wanted:
            fault = _pull_patient(archive, reception, person, digits, done)
            in_vain = in_vain + 1 if fault else 0
            if in_vain == QUERIES_IN_VAIN:
                raise PacsError(fault)
    except PacsError as error:
        done.stopped = str(error)
    done.passed[UNASKED] += archive.unasked
    done.passed = +done.passed
    reception.close()
    return done


def _pull_patient(
    archive: Archive, reception: Reception, person: Wanted, digits: Sequence[int], done: Pulled
) -> str:
    """Pull one patient; the fault of the query where there was one."""
    done.patients += 1
    patient, withdrawn = reception.patient_of(person.number)
    if withdrawn:
        done.passed[WITHDRAWN] += 1
        return ""
    place = f"patient {patient}" if patient else person.place
    notes: list[PullNote] = []
    cut_before = archive.cut_short
    try:
        return _pull_series_of(archive, reception, person, digits, (place, notes, done))
    finally:
        if archive.cut_short > cut_before:
            notes.append(PullNote(place, CUT_SHORT))
        reception.note(person.number, notes)
        done.notes += notes


def _pull_series_of(
    archive: Archive,
    reception: Reception,
    person: Wanted,
    digits: Sequence[int],
    into: tuple[str, list[PullNote], Pulled],
) -> str:
    place, notes, done = into
    try:
        found = list(find_series(archive, person, digits, done.passed))
    except RequestError as error:
        notes.append(PullNote(place, NOT_ANSWERED.format(why=error)))
        return str(error)
    if not found:
        notes.append(PullNote(place, NOTHING_FOUND))
    series = [one for one in found if one.series]
    if found and not series:
        notes.append(PullNote(place, NOTHING_TAKEN))
    for one in sorted(series, key=_order):
        _pull_one(archive, reception, one, into)
    return ""


def _order(found: Found) -> tuple[int, str, int, str]:
    known = found.modality in MODALITIES
    return MODALITIES.index(found.modality) if known else 0, found.study, found.number, found.series


def _pull_one(
    archive: Archive, reception: Reception, found: Found, into: tuple[str, list[PullNote], Pulled]
) -> None:
    """One series: ask for what is missing, note what did not come."""
    place, notes, done = into
    name = f"{place} series {reception.series_name(found.series)}"
    try:
        there, unlisted = find_instances(archive, found, done.passed)
    except RequestError as error:
        notes.append(PullNote(name, NOT_ANSWERED.format(why=error)))
        return
    if there:
        done.series += 1
        _pull_listed(archive, reception, found, there, (place, notes, done))
    unlisted = _pull_unlisted(archive, reception, found, unlisted)
    if unlisted:
        done.missing += unlisted
        notes.append(PullNote(name, UNLISTED.format(count=unlisted)))


def _pull_listed(
    archive: Archive,
    reception: Reception,
    found: Found,
    there: Sequence[str],
    into: tuple[str, list[PullNote], Pulled],
) -> None:
    place, notes, done = into
    name = f"{place} series {reception.series_name(found.series)}"
    missing = reception.missing(there)
    done.known += len(there) - len(missing)
    done.asked += len(missing)
    absent, why = bring(archive, reception, found, missing)
    done.came += len(missing) - len(absent)
    if absent:
        done.missing += len(absent)
        reason = DID_NOT_COME.format(why=why or NO_REASON)
        notes.append(PullNote(name, reason, tuple(absent), len(there)))
        done.absent.append(Absent(place, found, tuple(absent), reason))
    if not done.came and len(done.absent) == SERIES_IN_VAIN:
        raise PacsError(NOTHING_COMES.format(count=SERIES_IN_VAIN, why=why or NO_REASON))


def _pull_unlisted(archive: Archive, reception: Reception, found: Found, unlisted: int) -> int:
    """How many of the objects that a PACS counts and does not list are not in the vault.

    The series is asked for whole where it is short: a PACS may list the first 500 alone.
    """
    if not unlisted or not found.objects:
        return unlisted
    if reception.held_of_series(found.series) < found.objects:
        with suppress(RequestError):
            archive.fetch_series(found)
    return max(0, min(unlisted, found.objects - reception.held_of_series(found.series)))


def bring(
    archive: Archive, reception: Reception, found: Found, missing: Sequence[str]
) -> tuple[list[str], str]:
    """Ask for instances of a series; those that did not come, and why.

    1. As many a request as the archive takes.
    2. A request that failed is asked again in halves for what did not come, since many PACS end a
       request at the first object that they cannot give; the longest pieces first.
    3. After `IN_VAIN` requests in a row that brought nothing, the rest is not asked for.
    """
    pieces = deque(_pieces(missing, archive.most_a_request))
    absent: list[str] = []
    why, in_vain = "", 0
    while pieces:
        piece = pieces.popleft()
        fault = _fault_of_fetch(archive, found, piece)
        left = reception.absent(piece)
        in_vain = 0 if len(left) < len(piece) else in_vain + 1
        why = fault if left and fault else why
        if in_vain == IN_VAIN and pieces:
            rest = reception.absent(uid for part in pieces for uid in part)
            return sorted({*absent, *left, *rest}), f"{why}; {GIVEN_UP.format(count=IN_VAIN)}"
        if fault and len(piece) > 1:
            pieces.extend(_pieces(left, (len(left) + 1) // 2))
        else:
            absent += left
    return sorted(absent), why


def _fault_of_fetch(archive: Archive, found: Found, piece: Sequence[str]) -> str:
    try:
        archive.fetch(found, piece)
    except RequestError as error:
        return str(error)
    return ""


def _pieces(instances: Sequence[str], most: int) -> Iterator[list[str]]:
    return (list(instances[at : at + most]) for at in range(0, len(instances), most))


def find_series(
    archive: Archive, person: Wanted, digits: Sequence[int], passed: Counter[str]
) -> Iterator[Found]:
    """Series of a patient that may hold what is taken in.

    A `Found` without series precedes those of each study: who has studies and no CT differs from
    who has none.

    1. Each spelling of the number is asked for; an answer counts where its PatientID is one of
       them, since a PACS may match loosely.
    2. Its StudyDate lies within the dates, since a PACS may not look at them.
    3. Its Modality is one taken in; a series without one is judged by its instances.
    """
    spellings = person.spellings(digits)
    answers = [
        a
        for number in spellings
        for a in archive.find("STUDY", {"PatientID": number, "StudyDate": person.date_range})
    ]
    mine = [a for a in answers if not _count_reason(_fault_of_study(a, person, spellings), passed)]
    for study in _unique(mine, "StudyInstanceUID", passed):
        uid = study["StudyInstanceUID"]
        yield Found(uid, "", "")
        series = archive.find("SERIES", {"StudyInstanceUID": uid})
        archive.cut_short += len(series) < _number(study, "NumberOfStudyRelatedSeries")
        for one in _unique(series, "SeriesInstanceUID", passed):
            modality = one.get("Modality", "").strip().upper()
            if modality and modality not in MODALITIES:
                passed[OTHER_MODALITY] += 1
                continue
            objects = _number(one, "NumberOfSeriesRelatedInstances")
            yield Found(
                uid, one["SeriesInstanceUID"], modality, objects, _number(one, "SeriesNumber")
            )


def find_instances(archive: Archive, found: Found, passed: Counter[str]) -> tuple[list[str], int]:
    """SOPInstanceUIDs of a series, in order, of the SOP classes taken in; how many are not listed.

    Those that the PACS counts (NumberOfSeriesRelatedInstances) or skipped. An answer without
    SOPClassUID is asked for: its object says what it is.
    """
    keys = {"StudyInstanceUID": found.study, "SeriesInstanceUID": found.series}
    skipped = archive.unlisted
    answers = list(_unique(archive.find("IMAGE", keys), "SOPInstanceUID", passed))
    skipped = archive.unlisted - skipped
    right = [a for a in answers if a.get("SOPClassUID", "") in {"", *KINDS}]
    passed[OTHER_CLASS] += len(answers) - len(right)
    return sorted(a["SOPInstanceUID"] for a in right), max(skipped, found.objects - len(answers))


def _fault_of_study(study: Answer, person: Wanted, spellings: Collection[str]) -> str:
    number = study.get("PatientID", "").strip()
    if not number:
        return WITHOUT_NUMBER
    if number not in spellings:
        near = canonical_number(number) == canonical_number(person.number)
        return OTHER_SPELLING if near else OTHER_NUMBER
    if person.start is None or person.end is None:
        return ""
    try:
        date = dt.date.fromisoformat(study.get("StudyDate", "").strip().replace(".", ""))
    except ValueError:
        return WITHOUT_DATE
    return "" if person.start <= date <= person.end else OUTSIDE_DATES


def _number(answer: Answer, keyword: str) -> int:
    """A count that the PACS gives; 0 where it gives none."""
    text = answer.get(keyword, "")
    return int(text) if text.isdecimal() else 0


def _count_reason(reason: str, passed: Counter[str]) -> bool:
    if reason:
        passed[reason] += 1
    return bool(reason)


def _unique(answers: Iterable[Answer], key: str, passed: Counter[str]) -> Iterator[Answer]:
    seen: set[str] = set()
    for answer in answers:
        uid = answer.get(key, "")
        if not uid or uid in seen:
            passed[REPEATED if uid else WITHOUT_UID] += 1
            continue
        seen.add(uid)
        yield answer
