"""Runs over real processes: a coordinator and three hospitals, each with a home, by mTLS.

Each hospital has a lake, and a table of its own for plans without [rows]. One federation is started
for all tests; what ends a process comes last. The coordinator's own rules are off, so that what is
refused is refused at the hospitals.
"""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import polars as pl
import psutil
import pytest

from benchmarks.federated_statistics import COMPARED, Study, in_one_process, plans
from benchmarks.process_memory import held
from dagster_project.federated.engine.certificates import Authority, make_key, make_request
from dagster_project.federated.engine.computations import computation, read_rows, rows_at
from dagster_project.federated.engine.jobs import new_name, write_job
from dagster_project.federated.engine.kits import invite, write_hospital
from dagster_project.federated.engine.outcomes import read_outcome, read_outcomes
from dagster_project.federated.engine.processes import environment
from dagster_project.federated.engine.simulation import Federation
from dagster_project.federated.fixed_point import MODULUS
from dagster_project.federated.home_records import read_results, read_runs
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.federated.logistic import gradients
from dagster_project.federated.refusals import EngineFailed
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from tests.federated.engine.cases import a_table
from tests.federated.engine.test_computations import drive
from tests.federated.lakes import lake_plan, simulated
from tests.federated.plans import CODES, LOGISTIC, plan_of

pytestmark = pytest.mark.xdist_group("federated_processes")

FRAME = pl.DataFrame(a_table())
PLAN = plan_of(logistic={**LOGISTIC, "steps": 3})
LONG = plan_of(logistic={**LOGISTIC, "steps": 400, "rate": 1e-300})
"""Its weights stay 0, so that hospitals send the same in every round."""

NAMES = load_study().section("model")["network_features"][:2]
FROM_LAKES = lake_plan(
    {"outcome": "none"},
    moments={
        "columns": ["pd_l1_tps", f"{NAMES[0]}@tumor@T0-T1"],
        "centres": [50, 0],
        "units": [25, 0.5],
    },
)
LIMITS = lake_plan({"outcome": "none"}, dhi_limits={})

TIMEOUT_S = 5


@pytest.fixture(scope="module")
def federation():
    folder, _ = simulated()
    tables = {}
    for i, code in enumerate(CODES):
        tables[code] = folder / f"{code}.csv"
        FRAME[i::3].write_csv(tables[code])
    made = Federation.make(folder, tables, Budget(3.0, 1e-5))
    for plan in (PLAN, LONG, FROM_LAKES, LIMITS):
        made.allow(plan)
    rules = made.places("coordinator").workspace / "local" / "authorization.json"
    everything = {"lead": "any", "project_admin": "any"}
    rules.write_text(json.dumps({"format_version": "1.0", "permissions": everything}))
    return made


@pytest.fixture(scope="module")
def running(federation):
    with federation.started() as processes:
        yield processes


def ignore(_outcome):
    pass


