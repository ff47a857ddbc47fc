"""Cells of the case report: from a site's spelling to a schema value, or a reason why not."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dagster_project.lake.columns import PAGE_CODE_PATTERN, VISIT_PATTERN
from dagster_project.lake.vocabulary import (
    DASHES,
    find_drugs,
    fold,
    is_missing,
    known_value,
    unit_of,
    without_qualifiers,
)

EARLIEST, LATEST = dt.date(1900, 1, 1), dt.date(2100, 1, 1)
"""Dates outside are typing errors."""

PLACEHOLDERS = re.compile(
    r"0{1,4}[-/.]0{1,2}[-/.]0{1,4}|1900[-/.]0?1[-/.]0?[01]|19000101|1899[-/.]12[-/.]3[01]|9999[-/.].*|99991231|0{8}"
)
"""Dates that stand for none: the first day of a spreadsheet, the last of a database."""

DAY_NUMBERS = re.compile(r"[1-7]\d{4}(\.\d+)?")
"""A spreadsheet counts days from 1900: 10000 is 1927, 73000 is 2099."""

SPREADSHEET_ERRORS = re.compile(
    r"#(N/A|REF!|VALUE!|DIV/0!|NAME\?|NUM!|NULL!|SPILL!|CALC!|#+)", re.IGNORECASE
)

_CLOCK = (
    r"(?:[T ]\s*(?P<clock>(?:[01]?\d|2[0-3]):\d{2}(?::\d{2}(?:\.\d+)?)?)"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
)
_DATE = re.compile(
    r"(?P<y>\d{4})\s*[-/.年]\s*(?P<m>\d{1,2})\s*[-/.月]\s*(?P<d>\d{1,2})\s*日?" + _CLOCK,
    re.IGNORECASE,
)
_DIGITS_DATE = re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?:\.0+)?")
_PART_OF_DATE = re.compile(
    r"\d{4}\s*[-/.年]?\s*(\d{1,2}\s*月?)?|\d{4}[-/.年]\d{1,2}[-/.月]?(uk|xx|un|ud)?", re.IGNORECASE
)
_LIKE_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}( .*)?|\d{1,2}月\d{1,2}日"
    r"|\d{1,2}-(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)-\d{2}",
    re.IGNORECASE,
)
_STAGE = re.compile(
    r"(?:stage)?[cpy]{0,2}(IV|III|II|I|[1-4])([ABC]?)([1-3]?)(?:期|stage)?", re.IGNORECASE
)
_TNM = re.compile(
    r"(?:TNM[:=]?)?[cpyra]{0,3}T(?:is|x|[0-4][a-d]?)[cpyra]{0,2}N(?:x|[0-3][a-c]?)"
    r"[cpyra]{0,2}M(?P<m>x|0|1(?:[a-d]\d?)?)",
    re.IGNORECASE,
)
_EDITION = re.compile(
    r"(?:(?:AJCC|UICC|IASLC|TNM)(?:第?[6-9六七八九]版|v?[6-9](?:th)?)?|第[6-9六七八九]版|[6-9]th)(?:ed(?:ition)?)?",
    re.IGNORECASE,
)
_AROUND_STAGE = re.compile(r"[()\[\],;:，；、]")
"""Brackets and marks that are left of what stood beside a stage."""

STAGES = frozenset(
    [
        "I",
        "IA",
        "IA1",
        "IA2",
        "IA3",
        "IB",
        "II",
        "IIA",
        "IIB",
        "III",
        "IIIA",
        "IIIA1",
        "IIIA2",
        "IIIA3",
        "IIIB",
        "IIIC",
        "IV",
        "IVA",
        "IVB",
    ]
)
"""Stages of TNM, 7th to 9th edition, as far as they have been in use for the lung."""

_FIGURE = re.compile(
    r"(?P<sign>[<>≤≥~约]|<=|>=)?\s*(?P<digits>\d[\d.,]*|\.\d+)\s*(?P<unit>.*)", re.DOTALL
)
_YEARS_AND_MONTHS = re.compile(
    r"(\d+\s*(?:岁|周岁|y|yrs?|years?))\s*(?:and\s*)?\d{1,2}\s*(?:个月|月|m|mo|months?)"
)
_CYCLE = re.compile(r"(?:第|cycle|c)?\s*(\d{1,2})\s*(?:周期|疗程|次)?")
_ECOG = re.compile(r"(?:ecog)?[\s:=-]*(?:ps)?(?:评分)?[\s:=]*([0-4])分?")
_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}
_FACTOR = {"mm": 1, "cm": 10}
_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_BARE_LENGTH = re.compile(r"\d+([.,]\d{1,2})?")
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2},\d{3}")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_FRACTION = re.compile(r"[.,]\d*$")
_POINT_THOUSANDS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+,\d+")
_MINUS_AT_END = re.compile(r"^\s*\(?\s*-|-\s*\)?\s*(?=$|[/,，、;；])")
_PLUS_AT_END = re.compile(r"(.*\w)\s*(?:\(\s*\+\s*\)|\+)\s*")
_BETWEEN = re.compile(r"[/+,，、;；&]")

LONGEST_NUMBER = 15
"""Digits before the fraction of a figure: a length, an age or a share has three.

