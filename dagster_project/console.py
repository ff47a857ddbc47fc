"""What a run prints on the terminal: its assets' own lines, and no stack traces.

The whole event log is in the Dagster UI.
"""

import logging
import os
from collections.abc import Callable

import dagster as dg

LISTENERS: list[Callable[[str, str], None]] = []
"""Called with type and step of each of Dagster's events of a step, as a bar of progress is."""

STEP_ENDS = frozenset({"STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"})
"""Types of the events with which a step ends."""

QUIET = "LAKEHOUSE_QUIET"
"""Environment variable that lets warnings and errors through alone."""

OF_SKIPPED_STEPS = ("Dependencies for step", "Skipping step")
"""How Dagster's own lines begin where a step before failed or made nothing."""


class _OwnLines(logging.Filter):
    """Lets through what an asset reports, and not Dagster's events."""

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event and event.step_key:
            for listen in LISTENERS:
                listen(event.event_type_value, event.step_key)
        least = logging.WARNING if os.environ.get(QUIET) else logging.INFO
        skipped = str(meta.get("orig_message", "")).startswith(OF_SKIPPED_STEPS)
        return not event and not skipped and record.levelno >= least


class _Short(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        return (
            f"  {meta.get('step_key') or 'run'}: {meta.get('orig_message') or record.getMessage()}"
        )


def _short_lines(_: dg.InitLoggerContext) -> logging.Logger:
    """Short lines on standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_OwnLines())
    handler.setFormatter(_Short())
    logger = logging.Logger("lakehouse")  # noqa: LOG001 - one per run, so that handlers do not add up
    logger.addHandler(handler)
    return logger


console = dg.LoggerDefinition(
    _short_lines, description="One short line for each message of an asset."
)
"""The logger of every job."""
