"""Whether two statements of one patient number name one person.

A hospital number that is typed wrong, or given twice, leads to the images of somebody else; the
birth date, the sex and the name beside it are all that can show it. They are compared as keyed
digests, so that nothing of them stands in a vault.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from dagster_project.intake.identity.keys import Keys

Fact = Literal["birth_date", "sex", "age", "name"]

YEARS_APART = 5
"""Ages of one person may differ by as many years: the scans and cycles of a study lie closer."""

NOT_THE_SAME_PERSON = (
    "its birth date, sex, age or name are not those of the images that this patient number brought "
    "before, which stay: correct the number or the statement where it is wrong and export it "
    "again; if it is one person, lakehouse keys confirm {patient}"
)
SEVERAL_PEOPLE = (
    "this delivery brings images of several people under this patient number (birth date, sex, age "
    "or name), and nobody can say whose number it is: none of them is taken in; correct the number "
    "or the statement where it is wrong; if it is one person, lakehouse keys confirm {patient}"
)
ROW_OF_ANOTHER = (
    "names another person than the images of this number ({facts}); "
    "the row is left out, correct the number or the row"
)
NUMBER_OF_ANOTHER = (
    "the row of this number in patients.csv names another person than its images; "
    "the row is left out until that is settled"
)
CELL_OF_ANOTHER = (
    "contradicts the images of this patient; the cell is used, correct it or the images' header"
)

DAYS_PER_YEAR = 365.25
ANONYMOUS = (
    r"anon(ym(ous|i[sz]ed?)?)?|patient|subject|case|unknown|noname|none|null|test|study|baseline"
    r"|follow(up)?|deidentified|removed|匿名|患者|未知"
)
"""Words that a de-identifier writes in place of a name."""

_SEX: Mapping[str, str] = {"M": "M", "F": "F"}
_TOKEN = re.compile(r"[\^=\s,;:/()_\-.'`·]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
_AGE = re.compile(r"(\d{3})Y")
_EARLIEST_YEAR, _FILLED_IN = 1901, (1970, 2000)


@dataclass(frozen=True)
class Statement:
    """What one source states of a person; what it leaves open is empty.

    `birth_date`, its year and the names are keyed digests. Of a name there are its words by script,
    and the whole in either order, since a hospital writes `ZHANG^SAN` as `San Zhang` too.
    """

    birth_date: str = ""
    birth_year: str = ""
    sex: str = ""
    age: int | None = None
    words: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    wholes: tuple[str, ...] = ()

    def stored(self) -> str:
        """As text for the register."""
        return json.dumps(
            [self.birth_date, self.birth_year, self.sex, self.age, self.words, self.wholes]
        )

    @classmethod
    def of_stored(cls, text: str) -> Statement:
        """From what `stored` gave."""
        birth_date, year, sex, age, (latin, han), wholes = json.loads(text)
        return cls(birth_date, year, sex, age, (tuple(latin), tuple(han)), tuple(wholes))


NOTHING = Statement()


@lru_cache(maxsize=1024)
def state(
    keys: Keys,
    patient: str,
    *,
    name: str = "",
    birth_date: str = "",
    sex: str = "",
    age: str = "",
    day: str = "",
) -> Statement:
    """What an image or a row states of a patient.

    1. A birth date that is no day states nothing, and the first of a January states its year alone,
       as is written where no more is known; of 1900, 1970 and 2000 it is what programs fill in.
    2. Sex is M or F; any other value states nothing.
    3. Words of a name with digits are codes and state nothing; nor does a single Latin letter, nor
       a word such as ANONYMOUS.
    4. Without an age it is the one on the day of the study, where the birth date is known.

    Parameters
    ----------
    birth_date
        As DICOM writes it (YYYYMMDD) or as ISO does.
    age
        As DICOM writes it, in years (063Y).
    day
        Of the study, as DICOM writes it.
    """

    def keyed(what: str, text: str) -> str:
        return keys.digest(f"person {what} {patient}", text, 8)

    day_of_birth = _day(birth_date)
    born = day_of_birth if day_of_birth and not _is_new_year(day_of_birth) else None
    years = _AGE.fullmatch(age.strip())
    seen = _day(day)
    counted = int((seen - born).days / DAYS_PER_YEAR) if seen and born else None
    latin, han, wholes = _words(name, lambda text: keyed("name", text))
    return Statement(
        keyed("birth date", born.isoformat()) if born else "",
        keyed("birth year", str(day_of_birth.year)) if day_of_birth else "",
        _SEX.get(sex.strip().upper(), ""),
        int(years[1]) if years else counted,
        (latin, han),
        wholes,
    )


def _day(text: str) -> dt.date | None:
    digits = text.strip().replace("-", "").replace(".", "").replace("/", "")
    try:
        day = dt.datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    is_filled_in = _is_new_year(day) and day.year in _FILLED_IN
    known = day.year >= _EARLIEST_YEAR and not is_filled_in
    return day if known and len(digits) == len("YYYYMMDD") else None


def _is_new_year(day: dt.date) -> bool:
    return (day.month, day.day) == (1, 1)


def _words(
    name: str, keyed: Callable[[str], str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Digests of the Latin words of a name, of its Chinese writing, and of both as wholes."""
    text = unicodedata.normalize("NFKC", name).casefold()
    words = [word for word in _TOKEN.split(text) if word and not _is_code(word)]
    han = [word for word in words if _HAN.search(word)]
    latin = [word for word in words if word not in han and len(word) > 1]
    # of a name in several writings (ZHANG^SAN=张^三) each is a whole of its own
    wholes = {"".join(order) for part in (latin, han) for order in (part, part[::-1]) if part}
    written = {"".join(han)} if han else set()
    return (
        tuple(sorted(map(keyed, set(latin)))),
        tuple(sorted(map(keyed, written))),
        tuple(sorted(map(keyed, wholes))),
    )


