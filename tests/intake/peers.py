"""Real peers for the tests of the PACS intake, on free ports of loopback.

They are DCMTK's tools and an Orthanc server.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pydicom
import requests

from tests.conftest import REPOSITORY
from tests.waiting import PATIENCE, wait_until

ORTHANC_PLUGINS = "/usr/share/orthanc/plugins"


FREE_PORTS = range(15_000, 32_000)
"""Ports below the kernel's ephemeral range.

The kernel gives a port of that range to any process that wants no particular one. A port that is
free here is therefore not taken before a peer listens on it.
"""


def free_port() -> int:
    while True:
        port = random.SystemRandom().choice(FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def await_port(port: int, process: subprocess.Popen) -> None:
    def answers() -> bool:
        assert process.poll() is None, "the peer ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    assert wait_until(answers), f"nobody listens at {port}"


def dcmtk(
    tool: str, port: int, *arguments: str, caller: str = "PACS", called: str = "LAKEHOUSE"
) -> subprocess.CompletedProcess:
    """echoscu, storescu … against our listener."""
    needed = (
        ["--required"] if tool == "storescu" else []
    )  # proposes the classes of the files alone: all of them are too many for one association
    command = [
        of_dcmtk(tool),
        "-v",
        *needed,
        "-aet",
        caller,
        "-aec",
        called,
        "127.0.0.1",
        str(port),
        *arguments,
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def of_dcmtk(tool: str) -> str:
    """DCMTK's tool: pynetdicom puts some of the same names beside this interpreter."""
    ours = Path(sys.executable).parent
    folders = [
        f for f in os.get_exec_path() if Path(f).resolve() != ours.resolve() and Path(f) != ours
    ]
    found = shutil.which(tool, path=os.pathsep.join(folders))
    assert found, f"DCMTK's {tool} is missing; run scripts/install-debian-packages"
    return found


class Orthanc:
    """An archive that knows our listener by AE title and port."""

    def __init__(self, folder: Path, ours: int, **changes: object) -> None:
        self.port, self.web, self.ours, self.store = (
            free_port(),
            free_port(),
            ours,
            folder / "store",
        )
        folder.mkdir(parents=True)
        settings = {
            "Name": "peer",
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "HttpPort": self.web,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {"us": ["LAKEHOUSE", "127.0.0.1", ours]},
            "DicomAlwaysAllowGet": True,
            "Plugins": [ORTHANC_PLUGINS],
            "DicomWeb": {"Enable": True},
            "DicomCheckCalledAet": True,
            "MaximumStorageCacheSize": 0,
            **changes,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.process = subprocess.Popen(
            ["Orthanc", str(folder / "orthanc.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_port(self.web, self.process)
        await_port(self.port, self.process)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web}"

    def put(self, data: bytes) -> None:
        requests.post(f"{self.url}/instances", data=data, timeout=PATIENCE).raise_for_status()

    def file_of(self, sop_instance_uid: str) -> Path:
        """Where an object lies on its disk."""
        return next(
            p
            for p in self.store.rglob("*")
            if p.is_file()
            and p.read_bytes()[128:132] == b"DICM"
            and pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID == sop_instance_uid
        )

    def count(self) -> int:
        return requests.get(f"{self.url}/statistics", timeout=PATIENCE).json()["CountInstances"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


class Listening:
    """`lakehouse pacs listen` in a process of its own, with a temporary folder of its own.

    What it prints goes to a file: a pipe that nobody empties would stop it.
    """

    def __init__(
        self, home: Path, site: str, port: int, tmp: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        tmp.mkdir(exist_ok=True)
        self.port, self._printed = port, tmp.with_suffix(".log")
        program = [sys.executable, "-m", "dagster_project.cli", "--home", str(home)]
        paths = {"TMPDIR": str(tmp), "PYTHONPATH": str(REPOSITORY)}
        with self._printed.open("ab") as printed:
            self.process = subprocess.Popen(
                [*program, "pacs", "listen", "--site", site],
                env={**os.environ, **paths, **(settings or {})},
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        await_port(port, self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> str:
        self.process.terminate()
        self.process.wait(PATIENCE)
        return self._printed.read_text(encoding="utf-8")


class WebPeer:
    """A DICOMweb server of our own, for answers that Orthanc cannot be brought to give.

    `answer` takes path, query and headers and gives status, headers and body; requests are
    recorded.
    """

    def __init__(
        self,
        answer: Callable[
            [str, dict[str, str], Mapping[str, str]], tuple[int, dict[str, str], bytes]
        ],
    ) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                peer.asked.append((parts.path, query))
                status, headers, body = answer(parts.path, query, self.headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
