"""What of a visit may leave, case by case."""

from __future__ import annotations

import pytest

from dagster_project.domain.reading.release import release_of_visits
from tests.domain.rows import LOCKED, table

CASES = {
    "1: both readers have locked": (("R1 T0", "R2 T0"), (), False, ["results"]),
    "1: one reader has not read": (("R1 T0",), (), False, ["images"]),
    "1: one read is open": (("R1 T0",), ("R2 T0",), False, ["images"]),
    "1: outlines of the site are nobody's read": (("SITE T0",), (), False, ["images"]),
    "1: of the site beside one reader": (("R1 T0", "SITE T0"), (), False, ["images"]),
    "2: the case waits for its arbiter": (("R1 T0", "R2 T0"), (), True, ["outlines"]),
    "2: an open case shows no read that is not locked": (("R1 T0",), (), True, ["images"]),
    "2: an earlier visit is not locked by all": (
        ("R1 T0", "R1 T1", "R2 T1"),
        (),
        False,
        ["images", "outlines"],
    ),
    "3: a later visit that is not locked holds nothing back": (
        ("R1 T0", "R2 T0", "R1 T1"),
        (),
        False,
        ["results", "images"],
    ),
    "3: an earlier visit that nobody has read holds nothing back": (
        ("R1 T1", "R2 T1"),
        (),
        False,
        ["images", "results"],
    ),
    "3: a third reader changes nothing": (("R1 T0", "R2 T0", "R3 T0"), (), False, ["results"]),
}


@pytest.mark.parametrize("name", list(CASES))
def test_release_of_visits(name: str) -> None:
    locked, still_open, case_open, expected = CASES[name]
    rows = [(read.split(), LOCKED) for read in locked] + [
        (read.split(), None) for read in still_open
    ]
    reads = table(
        "reads",
        *(
            {"reader": reader, "visit": visit, "scan": visit, "lesion": "L1", "locked_at": at}
            for (reader, visit), at in rows
        ),
    )
    visits = ["T0", "T1"][: len(expected)]
    found = release_of_visits(
        reads, visits, case_open=case_open, blinded_readers=2, site_reader="SITE"
    )
    assert list(found.values()) == expected
    assert list(found) == visits