def _is_code(word: str) -> bool:
    return bool(re.fullmatch(ANONYMOUS, word)) or any(character.isdigit() for character in word)


def compare(one: Statement, other: Statement) -> dict[Fact, bool]:
    """Which facts both state, and whether they agree; what one leaves open is not there.

    Of a birth date of which one states the year alone only another year says something.
    """
    found: dict[Fact, bool] = {}
    if one.birth_date and other.birth_date:
        found["birth_date"] = one.birth_date == other.birth_date
    elif one.birth_year and other.birth_year and one.birth_year != other.birth_year:
        found["birth_date"] = False
    elif one.age is not None and other.age is not None:
        found["age"] = abs(one.age - other.age) <= YEARS_APART
    if one.sex and other.sex:
        found["sex"] = one.sex == other.sex
    names = _names_agree(one, other)
    if names is not None:
        found["name"] = names
    return found


def _names_agree(one: Statement, other: Statement) -> bool | None:
    """Whether two names are one; None where they share a word alone, or are in two scripts."""
    if set(one.wholes) & set(other.wholes):
        return True
    scripts = [(set(a), set(b)) for a, b in zip(one.words, other.words, strict=True) if a and b]
    if not scripts or any(a & b for a, b in scripts):
        return None
    return False


def are_two_people(one: Statement, other: Statement) -> bool:
    """Whether two sources under one number name two people.

    1. Birth dates that differ name two.
    2. Equal birth dates name one, but where the sexes differ and no name agrees.
    3. Without two birth dates: sexes, ages or names that differ name two.
    """
    facts = compare(one, other)
    born = facts.get("birth_date")
    if born is None:
        return False in facts.values()
    return not born or (facts.get("sex") is False and not facts.get("name"))


def differing(one: Statement, other: Statement) -> tuple[list[Fact], bool]:
    """The facts in which a row contradicts an image, and whether it is of another person.

    One wrong cell is the rule and another person the exception: it is another where two facts or
    more differ and neither the birth date nor the name agrees. A year of birth alone is not
    compared with a row: a sheet is filled in by hand.
    """
    facts = compare(one, other)
    if not (one.birth_date and other.birth_date):
        facts.pop("birth_date", None)
    wrong = [fact for fact, agrees in facts.items() if not agrees]
    known = facts.get("birth_date") or facts.get("name")
    return wrong, len(wrong) > 1 and not known