def job_processes(parent):
    """Job processes below one of ours."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(parent.process.pid).children(recursive=True)
    return []


def a_job(federation, plan):
    name, places = new_name(), federation.places("coordinator")
    places.make(places.jobs)
    return write_job(places.jobs, plan, federation.run(plan, name), TIMEOUT_S), name


def test_a_model_of_three_hospitals_is_that_of_all_rows(federation, running, tmp_path):
    seen = []
    outcomes = federation.carry_out(PLAN, 60, seen.append)
    FRAME.write_csv(tmp_path / "all.csv")
    rows = read_rows(PLAN, tmp_path / "all.csv")
    (pooled,) = drive([computation(PLAN, "BJCH", rows)], clip=True)
    assert sorted(outcomes) == list(CODES)
    for outcome in outcomes.values():
        assert outcome.state == "done"
        assert outcome.result == pytest.approx(pooled, abs=1e-6)
    assert outcomes["BJCH"].result == outcomes["SHFD"].result
    assert [o.request for o in seen][-1] == "close"
    for code in CODES:
        assert Ledger(federation.places(code).folder).account().exact_steps == 3


def test_figures_of_three_lakes_are_those_of_all_patients(federation, running):
    outcomes = federation.carry_out(FROM_LAKES, 60, ignore)
    found = {code: outcome.result["columns"]["pd_l1_tps"] for code, outcome in outcomes.items()}
    values = simulated()[1].patients["pd_l1_tps"].drop_nulls()
    for columns in found.values():
        assert columns["n"] == values.len()
        assert columns["mean"] == pytest.approx(values.mean(), abs=1e-4)
        assert columns["sd"] == pytest.approx(values.std(), abs=1e-4)
    rows = read_runs(federation.places("BJCH").home)
    assert rows.filter(kind="moments")["state"].to_list() == ["done"]
    assert read_results(federation.places("BJCH").home).filter(kind="moments").height == 6


@pytest.fixture(scope="module")
def study():
    folder, whole = simulated()
    pooled = build_dataset(TASKS["T1"], **whole.of_dataset())
    return Study(folder, CODES, whole, pooled, FRAME)


def test_combat_of_three_lakes_is_that_of_one_table(federation, running, study):
    (plan,) = plans(study, ["combat"])
    federation.allow(plan)
    outcomes = federation.carry_out(plan, 60, ignore)
    results = {code: outcome.result for code, outcome in outcomes.items()}
    assert COMPARED["combat"](study, results) < 1e-5
    assert [list(results[code]["own"]) for code in CODES] == [[b] for b in plan.asked.batches]


def test_a_network_of_three_lakes_is_that_of_one_process(federation, running, study):
    (plan,) = plans(study, ["network"])
    federation.allow(plan)
    rows = {code: rows_at(federation.places(code), plan, code) for code in CODES}
    results = json.loads(json.dumps(in_one_process(plan, rows).results))
    outcomes = federation.carry_out(plan, 60, ignore)
    assert {code: outcome.result for code, outcome in outcomes.items()} == results


def test_a_hospital_that_may_not_read_its_lake_is_named_with_the_cause(federation, running):
    places = federation.places("GZSM")
    before = places.medium.read_text()
    places.medium.write_text("age1another")
    try:
        with pytest.raises(EngineFailed, match=r"GZSM has refused \(OtherMedium\)"):
            federation.carry_out(LIMITS, 60, ignore)
    finally:
        places.medium.write_text(before)
    outcomes = [read_outcomes(federation.places(code).results) for code in CODES]
    ended = [o for found in outcomes for o in found.values() if o.plan == LIMITS.sections]
    assert len(ended) == 3
    assert all(o.state == "failed" and o.result is None for o in ended)
    assert any("key drive" in o.en for o in ended)


NUMBER = re.compile(r"-?\d+\.\d+")


def values_in_full(column):
    """Those with six decimals: a shorter one is also found in the seconds of a log's lines."""
    return {text for value in column if len((text := f"{value}").partition(".")[2]) == 6}


def test_a_value_is_found_and_the_seconds_of_a_line_are_none():
    planted = values_in_full(pl.Series([3.323, -0.418099]))
    assert planted == {"-0.418099"}
    assert planted & set(NUMBER.findall("17:39:43.323 sent [1.5,-0.418099]"))
    assert not planted & set(NUMBER.findall("17:39:43.323 sent -10.418099"))


def test_the_coordinators_files_hold_no_value_and_all_are_closed(federation, running):
    planted = values_in_full(FRAME["size"])
    for path in (federation.folder / "coordinator").rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert not mode & 0o077 or path.is_socket(), (path, oct(mode))
        if path.is_file():
            content = path.read_text("utf-8", "replace")
            assert not planted & set(NUMBER.findall(content)), path
            assert "Traceback" not in content
    for code in CODES:
        for path in federation.places(code).workspace.rglob("*"):
            assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path


def with_code(job):
    (job / "run" / "custom").mkdir()
    (job / "run" / "custom" / "theirs.py").write_text("open('/tmp/reached', 'w')")


def with_foreign_class(job):
    file = job / "run" / "config" / "config_fed_client.json"
    content = json.loads(file.read_text())
    content["executors"][0]["executor"]["path"] = "nvflare.app_common.np.np_trainer.NPTrainer"
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [with_code, with_foreign_class])
def test_jobs_beyond_configuration_start_no_process_at_a_hospital(federation, running, change):
    job, name = a_job(federation, PLAN)
    change(job)
    with pytest.raises(EngineFailed, match="BJCH, GZSM, SHFD has refused"):
        federation.submit(CODES, job, ignore)
    for code in CODES:
        assert read_outcome(federation.places(code).outcome(name)) is None


def test_a_certificate_by_another_authority_does_not_connect(federation, running, tmp_path):
    """A fourth hospital with everything right but who has signed its certificate."""
    places = federation.places("FAKE")
    places.make()
    key = make_key(places.key)
    forger = Authority(tmp_path / "forger").make()
    _, certificate = forger.approve(make_request("WHTJ", key), fingerprint(public_bytes(key)))
    forged = invite(forger, certificate, federation.address)
    kit = write_hospital(places, forged, "WHTJ")
    true = Authority(federation.places("coordinator").authority).certificate
    (kit / "startup" / "rootCA.pem").write_bytes(true)
    fake = federation.start_hospital_at(places, "WHTJ")
    try:
        with pytest.raises(EngineFailed, match="WHTJ is not connected"):
            federation.submit((*CODES, "WHTJ"), None, ignore, wait_s=6)
    finally:
        fake.end()


