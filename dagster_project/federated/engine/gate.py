"""What a hospital accepts as a job: configuration of our executor, and not one file beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nvflare.apis.app_validation import AppValidator

from dagster_project.federated.engine.jobs import client_configuration, read_sections
from dagster_project.federated.refusals import JobRefused, Refusal

CONFIGURATION = "config/config_fed_client.json"
OF_THE_COORDINATOR = "config/config_fed_server.json"
SIGNATURES = frozenset({".__nvfl_sig.json", ".__nvfl_submitter.crt"})
"""What NVFlare adds to a job in each folder: who has submitted it."""

LARGEST = 2**21


class OnlyConfiguration(AppValidator):  # type: ignore[misc]  # NVFlare has no types
    """Refuses a job before any process is started for it.

    1. Its files are configuration of client and server, and signatures; a folder `custom`, any
       other file, and a link are code or could be.
    2. The client's configuration is exactly the one that is written for the plan in it: no other
       class, component, filter or setting.
    """

    def validate(self, app_folder: str) -> tuple[str, dict[str, Any]]:
        """The refusal's sentence, or an empty one; NVFlare passes it to the coordinator."""
        try:
            check_job(Path(app_folder))
        except Refusal as refusal:
            return refusal.en, {}
        return "", {}


def check_job(folder: Path) -> None:
    """Hold the folder of a job to the rules of `OnlyConfiguration`.

    Raises
    ------
    JobRefused
    """
    known = {CONFIGURATION, OF_THE_COORDINATOR}
    for path in folder.rglob("*"):
        named = path.relative_to(folder).as_posix()
        plain = path.is_dir() or (named in known or path.name in SIGNATURES)
        if path.is_symlink() or not plain or named.split("/")[0] == "custom":
            raise JobRefused("it has files beside its configuration", "除配置外还含有其他文件")
    found = _read(folder / CONFIGURATION)
    # as text: for Python 1 and true are equal
    if json.dumps(found, sort_keys=True) != json.dumps(_expected(found), sort_keys=True):
        raise _other_configuration()


def _other_configuration() -> JobRefused:
    return JobRefused(
        "its configuration is not that of a run of this software: another class, component, "
        "filter or setting",
        "其配置并非本软件的运行配置：含有其他类、组件、过滤器或设置",
    )


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError
        return json.loads(file.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError):
        raise JobRefused("its configuration cannot be read", "其配置无法读取") from None


def _expected(found: Any) -> dict[str, Any]:
    """The configuration that this software writes for the plan and run that the job names."""
    try:
        args = found["executors"][0]["executor"]["args"]
        name, word = args["name"], args["plan"]
        if not (isinstance(name, str) and isinstance(word, str)):
            raise TypeError
        return client_configuration(name, read_sections(name, word))
    except (KeyError, IndexError, TypeError, Refusal):
        raise _other_configuration() from None
