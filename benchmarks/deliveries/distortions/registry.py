"""What a distortion is, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Of = Literal["patient", "people", "sheets"]
Expected = Literal["right", "refused", "either"]

FAMILIES = (
    "geometry",
    "structure sets",
    "masks",
    "identity",
    "time",
    "units",
    "spreadsheets",
    "readers",
)


@dataclass(frozen=True)
class Distortion:
    """One named fault.

    Attributes
    ----------
    of
        What `apply` changes: one delivery; all deliveries of a small site; or the sheets of a small
        site.
    expected
        The true value, a refusal that is named, or either.
    alone
        The site holds this fault alone, since it is about people or about whole files.
    readers, n_lesions, numeric
        What delivery it needs: two blinded readers, so many lesions, a hospital number of digits
        alone.
    """

    name: str
    family: str
    apply: Callable[[Any, Random], None]
    of: Of
    expected: Expected
    alone: bool
    readers: bool
    n_lesions: int
    numeric: bool

    @property
    def about(self) -> str:
        """What goes wrong, in one line."""
        return (self.apply.__doc__ or "").strip().splitlines()[0]


DISTORTIONS: dict[str, Distortion] = {}


def distortion(
    family: str,
    expected: Expected,
    *,
    of: Of = "patient",
    alone: bool = False,
    readers: bool = False,
    n_lesions: int = 1,
    numeric: bool = False,
) -> Callable[[Callable[[Any, Random], None]], Callable[[Any, Random], None]]:
    """Register a function as a distortion, under its own name."""

    def register(apply: Callable[[Any, Random], None]) -> Callable[[Any, Random], None]:
        name = apply.__name__.strip("_")
        assert family in FAMILIES
        assert name not in DISTORTIONS
        DISTORTIONS[name] = Distortion(
            name, family, apply, of, expected, alone or of != "patient", readers, n_lesions, numeric
        )
        return apply

    return register