def planted():
    """What each hospital sends in each round of `LONG`, and the sum, in three forms."""
    model = LONG.asked.model()
    rows = FRAME.select("size", "dhi").to_numpy(), FRAME["label"].to_numpy()
    vectors = {
        code: gradients(model, np.zeros(3), rows[0][i::3], rows[1][i::3]).sum(axis=0)
        for i, code in enumerate(CODES)
    }
    vectors["sum"] = np.sum(list(vectors.values()), axis=0)
    forms = {}
    for code, vector in vectors.items():
        for value in vector[1:].tolist()[: 1 + (code == "sum")]:
            forms[code, value, "float"] = np.float64(value).tobytes()
            forms[code, value, "text"] = repr(value)[:12].encode()
            fixed = round(value * 2**20) % MODULUS
            forms[code, value, "residue"] = int(fixed).to_bytes(8, "little")
    return forms


COMMANDS = """
import sys
from pathlib import Path
from dagster_project.federated.engine.submission import await_hospitals, session
with session(Path(sys.argv[1]), 60) as opened:
    await_hospitals(opened, ("BJCH", "GZSM", "SHFD"), 60)
    for command in ("pwd", "ls", "cat log.txt", "report_env"):
        name, *more = command.split()
        print("ANSWER", name, opened.do_command(" ".join([name, "BJCH", *more])), flush=True)
"""


def test_a_hospital_answers_no_command_of_the_operator(federation, running):
    places = federation.places("coordinator")
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(places.administration)],
        env=environment(federation.folder / "coordinator"),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert len(answers) == 4
    assert all("not authorized" in answer for answer in answers)
    assert str(federation.folder / "BJCH") not in done.stdout


def contacted(process):
    """Ports that a process has connected to; what has connected to it is not among them."""
    connections = process.net_connections("inet")
    own = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return {c.raddr.port for c in connections if c.raddr and c.laddr.port not in own}


def test_a_hospital_connects_to_the_coordinator_alone_and_listens_on_loopback(federation, running):
    federation.submit(CODES, None, ignore)
    for code in CODES:
        process = psutil.Process(running[code].process.pid)
        assert contacted(process) == {federation.address.port}
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"


def test_the_search_finds_what_a_process_was_handed_plain():
    forms = planted()
    content = json.dumps([pattern.hex() for pattern in forms.values()])
    keep = (
        "import json, sys; kept = [bytes.fromhex(h) for h in json.loads(sys.stdin.readline())];"
        "print(len(kept), flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", keep], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as plain:
        plain.stdin.write(content + "\n")
        plain.stdin.flush()
        assert int(plain.stdout.readline()) == len(forms)
        assert held(plain.pid, forms) == set(forms)
        plain.stdin.write("\n")


def test_a_hung_hospital_ends_the_run_by_its_name_and_no_value_was_in_memory(federation, running):
    found = {}

    def search():
        for process in (psutil.Process(running["coordinator"].process.pid), *jobs()):
            found[process.pid] = held(process.pid, {**planted(), "own": b"BJCH"})

    def jobs():
        return job_processes(running["coordinator"])

    broken_by(federation, running, signal.SIGSTOP, search)
    assert len(found) == 2
    assert all(names == {"own"} for names in found.values())


def test_a_killed_hospital_ends_the_run_by_its_name(federation, running):
    broken_by(federation, running, signal.SIGKILL, lambda: None)


def broken_by(federation, running, number, before):
    """A run in which a hospital's job process gets a signal in the second round or later."""
    job, name = a_job(federation, LONG)
    sent = []

    def progress(outcome):
        if outcome.request == "part" and outcome.number >= 2 and not sent:
            before()
            for process in job_processes(running["GZSM"]):
                process.send_signal(number)
            sent.append(time.monotonic())

    with pytest.raises(EngineFailed, match="failed: GZSM has not answered"):
        federation.submit(CODES, job, progress)
    assert time.monotonic() - sent[0] < TIMEOUT_S + 10
    for process in job_processes(running["GZSM"]):
        process.kill()
    for code in CODES:
        found = read_outcome(federation.places(code).outcome(name))
        assert found is None or found.result is None


def test_no_process_is_left(federation, running):
    every = [psutil.Process(p.process.pid) for p in running.values()]
    every += [child for p in running.values() for child in job_processes(p)]
    for process in running.values():
        process.end()
    _, alive = psutil.wait_procs(every, timeout=2)
    # who has inherited them may not have collected them yet
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
