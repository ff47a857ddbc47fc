"""Whole runs of several hospitals through bytes: what is summed, and what a hospital refuses."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.counts import CountsByArm, rows_of
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.key_agreement import Party, Run
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.federated.logistic import descend, gradients
from dagster_project.federated.messages import (
    part_from_bytes,
    part_to_bytes,
    total_from_bytes,
    total_to_bytes,
)
from dagster_project.federated.noise import noise_of_sum
from dagster_project.federated.noisy_counts import read_counts
from dagster_project.federated.participant import Participant, check_clocks
from dagster_project.federated.refusals import (
    BudgetSpent,
    ClockOff,
    FailedCheck,
    ForgedMessage,
    HospitalMissing,
    LedgerRolledBack,
    NotFinite,
    OtherColumns,
    OtherHospitals,
    OtherRound,
    OutOfOrder,
    PlanNotAllowed,
    RoundSpent,
    SubstitutedKey,
    TooFewHospitals,
    UnreadableMessage,
    WrongLength,
)
from dagster_project.federated.secure_sum import Part, Total, add_parts
from tests.federated.hospitals import KEYS, PINNED
from tests.federated.plans import CODES, COUNTS, LOGISTIC, plan_of
from tests.federated.splits import split

LONGER = {**LOGISTIC, "patients": 120, "steps": 6}


class Study:
    """Hospitals with their ledgers, and a coordinator that carries their bytes."""

    def __init__(self, folder, codes=CODES, epsilon=3.0):
        self.folder, self.codes = folder, codes
        self.ledgers = {
            code: Ledger.create(folder / code, code, Budget(epsilon, 1e-5)) for code in codes
        }

    def allow(self, plan):
        for code in plan.plan.hospitals:
            self.ledgers[code].allow(plan.digest)

    def run_of(self, plan, name="run-1"):
        return Run(name, plan.digest, tuple((code, PINNED[code]) for code in plan.plan.hospitals))

    def enter(self, plan, name="run-1", cohort="c" * 64):
        run = self.run_of(plan, name)
        return {
            code: Participant(plan, run, code, KEYS[code], self.ledgers[code], cohort)
            for code in run.codes
        }

    def met(self, plan, name="run-1", cohort="c" * 64):
        members = self.enter(plan, name, cohort)
        greetings = greet(members)
        for code, member in members.items():
            member.hear(
                {sender: sent[code] for sender, sent in greetings.items() if sender != code}
            )
        return members


def greet(members):
    announcements = [member.announcement() for member in members.values()]
    return {code: member.greet(announcements) for code, member in members.items()}


def coordinate(members, parts):
    """What the coordinator does with the bytes of a round."""
    read = [part_from_bytes(part) for part in parts]
    run = next(iter(members.values())).run
    return total_to_bytes(add_parts(run, read[0].number, read[0].length, read))


def a_round(members, number, values):
    parts = [m.part(number, v) for m, v in zip(members.values(), values, strict=True)]
    total = coordinate(members, parts)
    opened = [member.open(total) for member in members.values()]
    assert all(np.array_equal(o, opened[0]) for o in opened)
    return opened[0]


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture
def plan(study):
    made = plan_of()
    study.allow(made)
    return made


# -- what is summed --------------------------------------------------------------------------------


def test_counts_of_three_hospitals(study, plan):
    members = study.met(plan)
    assert a_round(members, 1, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]).tolist() == [12, 15, 18]
    for ledger in study.ledgers.values():
        assert ledger.account().exact_steps == 1
        assert [r["event"] for r in ledger.records()] == ["opened", "allowed", "others", "spent"]


def test_a_model_of_eight_hospitals_is_that_of_all_patients(tmp_path):
    codes = tuple(sorted(PINNED))
    study, plan = Study(tmp_path, codes), plan_of(codes, logistic=LONGER)
    study.allow(plan)
    members, model = study.met(plan), plan.asked.model()
    random = np.random.default_rng(2)
    values = random.normal(0, 1, (120, 2))
    labels = random.random(120) < 1 / (1 + np.exp(-values[:, 0]))
    rows = split(120, 8, random)
    federated = descend(
        model,
        lambda number, weights: a_round(
            members, number, [gradients(model, weights, values[r], labels[r]) for r in rows]
        ),
    )
    pooled = descend(model, lambda _, w: gradients(model, w, values, labels).sum(axis=0))
    np.testing.assert_allclose(federated, pooled, atol=1e-6)


def test_the_noise_is_the_plans_and_one_for_all_hospitals(tmp_path):
    columns = {"columns": [f"c{i}" for i in range(99)], "centres": [0] * 99, "units": [1] * 99}
    asked = {**LONGER, **columns, "clip": 2.0, "steps": 10, "epsilon": 15.0}
    study, plan = Study(tmp_path, epsilon=20.0), plan_of(logistic=asked)
    study.allow(plan)
    members = study.met(plan)
    sums = [a_round(members, number, [np.zeros((0, 100))] * 3) for number in range(1, 11)]
    expected = noise_of_sum(2.0 / plan.asked.mu, 3)
    assert np.std(sums) == pytest.approx(expected, rel=0.1)
    assert study.ledgers["BJCH"].account().epsilon == pytest.approx(15.0)


def test_counts_with_noise_take_a_row_a_patient(study):
    plan = plan_of(counts={**COUNTS, "epsilon": 1.0})
    study.allow(plan)
    members = study.met(plan)
    query = CountsByArm(("A", "B", "C"))
    rows = rows_of(query.slots("BJCH", ["A"] * 60 + ["B"] * 30), 3)
    with pytest.raises(OtherColumns):
        members["BJCH"].part(1, query.vector("BJCH", ["A"]))
    sd = noise_of_sum(plan.asked.noise_sd, 3)
    found = read_counts(query, a_round(members, 1, [rows] * 3), sd)["all"]
    for arm, n in (("A", 180), ("B", 90), ("C", 0)):
        assert found[arm].value == pytest.approx(n, abs=6 * sd)
    assert study.ledgers["SHFD"].account().epsilon == pytest.approx(1.0)


def test_rows_are_clipped_at_the_hospital_whatever_is_handed_over(tmp_path):
    study, plan = Study(tmp_path), plan_of(logistic=LONGER)
    study.allow(plan)
    huge = [[[3e5, 0, 0], [0, 4e5, 0]], [], []]
    total = a_round(study.met(plan), 1, huge)
    assert total == pytest.approx([1.0, 1.0, 0.0], abs=1e-5)


# -- what a hospital refuses -----------------------------------------------------------------------


def test_a_plan_that_is_not_allowed_or_not_that_of_the_run(study, plan):
    other = plan_of(counts={**COUNTS, "arms": ["A", "B"]})
    with pytest.raises(PlanNotAllowed, match=other.digest[:12]):
        study.enter(other)
    with pytest.raises(PlanNotAllowed):
        Participant(
            plan, study.run_of(other), "BJCH", KEYS["BJCH"], study.ledgers["BJCH"], "c" * 64
        )
    more = Run("r", plan.digest, tuple((c, PINNED[c]) for c in (*CODES, "WHTJ")))
    with pytest.raises(PlanNotAllowed):
        Participant(plan, more, "BJCH", KEYS["BJCH"], study.ledgers["BJCH"], "c" * 64)


def test_fewer_than_three_hospitals(plan):
    with pytest.raises(TooFewHospitals):
        Run("r", plan.digest, tuple((code, PINNED[code]) for code in CODES[:2]))


def test_a_key_that_the_coordinator_substitutes(study, plan):
    members = study.enter(plan)
    run, forger = study.run_of(plan), Ed25519PrivateKey.generate()
    forged = Run(
        run.name, run.plan, (*run.hospitals[:2], ("SHFD", fingerprint(public_bytes(forger))))
    )
    substitute = Party.enter(forged, "SHFD", forger).announcement.to_bytes()
    given = [members["BJCH"].announcement(), members["GZSM"].announcement(), substitute]
    for code in ("BJCH", "GZSM"):
        with pytest.raises(SubstitutedKey, match="SHFD"):
            members[code].greet(given)


def test_greetings_that_are_missing_or_of_another(study, plan):
    members = study.enter(plan)
    greetings = greet(members)
    to_bjch = {code: greetings[code]["BJCH"] for code in ("GZSM", "SHFD")}
    with pytest.raises(HospitalMissing, match="SHFD"):
        members["BJCH"].hear({"GZSM": to_bjch["GZSM"]})
    with pytest.raises(ForgedMessage, match="GZSM"):
        members["BJCH"].hear({"GZSM": to_bjch["SHFD"], "SHFD": to_bjch["SHFD"]})
    with pytest.raises(ForgedMessage, match="SHFD"):
        members["BJCH"].hear({**to_bjch, "SHFD": greetings["SHFD"]["GZSM"]})
    members["BJCH"].hear(to_bjch)


def test_greetings_show_neither_keys_nor_ledger(study, plan):
    for sent in greet(study.enter(plan)).values():
        for content in sent.values():
            assert b"ledger" not in content
            assert study.ledgers["BJCH"].hashes()[0].encode() not in content


def test_another_hospital_whose_ledger_lost_lines(study, plan, tmp_path):
    older = {f.name: f.read_bytes() for f in (tmp_path / "GZSM").iterdir()}
    a_round(study.met(plan), 1, [[1, 1, 1]] * 3)
    study.met(plan, "run-2")
    for name, content in older.items():
        (tmp_path / "GZSM" / name).write_bytes(content)
    members = study.enter(plan, "run-3")
    greetings = greet(members)
    for code in ("BJCH", "SHFD"):
        with pytest.raises(LedgerRolledBack, match="GZSM has 2 lines"):
            members[code].hear({o: sent[code] for o, sent in greetings.items() if o != code})


def at_once(study, plan, seconds):
    """Greetings of hospitals whose clocks are off by so many seconds, heard by each."""
    run, moment = study.run_of(plan), dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    members = {}
    for code, off in zip(run.codes, seconds, strict=True):
        clock = moment + dt.timedelta(seconds=off)
        members[code] = Participant(
            plan, run, code, KEYS[code], study.ledgers[code], "c" * 64, now=lambda t=clock: t
        )
    sent = greet(members)
    for code, member in members.items():
        member.hear({sender: given[code] for sender, given in sent.items() if sender != code})


def test_clocks_that_differ_by_less_than_five_minutes_do(study, plan):
    at_once(study, plan, (0, 299, -299))


@pytest.mark.parametrize("seconds", [(0, 301, 0), (0, -86400, 10), (-299, 302, 0)])
def test_a_clock_that_is_five_minutes_off_is_named_by_every_hospital(study, plan, seconds):
    with pytest.raises(ClockOff, match=r"clock of GZSM is") as found:
        at_once(study, plan, seconds)
    assert "GZSM 的时钟" in found.value.zh
    assert all(ledger.account().exact_steps == 0 for ledger in study.ledgers.values())


def test_a_time_that_is_no_number_is_off():
    with pytest.raises(ClockOff, match="SHFD"):
        check_clocks({"BJCH": 0.0, "GZSM": 1.0, "SHFD": float("nan")})


def test_a_run_of_the_same_name_again(study, plan):
    a_round(study.met(plan), 1, [[1, 1, 1]] * 3)
    for code, member in study.met(plan).items():
        with pytest.raises(RoundSpent):
            member.part(1, [1, 1, 1])
        assert study.ledgers[code].account().exact_steps == 1


def test_the_same_query_with_one_hospital_fewer(tmp_path):
    four = (*CODES, "WHTJ")
    study = Study(tmp_path, four)
    for codes in (four, CODES):
        study.allow(plan_of(codes))
    a_round(study.met(plan_of(four)), 1, [[1, 1, 1]] * 4)
    for member in study.met(plan_of(CODES), "run-2").values():
        with pytest.raises(OtherHospitals, match="WHTJ"):
            member.part(1, [1, 1, 1])


def test_an_overspent_budget_at_the_first_step_beyond_it(tmp_path):
    study, plan = Study(tmp_path, epsilon=1.0), plan_of(logistic={**LONGER, "epsilon": 1.5})
    study.allow(plan)
    members = study.met(plan)
    for number in range(1, 4):
        try:
            a_round(members, number, [np.zeros((1, 3))] * 3)
        except BudgetSpent:
            break
    assert 0.5 < study.ledgers["BJCH"].account().epsilon <= 1.0
    with pytest.raises(BudgetSpent):
        members["BJCH"].part(number, np.zeros((1, 3)))


def test_more_rounds_than_the_plan_has_or_another_than_the_next(study, plan):
    members = study.met(plan)
    for number in (0, 2):
        with pytest.raises(OtherRound):
            members["BJCH"].part(number, [1, 1, 1])
    a_round(members, 1, [[1, 1, 1]] * 3)
    with pytest.raises(OtherRound):
        members["BJCH"].part(2, [1, 1, 1])


def test_values_that_cannot_be_summed_spend_nothing(study, plan, tmp_path):
    member = study.met(plan)["BJCH"]
    for values, refusal in (
        ([1, np.nan, 1], NotFinite),
        ([1] * 4, WrongLength),
        ([], WrongLength),
        ([[1, 1, 1]], WrongLength),
    ):
        with pytest.raises(refusal):
            member.part(1, values)
    assert study.ledgers["BJCH"].account().exact_steps == 0
    noisy = Study(tmp_path / "noisy")
    model = plan_of(logistic=LONGER)
    noisy.allow(model)
    with pytest.raises(OtherColumns):
        noisy.met(model)["BJCH"].part(1, [1.0, 1.0, 1.0])


def test_steps_out_of_order(study, plan):
    members = study.enter(plan)
    member = members["BJCH"]
    for early in (
        lambda: member.hear({}),
        lambda: member.part(1, [1, 1, 1]),
        lambda: member.open(b""),
    ):
        with pytest.raises(OutOfOrder):
            early()
    members = study.met(plan, "run-2")
    part = members["BJCH"].part(1, [1, 1, 1])
    assert part_from_bytes(part).hospital == "BJCH"
    for late in (
        lambda: members["BJCH"].greet([]),
        lambda: members["BJCH"].hear({}),
        lambda: members["BJCH"].part(1, [1, 1, 1]),
    ):
        with pytest.raises(OutOfOrder):
            late()


def test_a_sum_that_is_not_of_all_gives_no_number_and_can_still_come(study, plan):
    members = study.met(plan)
    parts = [member.part(1, [1, 2, 3]) for member in members.values()]
    right = total_from_bytes(coordinate(members, parts))
    wrong = Total(right.run, 1, 3, part_from_bytes(parts[0]).ciphertexts)
    with pytest.raises(FailedCheck):
        members["BJCH"].open(total_to_bytes(wrong))
    assert members["BJCH"].open(total_to_bytes(right)).tolist() == [3, 6, 9]


# -- bytes -----------------------------------------------------------------------------------------


def test_messages_survive_their_way():
    part = Part("BJCH", "a" * 64, 3, 7, (b"one", b"", b"\n{}"))
    total = Total("a" * 64, 3, 7, (b"x" * 1000,))
    assert part_from_bytes(part_to_bytes(part)) == part
    assert total_from_bytes(total_to_bytes(total)) == total


HEADER = {"hospital": "BJCH", "run": "r", "number": 1, "length": 1, "sizes": [3]}


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [4]},
        {"sizes": [-1, 4]},
        {"sizes": [True, 2]},
        {"sizes": "abc"},
        {"sizes": [2**40]},
        {"number": -1},
        {"number": 1.0},
        {"number": 2**40},
        {"length": None},
        {"run": 5},
        {"hospital": []},
        {"more": 1},
    ],
)
def test_headers_that_are_none_are_refused(change):
    data = json.dumps({**HEADER, **change}).encode() + b"\nabc"
    with pytest.raises(UnreadableMessage):
        part_from_bytes(data)


@pytest.mark.parametrize("read", [part_from_bytes, total_from_bytes])
@settings(max_examples=100)
@given(data=st.binary(max_size=200), cut=st.integers(0, 60))
def test_any_bytes_are_a_message_or_refused(read, data, cut):
    whole = part_to_bytes(Part("BJCH", "a" * 64, 3, 7, (b"one", b"two")))
    for content in (data, whole[:cut] + data, whole[:-1], b"[" * 100_000):
        with pytest.raises(UnreadableMessage):
            read(content)


# -- what the coordinator holds --------------------------------------------------------------------

PLANTED = (271828.0, 31415.5, 16180.25)
"""Values of one hospital that no random bytes are likely to contain."""


def spellings(value):
    """A value as bytes may hold it: text, floats and fixed point of either order of bytes."""
    steps = int(value * 2**20)
    yield from (str(value).encode(), str(int(value)).encode(), str(steps).encode())
    for order in "<>":
        yield from (np.array(value, f"{order}f{size}").tobytes() for size in (4, 8))
        yield np.array(steps, f"{order}i8").tobytes()


def hits(held):
    return sum(spelt in data for data in held for v in PLANTED for spelt in spellings(v))


def test_what_the_coordinator_holds_has_no_planted_value_and_a_plain_message_is_caught(study, plan):
    members = study.enter(plan)
    held = [member.announcement() for member in members.values()]
    greetings = {code: member.greet(list(held)) for code, member in members.items()}
    held += [content for sent in greetings.values() for content in sent.values()]
    for code, member in members.items():
        member.hear({o: sent[code] for o, sent in greetings.items() if o != code})
    parts = [member.part(1, PLANTED) for member in members.values()]
    total = coordinate(members, parts)
    held += [*parts, total]
    assert members["BJCH"].open(total).tolist() == [3 * v for v in PLANTED]
    assert sum(map(len, held)) > 3 * 400 * 1024
    assert hits(held) == 0
    for plain in (json.dumps(PLANTED).encode(), np.array(PLANTED).tobytes()):
        assert hits([*held, b"header" + plain]) >= 3
