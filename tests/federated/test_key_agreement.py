"""Keys between hospitals: the same at both, unknown to others, and only with whom is pinned."""

import dataclasses
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa

from dagster_project.federated.identities import fingerprint, public_bytes, sign, verify
from dagster_project.federated.key_agreement import Announcement, Party, Run
from dagster_project.federated.refusals import (
    ForgedMessage,
    HospitalMissing,
    HospitalTwice,
    NoHospitalCode,
    SameKeyTwice,
    SubstitutedKey,
    TooFewHospitals,
    UnknownHospital,
)
from tests.federated.hospitals import CODES, KEYS, PINNED, channels, parties, run_of


def announced(run):
    return {code: party.announcement for code, party in parties(run).items()}


@pytest.mark.parametrize("n", [3, 8])
def test_both_hospitals_of_a_pair_have_its_key_and_no_two_pairs_have_one(n):
    found = channels(n)
    keys = {
        (a, b): (found[a].key(b, "seal"), found[b].key(a, "seal"))
        for a, b in combinations(found, 2)
    }
    assert all(first == second for first, second in keys.values())
    assert len({first for first, _ in keys.values()}) == n * (n - 1) // 2


def test_each_purpose_has_a_key_of_its_own():
    found = channels(3)["BJCH"]
    assert found.key("GZSM", "mask|1|4") != found.key("GZSM", "mask|2|4")
    assert found.key("GZSM", "mask|1|4") != found.key("GZSM", "mask|1|5")


def test_keys_of_two_runs_differ():
    first, second = parties(run_of(3)), parties(run_of(3))
    keys = [
        p["BJCH"].agree([q.announcement for q in p.values()]).key("GZSM", "seal")
        for p in (first, second)
    ]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_hospitals_are_refused(n):
    with pytest.raises(TooFewHospitals, match=f"{n} hospitals"):
        run_of(n)


def test_a_hospital_listed_twice_is_refused():
    entries = [(code, PINNED[code]) for code in CODES[:3]]
    with pytest.raises(HospitalTwice, match="GZSM"):
        Run("r", "p", (*entries, ("GZSM", "0" * 64)))
    with pytest.raises(SameKeyTwice, match="GZSM, NJGL"):
        Run("r", "p", (*entries, ("NJGL", PINNED["GZSM"])))


@pytest.mark.parametrize(
    ("entry", "what"), [(("Zhang San", "0" * 64), "code"), (("NJGL", "0" * 63), "fingerprint")]
)
def test_what_is_no_hospital_is_refused_by_its_place_and_not_repeated(entry, what):
    with pytest.raises(NoHospitalCode, match=what) as refusal:
        Run("r", "p", (*[(code, PINNED[code]) for code in CODES[:3]], entry))
    assert entry[0] not in str(refusal.value) or what == "fingerprint"


def test_a_substituted_key_is_refused_at_the_hospital_that_has_pinned_another():
    run, found = run_of(3), announced(run_of(3))
    other = Ed25519PrivateKey.generate()
    forged = Run(run.name, run.plan, tuple({**dict(run.hospitals), "GZSM": _print(other)}.items()))
    substitute = Party.enter(forged, "GZSM", other).announcement
    party = Party.enter(run, "BJCH", KEYS["BJCH"])
    given = [party.announcement, found["SHFD"]]
    with pytest.raises(SubstitutedKey, match="GZSM"):
        party.agree([*given, substitute])
    with pytest.raises(ForgedMessage, match="GZSM"):
        party.agree([*given, dataclasses.replace(substitute, identity=found["GZSM"].identity)])


def _print(key):
    return fingerprint(public_bytes(key))


@pytest.mark.parametrize("field", ["exchange", "signature"])
def test_a_changed_announcement_is_refused(field):
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run)
    changed = bytes([getattr(found["GZSM"], field)[0] ^ 1]) + getattr(found["GZSM"], field)[1:]
    forged = dataclasses.replace(found["GZSM"], **{field: changed})
    with pytest.raises(ForgedMessage, match="GZSM"):
        party.agree([party.announcement, forged, found["SHFD"]])


