"""The crosswalk: the pseudonym of each hospital number.

Without the keys, the file says nothing about anybody.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path

from dagster_project.intake.identity.keys import Keys, KeysError, unlock_identity
from dagster_project.lake.durable import sync_commits
from dagster_project.lake.vocabulary import DASHES

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""Base 32 of RFC 4648."""

RANDOM_CHARACTERS = 16
"""80 random bits."""

_FIELD_POLYNOMIAL = 0b100101
"""x^5 + x^2 + 1, primitive over GF(2)."""

SCRYPT_COST = 2**13
"""Cost of scrypt: about 25 ms and 8 MiB per hospital number.

Trying a million numbers is expensive; the 500 patients of a study are cheap.
"""

OTHER_MEDIUM = (
    "this home's patients were taken in with another key drive; "
    "put that one in place, or begin a new home"
)

SHORTEST_SHIFT_DAYS, LONGEST_SHIFT_DAYS = 365, 3650
"""Dates go back by a secret number of days between these, one number per patient."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS patient (pseudonym TEXT PRIMARY KEY, site TEXT NOT NULL, \
withdrawn INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS number (blind TEXT PRIMARY KEY, pseudonym TEXT NOT NULL, \
with_issuer INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sealed (digest TEXT PRIMARY KEY, pseudonym TEXT NOT NULL, \
blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS medium (recipient TEXT NOT NULL);
"""


class IssuerConflictError(Exception):
    """One hospital number came from two issuers.

    Either they are two number spaces, or one issuer was renamed; a person has to decide which.
    """

    def __init__(self) -> None:
        super().__init__(
            "this patient number is already known from another issuer (0010,0021); "
            "register it as an alias or correct the issuer"
        )


class UnknownPseudonymError(Exception):
    """No patient has this pseudonym."""

    def __init__(self) -> None:
        super().__init__(
            "no patient of the crosswalk has this pseudonym; check the check character"
        )


_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_FORMULA = re.compile(r'="?([^"=]*)"?')
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.0*)?")
_WHOLE = re.compile(r"(\d+)\.0*")
_QUOTES = "'`´‘’\"“”"

_SCIENTIFIC = re.compile(
    r"[+-]?(\d+([.,]\d*)?E[+-]\d{1,3}|\d([.,]\d*)?E\d{1,3}|\d+[.,]\d*E\d{1,3})"
)
_MARKS = re.compile(r"[=|!<>:,;，；、。\"“”]")
EXACT_DIGITS = 15
"""Digits of a number that a spreadsheet keeps; it writes zeros for those after."""

SCIENTIFIC = "is in scientific notation, which names many patients; write the number out, as text"
ROUNDED = (
    "has zeros after its 15th digit, as a spreadsheet leaves a long number; write it out, as text"
)
NO_NUMBER = (
    "is no patient number: it has no digit, or it is several, a remark or an error of a spreadsheet"
)
PSEUDONYM = (
    "is a study pseudonym and no number of the hospital; "
    "deliver the original under the patient's own number"
)
TOO_LONG = "is longer than any patient number; correct it"
LONGEST_NUMBER = 64
"""Characters of PatientID (0010,0020), VR LO."""

NOUGHT = "is zero, which is nobody's number"


def canonical_number(number: str) -> str:
    """One spelling of a hospital number, in the tables as in the images.

    1. Unicode NFKC: full-width digits and letters become plain ones; so do digits of other scripts
       and the many hyphens.
    2. Spaces and what is not seen are dropped, letters are upper case.
    3. What a spreadsheet puts around a number is undone: `="0012"`, a leading apostrophe, quotes.
    4. A number of digits alone loses thousands separators and `.0`, which a spreadsheet adds.
    5. A number of digits alone loses its leading zeros, since spreadsheets lose them too; with
       letters they stay.

    >>> canonical_number(" ００１２３４ "), canonical_number("zy 0012"), canonical_number("000")
    ('1234', 'ZY0012', '0')
    >>> canonical_number('="0098766"'), canonical_number("'0098765"), canonical_number("1,234,567"), canonical_number("12345678.0")
    ('98766', '98765', '1234567', '12345678')
    """  # noqa: E501
    text, before = number, None
    while text != before:  # a capital can be two characters
        text, before = written_number(text).upper(), text
    return (text.lstrip("0") or "0") if text.isdigit() else text


