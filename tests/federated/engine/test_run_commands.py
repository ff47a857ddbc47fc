"""`lakehouse federated`: request, approve and join, and what a hospital's executor answers."""

from __future__ import annotations

import json
import stat

import polars as pl
import pytest
from click.testing import CliRunner
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from dagster_project import cli
from dagster_project.federated.engine.envelopes import ANSWER, REFUSED, unpack
from dagster_project.federated.engine.executor import HospitalExecutor
from dagster_project.federated.engine.jobs import client_configuration, new_name
from dagster_project.federated.engine.kits import Invitation, write_hospital
from dagster_project.federated.engine.outcomes import read_outcome
from dagster_project.federated.engine.places import Places
from dagster_project.federated.ledger import Ledger
from dagster_project.federated.pins import Pins
from tests.federated.engine.cases import a_table
from tests.federated.hospitals import PINNED
from tests.federated.plans import CODES, plan_of

PLAN = plan_of()


@pytest.fixture
def call(tmp_path, monkeypatch):
    for name in ("MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "true")  # so that what the command sets is taken back
    monkeypatch.chdir(tmp_path)

    def run(home, *arguments, code=0):
        found = CliRunner().invoke(cli.main, ["--home", home, "federated", *arguments])
        assert found.exit_code == code, found.output
        return found.output

    return run


def a_ledger(call, home="BJCH"):
    call(home, "ledger", "open", "--hospital", "BJCH", "--epsilon", "3", "--delta", "1e-5")


def requested(call, home="BJCH"):
    """The fingerprint that a hospital reads out."""
    return call(home, "request").splitlines()[1].removeprefix("fingerprint: ")


def test_from_a_request_to_a_kit(call, tmp_path):
    a_ledger(call)
    stated = requested(call)
    assert requested(call) == stated
    assert call("BJCH", "fingerprint", "BJCH.csr").strip() == stated
    call("coordinator", "approve", "BJCH.csr", stated, "--host", "127.0.0.1")
    invitation = Invitation.from_bytes((tmp_path / "BJCH.invitation").read_bytes())
    kit = write_hospital(Places(tmp_path / "BJCH" / "federated"), invitation, "BJCH")
    assert json.loads((kit / "startup" / "fed_client.json").read_text())["servers"][0][
        "service"
    ] == {"target": "127.0.0.1:8443", "scheme": "grpc"}
    key = tmp_path / "BJCH" / "federated" / "hospital.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text() not in (tmp_path / "BJCH.invitation").read_text()


def test_another_fingerprint_approves_nothing(call, tmp_path):
    a_ledger(call)
    requested(call)
    found = call("coordinator", "approve", "BJCH.csr", "00" * 32, "--host", "h", code=1)
    assert "telephone" in found
    assert "致电该院" in found
    assert not (tmp_path / "BJCH.invitation").exists()


def test_what_is_missing_is_named(call, tmp_path):
    assert "ledger" in call("BJCH", "request", code=1)
    (tmp_path / "none.invitation").write_text("{}")
    a_ledger(call)
    found = call("BJCH", "join", "none.invitation", "--rows", "rows.csv", code=1)
    assert "no invitation" in found


def test_a_run_with_a_hospital_that_is_not_approved(call, tmp_path):
    (tmp_path / "plan.toml").write_text(
        '[plan]\nname = "Look"\nhospitals = ["BJCH", "GZSM", "SHFD"]\ntask = "T1"\n'
        '[counts]\narms = ["A"]\nhospitals = []\nepsilon = 0\ndelta = 1e-5\n'
    )
    assert "GZSM" in call("coordinator", "run", "plan.toml", code=1)


# -- the executor at a hospital --------------------------------------------------------------------


@pytest.fixture
def home(call, tmp_path, monkeypatch):
    a_ledger(call)
    requested(call)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "BJCH"))
    places = Places(tmp_path / "BJCH" / "federated")
    pl.DataFrame(a_table()).write_csv(tmp_path / "rows.csv")
    places.rows.write_text(str(tmp_path / "rows.csv"))
    return places


def ask(executor, name, number=0, content=b""):
    given = Shareable()
    given["number"], given["content"] = number, content
    answer = executor.execute(name, given, FLContext(), Signal())
    assert set(answer) - {"__headers__"} == {"number", "content"}
    return answer["content"]


def an_executor(plan=PLAN):
    config = client_configuration(new_name(), plan)
    return HospitalExecutor(**config["executors"][0]["executor"]["args"])


def pin_all(places):
    from dagster_project.federated.pins import fingerprint_of

    for code in CODES[1:]:
        Pins(places.folder).pin(code, PINNED[code])
    Pins(places.folder).pin("BJCH", fingerprint_of(places.folder.parent.parent / "BJCH.csr"))


def test_a_hospital_announces_itself_for_a_plan_that_is_allowed(home):
    pin_all(home)
    Ledger(home.folder).allow(PLAN.digest)
    executor = an_executor()
    assert ANSWER in unpack(ask(executor, "announce"))
    assert read_outcome(home.outcome(executor._name)).state == "running"


def test_refusals_are_named_to_the_coordinator_and_explained_at_the_hospital(home, tmp_path):
    executor = an_executor()
    assert unpack(ask(executor, "announce")) == {REFUSED: b"NotPinned"}
    pin_all(home)
    executor = an_executor()
    assert unpack(ask(executor, "announce")) == {REFUSED: b"PlanNotAllowed"}
    outcome = read_outcome(home.outcome(executor._name))
    assert outcome.state == "failed"
    assert PLAN.digest[:12] in outcome.en
    Ledger(home.folder).allow(PLAN.digest)
    (tmp_path / "rows.csv").write_text("arm\nA\n")
    executor = an_executor()
    assert unpack(ask(executor, "announce")) == {REFUSED: b"RowsUnusable"}
    assert "patient" in read_outcome(home.outcome(executor._name)).en


def test_what_is_not_bytes_is_not_answered(home):
    executor = an_executor()
    for number, content in ((0, "text"), ("0", b""), (None, None), (True, b"")):
        assert ask(executor, "announce", number, content) == b""


def test_a_run_that_ends_from_outside_is_noted(home):
    executor = an_executor()
    executor.handle_event("_end_run", FLContext())
    outcome = read_outcome(home.outcome(executor._name))
    assert outcome.state == "failed"
    assert outcome.result is None
