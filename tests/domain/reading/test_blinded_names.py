"""Names of lesions are one per lesion, and say nothing of a reader."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.reading.blinded_names import lesion_names, with_blinded_lesions

READERS = ("R1", "R2", "R3")
LABELS = st.sampled_from(["L1", "L5", "L5-1", "L5--1", "L5.1"])
NAMES = st.sets(
    st.one_of(LABELS, st.builds("{} ({})".format, LABELS, st.sampled_from(READERS))), min_size=1
)


@given(NAMES)
def test_names_stay_apart_and_hold_no_reader(names: set[str]) -> None:
    found = lesion_names("AA-P1", names, READERS)
    assert set(found) == names
    assert len(set(found.values())) == len(names)
    assert [name for name in found.values() if "(" in name] == []


@given(NAMES)
def test_names_without_a_reader_and_without_a_counterpart_stay(names: set[str]) -> None:
    found = lesion_names("AA-P1", names, READERS)
    bases = [name.partition(" (")[0] for name in names]
    alone = [name for name in names if bases.count(name) == 1]
    assert [found[name] for name in alone] == alone


def test_which_of_two_names_comes_first_differs_between_patients() -> None:
    """The reader who is first by name is not always the first one."""
    first = {lesion_names(f"AA-P{n}", ["L5", "L5 (R2)"], READERS)["L5"] for n in range(20)}
    assert first == {"L5-1", "L5-2"}


def test_tables_of_a_case_name_each_lesion_alike_and_no_reader() -> None:
    reads = pl.DataFrame(
        {
            "patient": ["P1", "P1", "P1", "P2"],
            "lesion": ["L1", "L5", "L5 (R2)", "L5"],
            "reader": ["R1", "R1", "R2", "R1"],
            "volume_mm3": [1.0, 2.0, 3.0, 4.0],
        }
    )
    figures = pl.DataFrame({"patient": ["P1", "P1"], "lesion": ["L5 (R2)", None], "value": [9, 8]})
    found = with_blinded_lesions({"reads": reads, "reader_figures": figures})
    names = found["reads"]["lesion"].to_list()
    assert (names[0], names[3]) == ("L1", "L5")
    assert sorted(names[1:3]) == ["L5-1", "L5-2"]
    assert found["reader_figures"]["lesion"].to_list() == [names[2], None]
    assert found["reads"].drop("lesion").equals(reads.drop("lesion"))
    assert found["reads"].columns == reads.columns
