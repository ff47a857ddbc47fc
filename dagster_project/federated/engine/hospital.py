"""A hospital's answers to the coordinator's requests: a participant, and what it computes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy.typing as npt

from dagster_project.federated.engine.coordination import ANNOUNCE, CLOSE, CONFIRMED, GREET, PART
from dagster_project.federated.engine.envelopes import ANSWER, REFUSED, pack, unpack
from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.participant import Participant
from dagster_project.federated.refusals import OutOfOrder, Refusal, UnreadableMessage

Computation = Generator[npt.ArrayLike, Floats, dict[str, Any]]
"""Yields what goes into the next sum, gets the sum, and returns the result."""


class HospitalSide:
    """One hospital in one run; after a refusal it answers nothing more."""

    def __init__(self, participant: Participant, computation: Computation) -> None:
        self._participant, self._computation = participant, computation
        self._values: npt.ArrayLike | None = None
        self._ended = False
        self.result: dict[str, Any] | None = None
        self.refusal: Exception | None = None

    def answer(self, name: str, number: int, content: bytes) -> bytes:
        """The answer to a request, or the name of the refusal in its place.

        The sentences of a refusal stay here (`refusal`), and so does what went wrong otherwise: the
        text of a fault could hold a value.
        """
        try:
            if self._ended:
                raise OutOfOrder
            return pack({ANSWER: self._answer(name, number, content)})
        except Exception as error:
            self._ended, self.refusal = True, self.refusal or error
            cause = type(error).__name__ if isinstance(error, Refusal) else "Fault"
            return pack({REFUSED: cause.encode()})

    def _answer(self, name: str, number: int, content: bytes) -> bytes:
        if name == ANNOUNCE:
            return self._participant.announcement()
        if name == GREET:
            return pack(self._participant.greet(list(unpack(content).values())))
        if name == PART:
            self._take(number, content)
            assert self._values is not None
            return self._participant.part(number, self._values)
        if name == CLOSE:
            self._open(content)
            if self.result is None:
                raise OutOfOrder
            self._ended = True
            return CONFIRMED
        raise UnreadableMessage

    def _take(self, number: int, content: bytes) -> None:
        """What comes with a round: greetings with the first, the sum before with each other."""
        if number == 1:
            own, sent = self._participant.hospital, unpack(content)
            self._participant.hear(
                {sender: _to(own, all_of) for sender, all_of in sent.items() if sender != own}
            )
            self._values = next(self._computation)
        else:
            self._open(content)
        if self.result is not None:
            raise OutOfOrder

    def _open(self, content: bytes) -> None:
        total = self._participant.open(content)
        try:
            self._values = self._computation.send(total)
        except StopIteration as done:
            self.result = done.value


def _to(hospital: str, greetings: bytes) -> bytes:
    found = unpack(greetings).get(hospital)
    if found is None:
        raise UnreadableMessage
    return found
