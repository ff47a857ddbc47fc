"""A home with one site whose reception is open, for the tests of what comes from a PACS."""

import hashlib
import subprocess

import polars as pl

from dagster_project.intake.keys import create_throwaway_medium, unlock
from dagster_project.intake.pacs_listener import Listener
from dagster_project.intake.pacs_settings import Listening
from dagster_project.intake.vault import Reception, take_in
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
        self.reception = Reception(self.landing, self.vault, keys=unlock(self.medium), crosswalk=self.crosswalk)

    def listener(self, **changes):
        return Listener(Listening(**{"callers": ("PACS", "ORTHANC"), "port": 0, **changes}), self.reception)

    def content(self):
        """Digest of each file of the vault's images and contours, by name; not of what is still coming in."""
        files = [p for p in self.vault.rglob("*.dcm") if ".incoming" not in p.parts]
        return {str(p.relative_to(self.vault)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

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
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made, "-subj", f"/CN={name}",
               "-addext", f"subjectAltName={alternative}", *options]
    subprocess.run(command, check=True, capture_output=True)
    return key, made
