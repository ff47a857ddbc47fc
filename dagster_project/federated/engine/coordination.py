"""The coordinator's side of a run: which request follows which, and who failed.

1. `announce`: each hospital's signed key.
2. `greet`: all keys go to all; sealed greetings come back.
3. `part`, for each round of the plan: with the first go the greetings, with each later one the sum
   of the round before; the parts come back and are added.
4. `close`: the last sum goes to all, who confirm that they have opened it.

The coordinator has no key, and reads names of rounds and hospitals alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from dagster_project.federated.engine.envelopes import ANSWER, REFUSED, pack, unpack
from dagster_project.federated.key_agreement import Announcement, Run
from dagster_project.federated.messages import part_from_bytes, total_to_bytes
from dagster_project.federated.refusals import (
    HospitalFailed,
    OtherRound,
    Refusal,
    UnreadableCiphertext,
    UnreadableMessage,
    WrongLength,
)
from dagster_project.federated.secure_sum import Part, add_parts

ANNOUNCE, GREET, PART, CLOSE = "announce", "greet", "part", "close"
REQUESTS = (ANNOUNCE, GREET, PART, CLOSE)
CONFIRMED = b"opened"

LARGEST_ANSWER = 2**28
"""Bytes; a round of half a million values takes a tenth of it."""


@dataclass(frozen=True)
class Request:
    """What goes to every hospital alike: the request's name, the round's number, and bytes."""

    name: str
    number: int
    content: bytes = field(repr=False)


Answers = Mapping[str, bytes]
"""Bytes by hospital."""


def requests(run: Run, rounds: int) -> Generator[Request, Answers, None]:
    """All requests of a run in order; each wants the answers of all hospitals to the one before.

    Raises
    ------
    HospitalFailed
        Names the first hospital whose answer is none; nothing is requested after it.
    """
    announced = yield Request(ANNOUNCE, 0, b"")
    keys = _contents(run, announced)
    for hospital, key in keys.items():
        _check_announcement(hospital, key)
    greeted = yield Request(GREET, 0, pack(keys))
    greetings = _contents(run, greeted)
    for hospital, greeting in greetings.items():
        _check_greetings(run, hospital, greeting)
    content = pack(greetings)
    for number in range(1, rounds + 1):
        parts = yield Request(PART, number, content)
        content = _sum(run, number, _contents(run, parts))
    confirmed = yield Request(CLOSE, rounds, content)
    for hospital, confirmation in _contents(run, confirmed).items():
        if confirmation != CONFIRMED:
            raise HospitalFailed(hospital, *GARBLED)


GARBLED = ("sent what cannot be read", "发送了无法读取的内容")
SILENT = ("has not answered in time, or its process has ended", "未按时应答，或其进程已结束")


def _contents(run: Run, answers: Answers) -> dict[str, bytes]:
    """What each hospital answered, in the hospitals' order."""
    missing = [code for code in run.codes if code not in answers]
    if missing:
        raise HospitalFailed(", ".join(missing), *SILENT)
    return {code: _content(code, answers[code]) for code in run.codes}


def _content(hospital: str, answer: bytes) -> bytes:
    try:
        if len(answer) > LARGEST_ANSWER:
            raise UnreadableMessage
        found = unpack(answer)
    except UnreadableMessage:
        raise HospitalFailed(hospital, *GARBLED) from None
    if found.keys() == {REFUSED}:
        cause = found[REFUSED].decode("ascii", "replace")
        raise HospitalFailed(hospital, *_refused(cause))
    if found.keys() != {ANSWER}:
        raise HospitalFailed(hospital, *GARBLED)
    return found[ANSWER]


def _refused(cause: str) -> tuple[str, str]:
    """The name of a refusal alone may be repeated; its sentences are read at the hospital."""
    shown = cause if re.fullmatch(r"[A-Z][A-Za-z]{2,40}", cause) else "Refusal"
    return f"has refused ({shown})", f"已拒绝（{shown}）"


def _check_announcement(hospital: str, key: bytes) -> None:
    """Its signature is held to what is pinned, by the hospitals."""
    try:
        fits = Announcement.from_bytes(key).hospital == hospital
    except Refusal:
        fits = False
    if not fits:
        raise HospitalFailed(hospital, *GARBLED)


def _check_greetings(run: Run, hospital: str, greeting: bytes) -> None:
    try:
        fits = unpack(greeting).keys() == set(run.codes) - {hospital}
    except UnreadableMessage:
        fits = False
    if not fits:
        raise HospitalFailed(hospital, *GARBLED)


def _sum(run: Run, number: int, contents: Mapping[str, bytes]) -> bytes:
    parts = [_part(hospital, content) for hospital, content in contents.items()]
    length = Counter(part.length for part in parts).most_common(1)[0][0]
    try:
        return total_to_bytes(add_parts(run, number, length, parts))
    except Refusal:
        raise _blamed(run, number, length, parts) from None


def _part(hospital: str, content: bytes) -> Part:
    try:
        part = part_from_bytes(content)
    except UnreadableMessage:
        raise HospitalFailed(hospital, *GARBLED) from None
    if part.hospital != hospital:
        raise HospitalFailed(hospital, *GARBLED)
    return part


def _blamed(run: Run, number: int, length: int, parts: list[Part]) -> HospitalFailed:
    """Whose part cannot be added: each is tried beside itself in the others' place."""
    for part in parts:
        alone = [
            Part(code, part.run, part.number, part.length, part.ciphertexts) for code in run.codes
        ]
        try:
            add_parts(run, number, length, alone)
        except (OtherRound, WrongLength, UnreadableCiphertext):
            return HospitalFailed(
                part.hospital,
                "sent a part of another run, round or length, or one that is no ciphertext",
                "发送的部分属于其他运行、轮次或长度，或不是密文",
            )
    return HospitalFailed(", ".join(run.codes), *GARBLED)
