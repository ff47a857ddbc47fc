"""A run as a job of NVFlare: configuration of our controller and executor, and no code.

Configuration holds plan and run as one word of base64: NVFlare would take braces in a text for
variables of its own.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from pathlib import Path
from typing import Any

from dagster_project.federated.engine.coordination import REQUESTS
from dagster_project.federated.engine.places import write_closed
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.plans import Plan, parse_plan
from dagster_project.federated.refusals import UnreadableMessage

CONTROLLER = "dagster_project.federated.engine.controller.SumController"
EXECUTOR = "dagster_project.federated.engine.executor.HospitalExecutor"

APP = "run"
FETCH_INTERVAL_S = 0.2
"""How often a hospital looks for the next request; each look is a message of its own."""

START_S = 60
"""How long the coordinator waits at least for the first answers: processes start before them."""

NAME = r"[0-9a-f]{32}"


def new_name() -> str:
    """A name for a run, drawn."""
    return secrets.token_hex(16)


def write_job(folder: Path, plan: Plan, run: Run, timeout_s: int) -> Path:
    """A job as NVFlare submits it.

    Parameters
    ----------
    folder
        That it is written into; its name is the run's.
    timeout_s
        How long the coordinator waits for the answers to one request.
    """
    job = folder / run.name
    codes = list(run.codes)
    meta = {
        "name": run.name,
        "min_clients": len(codes),
        "mandatory_clients": codes,
        "deploy_map": {APP: ["server", *codes]},
    }
    config = job / APP / "config"
    for part in (job, job / APP, config):
        part.mkdir(mode=0o700)
    write_closed(job / "meta.json", json.dumps(meta).encode())
    for name, content in (
        ("config_fed_server.json", server_configuration(run, plan.asked.rounds, timeout_s)),
        ("config_fed_client.json", client_configuration(run.name, plan)),
    ):
        write_closed(config / name, json.dumps(content).encode())
    return job


def server_configuration(run: Run, rounds: int, timeout_s: int) -> dict[str, Any]:
    """What the coordinator's job process reads."""
    args = {
        "run": _word(run_content(run)),
        "rounds": rounds,
        "timeout_s": timeout_s,
        "start_s": max(timeout_s, START_S),
    }
    workflow = {"id": "sums", "path": CONTROLLER, "args": args}
    return {
        "format_version": 2,
        "server": {"task_request_interval": FETCH_INTERVAL_S},
        "workflows": [workflow],
        "components": [],
    }


def client_configuration(name: str, plan: Plan) -> dict[str, Any]:
    """What a hospital's job process reads; a hospital accepts this and nothing beside it."""
    executor = {"path": EXECUTOR, "args": {"name": name, "plan": _word(plan.sections)}}
    return {
        "format_version": 2,
        "default_task_fetch_interval": FETCH_INTERVAL_S,
        "executors": [{"tasks": list(REQUESTS), "executor": executor}],
        "components": [],
    }


def run_content(run: Run) -> list[Any]:
    """A run as JSON."""
    return [run.name, run.plan, [list(hospital) for hospital in run.hospitals]]


def read_run(word: str) -> Run:
    """A run from a job's configuration.

    Raises
    ------
    UnreadableMessage
    """
    try:
        name, plan, hospitals = _content(word)
        return Run(name, plan, tuple((code, pinned) for code, pinned in hospitals))
    except (ValueError, TypeError):
        raise UnreadableMessage from None


def read_sections(name: str, word: str) -> Plan:
    """A plan from a job's configuration; its name is to be a run's.

    Raises
    ------
    UnreadableMessage
    PlanUnusable
    """
    sections = _content(word)
    if re.fullmatch(NAME, name) is None or not isinstance(sections, dict):
        raise UnreadableMessage
    return parse_plan(sections)


def _word(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode("ascii")


def _content(word: str) -> Any:
    try:
        return json.loads(base64.b64decode(word, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise UnreadableMessage from None
