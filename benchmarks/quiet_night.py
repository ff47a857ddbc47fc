"""What a night with nothing new costs beside the flow's own work: Dagster's share, and its history.

    python -m benchmarks.quiet_night --home FOLDER [--scheduled]

The home has been run before (`lakehouse demo`, `lakehouse run`); what is in it is not measured,
but the flow over it a second time. A first night brings the home up to date and is not counted.
Measured is `lakehouse run`, which makes everything; with `--scheduled` what the schedule and the
sensors ask for on the next day, in this one process. After that everything is made on the same day
and compared: tables whose rows differ then were left out wrongly, and are named.

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
import datetime as dt
import os
import signal
import time
from collections import Counter
from pathlib import Path

DAY = dt.timedelta(days=1)
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


def move_the_calendar():
    """From now on it is the next day, for the sites' clocks and for the sensor."""
    from dagster_project import run_inputs, sensors
    from dagster_project.intake.vault import vault

    today = vault.cut_off_of
    vault.cut_off_of = lambda section, now: today(section, now + DAY)
    sensors.cohort_inputs = lambda instance, home, graph, now: run_inputs.cohort_inputs(
        instance, home, graph, now + DAY
    )


def scheduled_night(home):
    """Make what the schedule and the sensor ask for on the next day."""
    import dagster as dg

    from dagster_project import schedules, sensors
    from dagster_project.definitions import defs

    repository, night = defs.get_repository_def(), dt.datetime.now(dt.UTC) + DAY
    with dg.DagsterInstance.local_temp(str(home.dagster)) as instance:

        def execute(job, request):
            made = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                partition_key=request.partition_key,
                asset_selection=request.asset_selection and list(request.asset_selection),
                tags=dict(request.tags),
                run_config={"loggers": {"console": {}}},
            )
            assert made.success

        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=night, repository_def=repository
        )
        with context:
            for request in list(schedules.nightly(context)):
                execute("site", request)
        while True:
            context = dg.build_sensor_context(instance=instance, repository_def=repository)
            found = sensors.next_job(context)
            if not isinstance(found, dg.RunRequest):
                return
            execute(found.job_name, found)


def rows_of(home):
    """Of each table what differs whenever it holds other rows."""
    from dagster_project.lake.store import read_lake
    from dagster_project.lake.tables import TABLES

    with read_lake(home) as lake:
        return {table.name: lake.state(table.name) for table in TABLES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="a home that has been run")
    parser.add_argument(
        "--scheduled", action="store_true", help="what the schedule asks for, not `lakehouse run`"
    )
    given = parser.parse_args()
    os.environ["LAKEHOUSE_HOME"] = str(given.home.resolve())
    from dagster_project.commands.run import run_flow
    from dagster_project.commands.terminal import CONSOLE
    from dagster_project.lake.home import find_home

    CONSOLE.quiet = True
    home = find_home()
    run_flow(home, [])
    if given.scheduled:
        move_the_calendar()
    before, since = history_bytes(home), time.time()
    night = scheduled_night if given.scheduled else (lambda home: run_flow(home, []))
    spent, clock = sampled(lambda: night(home))
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
    if given.scheduled:
        print_left_out(home, lambda: run_flow(home, []))


def print_left_out(home, make_everything):
    """Tables that hold other rows once everything was made on the same day."""
    held = rows_of(home)
    make_everything()
    found = rows_of(home)
    wrong = sorted(name for name in found if found[name] != held[name])
    print(f"\n{len(found)} tables, of which {len(wrong)} had been left out wrongly. {wrong or ''}")


if __name__ == "__main__":
    main()
