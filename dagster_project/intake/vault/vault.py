"""take_in reads a site's delivery folder and writes its vault.

Every run does what is new, and a run that was cut short is finished by the next.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pydicom

from dagster_project.intake.case_report.case_report import (
    People,
    Tables,
    build_tables,
    decision_files,
    people_of,
    people_tables,
    read_people,
)
from dagster_project.intake.case_report.chronology import AFTER_CUT_OFF, cut_off_of
from dagster_project.intake.case_report.csv_tables import CsvTable, Refusal, table_files
from dagster_project.intake.dicom.allowlists import FILES
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.dicom.mask_files import RULES as MASK_RULES
from dagster_project.intake.dicom.numbering import HEAD_BYTES, NO_NUMBERS, Head, count_anew
from dagster_project.intake.dicom.text_allowlist import TEXTS
from dagster_project.intake.dicom.text_in_pixels import TEXT_RULES, holds_text
from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.person import NOT_THE_SAME_PERSON, Statement
from dagster_project.intake.identity.pseudonyms import (
    Crosswalk,
    canonical_number,
    crosswalk_file,
    mark_of,
    shift_days,
    withdraw_from_crosswalk,
)
from dagster_project.intake.identity.session import Session
from dagster_project.intake.opening import file_digest
from dagster_project.intake.vault.earlier_numbers import count_earlier
from dagster_project.intake.vault.file_index import (
    RECEIVED_KEY,
    REFUSED,
    FileRow,
    ObjectRow,
    PullNote,
    Register,
)
from dagster_project.intake.vault.landing import (
    LandingFile,
    case_report_files,
    is_simulated,
    list_images,
    people_files,
    unexpected_entries,
)
from dagster_project.intake.vault.manifest import Manifest
from dagster_project.intake.vault.process_file import Outcome, Task, scan_name
from dagster_project.intake.vault.sandbox import Batch, close_child, take_files
from dagster_project.intake.vault.vault_placement import (
    Delivered,
    Delivery,
    Placed,
    is_one_person,
    judge_series_again,
    move_into_place,
    place_batch,
    refuse_series,
)
from dagster_project.lake.clock import CLOCK, CLOCK_SCHEMA
from dagster_project.lake.durable import sync_file, sync_folder, sync_folders
from dagster_project.lake.files import write_parquet_whole, write_whole
from dagster_project.lake.home import RECEIVED, why_no_site
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.locks import HeldError, locked
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE
from dagster_project.lake.vocabulary import VOCABULARY
from dagster_project.study import digest_of, load_study

T = TypeVar("T")

FILES_A_BATCH = 200
"""Files per worker call: about a second of work, and one transaction of the register."""

LOCK_SECONDS = 2.0
"""How long a run waits for the site's lock.

The listener holds it for some milliseconds per object.
"""

RECEPTION_SECONDS = 20.0
"""How long the listener waits for a run over the site's folder, before the sender must retry."""

BUSY_SECONDS = 1.0
"""The same for the objects after one that waited in vain.

A run may take an hour, and a sender that waits 20 s for each object gives up.
"""

OPEN_SECONDS = 60.0
"""How long a listener works with what it knows of its vault, its day included."""

TWINS = "twins"
"""What a refusal for contradicting a file of the same delivery waits for: that one of them goes."""

LOST = (
    "was lost or emptied on the disk when the machine stopped, "
    "and its file lies in the delivery folder no more; deliver it again, or have the PACS send it"
)

LISTENER = "listener"
"""Whose notes those are in the register; others are keyed digests of numbers."""

PUT_OFF = (
    "sent by the network while a run was going on, or while nothing could be written, "
    "and not taken; have the PACS send these objects again, or run lakehouse pacs pull"
)

RULES_VERSION = 5
"""Raise it when code changes what is refused: files refused before are looked at again."""

INCOMING, REGISTER, MANIFEST, REFUSED_TABLE, CASE_REPORT = (
    ".incoming",
    "intake.sqlite",
    "manifest.jsonl",
    "refused.parquet",
    "case_report",
)


def name_of_delivery() -> str:
    """A random name of sixteen hexadecimal digits, which the audit recognises as our own.

    Eight digits could be a day.
    """
    return secrets.token_hex(8)


class IntakeError(Exception):
    """A site cannot be taken in at all; the others can."""


@dataclass(frozen=True)
class IntakeReport:
    """What one run did, and what the vault holds after it."""

    site: str
    accepted: int = 0
    reused: int = 0
    duplicates: int = 0
    superseded: int = 0
    refused: int = 0
    patients: int = 0
    withdrawn: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    throwaway_keys: bool = False
    manifest_head: str = ""


Listed = tuple[LandingFile, str]
"""A file of the delivery folder and its keyed path."""

ToRead = tuple[LandingFile, str, FileRow | None]
"""The same, and what was noted of it when it was last read."""

Mapper = Callable[[Callable[[Sequence[Task]], Batch], Iterable[Sequence[Task]]], Iterable[Batch]]
Progress = Callable[[int, int], None]


