"""Names and UIDs of what leaves are one per lesion, and say nothing of a reader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dagster_project.interchange.identifiers import derived_uid, lesion_names, tracking_uid

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


def test_uids_are_of_at_most_64_characters_and_differ() -> None:
    uids = [tracking_uid("AA-P1", "L1"), tracking_uid("AA-P1", "L2"), tracking_uid("AA-P2", "L1")]
    uids += [derived_uid("a", "b"), derived_uid("ab"), derived_uid(["a", "b"])]
    assert len(set(uids)) == 6
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in uids)
