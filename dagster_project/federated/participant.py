"""A hospital's side of a run, in the order in which it may go, and what it refuses on its way.

1. `announcement`: the hospital's key of the run, signed.
2. `greet`: once all announcements are in and are those of the pinned hospitals, a sealed greeting
   for each other one, with the hashes of this hospital's ledger and its time; the leader's has the
   run's keys.
3. `hear`: the others' greetings; their ledgers are held to what was noted of them before, and their
   clocks to each other.
4. `part`, for each round of the plan: the values are held to the plan, the step is noted in the
   ledger, which may refuse it, noise is added, and the masked vector encrypted.
5. `open`: the sum, checked.

What carries the bytes is outside; it sees nothing of what they hold.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats, to_residues
from dagster_project.federated.key_agreement import (
    Announcement,
    Channels,
    Party,
    Run,
    check_attendance,
)
from dagster_project.federated.ledger import Ledger, Step
from dagster_project.federated.messages import part_to_bytes, total_from_bytes
from dagster_project.federated.noise import clip_rows, noise_share
from dagster_project.federated.plans import Plan
from dagster_project.federated.refusals import (
    ClockOff,
    ForgedMessage,
    OtherRound,
    OutOfOrder,
    PlanNotAllowed,
    WrongLength,
)
from dagster_project.federated.rows import as_table
from dagster_project.federated.secure_sum import Member, RunKeys

if TYPE_CHECKING:
    from dagster_project.federated.identities import SigningKey


CLOCK_S = 300.0
"""Seconds by which a clock may differ from the median of all; Kerberos allows as much."""


def utc_now() -> dt.datetime:
    """The time by this machine's clock."""
    return dt.datetime.now(dt.UTC)


