"""Rows of another trial's tumour tables (SDTM TU, TR, RS) in this project's words.

What cannot be read is flagged by row, never guessed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MISSING = frozenset({"", "NA", "N/A", "NULL", "NONE", "NAN", ".", "UNKNOWN"})
"""Cells that count as empty, in capitals."""

UNITS = {
    "MM": 1.0,
    "CM": 10.0,
    "MILLIMETER": 1.0,
    "CENTIMETER": 10.0,
    "MILLIMETRE": 1.0,
    "CENTIMETRE": 10.0,
}
"""Millimetres in a unit of length."""

SUM_TEST = "SUMDIAM"
"""TRTESTCD of a recorded sum of diameters."""

LARGEST_MM = 500.0
"""No lesion is wider than a body; 999 and its like are codes of a value that is missing."""

UNIT_TOLERANCE_MM = 0.11
"""Largest difference between a diameter as collected and its standardised copy.

Both may be rounded to a tenth.
"""

STATES = {
    "ABSENT": "gone",
    "DISAPPEARED": "gone",
    "RESOLVED": "gone",
    "NOT PRESENT": "gone",
    "COMPLETE RESPONSE": "gone",
    "CR": "gone",
    "PRESENT": "there",
    "NON CR/NON PD": "there",
    "STABLE": "there",
    "EQUIVOCAL": "equivocal",
    "UNEQUIVOCAL": "unequivocal",
    "UNEQUIVOCAL PROGRESSION": "progressed",
    "PRESENT UNEQUIVOCAL PROGRESSION": "progressed",
    "PROGRESSION": "progressed",
    "PD": "progressed",
    "PROGRESSIVE DISEASE": "progressed",
    "TOO SMALL TO MEASURE": "too small",
    "TOO SMALL": "too small",
    "TSTM": "too small",
    "BELOW MEASURABLE LIMIT": "too small",
    "PRESENT TOO SMALL TO MEASURE": "too small",
    "NOT EVALUABLE": "not evaluated",
    "NON EVALUABLE": "not evaluated",
    "INEVALUABLE": "not evaluated",
    "UNEVALUABLE": "not evaluated",
    "NE": "not evaluated",
    "NOT DONE": "not evaluated",
    "ND": "not evaluated",
    "NOT ASSESSED": "not evaluated",
    "UNABLE TO EVALUATE": "not evaluated",
    "消失": "gone",
    "完全缓解": "gone",
    "存在": "there",
    "稳定": "there",
    "进展": "progressed",
    "明确进展": "progressed",
    "太小无法测量": "too small",
    "不可评价": "not evaluated",
    "无法评价": "not evaluated",
    "未评价": "not evaluated",
    "未做": "not evaluated",
}
"""What a tumour state says, by its words in capitals, hyphens as spaces."""

_RESPONSES = {
    "COMPLETE RESPONSE": "CR",
    "PARTIAL RESPONSE": "PR",
    "STABLE DISEASE": "SD",
    "PROGRESSIVE DISEASE": "PD",
    "NOT EVALUABLE": "NE",
    "INEVALUABLE": "NE",
    "UNEVALUABLE": "NE",
    "NON EVALUABLE": "NE",
    "NON CR/NON PD": "NON_CR_NON_PD",
    "NONCR/NONPD": "NON_CR_NON_PD",
    "NON ICR/NON IUPD": "NON_CR_NON_PD",
    "NON_CR_NON_PD": "NON_CR_NON_PD",
    "NO EVIDENCE OF DISEASE": "NED",
    "NO DISEASE": "NED",
    "ND": "NED",
    "完全缓解": "CR",
    "部分缓解": "PR",
    "疾病稳定": "SD",
    "稳定": "SD",
    "疾病进展": "PD",
    "进展": "PD",
    "不可评价": "NE",
    "无法评价": "NE",
    "非完全缓解/非疾病进展": "NON_CR_NON_PD",
} | {word: word for word in ("CR", "PR", "SD", "PD", "NE", "NED", "UPD", "CPD")}
_ROLES = {
    "NEW": "new",
    "新": "new",
    "NON TARGET": "non_target",
    "NONTARGET": "non_target",
    "非靶": "non_target",
    "TARGET": "target",
    "靶": "target",
}
"""Role by the first of these words that a cell has."""

SUBJECT, LABEL = "#SUBJECT", "#LABEL"
"""Cells of a row whose subject or lesion is spelled otherwise in other rows."""

SEPARATED = "#VISIT"
"""Cell of a row whose visit shares its number or name with another one and is known by its date."""

_SILENT = frozenset({"NOT APPLICABLE", "NOT DONE", "NO NON TARGET LESIONS", "NO TARGET LESIONS"})
_ROLE_OF_LABEL = re.compile(r"(?:^|[^A-Z])(NT|NEW|NL|N|T)[-_ ]?\d+")
_NODE = re.compile(
    r"\bLYMPH|\bNODES?\b|\bNODAL\b|\bL\.?N\b|\bLNS\b|ADENOPATH|淋巴|\bSTATION\s*\d+", re.IGNORECASE
)
_NODE_REGION = re.compile(
    r"MEDIASTIN|\bHIL(?:AR|UM|A)\b|SUBCARIN|PARA-?TRACH|AXILL|SUPRA-?CLAV|INGUIN|ILIAC|CERVICAL"
    r"|RETRO-?PERIT|PARA-?AORT|MESENTER|纵隔|肺门|隆突下|气管旁|腋|锁骨上|腹股沟|髂|颈|腹膜后|主动脉旁",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r"^(?P<figure>-?\d+(?:\.\d+)?|-?\d+,\d{1,2})\s*(?P<unit>[MC]M)?$", re.IGNORECASE
)
_CENSORED = re.compile(r"^(?:<|<=|≤)\s*5(?:\.0*)?\s*(?:MM)?$")


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One row of a file: its number, and its cells by name in capitals.

    The number is the one that a spreadsheet shows (the header is row 1).
    """

    file: str
    number: int
    cells: Mapping[str, str]

    @property
    def place(self) -> str:
        """Its place: `tr.csv row 7`."""
        return f"{self.file} row {self.number}"

    def __call__(self, *names: str) -> str:
        """The first cell of these names that says something; an empty text where none does."""
        found = (self.cells.get(name, "").strip() for name in names)
        return next((cell for cell in found if cell.upper() not in MISSING), "")