def written_number(number: str) -> str:
    """A hospital number as the hospital writes it, which a PACS needs in a query.

    The canonical form with its leading zeros and small letters.
    """
    text, before = number, None
    while text != before:  # dropping a space can let two characters become one
        text, before = _unwrapped(_plain(text)), text
    return text


def _plain(text: str) -> str:
    seen = (
        c
        for c in unicodedata.normalize("NFKC", text).translate(DASHES)
        if unicodedata.category(c) not in _UNSEEN
    )
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in seen)


def _unwrapped(text: str) -> str:
    formula = _FORMULA.fullmatch(text)
    text = formula[1] if formula else text
    text = text.lstrip(_QUOTES)
    text = text.rstrip(_QUOTES) if text[:-1].isalnum() else text
    text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def number_fault(number: str) -> str:
    """Why a text is nobody's number; empty where it is one.

    1. A pseudonym, of whatever site: what bears one was de-identified before, and its dates are
       shifted.
    2. Scientific notation: `3.30102E+11` is every number from 330101500000 to 330102499999.
    3. Zero, a text longer than any number, one without any digit, an error of a spreadsheet, one
       with marks between words (a remark below the table, two numbers).

    >>> number_fault("3.30102e+11") == number_fault("3E11") == SCIENTIFIC, number_fault("12E4567"), number_fault("合计") == NO_NUMBER
    (True, '', True)
    """  # noqa: E501
    text = canonical_number(number)
    if is_pseudonym(text):
        return PSEUDONYM
    if len(text) > LONGEST_NUMBER:
        return TOO_LONG
    if _SCIENTIFIC.fullmatch(text):
        return SCIENTIFIC
    if text == "0":
        return NOUGHT
    return (
        NO_NUMBER
        if not re.search(r"\d", text) or _MARKS.search(text) or text.startswith("#")
        else ""
    )


def is_rounded(number: str) -> bool:
    """True for a number of digits alone that has zeros only after those that a spreadsheet keeps.

    >>> is_rounded("330102198801011000"), is_rounded("330102198801011234"), is_rounded("1234567890123450")
    (True, False, True)
    """  # noqa: E501
    text = canonical_number(number)
    return text.isdigit() and len(text) > EXACT_DIGITS and not text[EXACT_DIGITS:].strip("0")


