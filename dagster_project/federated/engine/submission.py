"""The coordinator's operator: submits a run to the coordinator's process and follows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dagster_project.federated.engine.certificates import OPERATOR
from dagster_project.federated.engine.coordination import SILENT
from dagster_project.federated.engine.outcomes import DONE, FAILED, Outcome, read_outcome
from dagster_project.federated.refusals import EngineFailed, HospitalFailed

POLL_S = 0.3
ASK_S = 2.0
"""How often the coordinator's process is asked for the state of a job."""


@contextmanager
def session(kit: Path, timeout_s: float) -> Iterator[Any]:
    """Connected to the coordinator's process as its operator.

    Raises
    ------
    EngineFailed
    """
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    try:
        opened = new_secure_session(OPERATOR, str(kit), timeout=timeout_s)
    except Exception as error:
        raise EngineFailed(
            f"the coordinator's process does not answer ({type(error).__name__}); start "
            "`lakehouse federated serve`, and look at its log in this home",
            f"协调方进程无应答（{type(error).__name__}）；请启动 `lakehouse federated serve` "
            "并查看本目录日志",
        ) from None
    try:
        yield opened
    finally:
        with suppress(Exception):
            opened.close()


def connected(opened: Any) -> set[str]:
    """Hospitals that are connected."""
    return {client.name for client in opened.get_connected_client_list()}


def await_hospitals(opened: Any, codes: tuple[str, ...], timeout_s: float) -> None:
    """Wait until all hospitals of a run are connected.

    Raises
    ------
    HospitalFailed
        Names those that are not.
    """
    end = time.monotonic() + timeout_s
    while missing := sorted(set(codes) - connected(opened)):
        if time.monotonic() > end:
            raise HospitalFailed(", ".join(missing), "is not connected", "未连接")
        time.sleep(POLL_S)


def follow(
    opened: Any, job: Path, file: Path, timeout_s: float, progress: Callable[[Outcome], None]
) -> Outcome:
    """Submit a job, and wait for its end.

    Parameters
    ----------
    job
        As `write_job` has it.
    file
        Of the outcome that the controller writes.
    timeout_s
        Of the start alone; each request has a timeout of its own.
    progress
        Gets each new state.

    Raises
    ------
    HospitalFailed, EngineFailed
        Where the run did not end well; the job is ended.
    """
    number = opened.submit_job(str(job))
    try:
        return _followed(opened, number, file, timeout_s, progress)
    except BaseException:
        with suppress(Exception):
            opened.abort_job(number)
        raise


def _followed(
    opened: Any, number: str, file: Path, timeout_s: float, progress: Callable[[Outcome], None]
) -> Outcome:
    seen: Outcome | None = None
    started = asked = time.monotonic()
    while True:
        found = read_outcome(file)
        if found is not None and found != seen:
            seen = found
            progress(found)
        if found is not None and found.state == DONE:
            return found
        if found is not None and found.state == FAILED:
            raise RunFailed(found)
        now = time.monotonic()
        if now - asked > ASK_S:
            asked = now
            _check_job(opened.get_job_meta(number), file)
        if found is None and now - started > timeout_s:
            raise EngineFailed(
                "the run did not start in time; look at the coordinator's log in this home",
                "运行未按时启动；请查看本目录中协调方日志",
            )
        time.sleep(POLL_S)


class RunFailed(EngineFailed):
    """A run that the coordinator has ended; it names the hospital."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.en, outcome.zh)


def _check_job(meta: dict[str, Any], file: Path) -> None:
    """A job that ended without the controller's word was refused before it started."""
    status = str(meta.get("status", ""))
    found = read_outcome(file)
    if not status.startswith("FINISHED") or (found and found.state in {DONE, FAILED}):
        return
    details = [str(d) for d in meta.get("job_deploy_detail", []) if not str(d).endswith(": OK")]
    refused = sorted({d.split(":")[0] for d in details if ": " in d and d.split(":")[0].isupper()})
    if refused:
        raise HospitalFailed(", ".join(refused), "has refused the job", "已拒绝该任务")
    if found is not None:
        raise HospitalFailed("a hospital", *SILENT)
    raise EngineFailed(
        f"the run has ended without a result ({status}); look at the coordinator's log",
        f"运行结束但无结果（{status}）；请查看本目录中协调方日志",
    )
