"""An answer about a table stands as long as the table's rows do, and no longer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from dagster_project.lake.contracts import Violation
from dagster_project.lake.home import Home
from dagster_project.lake.query_cache import cached_query, violations_of
from dagster_project.lake.store import Lake, open_lake, read_lake
from dagster_project.lake.tables import TREATMENTS
from tests.domain.records import table


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


@pytest.fixture
def lake(home: Home) -> Iterator[Lake]:
    with open_lake(home) as lake:
        lake.replace("treatments", treatments(1, 2))
        yield lake


@pytest.fixture
def cycles(lake: Lake, home: Home) -> Callable[..., list[int]]:
    """The cycles in the table, and how often they were looked up."""
    looked: list[int] = []

    def ask(question: object = "cycles", *, of: Lake = lake) -> list[int]:
        def look() -> list[int]:
            looked.append(1)
            return of.read("treatments")["cycle"].to_list()

        return [
            *cached_query(of, home.answers / "cycles.json", ["treatments"], question, look),
            len(looked),
        ]

    return ask


def treatments(*cycles: int, patient: str = "p") -> pl.DataFrame:
    return table("treatments", *({"patient": patient, "cycle": c} for c in cycles))


def test_1_the_same_rows_are_asked_once_also_by_a_later_process(
    cycles: Callable[..., list[int]], lake: Lake, home: Home
) -> None:
    assert cycles() == [1, 2, 1]
    lake.replace("treatments", treatments(1, 2))
    lake.replace("patients", table("patients", {}))
    with read_lake(home) as later:
        assert cycles(of=later) == [1, 2, 1]


@pytest.mark.parametrize(
    "write",
    [
        lambda lake: lake.replace("treatments", treatments(1, 2, 3)),
        lambda lake: lake.replace("treatments", treatments(1)),
        lambda lake: lake.replace("treatments", treatments(1, 5)),
        lambda lake: lake.remove_patient("p"),
        lambda lake: lake.query("UPDATE treatments SET cycle = 7 WHERE cycle = 2"),
    ],
    ids=["more", "fewer", "other", "none", "changed"],
)
def test_2_other_rows_are_asked_anew(
    cycles: Callable[..., list[int]], lake: Lake, write: Callable[[Lake], object]
) -> None:
    cycles()
    write(lake)
    assert cycles() == [*lake.read("treatments")["cycle"], 2]


def test_3_rows_that_come_back_are_asked_anew_too(
    cycles: Callable[..., list[int]], lake: Lake
) -> None:
    """Nothing is concluded from a number of rows alone."""
    cycles()
    lake.replace("treatments", treatments(3, 4))
    lake.replace("treatments", treatments(1, 2))
    assert cycles() == [1, 2, 2]


def test_4_an_earlier_snapshot_has_a_state_of_its_own(
    cycles: Callable[..., list[int]], lake: Lake, home: Home
) -> None:
    earlier = lake.snapshot()
    lake.replace("treatments", treatments(8))
    assert cycles() == [8, 1]
    with read_lake(home, as_of=earlier) as then:
        assert cycles(of=then) == [1, 2, 2]


def test_5_another_question_is_asked(cycles: Callable[..., list[int]]) -> None:
    cycles()
    assert cycles("other") == [1, 2, 2]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "s"}'])
def test_6_what_cannot_be_read_is_asked_anew(
    cycles: Callable[..., list[int]], home: Home, content: str
) -> None:
    cycles()
    (home.answers / "cycles.json").write_text(content)
    assert cycles() == [1, 2, 2]


def test_7_an_answer_during_which_someone_wrote_is_not_kept(lake: Lake, home: Home) -> None:
    def asked() -> int:
        rows = lake.count("treatments")
        lake.replace("treatments", treatments(*range(1, rows + 2)))
        return rows

    file = home.answers / "rows.json"
    assert cached_query(lake, file, ["treatments"], "rows", asked) == 2
    assert not file.exists()


def test_8_tidying_and_purging_lose_no_violation(lake: Lake, home: Home) -> None:
    """A broken contract stays broken while the row is there, and holds again once it is gone."""
    lake.replace("treatments", treatments(0, 1))
    broken = [Violation("treatments", "cycle minimum 1", 1)]
    assert violations_of(lake, home, TREATMENTS) == violations_of(lake, home, TREATMENTS) == broken
    lake.tidy(days=1, kept=())
    lake.purge_history()
    assert violations_of(lake, home, TREATMENTS) == broken
    lake.replace("treatments", treatments(1))
    assert violations_of(lake, home, TREATMENTS) == []


def test_9_a_restored_catalogue_gives_a_number_to_other_rows_and_is_asked(
    home: Home, tmp_path: Path
) -> None:
    """Two nights from one copy of the home: the same snapshot number, other rows.

    The restored home also has the answers of the night that is no more.
    """
    with open_lake(home) as lake:
        lake.replace("treatments", treatments(1))
    copied = Home(Path(shutil.copytree(home.root, tmp_path / "copied")))
    with open_lake(home) as lake:
        write = lake.replace("treatments", treatments(0))
        assert violations_of(lake, home, TREATMENTS)
    shutil.copytree(home.answers, copied.answers)
    with open_lake(copied) as restored:
        assert restored.replace("treatments", treatments(2)).snapshot == write.snapshot
        assert violations_of(restored, copied, TREATMENTS) == []


def test_10_an_answer_about_a_site_stands_while_that_sites_rows_do(lake: Lake, home: Home) -> None:
    def write(site: str, *cycles: int) -> None:
        rows = ({"site": site, "patient": f"{site}-1", "cycle": c} for c in cycles)
        lake.replace("treatments", table("treatments", *rows), site=site)

    def looked_up(site: str) -> bool:
        looked = []
        cached_query(
            lake,
            home.answers / site / "cycles.json",
            ["treatments"],
            "cycles",
            lambda: looked.append(1),
            site=site,
        )
        return bool(looked)

    for site in ("AA", "AAA"):
        write(site, 1, 2)
        assert looked_up(site)
    write("AAA", 1, 3)
    assert (looked_up("AA"), looked_up("AAA")) == (False, True)
    write("AA", 2)
    assert (looked_up("AA"), looked_up("AAA")) == (True, False)
    lake.remove_patient("AA-1")
    assert (looked_up("AA"), looked_up("AAA")) == (True, False)
