"""Where files lie: one folder for a study's data, and two settings that move the lake elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dagster_project.lake.sharing import FOLDER, share_folder
from dagster_project.protocol import SITE_FORM, SITE_PATTERN
from dagster_project.study import load_study, protocol_file

RECEIVED = "received"
"""A file of a site's vault that changes whenever the PACS has sent something new."""

TAKEN_IN = "delivery"
"""A file of a site's vault: the signature of the delivery that intake has read to its end."""

RESTORE_MARK = "restore-unfinished"
"""A file in a home that a restore has begun to fill and not ended."""

OF_THE_SYSTEM = frozenset(
    {
        ".DS_Store",
        ".localized",
        ".Spotlight-V100",
        ".Trashes",
        ".fseventsd",
        ".TemporaryItems",
        "__MACOSX",
        "Thumbs.db",
        "desktop.ini",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        ".gitkeep",
    }
)
"""What file managers and disks leave in any folder; it holds no data of anybody."""


NO_SITE = f"a site's folder is named by its code ({SITE_FORM}); rename it"
NOT_LISTED = (
    "the protocol lists the sites of the study ([study] sites) and this code is none of them; "
    "correct the folder's name, or list the site"
)


def is_site(name: str) -> bool:
    """True for a site's code, by which its folder is named.

    1. It has the form of a code. 2. Where the protocol lists sites (`[study] sites`), it is one of
       them.

    >>> [is_site(name) for name in ("BJCH", "S01", "bjch", "BJCH (1)", "00123456", "ZY012345", "B")]
    [True, True, False, False, False, False, False]
    """
    return not why_no_site(name)


def why_no_site(name: str) -> str:
    """Why a name is no site's, without the name; empty for a site's code.

    Raises
    ------
    StudyError
        Where the protocol cannot be used.
    """
    if not _has_form(name):
        return NO_SITE
    listed = listed_sites()
    return NOT_LISTED if listed and name not in listed else ""


