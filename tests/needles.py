"""Hundreds of strings looked for in hundreds of megabytes.

Python's alternation tries each of them at each byte: four minutes for the home of the real cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

GRAM = 3
CHUNK = 1 << 24


class Needles:
    """Strings of three bytes and more, of which a table has every three first and next bytes."""

    def __init__(self, words: Iterable[bytes]) -> None:
        longest_first = sorted(set(words), key=len, reverse=True)
        assert longest_first
        assert len(longest_first[-1]) >= GRAM
        self.pattern = re.compile(b"|".join(map(re.escape, longest_first)))
        stages = range(0, len(longest_first[-1]) - GRAM + 1, GRAM)
        self._tables = [
            (at, _table(word[at : at + GRAM] for word in longest_first)) for at in stages
        ]
        self._overlap = len(longest_first[0])

    def search(self, data: bytes) -> re.Match[bytes] | None:
        """The first of them in the data, as `re.search` gives it."""
        for start in range(0, max(len(data), 1), CHUNK):
            part = data[start : start + CHUNK + self._overlap]
            for at in self._candidates(part):
                if found := self.pattern.match(part, int(at)):
                    return found
        return None

    def findall(self, data: bytes) -> list[bytes]:
        """All of them, in order."""
        return self.pattern.findall(data)

    def _candidates(self, data: bytes) -> npt.NDArray[np.intp]:
        if len(data) < GRAM:
            return np.empty(0, np.intp)
        grams = _grams(data)
        first, *others = self._tables
        found = np.flatnonzero(first[1][grams])
        for at, table in others:
            found = found[found + at < len(grams)]
            found = found[table[grams[found + at]]]
        return found


def _grams(data: bytes) -> npt.NDArray[np.uint32]:
    """Each three bytes that follow each other, as one number."""
    each = np.frombuffer(data, np.uint8).astype(np.uint32)
    return each[:-2] | each[1:-1] << 8 | each[2:] << 16


def _table(grams: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    table = np.zeros(1 << 8 * GRAM, bool)
    table[[int.from_bytes(gram, "little") for gram in grams]] = True
    return table