A program may write 17 in all.
"""

NOT_UNDERSTOOD = "is not understood; write it as the delivery specification says"


class ValueFault(ValueError):
    """A cell that is not understood; the reason never quotes it."""


class Parsed(NamedTuple):
    """A value, and what had to be left out of the cell to reach it."""

    value: Any
    remark: str = ""


def plain(text: str) -> str:
    """Full-width forms made plain, what is not seen and outer spaces dropped."""
    normal = unicodedata.normalize("NFKC", text)
    return "".join(c for c in normal if unicodedata.category(c) != "Cf").strip()


def whole(text: str) -> str:
    """`plain`, and a whole number without the `.0` that a program puts behind it.

    >>> whole("1.0"), whole("1.5")
    ('1', '1.5')
    """
    return re.sub(r"(?<=^\d)\.0+$|(?<=^\d\d)\.0+$", "", plain(text))


def parse_date(text: str) -> dt.date:
    """A calendar date: 2024-01-05, 2024/1/5, 20240105, 2024年1月5日.

    A clock time behind it does not count.

    1. Dates that stand for none (1900-01-01, 9999-12-31, 00/00/0000) are refused.
    2. Day-first and month-first forms are refused, since 3/4/2024 is two days; so are years of two
       digits.
    3. A month or a year alone is refused, and so is the day number of a spreadsheet (45301): from
       1904 it counts otherwise.
    4. A clock time in UTC other than midnight is refused: at the hospital it may have been the next
       day.

    >>> parse_date("2024年1月5日"), parse_date("２０２４/1/5")
    (datetime.date(2024, 1, 5), datetime.date(2024, 1, 5))
    """
    written = plain(text)
    if PLACEHOLDERS.fullmatch(written.split(" ")[0].split("T")[0]):
        raise ValueFault("is a placeholder and no day; leave the cell empty")
    match = _DATE.fullmatch(written) or _DIGITS_DATE.fullmatch(written)
    if match is None:
        raise ValueFault(_no_date(written))
    if _is_utc(match.groupdict()):
        raise ValueFault(
            "is a time in UTC, whose day may be another where it was written; write YYYY-MM-DD"
        )
    try:
        date = dt.date(*(int(match[part]) for part in "ymd"))
    except ValueError as error:
        raise ValueFault("is not a day of the calendar; write YYYY-MM-DD") from error
    if not EARLIEST <= date < LATEST:
        raise ValueFault("is not a plausible date; write YYYY-MM-DD")
    return date


def _no_date(text: str) -> str:
    if DAY_NUMBERS.fullmatch(text):
        return (
            "is the day number of a spreadsheet; format the column as a date and write YYYY-MM-DD"
        )
    if _PART_OF_DATE.fullmatch(text):
        return "is not a whole date: the day is missing; write YYYY-MM-DD"
    return "is not a date; write YYYY-MM-DD, the year in four digits and first"


def _is_utc(parts: dict[str, str | None]) -> bool:
    utc = (parts.get("zone") or "").upper() in {"Z", "+00:00", "+0000", "-00:00"}
    return utc and re.sub(r"[:0.]", "", parts.get("clock") or "") != ""


READER_CODE = re.compile(
    r"(?:[A-Z]{1,3}|[Rr]eader|[Rr]ater|[Oo]bserver|[Aa]rbiter|ARBITER)[-_]?[0-9]{1,2}"
)
"""One to three capital letters, or a word for the person's role, then one or two digits."""