def new_pseudonym(site: str) -> str:
    """Site, 16 random characters, check character; derived from nothing."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return f"{site}-{body}{_check_character(site + body)}"


def is_pseudonym(text: str) -> bool:
    """True where the form and the check character are right.

    >>> is_pseudonym(new_pseudonym("AB")), is_pseudonym("AB-AAAAAAAAAAAAAAAAA")
    (True, False)
    """
    site, _, body = text.rpartition("-")
    well_formed = re.fullmatch(r"[A-Z0-9]{2,8}-[A-Z2-7]{17}", text) is not None
    return well_formed and body[-1] == _check_character(site + body[:-1])


def _check_character(text: str) -> str:
    """Remainder in GF(32).

    It detects every single wrong character, and every swap of two among the random ones.
    """
    remainder = 0
    for character in text:
        carry = _FIELD_POLYNOMIAL if remainder & 16 else 0
        remainder = (
            (remainder << 1)
            ^ carry
            ^ (ALPHABET.find(character) if character in ALPHABET else int(character))
        )
    return ALPHABET[remainder]


def shift_days(keys: Keys, pseudonym: str) -> int:
    """Days by which every date of this patient moves: negative, whole, and the same each time."""
    drawn = int.from_bytes(
        hmac.new(keys.date, pseudonym.encode(), hashlib.sha256).digest()[:8], "big"
    )
    return -(SHORTEST_SHIFT_DAYS + drawn % (LONGEST_SHIFT_DAYS - SHORTEST_SHIFT_DAYS + 1))


@lru_cache(maxsize=4096)
def blind_index(
    index_key: bytes, site: str, issuer: str, number: str, steps: tuple[bytes, ...] = ()
) -> str:
    """HMAC(index key, scrypt(issuer | number)).

    An attacker with the crosswalk but not the key cannot try numbers against it.

    Numbers of two sites are two spaces: without an issuer the site is the issuer. Each rotation
    adds a step, an HMAC over what stood there before, so that rows move to the new key without
    anybody knowing their numbers.
    """
    text = f"{site}|{canonical_number(issuer)}|{canonical_number(number)}".encode()
    slow = hashlib.scrypt(
        text, salt=b"lakehouse crosswalk", n=SCRYPT_COST, r=8, p=1, maxmem=2**26, dklen=32
    )
    return _stepped(hmac.new(index_key, slow, hashlib.sha256).hexdigest(), steps)


def _stepped(blind: str, steps: Iterable[bytes]) -> str:
    for step in steps:
        blind = hmac.new(step, blind.encode(), hashlib.sha256).hexdigest()
    return blind


@contextmanager
def _written(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction; what is deleted is overwritten."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        sync_commits(connection)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("COMMIT")
    finally:
        connection.close()


def _make(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.strip().split(";")[:-1]:
        connection.execute(statement)


def _check_medium(connection: sqlite3.Connection, recipient: str) -> None:
    known = connection.execute("SELECT recipient FROM medium").fetchone()
    if known is None:
        connection.execute("INSERT INTO medium VALUES (?)", (recipient,))
    elif known[0] != recipient:
        raise KeysError(OTHER_MEDIUM)


def bind_medium(path: Path, recipient: str) -> None:
    """Bind a crosswalk to its key drive.

    From then on intake with any other key drive is refused, and without this one locked.

    Raises
    ------
    KeysError
        Where it belongs to another.
    """
    file = crosswalk_file(path)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not file.exists():
        file.touch(mode=0o600)
    with _written(file) as connection:
        _make(connection)
        _check_medium(connection, recipient)


def medium_of(path: Path) -> str:
    """The public recipient of the key drive to which a crosswalk belongs; empty for none yet."""
    file = crosswalk_file(path)
    if not file.is_file():
        return ""
    with _written(file) as connection:
        _make(connection)
        known = connection.execute("SELECT recipient FROM medium").fetchone()
    return known[0] if known else ""


class Crosswalk:
    """One SQLite file of pseudonyms, blind indexes and sealed facts.

    What is known of a patient is sealed to the key drive's public recipient.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._path, self._keys = crosswalk_file(path), keys
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._path.exists():
            self._path.touch(mode=0o600)
        self._open: sqlite3.Connection | None = None
        self._watcher: sqlite3.Connection | None = None
        self._withdrawn: dict[tuple[str, int], frozenset[str]] = {}
        self._aliases: dict[tuple[str, int], bool] = {}
        with self._writing() as connection:
            _make(connection)
            _check_medium(connection, keys.recipient)

    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return nullcontext(self._open) if self._open is not None else _written(self._path)

    @contextmanager
    def transaction(self, site: str, numbers: Iterable[str]) -> Iterator[None]:
        """What is looked up and noted within is one transaction: all of it or nothing.

        The blind indexes of the numbers (scrypt) are computed before: other sites wait for a
        transaction, and not for these.
        """
        for number in numbers:
            self._blind(site, "", number)
        with _written(self._path) as connection:
            self._open = connection
            try:
                yield
            finally:
                self._open = None

    def find(self, site: str, number: str, issuer: str = "") -> str | None:
        """The pseudonym of a hospital number; None where it was never seen."""
        with self._writing() as connection:
            return self._known(connection, site, number, issuer)

    def find_or_create(self, site: str, number: str, issuer: str = "") -> str:
        """The pseudonym of a hospital number, a new one where it was never seen.

        1. Issuer and number known: that patient.
        2. Issuer given, the number alone known and not yet bound to an issuer: that patient, and
           the issuer is bound to it.
        3. Issuer given, the number alone bound to another issuer: `IssuerConflictError`.
        4. Else a new patient; the number alone is registered too, since the case report names no
           issuer.
        """
        with self._writing() as connection:
            return self._known(connection, site, number, issuer) or self._created(
                connection, site, number, issuer
            )

    def _known(
        self, connection: sqlite3.Connection, site: str, number: str, issuer: str
    ) -> str | None:
        exact = self._pseudonym(connection, self._blind(site, issuer, number))
        if exact or not issuer:
            return exact
        alone = self._pseudonym(connection, self._blind(site, "", number))
        if alone is None:
            return None
        if connection.execute(
            "SELECT 1 FROM number WHERE pseudonym = ? AND with_issuer", (alone,)
        ).fetchone():
            raise IssuerConflictError
        self._register(connection, alone, self._blind(site, issuer, number), with_issuer=True)
        self._seal(connection, alone, {"site": site, "issuer": issuer, "hospital_number": number})
        return alone

    def _created(self, connection: sqlite3.Connection, site: str, number: str, issuer: str) -> str:
        pseudonym = new_pseudonym(site)
        connection.execute("INSERT INTO patient VALUES (?, ?, 0)", (pseudonym, site))
        self._register(connection, pseudonym, self._blind(site, "", number), with_issuer=False)
        if issuer:
            self._register(
                connection, pseudonym, self._blind(site, issuer, number), with_issuer=True
            )
        self._seal(
            connection, pseudonym, {"site": site, "issuer": issuer, "hospital_number": number}
        )
        return pseudonym

    def _blind(self, site: str, issuer: str, number: str) -> str:
        return blind_index(self._keys.index, site, issuer, number, self._keys.steps)

    @staticmethod
    def _pseudonym(connection: sqlite3.Connection, blind: str) -> str | None:
        row = connection.execute(
            "SELECT pseudonym FROM number WHERE blind = ?", (blind,)
        ).fetchone()
        return row[0] if row else None

    @staticmethod
    def _register(
        connection: sqlite3.Connection, pseudonym: str, blind: str, *, with_issuer: bool
    ) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO number VALUES (?, ?, ?)", (blind, pseudonym, with_issuer)
        )

    def add_alias(self, pseudonym: str, site: str, number: str, issuer: str = "") -> None:
        """Another number of the same patient.

        From now on it leads to this pseudonym, whatever it led to before.
        """
        with self._writing() as connection:
            if not connection.execute(
                "SELECT 1 FROM patient WHERE pseudonym = ?", (pseudonym,)
            ).fetchone():
                raise UnknownPseudonymError
            self._register(
                connection, pseudonym, self._blind(site, issuer, number), with_issuer=False
            )
            self._seal(
                connection, pseudonym, {"site": site, "issuer": issuer, "hospital_number": number}
            )

    def remember(self, pseudonym: str, facts: dict[str, str]) -> None:
        """Seal what a file or a row states about the patient (name, birth date …).

        Each different statement is sealed once.
        """
        with self._writing() as connection:
            self._seal(connection, pseudonym, facts)

    def _seal(self, connection: sqlite3.Connection, pseudonym: str, facts: dict[str, str]) -> None:
        import pyrage

        known = {k: v for k, v in sorted(facts.items()) if v}
        digest = self._keys.digest("sealed " + pseudonym, json.dumps(known))
        if connection.execute("SELECT 1 FROM sealed WHERE digest = ?", (digest,)).fetchone():
            return
        content = {
            "pseudonym": pseudonym,
            **known,
            "shift_days": shift_days(self._keys, pseudonym),
            "key_version": self._keys.version,
        }
        blob = pyrage.encrypt(
            json.dumps(content, ensure_ascii=False).encode(),
            [pyrage.x25519.Recipient.from_str(self._keys.recipient)],
        )
        connection.execute("INSERT INTO sealed VALUES (?, ?, ?)", (digest, pseudonym, blob))

    def withdraw(self, pseudonym: str) -> str:
        """Forget who the patient is; the mark in place of the pseudonym."""
        return withdraw_from_crosswalk(self._path, pseudonym, mark_of(self._path, pseudonym))

    def merge(self, pseudonym: str, into: str) -> None:
        """Merge two pseudonyms that turned out to be one person.

        Every number of the first leads to the second, and so does what was sealed.

        Raises
        ------
        UnknownPseudonymError
            Where one of them is not of this crosswalk.
        """
        with self._writing() as connection:
            known = connection.execute(
                "SELECT count(*) FROM patient WHERE pseudonym IN (?, ?)", (pseudonym, into)
            ).fetchone()[0]
            if known != 2:
                raise UnknownPseudonymError
            connection.execute(
                "UPDATE number SET pseudonym = ? WHERE pseudonym = ?", (into, pseudonym)
            )
            connection.execute(
                "UPDATE sealed SET pseudonym = ? WHERE pseudonym = ?", (into, pseudonym)
            )
            connection.execute("DELETE FROM patient WHERE pseudonym = ?", (pseudonym,))

    def withdrawn(self, site: str) -> frozenset[str]:
        """Pseudonyms of a site whose patients have left the study.

        They are read again when anything in the crosswalk was written since.
        """
        known = (site, self.version())
        if known not in self._withdrawn or self._open is not None:
            with self._writing() as connection:
                found = connection.execute(
                    "SELECT pseudonym FROM patient WHERE site = ? AND withdrawn", (site,)
                )
                self._withdrawn = {known: frozenset(row[0] for row in found)}
        return self._withdrawn[known]

    def version(self) -> int:
        """A number that changes with every transaction of any process."""
        if self._watcher is None:
            self._watcher = sqlite3.connect(
                self._path, timeout=60, isolation_level=None, check_same_thread=False
            )
        return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])

    def has_aliases(self, site: str) -> bool:
        """Whether a patient of a site has several numbers."""
        known = (site, self.version())
        if known not in self._aliases:
            with self._writing() as connection:
                found = connection.execute(
                    "SELECT 1 FROM number JOIN patient USING (pseudonym) "
                    "WHERE site = ? AND NOT with_issuer "
                    "GROUP BY pseudonym HAVING count(*) > 1 LIMIT 1",
                    (site,),
                )
                self._aliases = {known: found.fetchone() is not None}
        return self._aliases[known]

    def knows(self, pseudonym: str) -> bool:
        """True where a patient has this pseudonym."""
        with self._writing() as connection:
            return (
                connection.execute(
                    "SELECT 1 FROM patient WHERE pseudonym = ?", (pseudonym,)
                ).fetchone()
                is not None
            )


