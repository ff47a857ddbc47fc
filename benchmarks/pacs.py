"""How long 400 slices take from a real PACS, beside folder intake.

They come by storescu (DCMTK) to our listener, and by C-MOVE and DICOMweb from Orthanc.

    python benchmarks/pacs.py [--slices 400] [--size 512]

Seconds by the clock in one run, on loopback; the four vaults are under the same keys and compared
file by file. Needs the Debian packages dcmtk, orthanc and orthanc-dicomweb.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.intake.keys import create_throwaway_medium, unlock
from dagster_project.intake.pacs_listener import Listener
from dagster_project.intake.pacs_messages import MessageArchive
from dagster_project.intake.pacs_pull import pull
from dagster_project.intake.pacs_settings import Listening, Peer
from dagster_project.intake.pacs_wanted import Wanted
from dagster_project.intake.pacs_web import WebArchive
from dagster_project.intake.reading import close_child
from dagster_project.intake.vault import Reception, take_in
from tests.intake import peers
from tests.intake.builders import ct, to_bytes


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
        random = np.random.default_rng(1)
        for index in range(slices):
            (self.sent / f"{index:04d}.dcm").write_bytes(
                to_bytes(ct(index, pixels=random.integers(0, 4096, (size, size))))
            )
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
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        vault = self.root / f"vault-{name}" / "AB"
        self.digests[name] = sorted(
            hashlib.sha256(p.read_bytes()).hexdigest() for p in vault.rglob("*.dcm")
        )
        same = self.digests[name] == self.digests["folder"]
        print(
            f"| {name} | {len(self.digests[name])} | {seconds:.1f} "
            f"| {len(self.digests[name]) / seconds:.0f} | {'yes' if same else 'NO'} |",
            flush=True,
        )

    def folder(self):
        take_in(
            self.root / "landing" / "AB",
            self.root / "vault-folder" / "AB",
            keys=self.keys,
            crosswalk=self.root / "crosswalk",
        )

    def storescu(self):
        with Listener(Listening(port=0, callers=("PACS",)), self.reception("storescu")) as listener:
            told = peers.dcmtk("storescu", listener.port, "+sd", str(self.sent))
            assert told.returncode == 0, told.stderr[-500:]

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


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slices", type=int, default=400)
    options.add_argument("--size", type=int, default=512)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.slices, chosen.size)
        try:
            for path in bench.sent.iterdir():
                bench.orthanc.put(path.read_bytes())
            print(
                "| way | objects | s | objects a second | same as folder |\n|---|---|---|---|---|"
            )
            for name, work in (
                ("folder", bench.folder),
                ("storescu", bench.storescu),
                ("C-MOVE", bench.move),
                ("DICOMweb", bench.web),
            ):
                bench.timed(name, work)
        finally:
            bench.orthanc.stop()
            close_child()


if __name__ == "__main__":
    main()
