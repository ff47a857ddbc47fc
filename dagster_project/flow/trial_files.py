"""What a file of another trial gave: its columns and rows as text; or why it cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

FIRST_ROW = 2
"""Number of the first row of a file without numbered lines, as a spreadsheet shows it."""


@dataclass(frozen=True, slots=True)
class TrialFile:
    """A table: its file, its columns in capitals, and its numbered rows.

    The name includes the data set where the file holds several.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]


class UnreadableFileError(ValueError):
    """A file that cannot be read: its name, why and what to do, and its columns where known."""

    def __init__(self, name: str, reason: str, columns: Collection[str] = ()) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.columns = frozenset(columns)


def numbered(rows: Sequence[Sequence[str]]) -> list[tuple[int, Sequence[str]]]:
    """Rows with the numbers that a spreadsheet would show."""
    return list(enumerate(rows, start=FIRST_ROW))
