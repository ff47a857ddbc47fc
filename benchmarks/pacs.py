"""What an object from a real PACS costs, beside folder intake of the same files.

They come by storescu (DCMTK) to our listener, and by C-MOVE and DICOMweb from Orthanc.

    python benchmarks/pacs.py [--slices 200] [--size 512] [--patients 500]

CPU of our processes (this one and the child that reads files) and seconds by the clock in one
run, on loopback; the four vaults are under the same keys and compared file by file. What starting a
child costs is left out: of the folder that of a run with one file is taken off. Beside them:
Orthanc, which stores the same files by storescu as they are, a copy with fsync, and pydicom's
reading and writing. Then the first object of a site whose case report has so many patients, in a
process that knows nothing. Needs the Debian packages dcmtk, orthanc and orthanc-dicomweb.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pydicom
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.pacs.pacs_listener import Listener
from dagster_project.intake.pacs.pacs_messages import MessageArchive
from dagster_project.intake.pacs.pacs_pull import pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer
from dagster_project.intake.pacs.pacs_wanted import Wanted
from dagster_project.intake.pacs.pacs_web import WebArchive
from dagster_project.intake.vault.sandbox import close_child
from dagster_project.intake.vault.vault import Reception, take_in
from tests.intake import peers
from tests.intake.builders import ct, to_bytes

CHILD = "dagster_project.intake.vault.sandbox"
"""What the child that reads files is called on its command line."""


def chests(count: int, size: int) -> Iterator[np.ndarray]:
    """Stored values of slices through a chest: a body, two lungs, and a scanner's noise."""
    chance = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size] / size - 0.5
    body = (x / 0.42) ** 2 + (y / 0.32) ** 2 < 1
    lung = ((abs(x) - 0.19) / 0.13) ** 2 + (y / 0.2) ** 2 < 1
    hu = gaussian_filter(np.where(lung, -850.0, np.where(body, 40.0, -1000.0)), 1.0)
    for _ in range(count):
        noise = 60 * gaussian_filter(chance.normal(size=(size, size)), 0.7)
        yield np.clip(np.rint(hu + 1024 + noise), 0, 4095).astype(np.int64)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def our_cpu(*, ended: bool = False) -> float:
    """CPU seconds of this process and its child that reads files; `ended`: of those that ended."""
    ours = psutil.Process()
    readers = [one for one in ours.children() if CHILD in one.cmdline()]
    times = ours.cpu_times()
    gone = times.children_user + times.children_system if ended else 0.0
    return cpu_of(ours) + sum(map(cpu_of, readers)) + gone


