"""A command that Ctrl-C or SIGTERM ends.

The first signal ends it after the present transaction, the second at once.
"""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

import click

from dagster_project.commands.words import printed
from dagster_project.compute import close_executor
from dagster_project.lake.interruption import SIGNALS

AGAIN_SECONDS = 5.0
"""How often the work is asked to stop until it does: a library may swallow the first time."""

STOPPING = "Stopping ({0}): what is being written is finished first. The same again ends at once."


class Interrupted(click.ClickException):
    """The command was ended by a signal; its exit code is the shell's, 130 or 143."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """Its message as it is: nothing went wrong."""
        click.echo(self.message, file=file, err=file is None)


class _Stopped(BaseException):
    """Raised in the main thread by the first signal; nothing that catches errors catches it."""


class Ears:
    """Hears signals beside the main thread, and knows which came first.

    The main thread may be deep in a library.
    """

    def __init__(self) -> None:
        self.first = 0
        self._own, self._closed, self._lock = 0, False, threading.Lock()
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Leave the block where a signal has come: what ran meanwhile may have swallowed it."""
        self._hear()
        if self.first:
            raise _Stopped

    def close(self) -> None:
        """Hear what came until now; `first` is then final."""
        signal.set_wakeup_fd(self._before)
        self._closed = True
        os.write(self._writer, b"\0")
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _listen(self) -> None:
        while not self._closed:
            ready, *_ = select.select([self._reader], [], [], AGAIN_SECONDS if self.first else None)
            self._hear()
            if not ready:
                self._own += 1
                _thread.interrupt_main(signal.SIGINT)

    def _hear(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            for number in os.read(self._reader, 64):
                self._note(number)

    def _note(self, number: int) -> None:
        if number == signal.SIGINT and self._own:
            self._own -= 1
        elif number in SIGNALS and self.first:
            _end_at_once(number)
        elif number in SIGNALS:
            self.first = number
            click.echo(
                printed(STOPPING, "Ctrl-C" if number == signal.SIGINT else "SIGTERM"), err=True
            )


def _end_at_once(number: int) -> None:
    for child in multiprocessing.active_children():
        child.kill()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(128 + number)


@contextmanager
def interruptible(message: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """A block that the first SIGINT or SIGTERM ends; `message` says what was saved.

    The signal raises out of the block and ends the workers. A transaction
    (`lake.interruption.uninterrupted`) is finished before. The second signal ends the process at
    once. Yields a check to be called between steps.

    Raises
    ------
    Interrupted
        Where a signal came, whatever the block made of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    ears, error = Ears(), None
    before = _handled_by(dict.fromkeys(SIGNALS, _stop))
    try:
        try:
            yield ears.check
        finally:
            _handled_by(dict.fromkeys(SIGNALS, _ignore))
    except BaseException as caught:  # a signal may also have come on the way out
        error = caught
    _handled_by(dict.fromkeys(SIGNALS, _ignore))
    ears.close()
    _handled_by(before)
    if ears.first:
        close_executor(kill=True)
        raise Interrupted(ears.first, message()) from None
    if error is not None:
        raise error


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """It is still counted."""


def _handled_by(handlers: Mapping[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Set handlers; those of before."""
    return {
        number: signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number, handler in handlers.items()
    }
