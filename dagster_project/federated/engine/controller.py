"""NVFlare's controller of a run, in the coordinator's job process."""

from __future__ import annotations

import time
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from dagster_project.federated.engine.coordination import ANNOUNCE, SILENT, Request, requests
from dagster_project.federated.engine.jobs import read_run
from dagster_project.federated.engine.outcomes import DONE, FAILED, RUNNING, Outcome, write_outcome
from dagster_project.federated.engine.places import Places
from dagster_project.federated.refusals import HospitalFailed
from dagster_project.lake.home import find_home

CONTENT, NUMBER = "content", "number"


class SumController(Controller):  # type: ignore[misc]  # NVFlare has no types
    """Carries requests and answers; where a hospital fails, the run fails by its name."""

    def __init__(self, run: str, rounds: int, timeout_s: int, start_s: int) -> None:
        """From a job's configuration (`jobs.server_configuration`)."""
        super().__init__(task_check_period=0.05)
        self._run, self._rounds = read_run(run), rounds
        self._timeout, self._start = timeout_s, start_s
        places = Places(find_home().federated)
        self._file = places.outcome(self._run.name, coordinator=True)

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is prepared."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is left over."""

    def process_result_of_unknown_task(self, *_: Any, **__: Any) -> None:
        """An answer that comes too late, or to nothing, is not read."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """All requests of the run in order."""
        try:
            self._carry(abort_signal, fl_ctx)
        except HospitalFailed as failure:
            self._note(Outcome(FAILED, rounds=self._rounds, en=failure.en, zh=failure.zh))
            self.system_panic(failure.en, fl_ctx)

    def _carry(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        steps = requests(self._run, self._rounds)
        request = next(steps)
        while True:
            self._note(Outcome(RUNNING, request.name, request.number, self._rounds))
            answers = self._answers(request, abort_signal, fl_ctx)
            try:
                request = steps.send(answers)
            except StopIteration:
                self._note(Outcome(DONE, request.name, request.number, self._rounds))
                return

    def _answers(
        self, request: Request, abort_signal: Signal, fl_ctx: FLContext
    ) -> dict[str, bytes]:
        answers: dict[str, bytes] = {}

        def received(client_task: ClientTask, **_: Any) -> None:
            content = (client_task.result or {}).get(CONTENT)
            answers[client_task.client.name] = content if isinstance(content, bytes) else b""
            client_task.result = None

        data = Shareable()
        data[CONTENT], data[NUMBER] = request.content, request.number
        timeout = self._start if request.name == ANNOUNCE else self._timeout
        task = Task(request.name, data, timeout=timeout, result_received_cb=received)
        codes = list(self._run.codes)
        try:
            self.broadcast_and_wait(task, fl_ctx, codes, len(codes), 0, abort_signal=abort_signal)
        except ValueError:
            raise HospitalFailed(", ".join(codes), *SILENT) from None
        return answers

    def _note(self, outcome: Outcome) -> None:
        state = {**vars(outcome), "cpu_s": time.process_time()}
        write_outcome(self._file, Outcome(**state))
