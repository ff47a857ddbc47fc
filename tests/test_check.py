"""What a hospital's monitoring sees, and who is called: each trouble once, and nobody is named."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import gdcm  # noqa: F401 - commands load it, and it sets a variable of the environment once
import polars as pl
import pytest
from click.testing import CliRunner, Result

from dagster_project.cli import main
from dagster_project.flow.alert_channels import AlertError, read_alerts
from dagster_project.flow.nights import read_nights
from dagster_project.lake.errors import DiskFull
from dagster_project.lake.free_space import full_disk
from dagster_project.lake.home import Home
from dagster_project.lake.locks import locked
from dagster_project.lake.schema import empty
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import QUALITY_VERDICTS
from dagster_project.run_processes import process_tags
from dagster_project.study import load_study
from tests.conftest import REPOSITORY
from tests.lake.test_store import rows

SITE = {"dagster/partition": "AA"}
EASY = ("--min-free", "1K")


@dg.op
def work() -> None:
    """One that ends well."""


@dg.op
def trouble() -> None:
    raise RuntimeError("it failed")


@dg.job(name="site")
def good_site() -> None:
    work()


@dg.job(name="site")
def bad_site() -> None:
    trouble()


@dg.job(name="cohort")
def good_cohort() -> None:
    work()


KILLED = """
import os, signal, sys
import dagster as dg
from dagster_project.run_processes import process_tags

@dg.op
def killed():
    os.kill(os.getpid(), signal.SIGKILL)

@dg.job(name="site")
def site():
    killed()

with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    site.execute_in_process(instance=instance, tags=process_tags() | {"dagster/partition": "AA"})
"""


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A small lake of one site."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA"):
            patch.delenv(name, raising=False)
        made = Home(tmp_path_factory.mktemp("check") / "home").make()
        (made.vault / "AA").mkdir()
        with open_lake(made) as lake:
            lake.replace("treatments", rows("AA", "p1"), site="AA")
    return made


@pytest.fixture
def home(made_once: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of it."""
    for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA", "LAKEHOUSE_STUDY"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(made_once.root, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


def night(home: Home, job: dg.JobDefinition, **tags: str) -> None:
    """A run in the home's own store of Dagster, carried by this process."""
    with dg.DagsterInstance.local_temp(str(home.dagster)) as instance:
        job.execute_in_process(instance=instance, tags=process_tags() | tags, raise_on_error=False)


def call(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.root), *arguments])


# -- receivers -------------------------------------------------------------------------------------


@dataclass
class Received:
    """What came to a receiver, and where it listens."""

    port: int = 0
    texts: list[str] = field(default_factory=list)
    refuse: bool = False


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def webhook() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not received.refuse:
                received.texts.append(json.loads(body)["text"])
            self.send_response(503 if received.refuse else 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing on the screen."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_port
    with serving(server):
        yield received


@pytest.fixture
def mail() -> Iterator[Received]:
    """A mail server that takes every message and answers as RFC 5321 has it."""
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            for line in self.rfile:
                verb = line.strip().upper()[:4]
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    received.texts.append(self.message())
                if verb == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                self.wfile.write(b"250 ok\r\n")

        def message(self) -> str:
            lines = []
            for line in self.rfile:
                if line == b".\r\n":
                    break
                lines.append(line)
            return b"".join(lines).decode()

    server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_address[1]
    with serving(server):
        yield received


@pytest.fixture
def called(home: Home, webhook: Received) -> Received:
    """The webhook, named in the home's settings."""
    (home.root / "alerts.toml").write_text(
        f'contact = "IT on call 1234"\n[webhook]\nurl = "http://127.0.0.1:{webhook.port}/hook"\n'
    )
    return webhook


def notify(home: Home, *arguments: str) -> Result:
    return call(home, "check", "--notify", *EASY, *arguments)


# -- the exit code ---------------------------------------------------------------------------------


def test_all_well_is_one_line_and_exit_0(home: Home) -> None:
    night(home, good_site, **SITE)
    result = call(home, "check", *EASY)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("OK - gate not judged")
    assert len(result.output.splitlines()) == 1
    assert " | free=" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--min-free", "1000T"), 2, "less than 1000.0 TiB"),
        (("--max-age", "0h", *EASY), 2, "no run has begun for 0 h"),
        (("--max-age", "0h", *EASY, "--lang", "zh"), 2, "已有 0 小时没有运行"),
    ],
    ids=["little space", "no run", "no run, Chinese"],
)
def test_too_little_space_and_no_run_are_critical(
    home: Home, arguments: tuple[str, ...], code: int, words: str
) -> None:
    night(home, good_site, **SITE)
    result = call(home, "check", *arguments)
    assert (result.exit_code, words in result.output) == (code, True), result.output


