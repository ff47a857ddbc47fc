"""The encrypted sum: what the hospitals read, what the coordinator holds, and what is refused."""

import dataclasses
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.ciphertexts import (
    SLOTS,
    Cipher,
    _keyless_context,
    add_ciphertexts,
    make_key,
)
from dagster_project.federated.fixed_point import MODULUS
from dagster_project.federated.refusals import (
    FailedCheck,
    ForgedMessage,
    HospitalMissing,
    HospitalTwice,
    OtherRound,
    RepeatedRound,
    UnknownHospital,
    UnreadableCiphertext,
    WrongLength,
)
from dagster_project.federated.secure_sum import Member, RunKeys, add_parts
from tests.conftest import REPOSITORY
from tests.federated.hospitals import channels, run_of

RNG = np.random.default_rng(11)
LENGTH = 7


@cache
def keys():
    """Of all runs here; made at the first test that needs TenSEAL."""
    return RunKeys.make()


def members(n):
    return {code: Member(found, keys()) for code, found in channels(n).items()}


def parts_of(found, vectors, number=1):
    return [m.part(v, number, len(v)) for m, v in zip(found.values(), vectors, strict=True)]


@settings(max_examples=8)
@given(st.integers(3, 8), st.data())
def test_the_sum_is_exact_in_any_order_of_arrival(n, data):
    vectors = RNG.integers(-(2**40), 2**40, (n, LENGTH)) / 2**20
    found = members(n)
    parts = data.draw(st.permutations(parts_of(found, vectors)))
    total = add_parts(run_of(n), 1, LENGTH, parts)
    for member in found.values():
        assert member.open(total, 1, LENGTH).tolist() == vectors.sum(axis=0).tolist()


def test_a_vector_longer_than_a_ciphertext_and_several_rounds():
    found, length = members(3), SLOTS + 5
    for number in (1, 2):
        vectors = RNG.integers(-1000, 1000, (3, length)).astype(float)
        parts = parts_of(found, vectors, number)
        assert [len(part.ciphertexts) for part in parts] == [2, 2, 2]
        total = add_parts(run_of(3), number, length, parts)
        assert np.array_equal(found["GZSM"].open(total, number, length), vectors.sum(axis=0))


def test_the_run_keys_reach_each_hospital_through_the_coordinator_sealed():
    found = channels(3)
    sealed = keys().seal(found["BJCH"])
    assert set(sealed) == {"GZSM", "SHFD"}
    for code, content in sealed.items():
        assert keys().check not in content
        assert keys().encryption[40:200] not in content
        assert RunKeys.unseal(found[code], content) == keys()
    with pytest.raises(ForgedMessage, match="BJCH"):
        RunKeys.unseal(found["GZSM"], sealed["SHFD"])
    with pytest.raises(ForgedMessage, match="BJCH"):
        RunKeys.unseal(found["GZSM"], found["SHFD"].seal("GZSM", b"keys of another"))


def test_a_hospital_that_opens_anothers_ciphertext_sees_noise():
    plain = RNG.normal(0, 100, 3410)
    part = members(3)["SHFD"].part(plain, 1, plain.size)
    seen = Cipher(keys().encryption).decrypt(part.ciphertexts)[: plain.size].astype(float)
    assert abs(np.corrcoef(plain, seen)[0, 1]) < 0.05
    assert part.size < 512 * 1024


def test_what_the_coordinator_holds_cannot_be_decrypted_there():
    part = members(3)["BJCH"].part(np.ones(LENGTH), 1, LENGTH)
    from tenseal import bfv_vector_from

    assert not _keyless_context().has_secret_key()
    with pytest.raises(ValueError, match="secret_key"):
        bfv_vector_from(_keyless_context(), part.ciphertexts[0]).decrypt()


def test_equal_vectors_have_different_ciphertexts():
    parts = [members(3)["BJCH"].part(np.zeros(LENGTH), 1, LENGTH) for _ in range(2)]
    assert parts[0].ciphertexts != parts[1].ciphertexts


