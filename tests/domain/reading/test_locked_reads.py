"""A read is closed by its lock, and never changed after it.

Nobody sees it before both readers have locked.
"""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.reading.locked_reads import close_reads
from dagster_project.study import load_study
from tests.domain.rows import LOCKED, table

RULES = load_study().section("reads")
NOW = LOCKED + dt.timedelta(days=30)
LATER = LOCKED + dt.timedelta(days=10)
VISITS = {("AA", f"S{v}"): v for v in ("T0", "T1", "T2")}


def read(reader="R1", lesion="L1", visit="T0", **facts):
    return {
        "scan": f"S{visit}",
        "reader": reader,
        "lesion": lesion,
        "visit": visit,
        "mask_digest": f"{reader}{lesion}{visit}",
        **facts,
    }


def close(*rows, ledger=(), rules=RULES, visits=VISITS, now=NOW):
    noted = table("reads", *ledger)
    return close_reads(table("reads", *rows), noted, visits, rules, now).frames()


BOTH = [read(), read("R2")]


def seen(frame):
    return sorted(frame.select("reader", "visit", "lesion").rows())


def reasons(refused):
    return " | ".join(refused["reason"])


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([read(), read("R2")], [("R1", "T0", "L1"), ("R2", "T0", "L1")]),  # both have locked
        ([read(), read("R2", locked_at=None)], []),  # one is open: neither is seen
        ([read()], []),  # the second has not begun: he must not find the first one's read
        (
            [read(), read("R2"), read("R3", locked_at=None)],
            [("R1", "T0", "L1"), ("R2", "T0", "L1")],
        ),  # a third reader holds up nobody
        (
            [read(), read("R2"), read(visit="T1", locked_at=None)],
            [("R1", "T0", "L1"), ("R2", "T0", "L1")],
        ),  # reading goes on at T1
        (
            [read(), read("R2"), read(visit="T1")],
            [("R1", "T0", "L1"), ("R2", "T0", "L1")],
        ),  # the second reader still has to read T1, and must not find the first one's read
        (
            [read(v) for v in ("R1", "R2")]
            + [read(visit="T1")]
            + [read(v, visit="T2") for v in ("R1", "R2")],
            [("R1", "T0", "L1"), ("R2", "T0", "L1")],
        ),  # the response at T2 would leave T1 out
        (
            [read(v, visit=t) for v in ("R1", "R2") for t in ("T0", "T2")],
            [(v, t, "L1") for v in ("R1", "R2") for t in ("T0", "T2")],
        ),  # nobody has read T1: it holds up none
        (
            [read("SITE", locked_at=None)],
            [("SITE", "T0", "L1")],
        ),  # among the images: nobody's blinded read
    ],
)
def test_what_may_be_seen(rows, shown):
    assert seen(close(*rows)[0]) == shown


def test_what_waits_is_told_by_reader_with_its_number():
    _, _, refused = close(read(locked_at=None), read(lesion="L2", locked_at=None), read("R2"))
    assert sorted(refused["item"]) == ["P1 T0 reads of R1", "P1 T0 reads of R2"]
    assert "2 reads are open and withheld" in reasons(refused)
    assert "1 reads are locked and withheld until 2 readers" in reasons(refused)


def test_a_visit_that_one_reader_has_locked_is_named_and_so_is_what_waits_for_it():
    rows = [read(v, visit=t) for v in ("R1", "R2") for t in ("T0", "T2")]
    _, ledger, refused = close(*rows, read(visit="T1"))
    found = dict(refused.select("item", "reason").rows())
    assert found.keys() == {"P1 T1 reads of R1", "P1 T2 reads of R1", "P1 T2 reads of R2"}
    assert "2 readers have locked a read of this visit" in found["P1 T1 reads of R1"]
    assert "a read of T1, which comes before it" in found["P1 T2 reads of R2"]
    assert ledger.height == 5, "what is locked stays locked while it waits"
    absent = {"is_present": False, "mask_digest": None, "mask_source": "NONE"}
    assert close(*rows, read(visit="T1"), read("R2", visit="T1", **absent))[0].height == 6