def crosswalk_file(path: Path) -> Path:
    """The crosswalk's file, where its folder or the file itself is named."""
    return path if path.suffix else path / "crosswalk.sqlite"


def mark_of(path: Path, pseudonym: str) -> str:
    """The mark for a patient who leaves: new, and derived from nothing.

    For a patient who has already left, the earlier mark.

    Raises
    ------
    UnknownPseudonymError
        Where no patient has this pseudonym.
    """
    with _written(crosswalk_file(path)) as connection:
        row = connection.execute(
            "SELECT site, withdrawn FROM patient WHERE pseudonym = ?", (pseudonym,)
        ).fetchone()
    if row is None:
        raise UnknownPseudonymError
    return pseudonym if row[1] else new_pseudonym(row[0])


def withdraw_from_crosswalk(path: Path, pseudonym: str, mark: str) -> str:
    """Forget who a patient is, and the pseudonym; needs no key, so that a locked server can do it.

    1. What was sealed is deleted.
    2. The mark takes the place of the pseudonym: the blind indexes lead to it, so that files sent
       again are refused, and the study can count who left.
    3. Where the mark has its place already, that was done before.

    Raises
    ------
    UnknownPseudonymError
        Where no patient has this pseudonym.
    """
    with _written(crosswalk_file(path)) as connection:
        known = connection.execute(
            "SELECT 1 FROM patient WHERE pseudonym = ?", (pseudonym,)
        ).fetchone()
        marked = connection.execute(
            "SELECT 1 FROM patient WHERE pseudonym = ? AND withdrawn", (mark,)
        ).fetchone()
        if known is None and marked is None:
            raise UnknownPseudonymError
        connection.execute(
            "UPDATE patient SET withdrawn = 1, pseudonym = ? WHERE pseudonym = ?", (mark, pseudonym)
        )
        connection.execute("UPDATE number SET pseudonym = ? WHERE pseudonym = ?", (mark, pseudonym))
        connection.execute("DELETE FROM sealed WHERE pseudonym = ?", (pseudonym,))
    return mark