# -- refused by the coordinator --------------------------------------------------------------------


def test_a_missing_a_repeated_and_a_foreign_hospital_are_named():
    parts = parts_of(members(4), np.ones((4, LENGTH)))
    with pytest.raises(HospitalMissing, match="SHFD, WHTJ"):
        add_parts(run_of(4), 1, LENGTH, parts[:2])
    with pytest.raises(HospitalMissing):
        add_parts(run_of(4), 1, LENGTH, [])
    with pytest.raises(HospitalTwice, match="GZSM"):
        add_parts(run_of(4), 1, LENGTH, [*parts, parts[1]])
    with pytest.raises(UnknownHospital, match="WHTJ"):
        add_parts(run_of(3), 1, LENGTH, parts)


def test_a_part_of_another_round_run_or_length_is_named():
    found = members(3)
    first = parts_of(found, np.ones((3, LENGTH)), 1)
    second = parts_of(found, np.ones((3, LENGTH)), 2)
    with pytest.raises(OtherRound, match="SHFD is of round 1"):
        add_parts(run_of(3), 2, LENGTH, [*second[:2], first[2]])
    with pytest.raises(OtherRound, match="BJCH"):
        add_parts(run_of(3, name="run-2"), 1, LENGTH, first)
    longer = found["SHFD"].part(np.ones(LENGTH + 1), 3, LENGTH + 1)
    third = parts_of(dict(list(found.items())[:2]), np.ones((2, LENGTH)), 3)
    with pytest.raises(WrongLength, match=f"SHFD has {LENGTH + 1} values"):
        add_parts(run_of(3), 3, LENGTH, [*third, longer])
    doubled = dataclasses.replace(second[2], ciphertexts=second[2].ciphertexts * 2)
    with pytest.raises(WrongLength, match="SHFD"):
        add_parts(run_of(3), 2, LENGTH, [*second[:2], doubled])


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"no ciphertext"])
def test_bytes_that_are_no_ciphertext_are_refused(data):
    parts = parts_of(members(3), np.ones((3, LENGTH)))
    broken = dataclasses.replace(parts[1], ciphertexts=(data,))
    with pytest.raises(UnreadableCiphertext):
        add_parts(run_of(3), 1, LENGTH, [parts[0], broken, parts[2]])


# -- refused at the hospital -----------------------------------------------------------------------


def honest_total(found, number=1, value=1.0):
    parts = parts_of(found, np.full((len(found), LENGTH), value), number)
    return parts, add_parts(run_of(len(found)), number, LENGTH, parts)


@settings(max_examples=8)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_a_coordinator_that_adds_other_parts_gets_no_hospital_to_read_a_number(chosen):
    if sorted(chosen) == [0, 1, 2, 3]:
        chosen = [0, 1, 2]
    found = members(4)
    parts, total = honest_total(found)
    forged = add_ciphertexts([parts[i].ciphertexts for i in chosen])
    with pytest.raises(FailedCheck, match="round 1"):
        found["BJCH"].open(dataclasses.replace(total, ciphertexts=forged), 1, LENGTH)


def test_a_sum_of_an_earlier_round_is_refused_under_either_number():
    found = members(3)
    _, first = honest_total(found, 1)
    _, _ = honest_total(found, 2)
    with pytest.raises(OtherRound, match="round 1"):
        found["BJCH"].open(first, 2, LENGTH)
    with pytest.raises(FailedCheck, match="round 2"):
        found["BJCH"].open(dataclasses.replace(first, number=2), 2, LENGTH)


def test_a_sum_of_another_run_or_length_is_refused():
    found = members(3)
    _, total = honest_total(found)
    with pytest.raises(OtherRound):
        found["BJCH"].open(dataclasses.replace(total, run="0" * 64), 1, LENGTH)
    with pytest.raises(WrongLength):
        found["BJCH"].open(dataclasses.replace(total, length=LENGTH + 1), 1, LENGTH)
    with pytest.raises(WrongLength):
        found["BJCH"].open(dataclasses.replace(total, ciphertexts=()), 1, LENGTH)