class Participant:
    """One hospital in one run; in memory alone, so that a process that ends ends the run."""

    def __init__(
        self,
        plan: Plan,
        run: Run,
        hospital: str,
        key: SigningKey,
        ledger: Ledger,
        cohort: str,
        *,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        """Enter a run with a fresh key.

        Parameters
        ----------
        plan
            As it was read at this hospital.
        run
            With the fingerprints that are pinned here.
        hospital
            This hospital's code.
        key
            The private key of its certificate.
        ledger
            Its own.
        cohort
            Digest of the rows that its parts are computed from.
        now
            The clock.

        Raises
        ------
        PlanNotAllowed
            Where the ledger does not allow the plan, or the run is of another plan or of other
            hospitals than the plan's.
        UnknownHospital, SubstitutedKey
            Where this hospital is not part of the run, or is pinned with another key.
        """
        if run.plan != plan.digest or list(run.codes) != plan.plan.hospitals:
            raise PlanNotAllowed(run.plan)
        if plan.digest not in ledger.account().plans:
            raise PlanNotAllowed(plan.digest)
        self._plan, self._ledger, self._cohort = plan, ledger, cohort
        self._party, self._now, self._time = Party.enter(run, hospital, key), now, 0.0
        self._channels: Channels | None = None
        self._keys: RunKeys | None = None
        self._member: Member | None = None
        self._sent = self._opened = 0
        self._length = 0

    @property
    def run(self) -> Run:
        """The run."""
        return self._party.run

    @property
    def hospital(self) -> str:
        """Its code."""
        return self._party.announcement.hospital

    def announcement(self) -> bytes:
        """What all others are to get."""
        return self._party.announcement.to_bytes()

    def greet(self, announcements: Sequence[bytes]) -> dict[str, bytes]:
        """A sealed greeting for each other hospital, by its code.

        Raises
        ------
        OutOfOrder
        ForgedMessage, UnknownHospital, HospitalTwice, HospitalMissing, SubstitutedKey, SameKeyTwice
            As `Party.agree` raises them.
        """
        self._expect(self._channels is None)
        read = [Announcement.from_bytes(data) for data in announcements]
        channels = self._party.agree(read)
        if self.hospital == self.run.leader:
            self._keys = RunKeys.make()
        self._channels = channels
        content = self._greeting()
        return {other: channels.seal(other, content) for other in channels.others}

    def _greeting(self) -> bytes:
        keys, self._time = self._keys, self._now().timestamp()
        greeting = {
            "time": self._time,
            "ledger": self._ledger.hashes(),
            "check": keys.check.hex() if keys else "",
            "encryption": keys.encryption.hex() if keys else "",
        }
        return json.dumps(greeting, sort_keys=True).encode()

    def hear(self, greetings: Mapping[str, bytes]) -> None:
        """The others' greetings to this hospital, by who sent them.

        Raises
        ------
        OutOfOrder
        UnknownHospital, HospitalMissing, ForgedMessage
            Where one is missing, or is not by whom it is from.
        LedgerRolledBack
            Where another hospital's ledger has lost lines.
        ClockOff
            Where a hospital's clock is not the others'.
        UnreadableCiphertext
            Where the leader's keys cannot be used.
        """
        channels = self._channels
        self._expect(channels is not None and self._member is None)
        assert channels is not None
        check_attendance(self.run, [*greetings, self.hospital])
        heard = {
            sender: _read_greeting(sender, channels.unseal(sender, sealed))
            for sender, sealed in greetings.items()
        }
        self._ledger.note_others({sender: g.ledger for sender, g in heard.items()})
        check_clocks({self.hospital: self._time} | {sender: g.time for sender, g in heard.items()})
        keys = self._keys or heard[self.run.leader].keys
        self._member = Member(channels, keys)

    def part(
        self, number: int, values: npt.ArrayLike, randomness: Callable[[int], bytes] = os.urandom
    ) -> bytes:
        """The hospital's part of the next round, for the coordinator.

        Parameters
        ----------
        number
            Of the round, from 1, each once and in order.
        values : float array (n,), or (patients, n) where the plan has a clip
            Exact, and one row per patient: rows are clipped and summed here, noise is added here,
            as the plan has it.
        randomness
            As `noise_share` has it.

        Raises
        ------
        OutOfOrder, OtherRound
        WrongLength, OtherColumns, NotFinite, TooLarge
            Where the values cannot be summed; nothing is spent then.
        RoundSpent, OtherHospitals, OtherCohort, BudgetSpent, LedgerDamaged, LedgerRolledBack
            Where the ledger refuses.
        """
        member = self._member
        self._expect(member is not None and self._sent == self._opened)
        assert member is not None
        if number != self._sent + 1 or number > self._plan.asked.rounds:
            raise OtherRound("the coordinator", number, self._sent + 1)
        vector = self._vector(values)
        self._ledger.spend(self._step(number))
        self._sent, self._length = number, vector.size
        hospitals = len(self.run.codes)
        noisy = vector + noise_share(vector.size, self._plan.asked.noise_sd, hospitals, randomness)
        return part_to_bytes(member.part(noisy, number, vector.size))

    def open(self, total: bytes) -> Floats:
        """The sum of the round that this hospital has sent its part of.

        Raises
        ------
        OutOfOrder, UnreadableMessage
        OtherRound, WrongLength, UnreadableCiphertext, FailedCheck
            As `Member.open` raises them; no number is read then.
        """
        member = self._member
        self._expect(member is not None and self._sent == self._opened + 1)
        assert member is not None
        found = member.open(total_from_bytes(total), self._sent, self._length)
        self._opened = self._sent
        return found

    def _vector(self, values: npt.ArrayLike) -> Floats:
        """Held to the plan before anything is spent."""
        asked = self._plan.asked
        if asked.row_norm is None:
            vector = np.asarray(values, dtype=np.float64)
        else:
            vector = clip_rows(as_table(values, asked.length), asked.row_norm).sum(axis=0)
        if vector.ndim != 1 or not 0 < vector.size <= asked.length:
            raise WrongLength(self.hospital, vector.size, asked.length)
        to_residues(vector, len(self.run.codes))
        return vector

    def _step(self, number: int) -> Step:
        plan, run = self._plan, self.run
        return Step(
            run.digest, number, plan.digest, plan.query, self._cohort, run.codes, plan.asked.mu
        )

    def _expect(self, in_order: bool) -> None:
        if not in_order:
            raise OutOfOrder


@dataclass(frozen=True)
class Greeting:
    """Hashes of the sender's ledger, its time, and the keys, empty but for the leader's."""

    ledger: list[str]
    time: float
    keys: RunKeys


def _read_greeting(sender: str, content: bytes) -> Greeting:
    try:
        read = json.loads(content)
        hashes = [bytes.fromhex(line).hex() for line in read["ledger"]]
        keys = RunKeys(bytes.fromhex(read["check"]), bytes.fromhex(read["encryption"]))
        time = float(read["time"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ForgedMessage(sender, "greeting", "问候消息") from None
    return Greeting(hashes, time, keys)


def check_clocks(times: Mapping[str, float]) -> None:
    """Hold the hospitals' clocks to the median of all, as they were when they greeted.

    Raises
    ------
    ClockOff
        Names who is further off than `CLOCK_S`; a time that is no number is off too.
    """
    middle = median(times.values())
    off = [code for code, time in times.items() if not abs(time - middle) <= CLOCK_S]
    if off:
        raise ClockOff(off, CLOCK_S / 60)
