"""What a vault already holds, so that each file is read only once.

One SQLite file beside the vault, with keyed digests only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dagster_project.intake.dicom.examination import Examination
from dagster_project.lake.durable import sync_commits

_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL,
    state TEXT NOT NULL, object TEXT, item TEXT, reason TEXT, basis TEXT);
CREATE TABLE IF NOT EXISTS object (
    key TEXT PRIMARY KEY, patient TEXT NOT NULL, kind TEXT NOT NULL, series TEXT, \
content TEXT NOT NULL,
    output TEXT NOT NULL UNIQUE, output_digest TEXT NOT NULL, incoming TEXT);
CREATE INDEX IF NOT EXISTS object_patient ON object (patient);
CREATE INDEX IF NOT EXISTS object_pending ON object (key) WHERE incoming IS NOT NULL;
CREATE INDEX IF NOT EXISTS file_object ON file (object);
CREATE TABLE IF NOT EXISTS series (uid TEXT PRIMARY KEY, patient TEXT NOT NULL, \
slices INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pull_note (
    person TEXT NOT NULL, patient TEXT NOT NULL, item TEXT NOT NULL, reason TEXT NOT NULL, \
uids TEXT NOT NULL, listed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS text_mark (path TEXT PRIMARY KEY, series TEXT NOT NULL, \
patient TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fresh (object TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS twin (
    path TEXT PRIMARY KEY, object TEXT NOT NULL, patient TEXT NOT NULL, delivery TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS twin_object ON twin (object);
CREATE TABLE IF NOT EXISTS leaving (output TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS number (
    study TEXT NOT NULL, what TEXT NOT NULL, original TEXT NOT NULL, given INTEGER NOT NULL, \
PRIMARY KEY (study, what, original));
CREATE TABLE IF NOT EXISTS person (
    series TEXT PRIMARY KEY, patient TEXT NOT NULL, statement TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS study_of (series TEXT PRIMARY KEY, study TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS examination (
    series TEXT PRIMARY KEY, patient TEXT NOT NULL, study TEXT NOT NULL, days TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS examination_study ON examination (study);
CREATE INDEX IF NOT EXISTS examination_patient ON examination (patient);
"""

RECEIVED_KEY = "pacs"
"""Prefix of the key of what came by the network: it lies in no folder, so none can lack it."""

LOST_KEY = f"{RECEIVED_KEY} lost"
"""How the key of an object begins that the disk lost and no file of the landing brings back."""

ACCEPTED, DUPLICATE, REFUSED = "accepted", "duplicate", "refused"


class FileRow(NamedTuple):
    """A file of the landing, as it was when it was last read."""

    path: str
    size: int
    modified: int
    digest: str
    state: str
    object: str | None = None
    item: str | None = None
    reason: str | None = None
    basis: str | None = None


class Twin(NamedTuple):
    """A file with the identity of another of its delivery and other content.

    None of them has an object.
    """

    path: str
    object: str
    patient: str
    delivery: str


@dataclass(frozen=True)
class PullNote:
    """What a PACS did not give: place, reason, the objects (`uids`) of how many that it lists."""

    item: str
    reason: str
    uids: tuple[str, ...] = ()
    listed: int = 0

    def counted(self, left: int) -> str:
        """The place, with how many objects of it are missing."""
        return f"{self.item}, {left} of {self.listed} objects" if self.uids else self.item


@dataclass(frozen=True)
class ObjectRow:
    """An object of the vault; `incoming` names its copy until that has been moved into place."""

    key: str
    patient: str
    kind: str
    series: str | None
    content: str
    output: str
    output_digest: str
    incoming: str | None = None