def take_in(
    site_folder: Path,
    vault_site: Path,
    *,
    keys: Keys,
    crosswalk: Path,
    mapper: Mapper = map,
    progress: Progress | None = None,
) -> IntakeReport:
    """Take a site's delivery folder into its vault; the delivery folder is read and never changed.

    1. What a run that was cut short had begun is finished.
    2. patients.csv gives pseudonyms, consents, and what to search for in the output.
    3. Files under dicom/, then those of the readers, are de-identified, unless they were read
       before and have not changed. A file that has gone from the delivery stays in the vault.
    4. Files of patients who withdrew consent leave the vault.
    5. The case report's tables and the current refusals are written.

    `mapper` is `map` or an executor's; `progress` is called with files done and files in all.

    Raises
    ------
    IntakeError
        Where the site's name is not allowed, its folder cannot be read, another run is taking it
        in, or nothing can be written.
    """
    _refuse_no_site(site_folder)
    with site_lock(vault_site), contextlib.closing(Register(vault_site / REGISTER)) as register:
        run = _Run(
            site_folder,
            vault_site,
            register,
            keys,
            Crosswalk(crosswalk, keys),
            str(crosswalk_file(crosswalk)),
            mapper,
            progress,
        )
        try:
            return run.whole()
        except PermissionError as error:
            raise IntakeError(
                f"the delivery folder of {site_folder.name} cannot be read; check its permissions"
            ) from error
        finally:
            close_child()


def _refuse_no_site(site_folder: Path) -> None:
    reason = why_no_site(site_folder.name)
    if reason:
        raise IntakeError(reason)