def test_a_sum_that_the_coordinator_multiplies_or_shifts_is_refused():
    from tenseal import bfv_vector_from

    found = members(3)
    _, total = honest_total(found)
    vector = bfv_vector_from(_keyless_context(), total.ciphertexts[0])
    for changed in (vector + [1] * SLOTS, vector * ([3] * SLOTS)):
        forged = dataclasses.replace(total, ciphertexts=(changed.serialize(),))
        with pytest.raises(FailedCheck):
            found["BJCH"].open(forged, 1, LENGTH)


def test_a_ciphertext_with_a_changed_byte_gives_no_number():
    found = members(3)
    _, total = honest_total(found)
    whole = total.ciphertexts[0]
    for place in RNG.integers(0, len(whole), 25).tolist():
        changed = whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        forged = dataclasses.replace(total, ciphertexts=(changed,))
        with pytest.raises((FailedCheck, UnreadableCiphertext)):
            found["BJCH"].open(forged, 1, LENGTH)


def test_a_round_is_sent_once():
    found = members(3)
    honest_total(found, 4)
    with pytest.raises(RepeatedRound, match="round 4"):
        found["BJCH"].part(np.ones(LENGTH), 4, LENGTH)


def test_bytes_that_are_no_key_are_refused():
    for key in (b"", b"no key", keys().encryption[:1000]):
        with pytest.raises(UnreadableCiphertext, match="key"):
            Member(channels(3)["BJCH"], RunKeys(keys().check, key))


def test_a_key_without_its_secret_or_of_other_parameters_is_refused():
    import tenseal as ts

    smaller = ts.context(
        ts.SCHEME_TYPE.BFV, 4096, 1032193, encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
    )
    other = ts.context(
        ts.SCHEME_TYPE.BFV, SLOTS, 1032193, encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
    )
    keyless = _keyless_context().serialize(save_secret_key=False)
    unusable = [keyless, *(c.serialize(save_secret_key=True) for c in (smaller, other))]
    for key in unusable:
        with pytest.raises(UnreadableCiphertext, match="key"):
            Cipher(key)


def test_the_key_of_another_run_gives_no_number():
    found = members(3)
    _, total = honest_total(found)
    stranger = Member(channels(3)["BJCH"], RunKeys(keys().check, make_key()))
    with pytest.raises(FailedCheck):
        stranger.open(total, 1, LENGTH)


# -- what the library does -------------------------------------------------------------------------


def test_sums_wrap_at_the_modulus_and_nowhere_else():
    cipher = Cipher(make_key())
    for a, b in pairwise([0, 1, MODULUS // 2, MODULUS // 2 + 1, MODULUS - 1]):
        blocks = [cipher.encrypt(np.full(SLOTS, v, np.uint64)) for v in (a, b)]
        assert set(cipher.decrypt(add_ciphertexts(blocks)).tolist()) == {(a + b) % MODULUS}


def test_a_hundred_ciphertexts_add_up_without_loss():
    # BFV's noise grows with each addition; there is room for far more hospitals than a study has.
    cipher = Cipher(make_key())
    block = cipher.encrypt(np.full(SLOTS, MODULUS - 1, np.uint64))
    summed = cipher.decrypt(add_ciphertexts([block] * 100))
    assert set(summed.tolist()) == {MODULUS - 100}


def test_without_the_extra_a_sum_names_it_and_masks_work():
    program = (
        "import sys; sys.modules['tenseal'] = None\n"
        "from dagster_project.federated.refusals import ExtraMissing\n"
        "from dagster_project.federated.secure_sum import Masking, RunKeys\n"
        "from tests.federated.hospitals import CHECK, channels\n"
        "print(Masking(channels(3)['BJCH'], CHECK).protect([1.0], 1, 1).size)\n"
        "try: RunKeys.make()\n"
        "except ExtraMissing as missing: print(missing.en, missing.zh)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    size, message = done.stdout.splitlines()
    assert size == "2"
    assert message.count("dynamic-irecist-lakehouse[federated]") == 2
