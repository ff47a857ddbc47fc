"""Error of a sum between readers: from pairs where there are enough, else the protocol's."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from dagster_project.domain.response.sum_error import find_reader_error, relative_error
from tests.domain.courses import STUDY
from tests.domain.records import DAY_ZERO, table

DYNAMIC = STUDY.section("dynamic")
MINIMUM = DYNAMIC["reader_pairs_minimum"]


def sums(pairs):
    return table(
        "responses",
        *(
            {
                "patient": f"BJCH-{n}",
                "visit": "T1",
                "evaluator": reader,
                "sum_mm": size,
                "scan_date": DAY_ZERO + timedelta(56),
            }
            for n, pair in enumerate(pairs)
            for reader, size in zip(("R1", "R2", "accepted"), (*pair, 50.0), strict=True)
        ),
    )


@pytest.mark.parametrize("truth", [0.03, 0.1])
def test_a_known_error_is_found_again(truth):
    random = np.random.default_rng(5)
    sizes = random.uniform(20, 150, 4000)
    pairs = [
        (s * np.exp(random.normal(0, truth)), s * np.exp(random.normal(0, truth))) for s in sizes
    ]
    assert relative_error(pairs) == pytest.approx(truth, rel=0.05)


def test_without_pairs_there_is_none():
    assert relative_error([]) is None


@pytest.mark.parametrize(("n", "source"), [(MINIMUM - 1, "protocol"), (MINIMUM, "study")])
def test_the_studys_own_error_needs_pairs_enough(n, source):
    found = find_reader_error(sums([(50.0, 55.0)] * n), DYNAMIC)
    assert (found.source, found.n_pairs) == (source, n)
    own = relative_error([(50.0, 55.0)])
    assert found.value == (pytest.approx(own) if source == "study" else DYNAMIC["reader_error"])


def test_readers_who_never_differ_do_not_make_an_error_of_0():
    assert find_reader_error(sums([(50.0, 50.0)] * MINIMUM), DYNAMIC).source == "protocol"


def test_sums_of_0_or_unknown_are_no_pair():
    assert find_reader_error(sums([(0.0, 5.0), (None, 5.0)]), DYNAMIC).n_pairs == 0