@pytest.mark.parametrize(
    "other",
    [run_of(3, name="run-0"), run_of(3, plan="b" * 64), run_of(4)],
    ids=["run", "plan", "roster"],
)
def test_an_announcement_of_another_run_plan_or_roster_is_refused(other):
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run)
    with pytest.raises(ForgedMessage, match="GZSM"):
        party.agree([party.announcement, announced(other)["GZSM"], found["SHFD"]])


def test_who_sends_nothing_twice_or_without_a_part_in_the_run_is_named():
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run_of(4))
    own = announced(run)
    given = [party.announcement, own["GZSM"], own["SHFD"]]
    with pytest.raises(HospitalMissing, match="SHFD"):
        party.agree(given[:2])
    with pytest.raises(HospitalTwice, match="SHFD"):
        party.agree([*given, own["SHFD"]])
    with pytest.raises(UnknownHospital, match="WHTJ"):
        party.agree([*given, found["WHTJ"]])


def test_an_own_announcement_that_comes_back_changed_is_refused():
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run)
    with pytest.raises(ForgedMessage, match="BJCH"):
        party.agree(list(found.values()))


def test_two_hospitals_with_one_exchange_key_are_refused():
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run)
    copied = found["SHFD"]
    signed = dataclasses.replace(copied, exchange=found["GZSM"].exchange)
    signed = dataclasses.replace(signed, signature=sign(KEYS["SHFD"], signed.signed))
    with pytest.raises(SameKeyTwice, match="GZSM, SHFD"):
        party.agree([party.announcement, found["GZSM"], signed])


def test_a_key_of_low_order_is_refused():
    run = run_of(3)
    party, found = Party.enter(run, "BJCH", KEYS["BJCH"]), announced(run)
    signed = dataclasses.replace(found["SHFD"], exchange=bytes(32))
    signed = dataclasses.replace(signed, signature=sign(KEYS["SHFD"], signed.signed))
    with pytest.raises(ForgedMessage, match="SHFD"):
        party.agree([party.announcement, found["GZSM"], signed])


def test_a_hospital_whose_own_certificate_is_not_the_pinned_one_does_not_enter():
    with pytest.raises(SubstitutedKey, match="BJCH"):
        Party.enter(run_of(3), "BJCH", KEYS["GZSM"])
    with pytest.raises(UnknownHospital, match="NJGL"):
        Party.enter(run_of(3), "NJGL", KEYS["NJGL"])


def test_an_announcement_survives_its_way_and_nothing_else_is_read_as_one():
    made = announced(run_of(3))["BJCH"]
    assert Announcement.from_bytes(made.to_bytes()) == made
    for data in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, made.to_bytes()[:-9]):
        with pytest.raises(ForgedMessage):
            Announcement.from_bytes(data)


def test_what_is_sealed_opens_at_its_receiver_alone():
    found = channels(4)
    sealed = found["BJCH"].seal("GZSM", b"key")
    assert found["GZSM"].unseal("BJCH", sealed) == b"key"
    assert b"key" not in sealed
    wrong = [
        ("SHFD", "BJCH", sealed),
        ("GZSM", "SHFD", sealed),
        ("GZSM", "BJCH", sealed[:-1]),
        ("GZSM", "BJCH", b""),
        ("GZSM", "BJCH", found["GZSM"].seal("BJCH", b"key")),
    ]
    for receiver, sender, content in wrong:
        with pytest.raises(ForgedMessage, match=sender):
            found[receiver].unseal(sender, content)


def test_nothing_secret_is_shown():
    run = run_of(3)
    party = Party.enter(run, "BJCH", KEYS["BJCH"])
    assert "X25519PrivateKey" not in repr(party)
    assert "_shared" not in repr(channels(3)["BJCH"])


def test_signatures_are_ed25519_or_rsa_of_enough_bits():
    strong, weak = (generate_rsa(65537, bits) for bits in (2048, 1024))
    verify("BJCH", public_bytes(strong), sign(strong, b"x"), b"x")
    for key, signature in ((strong, sign(strong, b"y")), (weak, sign(weak, b"x"))):
        with pytest.raises(ForgedMessage, match="BJCH"):
            verify("BJCH", public_bytes(key), signature, b"x")
    with pytest.raises(ForgedMessage):
        verify("BJCH", public_bytes(generate_private_key(SECP256R1())), b"", b"x")
    with pytest.raises(ForgedMessage):
        verify("BJCH", b"no key", b"", b"x")
