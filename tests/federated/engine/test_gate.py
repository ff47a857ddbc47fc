"""What a hospital accepts as a job: the configuration of a run, and nothing beside it."""

from __future__ import annotations

import json

import pytest

from dagster_project.federated.engine.gate import OnlyConfiguration, check_job
from dagster_project.federated.engine.jobs import new_name, read_run, read_sections, write_job
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.refusals import JobRefused, UnreadableMessage
from tests.federated.hospitals import PINNED
from tests.federated.plans import CODES, LOGISTIC, plan_of

PLAN = plan_of(logistic=LOGISTIC)


@pytest.fixture
def app(tmp_path):
    run = Run(new_name(), PLAN.digest, tuple((code, PINNED[code]) for code in CODES))
    return write_job(tmp_path, PLAN, run, 60) / "run"


def rewrite(app, change):
    file = app / "config" / "config_fed_client.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_run_passes_and_its_plan_is_the_one_that_was_written(app):
    check_job(app)
    assert OnlyConfiguration().validate(str(app)) == ("", {})
    content = json.loads((app / "config" / "config_fed_client.json").read_text())
    args = content["executors"][0]["executor"]["args"]
    assert read_sections(args["name"], args["plan"]).digest == PLAN.digest
    server = json.loads((app / "config" / "config_fed_server.json").read_text())
    assert read_run(server["workflows"][0]["args"]["run"]).plan == PLAN.digest


@pytest.mark.parametrize(
    "name",
    [
        "custom/code.py",
        "code.py",
        "config/more.json",
        "config/custom/x.py",
        ".hidden",
        "config/x.so",
    ],
)
def test_any_other_file_is_refused(app, name):
    file = app / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("import os")
    with pytest.raises(JobRefused, match="beside its configuration"):
        check_job(app)
    assert "refused" in OnlyConfiguration().validate(str(app))[0]


def test_an_empty_folder_for_code_and_a_link_are_refused(app):
    (app / "custom").mkdir()
    with pytest.raises(JobRefused):
        check_job(app)
    (app / "custom").rmdir()
    (app / "config" / "config_fed_server.json").unlink()
    (app / "config" / "config_fed_server.json").symlink_to("/etc/hostname")
    with pytest.raises(JobRefused):
        check_job(app)


FILTER = {"tasks": ["part"], "filters": [{"path": "nvflare.app_common.filters.x.X", "args": {}}]}
CHANGES = {
    "class": lambda c: c["executors"][0]["executor"].update(path="nvflare.app_common.x.Shell"),
    "second": lambda c: c["executors"].append(c["executors"][0]),
    "component": lambda c: c["components"].append({"id": "x", "path": "os.system"}),
    "filter": lambda c: c.update(task_result_filters=[FILTER]),
    "task": lambda c: c["executors"][0]["tasks"].append("train"),
    "setting": lambda c: c.update(default_task_fetch_interval=0.0001),
    "argument": lambda c: c["executors"][0]["executor"]["args"].update(home="/"),
    "name": lambda c: c["executors"][0]["executor"]["args"].update(name="../../x"),
    "number": lambda c: c["executors"][0]["executor"]["args"].update(name=7),
    "plan": lambda c: c["executors"][0]["executor"]["args"].update(plan="e30="),
    "no plan": lambda c: c["executors"][0]["executor"]["args"].pop("plan"),
    "nothing": lambda c: c.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_other_configuration_is_refused(app, change):
    rewrite(app, change)
    with pytest.raises(JobRefused, match="configuration"):
        check_job(app)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 90000, "null"])
def test_a_configuration_that_cannot_be_read_is_refused(app, content):
    (app / "config" / "config_fed_client.json").write_text(content)
    with pytest.raises(JobRefused):
        check_job(app)


def test_words_that_are_none():
    for word in ("", "{}", "e30", "////", 7):
        with pytest.raises(UnreadableMessage):
            read_run(word)