def test_a_home_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    result = call(Home(tmp_path / "nowhere"), "check")
    assert result.exit_code == 3
    assert result.output.startswith("UNKNOWN - there is no home")


def test_a_killed_night_is_seen_before_anybody_marks_it_and_called_for_once(
    home: Home, called: Received
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home.dagster)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
        stderr=subprocess.DEVNULL,
    )
    assert done.returncode == -signal.SIGKILL
    (found,) = read_nights(home, dt.datetime.now(dt.UTC))
    assert (found.status, found.site, found.job) == ("killed", "AA", "site")
    assert notify(home).exit_code == 2
    assert notify(home).exit_code == 2
    (text,) = called.texts
    assert "AA: the last run was killed" in text
    assert "AA：最近一次运行被强制终止" in text
    night(home, good_site, **SITE)
    assert notify(home).exit_code == 0
    assert len(called.texts) == 1


def test_a_failed_night_is_called_for_and_the_next_failed_one_again(
    home: Home, called: Received
) -> None:
    night(home, good_cohort)
    for _ in range(2):
        night(home, bad_site, **SITE)
        for _ in range(2):
            assert notify(home).exit_code == 2
    assert len(called.texts) == 2
    assert all("AA: the last run failed" in text for text in called.texts)
    assert all("IT on call 1234" in text for text in called.texts)


def verdict(home: Home, result: str) -> None:
    row = {
        "rule": "minimum_patients",
        "scope": "cohort",
        "kind": "cohort",
        "statistic": 5.0,
        "threshold": 60.0,
        "verdict": result,
        "detail": "",
        "snapshot": 1,
        "protocol_digest": load_study().digest,
        "evaluated_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }
    declared = empty(QUALITY_VERDICTS)
    known = {k: v for k, v in row.items() if k in declared.columns}
    frame = pl.concat([declared, pl.DataFrame([known])], how="diagonal_relaxed")
    with open_lake(home) as lake:
        lake.replace("quality_verdicts", frame)


def test_a_gate_that_turns_is_told_each_time_and_a_first_look_tells_nothing(
    home: Home, called: Received
) -> None:
    night(home, good_site, **SITE)
    for result in ("fail", "fail", "pass", "pass", "fail"):
        verdict(home, result)
        assert notify(home).exit_code == 0, "a closed gate is no fault"
    opened, closed = called.texts
    assert "the gate has opened" in opened
    assert "the gate has closed: minimum_patients (cohort)" in closed


def test_an_audit_finding_blocks_and_names_no_file(home: Home, called: Received) -> None:
    night(home, good_site, **SITE)
    file = home.vault / "AA" / "WANG-LI" / "0001.dcm"
    file.parent.mkdir()
    file.touch()
    finding = ["text like a name", "AA/WANG-LI/0001.dcm", "(0010,4000) PatientComments"]
    (home.vault / "AA" / "audit.json").write_text(
        json.dumps({"rules": "", "until": 0, "findings": [finding]})
    )
    for _ in range(2):
        assert notify(home).exit_code == 2
    (text,) = called.texts
    assert "AA: the audit found something" in text
    assert "WANG" not in text


@pytest.mark.parametrize(
    ("running", "state", "words"),
    [
        (True, {"put_off": 0, "put_off_since": None}, ""),
        (True, {"put_off": 3, "put_off_since": "2026-01-01T00:00:00+00:00"}, "put senders off"),
        (False, {"put_off": 0, "put_off_since": None}, "has ended without being ended"),
    ],
    ids=["well", "puts off", "killed"],
)
def test_a_listener_that_is_blocked_or_gone_is_called_for(
    home: Home, called: Received, running: bool, state: dict[str, object], words: str
) -> None:
    night(home, good_site, **SITE)
    home.watch.mkdir()
    (home.watch / "pacs.AA.json").write_text(json.dumps(state))
    listening = (
        locked(home.root / "pacs.AA.lock", "lakehouse pacs")
        if running
        else contextlib.nullcontext()
    )
    with listening:
        assert notify(home).exit_code == (2 if words else 0)
    assert [words in text for text in called.texts] == ([True] if words else [])


# -- the messages ----------------------------------------------------------------------------------


def test_a_message_that_was_not_sent_is_sent_by_the_next_check(
    home: Home, called: Received
) -> None:
    night(home, bad_site, **SITE)
    called.refuse = True
    assert "the message was not sent" in notify(home).output
    called.refuse = False
    notify(home)
    notify(home)
    assert len(called.texts) == 1


def test_mail_has_a_subject_both_languages_and_nobodys_machine(home: Home, mail: Received) -> None:
    (home.root / "alerts.toml").write_text(
        f'[mail]\nhost = "127.0.0.1"\nport = {mail.port}\nsender = "lakehouse@hospital.lan"\n'
        'recipients = ["it@hospital.lan", "pi@hospital.lan"]\n'
    )
    night(home, bad_site, **SITE)
    for _ in range(2):
        notify(home)
    (text,) = mail.texts
    assert "Subject: Lakehouse: night" in text
    assert "To: it@hospital.lan, pi@hospital.lan" in text
    assert os.uname().nodename not in text
    assert call(home, "check", "--test").exit_code == 0
    assert "Lakehouse: test" in mail.texts[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[webhook]\nurl = 'file:///etc/passwd'", "webhook.url"),
        ("[webhok]\nurl = 'http://x'", "webhok (extra_forbidden)"),
        ("[mail]\nhost = 'x'\nsender = 'y'\nrecipients = []", "mail.recipients (too_short)"),
        ("[mail]\nhost = 'x'\nsender = 'y'\nrecipients = ['z']\nport = '25'", "mail.port"),
        ("contact = 'a", "is not TOML"),
    ],
    ids=["address", "section", "nobody", "port", "toml"],
)
def test_a_setting_that_cannot_be_used_is_named_in_both_languages(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "alerts.toml").write_text(text)
    with pytest.raises(AlertError) as raised:
        read_alerts(tmp_path)
    assert words in str(raised.value)
    assert "：" in str(raised.value) or "不是" in str(raised.value)
    assert "passwd" not in str(raised.value)