NOT_A_READER = (
    "is not a reader's code (one to three capital letters or the word reader or arbiter, "
    "then one or two digits, such as R1); a person's name is not accepted"
)


def parse_time(text: str) -> dt.datetime:
    """A point in time in ISO 8601, of the years of `EARLIEST` to `LATEST`.

    Without a zone it counts as UTC.

    >>> parse_time("2026-01-12T08:30:00+08:00").isoformat()
    '2026-01-12T00:30:00+00:00'
    """
    try:
        time = dt.datetime.fromisoformat(plain(text).replace("/", "-"))
    except ValueError as error:
        raise ValueFault(
            "is not a time; write ISO 8601, such as 2026-01-12T08:30:00+08:00"
        ) from error
    if not EARLIEST <= time.date() < LATEST:
        raise ValueFault("is not a plausible date; write YYYY-MM-DD")
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


class Figure(NamedTuple):
    """A number, the sign before it, and the unit behind it (empty where there is none)."""

    sign: str
    number: float
    unit: str


def parse_figure(text: str) -> Figure:
    """A number with the text before and behind it; a word behind it that is no unit is a fault.

    >>> parse_figure("≥50 %"), parse_figure("3,45 cm")
    (Figure(sign='≥', number=50.0, unit='percent'), Figure(sign='', number=3.45, unit='cm'))
    """
    match = _FIGURE.fullmatch(plain(text).lower())
    unit = unit_of(match["unit"]) if match and match["unit"] else ""
    if match is None or unit is None:
        raise ValueFault("is not a number")
    return Figure(match["sign"] or "", _number(match["digits"]), unit)


def _number(digits: str) -> float:
    """Digits with a point or a comma.

    1. A comma before three digits alone is refused: 1,063 is a thousand and sixty-three in one
       country and a little more than one in another.
    2. Thousands separators that can be nothing else are dropped; any other comma is a decimal one.
    """
    if len(_FRACTION.sub("", digits)) > LONGEST_NUMBER:
        raise ValueFault("is not a number")
    if _AMBIGUOUS.fullmatch(digits):
        raise ValueFault(
            "has a comma that may be a decimal or a thousands one; "
            "write it with a point, or without"
        )
    if _DECIMAL.fullmatch(digits):
        return float(digits)
    if _THOUSANDS.fullmatch(digits):
        return float(digits.replace(",", ""))
    if _POINT_THOUSANDS.fullmatch(digits):
        return float(digits.replace(".", "").replace(",", "."))
    if _DECIMAL_COMMA.fullmatch(digits):
        return float(digits.replace(",", "."))
    raise ValueFault("is not a number")


def parse_length(text: str, unit: str = "", *, doubtful: bool = False) -> float:
    """A length in mm.

    1. The unit behind the figure counts: mm or cm, no other; one that contradicts the header's is
       refused.
    2. Without one, the header's; without that, mm.
    3. Without any, refused where the column looks like centimetres (`doubtful`).

    >>> parse_length("12,5 mm"), parse_length("3.45 cm"), parse_length("3.45", "cm")
    (12.5, 34.5, 34.5)
    """
    figure = parse_figure(text)
    if figure.sign:
        raise ValueFault("is not one figure; write it without a sign")
    if figure.unit not in {"", "mm", "cm"}:
        raise ValueFault("is not in mm or cm; write mm")
    if figure.unit and unit and figure.unit != unit:
        raise ValueFault("is in another unit than its header states; correct one of them")
    if doubtful and figure.number and not (figure.unit or unit):
        raise ValueFault(
            "is in a column whose longest diameters are all below 10; write mm or cm in its header"
        )
    return round(figure.number * _FACTOR[figure.unit or unit or "mm"], 6)


