"""What a hospital has given away to federated runs: a file that it refuses by, and only adds to.

A line is the hash of the line before it and its own record, then the record. A second file has the
number and hash of the last line, and the other hospitals note them too:

1. A line that was edited, cut, taken out or put in breaks the chain.
2. An older copy of the ledger does not hold the line that the second file names.
3. Where both were restored, the other hospitals find fewer lines than they have noted, or others.
   Where all hospitals restore at once, nobody notices.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from dagster_project.federated.accounting import compose, epsilon_of, mu_of
from dagster_project.federated.key_agreement import LEAST_HOSPITALS
from dagster_project.federated.refusals import (
    BudgetSpent,
    LedgerDamaged,
    LedgerRolledBack,
    NotThisHospital,
    OtherCohort,
    OtherHospitals,
    PlanNotAllowed,
    RoundSpent,
    TooFewHospitals,
)
from dagster_project.lake.durable import sync_file, sync_folder
from dagster_project.lake.locks import locked

START = "0" * 64

ROUNDING = 1e-12
"""Share by which a budget may be exceeded: steps that were planned to spend it add up to a hair
more."""


@dataclass(frozen=True)
class Budget:
    """The ε at δ that a hospital's cohort may cost in all."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Refuse a budget that is none: with no number to compare, everything would be within."""
        if not (0 < self.epsilon < inf and 0 < self.delta < 1):
            raise ValueError("a budget is a finite ε above 0, and a δ within 0 and 1")

    @property
    def mu(self) -> float:
        """The same as Gaussian differential privacy."""
        return mu_of(self.epsilon, self.delta)


@dataclass(frozen=True)
class Step:
    """One round of a run as the ledger sees it; all names are digests but the hospitals' codes.

    `query` is of what is asked (columns, filters, kind), without noise, clip and number of steps;
    `plan` of the whole plan; `cohort` of the rows that this hospital's part is computed from. `mu`
    is None where nothing is added to the sum.
    """

    run: str
    number: int
    plan: str
    query: str
    cohort: str
    hospitals: tuple[str, ...]
    mu: float | None

    def __post_init__(self) -> None:
        """Refuse a cost that is none: it would make the account too small."""
        if self.mu is not None and not (isfinite(self.mu) and self.mu > 0):
            raise ValueError("a step with noise costs a finite μ above 0")
        object.__setattr__(self, "hospitals", tuple(sorted(set(self.hospitals))))


@dataclass(frozen=True)
class Account:
    """What a ledger adds up to."""

    hospital: str
    budget: Budget
    mu: float
    noisy_steps: int
    exact_steps: int
    plans: frozenset[str]

    @property
    def epsilon(self) -> float:
        """ε spent by the steps with noise, at the budget's δ; exact steps have none."""
        return epsilon_of(self.mu, self.budget.delta)