# -- for machines ----------------------------------------------------------------------------------


def test_the_state_is_json_and_names_nobody(home: Home) -> None:
    night(home, good_site, **SITE)
    verdict(home, "fail")
    state = json.loads(call(home, "status", "--json").output)
    assert state["gate"]["state"] == "closed"
    assert state["gate"]["verdicts"][0]["rule"] == "minimum_patients"
    assert state["sites"]["AA"]["last_good_night"]
    assert state["sites"]["AA"]["open_cases"] == 0
    assert state["free_bytes"] > 0
    assert state["schema_version"]["program"] == state["schema_version"]["lake"]
    assert "p1" not in json.dumps(state)


def test_figures_for_prometheus_appear_whole_and_can_be_read(home: Home, tmp_path: Path) -> None:
    night(home, bad_site, **SITE)
    file = tmp_path / "lakehouse.prom"
    assert call(home, "check", *EASY, "--textfile", str(file)).exit_code == 2
    lines = dict(line.rsplit(" ", 1) for line in file.read_text().splitlines())
    assert lines['lakehouse_condition{kind="night"}'] == "1"
    assert lines['lakehouse_last_good_night_timestamp_seconds{site="AA"}'] == "0"
    assert file.stat().st_mode & 0o044
    assert [p.name for p in tmp_path.glob("*prom*")] == ["lakehouse.prom"]


def test_a_read_only_mount_is_enough(home: Home) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may mount a folder read-only")
    night(home, good_site, **SITE)
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/x" 2>/dev/null '
        '&& exec "$2" -m dagster_project.cli --home "$1" status --json'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(home.root), sys.executable],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert state["sites"]["AA"]["last_good_night"]
    assert state["snapshot"] > 0


def test_a_full_disk_ends_in_one_sentence(home: Home) -> None:
    """On a real small disk: writing a table fails, and the lake is as before."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    script = (
        'mount -t tmpfs -o size=200k tmpfs "$1/published" && head -c 190k /dev/zero > '
        '"$1/published/other" ; exec "$2" -m dagster_project.cli --home "$1" publish'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(home.root), sys.executable],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the disk is full; make room"), done.stderr
    assert "Traceback" not in done.stderr
    assert "磁盘已满" in done.stderr


@pytest.mark.parametrize(("free", "found"), [(4096, True), (1 << 30, False)])
def test_sqlite_that_cannot_extend_a_file_means_a_full_disk(
    home: Home, monkeypatch: pytest.MonkeyPatch, free: int, found: bool
) -> None:
    """It reports "disk I/O error", which a disk with room has for other causes."""
    monkeypatch.setattr("dagster_project.lake.free_space.free_bytes", lambda _: free)
    message = "(sqlite3.OperationalError) disk I/O error"
    assert isinstance(full_disk(message, home), DiskFull) is found
    assert full_disk("(sqlite3.OperationalError) no such table: runs", home) is None


def test_a_run_does_not_begin_without_space(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_MIN_FREE", "1000T")
    result = call(home, "run")
    assert result.exit_code == 1
    assert "a run begins with 1000.0 TiB at least" in result.output
    monkeypatch.setenv("LAKEHOUSE_MIN_FREE", "much")
    assert "LAKEHOUSE_MIN_FREE is a size" in call(home, "run").output
