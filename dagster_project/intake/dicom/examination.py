"""Of which examination a copy is by its header: study and dates, as they stand in the copy."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from dagster_project.intake.dicom.plausible_dates import (
    DATES_OF_SLICES,
    DATES_OF_VISITS,
    EARLIEST,
    of_one_patient,
    of_one_series,
)

Days = Mapping[str, tuple[dt.date, dt.date]]
"""The first and the last day of each date element."""


@dataclass(frozen=True)
class Examination:
    """The keyed StudyInstanceUID and the shifted dates of a file or of all files of a series."""

    study: str = ""
    days: Days = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, bytes]) -> Examination:
        """From the values that were written of one file, by keyword."""
        days = {k: _day(values[k]) for k in DATES_OF_SLICES.values() if values.get(k)}
        study = values.get("StudyInstanceUID", b"").decode()
        return cls(study, {k: (day, day) for k, day in days.items()})

    def joined(self, other: Examination) -> Examination:
        """That of a series with one more file; the study is the first one's."""
        days = {}
        for keyword in self.days.keys() | other.days.keys():
            spans = [one.days[keyword] for one in (self, other) if keyword in one.days]
            days[keyword] = (min(first for first, _ in spans), max(last for _, last in spans))
        return Examination(self.study or other.study, days)

    def is_of_one_series(self) -> bool:
        """Whether one series may bear these dates."""
        return all(of_one_series(span) for span in self.days.values())

    def is_of_one_patient(self) -> bool:
        """Whether visits of one patient may bear these dates."""
        return of_one_patient(self.visits())

    def visits(self) -> list[dt.date]:
        """The first and last dates that are a visit's."""
        return [day for k in DATES_OF_VISITS.values() for day in self.days.get(k, ())]

    def stored(self) -> str:
        """The dates as text: days since `EARLIEST`, since no text of a vault is a date."""
        return json.dumps({k: [(day - EARLIEST).days for day in s] for k, s in self.days.items()})

    @classmethod
    @lru_cache(maxsize=1024)  # asked anew for each image of a series
    def of_stored(cls, study: str, days: str) -> Examination:
        """From its study and its dates as text."""
        spans = {
            k: (EARLIEST + dt.timedelta(days=first), EARLIEST + dt.timedelta(days=last))
            for k, (first, last) in json.loads(days).items()
        }
        return cls(study, spans)


NO_EXAMINATION = Examination()


@lru_cache(maxsize=1024)
def _day(value: bytes) -> dt.date:
    return dt.datetime.strptime(value.decode().strip(), "%Y%m%d").date()  # noqa: DTZ007
