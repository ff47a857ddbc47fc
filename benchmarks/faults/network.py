"""A whole run, `lakehouse dev` and its pages without a network other than loopback.

Every connect that anything tries is traced.

Needs root for a network namespace, and strace.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.setting import first_home
from tests.trial import Trial

CONNECT = re.compile(
    r"(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=(AF_INET6?),.*?"
    r"(?:inet_addr\(\"|inet_pton\(AF_INET6, \")([^\"]+)\""
)
"""An address of the network in a line of strace; sockets of files are none."""

LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+|0\.0\.0\.0|::")

PAGES = (
    "http://127.0.0.1:{dagster}/",
    "http://127.0.0.1:{dagster}/server_info",
    "http://127.0.0.1:{mlflow}/",
    "http://127.0.0.1:{mlflow}/health",
)
PORTS = {"dagster": 3911, "mlflow": 5911}

IDLE_SECONDS = 60.0
"""How long the servers are left alone: what reports home does so on a timer."""

OUTSIDE = "192.0.2.1"
"""An address of nobody (RFC 5737), which a process of our own tries: the trace has to show it."""


@dataclass
class Trace:
    """What was tried; `sees` is False where the trace did not show the attempt of our own."""

    codes: dict[str, int] = field(default_factory=dict)
    connects: int = 0
    outside: list[str] = field(default_factory=list)
    sees: bool = False

    @property
    def passed(self) -> bool:
        """Whether all ended well without an attempt to leave the machine."""
        return self.sees and not self.outside and all(code == 0 for code in self.codes.values())


def run(root: Path) -> Trace:
    """Start this module anew in a namespace with loopback alone, and read the traces."""
    first_home(root)
    inside = f"ip link set lo up && exec {sys.executable} -m benchmarks.faults.network {root}"
    subprocess.run(
        ["unshare", "-n", "sh", "-c", inside],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    trace = Trace()
    for file in sorted(root.glob("code *")):
        trace.codes[file.name.removeprefix("code ")] = int(file.read_text(encoding="utf-8"))
    for file in sorted(root.glob("trace *")):
        found = addresses(file.read_text(encoding="utf-8", errors="replace"))
        if file.name == "trace canary":
            trace.sees = found == [OUTSIDE]
            continue
        trace.connects += len(found)
        trace.outside += [
            f"{file.name}: {address}" for address in found if not LOOPBACK.fullmatch(address)
        ]
    return trace


def addresses(trace: str) -> list[str]:
    """Addresses of the network in what strace wrote.

    >>> addresses(
    ...     '7 connect(3, {sa_family=AF_INET, sin_port=htons(80), '
    ...     'sin_addr=inet_addr("192.0.2.1")}, 16) = -1 ENETUNREACH'
    ... )
    ['192.0.2.1']
    """
    return [m[2] for line in trace.splitlines() if (m := CONNECT.search(line))]


def _traced(root: Path, name: str, command: Sequence[str], trial: Trial) -> subprocess.Popen[bytes]:
    tracing = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,sendmmsg",
        "-o",
        str(root / f"trace {name}"),
    ]
    with (root / f"log {name}").open("wb") as log:
        return subprocess.Popen(
            [*tracing, *command],
            env={**os.environ, **trial.settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def inside(root: Path) -> None:
    """In the namespace: the whole run, the servers and their pages, the reports in a browser."""
    trial = Trial(root / "home", root / "study.toml")
    lakehouse = [sys.executable, "-m", "dagster_project.cli", "--home", str(trial.root)]
    attempt = f"import socket; socket.socket().connect(({OUTSIDE!r}, 80))"
    _traced(root, "canary", [sys.executable, "-c", attempt], trial).wait()
    _note(root, "run", _traced(root, "run", [*lakehouse, "run"], trial).wait())
    dev = _traced(
        root,
        "dev",
        [*lakehouse, "dev", "--port", str(PORTS["dagster"]), "--mlflow-port", str(PORTS["mlflow"])],
        trial,
    )
    _note(
        root, "pages of the servers", int(not all(_opens(page.format(**PORTS)) for page in PAGES))
    )
    time.sleep(IDLE_SECONDS)
    os.killpg(dev.pid, signal.SIGTERM)
    dev.wait(120)
    _note(root, "reports in a browser", _browse(root, trial))


def _note(root: Path, name: str, code: int) -> None:
    (root / f"code {name}").write_text(str(code), encoding="utf-8")


def _opens(url: str, seconds: float = 300.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(1)
    return False


def _browse(root: Path, trial: Trial) -> int:
    """Every page asks for nothing but itself; 0 where that holds."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as browsers, tempfile.TemporaryDirectory():
        browser = browsers.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for file in sorted((trial.root / "reports").rglob("*.html")):
            page.goto(file.as_uri(), wait_until="load")
        browser.close()
    outside = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    (root / "asked outside").write_text("\n".join(outside), encoding="utf-8")
    return len(outside)


def table(trace: Trace) -> str:
    """Figures of the traces."""
    return "\n".join(
        [
            "| what ran | ended with |",
            "| --- | ---: |",
            *(f"| {name} | {code} |" for name, code in trace.codes.items()),
            "",
            "| connects and sends to an address | outside loopback |",
            "| ---: | ---: |",
            f"| {trace.connects} | {len(trace.outside)} |",
        ]
    )


if __name__ == "__main__":
    inside(Path(sys.argv[1]))