@dataclass(frozen=True, slots=True)
class Flag:
    """A fault in a row: the rule, the row's place, and whom and what it concerns."""

    rule: str
    place: str
    subject: str
    evaluator: str
    visit: str
    what: str
    visit_key: str


@dataclass(slots=True)
class Flags:
    """What has been flagged so far, in order."""

    found: list[Flag] = field(default_factory=list)

    def add(self, rule: str, row: TrialRow, what: str) -> None:
        """Flag a row."""
        about = (subject_of(row), evaluator_of(row), visit_name(row))
        self.found.append(Flag(rule, row.place, *about, what, visit_key(row)))


@dataclass(frozen=True, slots=True)
class Size:
    """What a row says of a lesion's size: millimetres, or a state, or neither."""

    mm: float | None = None
    state: str | None = None


def subject_of(row: TrialRow) -> str:
    """USUBJID; without it SITEID and SUBJID, since two sites may number their subjects alike.

    >>> subject_of(TrialRow("tr.csv", 2, {"SITEID": "02", "SUBJID": "001"}))
    '02-001'
    """
    given = row(SUBJECT, "USUBJID")
    return given or "-".join(filter(None, (row("SITEID"), row("SUBJID"))))


def lesion_label(row: TrialRow) -> str:
    """The label by which rows of TU and TR name a lesion."""
    return row(LABEL, "TRLNKID", "TULNKID", "TRREFID", "TUREFID")


