"""How much of a visit may leave the home: images alone, outlines by letter, or results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

Release = Literal["images", "outlines", "results"]


def release_of_visits(
    reads: pl.DataFrame,
    visits: Sequence[str],
    *,
    case_open: bool,
    blinded_readers: int,
    site_reader: str,
) -> dict[str, Release]:
    """What of each visit may be sent out, by the locks of its readers and the patient's case.

    1. `images`: fewer than `blinded_readers` readers have locked their reads of the visit, or one
       of its reads is open. An outline would lead the reader who has not locked yet.
    2. `outlines`, by letter: all have locked, and the case waits for its arbiter, or an earlier
       visit that somebody has read is not locked by all. A response follows from all visits
       before it.
    3. `results` otherwise.

    Parameters
    ----------
    reads
        Rows of `reads` of one patient.
    visits
        The patient's visits in order of time.
    case_open
        Whether a case of the patient waits for its arbiter.
    blinded_readers, site_reader
        Of section `reads` of study.toml.

    Returns
    -------
    dict
        By visit.
    """
    blinded = reads.filter(pl.col("reader") != site_reader)
    found: dict[str, Release] = {}
    all_locked_before = True
    for visit in visits:
        own = blinded.filter(visit=visit)
        locked = own["locked_at"].null_count() == 0 and own["reader"].n_unique() >= blinded_readers
        all_locked_before &= locked or not own.height
        if not locked:
            found[visit] = "images"
        else:
            found[visit] = "outlines" if case_open or not all_locked_before else "results"
    return found
