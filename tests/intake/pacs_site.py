"""A home with one site whose reception is open, for the tests of what comes from a PACS."""

import contextlib
import hashlib
import socket
import subprocess
import threading
import time

import polars as pl

from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.pacs.pacs_listener import Listener
from dagster_project.intake.pacs.pacs_settings import Listening
from dagster_project.intake.vault.process_file import Outcome
from dagster_project.intake.vault.vault import Reception, take_in
from dagster_project.lake.home import Home
from tests.intake.builders import ROOT, to_bytes

IDENTIFYING = [b"Murong", b"ZY0012345", b"19490511", b"ACC4471290", ROOT.encode()]


def folder_of(path, datasets):
    path.mkdir(parents=True)
    for number, dataset in enumerate(datasets):
        (path / f"{number:04d}.dcm").write_bytes(to_bytes(dataset))
    return path


class Site:
    """A home with one site, whose reception is open."""

    def __init__(self, root, medium=None, crosswalk=None):
        self.home = Home(root / "home").make()
        self.medium = medium or create_throwaway_medium(self.home.throwaway_medium)
        self.landing, self.vault = self.home.landing / "AB", self.home.vault / "AB"
        self.landing.mkdir()
        self.crosswalk = crosswalk or self.home.crosswalk
        self.reception = Reception(
            self.landing, self.vault, keys=unlock(self.medium), crosswalk=self.crosswalk
        )

    def listener(self, **changes):
        return Listener(
            Listening(**{"callers": ("PACS", "ORTHANC"), "port": 0, **changes}), self.reception
        )

    def content(self):
        """Digest of each image and contour file in the vault, by relative path.

        Files that are still coming in are left out.
        """
        files = [p for p in self.vault.rglob("*.dcm") if ".incoming" not in p.parts]
        return {
            str(p.relative_to(self.vault)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }

    def quarantine(self):
        """Item and reason of each row."""
        return pl.read_parquet(self.vault / "refused.parquet").select("item", "reason").rows()

    def refused(self):
        return [reason for _, reason in self.quarantine()]

    def take_folder(self):
        return take_in(self.landing, self.vault, keys=unlock(self.medium), crosswalk=self.crosswalk)


def certificate(folder, name="127.0.0.1", alternative="IP:127.0.0.1", *options):
    """Key and certificate that signs itself, by openssl; the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    key, made = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        made,
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName={alternative}",
        *options,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


class Memory:
    """A reception that holds objects in memory as they came.

    It is for tests of what a peer sends, not of what intake makes of it.
    """

    def __init__(self):
        self.objects, self.refusals, self.notes = {}, [], []

    def take(self, uid, data):
        self.objects[uid] = data
        return Outcome("", "")

    def refuse(self, _size, reason):
        self.refusals.append(reason)

    def missing(self, uids):
        return [uid for uid in uids if uid not in self.objects]

    absent = missing

    def note(self, _number, notes):
        self.notes += notes

    def patient_of(self, _number):
        return "", False

    def series_name(self, uid):
        return "S" + uid.rpartition(".")[2]

    def held_of_series(self, uid):
        return sum(one.startswith(f"{uid}.") for one in self.objects)

    def close(self):
        pass


class Relay:
    """Passes so many bytes on, then says `last` and closes both sides, or is silent until `end`."""

    def __init__(self, target, most, *, hang_up=True, last=b""):
        self._last = last
        self._server, self._most, self._hang_up = (
            socket.create_server(("127.0.0.1", 0)),
            most,
            hang_up,
        )
        self.port = self._server.getsockname()[1]
        self._sides = []
        self._threads = [threading.Thread(target=self._serve, args=(target,), daemon=True)]
        self._threads[0].start()

    def _serve(self, target):
        there, _ = self._server.accept()
        us = socket.create_connection(("127.0.0.1", target))
        self._sides = [us, there]
        self._threads.append(threading.Thread(target=self._back, args=(us, there), daemon=True))
        self._threads[1].start()
        left = self._most
        while left > 0 and (part := there.recv(min(left, 65536))):
            us.sendall(part)
            left -= len(part)
        us.sendall(self._last)
        time.sleep(1)
        if self._hang_up:
            self._close()

    def _close(self):
        for one in self._sides:
            with contextlib.suppress(OSError):
                one.shutdown(
                    socket.SHUT_RDWR
                )  # close alone says nothing while the other thread reads

    def end(self):
        self._close()
        for thread in self._threads:
            thread.join()
        for one in (*self._sides, self._server):
            one.close()

    @staticmethod
    def _back(us, there):
        try:
            while part := us.recv(65536):
                there.sendall(part)
        except OSError:
            return