def listed_sites() -> frozenset[str]:
    """The codes that the protocol lists; none where it leaves them open."""
    file = protocol_file()
    found = file.stat()
    return _listed(file, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _listed(file: Path, _size: int, _modified: int) -> frozenset[str]:
    """Read once: every look at a folder asks."""
    return frozenset(load_study(file).sites)


def _has_form(name: str) -> bool:
    return re.fullmatch(SITE_PATTERN, name) is not None


@dataclass(frozen=True)
class Home:
    """The folders below LAKEHOUSE_HOME (default ./.lakehouse).

    Folders with patients' data are readable by their owner alone.
    """

    root: Path

    @property
    def landing(self) -> Path:
        """What sites deliver, identified; the delivery specification is in the README."""
        return self.root / "landing"

    @property
    def vault(self) -> Path:
        """De-identified DICOM, contours and case-report rows."""
        return self.root / "vault"

    @property
    def crosswalk(self) -> Path:
        """Sealed pseudonyms; useless without the key drive."""
        return self.root / "crosswalk"

    @property
    def lake(self) -> Path:
        """Catalogue and Parquet files."""
        return self.root / "lake"

    @property
    def codebooks(self) -> Path:
        """Fitted once on the cohort and frozen; they name no patient."""
        return self.lake / "codebooks"

    @property
    def backups(self) -> Path:
        """Copies of the catalogue from before each migration."""
        return self.lake / "backups"

    @property
    def answers(self) -> Path:
        """What was found in tables as they lay; each may be deleted, and is asked anew."""
        return self.lake / "answers"

    @property
    def mlflow(self) -> Path:
        """Runs, artefacts and the model registry."""
        return self.root / "mlflow"

    @property
    def due(self) -> Path:
        """The due list: as of today, beside shifted days, so that it is closed as the lake is."""
        return self.root / "due"

    @property
    def reports(self) -> Path:
        """Static pages."""
        return self.root / "reports"

    @property
    def published(self) -> Path:
        """What analysts open."""
        return self.root / "published"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage (DAGSTER_HOME)."""
        return self.root / "dagster"

    @property
    def throwaway_medium(self) -> Path:
        """A key drive made where there is none.

        For trials only, since it lies beside what it protects.
        """
        return self.root / "throwaway-key-medium"

    @property
    def half_restored(self) -> bool:
        """Whether a restore has begun to fill this home and not ended."""
        return (self.root / RESTORE_MARK).exists()

    @property
    def agent(self) -> Path:
        """Where the key agent listens, or what LAKEHOUSE_AGENT names."""
        return Path(os.environ.get("LAKEHOUSE_AGENT") or self.crosswalk / "agent.socket")

    @property
    def audit(self) -> Path:
        """Who was re-identified, withdrawn or merged, when and why.

        It lies beside the crosswalk, not in the lake.
        """
        return self.crosswalk / "audit.jsonl"

    @property
    def federated(self) -> Path:
        """The part in federated runs: ledger and key of the hospital."""
        return self.root / "federated"

    @property
    def watch(self) -> Path:
        """What listeners write for `lakehouse check`, and who was sent which message."""
        return self.root / "watch"

    @property
    def catalog(self) -> str:
        """DuckLake catalogue.

        A SQLite file, or what LAKEHOUSE_CATALOG names (postgres:dbname=…).
        """
        return os.environ.get("LAKEHOUSE_CATALOG") or f"sqlite:{self.lake / 'catalog.sqlite'}"

    @property
    def lake_made(self) -> bool:
        """Whether a SQLite catalogue is there; folders alone are made before anything is run."""
        return (self.lake / "catalog.sqlite").is_file()

    @property
    def has_lake(self) -> bool:
        """Whether a lake was made here, or lies on a database server."""
        return bool(os.environ.get("LAKEHOUSE_CATALOG")) or self.lake_made

    @property
    def data(self) -> str:
        """Where Parquet files lie: a folder, or what LAKEHOUSE_DATA names (s3://…)."""
        return os.environ.get("LAKEHOUSE_DATA") or str(self.lake / "data")

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking store."""
        return f"sqlite:///{self.mlflow_file}"

    @property
    def mlflow_file(self) -> Path:
        """The file of MLflow's tracking store."""
        return self.mlflow / "mlflow.sqlite"

    def make(self) -> Home:
        """Create the folders that are missing, closed to other users.

        The home itself, pages and publications are open to the group of the home.
        """
        self.make_root()
        for folder in (
            self.landing,
            self.vault,
            self.crosswalk,
            self.lake,
            self.codebooks,
            self.mlflow,
            self.due,
            self.reports,
            self.published,
            self.dagster,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        for closed in (
            self.landing,
            self.vault,
            self.crosswalk,
            self.lake,
            self.mlflow,
            self.due,
            self.dagster,
        ):
            closed.chmod(0o700)
        # pseudonymous; the group of the study may read them
        for shared in (self.reports, self.published):
            share_folder(shared, self.root)
        return self

    def make_root(self) -> Home:
        """Create the home folder where it is missing, open to its group whatever the umask."""
        if not self.root.is_dir():
            self.root.mkdir(parents=True)
            self.root.chmod(FOLDER)
        return self

    def delivery(self, site: str) -> str:
        """Signature of all that a site delivered.

        It covers the delivery folder, and what came straight from the site's PACS.
        """
        listed, received = delivery_signature(self.landing / site), self.vault / site / RECEIVED
        noted = received.read_text(encoding="utf-8") if received.is_file() else ""
        return hashlib.sha256((listed + noted).encode()).hexdigest()[:16] if noted else listed

    def taken_in(self, site: str) -> str:
        """Signature of the delivery that the site's vault took in last; empty for none."""
        file = self.vault / site / TAKEN_IN
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def forget_taken_in(self, site: str) -> None:
        """Have a site run whose vault holds what no table has yet.

        The sensor of deliveries does, unless it has run this very delivery; else the next night.
        """
        (self.vault / site / TAKEN_IN).unlink(missing_ok=True)

    def sites(self) -> list[str]:
        """Sites that have delivered or whose vault is filled, in order.

        A folder with another name is no site.
        """
        return sorted({*_sites_in(self.landing), *_sites_in(self.vault)})

    def former_sites(self) -> list[str]:
        """Vaults of codes that the protocol does not list, or no longer lists.

        Nothing is taken in or computed for them.
        """
        folders = self.vault.iterdir() if self.vault.is_dir() else ()
        return sorted(
            p.name for p in folders if p.is_dir() and _has_form(p.name) and not is_site(p.name)
        )

    def landing_sites(self) -> list[str]:
        """Sites that have delivered, in order."""
        return _sites_in(self.landing)

    def strangers(self) -> tuple[int, int]:
        """Numbers of folders and of files of the delivery folder that belong to no site.

        They are only counted, since their names may be a person's.
        """
        entries = list(self.landing.iterdir()) if self.landing.is_dir() else []
        others = [p for p in entries if p.name not in OF_THE_SYSTEM and not p.name.startswith("._")]
        folders = [p.is_dir() for p in others if not (p.is_dir() and is_site(p.name))]
        return sum(folders), len(folders) - sum(folders)


def _sites_in(folder: Path) -> list[str]:
    return (
        sorted(p.name for p in folder.iterdir() if p.is_dir() and is_site(p.name))
        if folder.is_dir()
        else []
    )


def delivery_signature(folder: Path) -> str:
    """Digest of names, sizes and times of a site's delivery.

    It changes while files still arrive, and reveals no name.
    """
    files = (Path(path, name) for path, _, names in os.walk(folder) for name in names)
    listing = sorted((str(file.relative_to(folder)), *_size_and_time(file)) for file in files)
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _size_and_time(file: Path) -> tuple[int, int]:
    """Size and time of a file; -1 and 0 where it vanished meanwhile.

    The system's error would quote its name, which may hold a patient's.
    """
    try:
        found = file.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def find_home() -> Home:
    """The home that LAKEHOUSE_HOME names, as an absolute path."""
    return Home(Path(os.environ.get("LAKEHOUSE_HOME") or ".lakehouse").resolve())