def test_a_protocol_with_one_reader_shows_one():
    assert seen(close(read(), rules={**RULES, "blinded_readers": 1})[0]) == [("R1", "T0", "L1")]


def test_a_lock_in_the_future_closes_nothing():
    shown, ledger, refused = close(read(locked_at=NOW + dt.timedelta(days=1)), read("R2"))
    assert (shown.height, seen(ledger)) == (0, [("R2", "T0", "L1")])
    assert "not come yet" in reasons(refused)


@pytest.mark.parametrize(
    "change",
    [
        {"mask_digest": "another"},
        {"is_present": False, "mask_digest": None, "mask_source": "NONE"},
        {"role": "non_target"},
        {"is_lymph_node": True},
        {"nontarget_state": "PD"},
        {"unequivocal": True},
        {"too_small_to_measure": True},
        {"organ": "liver"},
    ],
)
@pytest.mark.parametrize("lock", [LOCKED, LATER, None])
def test_a_read_that_changed_after_its_lock_is_refused_and_the_locked_one_stands(change, lock):
    _, ledger, _ = close(*BOTH)
    shown, after, refused = close(
        read(**change, locked_at=lock), read("R2"), ledger=ledger.to_dicts()
    )
    assert "changed after its lock" in reasons(refused)
    assert refused["item"].to_list() == ["P1 ST0 R1 L1"]
    assert shown.equals(ledger)
    assert after.equals(ledger)


def test_a_size_by_hand_counts_and_a_size_of_the_mask_does_not():
    hand = {
        "measurement_source": "hand",
        "mask_digest": None,
        "mask_source": "NONE",
        "longest_diameter_mm": 20.0,
    }
    _, ledger, _ = close(read(**hand), read("R2"))
    changed = close(
        read(**{**hand, "longest_diameter_mm": 25.0}), read("R2"), ledger=ledger.to_dicts()
    )
    assert "changed after its lock" in reasons(changed[2])
    assert changed[0].filter(reader="R1")["longest_diameter_mm"].to_list() == [20.0]
    _, ledger, _ = close(read(longest_diameter_mm=20.0), read("R2"))
    measured_anew = close(read(longest_diameter_mm=20.5), read("R2"), ledger=ledger.to_dicts())
    assert measured_anew[2].height == 0
    assert measured_anew[0].filter(reader="R1")["longest_diameter_mm"].to_list() == [20.5]


def test_a_read_that_is_taken_away_after_its_lock_stands():
    _, ledger, _ = close(*BOTH, read(lesion="L2"))
    shown, _, refused = close(*BOTH, ledger=ledger.to_dicts())
    assert seen(shown) == [("R1", "T0", "L1"), ("R1", "T0", "L2"), ("R2", "T0", "L1")]
    assert "taken out of the delivery" in reasons(refused)


def test_a_scan_that_is_gone_takes_its_reads_with_it():
    _, ledger, _ = close(*BOTH)
    shown, after, refused = close(ledger=ledger.to_dicts(), visits={})
    assert (shown.height, after.height, refused.height) == (0, 0, 0)


def test_later_visits_are_added_under_a_later_lock_and_earlier_ones_keep_theirs():
    _, ledger, _ = close(*BOTH)
    rows = [
        read(reader, visit=visit, locked_at=LATER)
        for reader in ("R1", "R2")
        for visit in ("T0", "T1")
    ]
    shown, _, refused = close(*rows, ledger=ledger.to_dicts())
    assert refused.height == 0
    assert dict(shown.filter(reader="R1").select("visit", "locked_at").iter_rows()) == {
        "T0": LOCKED,
        "T1": LATER,
    }


def test_while_the_lock_is_away_for_a_later_visit_what_was_locked_stays():
    _, ledger, _ = close(*BOTH)
    shown, _, refused = close(
        read(locked_at=None), read(visit="T1", locked_at=None), read("R2"), ledger=ledger.to_dicts()
    )
    assert seen(shown) == [("R1", "T0", "L1"), ("R2", "T0", "L1")]
    assert shown["locked_at"].null_count() == 0
    assert "1 reads are open" in reasons(refused)


