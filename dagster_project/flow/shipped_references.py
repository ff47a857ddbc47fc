"""Figures of published trials that are shipped: made from a table of sums, or compared with it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dagster_project.flow.trial_tables import Trial, read_trial
from dagster_project.study import Study, load_study


def read_trial_file(file: Path) -> Trial:
    """A trial of one table, whatever else lies beside it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.name).write_bytes(file.read_bytes())
        return read_trial(Path(folder))


def write_or_check(
    arguments: Sequence[str], make: Callable[[Path, Study], str], shipped: Path
) -> int:
    """Write what is made of FILE, or with --check say whether it is what is shipped."""
    text = make(Path(arguments[0]), load_study())
    if "--check" not in arguments:
        shipped.write_text(text, encoding="utf-8")
        return 0
    same = shipped.read_text(encoding="utf-8") == text
    if not same:
        sys.stderr.write(f"{shipped.name} is not what the trials' sums give\n")
    return int(not same)