class Bench:
    """One series, one set of keys, and a vault a way."""

    def __init__(self, root, slices, size):
        self.root, self.keys, self.digests = (
            root,
            unlock(create_throwaway_medium(root / "keys")),
            {},
        )
        self.sent = root / "landing" / "AB" / "dicom"
        self.sent.mkdir(parents=True)
        for index, pixels in enumerate(chests(slices, size)):
            (self.sent / f"{index:04d}.dcm").write_bytes(to_bytes(ct(index, pixels=pixels)))
        self.count, self.peer = slices, 0.0
        self.orthanc = peers.Orthanc(root / "orthanc", peers.free_port())

    def reception(self, name):
        empty = self.root / name / "AB"
        empty.mkdir(parents=True)
        return Reception(
            empty,
            self.root / f"vault-{name}" / "AB",
            keys=self.keys,
            crosswalk=self.root / "crosswalk",
        )

    def timed(self, name, work):
        """Print what a way costs; the child has been started by an object before."""
        self.reception(f"before {name}").take("1.2.3", next(self.sent.iterdir()).read_bytes())
        began, cpu = time.monotonic(), our_cpu()
        work()
        cpu, seconds = our_cpu() - cpu, time.monotonic() - began
        self.digests[name] = self.found(name)
        same = self.digests[name] == self.digests["folder"]
        self.print_row(name, cpu, seconds, "yes" if same else "NO")

    def print_row(self, name, cpu, seconds, same=""):
        each = 1000 * cpu / self.count
        of_peer = f"{each / self.peer:.1f}" if self.peer else ""
        print(f"| {name} | {each:.1f} | {of_peer} | {seconds:.1f} | {same} |", flush=True)
        return each

    def archive(self):
        """Orthanc stores the same files as they are."""
        process = psutil.Process(self.orthanc.process.pid)
        began, cpu = time.monotonic(), cpu_of(process)
        sent = peers.dcmtk("storescu", self.orthanc.port, "+sd", str(self.sent), called="ORTHANC")
        assert sent.returncode == 0, sent.stderr[-500:]
        assert self.orthanc.count() == self.count
        self.peer = self.print_row(
            "Orthanc, storescu, as they are", cpu_of(process) - cpu, time.monotonic() - began
        )

    def copied(self):
        began, cpu = time.monotonic(), time.process_time()
        target = self.root / "copy"
        for path in self.sent.iterdir():
            with target.open("wb") as file:
                file.write(path.read_bytes())
                os.fsync(file.fileno())
        self.print_row("copy and fsync", time.process_time() - cpu, time.monotonic() - began)

    def rewritten(self):
        began, cpu = time.monotonic(), time.process_time()
        for path in self.sent.iterdir():
            pydicom.dcmread(path).save_as(self.root / "rewritten")
        self.print_row(
            "pydicom, read and write", time.process_time() - cpu, time.monotonic() - began
        )

    def taken(self, landing, name):
        """CPU and other seconds of a run over a folder, and of its child."""
        began, cpu = time.monotonic(), our_cpu(ended=True)
        take_in(
            landing,
            self.root / f"vault-{name}" / "AB",
            keys=self.keys,
            crosswalk=self.root / "crosswalk",
        )
        return our_cpu(ended=True) - cpu, time.monotonic() - began

    def folder(self):
        one = self.root / "one" / "AB" / "dicom"
        one.mkdir(parents=True)
        shutil.copy(next(self.sent.iterdir()), one)
        (alone, s_alone), (cpu, seconds) = (
            self.taken(one.parent, "one"),
            self.taken(self.sent.parent, "folder"),
        )
        self.digests["folder"] = self.found("folder")
        self.print_row("folder", cpu - alone, seconds - s_alone)

    def found(self, name):
        vault = self.root / f"vault-{name}" / "AB"
        return sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in vault.rglob("*.dcm"))

    def storescu(self):
        with Listener(Listening(port=0, callers=("PACS",)), self.reception("storescu")) as listener:
            sent = peers.dcmtk("storescu", listener.port, "+sd", str(self.sent))
            assert sent.returncode == 0, sent.stderr[-500:]

    def move(self):
        reception, ours = (
            self.reception("C-MOVE"),
            Listening(port=self.orthanc.ours, callers=("ORTHANC",)),
        )
        with Listener(ours, reception):
            pull(
                MessageArchive(Peer("move", "ORTHANC", port=self.orthanc.port), ours, reception),
                reception,
                [Wanted("ZY0012345")],
            )

    def web(self):
        reception = self.reception("DICOMweb")
        pull(
            WebArchive(
                Peer("dicomweb", url=f"{self.orthanc.url}/dicom-web"), Listening(), reception
            ),
            reception,
            [Wanted("ZY0012345")],
        )


FIRST = """
import sys, time
from pathlib import Path
from dagster_project.intake.identity.keys import unlock
from dagster_project.intake.vault.sandbox import close_child
from dagster_project.intake.vault.vault import Reception
root = Path(sys.argv[1])
reception = Reception(root / "AB", root / "vault" / "AB", keys=unlock(root / "keys"),
                      crosswalk=root / "crosswalk")
began = time.monotonic()
outcome = reception.take(sys.argv[3], Path(sys.argv[2]).read_bytes())
assert not outcome.reason, outcome.reason
print(f"{time.monotonic() - began:.2f} | {time.process_time():.2f}")
close_child()
"""
"""A process that knows nothing takes one object."""


def first_object(root, source, patients):
    """The first object of a site whose case report has so many patients."""
    clinical = root / "AB" / "clinical"
    clinical.mkdir(parents=True)
    create_throwaway_medium(root / "keys")
    rows = [f"ZY{n:07d},Anna {n},1950-01-01,F,enrolled" for n in range(12346 - patients, 12346)]
    head = "patient_id,name,birth_date,sex,consent"
    (clinical / "patients.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    uid = str(pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID)
    found = subprocess.run(
        [sys.executable, "-c", FIRST, str(root), str(source), uid],
        check=True,
        capture_output=True,
        text=True,
    )
    print("\n| patients | first object, s by the clock | CPU s with all imports |\n|---|---|---|")
    print(f"| {patients} | {found.stdout.strip()} |")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slices", type=int, default=200)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--patients", type=int, default=500)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.slices, chosen.size)
        try:
            print(
                "| way | CPU ms an object | × Orthanc | s | same as folder |\n|---|---|---|---|---|"
            )
            bench.archive()
            bench.copied()
            bench.rewritten()
            bench.folder()
            for name, work in (
                ("storescu", bench.storescu),
                ("C-MOVE", bench.move),
                ("DICOMweb", bench.web),
            ):
                bench.timed(name, work)
        finally:
            bench.orthanc.stop()
            close_child()
        first_object(Path(folder) / "first", next(bench.sent.iterdir()), chosen.patients)


if __name__ == "__main__":
    main()
