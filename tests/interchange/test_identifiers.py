"""UIDs of what leaves are one per lesion."""

from __future__ import annotations

from dagster_project.interchange.identifiers import derived_uid, tracking_uid


def test_uids_are_of_at_most_64_characters_and_differ() -> None:
    uids = [tracking_uid("AA-P1", "L1"), tracking_uid("AA-P1", "L2"), tracking_uid("AA-P2", "L1")]
    uids += [derived_uid("a", "b"), derived_uid("ab"), derived_uid(["a", "b"])]
    assert len(set(uids)) == 6
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in uids)
