"""The day on which a site was last taken in, shifted as each patient's dates.

What is due moves with the calendar, and the lake's dates are shifted by a number of days that only
intake knows. So intake leaves the day of its run beside each patient, in the vault.
"""

from __future__ import annotations

import polars as pl

CLOCK = "clock"
"""Name of its file among those of the case report."""

CLOCK_SCHEMA = {"site": pl.String(), "patient": pl.String(), "as_of_date": pl.Date()}