def is_accepted(row: TrialRow) -> bool:
    """Whether the record was chosen among several assessments (TRACPTFL, TUACPTFL, RSACPTFL)."""
    return row("TRACPTFL", "TUACPTFL", "RSACPTFL").upper() == "Y"


def evaluator_of(row: TrialRow) -> str:
    """Role and identifier of the assessor, such as `INDEPENDENT ASSESSOR, RADIOLOGIST 1`.

    Empty where neither is given.
    """
    return ", ".join(
        filter(
            None,
            (
                row("TREVAL", "TUEVAL", "RSEVAL").upper(),
                row("TREVALID", "TUEVALID", "RSEVALID").upper(),
            ),
        )
    )


def visit_name(row: TrialRow) -> str:
    """The visit's name, else its number, else its date."""
    number = row("VISITNUM")
    return row("VISIT") or (f"VISIT {number}" if number else "") or date_text(row)


def visit_key(row: TrialRow) -> str:
    """Key of a visit: that of `separate_visits`, else its number, else its name or its date."""
    if SEPARATED in row.cells:
        return row.cells[SEPARATED]
    number = row("VISITNUM")
    try:
        return f"{float(number):g}"
    except ValueError:
        return row("VISIT").upper() or date_text(row)


def date_text(row: TrialRow) -> str:
    """The date as it was written."""
    return row("TRDTC", "TUDTC", "RSDTC", "TRSTDTC", "RSSTDTC")


def complete_date(text: str) -> dt.date | None:
    """A whole ISO date, its time left out; None for a partial or impossible one.

    >>> complete_date("2014-03-06T09:30"), complete_date("2014-02")
    (datetime.date(2014, 3, 6), None)
    """
    try:
        return dt.date.fromisoformat(text[:10]) if len(text) >= 10 else None
    except ValueError:
        return None


def role_of(text: str) -> str | None:
    """Role of a lesion by the words of TUSTRESC or TRGRPID, in English or Chinese.

    A new lesion stays one whether it is a target of iRECIST or not.

    >>> role_of("NON-TARGET"), role_of("Target"), role_of("NEW NON-TARGET"), role_of("BENIGN")
    ('non_target', 'target', 'new', None)
    >>> role_of("非靶病灶"), role_of("靶病灶"), role_of("新病灶")
    ('non_target', 'target', 'new')
    """
    words = text.upper().replace("-", " ").replace("_", " ")
    return next((role for word, role in _ROLES.items() if word in words), None)


def role_of_label(label: str) -> str | None:
    """Role by the customary labels T01, NT01, N01, NEW01, NL01, also behind a reader's prefix.

    >>> role_of_label("INV-T01"), role_of_label("R1-NT02"), role_of_label("L7")
    ('target', 'non_target', None)
    """
    found = _ROLE_OF_LABEL.search(label.upper())
    return {"T": "target", "NT": "non_target"}.get(found[1], "new") if found else None


def is_node(location: str) -> bool | None:
    """Whether a location is a lymph node; None for one where nodes lie, and other tissue too.

    >>> is_node("LYMPH NODE"), is_node("MEDIASTINAL LN"), is_node("纵隔淋巴结"), is_node("LUNG")
    (True, True, True, False)
    >>> is_node("MEDIASTINUM"), is_node("")
    (None, None)
    """
    if _NODE.search(location):
        return True
    return None if not location or _NODE_REGION.search(location) else False


def state_of(text: str) -> str | None:
    """What a tumour state says; None for words that are not known."""
    words = " ".join(text.upper().replace("-", " ").replace("_", " ").replace(",", " ").split())
    return "too small" if _CENSORED.match(words) else STATES.get(words)


def response_word(text: str) -> str | None:
    """A response in this project's words; an i-response without its i. None for an empty cell.

    Raises
    ------
    KeyError
        For a word that is no response.

    >>> response_word("NON-CR/NON-PD"), response_word("iUPD")
    ('NON_CR_NON_PD', 'UPD')
    >>> response_word("NON-iCR/NON-iUPD"), response_word("")
    ('NON_CR_NON_PD', None)
    """
    words = " ".join(text.upper().replace("-", " ").split())
    if words in MISSING or words in _SILENT:
        return None
    return _RESPONSES[words if words in _RESPONSES else words.removeprefix("I")]


