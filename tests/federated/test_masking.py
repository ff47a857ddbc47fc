"""Masked vectors: their sum is exact or refused by name; no library of the extra is needed."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.fixed_point import (
    FRACTION_BITS,
    MODULUS,
    add_residues,
    from_residues,
    largest_value,
    to_residues,
)
from dagster_project.federated.masks import check_slot, round_mask, uniform_residues
from dagster_project.federated.refusals import (
    FailedCheck,
    NotFinite,
    RepeatedRound,
    TooLarge,
    WrongLength,
)
from dagster_project.federated.secure_sum import Masking
from tests.federated.hospitals import CHECK, channels

STEP = 2.0**-FRACTION_BITS
NUMBERS = st.integers(3, 8)


@st.composite
def rounds(draw):
    """Vectors of 3 to 8 hospitals, in an order of arrival."""
    n, length = draw(NUMBERS), draw(st.integers(1, 40))
    limit = largest_value(n)
    value = st.one_of(
        st.floats(-limit, limit), st.sampled_from([0.0, -0.0, limit, -limit, STEP / 2])
    )
    vectors = draw(
        st.lists(st.lists(value, min_size=length, max_size=length), min_size=n, max_size=n)
    )
    return np.array(vectors), draw(st.permutations(range(n)))


def maskings(n):
    return [Masking(found, CHECK) for found in channels(n).values()]


def total(parts):
    summed = parts[0]
    for part in parts[1:]:
        summed = add_residues(summed, part)
    return summed


def exact(vectors):
    """The sum of the rounded vectors in rational numbers."""
    return [
        float(
            sum(Fraction(round(Fraction(v) * 2**FRACTION_BITS), 2**FRACTION_BITS) for v in column)
        )
        for column in vectors.T.tolist()
    ]


@given(rounds())
def test_the_sum_is_exact_in_any_order(drawn):
    vectors, order = drawn
    members, length = maskings(len(vectors)), vectors.shape[1]
    parts = [members[i].protect(vectors[i], 1, length) for i in order]
    assert all(m.reveal(total(parts), 1, length).tolist() == exact(vectors) for m in members)


@given(rounds(), st.data())
def test_a_sum_without_any_hospital_or_with_one_twice_gives_no_number(drawn, data):
    vectors, order = drawn
    members, length = maskings(len(vectors)), vectors.shape[1]
    parts = [members[i].protect(vectors[i], 1, length) for i in order]
    chosen = data.draw(st.lists(st.sampled_from(range(len(parts))), max_size=len(parts)))
    if sorted(chosen) == list(range(len(parts))) or not chosen:
        chosen = [0]
    with pytest.raises(FailedCheck, match="round 1"):
        members[0].reveal(total([parts[i] for i in chosen]), 1, length)


@given(rounds(), st.data())
def test_a_part_of_an_earlier_round_gives_no_number(drawn, data):
    vectors, _ = drawn
    members, length = maskings(len(vectors)), vectors.shape[1]
    first, second = (
        [m.protect(v, number, length) for m, v in zip(members, vectors, strict=True)]
        for number in (1, 2)
    )
    replayed = data.draw(st.sets(st.sampled_from(range(len(members))), min_size=1))
    mixed = [first[i] if i in replayed else second[i] for i in range(len(members))]
    with pytest.raises(FailedCheck, match="round 2"):
        members[0].reveal(total(mixed), 2, length)


@given(rounds(), st.integers(1, MODULUS - 1), st.data())
def test_a_sum_that_was_changed_gives_no_number(drawn, change, data):
    vectors, _ = drawn
    members, length = maskings(len(vectors)), vectors.shape[1]
    summed = total([m.protect(v, 1, length) for m, v in zip(members, vectors, strict=True)])
    place = data.draw(st.integers(0, length))
    summed[place] = (int(summed[place]) + change) % MODULUS
    with pytest.raises(FailedCheck):
        members[0].reveal(summed, 1, length)


@given(rounds(), st.integers(2, MODULUS - 1))
@settings(max_examples=40)
def test_a_sum_that_was_multiplied_gives_no_number(drawn, factor):
    vectors, _ = drawn
    members, length = maskings(len(vectors)), vectors.shape[1]
    summed = total([m.protect(v, 1, length) for m, v in zip(members, vectors, strict=True)])
    scaled = np.array([int(v) * factor % MODULUS for v in summed], np.uint64)
    with pytest.raises(FailedCheck):
        members[0].reveal(scaled, 1, length)


def test_what_fills_up_a_ciphertext_is_held_to_0():
    members = maskings(3)
    summed = total([m.protect([1.0], 1, 1) for m in members])
    assert members[0].reveal(np.append(summed, np.zeros(5, np.uint64)), 1, 1).tolist() == [3.0]
    with pytest.raises(FailedCheck):
        members[0].reveal(np.append(summed, np.array([0, 1], np.uint64)), 1, 1)


@given(NUMBERS, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 4))
@settings(max_examples=30)
def test_what_is_no_number_is_refused_by_its_place(n, value, place):
    vector = np.ones(5)
    vector[place] = value
    with pytest.raises(NotFinite, match=rf"\[{place}\]"):
        maskings(n)[0].protect(vector, 1, 5)


@given(NUMBERS, st.floats(1e9, 1e300), st.booleans())
@settings(max_examples=60)
def test_a_value_is_summed_exactly_or_too_large(n, value, negative):
    value = -value if negative else value
    members = maskings(n)
    if abs(value) > largest_value(n):
        with pytest.raises(TooLarge, match=r"\[0\]"):
            members[0].protect([value], 1, 1)
        return
    summed = total([m.protect([value], 1, 1) for m in members])
    assert members[0].reveal(summed, 1, 1).tolist() == exact(np.full((n, 1), value))


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_vector_of_another_length_is_refused(length):
    with pytest.raises(WrongLength, match=rf"BJCH has {length} values where the plan has 5"):
        maskings(3)[0].protect(np.ones(length), 1, 5)


def test_a_matrix_is_no_vector():
    with pytest.raises(WrongLength):
        maskings(3)[0].protect(np.ones((1, 5)), 1, 5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_round_is_masked_once_and_none_before_it(number):
    member = maskings(3)[0]
    member.protect([1.0], 2, 1)
    with pytest.raises(RepeatedRound, match=f"round {number}"):
        member.protect([2.0], number, 1)


def test_a_vector_that_was_refused_leaves_its_round_open():
    member = maskings(3)[0]
    with pytest.raises(NotFinite):
        member.protect([np.nan], 1, 1)
    assert member.protect([1.0], 1, 1).size == 2


@given(NUMBERS, st.integers(1, 50), st.integers(1, 10))
@settings(max_examples=40)
def test_masks_of_all_hospitals_add_up_to_0_and_those_of_fewer_do_not(n, length, number):
    masks = [round_mask(found, number, length) for found in channels(n).values()]
    assert not total(masks).any()
    assert total(masks[1:]).any()


def test_a_masked_vector_is_uncorrelated_with_the_plain_one():
    plain = np.random.default_rng(5).normal(0, 100, 3410)
    seen = maskings(3)[0].protect(plain, 1, plain.size)[:-1].astype(float)
    assert abs(np.corrcoef(plain, seen)[0, 1]) < 0.05


def test_residues_are_uniform():
    # 16 equal parts of the range, 60,000 draws: chi-square with 15 degrees of freedom, p = 1e-5.
    drawn = uniform_residues(bytes(32), 60_000)
    assert int(drawn.max()) < MODULUS
    counts = np.bincount((drawn.astype(float) / MODULUS * 16).astype(int), minlength=16)
    assert ((counts - 3750.0) ** 2 / 3750).sum() < 50


def test_the_stream_is_that_of_rfc_8439():
    # Appendix A.1, test vector 1: key, nonce and counter 0.
    first = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    words = np.frombuffer(first, dtype="<u8") & np.uint64(2**59 - 1)
    kept = [int(w) for w in words if w < MODULUS]
    assert uniform_residues(bytes(32), len(kept)).tolist() == kept


def test_the_modulus_is_a_prime_that_batching_can_use():
    assert MODULUS % (2 * 8192) == 1
    assert all(pow(base, MODULUS - 1, MODULUS) == 1 for base in (2, 3, 5, 7, 11, 13))


@given(st.integers(0, MODULUS - 1))
def test_a_residue_and_its_value_go_both_ways_below_2_to_the_33(residue):
    value = from_residues(np.array([residue], np.uint64))
    if abs(value[0]) < 2**33:
        assert to_residues(value, 3).tolist() == [residue]


@given(st.lists(st.integers(0, MODULUS - 1), min_size=2, max_size=30), st.data())
def test_check_slots_add_up_to_the_slot_of_the_sum(values, data):
    other = data.draw(
        st.lists(st.integers(0, MODULUS - 1), min_size=len(values), max_size=len(values))
    )
    a, b = np.array(values, np.uint64), np.array(other, np.uint64)
    slots = (check_slot(a, CHECK) + check_slot(b, CHECK)) % MODULUS
    assert check_slot(add_residues(a, b), CHECK, 2) == slots
