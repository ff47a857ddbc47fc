"""Ctrl-C, SIGTERM and a second run beside the first.

What was published stays whole, and the next run goes on.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dagster_project.commands.interruption import Interrupted, interruptible
from dagster_project.lake.interruption import SIGNALS, uninterrupted
from dagster_project.lake.store import open_lake
from dagster_project.simulation.cohort import simulate_cohort
from tests.processes import Run
from tests.trial import COHORT, Trial, write_protocol

# ── the command's frame ──


def interrupted(body: Callable[[Callable[[], None]], None]) -> Interrupted:
    before, threads = [signal.getsignal(number) for number in SIGNALS], threading.active_count()
    with pytest.raises(Interrupted) as raised, interruptible(lambda: "what is saved") as check:
        body(check)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert threading.active_count() <= threads
    return raised.value


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_leaves_the_block_with_the_shells_code(
    number: signal.Signals, code: int
) -> None:
    def work(_: Callable[[], None]) -> None:
        os.kill(os.getpid(), number)
        time.sleep(30)

    found = interrupted(work)
    assert (found.exit_code, found.message) == (code, "what is saved")


def test_a_signal_within_a_transaction_is_heard_once_and_after_it() -> None:
    """Counted twice it would end the process at once, without a word of what is saved."""
    done: list[str] = []

    def work(check: Callable[[], None]) -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
            done.append("the transaction")
        done.append("more")
        check()

    assert interrupted(work).exit_code == 143
    assert done == ["the transaction"]


@pytest.mark.parametrize("moment", range(4))
def test_a_signal_while_a_transaction_takes_or_returns_the_handlers_is_heard(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are taken before it, and two returned after it."""
    own, calls = signal.signal, iter(range(100))

    def then_a_signal(number: int, handler: object) -> object:
        before = own(number, handler)  # type: ignore[arg-type]
        if next(calls) == moment:
            signal.raise_signal(number)
        return before

    def work(_: Callable[[], None]) -> None:
        monkeypatch.setattr(signal, "signal", then_a_signal)
        try:
            with uninterrupted():
                pass
        finally:
            monkeypatch.undo()
        time.sleep(30)

    assert interrupted(work).exit_code in {130, 143}


def test_a_library_that_swallows_the_signal_is_left_at_the_next_check() -> None:
    def work(check: Callable[[], None]) -> None:
        for number in SIGNALS:  # as Dagster does
            signal.signal(number, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        check()
        raise AssertionError

    assert interrupted(work).exit_code == 143


def test_without_a_signal_nothing_changes_and_errors_are_their_own() -> None:
    with interruptible(lambda: "") as check:
        check()
    with pytest.raises(ValueError, match="own"), interruptible(lambda: ""):
        raise ValueError("own")


# ── whole runs ──


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """One patient's delivery, and an empty lake that was published before."""
    folder = tmp_path_factory.mktemp("interrupted")
    made = Trial(folder / "home", write_protocol(folder / "study.toml"))
    plan = replace(
        COHORT,
        patients_per_site=1,
        troubles=(),
        sites=(replace(COHORT.sites[0], courses=("stable",)),),
    )
    simulate_cohort(made.home.make().landing, made.root / "truth", plan)
    with made.entered():
        open_lake(made.home).close()
    assert made.call("publish").exit_code == 0
    return made


def published(trial: Trial) -> dict[str, str]:
    """Everything that analysts may open, by its content."""
    files = sorted(p for p in trial.home.published.rglob("*") if p.is_file())
    return {
        str(p.relative_to(trial.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_ctrl_c_twice_sigterm_and_a_second_run(trial: Trial) -> None:
    """One home from stage to stage, since each run of it takes a while.

    1. Ctrl-C twice ends at once.
    2. A worker is killed while lesions are compared, which changes nothing; then SIGTERM, to the
       command alone, while pages are written.
    3. Two runs at once: the second waits and says for whom.

    One Ctrl-C while workers measure, and its rows afterwards: tests/deliveries/test_same_rows.py.
    """
    before = published(trial)
    twice = Run(trial)
    twice.wait_for("files looked at")
    for _ in range(2):
        os.killpg(twice.process.pid, signal.SIGINT)
        time.sleep(0.3)
    assert twice.end()[0] in {130, -signal.SIGINT}, "130 for a shell in either way"
    assert published(trial) == before
    late = Run(trial)
    late.wait_for("pairs compared: 1")
    late.workers()[0].kill()
    late.wait_for("report")
    late.process.terminate()
    stops(late, 143, "report")
    assert published(trial) == before
    first = Run(trial)
    first.wait_for("site")
    second = Run(trial)
    second.wait_for(f"in use (lakehouse run, process {first.process.pid} since")
    for run in (first, second):
        exit_code, said = run.end()
        assert exit_code == 0, said
    assert published(trial).keys() > before.keys()


def stops(run: Run, code: int, where: str) -> None:
    """The run ends with this code and says what is saved, without a trace."""
    exit_code, said = run.end()
    assert exit_code == code, said
    assert "Traceback" not in said
    assert "Stopping (" in said
    assert re.search(
        rf"Interrupted in {where}.*"
        r"Steps saved: \d+;.*"
        r"Nothing was published: .*Go on with `lakehouse run`",
        said,
    ), said
