"""`lakehouse federated`: plans are read before they are allowed, and the ledger is shown."""

from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dagster_project import cli
from dagster_project.federated.ledger import Ledger, Step
from dagster_project.federated.plans import read_plan

PLAN = """
[plan]
name = "Response after T1"
hospitals = ["BJCH", "GZSM", "SHFD"]
task = "T1"

[logistic]
columns = ["pd_l1_tps", "dhi"]
centres = [50, 1.0]
units = [25, 0.5]
patients = 500
steps = 40
clip = 1.0
rate = 2.0
penalty = 0.05
reach = 3.0
epsilon = 1.0
delta = 1e-5
"""
EXACT = PLAN.replace("epsilon = 1.0", "epsilon = 0")


@pytest.fixture
def call(tmp_path, monkeypatch):
    for name in ("MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "true")  # so that what the command sets is taken back

    def run(*arguments, code=0):
        found = CliRunner().invoke(
            cli.main, ["--home", str(tmp_path / "home"), "federated", *arguments]
        )
        assert found.exit_code == code, found.output
        return found.output

    return run


@pytest.fixture
def file(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    return str(tmp_path / "plan.toml")


def open_one(call, hospital="BJCH"):
    return call("ledger", "open", "--hospital", hospital, "--epsilon", "3", "--delta", "1e-5")


def test_a_plan_is_described_without_a_ledger(call, file, tmp_path):
    said = call("plan", "check", file)
    assert "40 rounds of 3 values, 423 KiB a round" in said
    assert "ε = 1 at δ = 1e-05" in said
    assert "this home has none" in said
    assert not (tmp_path / "home").exists()


def test_an_exact_plan_says_that_nothing_limits_what_it_shows(call, file, tmp_path):
    (tmp_path / "plan.toml").write_text(EXACT, encoding="utf-8")
    assert "no ε limits" in call("plan", "check", file)


NETWORK = (
    PLAN[: PLAN.index("[logistic]")]
    + """
[network]
architecture = "st_gcn"
weights = 2053
centres = [1.0]
units = [1.0]
average = 10
epochs = {epochs}
rate = 0.01
folds = 2
seed = 1
"""
)


def test_a_network_that_is_trained_longer_than_the_studys_own_is_pointed_out(call, tmp_path):
    file = tmp_path / "network.toml"
    file.write_text(NETWORK.format(epochs=1), encoding="utf-8")
    assert "caution" not in call("plan", "check", str(file))
    file.write_text(NETWORK.format(epochs=5), encoding="utf-8")
    assert "sees each patient 50 times" in call("plan", "check", str(file))


def test_a_plan_with_a_fault_ends_with_1_in_both_languages(call, file, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN.replace("steps = 40", "steps = 0"), encoding="utf-8")
    said = call("plan", "check", file, code=1)
    assert "[logistic] steps" in said
    assert "方案无法使用" in said


def test_a_plan_is_allowed_and_forbidden(call, file):
    open_one(call)
    assert "ledger: not allowed at BJCH" in call("plan", "check", file)
    assert "allowed here" in call("plan", "allow", file)
    said = call("plan", "check", file)
    assert "ledger: allowed at BJCH" in said
    assert "1 after this plan: within the budget of 3" in said
    assert "no longer allowed" in call("plan", "forbid", file)
    assert "ledger: not allowed at BJCH" in call("plan", "check", file)


@pytest.mark.parametrize("command", [("plan", "allow"), ("plan", "forbid"), ("ledger", "show")])
def test_without_a_ledger_the_way_to_one_is_shown(call, file, command):
    said = call(*command, *([file] if command[0] == "plan" else []), code=1)
    assert "lakehouse federated ledger open" in said
    assert "台账" in said


def test_a_plan_in_which_this_hospital_has_no_part_is_refused(call, file):
    open_one(call, "WHTJ")
    assert "WHTJ" in call("plan", "allow", file, code=1)
    assert "WHTJ" in call("plan", "check", file, code=1)


def test_what_was_spent_is_shown(call, file, tmp_path):
    open_one(call)
    call("plan", "allow", file)
    plan = read_plan(tmp_path / "plan.toml")
    ledger = Ledger(tmp_path / "home" / "federated")
    step = Step(
        "e" * 64, 1, plan.digest, plan.query, "c" * 64, tuple(plan.plan.hospitals), plan.asked.mu
    )
    for number in range(1, 41):
        ledger.spend(dataclasses.replace(step, number=number))
    for arguments in (("ledger",), ("ledger", "show")):
        said = call(*arguments)
        assert "ε = 1 spent of 3 at δ = 1e-05" in said
        assert "40 rounds with noise, 0 exact; 1 plans allowed; 42 lines, whole" in said
        assert "eeeeeeeeeeee" in said
    assert "ε = 1 is spent" in call("plan", "check", file)


def test_a_plan_beyond_the_budget_is_shown_as_such(call, file):
    call("ledger", "open", "--hospital", "BJCH", "--epsilon", "0.5", "--delta", "1e-5")
    assert "beyond the budget of 0.5" in call("plan", "check", file)


def test_a_ledger_is_opened_once_for_a_hospital(call):
    assert "opened for BJCH" in open_one(call)
    assert "has had, a ledger" in call(
        "ledger", "open", "--hospital", "GZSM", "--epsilon", "1", "--delta", "1e-5", code=1
    )


@pytest.mark.parametrize(
    ("hospital", "epsilon", "delta", "code"),
    [
        ("bjch", "3", "1e-5", 1),
        ("BJCH", "0", "1e-5", 2),
        ("BJCH", "3", "1", 2),
        ("BJCH", "nan", "1e-5", 2),
    ],
)
def test_a_budget_or_hospital_that_is_none(call, hospital, epsilon, delta, code):
    call(
        "ledger", "open", "--hospital", hospital, "--epsilon", epsilon, "--delta", delta, code=code
    )
    call("ledger", "show", code=1)


def test_an_edited_ledger_is_named_by_its_line(call, tmp_path):
    open_one(call)
    file = tmp_path / "home" / "federated" / "ledger"
    file.write_bytes(file.read_bytes().replace(b'"epsilon": 3.0', b'"epsilon": 9.0'))
    said = call("ledger", "show", code=1)
    assert "line 1 does not follow" in said
    assert "第 1 行" in said


def test_a_key_is_read_out_and_pinned(call, tmp_path):
    key = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pem").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    read_out = call("fingerprint", str(tmp_path / "key.pem")).strip()
    assert call("pins").strip() == "Pinned keys: none"
    assert "pinned: GZSM" in call("pin", "GZSM", *read_out.split())
    assert "GZSM" in call("pins")
    assert "--again" in call("pin", "GZSM", "0" * 64, code=1)
    assert "pinned: GZSM" in call("pin", "GZSM", "0" * 64, "--again")
    assert "PEM" in call("fingerprint", str(tmp_path / "nothing"), code=1)
