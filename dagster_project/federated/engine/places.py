"""Where the files of federated runs lie in a home; all are closed to other users."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dagster_project.intake.identity.pseudonyms import medium_of
from dagster_project.lake.home import Home


def write_closed(file: Path, content: bytes) -> None:
    """Write a file that its owner alone reads, also where it was there before."""
    descriptor = os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(content)


@dataclass(frozen=True)
class Places:
    """Folders and files below `federated` of a home."""

    folder: Path

    @property
    def key(self) -> Path:
        """The private key of this hospital's certificate; it is made here and stays."""
        return self.folder / "hospital.key"

    @property
    def request(self) -> Path:
        """The request for this hospital's certificate."""
        return self.folder / "request.csr"

    @property
    def rows(self) -> Path:
        """The path of the table that `join` was given."""
        return self.folder / "rows.path"

    @property
    def home(self) -> Home:
        """The home that the folder is in."""
        return Home(self.folder.parent)

    @property
    def medium(self) -> Path:
        """Public recipient of the key drive with which `join` found the home."""
        return self.folder / "medium"

    def note_medium(self) -> None:
        """Note the key drive that the home's pseudonyms come from."""
        write_closed(self.medium, medium_of(self.home.crosswalk).encode("ascii"))

    def read_medium(self) -> str:
        """The key drive that was noted; empty where none was."""
        return self.medium.read_text(encoding="ascii") if self.medium.is_file() else ""

    @property
    def authority(self) -> Path:
        """The coordinator's certificate authority, and the certificates that it has issued."""
        return self.folder / "authority"

    @property
    def workspace(self) -> Path:
        """Startup kit, jobs and logs of NVFlare at this hospital or coordinator."""
        return self.folder / "engine"

    @property
    def administration(self) -> Path:
        """The kit by which the coordinator submits jobs to itself."""
        return self.folder / "administration"

    @property
    def jobs(self) -> Path:
        """Jobs to be submitted."""
        return self.folder / "jobs"

    @property
    def results(self) -> Path:
        """How each run ended at this hospital."""
        return self.folder / "runs"

    def outcome(self, name: str, *, coordinator: bool = False) -> Path:
        """How a run ended here."""
        folder = self.folder / "coordinator" if coordinator else self.results
        return folder / f"{name}.json"

    def make(self, *folders: Path) -> None:
        """Create folders, closed to other users."""
        for folder in (self.folder, *folders):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