def look_like_centimetres(texts: Iterable[str]) -> bool:
    """True for two or more longest diameters, all below 10.

    A target lesion measures at least 10 mm when it is chosen.

    >>> look_like_centimetres(["3.45", "2.1", ""]), look_like_centimetres(["34.5", "2.1"])
    (True, False)
    >>> look_like_centimetres(["8"])
    False
    """
    numbers = [
        float(text.replace(",", ".")) for text in map(plain, texts) if _BARE_LENGTH.fullmatch(text)
    ]
    return sum(number > 0 for number in numbers) > 1 and max(numbers) < 10


def parse_stage(text: str) -> str:
    """Clinical stage: ⅢB, IIIb, 3B期, cT-prefix or not.

    TNM descriptors and the edition may stand beside it; an M that contradicts it is refused.

    >>> parse_stage("ⅢB期"), parse_stage("4a"), parse_stage("Stage IIIA2")
    ('IIIB', 'IVA', 'IIIA2')
    >>> parse_stage("ⅣA期（cT2aN1M1a）"), parse_stage("T4N2M0, IIIB (AJCC 8th)")
    ('IVA', 'IIIB')
    """
    written = re.sub(r"\s", "", plain(text))
    tnm = _TNM.search(written)
    bare = _EDITION.sub("", _TNM.sub("", written))
    match = _STAGE.fullmatch(written if bare == written else _AROUND_STAGE.sub("", bare))
    number = match[1].upper() if match else ""
    stage = _ROMAN.get(number, number) + match[2].upper() + match[3] if match else ""
    if stage not in STAGES:
        raise ValueFault("is not a stage; write one, I to IV with its sub-stage, such as IIIB")
    if tnm and tnm["m"].lower() != "x" and (tnm["m"] != "0") != stage.startswith("IV"):
        raise ValueFault(
            "states an M of TNM that contradicts its stage: M1 is stage IV, and only that"
        )
    return stage


def parse_proportion(text: str, *, shares: bool = False) -> float:
    """PD-L1 tumour proportion score in percent.

    1. "<1%" and "negative" are 0: below the lowest cut-off.
    2. "≥50%" is 50: the bound that is known.
    3. A range ("1-49%") and another score ("CPS 10") are refused: they are not the figure.
    4. A figure between 0 and 1 without a percent sign is refused, whatever the header says: 0.8 is
       what a program reads in a cell that shows 80 %. So is 1 where the column has such figures
       (`shares`).

    >>> parse_proportion("<1%"), parse_proportion("≥50%"), parse_proportion("阴性")
    (0.0, 50.0, 0.0)
    >>> parse_proportion("35"), parse_proportion("0.8%")
    (35.0, 0.8)
    """
    if known_value("pd_l1_tps", text) == "0":
        return 0.0
    try:
        sign, number, own = parse_figure(re.sub(r"^tps\s*[:=]?\s*", "", plain(text).lower()))
    except ValueFault as fault:
        raise ValueFault(
            f"{fault}: it is not a percentage; write one figure from 0 to 100"
        ) from fault
    if own not in {"", "percent"}:
        raise ValueFault("is not a percentage; write one figure from 0 to 100")
    if sign in {"<", "≤", "<="}:
        if number > 1:
            raise ValueFault("is not a percentage; write one figure from 0 to 100")
        return 0.0
    if not own and (0 < number < 1 or (shares and number == 1)):
        raise ValueFault(
            "is a share or a percentage, nobody can say which; write it with its percent sign"
        )
    return number


def are_shares(texts: Iterable[str]) -> bool:
    """True for a column of percentages that a program wrote as shares of one.

    1. One of them is between 0 and 1, without a percent sign.
    2. Or one is written `1.0` and none is above 1.

    >>> are_shares(["0.8", "1"]), are_shares(["35", "1"]), are_shares(["1.0", "0.0"])
    (True, False, True)
    >>> are_shares(["0.8%", "1"])
    False
    """
    bare = [text for text in map(plain, texts) if _DECIMAL.fullmatch(text)]
    numbers = [float(text) for text in bare]
    between = any(0 < number < 1 for number in numbers)
    return between or ("1.0" in bare and max(numbers) <= 1)


