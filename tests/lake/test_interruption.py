"""A signal is heard after what was begun as one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from dagster_project.lake.interruption import SIGNALS, uninterrupted


class Heard(BaseException):
    pass


@pytest.fixture
def heard() -> Iterator[list[int]]:
    numbers: list[int] = []

    def handler(number: int, _: object) -> None:
        numbers.append(number)
        raise Heard

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    yield numbers
    for number, former in before.items():
        signal.signal(number, former)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_within_is_heard_at_the_end_and_not_before(
    heard: list[int], number: signal.Signals
) -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), number)
                done.append(list(heard))
            done.append(list(heard))

    with pytest.raises(Heard):
        work()
    assert done == [[], []]
    assert heard == [number]


def test_an_error_within_gives_way_to_the_signal(heard: list[int]) -> None:
    def work() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError

    with pytest.raises(Heard):
        work()
    assert heard == [signal.SIGTERM]


def test_handlers_are_as_before_and_threads_have_none(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with uninterrupted():
        pass

    def elsewhere() -> None:
        with uninterrupted():
            heard.append(0)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert heard == [0]
