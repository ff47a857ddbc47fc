"""The coordinator's operator as a process of its own: NVFlare's session leaves threads behind.

It reads one order from its input, and writes one line a state to its output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dagster_project.federated.engine.certificates import Authority
from dagster_project.federated.engine.jobs import new_name, write_job
from dagster_project.federated.engine.outcomes import Outcome
from dagster_project.federated.engine.places import Places
from dagster_project.federated.engine.processes import Running, Within, environment
from dagster_project.federated.engine.submission import await_hospitals, follow, session
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.plans import Plan
from dagster_project.federated.refusals import EngineFailed, NotPinned, Refusal

WAIT_S = 120.0
"""How long for hospitals to connect, and for a run to start; a busy machine takes a minute."""

MARK = "lakehouse "
"""Before each line of ours: NVFlare writes to the same output."""


@dataclass(frozen=True)
class Order:
    """What is to be done: wait for hospitals, then submit a job and follow it.

    Without a job it only waits for the hospitals. `wait_s` is how long for hospitals, and then for
    the start.
    """

    kit: str
    codes: tuple[str, ...]
    wait_s: float
    job: str = ""
    outcome: str = ""


def operate(
    places: Places, order: Order, progress: Callable[[Outcome], None], within: Within = ()
) -> None:
    """Carry out an order to its end.

    Raises
    ------
    EngineFailed
        With the sentences of what has failed; the run is ended.
    """
    process = subprocess.Popen(
        [*within, sys.executable, "-m", __name__],
        env=environment(places.folder.parent),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        umask=0o077,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as given:
            json.dump(asdict(order), given)
        for line in process.stdout:
            if line.startswith(MARK):
                _take(json.loads(line.removeprefix(MARK)), progress)
        if process.wait() != 0:
            raise EngineFailed(
                "the operator's process has ended; no number was read. Start the run again",
                "操作进程已结束；未读取任何数值。请重新运行",
            )
    finally:
        Running(process).end()
        process.stdout.close()


def run_plan(
    places: Places, plan: Plan, timeout_s: int, progress: Callable[[Outcome], None]
) -> str:
    """Run a plan over the hospitals that have joined; the name of the run.

    Raises
    ------
    NotPinned
        Where a hospital of the plan has no certificate of this coordinator.
    EngineFailed
    """
    approved = Authority(places.authority).approved()
    missing = [code for code in plan.plan.hospitals if code not in approved]
    if missing:
        raise NotPinned(missing)
    name = new_name()
    run = Run(name, plan.digest, tuple((code, approved[code]) for code in plan.plan.hospitals))
    places.make(places.jobs)
    job = write_job(places.jobs, plan, run, timeout_s)
    file = places.outcome(name, coordinator=True)
    kit = str(places.administration)
    operate(places, Order(kit, run.codes, WAIT_S, str(job), str(file)), progress)
    return name


def _take(line: dict, progress: Callable[[Outcome], None]) -> None:
    if "failed" in line:
        raise EngineFailed(*line["failed"])
    progress(Outcome(**line["outcome"]))


def main() -> None:
    """Carry out the order on the input."""
    content = json.loads(sys.stdin.read())
    order = Order(**{**content, "codes": tuple(content["codes"])})
    try:
        _carry_out(order)
    except Refusal as refusal:
        _say({"failed": [refusal.en, refusal.zh]})


def _carry_out(order: Order) -> None:
    with session(Path(order.kit), order.wait_s) as opened:
        await_hospitals(opened, order.codes, order.wait_s)
        if order.job:
            follow(
                opened,
                Path(order.job),
                Path(order.outcome),
                order.wait_s,
                lambda outcome: _say({"outcome": asdict(outcome)}),
            )


def _say(line: dict) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(line)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
