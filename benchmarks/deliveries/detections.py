"""Rules of the product that may be switched off by hand: so that the benchmark is seen to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from dagster_project.domain.imaging import masks
from dagster_project.intake.case_report import case_report

DETECTIONS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "rows that contradict": (case_report, "_compare", lambda *_: None),
    "dates that contradict": (case_report, "find_contradictions", lambda *_: {}),
    "rows without images": (case_report, "reconcile", lambda _: []),
    "empty slices of an outline": (masks, "settle_empty_slices", lambda outline, _: outline),
}
"""What is replaced, by module and name, and by what: a rule that finds nothing."""


@contextmanager
def switched_off(names: Sequence[str]) -> Iterator[None]:
    """Work without these rules, in this process."""
    with ExitStack() as stack:
        for name in names:
            module, attribute, blind = DETECTIONS[name]
            stack.enter_context(patch.object(module, attribute, blind))
        yield