class Ledger:
    """A hospital's ledger; each call reads the file anew and holds it to its chain."""

    def __init__(
        self, folder: Path, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    ) -> None:
        self._folder, self._now = folder, now
        self._file, self._head = folder / "ledger", folder / "ledger.head"

    @classmethod
    def create(cls, folder: Path, hospital: str, budget: Budget) -> Ledger:
        """Begin a hospital's ledger; its budget is its first line and stays.

        Raises
        ------
        FileExistsError
            Where there is one, or was one.
        """
        made = cls(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if made._head.exists():
            raise FileExistsError(f"{made._head.name} is there: this home has had a ledger")
        os.close(os.open(made._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with made._locked():
            made._append([], {"hospital": hospital, **asdict(budget)}, "opened")
        return made

    def account(self) -> Account:
        """What was spent and what is allowed.

        Raises
        ------
        LedgerDamaged, LedgerRolledBack
        """
        with self._locked():
            return account_of(self._read())

    def records(self) -> list[dict[str, Any]]:
        """Every line's record, oldest first.

        Raises
        ------
        LedgerDamaged, LedgerRolledBack
        """
        with self._locked():
            return [line.record for line in self._read()]

    def allow(self, plan: str) -> None:
        """Note that a person at this hospital has allowed a plan, by its digest."""
        self._add("allowed", {"plan": plan})

    def forbid(self, plan: str) -> None:
        """Note that a plan is not allowed any longer."""
        self._add("forbidden", {"plan": plan})

    def spend(self, step: Step) -> Account:
        """Note a step before anything of it is sent, or refuse it (`check_step`).

        What is noted counts as spent, whether or not the step then succeeds.

        Raises
        ------
        NotThisHospital, TooFewHospitals, PlanNotAllowed, RoundSpent
        OtherHospitals, OtherCohort, BudgetSpent, LedgerDamaged, LedgerRolledBack
        """
        with self._locked():
            lines = self._read()
            check_step(lines, step)
            return account_of([*lines, self._append(lines, asdict(step), "spent")])

    def hashes(self) -> list[str]:
        """The hash of each line, for the other hospitals."""
        with self._locked():
            return [line.hash for line in self._read()]

    def note_others(self, hashes: Mapping[str, Sequence[str]]) -> None:
        """Hold the other hospitals' ledgers to what was noted of them before, and note them anew.

        Parameters
        ----------
        hashes
            Each other hospital's `hashes`, as it sent them.

        Raises
        ------
        LedgerRolledBack
            Names the first hospital whose ledger has lost lines.
        """
        with self._locked():
            lines = self._read()
            noted = _noted(lines)
            for hospital, found in sorted(hashes.items()):
                _check_other(hospital, found, noted.get(hospital))
            heads = {h: [len(found), found[-1]] for h, found in hashes.items() if found}
            if any(noted.get(hospital) != tuple(head) for hospital, head in heads.items()):
                self._append(lines, {"ledgers": heads}, "others")

    def _locked(self) -> Any:
        return locked(self._folder / "ledger.lock", "the ledger of federated runs")

    def _add(self, event: str, record: dict[str, Any]) -> None:
        with self._locked():
            self._append(self._read(), record, event)

    def _append(self, lines: Sequence[Line], record: dict[str, Any], event: str) -> Line:
        """Write a line, then its number and hash; both are on disk when this returns."""
        whole = {"event": event, "at": self._now().isoformat(timespec="seconds"), **record}
        line = Line.after(lines[-1].hash if lines else START, whole)
        with self._file.open("ab") as file:
            file.write(line.text)
        sync_file(self._file)
        self._write_head(len(lines) + 1, line.hash)
        return line

    def _write_head(self, count: int, last: str) -> None:
        fresh = self._head.with_suffix(".new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{count} {last}\n")
        sync_file(fresh)
        fresh.replace(self._head)
        sync_folder(self._folder)

    def _read(self) -> list[Line]:
        """All lines, once they are held to the chain and to the second file.

        Half a line at the end, which a process left that was killed while it wrote, was never
        acknowledged and is dropped; so is what the second file does not name yet, completed.
        """
        count, last = self._read_head()
        whole, torn = self._whole_lines()
        lines = read_lines(whole)
        if count > len(lines) or (count and lines[count - 1].hash != last):
            hospital = str(lines[0].record["hospital"]) if lines else "this hospital"
            raise LedgerRolledBack(hospital, len(lines), count)
        if torn:
            os.truncate(self._file, sum(len(line.text) for line in lines))
            sync_file(self._file)
        if count < len(lines):
            self._write_head(len(lines), lines[-1].hash)
        return lines

    def _whole_lines(self) -> tuple[list[bytes], bool]:
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            raise LedgerDamaged(
                1, "is missing, as the whole file is", "缺失，整个文件均缺失"
            ) from None
        whole, _, rest = data.rpartition(b"\n")
        return whole.split(b"\n") if whole else [], bool(rest)

    def _read_head(self) -> tuple[int, str]:
        try:
            count, last = self._head.read_text(encoding="ascii").split()
            return int(count), last
        except FileNotFoundError:
            return self._no_head()
        except ValueError:
            raise LedgerDamaged(
                1, "has no counterpart in ledger.head", "在 ledger.head 中无对应"
            ) from None

    def _no_head(self) -> tuple[int, str]:
        """Nothing was acknowledged before the first line, which may be there already."""
        if self._file.exists() and self._file.read_bytes().count(b"\n") > 1:
            raise LedgerDamaged(
                1, "has no counterpart: ledger.head is gone", "无对应：ledger.head 缺失"
            )
        return 0, START


@dataclass(frozen=True)
class Line:
    """A line: its record, its hash, and its bytes with the end of line."""

    record: dict[str, Any]
    hash: str
    text: bytes

    @classmethod
    def after(cls, previous: str, record: dict[str, Any]) -> Line:
        """The line that follows one with that hash."""
        content = json.dumps(record, sort_keys=True, ensure_ascii=True).encode("ascii")
        chained = _chained(previous, content)
        return cls(json.loads(content), chained, chained.encode("ascii") + b" " + content + b"\n")


def _chained(previous: str, content: bytes) -> str:
    return hashlib.sha256(previous.encode("ascii") + content).hexdigest()


def read_lines(texts: Sequence[bytes]) -> list[Line]:
    """Lines of a ledger, held to their chain byte by byte.

    Raises
    ------
    LedgerDamaged
        Names the first line that does not follow from the one before, or is none.
    """
    lines: list[Line] = []
    previous = START
    for number, text in enumerate(texts, start=1):
        stated, _, content = text.partition(b" ")
        if stated != _chained(previous, content).encode("ascii"):
            raise LedgerDamaged(number, "does not follow from the line before it", "与前一行不衔接")
        previous = stated.decode("ascii")
        lines.append(Line(json.loads(content), previous, text + b"\n"))
    if lines and lines[0].record.get("event") != "opened":
        raise LedgerDamaged(1, "does not open a ledger", "不是台账首行")
    return lines


def account_of(lines: Sequence[Line]) -> Account:
    """Add up a ledger.

    Raises
    ------
    LedgerDamaged
        Where it has no first line.
    """
    if not lines:
        raise LedgerDamaged(1, "is missing", "缺失")
    opened = lines[0].record
    steps = _steps(lines)
    noisy = [step.mu for step in steps if step.mu is not None]
    return Account(
        opened["hospital"],
        Budget(opened["epsilon"], opened["delta"]),
        compose(noisy),
        len(noisy),
        len(steps) - len(noisy),
        _allowed(lines),
    )


def check_step(lines: Sequence[Line], step: Step) -> None:
    """Refuse a step by the ledger alone.

    1. The hospital takes part, and at least two others.
    2. The plan is allowed here.
    3. The round of the run is not in the ledger.
    4. Whenever the query was answered before, the hospitals were the same: the difference of two
       sums would be of those that differ.
    5. Without noise, this hospital's rows were the same too.
    6. The budget covers the step.

    Raises
    ------
    NotThisHospital, TooFewHospitals, PlanNotAllowed, RoundSpent
    OtherHospitals, OtherCohort, BudgetSpent
    """
    account = account_of(lines)
    _check_place(account, step)
    before = _steps(lines)
    if any((old.run, old.number) == (step.run, step.number) for old in before):
        raise RoundSpent(step.number)
    for old in before:
        if old.query == step.query:
            _check_repetition(old, step)
    _check_budget(account, step)


def _check_place(account: Account, step: Step) -> None:
    if account.hospital not in step.hospitals:
        raise NotThisHospital(account.hospital)
    if len(step.hospitals) < LEAST_HOSPITALS:
        raise TooFewHospitals(len(step.hospitals), LEAST_HOSPITALS)
    if step.plan not in account.plans:
        raise PlanNotAllowed(step.plan)


def _check_repetition(old: Step, step: Step) -> None:
    changed = set(old.hospitals) ^ set(step.hospitals)
    if changed:
        raise OtherHospitals(changed)
    if old.cohort != step.cohort and (old.mu is None or step.mu is None):
        raise OtherCohort


def _check_budget(account: Account, step: Step) -> None:
    if step.mu is None:
        return
    mu = compose([account.mu, step.mu])
    if mu > account.budget.mu * (1 + ROUNDING):
        raise BudgetSpent(epsilon_of(mu, account.budget.delta), account.budget.epsilon)


def _steps(lines: Sequence[Line]) -> list[Step]:
    names = Step.__dataclass_fields__
    return [
        Step(**{n: line.record[n] for n in names})
        for line in lines
        if line.record["event"] == "spent"
    ]


def _allowed(lines: Sequence[Line]) -> frozenset[str]:
    plans: set[str] = set()
    for line in lines:
        if line.record["event"] == "allowed":
            plans.add(line.record["plan"])
        elif line.record["event"] == "forbidden":
            plans.discard(line.record["plan"])
    return frozenset(plans)


def _noted(lines: Sequence[Line]) -> dict[str, tuple[int, str]]:
    """Number of lines and last hash of each other hospital's ledger, as noted last."""
    noted: dict[str, tuple[int, str]] = {}
    for line in lines:
        if line.record["event"] == "others":
            noted |= {h: (n, last) for h, (n, last) in line.record["ledgers"].items()}
    return noted


def _check_other(hospital: str, found: Sequence[str], noted: tuple[int, str] | None) -> None:
    count, last = noted or (0, START)
    if count and (count > len(found) or found[count - 1] != last):
        raise LedgerRolledBack(hospital, len(found), count)