@contextlib.contextmanager
def site_lock(vault_site: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """One process at a time takes a site in; who comes second waits for so many seconds.

    Raises
    ------
    IntakeError
        Where the other has not ended by then.
    """
    vault_site.mkdir(parents=True, exist_ok=True, mode=0o700)
    vault_site.chmod(0o700)
    try:
        with locked(vault_site / ".lock", "lakehouse", seconds=seconds):
            yield
    except HeldError as error:
        raise IntakeError(
            f"another run is taking in {vault_site.name} ({error.holder}); wait for it to end"
        ) from error


@cache
def _rules_digest() -> str:
    """Digest of everything that decides what is refused."""
    texts = [path.read_text(encoding="utf-8") for path in (*FILES, TEXTS, VOCABULARY)]
    return digest_of([RULES_VERSION, load_study().section("reads")["target_roi"], *texts])


@dataclass
class _Run:
    """One run over one site."""

    site_folder: Path
    vault: Path
    register: Register
    keys: Keys
    crosswalk: Crosswalk
    crosswalk_path: str
    mapper: Mapper
    progress: Progress | None
    counts: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: dict[str, FileRow] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    run: str = field(default_factory=name_of_delivery)
    session: Session | None = None
    done: int = 0
    total: int = 0

    @property
    def site(self) -> str:
        return self.site_folder.name

    @property
    def incoming(self) -> Path:
        return self.vault / INCOMING

    @cached_property
    def cut_off(self) -> dt.date:
        """The last day that data of this run may have."""
        return cut_off_of(load_study().section("study"), dt.datetime.now(dt.UTC))

    def whole(self) -> IntakeReport:
        if not self.site_folder.is_dir():
            raise IntakeError(
                f"there is no delivery folder of {self.site}; create it, or leave the site out"
            )
        self.manifest = Manifest(self.vault / MANIFEST)
        self._finish_what_was_begun()
        images = [
            (image, self.keys.digest("path", image.relative))
            for image in list_images(self.site_folder)
        ]
        self.files = self.register.files()
        self._forget_gone(images)
        if not self.register.begin_delivery(self.run):
            self._take_stock()
        self._read_masks_again()
        self._search_pixels_again()
        self._reopen_disputes(images)
        self.files = self.register.files()
        people = self._people(images)
        self._remove_withdrawn(people)
        self._take(
            [(image, key) for image, key in images if image.place == "dicom"], self._session(people)
        )
        self._take(images, self._session(people))
        self.counts["reused"] = len(images) - len(self.read) + self.counts.pop("unchanged", 0)
        rows = self._case_report(people, images)
        self._write_clock()
        self.register.settle()
        refused = self._write_refused()
        self._write_run_record()
        self.register.end_delivery(self.run)
        self.register.forget_numbers()
        return IntakeReport(
            self.site,
            self.counts["accepted"],
            self.counts["reused"],
            self.counts["duplicates"],
            self.counts["superseded"],
            refused,
            len(self.register.patients()),
            len(people.withdrawn),
            rows,
            self.keys.throwaway,
            self.manifest.head,
        )

    def _finish_what_was_begun(self) -> None:
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        pending = self.register.pending()
        for row in pending:
            copy = self.incoming / str(row.incoming)
            if copy.exists() and not _is_whole(copy, row.output_digest):
                copy.unlink()
        outputs = (self.vault / output for output in self.register.leaving())
        leaving = [file for file in outputs if file.is_file()]
        self.manifest.append({"event": "retracted", "output": _digest(file)} for file in leaving)
        self.manifest.append(
            {"event": "recovered", "output": row.output_digest}
            for row in pending
            if not (self.vault / row.output).exists()
        )
        move_into_place(self.register, self.vault, self.incoming)
        self.register.settle()
        for rest in self.incoming.iterdir():
            rest.unlink()
        count_earlier(self.register, self.vault, self.incoming, self.manifest, self.keys.uid)

    def _take_stock(self) -> None:
        """Compare the vault with its register, after a run that did not come to its end.

        Every object is there and not empty; one of the delivery that was cut short has the digest
        that was noted. What the disk lost is taken in again from the delivery folder, and named
        where it lies there no more.
        """
        lost = [
            row
            for row, is_fresh in self.register.placed()
            if not _is_whole(self.vault / row.output, row.output_digest if is_fresh else "")
        ]
        self.manifest.append({"event": "lost", "output": row.output_digest} for row in lost)
        for row in lost:
            (self.vault / row.output).unlink(missing_ok=True)
        with self.register.transaction():
            for row in lost:
                self.register.lose(row, _called(row), LOST)
            self.register.remember("under_way", self.run)

    def _read_masks_again(self) -> None:
        """Judge masks again where the rules of what is inside a mask have changed.

        That is decided when a mask is taken in; only files still in the delivery are judged anew.
        """
        if self.register.fact("mask_rules") != MASK_RULES:
            with self.register.transaction():
                self.register.read_again("MASK")
                self.register.remember("mask_rules", MASK_RULES)

    def _search_pixels_again(self) -> None:
        """Search what the vault holds by the rules of today.

        It may have come by the network, and lie nowhere else.
        """
        if self.register.fact("text_rules") == TEXT_RULES:
            return
        found = [
            row
            for row in self.register.images()
            if row.series and _has_text(self.vault / row.output)
        ]
        placed = Placed()
        with self.register.transaction():
            for row in found:
                self.register.mark_text(
                    f"{RECEIVED_KEY} {row.key.removeprefix('CT ')} vault",
                    str(row.series),
                    row.patient,
                )
            for series in {str(row.series) for row in found}:
                refuse_series(self.register, placed, series, self.final_basis())
            self.register.remember("text_rules", TEXT_RULES)
        self.manifest.append(placed.records)
        self._finish_what_was_begun()

    # ── who ──

    def _people(self, images: Sequence[Listed]) -> People:
        """Everybody of patients.csv.

        Only those held out, as remembered, where nothing at all has changed.
        """
        held = People(withdrawn=self._remembered("withdrawn"), unclear=self._remembered("unclear"))
        unchanged = self._case_report_digest() == self.register.fact("case_report")
        if unchanged and not self._to_read(images, frozenset(held.withdrawn | held.unclear)):
            return held
        people = read_people(self.site_folder, self.site, self.crosswalk)
        self.register.remember("withdrawn", json.dumps(sorted(people.withdrawn)))
        self.register.remember("unclear", json.dumps(sorted(people.unclear)))
        return people

    def _remembered(self, fact: str) -> set[str]:
        return set(json.loads(self.register.fact(fact) or "[]"))

    def _session(self, people: People, numbers: frozenset[str] | None = None) -> Session:
        """The session; the same object while nothing of it has changed, as a child knows it."""
        withdrawn = self._withdrawn(people.withdrawn)
        session = Session(
            f"{self.run} {self.crosswalk.version()}",
            self.site,
            self.keys,
            self.crosswalk_path,
            str(self.incoming),
            load_study().section("reads")["target_roi"],
            people.needles,
            withdrawn,
            frozenset(people.unclear) - withdrawn,
            self.register.series_patients(),
            self.cut_off,
            numbers,
        )
        if session != self.session:
            self.session = session
        return self.session or session

    def _withdrawn(self, of_case_report: Iterable[str]) -> frozenset[str]:
        return frozenset(of_case_report) | self.crosswalk.withdrawn(self.site)

    def _remove_withdrawn(self, people: People) -> None:
        for patient in self._withdrawn(people.withdrawn):
            held = patient in self.register.patients() or (self.vault / patient).exists()
            if held or patient in self.register.series_with_text().values():
                self.manifest.append([_left("withdrawn", self.register, patient)])
                drop_patient(self.vault, self.register, patient)
                self.files = self.register.files()

    # ── images ──

    def _basis(self, waits_for: str, held_out: frozenset[str], series: Mapping[str, str]) -> str:
        """What a refusal is based on: while that is unchanged, the file is not read again."""
        rests_on: Any = ""
        if waits_for == "series":
            rests_on = sorted(series)
        elif waits_for == "consent":
            rests_on = sorted(held_out)
        elif waits_for == "next_run":
            rests_on = self.run
        return f"{waits_for}:{digest_of([_rules_digest(), rests_on])}"

    def _to_read(self, images: Sequence[Listed], held_out: frozenset[str]) -> list[ToRead]:
        """Files that are new or changed, or whose refusal is no longer based on what it did."""
        series = self.register.series_patients()
        bases = frozenset(
            self._basis(w, held_out, series) for w in ("", TWINS, "series", "consent", "next_run")
        )
        found = ((image, key, self.files.get(key)) for image, key in images)
        return [
            (image, key, row) for image, key, row in found if not _is_settled(image, row, bases)
        ]

    def _forget_gone(self, images: Sequence[Listed]) -> None:
        gone = {
            key
            for key in self.files.keys() - {key for _, key in images}
            if not key.startswith(RECEIVED_KEY)
        }
        with self.register.transaction():
            for path in gone:
                self.register.forget_file(path)
            judge_series_again(self.register)

    def _reopen_disputes(self, images: Sequence[Listed]) -> None:
        """Files that contradict each other are read again where one of them has gone or changed."""
        there = {key: image for image, key in images}
        with self.register.transaction():
            changed = {
                twin.object
                for twin in self.register.twins()
                if not (
                    twin.path.startswith(RECEIVED_KEY)
                    or self._is_there(there.get(twin.path), twin.path)
                )
            }
            for key in changed:
                self.register.settle_twins(key)

    def _is_there(self, image: LandingFile | None, path: str) -> bool:
        row = self.register.file(path)
        return image is not None and row is not None and _is_as_noted(image, row)

    def _take(self, images: Sequence[Listed], session: Session) -> None:
        self.files = self.register.files()
        waiting = self._to_read(images, session.held_out)
        self.total += len(waiting)
        numbered = self._numbered([_task(*one) for one in waiting], session)
        parts, tasks = _batches(waiting), _batches(numbered)
        for part, tasks_of_part, batch in zip(
            parts, tasks, self.mapper(partial(take_files, session), tasks), strict=True
        ):
            with uninterrupted():
                self._settle(part, tasks_of_part, batch, session)

    def _numbered(self, tasks: Sequence[Task], session: Session) -> list[Task]:
        """The tasks with the numbers of their images.

        Numbers are given before anything is written, by the heads of all images.
        """
        heads: dict[Hashable, Head] = {}
        parts = _batches([_head_task(task) for task in tasks])
        for n, batch in enumerate(self.mapper(partial(take_files, session), parts)):
            heads |= {
                n * FILES_A_BATCH + k: one.head
                for k, one in enumerate(batch.outcomes)
                if one.head is not None
            }
        longer = [
            (k, _head_task(task, whole=True))
            for k, task in enumerate(tasks)
            if k not in heads and task.data is not None and len(task.data) > HEAD_BYTES
        ]
        for k, task in longer:
            head = take_files(session, [task]).outcomes[0].head
            if head is not None:
                heads[k] = head
        with self.register.transaction():
            numbers = count_anew(self.register, heads, self.keys.uid)
        return [replace(task, numbers=numbers.get(k, NO_NUMBERS)) for k, task in enumerate(tasks)]

    def _settle(
        self, part: Sequence[ToRead], tasks: Sequence[Task], batch: Batch, session: Session
    ) -> None:
        failure = next((outcome.failure for outcome in batch.outcomes if outcome.failure), "")
        if failure:
            raise IntakeError(f"{self.site}: {failure}")
        series = self.register.series_patients()
        delivered = [
            Delivered(
                image,
                key,
                task,
                outcome,
                row,
                self._basis(outcome.waits_for, session.held_out, series),
            )
            for (image, key, row), task, outcome in zip(part, tasks, batch.outcomes, strict=True)
        ]
        _on_disk(batch, self.incoming)
        with self.register.transaction():
            self.register.settle()  # the batch before lies in its place
            basis = self._basis(TWINS, frozenset(), {})
            placed = place_batch(self.register, delivered, Delivery(self.run, basis))
        self.manifest.append(placed.records)
        move_into_place(self.register, self.vault, self.incoming)
        for outcome in batch.outcomes:
            # the copy of a duplicate, or of what was refused when it met what is there
            if outcome.incoming:
                (self.incoming / outcome.incoming).unlink(missing_ok=True)
        rows = {key: self.register.file(key) for _, key, _ in part}
        self.files.update({key: row for key, row in rows.items() if row is not None})
        self._count(placed, batch, part)

    def _count(self, placed: Placed, batch: Batch, part: Sequence[ToRead]) -> None:
        self.actions.update(batch.actions)
        self.counts.update(
            accepted=placed.accepted, duplicates=placed.duplicates, superseded=placed.superseded
        )
        self.read.update(key for _, key, _ in part)
        self.counts["unchanged"] += placed.unchanged
        self.done += len(part)
        if self.progress is not None:
            self.progress(self.done, self.total)

    def receive(self, received: Received, people: PeopleByNumber) -> Outcome:
        """Take one object that came by the network, and have it on disk when this returns.

        Raises
        ------
        IntakeError
            Where nothing can be written: no verdict on the object.
        """
        before = self.register.file(received.key)
        file = LandingFile(self.site_folder, "", RECEIVED_KEY, received.size, 0)
        task = replace(_task(file, received.key, before), data=received.data)
        session = self._session(*people.known(self))
        batch = received.verdict or take_files(session, self._numbered([task], session))
        if batch.outcomes[0].is_stranger:
            session = self._session(*people.of(self, batch.outcomes[0].number))
            batch = take_files(session, self._numbered([task], session))
        self._settle([(file, received.key, before)], [task], batch, session)
        return batch.outcomes[0]

    def begin_reception(self) -> None:
        """Finish what was begun before, and begin the delivery by the network."""
        self.manifest = Manifest(self.vault / MANIFEST)
        self._finish_what_was_begun()
        self.register.begin_delivery(self.run)

    def final_basis(self) -> str:
        """What a refusal is based on that holds until the rules change."""
        return self._basis("", frozenset(), {})

    def close_reception(self) -> None:
        """Publish what came since the last time.

        For the quarantine, the manifest and whoever looks for new deliveries.
        """
        self.manifest = Manifest(self.vault / MANIFEST)
        self.register.settle()
        self._write_refused()
        self._write_run_record()
        self.register.end_delivery(self.run)
        self.register.forget_numbers()
        notes = self.register.pull_notes()
        received = f"{self.manifest.head} {digest_of(notes)}" if notes else self.manifest.head
        write_whole(self.vault / RECEIVED, received.encode())

    # ── case report ──

    def _case_report_digest(self) -> str:
        files = {
            str(path.relative_to(self.site_folder)): file_digest(path)
            for path in case_report_files(self.site_folder)
        }
        entries = [(r.item, r.reason) for r in unexpected_entries(self.site_folder)]
        held = [
            self.register.patients(),
            sorted(self.register.series_patients()),
            self.register.all_persons(),
            sorted(self.crosswalk.withdrawn(self.site)),
        ]
        return self.keys.digest(
            "case report",
            digest_of(
                [
                    _rules_digest(),
                    files,
                    entries,
                    held,
                    is_simulated(self.site_folder),
                    self._waiting_for(),
                ]
            ),
        )

    def _waiting_for(self) -> str:
        """The cut-off, as far as the case report depends on it.

        A new day alone does not have the report read anew, unless one of its dates lies in the
        future.
        """
        fixed = str(load_study().section("study").get("data_cutoff", ""))
        return fixed or (str(self.cut_off) if self.register.fact("beyond_cut_off") else "")

    def _case_report(self, people: People, images: Sequence[Listed]) -> dict[str, int]:
        digest = self._case_report_digest()
        folder = self.vault / CASE_REPORT
        if digest == self.register.fact("case_report") and folder.is_dir():
            return json.loads(self.register.fact("rows"))
        if not people.rows:
            people = read_people(self.site_folder, self.site, self.crosswalk)
        self._record_decisions()
        tables = self._tables(people, images)
        for name, frame in tables.frames.items():
            write_parquet_whole(folder / f"{name}.parquet", frame)
        sync_folders([folder, self.vault])
        rows = {name: frame.height for name, frame in tables.frames.items()}
        refusals = [*tables.refusals, *unexpected_entries(self.site_folder)]
        with self.register.transaction():
            self.register.remember(
                "beyond_cut_off", "yes" if any(r.reason == AFTER_CUT_OFF for r in refusals) else ""
            )
            self.register.remember("case_report", self._case_report_digest())
            self.register.remember("rows", json.dumps(rows))
            self.register.remember(
                "refusals", json.dumps([(r.item, r.reason) for r in refusals], ensure_ascii=False)
            )
        return rows

    def _record_decisions(self) -> None:
        """Record each file of a board's decisions that came, changed or went: by keyed digest."""
        files = {
            self.keys.digest("board decisions", file_digest(file))
            for table in decision_files(self.site_folder, "board")
            for file in table_files(table)
        }
        known = set(json.loads(self.register.fact("board_decisions") or "[]"))
        came, gone = sorted(files - known), sorted(known - files)
        self.manifest.append(
            [
                *({"event": "board_decisions", "input": digest} for digest in came),
                *({"event": "board_decisions_gone", "input": digest} for digest in gone),
            ]
        )
        self.register.remember("board_decisions", json.dumps(sorted(files)))

    def _write_clock(self) -> None:
        """Write the last day that data may have beside each patient, shifted as all dates are."""
        folder = self.vault / CASE_REPORT
        patients = pl.read_parquet(folder / "patients.parquet", columns=["patient"])["patient"]
        days = [
            (self.site, p, self.cut_off + dt.timedelta(days=shift_days(self.keys, p)))
            for p in patients
        ]
        clock = pl.DataFrame(days, schema=CLOCK_SCHEMA, orient="row")
        write_parquet_whole(folder / f"{CLOCK}.parquet", clock)

    def _tables(self, people: People, images: Sequence[Listed]) -> Tables:
        session, held = self._session(people), self.register.objects_by_patient()
        numbers = (
            self._numbers_of(held.keys() - people.rows.keys() - session.held_out, images, session)
            if people.rows
            else {}
        )
        return build_tables(
            self.site_folder,
            session,
            self.crosswalk,
            people,
            held,
            simulated=is_simulated(self.site_folder),
            image_numbers=numbers,
            image_persons=self._persons(people.rows),
        )

    def _persons(self, patients: Iterable[str]) -> dict[str, list[Statement]]:
        """What the images of each patient state of whom they are."""
        return {
            patient: list(map(Statement.of_stored, self.register.persons(patient).values()))
            for patient in patients
            if not is_one_person(self.register, patient)
        }

    def _numbers_of(
        self, patients: Iterable[str], images: Sequence[Listed], session: Session
    ) -> dict[str, str]:
        """The numbers that images of these patients bear, held in memory alone.

        They are read again from one file each, as every file is read.
        """
        keys = ((self.register.file_of(patient), patient) for patient in sorted(patients))
        files = {key: patient for key, patient in keys if key}
        found = [
            (
                files[key],
                Task(str(image.path), image.place, root=str(image.site_folder), number_only=True),
            )
            for image, key in images
            if key in files
        ]
        read = take_files(session, [task for _, task in found]) if found else Batch((), Counter())
        return {
            patient: outcome.number
            for (patient, _), outcome in zip(found, read.outcomes, strict=True)
            if outcome.number
        }

    def _write_refused(self) -> int:
        of_case_report = [
            Refusal(item, reason)
            for item, reason in json.loads(self.register.fact("refusals") or "[]")
        ]
        of_network = self.register.pull_notes()
        found = [
            ("intake", item, reason) for item, reason in (*self.register.refused(), *of_network)
        ] + [("case_report", r.item, r.reason) for r in of_case_report]
        simulated = is_simulated(self.site_folder)
        rows = [
            {
                "site": self.site,
                "stage": stage,
                "item": item,
                "reason": reason,
                "simulated": simulated,
            }
            for stage, item, reason in dict.fromkeys(found)
        ]
        write_parquet_whole(
            self.vault / REFUSED_TABLE, pl.DataFrame(rows, schema=polars_schema(QUARANTINE))
        )
        sync_folder(self.vault)
        return len(rows)

    def _write_run_record(self) -> None:
        if not (self.counts["accepted"] or self.counts["duplicates"] or self.actions):
            return
        actions: dict[str, dict[str, int]] = {}
        for (action, tag), count in sorted(self.actions.items()):
            actions.setdefault(action, {})[tag] = count
        self.manifest.append(
            [
                {
                    "event": "run",
                    "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                    "rules": _rules_digest(),
                    "counts": dict(self.counts),
                    "actions": actions,
                }
            ]
        )


@dataclass(frozen=True)
class Received:
    """An object that came by the network: its key, size and bytes, or a verdict without them."""

    key: str
    size: int
    data: bytes = field(default=b"", repr=False)
    verdict: Batch | None = None


def _on_disk(batch: Batch, incoming: Path) -> None:
    """The copies outlive a power cut before the register or a sender counts on them."""
    written = [incoming / outcome.incoming for outcome in batch.outcomes if outcome.incoming]
    for path in written:
        sync_file(path)
    if written:
        sync_folder(incoming)


def _called(row: ObjectRow) -> str:
    """An object as a reason names it: its patient, and its scan or the contours."""
    folder = Path(row.output).parts[1]
    return (
        f"patient {row.patient} scan {folder}"
        if row.kind == "CT"
        else f"patient {row.patient} contours"
    )


def _is_whole(path: Path, digest: str) -> bool:
    """Whether a file of the vault is there and not empty, and has a digest where one is given."""
    try:
        if not digest:
            return path.stat().st_size > 0
        return _digest(path) == digest
    except FileNotFoundError:
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Reception:
    """Takes the objects of one site that come one by one by the network.

    They go into the vault that the site's folder fills too.

    An object is taken within the site's lock and is on disk, with its row and its line of the
    manifest, when `take` returns; what was cut short before leaves nothing, and is sent again.
    `close` tells the others.
    """

    def __init__(self, site_folder: Path, vault_site: Path, *, keys: Keys, crosswalk: Path) -> None:
        _refuse_no_site(site_folder)
        self._folder, self._vault, self._keys, self._crosswalk = (
            site_folder,
            vault_site,
            keys,
            crosswalk,
        )
        self._one_at_a_time = threading.Lock()
        self._open: _Open | None = None
        self._counts: Counter[str] = Counter()
        self._actions: Counter[tuple[str, str]] = Counter()
        self._people = PeopleByNumber(site_folder)
        self._token = name_of_delivery()
        self._noted = False
        self._patience = RECEPTION_SECONDS

    @contextlib.contextmanager
    def _run(self, seconds: float = RECEPTION_SECONDS) -> Iterator[_Run]:
        """The run of this association, within the site's lock.

        It stays open from one object to the next while nobody else writes the site's vault.
        """
        with self._one_at_a_time, site_lock(self._vault, seconds=seconds):
            if self._open is not None and not self._open.is_current():
                self._shut()
            if self._open is None:
                self._open = self._opened()
            try:
                yield self._open.run
            except BaseException:
                self._shut()
                raise
            self._open.note_version()

    def _opened(self) -> _Open:
        register = Register(self._vault / REGISTER)
        run = _Run(
            self._folder,
            self._vault,
            register,
            self._keys,
            Crosswalk(self._crosswalk, self._keys),
            str(crosswalk_file(self._crosswalk)),
            map,
            None,
            self._counts,
            self._actions,
            run=self._token,
        )
        return _Open(run)

    def _shut(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.run.register.close()

    def take(self, sop_instance_uid: str, data: bytes) -> Outcome:
        """De-identify one object and give it its place.

        The outcome's reason says why it was refused.

        Raises
        ------
        IntakeError
            Where a run over the site's folder does not end, or nothing can be written: the sender
            has to come again.
        """
        digest = self._keys.digest("file", hashlib.sha256(data).hexdigest())
        patience, self._patience = self._patience, BUSY_SECONDS
        with self._run(patience) as run:
            self._patience = RECEPTION_SECONDS
            self._begin(run)
            key = f"{self._key(sop_instance_uid)} {digest[:32]}"
            outcome = run.receive(Received(key, len(data), data), self._people)
            row = run.register.file(key)
        return replace(outcome, reason=row.reason or "" if row else outcome.reason)

    def refuse(self, size: int, reason: str) -> None:
        """Quarantine an object that was not received whole."""
        with self._run() as run:
            self._begin(run)
            verdict = Batch((Outcome("", "", reason=reason, waits_for="next_run"),), Counter())
            too_large = Received(f"{RECEIVED_KEY} too large", size, verdict=verdict)
            run.receive(too_large, self._people)

    def missing(self, sop_instance_uids: Iterable[str]) -> list[str]:
        """Which of these objects the vault neither holds nor has refused for good."""
        with self._run() as run:
            final = run.final_basis()
            return [
                uid
                for uid in sop_instance_uids
                if not run.register.received(keyed_uid(uid, self._keys.uid), final)
            ]

    def absent(self, sop_instance_uids: Iterable[str]) -> list[str]:
        """Which of these objects never came: the vault neither holds nor refused them."""
        with self._run() as run:
            return [
                uid
                for uid in sop_instance_uids
                if not run.register.has_come(keyed_uid(uid, self._keys.uid))
            ]

    def held_of_series(self, series_instance_uid: str) -> int:
        """How many images of a CT series the vault holds."""
        with self._run() as run:
            return run.register.images_of(keyed_uid(series_instance_uid, self._keys.uid))

    def series_name(self, series_instance_uid: str) -> str:
        """The name of a CT series in every table, from the UID that the PACS knows it by."""
        return scan_name(keyed_uid(series_instance_uid, self._keys.uid))

    def patient_of(self, number: str) -> tuple[str, bool]:
        """The pseudonym of a hospital number, and whether the patient is held out.

        The pseudonym is empty for a new number. Held out: consent is withdrawn or contradictory.
        """
        with self._run() as run:
            patient = run.crosswalk.find(run.site, number) or ""
            people, _ = self._people.of(run, canonical_number(number))
            return patient, patient in {
                *people.withdrawn,
                *people.unclear,
                *run.crosswalk.withdrawn(run.site),
            }

    def note(self, number: str, notes: Sequence[PullNote]) -> None:
        """Note for the quarantine what a pull did not bring of a hospital number.

        The next pull of the number writes it anew.
        """
        person = self._keys.digest("pull", canonical_number(number))
        keyed = [
            replace(n, uids=tuple(keyed_uid(uid, self._keys.uid) for uid in n.uids)) for n in notes
        ]
        with self._run() as run, run.register.transaction():
            before = run.register.pull_notes()
            run.register.put_pull_notes(person, run.crosswalk.find(run.site, number) or "", keyed)
            self._noted = self._noted or run.register.pull_notes() != before

    def note_put_off(self, sop_instance_uids: Iterable[str]) -> None:
        """Note objects that were sent and could not be looked at.

        One that comes again leaves the quarantine.
        """
        new = {keyed_uid(uid, self._keys.uid) for uid in sop_instance_uids}
        with self._run() as run, run.register.transaction():
            before = run.register.pull_notes()
            uids = sorted(new.union(run.register.absent_of_notes(LISTENER)))
            notes = (
                [PullNote("objects of the network", PUT_OFF, tuple(uids), len(uids))]
                if uids
                else []
            )
            run.register.put_pull_notes(LISTENER, "", notes)
            self._noted = self._noted or run.register.pull_notes() != before

    def close(self) -> None:
        """Tell quarantine, manifest and sensor what came; nothing where nothing did."""
        if self._counts or self._actions or self._noted:
            with self._run() as run:
                run.close_reception()
                self._noted = False
                self._people = PeopleByNumber(self._folder)
                self._counts.clear()
                self._actions.clear()
                self._token = name_of_delivery()  # the child remembers who is who until here
        with self._one_at_a_time:
            self._shut()

    def _key(self, sop_instance_uid: str) -> str:
        return f"{RECEIVED_KEY} {keyed_uid(sop_instance_uid, self._keys.uid)}"

    def _begin(self, run: _Run) -> None:
        if self._open is not None and not self._open.begun:
            run.begin_reception()
            self._open.begun = True


@dataclass
class _Open:
    """A run that stays open between objects, as long as it knows what its vault holds."""

    run: _Run
    begun: bool = False
    since: float = field(default_factory=time.monotonic)
    version: tuple[int, ...] = ()

    def is_current(self) -> bool:
        """Whether nobody else wrote the vault since the last object, and it is not open for long.

        Whoever writes the manifest without the register makes it longer.
        """
        return time.monotonic() - self.since < OPEN_SECONDS and self.version == self._version()

    def note_version(self) -> None:
        """Note what the vault is like at the end of an object."""
        self.version = self._version()

    def _version(self) -> tuple[int, ...]:
        manifest = self.run.vault / MANIFEST
        facts = manifest.stat() if manifest.exists() else None
        size = (facts.st_ino, facts.st_size) if facts else ()
        return (self.run.register.version(), *size)


class PeopleByNumber:
    """Patients of the case report as far as their objects come: read by number, one at a time.

    Whom to search for in the output, and who withdrew. To look up every patient of a large site
    takes a while (scrypt), in which a sender gives up.
    """

    def __init__(self, site_folder: Path) -> None:
        self._folder = site_folder
        self._facts: tuple[tuple[Any, ...], ...] | None = None
        self._tables: list[CsvTable] = []
        self._begin()

    def _begin(self) -> None:
        self._numbers: frozenset[str] | None = frozenset()
        self._people = People()

    def known(self, run: _Run) -> tuple[People, frozenset[str] | None]:
        """Who was read so far, and their numbers; None for the numbers of everybody.

        They are read again where a file of the report changed, and everybody is read where a
        patient has several numbers: the rows of each are that patient's.
        """
        facts = tuple(_facts(path) for path in people_files(self._folder))
        if facts != self._facts:
            self._facts, self._tables = facts, people_tables(self._folder)
            self._begin()
        if self._numbers is not None and run.crosswalk.has_aliases(run.site):
            self._read(run, None)
        return self._people, self._numbers

    def of(self, run: _Run, number: str) -> tuple[People, frozenset[str] | None]:
        """The same with the patient of this number; everybody, for an object without a number."""
        _, numbers = self.known(run)
        if numbers is not None and number not in numbers:
            self._read(run, numbers | {number} if number else None)
        return self._people, self._numbers

    def _read(self, run: _Run, numbers: frozenset[str] | None) -> None:
        self._people = people_of(self._tables, run.site, run.crosswalk, numbers)
        self._numbers = numbers


def _facts(path: Path) -> tuple[Any, ...]:
    """What changes of a file when it is written anew."""
    try:
        facts = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _has_text(file: Path) -> bool:
    """Whether text is drawn into an image of the vault; False for a missing or damaged file."""
    try:
        image = pydicom.dcmread(file)
        pixels = image.pixel_array
    except Exception:  # whatever a damaged file makes of a reader: it ends no intake
        return False
    return holds_text(
        pixels, float(image.get("RescaleSlope") or 1), float(image.get("RescaleIntercept") or 0)
    )


def _task(image: LandingFile, _key: str, row: FileRow | None) -> Task:
    known = row.digest if row is not None and row.state != REFUSED else ""
    return Task(str(image.path), image.place, known, str(image.site_folder))


def _head_task(task: Task, *, whole: bool = False) -> Task:
    """The task of reading a file's head: of what came by the network the first bytes alone."""
    data = task.data if task.data is None or whole else task.data[:HEAD_BYTES]
    return replace(task, head_only=True, data=data)


def _batches(whole: Sequence[T]) -> list[Sequence[T]]:
    return [whole[start : start + FILES_A_BATCH] for start in range(0, len(whole), FILES_A_BATCH)]


def _is_as_noted(image: LandingFile, row: FileRow) -> bool:
    return row.size == image.size and row.modified == image.modified


def _is_settled(image: LandingFile, row: FileRow | None, bases: frozenset[str]) -> bool:
    if row is None or not _is_as_noted(image, row):
        return False
    return row.state != REFUSED or row.basis in bases


def drop_patient(vault_site: Path, register: Register, patient: str) -> None:
    """Remove a patient's files and what the register holds of them."""
    shutil.rmtree(vault_site / patient, ignore_errors=True)
    sync_folder(vault_site)
    with register.transaction():
        register.drop_patient(patient)


def give_up_patient(vault_site: Path, patient: str) -> None:
    """Remove a patient's files and their register, so that the delivery folder is read anew.

    For use after two pseudonyms were joined.
    """
    with site_lock(vault_site), contextlib.closing(Register(vault_site / REGISTER)) as register:
        if (vault_site / MANIFEST).is_file():
            Manifest(vault_site / MANIFEST).append([_left("given_up", register, patient)])
        drop_patient(vault_site, register, patient)
        register.judge_refused_again()
        register.remember("case_report", "")


def confirm_person(vault_site: Path, patient: str) -> None:
    """All statements of a patient number are of one person: what was refused is judged again."""
    with site_lock(vault_site), contextlib.closing(Register(vault_site / REGISTER)) as register:
        with register.transaction():
            register.remember(f"one person {patient}", "yes")
            register.judge_persons_again(patient, NOT_THE_SAME_PERSON.format(patient=patient))
        register.remember("case_report", "")


def _left(event: str, register: Register, patient: str) -> dict[str, Any]:
    """The manifest's record of files that leave: written before they do, so that none is missed."""
    return {
        "event": event,
        "outputs": sorted(row.output_digest for row in register.objects(patient)),
    }


def held_names(vault_site: Path, patient: str) -> set[str]:
    """Names by which a patient's objects are filed.

    Keyed UIDs, digests of content, and the names of the scans.
    """
    if not (vault_site / REGISTER).is_file():
        return set()
    with contextlib.closing(Register(vault_site / REGISTER)) as register:
        rows = register.objects(patient)
    words = {
        word
        for row in rows
        for word in (
            *row.key.split(),
            row.series or "",
            *row.content.split(),
            *Path(row.output).parts,
        )
    }
    return {word for word in words if re.fullmatch(r"2\.25\.\d+|S[A-Z2-7]{16}|[0-9a-f]{64}", word)}


def noted_digests(vault_site: Path) -> dict[str, str]:
    """SHA-256 of every file of a site's vault when it was taken in, by its relative path."""
    if not (vault_site / REGISTER).is_file():
        return {}
    with contextlib.closing(Register(vault_site / REGISTER)) as register:
        return register.output_digests()


def remove_patient(vault_site: Path, patient: str, *, crosswalk: Path, mark: str = "") -> str:
    """Withdraw a patient from a site's vault.

    Files, rows of the case report, the patient's identity and the pseudonym are removed.

    What remains is a mark in the place of the pseudonym, derived from nothing (a new one, or
    `mark`): files that are sent again are refused, and the study counts who left. The manifest
    keeps digests of files only. Returns the mark. With the same mark it is done again where it was
    cut short.
    """
    with site_lock(vault_site), contextlib.closing(Register(vault_site / REGISTER)) as register:
        mark = withdraw_from_crosswalk(crosswalk, patient, mark or mark_of(crosswalk, patient))
        Manifest(vault_site / MANIFEST).append([_left("withdrawn", register, patient)])
        drop_patient(vault_site, register, patient)
        _forget_refused(vault_site / REFUSED_TABLE, patient)
        _remove_unfinished(vault_site, register)
        for fact in ("withdrawn", "unclear"):
            register.remember(fact, register.fact(fact).replace(patient, mark))
        register.remember("case_report", "")
        register.wipe()
        for path in (vault_site / CASE_REPORT).glob("*.parquet"):
            frame = pl.read_parquet(path)
            for column in {"patient", "other_patient"} & set(frame.columns):
                frame = (
                    _marked(frame, patient, mark)
                    if path.stem == "patients"
                    else frame.filter(pl.col(column) != patient)
                )
                write_parquet_whole(path, frame)
    return mark


def _forget_refused(table: Path, patient: str) -> None:
    if table.is_file():
        write_parquet_whole(
            table,
            pl.read_parquet(table).filter(~pl.col("item").str.contains(patient, literal=True)),
        )


def _remove_unfinished(vault_site: Path, register: Register) -> None:
    """What a process that was killed had not finished writing, which may be a patient's."""
    named = {row.incoming for row in register.pending()}
    left_over = [file for file in (vault_site / INCOMING).glob("*") if file.name not in named]
    for file in (*left_over, *vault_site.rglob(".*.part")):
        file.unlink()


def _marked(patients: pl.DataFrame, patient: str, mark: str) -> pl.DataFrame:
    """The patients without this one; the mark's row says nothing but that somebody withdrew."""
    gone = patients.filter(pl.col("patient") == patient)
    kept = {"site", "in_case_report", "simulated"}
    row = gone.select(
        pl.col(c) if c in kept else pl.lit(None, dtype).alias(c)
        for c, dtype in patients.schema.items()
    ).with_columns(patient=pl.lit(mark), consent=pl.lit("withdrawn"))
    return pl.concat([patients.filter(pl.col("patient") != patient), row.cast(patients.schema)])