def parse_cycle(text: str) -> int:
    """Number of a cycle: 3, C3, 第3周期.

    >>> parse_cycle("第3周期"), parse_cycle("C2")
    (3, 2)
    """
    match = _CYCLE.fullmatch(whole(text).lower())
    if match is None or not 1 <= int(match[1]) <= 99:
        raise ValueFault("is not the number of a cycle, 1 to 99")
    return int(match[1])


def parse_ecog(text: str) -> int:
    """ECOG performance status, 0 to 4; 5 is death, which has a date of its own.

    >>> parse_ecog("PS 1"), parse_ecog("0分")
    (1, 0)
    """
    match = _ECOG.fullmatch(whole(text).lower())
    if match is None:
        raise ValueFault(
            "is not one performance status, 0 to 4; a death stands in follow_up with its date"
        )
    return int(match[1])


def parse_age(text: str) -> int:
    """Age in whole years that were completed; months, weeks and days are refused.

    >>> parse_age("63岁"), parse_age("63.9"), parse_age("63岁8个月"), parse_age("063Y")
    (63, 63, 63, 63)
    """
    written = plain(text).lower()
    years = _YEARS_AND_MONTHS.fullmatch(written)
    figure = parse_figure(years[1] if years else written)
    if figure.sign or figure.unit not in {"", "year"}:
        raise ValueFault("is not an age in years; write whole years")
    age = int(figure.number)
    if age > 120:
        raise ValueFault("is not an age, 0 to 120")
    return age


def in_range(minimum: float, maximum: float, parse: Callable[..., float]) -> Callable[..., float]:
    """The same parser, refusing figures outside a range."""

    def parsed(text: str, *args: Any, **kwargs: Any) -> float:
        number = parse(text, *args, **kwargs)
        if not minimum <= number <= maximum:
            raise ValueFault(f"is not within {minimum:g} to {maximum:g}")
        return number

    return parsed


def word_of(field: str, hint: str) -> Callable[[str], str]:
    """A parser of the words that the vocabulary knows for a field.

    Several words in one cell are read where they mean the same.
    """

    def parsed(text: str) -> str:
        known = (
            None
            if _has_minus(text)
            else known_value(field, whole(text))
            or _affirmed(field, text)
            or _of_several(field, text)
        )
        if known is None:
            raise ValueFault(f"is not in the vocabulary; write {hint}")
        return known

    return parsed


def _of_several(field: str, text: str) -> str | None:
    """What every part of a text means; None where one part means something else.

    `19del/T790M` is mutant, `腺癌，低分化` an adenocarcinoma.
    """
    bare = without_qualifiers(field, text)
    parts = [part for part in _BETWEEN.split(plain(bare)) if part.strip()]
    meant = {known_value(field, part) for part in parts}
    return meant.pop() if len(meant) == 1 and (len(parts) > 1 or bare != fold(text)) else None


def _has_minus(text: str) -> bool:
    """True for a word with a minus before or behind it, or for a minus with a plus.

    `19del(-)` says that it is not there, `+/-` says two things.
    """
    signs = plain(text).translate(DASHES)
    return bool(_MINUS_AT_END.search(signs) and re.search(r"[^\W_]|\+", signs))


def _affirmed(field: str, text: str) -> str | None:
    """What a word with a plus behind it means, where the plus alone means the same.

    `19del(+)` is mutant.
    """
    match = _PLUS_AT_END.fullmatch(plain(text))
    known = known_value(field, match[1]) if match else None
    return known if known and known == known_value(field, "+") else None


def other_codes(texts: Iterable[str]) -> bool:
    """True for a column of sexes in other codes than 1 and 2: then 1 need not be male.

    >>> other_codes(["1", "0"]), other_codes(["1", "2", "F"])
    (True, False)
    """
    return bool({text for text in map(whole, texts) if text.isdigit()} - {"1", "2"})


