"""What a night with nothing new costs beside the flow's own work: Dagster's share, and its history.

    python -m benchmarks.quiet_night --home FOLDER

The home has been run before (`lakehouse demo`, `lakehouse run`); what is in it is not measured,
but the flow over it a second time. A first night brings the home up to date and is not counted.

- CPU seconds by who spent them: every few milliseconds of CPU the stack is looked at. From within
  outwards the first frame counts that is of this project or of Dagster; what a step calls is the
  step's, what Dagster does between and around the steps is Dagster's. Storage is the part of
  Dagster's frames within which SQLite is written or read. Modules that are loaded have a line of
  their own.
- history: bytes of files below `dagster/` before and after the night.
- steps, events and checks of the night's runs, as Dagster's log has them.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections import Counter
from pathlib import Path

EVERY_SECONDS = 0.002
"""CPU time between two looks at the stack."""

ROOT = Path(__file__).resolve().parents[1]
OURS = tuple(
    str(ROOT / name) + os.sep for name in ("dagster_project", "assets", "checks", "models")
)
DAGSTER = (f"{os.sep}site-packages{os.sep}dagster{os.sep}",)
SHARED = f"{os.sep}site-packages{os.sep}dagster_shared{os.sep}"
STORAGE = f"{os.sep}_core{os.sep}storage{os.sep}"
IMPORTING = "<frozen importlib._bootstrap>"
ORDER = ("steps and checks", "Dagster: storage", "Dagster: the rest", "loading modules", "the rest")


def spender(frame):
    """Who spends the CPU time of a stack, one of ORDER."""
    storage = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file == IMPORTING:
            return "loading modules"
        if file.startswith(OURS):
            return "steps and checks"
        storage |= STORAGE in file
        if SHARED in file or any(place in file for place in DAGSTER):
            return _of_dagster(frame, storage=storage)
        frame = frame.f_back
    return "the rest"


def _of_dagster(frame, *, storage):
    """Storage where any frame of Dagster's above this one is of its storage."""
    while frame is not None and not storage:
        file = frame.f_code.co_filename
        if file == IMPORTING:
            return "loading modules"
        if file.startswith(OURS):
            break
        storage = STORAGE in file
        frame = frame.f_back
    return "Dagster: storage" if storage else "Dagster: the rest"


def sampled(work):
    """CPU seconds of `work` by spender, and its seconds by the clock."""
    looks = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: looks.update([spender(frame)]))
    start = time.process_time(), time.perf_counter()
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    cpu, clock = time.process_time() - start[0], time.perf_counter() - start[1]
    total = sum(looks.values())
    return {who: cpu * looks[who] / total for who in ORDER}, clock


def history_bytes(home):
    return sum(f.stat().st_size for f in home.dagster.rglob("*") if f.is_file())


def print_counts(home, since):
    """Steps, events and checks of the runs that began since then."""
    import dagster as dg

    with dg.DagsterInstance.local_temp(str(home.dagster)) as instance:
        runs = [r for r in instance.get_run_records() if r.create_timestamp.timestamp() >= since]
        kinds = Counter(
            entry.dagster_event.event_type_value
            for record in runs
            for entry in instance.all_logs(record.dagster_run.run_id)
            if entry.dagster_event
        )
    failed = [r.dagster_run.job_name for r in runs if not r.dagster_run.is_success]
    print(
        f"\n{len(runs)} runs, {len(failed)} of them failed; {kinds['STEP_START']} steps, "
        f"{sum(kinds.values())} events, {kinds['ASSET_CHECK_EVALUATION']} checks."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="a home that has been run")
    given = parser.parse_args()
    os.environ["LAKEHOUSE_HOME"] = str(given.home.resolve())
    from dagster_project.commands.run import run_flow
    from dagster_project.commands.terminal import CONSOLE
    from dagster_project.lake.home import find_home

    CONSOLE.quiet = True
    home = find_home()
    run_flow(home, [])
    before, since = history_bytes(home), time.time()
    spent, clock = sampled(lambda: run_flow(home, []))
    cpu = sum(spent.values())
    load = os.getloadavg()[1]
    print(
        f"{len(home.sites())} sites; {clock:.0f} s by the clock, load of the machine {load:.1f}\n\n"
        "| a night with nothing new | CPU s | share |\n|---|---|---|"
    )
    for who, seconds in spent.items():
        print(f"| {who} | {seconds:.1f} | {100 * seconds / cpu:.0f} % |")
    print(f"| all of it | {cpu:.1f} | 100 % |")
    print(f"\nHistory: {(history_bytes(home) - before) / 1e6:.2f} MB more.")
    print_counts(home, since)


if __name__ == "__main__":
    main()