def test_a_reopened_read_is_replaced_by_what_is_locked_anew_and_by_nothing_else():
    rules = {**RULES, "reopened": ["AA:R1:P1"]}
    _, ledger, _ = close(*BOTH)
    shown, _, refused = close(
        read(mask_digest="better", locked_at=LATER),
        read("R2"),
        ledger=ledger.to_dicts(),
        rules=rules,
    )
    assert shown.filter(reader="R1").select("mask_digest", "locked_at").rows() == [
        ("better", LATER)
    ]
    assert refused.height == 0
    other = close(
        read(),
        read("R2", mask_digest="other", locked_at=LATER),
        ledger=ledger.to_dicts(),
        rules=rules,
    )
    assert "changed after its lock" in reasons(other[2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["R1", "R2", "R3"]),
            st.sampled_from(["T0", "T1"]),
            st.sampled_from(["P1", "P2"]),
            st.booleans(),
        ),
        unique_by=lambda t: t[:3],
    ),
    st.randoms(),
)
def test_nothing_open_is_seen_nor_a_visit_with_fewer_than_two_locks_in_any_order(drawn, shuffle):
    visits = {("AA", f"S{v}{p}"): v for v in ("T0", "T1") for p in ("P1", "P2")}
    rows = [
        {**read(r, visit=v, patient=p, locked_at=LOCKED if locked else None), "scan": f"S{v}{p}"}
        for r, v, p, locked in drawn
    ]
    shown, ledger, _ = close(*rows, visits=visits)
    assert shown["locked_at"].null_count() == 0
    assert shown.group_by("patient", "visit").agg(pl.col("reader").n_unique())["reader"].min() in {
        None,
        2,
        3,
    }
    assert close(*rows, visits=visits, ledger=ledger.to_dicts())[0].equals(shown)
    shuffle.shuffle(rows)
    assert close(*rows, visits=visits)[0].equals(shown)


def test_an_outline_delivered_as_before_that_gives_another_mask_is_no_change_by_its_reader():
    drawn = {"outline_source": "file L1"}
    _, ledger, _ = close(read(**drawn), read("R2"))
    shown, after, refused = close(
        read(**drawn, mask_digest="by other code", volume_mm3=9.0),
        read("R2"),
        ledger=ledger.to_dicts(),
    )
    assert refused.height == 0
    assert shown.filter(reader="R1").select("mask_digest", "volume_mm3", "locked_at").rows() == [
        ("by other code", 9.0, LOCKED)
    ]
    assert after.equals(shown)


def test_the_same_mask_out_of_another_file_is_no_change_and_another_mask_is_one():
    _, ledger, _ = close(read(outline_source="file L1"), read("R2"))
    assert (
        close(read(outline_source="again L1"), read("R2"), ledger=ledger.to_dicts())[2].height == 0
    )
    changed = close(
        read(outline_source="again L1", mask_digest="drawn anew"),
        read("R2"),
        ledger=ledger.to_dicts(),
    )
    assert "changed after its lock" in reasons(changed[2])


@pytest.mark.parametrize("unusable", ["file L1", "file"])
@pytest.mark.parametrize("delivered", [(), (read(mask_digest=None, mask_source="NONE"),)])
def test_a_locked_outline_that_is_refused_now_counts_no_more(unusable, delivered):
    """By its own refusal or that of its file; a row of lesions.csv about it may be left."""
    _, ledger, _ = close(read(outline_source="file L1"), read("R2"))
    shown, after, refused = close_reads(
        table("reads", *delivered, read("R2")), ledger, VISITS, RULES, NOW, [unusable]
    ).frames()
    assert "deliver a corrected outline" in reasons(refused)
    assert "R1R1" not in after["mask_digest"].to_list()
    assert shown.filter(reader="R1")["mask_digest"].drop_nulls().to_list() == []
