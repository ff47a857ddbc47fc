"""Ctrl-C and SIGTERM: what was begun as one is ended before either is heard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Run a block to its end; a signal that comes meanwhile is heard after it.

    Signals interrupt the main thread alone: elsewhere nothing has to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ended = False

    def note(number: int, _: FrameType | None) -> None:
        # A signal may come between the two handlers that are set anew: then it is heard at once.
        if ended:
            _hand_on(number, before[signal.Signals(number)])
        else:
            heard.append(number)

    try:
        for number in SIGNALS:
            signal.signal(number, note)
        yield
    finally:
        ended = True
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if heard:
            _hand_on(heard[0], before[signal.Signals(heard[0])])


def _hand_on(number: int, handler: Any) -> None:
    """Pass a signal to the earlier handler.

    Sent again, the signal would count as a second one, which ends a command at once.
    """
    if callable(handler):
        handler(number, None)
    elif handler is not signal.SIG_IGN:
        signal.raise_signal(number)
