"""Draw deliveries, distort them, run them home by home, and count the verdicts by distortion."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.deliveries.detections import switched_off
from benchmarks.deliveries.distortions import DISTORTIONS, Distortion
from benchmarks.deliveries.flow import run_home
from benchmarks.deliveries.phantom import Delivery, make_delivery
from benchmarks.deliveries.real import FITTING, make_real, present
from benchmarks.deliveries.site import Site, fill_sheets
from benchmarks.deliveries.verdicts import CRASH, SILENT, VERDICTS, Verdict, judge

SHARED = 40
"""Patients of a site that faults of single patients share."""

PLAIN_SHARE = 0.1
"""Of them have no fault: bystanders must stay right."""

SECOND_SHARE = 0.2
"""Of single patients' faults are two at once."""

REAL_SHARE = 0.2
"""Of the faults that fit any CT are tried on real scans."""

PLAIN = "no distortion"


@dataclass(frozen=True)
class Case:
    """A delivery to be: its number, its faults, and the real scan it is made of, if any."""

    serial: int
    names: tuple[str, ...]
    real: str = ""


@dataclass
class Findings:
    """Verdicts of all deliveries."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Deliveries by verdict."""
        return Counter(v.verdict for v in self.verdicts)

    @property
    def total(self) -> int:
        """Deliveries in all."""
        return len(self.verdicts)

    def table(self) -> str:
        """Verdicts by distortion in Markdown; a delivery with two faults counts under both."""
        rows: dict[str, Counter[str]] = defaultdict(Counter)
        for verdict in self.verdicts:
            for name in verdict.distortions or (PLAIN,):
                rows[name][verdict.verdict] += 1
        lines = [
            f"| family | distortion | {' | '.join(VERDICTS)} |",
            "|---|---|" + "---:|" * len(VERDICTS),
        ]
        order = [PLAIN, *DISTORTIONS]
        for name in sorted(rows, key=order.index):
            family = DISTORTIONS[name].family if name in DISTORTIONS else "-"
            lines.append(
                f"| {family} | {name.replace('_', ' ')} | "
                + " | ".join(str(rows[name][v] or "") for v in VERDICTS)
                + " |"
            )
        lines.append(
            "| | **all deliveries** | "
            + " | ".join(f"**{self.counts[v]}**" for v in VERDICTS)
            + " |"
        )
        return "\n".join(lines)

    def details(self) -> str:
        """What was wrong in each delivery that was wrong in silence or crashed."""
        bad = [v for v in self.verdicts if v.verdict in {SILENT, CRASH}]
        return "\n".join(
            f"{v.verdict}: {v.serial} {' + '.join(v.distortions) or PLAIN}: "
            f"{'; '.join(v.wrong[:6])}  [named: {'; '.join(v.named[:4])}]"
            for v in bad
        )


def plan(count: int, seed: int, only: Sequence[str]) -> list[tuple[str, list[Case]]]:
    """Sites to be: code and cases, each distortion as often as the others."""
    rng, serial, cases_here = Random(seed), 1000 * seed, present()
    names = [only[k % len(only)] for k in range(count)]
    rng.shuffle(names)
    shared: list[Case] = []
    sites: list[list[Case]] = []
    for name in names:
        one = DISTORTIONS[name]
        people = 2 if one.of != "patient" else 1
        real = (
            rng.choice(cases_here)
            if cases_here and name in FITTING and rng.random() < REAL_SHARE
            else ""
        )
        cases = [
            Case(serial + k, (name, *([] if real else _second(one, only, rng))), real)
            for k in range(1, people + 1)
        ]
        serial += people
        if one.alone:
            sites.append(cases)
        else:
            shared += cases
            if rng.random() < PLAIN_SHARE:
                serial += 1
                shared.append(Case(serial, ()))
    large = [list(part) for part in _parts(shared, SHARED)]
    return [(site_code(k), cases) for k, cases in enumerate([*large, *sites])]