def patients_of(path: Path, site: str) -> list[str]:
    """Pseudonyms of a site's patients, those who withdrew left out."""
    if not crosswalk_file(path).is_file():
        return []
    with _written(crosswalk_file(path)) as connection:
        _make(connection)
        return [
            row[0]
            for row in connection.execute(
                "SELECT pseudonym FROM patient WHERE site = ? AND NOT withdrawn ORDER BY 1", (site,)
            )
        ]


def forget_site(path: Path, site: str) -> list[str]:
    """Forget every patient of a site except those who withdrew; needs no key.

    Gives the pseudonyms that are forgotten.

    What was sealed and the blind indexes are deleted: what the site delivers later bears new
    pseudonyms. The marks of those who withdrew stay with their indexes, so that their files are
    refused whenever they come again.
    """
    gone = patients_of(path, site)
    if not gone:
        return []
    with _written(crosswalk_file(path)) as connection:
        for table in ("number", "sealed", "patient"):
            connection.executemany(
                f"DELETE FROM {table} WHERE pseudonym = ?", [(pseudonym,) for pseudonym in gone]
            )
    return gone


def rotate_crosswalk(path: Path, *, old: Keys, new: Keys, identity: str) -> int:
    """Re-seal and re-index every row in one transaction; pseudonyms stay.

    Returns the number of sealed rows.

    1. Each blind index gets the new step over it: no hospital number is needed, so those of the
       withdrawn move too.
    2. What is sealed is opened with the old identity and sealed to the new recipient.
    3. The crosswalk belongs to the new key drive; the old one opens nothing any more.
    """
    import pyrage

    opener, recipient = (
        pyrage.x25519.Identity.from_str(identity),
        pyrage.x25519.Recipient.from_str(new.recipient),
    )
    steps = new.steps[len(old.steps) :]
    with _written(crosswalk_file(path)) as connection:
        _check_medium(connection, old.recipient)
        numbers = connection.execute("SELECT blind, pseudonym, with_issuer FROM number").fetchall()
        sealed = connection.execute("SELECT digest, pseudonym, blob FROM sealed").fetchall()
        connection.execute("DELETE FROM number")
        connection.execute("DELETE FROM sealed")
        connection.executemany(
            "INSERT INTO number VALUES (?, ?, ?)",
            [(_stepped(blind, steps), *rest) for blind, *rest in numbers],
        )
        connection.executemany(
            "INSERT INTO sealed VALUES (?, ?, ?)",
            [
                (digest, pseudonym, pyrage.encrypt(pyrage.decrypt(blob, [opener]), [recipient]))
                for digest, pseudonym, blob in sealed
            ],
        )
        connection.execute("UPDATE medium SET recipient = ?", (new.recipient,))
    return len(sealed)


