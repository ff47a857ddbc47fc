"""What the concordance of size at the first visit depends on, in the published sums.

An independent count: no function of the engine has a part in it. Of each patient the sums by day;
progression by targets alone; time from a visit to it. The rows differ in who is at risk, in what
dates a progression and in what orders the patients.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from lifelines.utils import concordance_index

RATIO, LEAST_MM = 1.2, 5.0


def courses(file):
    """Study, days and sums of each patient who has a CT at baseline and one later."""
    rows = pl.read_csv(file, infer_schema=False).with_columns(
        pl.col("day", "target_lesion_long_diam_mm").cast(pl.Float64, strict=False)
    )
    rows = rows.drop_nulls(["day", "target_lesion_long_diam_mm"]).sort("patient", "day")
    for _, own in rows.group_by("patient", maintain_order=True):
        days, sums = own["day"].to_numpy(), own["target_lesion_long_diam_mm"].to_numpy()
        if len(days) > 1 and sums[0] > 0:
            yield own["study"][0], days, sums


def progressed(sums):
    """Whether each CT is 20 % and 5 mm above the least sum before it."""
    nadir = np.minimum.accumulate(sums)[:-1]
    later = sums[1:]
    return np.array([False, *((later >= RATIO * nadir) & (later - nadir >= LEAST_MM))])


def rows_at(file, place, *, at_risk, counted, of=None):
    """Score, time and event of each patient who has a CT at this place.

    Parameters
    ----------
    at_risk
        `unprogressed`: no progression up to the visit. `all`: everybody, who progressed at the
        visit having the event there.
    counted
        Where the least sum that progression is measured from begins: `baseline`, as RECIST has it,
        or the `visit` itself.
    of
        One study alone.
    """
    for study, days, sums in courses(file):
        if len(days) <= place or days[place] <= 0 or of not in (None, study):
            continue
        found = progressed(sums)
        if at_risk == "unprogressed" and found[: place + 1].any():
            continue
        if counted == "visit":
            found = np.concatenate([np.zeros(place, dtype=bool), progressed(sums[place:])])
        begun = place if at_risk == "all" else place + 1
        if begun >= len(days):
            continue
        hits = np.flatnonzero(found[begun:])
        last = begun + int(hits[0]) if len(hits) else len(days) - 1
        score = np.log(max(sums[place], 1.0) / max(sums[0], 1.0))
        yield score, float(days[last] - days[place]), bool(len(hits))


STUDIES = (None, "Study1", "Study2", "Study3")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    kinds = [("unprogressed", "baseline", s) for s in STUDIES]
    kinds += [("unprogressed", "visit", None), ("all", "baseline", None)]
    print("| visit | at risk | progression from | studies | n | events | C |")
    print("|---|---|---|---|---:|---:|---:|")
    for place, (at_risk, counted, of) in product((1, 2, 3), kinds):
        rows = rows_at(file, place, at_risk=at_risk, counted=counted, of=of)
        score, time, event = map(np.array, zip(*rows, strict=True))
        c = concordance_index(time, -score, event)
        head = f"| {place} | {at_risk} | {counted} | {of or 'all'}"
        print(f"{head} | {len(score)} | {event.sum()} | {c:.3f} |")


if __name__ == "__main__":
    main()