class Register:
    """The register of one site's vault.

    One process writes it at a time (vault.py holds the site's lock).
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        # the threads of a listener use it in turn, under the site's lock
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        sync_commits(self._connection)
        # emptied, not removed: a commit need not wait for the name to go from its folder
        self._connection.execute("PRAGMA journal_mode = TRUNCATE")
        self._connection.executescript(_SCHEMA)
        self._series: dict[str, str] | None = None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._series = None
            raise
        self._connection.execute("COMMIT")

    def version(self) -> int:
        """A number that changes when anybody but this register writes the file."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def files(self) -> dict[str, FileRow]:
        """Every file by keyed path."""
        return {
            row[0]: FileRow._make(row) for row in self._connection.execute("SELECT * FROM file")
        }

    def file(self, path: str) -> FileRow | None:
        """One file by keyed path."""
        row = self._connection.execute("SELECT * FROM file WHERE path = ?", (path,)).fetchone()
        return FileRow._make(row) if row else None

    def received(self, uid: str, final: str) -> bool:
        """Whether the object of a keyed SOPInstanceUID is held or was refused for good.

        Refused for good: it was sent and refused on a basis that is still valid (`final`).
        """
        held = [f"CT {uid}", f"RTSTRUCT SITE {uid}", f"SEG SITE {uid}"]
        if self._connection.execute("SELECT 1 FROM object WHERE key IN (?, ?, ?)", held).fetchone():
            return True
        sent = (f"{RECEIVED_KEY} {uid} ", f"{RECEIVED_KEY} {uid}!", final)
        return (
            self._connection.execute(
                "SELECT 1 FROM file WHERE path >= ? AND path < ? AND basis = ?", sent
            ).fetchone()
            is not None
        )

    def has_come(self, uid: str) -> bool:
        """Whether the object of a keyed SOPInstanceUID has come.

        It is held, or was refused for whatever reason.
        """
        if self.received(uid, ""):
            return True
        sent = (f"{RECEIVED_KEY} {uid} ", f"{RECEIVED_KEY} {uid}!")
        return (
            self._connection.execute(
                "SELECT 1 FROM file WHERE path >= ? AND path < ?", sent
            ).fetchone()
            is not None
        )

    def put_pull_notes(self, person: str, patient: str, notes: Sequence[PullNote]) -> None:
        """Note what a pull did not bring of a person; replaces that person's earlier notes."""
        self._connection.execute(
            "DELETE FROM pull_note WHERE person = ? OR (patient <> '' AND patient = ?)",
            (person, patient),
        )
        self._connection.executemany(
            "INSERT INTO pull_note VALUES (?, ?, ?, ?, ?, ?)",
            [(person, patient, n.item, n.reason, " ".join(n.uids), n.listed) for n in notes],
        )

    def absent_of_notes(self, person: str) -> list[str]:
        """Keyed UIDs that were noted of a person and have not come since."""
        noted = self._connection.execute(
            "SELECT uids FROM pull_note WHERE person = ?", (person,)
        ).fetchall()
        return [uid for row in noted for uid in row["uids"].split() if not self.has_come(uid)]

    def pull_notes(self) -> list[tuple[str, str]]:
        """Item and reason of what pulls did not bring and what has not come otherwise since."""
        found = [
            PullNote(row["item"], row["reason"], tuple(row["uids"].split()), row["listed"])
            for row in self._connection.execute("SELECT * FROM pull_note ORDER BY rowid")
        ]
        still = [(n, [uid for uid in n.uids if not self.has_come(uid)]) for n in found]
        return [(n.counted(len(left)), n.reason) for n, left in still if left or not n.uids]

    def put_file(self, row: FileRow) -> None:
        """Note a file, in place of what was noted of it before."""
        self._connection.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
        )

    def forget_file(self, path: str) -> None:
        """The file is no longer in the landing; what was made of it stays in the vault."""
        self._connection.execute("DELETE FROM file WHERE path = ?", (path,))
        self.unmark_text(path)

    def mark_text(self, path: str, series: str, patient: str) -> None:
        """A file has text in its pixels: no slice of its series stays while it is unchanged."""
        self._connection.execute(
            "INSERT OR REPLACE INTO text_mark VALUES (?, ?, ?)", (path, series, patient)
        )

    def unmark_text(self, path: str, uid: str = "") -> bool:
        """A file has no text in its pixels, or is gone.

        What was sent of its object before no longer counts. Returns whether there was a mark.
        """
        sent = (path, f"{RECEIVED_KEY} {uid} ", f"{RECEIVED_KEY} {uid}!") if uid else (path, "", "")
        where = "path = ?1 OR (path >= ?2 AND path < ?3)"
        self._connection.execute(
            "DELETE FROM file WHERE path <> ?1 "
            f"AND path IN (SELECT path FROM text_mark WHERE {where})",
            sent,
        )
        return self._connection.execute(f"DELETE FROM text_mark WHERE {where}", sent).rowcount > 0

    def has_text(self, series: str) -> bool:
        """Whether a slice of a series has text in its pixels."""
        return (
            self._connection.execute(
                "SELECT 1 FROM text_mark WHERE series = ?", (series,)
            ).fetchone()
            is not None
        )

    def series_with_text(self) -> dict[str, str]:
        """The patient of each CT series with text in its pixels, by keyed UID."""
        return dict(self._connection.execute("SELECT series, patient FROM text_mark").fetchall())

    def judge_again(self, reason: str, items: Iterable[str]) -> None:
        """Files refused for a reason are judged again, except items to which it still applies."""
        still = list(items)
        places = ", ".join("?" * len(still))
        self._connection.execute(
            f"UPDATE file SET basis = '' WHERE reason = ? AND item NOT IN ({places})",
            (reason, *still),
        )

    def judge_refused_again(self) -> None:
        """Every refused file is judged again: whose its series or study is may have changed."""
        self._connection.execute("UPDATE file SET basis = '' WHERE state = ?", (REFUSED,))

    def refused(self) -> list[tuple[str, str]]:
        """Item and reason of every file that is refused now."""
        rows = self._connection.execute(
            "SELECT DISTINCT item, reason FROM file WHERE state = ? ORDER BY item, reason",
            (REFUSED,),
        )
        return [(row["item"], row["reason"]) for row in rows]

    def object(self, key: str) -> ObjectRow | None:
        """The object of a key."""
        row = self._connection.execute("SELECT * FROM object WHERE key = ?", (key,)).fetchone()
        return ObjectRow(**row) if row else None

    def objects(self, patient: str) -> list[ObjectRow]:
        """A patient's objects."""
        return [
            ObjectRow(**row)
            for row in self._connection.execute(
                "SELECT * FROM object WHERE patient = ? ORDER BY key", (patient,)
            )
        ]

    def images_and_contours(self) -> list[ObjectRow]:
        """Every object that is a DICOM file and in its place, by key."""
        rows = self._connection.execute(
            "SELECT * FROM object WHERE kind <> 'MASK' AND incoming IS NULL ORDER BY key"
        )
        return [ObjectRow(**row) for row in rows]

    def output_digests(self) -> dict[str, str]:
        """SHA-256 of what was written of every object, by its name in the vault."""
        return dict(self._connection.execute("SELECT output, output_digest FROM object").fetchall())

    def put_object(self, row: ObjectRow) -> None:
        """Note an object of the vault; one that was lost is back."""
        self.forget_file(f"{LOST_KEY} {row.key}")
        self._connection.execute(
            "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.key,
                row.patient,
                row.kind,
                row.series,
                row.content,
                row.output,
                row.output_digest,
                row.incoming,
            ),
        )

    def drop_object(self, key: str) -> None:
        """Drop an object that left the vault.

        The files that it came from are dropped too, so that they would be read again.
        """
        self._connection.execute("DELETE FROM file WHERE object = ?", (key,))
        self._connection.execute("DELETE FROM object WHERE key = ?", (key,))
        self._connection.execute("DELETE FROM fresh WHERE object = ?", (key,))

    # ── files of one delivery that contradict each other ──

    def note_fresh(self, key: str) -> None:
        """The object came with the delivery that is being taken in."""
        self._connection.execute("INSERT OR IGNORE INTO fresh VALUES (?)", (key,))

    def is_fresh(self, key: str) -> bool:
        """Whether the object came with the delivery that is being taken in.

        A run of that delivery that was cut short counts too.
        """
        found = self._connection.execute("SELECT 1 FROM fresh WHERE object = ?", (key,))
        return found.fetchone() is not None

    def begin_delivery(self, name: str) -> bool:
        """A delivery is taken in from now on.

        False where another one was cut short, and has to be checked first.
        """
        under_way = self.fact("under_way")
        if not under_way:
            self.remember("under_way", name)
        return under_way in {"", name}

    def end_delivery(self, name: str) -> None:
        """What has come now belongs to the vault, and all of it is on the disk.

        Not so where another delivery was cut short.
        """
        if self.fact("under_way") not in {"", name}:
            return
        with self.transaction():
            self._connection.execute("DELETE FROM fresh")
            self.remember("under_way", "")

    def placed(self) -> Iterator[tuple[ObjectRow, bool]]:
        """Every object that was moved into its place.

        With each, whether it came with the delivery that was cut short.
        """
        rows = self._connection.execute(
            "SELECT object.*, fresh.object IS NOT NULL AS is_fresh FROM object "
            "LEFT JOIN fresh ON fresh.object = object.key WHERE incoming IS NULL"
        ).fetchall()
        for row in rows:
            yield ObjectRow(*tuple(row)[:-1]), bool(row["is_fresh"])

    def lose(self, lost: ObjectRow, item: str, reason: str) -> None:
        """The disk lost an object: its files are read again.

        One whose files are nowhere any more is listed as refused.
        """
        folder_files = self._connection.execute(
            "DELETE FROM file WHERE object = ? AND path NOT LIKE ?", (lost.key, f"{RECEIVED_KEY} %")
        ).rowcount
        self.drop_object(lost.key)
        if not folder_files:
            named = FileRow(f"{LOST_KEY} {lost.key}", 0, 0, "", REFUSED, None, item, reason, "")
            self.put_file(named)

    def objects_of_series(self, series: str) -> list[ObjectRow]:
        """The images of a CT series."""
        rows = self._connection.execute(
            "SELECT * FROM object WHERE kind = 'CT' AND series = ? ORDER BY key", (series,)
        )
        return [ObjectRow(**row) for row in rows]

    def fresh_series(self, uid: str) -> list[ObjectRow]:
        """The images of a CT series that came whole with the delivery that is being taken in.

        Empty where it did not.
        """
        found = self.objects_of_series(uid)
        return found if all(self.is_fresh(row.key) for row in found) else []

    def came_from(self, key: str, digest: str) -> bool:
        """Whether an object came from a file of these very bytes."""
        found = self._connection.execute(
            "SELECT 1 FROM file WHERE object = ? AND digest = ? AND state <> ?",
            (key, digest, REFUSED),
        )
        return found.fetchone() is not None

    def retract(self, gone: ObjectRow, reason: str, basis: str, item: str | None = None) -> None:
        """An object leaves the vault: its files are refused, all as one item where there is one."""
        self._connection.execute(
            "UPDATE file SET state = ?, reason = ?, basis = ?, item = coalesce(?, item), "
            "object = NULL WHERE object = ?",
            (REFUSED, reason, basis, item, gone.key),
        )
        self.drop_object(gone.key)
        self.note_leaving(gone.output)
        self._connection.execute(
            "DELETE FROM series WHERE uid = ? "
            "AND NOT EXISTS (SELECT 1 FROM object WHERE series = uid)",
            (gone.series,),
        )
        self._connection.execute(
            "DELETE FROM examination WHERE series = ? "
            "AND NOT EXISTS (SELECT 1 FROM series WHERE uid = examination.series)",
            (gone.series,),
        )
        self._series = None

    def note_leaving(self, output: str) -> None:
        """A file of the vault is to be removed, by this run or by the next if it is cut short."""
        self._connection.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (output,))

    def leaving(self) -> list[str]:
        """Files of the vault that are to be removed."""
        return [row["output"] for row in self._connection.execute("SELECT output FROM leaving")]

    def put_twin(self, twin: Twin) -> None:
        """Note a file that contradicts others."""
        self._connection.execute("INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?)", twin)

    def put_twins_of(self, object_: ObjectRow, twin: Twin) -> None:
        """Note the files of an object that one of its delivery (`twin`) contradicts."""
        self._connection.execute(
            "INSERT OR REPLACE INTO twin SELECT path, ?, ?, ? FROM file WHERE object = ?",
            (twin.object, object_.patient, twin.delivery, object_.key),
        )

    def twins(self, key: str = "") -> list[Twin]:
        """Files that contradict each other, of one object or of all."""
        where = "WHERE object = ?" if key else ""
        rows = self._connection.execute(
            f"SELECT * FROM twin {where} ORDER BY path", (key,) if key else ()
        )
        return [Twin._make(row) for row in rows]

    def settle_twins(self, key: str) -> None:
        """Files of an object that contradicted each other are judged again."""
        self._connection.execute(
            "DELETE FROM file WHERE path IN (SELECT path FROM twin WHERE object = ?)", (key,)
        )
        self._connection.execute("DELETE FROM twin WHERE object = ?", (key,))

    def sources(self, key: str) -> int:
        """How many files of the landing an object came from."""
        return self._connection.execute(
            "SELECT count(*) FROM file WHERE object = ?", (key,)
        ).fetchone()[0]

    def without_file(self, prefix: str, content: str) -> str | None:
        """The key that begins so, of an object of this content whose file has left the landing."""
        row = self._connection.execute(
            """
            SELECT key FROM object WHERE key >= ? AND key < ? AND content = ?
            AND NOT EXISTS (SELECT 1 FROM file WHERE file.object = object.key) ORDER BY key""",
            (prefix, f"{prefix[:-1]}!", content),
        ).fetchone()
        return row["key"] if row else None

    def read_again(self, kind: str) -> None:
        """Files that gave an object of this kind are read again, since its rules have changed."""
        self._connection.execute(
            "UPDATE file SET modified = -1, digest = '' WHERE object >= ? AND object < ?",
            (f"{kind} ", f"{kind}!"),
        )

    def images(self) -> list[ObjectRow]:
        """Every CT image."""
        return [
            ObjectRow(**row)
            for row in self._connection.execute(
                "SELECT * FROM object WHERE kind = 'CT' ORDER BY key"
            )
        ]

    def pending(self) -> list[ObjectRow]:
        """Objects noted whose copy was not yet known to be in place."""
        return [
            ObjectRow(**row)
            for row in self._connection.execute(
                "SELECT * FROM object WHERE incoming IS NOT NULL ORDER BY key"
            )
        ]

    def settle(self) -> None:
        """Every noted copy is in place, and what was to leave has left."""
        self._connection.execute("DELETE FROM leaving")
        self._connection.execute("UPDATE object SET incoming = NULL WHERE incoming IS NOT NULL")

    def series_patients(self) -> dict[str, str]:
        """The patient of each CT series, by keyed UID; the same object while no series changes."""
        if self._series is None:
            self._series = dict(
                self._connection.execute("SELECT uid, patient FROM series").fetchall()
            )
        return self._series

    def series_patient(self, uid: str) -> str | None:
        """The patient of one CT series."""
        row = self._connection.execute(
            "SELECT patient FROM series WHERE uid = ?", (uid,)
        ).fetchone()
        return row["patient"] if row else None

    def images_of(self, uid: str) -> int:
        """How many images of a CT series are held."""
        return self._connection.execute(
            "SELECT count(*) FROM object WHERE kind = 'CT' AND series = ?", (uid,)
        ).fetchone()[0]

    def next_slice(self, uid: str, patient: str) -> int:
        """The number of the next slice of a series; numbers are never given twice."""
        self._connection.execute(
            "INSERT INTO series VALUES (?, ?, 1) "
            "ON CONFLICT (uid) DO UPDATE SET slices = slices + 1",
            (uid, patient),
        )
        number = self._connection.execute(
            "SELECT slices FROM series WHERE uid = ?", (uid,)
        ).fetchone()[0]
        if number == 1:
            self._series = None
        return number

    # ── whom the images name ──

    def note_person(self, series: str, patient: str, statement: str) -> None:
        """What the images of a series state of their patient (person.py)."""
        self._connection.execute(
            "INSERT OR REPLACE INTO person VALUES (?, ?, ?)", (series, patient, statement)
        )

    def persons(self, patient: str) -> dict[str, str]:
        """What the images of a patient state, by series of which any is held."""
        rows = self._connection.execute(
            "SELECT person.series, statement FROM person "
            "JOIN series ON series.uid = person.series WHERE person.patient = ? ORDER BY 1",
            (patient,),
        )
        return dict(rows.fetchall())

    def all_persons(self) -> list[tuple[str, str]]:
        """Every series with its statement, and the patients confirmed to be one person."""
        rows = self._connection.execute("SELECT series, statement FROM person ORDER BY 1")
        confirmed = self._connection.execute(
            "SELECT name, value FROM fact WHERE name LIKE 'one person %' ORDER BY 1"
        )
        return [tuple(row) for row in (*rows, *confirmed)]

    def judge_persons_again(self, patient: str, reason: str) -> None:
        """Files that were refused as another person's are read again."""
        self._connection.execute(
            "UPDATE file SET basis = '' WHERE state = ? AND reason = ?", (REFUSED, reason)
        )
        self.settle_twins(f"PERSON {patient}")

    def fresh_images(self, patient: str) -> list[ObjectRow]:
        """A patient's images of the series that came whole with this delivery."""
        found = [row for row in self.objects(patient) if row.kind == "CT"]
        old = {row.series for row in found if not self.is_fresh(row.key)}
        return [row for row in found if row.series not in old]

    # ── of which examination the images are ──

    def note_examination(self, series: str, patient: str, one: Examination) -> None:
        """Note study and dates of a CT series of which an image is taken in."""
        before = self.examination(series)
        now = one if before is None else before.joined(one)
        if now != before:
            self._connection.execute(
                "INSERT OR REPLACE INTO examination VALUES (?, ?, ?, ?)",
                (series, patient, now.study, now.stored()),
            )

    def examination(self, series: str) -> Examination | None:
        """That of a CT series of which any image is held."""
        row = self._connection.execute(
            "SELECT study, days FROM examination WHERE series = ?", (series,)
        ).fetchone()
        return Examination.of_stored(*row) if row else None

    def examinations(self, patient: str) -> dict[str, Examination]:
        """Those of a patient, by series of which any image is held."""
        rows = self._connection.execute(
            "SELECT series, study, days FROM examination WHERE patient = ?", (patient,)
        )
        return {series: Examination.of_stored(study, days) for series, study, days in rows}

    def series_of_study(self, study: str) -> dict[str, str]:
        """The patient of each CT series of a study of which any image is held."""
        rows = self._connection.execute(
            "SELECT series, patient FROM examination WHERE study = ?", (study,)
        )
        return dict(rows.fetchall())

    # ── numbers that were counted anew ──

    def numbers(self, study: str, what: str) -> dict[str, int]:
        """The numbers that were given within a study, by the keyed name of what they are of."""
        rows = self._connection.execute(
            "SELECT original, given FROM number WHERE study = ? AND what = ?", (study, what)
        )
        return dict(rows.fetchall())

    def note_studies(self, studies: Mapping[str, str]) -> None:
        """The study of each series of which an image has come; what is known is not written."""
        known = "SELECT 1 FROM study_of WHERE series = ? AND study = ?"
        new = [
            one for one in studies.items() if not self._connection.execute(known, one).fetchone()
        ]
        self._connection.executemany("INSERT OR REPLACE INTO study_of VALUES (?, ?)", new)

    def forget_numbers(self) -> None:
        """Nothing is noted of studies none of whose series is held."""
        self._connection.execute(
            "DELETE FROM study_of WHERE series NOT IN (SELECT uid FROM series)"
        )
        self._connection.execute(
            "DELETE FROM number WHERE study NOT IN (SELECT study FROM study_of)"
        )

    def give_numbers(self, study: str, what: str, given: Mapping[str, int]) -> None:
        """Note numbers for good."""
        rows = [(study, what, original, number) for original, number in given.items()]
        self._connection.executemany("INSERT INTO number VALUES (?, ?, ?, ?)", rows)

    def patients(self) -> list[str]:
        """Patients of whom the vault holds anything."""
        return [
            row["patient"]
            for row in self._connection.execute(
                "SELECT DISTINCT patient FROM object ORDER BY patient"
            )
        ]

    def objects_by_patient(self) -> dict[str, int]:
        """How many objects the vault holds of each patient."""
        return {
            row["patient"]: row["n"]
            for row in self._connection.execute(
                "SELECT patient, count(*) AS n FROM object GROUP BY patient"
            )
        }

    def file_of(self, patient: str) -> str:
        """Keyed path of one image of a patient that is in the landing; empty for none."""
        row = self._connection.execute(
            "SELECT min(file.path) AS path FROM object JOIN file ON file.object = object.key "
            "WHERE object.patient = ? AND object.kind = 'CT' AND file.path NOT LIKE ?",
            (patient, f"{RECEIVED_KEY} %"),
        ).fetchone()
        return row["path"] or ""

    def drop_patient(self, patient: str) -> None:
        """Nothing of this patient is held any more."""
        for (key,) in self._connection.execute(
            "SELECT key FROM object WHERE patient = ?", (patient,)
        ).fetchall():
            self.drop_object(key)
        self._connection.execute("DELETE FROM series WHERE patient = ?", (patient,))
        self._connection.execute("DELETE FROM person WHERE patient = ?", (patient,))
        self._connection.execute("DELETE FROM examination WHERE patient = ?", (patient,))
        self._series = None
        self._connection.execute(
            "DELETE FROM file WHERE path IN (SELECT path FROM text_mark WHERE patient = ?)",
            (patient,),
        )
        self._connection.execute(
            "DELETE FROM file WHERE state = ? AND item >= ? AND item < ?",
            (REFUSED, f"patient {patient} ", f"patient {patient}!"),
        )
        self._connection.execute("DELETE FROM text_mark WHERE patient = ?", (patient,))
        self._connection.execute("DELETE FROM pull_note WHERE patient = ?", (patient,))
        self.forget_numbers()
        self._connection.execute("DELETE FROM fact WHERE name = ?", (f"one person {patient}",))
        for twin in self.twins():
            if twin.patient == patient:
                self.settle_twins(twin.object)

    def wipe(self) -> None:
        """Overwrite what was deleted."""
        self._connection.execute("VACUUM")

    def fact(self, name: str) -> str:
        """A remembered text; empty where there is none."""
        row = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return row["value"] if row else ""

    def remember(self, name: str, value: str) -> None:
        """Remember a text."""
        self._connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))
