"""Coordinator and hospitals of one run on this machine: each a process with a home of its own.

They connect over loopback by the same certificates, kits and refusals as over a network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dagster_project.federated.engine.certificates import Authority, make_key, make_request
from dagster_project.federated.engine.computations import read_frame
from dagster_project.federated.engine.jobs import new_name, write_job
from dagster_project.federated.engine.kits import Address, invite, write_coordinator, write_hospital
from dagster_project.federated.engine.operator import WAIT_S, Order, operate
from dagster_project.federated.engine.outcomes import Outcome, read_outcome
from dagster_project.federated.engine.places import Places, write_closed
from dagster_project.federated.engine.processes import (
    Running,
    Within,
    start_coordinator,
    start_hospital,
)
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.federated.pins import Pins
from dagster_project.federated.plans import Plan

DELTA = 1e-5
"""Of a budget where the plan has none: exact sums cost no ε."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Federation:
    """A coordinator and hospitals below one folder, certified and pinned; nothing runs yet."""

    folder: Path
    address: Address
    fingerprints: Mapping[str, str]
    within: Mapping[str, Within] = field(default_factory=dict)
    """By name, what stands in front of a party's processes (`processes.Within`)."""

    def places(self, name: str) -> Places:
        """Of a hospital by its code, or of `coordinator`."""
        return Places(self.folder / name / "federated")

    @classmethod
    def make(
        cls,
        folder: Path,
        rows: Mapping[str, Path | None],
        budget: Budget,
        address: Address | None = None,
        within: Mapping[str, Within] = MappingProxyType({}),
    ) -> Federation:
        """Provision a federation: keys at the hospitals, requests, certificates, pins, ledgers.

        Parameters
        ----------
        folder
            Of the homes.
        rows
            Each hospital's table, by its code; None where rows come from its lake.
        address, within
            Where the coordinator listens, on loopback by default, and what stands in front of each
            party's processes.
        """
        address = address or Address(LOOPBACK, free_port())
        coordinator = Places(folder / "coordinator" / "federated")
        coordinator.make()
        authority = Authority(coordinator.authority).make()
        prints = {
            code: _join(Places(folder / code / "federated"), code, table, budget)
            for code, table in rows.items()
        }
        made = cls(folder, address, prints, within)
        for code, own in prints.items():
            places = made.places(code)
            request = places.request.read_bytes()
            _, certificate = authority.approve(request, own)
            write_hospital(places, invite(authority, certificate, address), code)
            for other, other_print in prints.items():
                Pins(places.folder).pin(other, other_print)
        write_coordinator(coordinator, address)
        return made

    def allow(self, plan: Plan) -> None:
        """Allow a plan at every hospital of it."""
        for code in plan.plan.hospitals:
            Ledger(self.places(code).folder).allow(plan.digest)

    def run(self, plan: Plan, name: str) -> Run:
        """A run of a plan."""
        hospitals = tuple((code, self.fingerprints[code]) for code in plan.plan.hospitals)
        return Run(name, plan.digest, hospitals)

    @contextmanager
    def started(self) -> Iterator[dict[str, Running]]:
        """All processes, by name; all are ended at the end, whatever happens."""
        with ExitStack() as stack:
            running = {"coordinator": self._start_coordinator(stack)}
            for code in self.fingerprints:
                running[code] = self.start_hospital(code)
                stack.callback(running[code].end)
            yield running

    def _start_coordinator(self, stack: ExitStack) -> Running:
        places = self.places("coordinator")
        running = start_coordinator(
            self.folder / "coordinator", places.workspace, self.within.get("coordinator", ())
        )
        stack.callback(running.end)
        return running

    def start_hospital(self, code: str) -> Running:
        """One hospital's process."""
        return self.start_hospital_at(self.places(code), code)

    def start_hospital_at(self, places: Places, code: str) -> Running:
        """The same from another home."""
        return start_hospital(
            places.folder.parent, places.workspace, code, self.within.get(code, ())
        )

    def submit(
        self,
        codes: tuple[str, ...],
        job: Path | None,
        progress: Callable[[Outcome], None],
        wait_s: float = WAIT_S,
    ) -> None:
        """Wait for hospitals, submit a job, which has the name of its run, and follow it.

        Raises
        ------
        EngineFailed
        """
        places = self.places("coordinator")
        kit = str(places.administration)
        order = Order(kit, codes, wait_s)
        if job is not None:
            file = places.outcome(job.name, coordinator=True)
            order = Order(kit, codes, wait_s, str(job), str(file))
        operate(places, order, progress, self.within.get("coordinator", ()))

    def carry_out(
        self, plan: Plan, timeout_s: int, progress: Callable[[Outcome], None]
    ) -> dict[str, Outcome]:
        """Run a plan on processes that are started; the outcome at each hospital.

        Raises
        ------
        EngineFailed
        """
        places, name = self.places("coordinator"), new_name()
        places.make(places.jobs)
        job = write_job(places.jobs, plan, self.run(plan, name), timeout_s)
        self.submit(tuple(plan.plan.hospitals), job, progress)
        found = {code: read_outcome(self.places(code).outcome(name)) for code in self.fingerprints}
        return {code: outcome for code, outcome in found.items() if outcome is not None}


def simulate(
    folder: Path, plan: Plan, table: Path, timeout_s: int, progress: Callable[[Outcome], None]
) -> dict[str, Outcome]:
    """Deal a table's rows out to the hospitals of a plan, and run it; the outcome at each.

    Each hospital allows the plan with a budget that is just that of the plan.

    Raises
    ------
    RowsUnusable, EngineFailed
    """
    codes, delta = plan.plan.hospitals, getattr(plan.asked, "delta", DELTA)
    tables = deal(table, codes, folder)
    budget = Budget(plan.epsilon(delta) or 1.0, delta)
    federation = Federation.make(folder, tables, budget)
    federation.allow(plan)
    with federation.started():
        return federation.carry_out(plan, timeout_s, progress)


def deal(table: Path, codes: Sequence[str], folder: Path) -> dict[str, Path]:
    """Rows of a table to each hospital in turn, as files of their own.

    Raises
    ------
    RowsUnusable
    """
    frame = read_frame(table)
    tables = {code: folder / f"{code}.parquet" for code in codes}
    for i, file in enumerate(tables.values()):
        frame[i :: len(codes)].write_parquet(file)
    return tables


def _join(places: Places, code: str, table: Path | None, budget: Budget) -> str:
    """A hospital's own part before it is approved; the fingerprint of its key."""
    places.make()
    Ledger.create(places.folder, code, budget)
    key = make_key(places.key)
    write_closed(places.request, make_request(code, key))
    places.note_medium()
    if table is not None:
        write_closed(places.rows, str(table.resolve()).encode())
    return fingerprint(public_bytes(key))


def free_port() -> int:
    """A port of the loopback that nobody uses at the moment."""
    with socket.socket() as tried:
        tried.bind((LOOPBACK, 0))
        return int(tried.getsockname()[1])