def size_of(row: TrialRow, flags: Flags) -> Size:
    """Millimetres of one row of TR.

    1. TRSTAT NOT DONE: not evaluated; with a result beside it flagged, and still not evaluated
    2. the standardised number, else the one collected, times its unit; a unit that is not known is
       flagged: not evaluated
    3. no unit at all: flagged, and taken as mm, the only unit in which RECIST states a diameter
    4. the two numbers differ by more than rounding explains: flagged, not evaluated
    5. below 0, or above `LARGEST_MM`: flagged, not evaluated
    6. a decimal comma before one or two digits is read as a point; a unit may stand behind the
       figure
    7. a word for a number (absent, too small to measure, not evaluable): that state; another word
       is flagged
    """
    if row("TRSTAT").upper() == "NOT DONE":
        if (
            row("TRSTRESN", "TRSTRESC", "TRORRES")
            and state_of(row("TRSTRESN", "TRSTRESC", "TRORRES")) != "not evaluated"
        ):
            flags.add(
                "not_done_with_result",
                row,
                "TRSTAT is NOT DONE, and a result stands beside it: not evaluated",
            )
        return Size(state="not evaluated")
    text = row("TRSTRESN", "TRSTRESC", "TRORRES")
    if not text:
        return Size(state="not evaluated")
    number = _number(text)
    if number is None:
        return Size(state=_word(text, row, flags))
    return Size(_millimetres(number, row, flags))


def _word(text: str, row: TrialRow, flags: Flags) -> str:
    state = state_of(text)
    if state is None:
        flags.add(
            "not_a_number", row, "the result is neither a number nor a known state: not evaluated"
        )
    return state or "not evaluated"


def _number(text: str) -> float | None:
    try:
        measure = _MEASURE.match(text)
        found = float(measure["figure"].replace(",", ".") if measure else text)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def _millimetres(number: float, row: TrialRow, flags: Flags) -> float | None:
    standard = bool(_number(row("TRSTRESN", "TRSTRESC")) is not None)
    unit = row("TRSTRESU") if standard else row("TRORRESU")
    collected = _number(row("TRORRES"))
    if not unit and standard and collected == number:
        unit = row("TRORRESU")
    unit = unit or _unit_of(row("TRSTRESN", "TRSTRESC", "TRORRES"))
    factor = UNITS.get(unit.upper()) if unit else 1.0
    if factor is None:
        flags.add("unit_unknown", row, "the unit is no unit of length: not evaluated")
        return None
    other = UNITS.get(row("TRORRESU").upper())
    copy = collected * other if standard and collected is not None and other else number * factor
    refusal = _refusal(number * factor, copy, row)
    if refusal:
        flags.add(*refusal)
        return None
    if not unit:
        flags.add("unit_missing", row, "no unit: taken as mm")
    return number * factor


def _unit_of(text: str) -> str:
    """The unit behind a figure in one cell: `24 mm`."""
    measure = _MEASURE.match(text)
    return (measure and measure["unit"]) or ""


def _refusal(mm: float, copy: float, row: TrialRow) -> tuple[str, TrialRow, str] | None:
    """Why a diameter is not used, beside the one that was collected; None where it is."""
    if mm < 0:
        return "negative_diameter", row, "a diameter below 0: not evaluated"
    if mm > LARGEST_MM and row("TRTESTCD").upper() != SUM_TEST:
        what = f"a diameter above {LARGEST_MM:g} mm, such as a code of a missing value"
        return "implausible_diameter", row, f"{what}: not evaluated"
    if abs(copy - mm) > UNIT_TOLERANCE_MM:
        return "contradictory_units", row, "TRORRES and TRSTRESN differ: not evaluated"
    return None