def site_code(number: int) -> str:
    """A code of six letters for the site of a number: SAAAAA, SAAAAB, …"""
    letters = (chr(ord("A") + number // 26**place % 26) for place in reversed(range(5)))
    return f"S{''.join(letters)}"


def _parts(cases: Sequence[Case], size: int) -> Iterator[Sequence[Case]]:
    for start in range(0, len(cases), size):
        yield cases[start : start + size]


def _second(one: Distortion, only: Sequence[str], rng: Random) -> tuple[str, ...]:
    """Sometimes a second fault, of another family, that the same delivery can have."""
    if one.alone or rng.random() > SECOND_SHARE:
        return ()
    fitting = [n for n in only if _together(one, DISTORTIONS[n])]
    return (rng.choice(fitting),) if fitting else ()


IMAGING = {"geometry", "structure sets", "masks", "readers"}


def _together(one: Distortion, other: Distortion) -> bool:
    """Faults of the images and faults of the sheets do not touch each other's truth."""
    return (
        not other.alone
        and (one.family in IMAGING) != (other.family in IMAGING)
        and one.readers == other.readers
    )


def build(code: str, cases: Sequence[Case]) -> Site:
    """A site's deliveries, distorted."""
    site = Site(code, [_deliver(case) for case in cases])
    name = next((n for case in cases for n in case.names), None)
    one = DISTORTIONS[name] if name else None
    if one and one.of == "people":
        one.apply(site.deliveries, site.deliveries[0].rng)
    fill_sheets(site)
    if one and one.of == "sheets":
        one.apply(site, site.deliveries[0].rng)
    return site


def _deliver(case: Case) -> Delivery:
    """A patient's delivery with the faults of that patient.

    Faults of images come before faults of sheets, which may take the outlines away.
    """
    kinds = sorted(
        (DISTORTIONS[name] for name in case.names), key=lambda k: k.family not in IMAGING
    )
    numeric = any(k.numeric for k in kinds)
    number = (
        f"33{case.serial * 7919 % 10**6:06d}" if numeric else f"ZY{case.serial * 7919 % 10**7:07d}"
    )
    if case.real:
        made = make_real(case.real, number, case.serial)
    else:
        made = make_delivery(
            number,
            case.serial,
            readers=any(k.readers for k in kinds),
            n_lesions=max((k.n_lesions for k in kinds), default=1),
        )
    made.distortions = list(case.names)
    for k in kinds:
        if k.of == "patient":
            k.apply(made, made.rng)
    return made


def run_trials(
    count: int,
    seed: int,
    only: Sequence[str],
    *,
    without: Sequence[str] = (),
    processes: int = 1,
    home: Path | None = None,
) -> Findings:
    """Run so many distorted deliveries and judge them."""
    sites = plan(count, seed, only)
    homes = list(_homes(sites))
    folder = Path(tempfile.mkdtemp(prefix="deliveries-", dir=home))
    work = partial(_run_one, folder, tuple(without))
    try:
        if processes == 1:
            return _gathered(map(work, enumerate(homes)), len(homes))
        with ProcessPoolExecutor(
            processes, mp_context=multiprocessing.get_context("spawn")
        ) as pool:
            return _gathered(pool.map(work, enumerate(homes)), len(homes))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gathered(found: Iterable[list[Verdict]], total: int) -> Findings:
    """All verdicts; how far it is goes to standard error, with what was wrong so far."""
    findings = Findings()
    for number, verdicts in enumerate(found, 1):
        findings.verdicts += verdicts
        words = Findings(verdicts).details()
        print(
            f"home {number} of {total}: {dict(Counter(v.verdict for v in verdicts))}"
            + (f"\n{words}" if words else ""),
            file=sys.stderr,
            flush=True,
        )
    return findings


DELIVERIES_A_HOME = 60
"""Small enough that a home takes a minute or so, large enough that one-time costs do not count."""


def _homes(sites: Iterable[tuple[str, list[Case]]]) -> Iterator[list[tuple[str, list[Case]]]]:
    """Sites that share a home."""
    batch: list[tuple[str, list[Case]]] = []
    for site in sites:
        batch.append(site)
        if sum(len(cases) for _, cases in batch) >= DELIVERIES_A_HOME:
            yield batch
            batch = []
    if batch:
        yield batch


def _run_one(
    folder: Path, without: Sequence[str], numbered: tuple[int, list[tuple[str, list[Case]]]]
) -> list[Verdict]:
    place, planned = numbered
    with switched_off(without):
        return run_sites(folder / f"h{place}", planned)


def run_sites(home: Path, planned: Sequence[tuple[str, Sequence[Case]]]) -> list[Verdict]:
    """Verdicts on the deliveries of a home.

    Where a step failed, each delivery is tried again by itself, so that the culprit is found.
    """
    sites = [build(code, cases) for code, cases in planned]
    result = run_home(home, sites)
    if "" in result.crashed and len(planned) > 1:
        return [v for one in planned for v in run_sites(home, [one])]
    verdicts: list[Verdict] = []
    for (code, cases), site in zip(planned, sites, strict=True):
        alone = (
            len(cases) == 1 or DISTORTIONS[cases[0].names[0]].of != "patient"
            if cases[0].names
            else len(cases) == 1
        )
        if (code in result.crashed or "" in result.crashed) and not alone:
            verdicts += [v for case in cases for v in run_sites(home, [(code, [case])])]
        else:
            verdicts += judge(site, result)
    return verdicts
