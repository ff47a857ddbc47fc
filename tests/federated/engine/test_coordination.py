"""A run through requests and answers in one process: what is summed, and who is blamed."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.federated.engine.coordination import requests
from dagster_project.federated.engine.envelopes import ANSWER, REFUSED, pack, unpack
from dagster_project.federated.engine.hospital import HospitalSide
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.federated.messages import part_from_bytes, part_to_bytes
from dagster_project.federated.participant import Participant
from dagster_project.federated.refusals import (
    HospitalFailed,
    NotFinite,
    OutOfOrder,
    UnreadableMessage,
)
from dagster_project.federated.secure_sum import Part
from tests.federated.hospitals import KEYS, PINNED
from tests.federated.plans import CODES, LOGISTIC, plan_of


def once(values):
    """A computation of one round."""
    total = yield values
    return {"sum": total.tolist()}


def again_and_again(rounds):
    """A computation whose values come from the sum before."""
    values = np.array([[0.1, 0.2, 0.3]])
    for _ in range(rounds):
        total = yield values
        values = total[None, :] / 10
    return {"sum": total.tolist()}


def as_it_comes(_request, answers):
    return answers


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


class Study:
    """Hospitals of a plan of counts, each with a ledger, in one process."""

    def __init__(self, folder, plan=None, name="run-1"):
        self.plan = plan or plan_of()
        self.run = Run(name, self.plan.digest, tuple((code, PINNED[code]) for code in CODES))
        self.ledgers = {
            code: Ledger.create(folder / code, code, Budget(3.0, 1e-5)) for code in CODES
        }
        for ledger in self.ledgers.values():
            ledger.allow(self.plan.digest)

    def sides(self, computations):
        return {
            code: HospitalSide(
                Participant(self.plan, self.run, code, KEYS[code], self.ledgers[code], "c" * 64),
                computation,
            )
            for code, computation in zip(CODES, computations, strict=True)
        }

    def carry(self, sides, change=as_it_comes):
        """What the engine does, with a hook for what goes wrong on the way."""
        steps = requests(self.run, self.plan.asked.rounds)
        request = next(steps)
        while True:
            answers = {
                code: side.answer(request.name, request.number, request.content)
                for code, side in sides.items()
            }
            try:
                request = steps.send(change(request, answers))
            except StopIteration:
                return


def test_each_hospital_has_the_exact_sum(study):
    sides = study.sides([once([1, 2, 3]), once([4, 5, 6]), once([7, 8, 9])])
    study.carry(sides)
    assert [side.result for side in sides.values()] == [{"sum": [12, 15, 18]}] * 3


def test_rounds_that_follow_from_each_other(tmp_path):
    study = Study(tmp_path, plan_of(logistic=LOGISTIC))
    sides = study.sides([again_and_again(4) for _ in CODES])
    study.carry(sides)
    wanted = np.array([0.1, 0.2, 0.3]) * 3 * (3 / 10) ** 3
    for side in sides.values():
        assert side.result["sum"] == pytest.approx(wanted, abs=1e-5)


def fails(study, change, sides=None):
    sides = sides or study.sides([once([1, 2, 3]) for _ in CODES])
    with pytest.raises(HospitalFailed) as found:
        study.carry(sides, change)
    return found.value, sides


@pytest.mark.parametrize("step", ["announce", "greet", "part", "close"])
def test_a_hospital_that_falls_silent_is_named_and_nothing_is_opened(study, step):
    def change(request, answers):
        return {k: v for k, v in answers.items() if request.name != step or k != "GZSM"}

    failure, sides = fails(study, change)
    assert failure.hospital == "GZSM"
    if step != "close":
        assert all(side.result is None for side in sides.values())


GARBAGE = {
    "nothing": b"",
    "no envelope": b"\x00\xff\n{}",
    "no answer in it": pack({"other": b"x"}),
    "two answers": pack({ANSWER: b"x", "more": b"y"}),
    "garbage in it": pack({ANSWER: b"garbage"}),
    "deep": b"[" * 70000,
}


@pytest.mark.parametrize("step", ["announce", "greet", "part", "close"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_named_at_each_step(study, step, garbage):
    failure, _ = fails(study, lambda r, a: {**a, "SHFD": garbage} if r.name == step else a)
    assert failure.hospital == "SHFD"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: Part(p.hospital, "f" * 64, p.number, p.length, p.ciphertexts),
        lambda p: Part(p.hospital, p.run, 2, p.length, p.ciphertexts),
        lambda p: Part(p.hospital, p.run, p.number, 4, p.ciphertexts),
        lambda p: Part(p.hospital, p.run, p.number, p.length, (b"no ciphertext",)),
        lambda p: Part(p.hospital, p.run, p.number, p.length, (p.ciphertexts[0][:-9],)),
        lambda p: Part(p.hospital, p.run, p.number, p.length, p.ciphertexts * 2),
        lambda p: Part("BJCH", p.run, p.number, p.length, p.ciphertexts),
    ],
    ids=["run", "round", "length", "bytes", "cut", "twice", "another's name"],
)
def test_a_part_that_cannot_be_added_is_blamed_on_its_hospital(study, change):
    def spoiled(request, answers):
        if request.name != "part":
            return answers
        part = change(part_from_bytes(unpack(answers["GZSM"])[ANSWER]))
        return {**answers, "GZSM": pack({ANSWER: part_to_bytes(part)})}

    failure, sides = fails(study, spoiled)
    assert failure.hospital == "GZSM"
    assert all(side.result is None for side in sides.values())


def test_a_part_of_one_in_anothers_place_gives_no_number(study):
    """Its bytes are sound, so that only the check slot at the hospitals shows it."""

    def doubled(request, answers):
        if request.name != "part":
            return answers
        p = part_from_bytes(unpack(answers["BJCH"])[ANSWER])
        twin = Part("GZSM", p.run, p.number, p.length, p.ciphertexts)
        return {**answers, "GZSM": pack({ANSWER: part_to_bytes(twin)})}

    failure, sides = fails(study, doubled)
    assert "FailedCheck" in str(failure)
    assert all(side.result is None for side in sides.values())


def test_a_refusal_is_named_and_its_sentences_stay_at_the_hospital(study):
    sides = study.sides([once([1, 2, 3]), once([1, float("nan"), 3]), once([1, 2, 3])])
    failure, _ = fails(study, as_it_comes, sides)
    assert failure.hospital == "GZSM"
    assert "NotFinite" in failure.en
    assert isinstance(sides["GZSM"].refusal, NotFinite)
    assert study.ledgers["GZSM"].account().exact_steps == 0


def test_the_text_of_a_fault_does_not_leave_the_hospital(study):
    def broken():
        raise KeyError("P0417")
        yield

    sides = study.sides([once([1, 2, 3]), broken(), once([1, 2, 3])])
    seen = []
    failure, _ = fails(study, lambda _, a: seen.append(a) or a, sides)
    assert "P0417" not in str(failure)
    assert b"P0417" not in b"".join(v for a in seen for v in a.values())
    assert unpack(seen[-1]["GZSM"]) == {REFUSED: b"Fault"}


def test_what_a_hospital_calls_its_refusal_is_not_repeated_as_it_comes(study):
    odd = pack({REFUSED: b"Ignore this\x1b[2J and open the door"})
    failure, _ = fails(study, lambda _, a: {**a, "SHFD": odd})
    assert "door" not in str(failure)
    assert "(Refusal)" in failure.en


def test_after_a_refusal_a_hospital_answers_nothing_more(study):
    side = study.sides([once([1, 2, 3]) for _ in CODES])["BJCH"]
    assert unpack(side.answer("close", 1, b"")) == {REFUSED: b"OutOfOrder"}
    assert unpack(side.answer("announce", 0, b"")) == {REFUSED: b"OutOfOrder"}
    assert isinstance(side.refusal, OutOfOrder)


def test_requests_by_another_name_or_without_greetings_are_refused(study):
    sides = study.sides([once([1, 2, 3]) for _ in CODES])
    assert unpack(sides["BJCH"].answer("shell", 0, b"ls")) == {REFUSED: b"UnreadableMessage"}
    assert unpack(sides["GZSM"].answer("part", 1, b"")) == {REFUSED: b"UnreadableMessage"}


def test_what_the_coordinator_carries_shows_no_value(study):
    seen = []
    sides = study.sides([once([271828, 2, 3]), once([314159, 5, 6]), once([7, 8, 9])])
    study.carry(sides, lambda r, a: seen.extend([r.content, *a.values()]) or a)
    carried = b"".join(seen)
    for planted in (271828, 314159, 271828 + 314159 + 7):
        assert str(planted).encode() not in carried
        assert np.float64(planted).tobytes() not in carried
        assert (planted << 20).to_bytes(8, "little") not in carried


@given(st.dictionaries(st.text(max_size=8), st.binary(max_size=40), max_size=5))
def test_envelopes_give_back_what_they_hold(contents):
    assert unpack(pack(contents)) == contents


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_refused(data):
    with suppress(UnreadableMessage):
        assert all(isinstance(content, bytes) for content in unpack(data).values())


@pytest.mark.parametrize(
    "header",
    [[["a", 1], ["a", 0]], [["a", -1]], [["a", True]], [["a", 2]], [["a"]], {"a": 1}, [[1, 1]]],
)
def test_envelopes_that_are_none(header):
    with pytest.raises(UnreadableMessage):
        unpack(json.dumps(header).encode() + b"\nx")
