"""What a landing may hold that is no delivery.

Each input lies beside one good patient and is taken in with a limit of time and memory.

    python benchmarks/hostile_inputs.py [NAME OR GROUP …] [--seconds 300] [--full]

An input passes where it is refused by a reason, or used; nothing hangs, the site is taken in, and
so is the good patient. `--full` runs `lakehouse run` and `lakehouse status` over a home that holds
the important ones, one per site.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import stat
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cloudpickle

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.hostile.kinds import HOSTILE, Hostile
from benchmarks.hostile.setting import Setting, write_good_patient

SECONDS = 300.0
"""A site that needs longer for three slices and one hostile input hangs."""

MEMORY = 3 * 2**30
"""Bytes of address space that the parent may add; if it needs more, one input ends every site."""


@dataclass
class Result:
    """What came of one input.

    `seconds` are of the processor for two runs, or of the clock where they did not end.
    """

    group: str
    name: str
    verdict: str
    seconds: float
    megabytes: int
    reasons: list[str]


def main() -> None:
    """Take each input in, print a table and end with 1 where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    if arguments.full:
        sys.exit(whole_runs())
    chosen = [h for h in HOSTILE if not arguments.names or {h.name, h.group} & {*arguments.names}]
    results = [tried(hostile, arguments.seconds) for hostile in chosen]
    print(table(results))
    sys.exit(any(r.verdict not in {"refused", "used"} for r in results))


def tried(hostile: Hostile, seconds_left: float = SECONDS) -> Result:
    """One input in a home of its own, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        # Spawned: a fork of a process with threads (polars', a test's) inherits their locks and
        # never ends.
        process = multiprocessing.get_context("spawn").Process(
            target=_take_in, args=(cloudpickle.dumps(hostile), Path(folder), sender)
        )
        began = time.monotonic()
        process.start()
        sender.close()
        answered = receiver.poll(seconds_left)
        try:
            answer: dict[str, Any] = receiver.recv() if answered else {"verdict": "hung"}
        except EOFError:
            answer = {"verdict": "ended the site"}
        if not answered:
            process.kill()
        process.join()
        _unlock(Path(folder))
    seconds = answer.get("seconds", round(time.monotonic() - began, 1))
    result = Result(
        hostile.group,
        hostile.name,
        answer["verdict"],
        seconds,
        answer.get("megabytes", 0),
        answer.get("reasons", []),
    )
    print(json.dumps(asdict(result), ensure_ascii=False), flush=True)
    return result


def _take_in(pickled: bytes, root: Path, sender: Any) -> None:
    """In the process of one input: write, take in, and report the outcome."""
    os.setpgid(0, 0)
    hostile: Hostile = cloudpickle.loads(pickled)
    setting = Setting(root)
    write_good_patient(setting)
    try:
        meanwhile = hostile.write(setting)
    except Exception as error:
        sender.send(
            {"verdict": "could not be written", "reasons": [f"{type(error).__name__}: {error}"]}
        )
        return
    pages = (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        * resource.getpagesize()
    )
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, pages + MEMORY))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, _processor_seconds()
    stop = meanwhile() if callable(meanwhile) else None
    try:
        setting.take_in()
        again = setting.take_in()
    except BaseException as error:
        sender.send(
            {"verdict": f"ended the site ({type(error).__name__})", "reasons": [str(error)[:200]]}
        )
        return
    finally:
        if stop:
            stop()
    reasons = setting.reasons()
    verdict = _verdict(hostile, setting, reasons)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sender.send(
        {
            "verdict": verdict,
            "megabytes": max(grown, 0) // 1024,
            "reasons": sorted(set(reasons))[:3],
            "again": again.accepted,
            "seconds": round(_processor_seconds() - began, 1),
        }
    )


def _verdict(hostile: Hostile, setting: Setting, reasons: list[str]) -> str:
    if not setting.holds_good_patient(of_rows=hostile.group != "patients"):
        return "the good patient is lost"
    if reasons:
        return "refused"
    return "used" if hostile.usable else "wrong in silence"


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def _unlock(folder: Path) -> None:
    """Give back what an input closed, also where a path is too long to be named."""
    for _, folders, _, descriptor in os.fwalk(folder):
        for name in folders:
            if not stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=descriptor)


def table(results: Iterable[Result]) -> str:
    """Inputs by group, and the worst that each group needed."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.group].append(result)
    lines = [
        "| where | inputs | refused by name | used | hung | ended the site | good patient lost "
        "| silent | longest, s of one processor | most memory added, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in [
        *groups.items(),
        ("**all**", [r for some in groups.values() for r in some]),
    ]:
        count = Counter(r.verdict.split(" (")[0] for r in found)
        figures = (
            len(found),
            count["refused"],
            count["used"],
            count["hung"],
            count["ended the site"],
            count["the good patient is lost"],
            count["wrong in silence"],
            max(r.seconds for r in found),
            max(r.megabytes for r in found),
        )
        lines.append(f"| {name} | " + " | ".join(map(str, figures)) + " |")
    return "\n".join(lines)


def whole_runs() -> int:
    """`lakehouse run` and `lakehouse status` over a home with one site per important input.

    Returns 0 where every good patient is in the lake.
    """
    from tests.trial import Trial, write_protocol

    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder) / "home", write_protocol(Path(folder) / "study.toml", {}))
        landing = trial.home.make().landing
        important = [h for h in HOSTILE if h.important]
        sites = [f"H{n:02d}" for n in range(len(important))]
        for site, hostile in zip(sites, important, strict=True):
            setting = Setting(Path(folder), landing / site)
            write_good_patient(setting)
            hostile.write(setting)
        began = time.monotonic()
        ran, shown = trial.call("run"), trial.call("status")
        with trial.entered():
            held = {
                row[0]
                for row in trial.lakehouse.lake.query("SELECT DISTINCT site FROM scans").fetchall()
            }
        _unlock(Path(folder))
        print(
            f"{len(important)} sites, run: exit {ran.exit_code}, "
            f"status: exit {shown.exit_code}, {time.monotonic() - began:.0f} s"
        )
        for site, hostile in zip(sites, important, strict=True):
            print(site, hostile.name, "in the lake" if site in held else "NOT IN THE LAKE")
    return int(held != set(sites) or shown.exit_code not in {0, 1})


if __name__ == "__main__":
    main()
