"""What every file of one run of intake is treated with, in whichever process."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_project.intake.dicom.identifiers import Needles
from dagster_project.intake.identity.keys import Keys


@dataclass(frozen=True)
class Session:
    """What every file of one run is treated with; picklable.

    `run` is new in every run, and when anybody writes the crosswalk, so that nothing is remembered
    for longer. `numbers` are those (canonical) whose patients of the case report are in it; None
    where everybody is.
    """

    run: str
    site: str
    keys: Keys
    crosswalk: str
    incoming: str
    target_pattern: str
    needles: Mapping[str, Needles] = field(default_factory=dict, repr=False)
    withdrawn: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()
    series_patients: Mapping[str, str] = field(default_factory=dict)
    cut_off: dt.date = dt.date.max
    numbers: frozenset[str] | None = field(default=None, repr=False)

    @property
    def held_out(self) -> frozenset[str]:
        """Who withdrew consent, and whose consent is contradictory."""
        return self.withdrawn | self.unclear

    @property
    def target(self) -> re.Pattern[str]:
        """The protocol's pattern of target labels, case ignored."""
        return re.compile(self.target_pattern, re.IGNORECASE)