def reidentify(
    pseudonym: str,
    *,
    crosswalk: Path,
    medium: Path,
    audit: Path,
    passphrase: str = "",
    purpose: str = "",
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> list[dict[str, str]]:
    """Everything that is sealed about a patient.

    Needs the key drive, not the lake, and writes an audit line first.

    Raises
    ------
    UnknownPseudonymError
        Where nothing is sealed under this pseudonym; the attempt is in the audit all the same.
    """
    import pyrage

    identity = pyrage.x25519.Identity.from_str(unlock_identity(medium, passphrase))
    write_audit(audit, "reidentify", pseudonym, purpose, now=now)
    connection = sqlite3.connect(f"file:{crosswalk_file(crosswalk)}?mode=ro", uri=True)
    try:
        blobs = connection.execute(
            "SELECT blob FROM sealed WHERE pseudonym = ? ORDER BY rowid", (pseudonym,)
        ).fetchall()
    finally:
        connection.close()
    if not blobs:
        raise UnknownPseudonymError
    return [json.loads(pyrage.decrypt(blob, [identity])) for (blob,) in blobs]


def write_audit(
    audit: Path,
    action: str,
    pseudonym: str,
    purpose: str,
    *,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> None:
    """Add a line to the audit: when, what, of whom, why."""
    record = {"at": now().isoformat(), "action": action, "pseudonym": pseudonym, "purpose": purpose}
    audit.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    audit.touch(mode=0o600)
    with audit.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def is_audited(audit: Path, action: str, pseudonym: str) -> bool:
    """Whether the audit has a line of this action about somebody."""
    if not audit.is_file():
        return False
    lines = map(json.loads, audit.read_text(encoding="utf-8").splitlines())
    return any((line["action"], line["pseudonym"]) == (action, pseudonym) for line in lines)
