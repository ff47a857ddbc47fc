"""NVFlare's executor of a run, in a hospital's job process."""

from __future__ import annotations

import time

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from dagster_project.federated.engine.certificates import read_key
from dagster_project.federated.engine.computations import computation, rows_at
from dagster_project.federated.engine.controller import CONTENT, NUMBER
from dagster_project.federated.engine.envelopes import REFUSED, pack
from dagster_project.federated.engine.hospital import HospitalSide
from dagster_project.federated.engine.jobs import read_sections
from dagster_project.federated.engine.outcomes import DONE, FAILED, RUNNING, Outcome, write_outcome
from dagster_project.federated.engine.places import Places
from dagster_project.federated.ledger import Ledger
from dagster_project.federated.participant import Participant
from dagster_project.federated.pins import Pins
from dagster_project.federated.plans import Plan
from dagster_project.federated.refusals import Refusal
from dagster_project.lake.home import find_home

ENDED = (
    "the coordinator has ended the run before its last sum; no number was read",
    "协调方在最后一次求和前结束了运行；未读取任何数值",
)
FAULT = (
    "the run has failed by a fault of the program or of its installation; no number was read. "
    "Look at the log in this home",
    "程序或安装故障导致运行失败；未读取任何数值。请查看本目录日志",
)


class HospitalExecutor(Executor):  # type: ignore[misc]  # NVFlare has no types
    """Answers the coordinator's requests from this hospital's home."""

    def __init__(self, name: str, plan: str) -> None:
        """From a job's configuration (`jobs.client_configuration`)."""
        super().__init__()
        self._name, self._plan = name, read_sections(name, plan)
        self._places = Places(find_home().federated)
        self._side: HospitalSide | None = None
        self._ended = False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:  # noqa: ARG002
        """Note where the run ends from outside."""
        if event_type in {EventType.ABORT_TASK, EventType.END_RUN} and not self._ended:
            self._end(Outcome(FAILED, en=ENDED[0], zh=ENDED[1]))

    def execute(
        self,
        task_name: str,
        shareable: Shareable,
        fl_ctx: FLContext,  # noqa: ARG002 - NVFlare passes them
        abort_signal: Signal,  # noqa: ARG002
    ) -> Shareable:
        """The answer to one request; nothing but bytes and the round's number travels."""
        number, content = shareable.get(NUMBER), shareable.get(CONTENT)
        sound = type(number) is int and isinstance(content, bytes)
        answer = Shareable()
        answer[NUMBER] = number if sound else 0
        answer[CONTENT] = self._answer(task_name, number, content) if sound else b""
        return answer

    def _answer(self, name: str, number: int, content: bytes) -> bytes:
        try:
            side = self._side = self._side or enter(self._places, self._name, self._plan)
        except Exception as error:
            self._fail(error)
            cause = type(error).__name__ if isinstance(error, Refusal) else "Fault"
            return pack({REFUSED: cause.encode()})
        answer = side.answer(name, number, content)
        if side.refusal is not None:
            self._fail(side.refusal)
        elif side.result is not None:
            self._end(Outcome(DONE, name, number, result=side.result))
        else:
            self._note(Outcome(RUNNING, name, number))
        return answer

    def _fail(self, error: Exception) -> None:
        en, zh = (error.en, error.zh) if isinstance(error, Refusal) else FAULT
        if not self._ended:
            self._end(Outcome(FAILED, en=en, zh=zh))

    def _end(self, outcome: Outcome) -> None:
        self._ended = True
        self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        rounds = self._plan.asked.rounds
        state = {**vars(outcome), "rounds": rounds, "cpu_s": time.process_time()}
        state["plan"] = self._plan.sections
        write_outcome(self._places.outcome(self._name), Outcome(**state))


def enter(places: Places, name: str, plan: Plan) -> HospitalSide:
    """A hospital's side of a run, with what lies in its home.

    Raises
    ------
    Refusal
        Where the plan is not allowed, a hospital is not pinned, or rows cannot be used.
    """
    ledger = Ledger(places.folder)
    hospital = ledger.account().hospital
    run = Pins(places.folder).run(plan, name)
    rows = rows_at(places, plan, hospital)
    participant = Participant(plan, run, hospital, read_key(places.key), ledger, rows.cohort)
    return HospitalSide(participant, computation(plan, hospital, rows))
