"""Waits for what another process or thread does.

A wait lasts as long as a busy machine may need, and no longer than it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds after which what was to come is held to come never."""


def wait_until(holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
