"""Hospital numbers that one slip of the finger makes of each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

SHORTEST_NUMBER = 5
"""Characters; shorter numbers are near each other by chance."""


def likeness(one: str, other: str) -> str:
    """How two canonical numbers are alike: by one slip, or not (empty).

    1. As long as each other, one character differs.
    2. As long as each other, two neighbours are swapped.
    3. One has a character more than the other.

    >>> likeness("12345678", "12345679"), likeness("12345678", "12354678")
    ('differ in one character', 'differ by two neighbours swapped')
    >>> likeness("12345678", "1234567"), likeness("12345678", "12345678")
    ('differ by one character more', '')
    """
    if min(len(one), len(other)) < SHORTEST_NUMBER or one == other:
        return ""
    if len(one) == len(other):
        places = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        if len(places) == 1:
            return "differ in one character"
        return "differ by two neighbours swapped" if _is_swap(one, other, places) else ""
    shorter, longer = sorted((one, other), key=len)
    return "differ by one character more" if shorter in _without_one(longer) else ""


def _is_swap(one: str, other: str, places: list[int]) -> bool:
    if len(places) != 2 or places[1] - places[0] != 1:
        return False
    first, second = places
    return one[first] == other[second] and one[second] == other[first]


def _without_one(number: str) -> set[str]:
    return {number[:i] + number[i + 1 :] for i in range(len(number))}


class NearNumbers:
    """Finds, of many numbers, those that are like one: without a comparison of each with each.

    Two numbers that are alike by one slip share a text when at most one character is taken out of
    either.
    """

    def __init__(self, numbers: Mapping[str, str]) -> None:
        self._numbers = dict(numbers)
        self._by_key: dict[str, set[str]] = defaultdict(set)
        for name, number in self._numbers.items():
            for key in {number} | _without_one(number):
                self._by_key[key].add(name)

    def like(self, number: str) -> dict[str, str]:
        """Names of the numbers that are like this one, and how."""
        names = {
            name for key in {number} | _without_one(number) for name in self._by_key.get(key, ())
        }
        alike = {name: likeness(number, self._numbers[name]) for name in names}
        return {name: how for name, how in sorted(alike.items()) if how}