def parse_sex(text: str, *, coded: bool = True) -> str:
    """F or M; the codes 1 (male) and 2 (female) of GB/T 2261.1 where the column has no others."""
    if whole(text).isdigit() and not coded:
        raise ValueFault("is a code, and the column has others than 1 and 2; write F or M")
    return word_of("sex", "F or M")(text)


def parse_label(text: str) -> str:
    """The label of a lesion or contour.

    A date is refused, since a spreadsheet makes one of `1-1`.
    """
    label = whole(text)
    if _LIKE_DATE.fullmatch(label):
        raise ValueFault(
            "is a date, as a spreadsheet makes of labels like 1-1; format the column as text"
        )
    return label


def parse_boolean(text: str) -> bool:
    """Yes or no, 是 or 否, 有 or 无, 1 or 0.

    >>> parse_boolean("有"), parse_boolean("N")
    (True, False)
    """
    known = None if _has_minus(text) else known_value("boolean", whole(text))
    if known is None:
        raise ValueFault("is neither yes nor no")
    return known == "yes"


def parse_line(text: str) -> int:
    """Line of treatment: 1, 一线, first-line."""
    return int(word_of("line", "1 to 9")(text))


def parse_drugs(text: str) -> Parsed:
    """Generic names joined by +; what is not in the drug dictionary is left out and reported."""
    drugs = find_drugs(text)
    if drugs.denied:
        raise ValueFault(
            "denies a drug, or says that one was stopped; write the drugs that were given"
        )
    if drugs.text is None:
        raise ValueFault(
            "names no drug of the dictionary; see dagster_project/lake/vocabulary.toml"
        )
    return Parsed(
        drugs.text,
        "names more than the drug dictionary knows; that part is left out"
        if drugs.partly_unknown
        else "",
    )


def parse_reader(text: str) -> str:
    """A reader's or arbiter's code; a name, in letters of whatever case, is none.

    >>> parse_reader("R1")
    'R1'
    """
    if not READER_CODE.fullmatch(plain(text)):
        raise ValueFault(NOT_A_READER)
    return plain(text)


def parse_visit(text: str) -> str:
    """A visit as the pages name it: T0, T1 or T2, and V1, V2 and so on.

    >>> parse_visit(" t1 ")
    'T1'
    """
    visit = plain(text).upper()
    if not re.fullmatch(VISIT_PATTERN, visit):
        raise ValueFault("is no visit; write T0, T1, T2 or V1, V2, … as the board page does")
    return visit


def parse_page_code(text: str) -> str:
    """The code of a board page; case, spaces and dashes do not count.

    >>> parse_page_code("bp bcdf ghjk—lmnp")
    'BP-BCDF-GHJK-LMNP'
    """
    letters = re.sub(r"[\s_-]", "", plain(text).translate(DASHES)).upper().removeprefix("BP")
    code = "-".join(["BP", *(letters[at : at + 4] for at in range(0, len(letters), 4))])
    if not re.fullmatch(PAGE_CODE_PATTERN, code):
        raise ValueFault(
            "is no code of a board page; copy it from the page: BP- and twelve letters"
        )
    return code


def parse_cell(text: str, parse: Callable[[str], Any]) -> Parsed:
    """A cell's value by a parser; None for an empty cell and for words that mean a missing value.

    Here alone any other exception of a parser becomes a refusal of the cell.

    Raises
    ------
    ValueFault
        For a cell that is not understood, and for an error of a spreadsheet, which is not the same
        as missing.
    """
    if SPREADSHEET_ERRORS.fullmatch(plain(text)):
        raise ValueFault(
            "is an error of the spreadsheet; correct its formula, or leave the cell empty"
        )
    try:
        value = parse(text) if text else None
    except Exception as error:
        if is_missing(text):
            return Parsed(None)
        raise error if isinstance(error, ValueFault) else ValueFault(NOT_UNDERSTOOD) from None
    return value if isinstance(value, Parsed) else Parsed(value)
