"""From a site's delivery into its vault: the one place of the flow that reads identified data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from dagster_project.compute import map_tasks, reason_of
from dagster_project.intake.identity.agent import LOCKED, ask_agent
from dagster_project.intake.identity.keys import (
    Keys,
    KeysError,
    create_throwaway_medium,
    is_throwaway,
    unlock,
)
from dagster_project.intake.identity.pseudonyms import OTHER_MEDIUM, medium_of
from dagster_project.intake.vault.vault import (
    CASE_REPORT,
    MANIFEST,
    REFUSED_TABLE,
    IntakeReport,
    take_in,
)
from dagster_project.lake.clock import CLOCK
from dagster_project.lake.free_space import fault_of
from dagster_project.lake.home import TAKEN_IN, Home
from dagster_project.study import digest_of

THROWAWAY = (
    "These are trial keys, which lie in the home folder beside what they protect: "
    "good for a trial, not for patients. "
    "The README says how the PI makes a key drive."
)


class DeliveryError(RuntimeError):
    """A site's delivery could not be taken in.

    The error bears no cause: Dagster stores causes, and a system's error quotes names of the
    landing.
    """

    def __init__(self, site: str, cause: Exception) -> None:
        super().__init__(f"site {site} could not be taken in: {reason_of(cause)}")


def session_keys(home: Home) -> Keys:
    """Keys of this session.

    1. Of the agent that listens for this home (`lakehouse keys unlock`), or that LAKEHOUSE_AGENT
       names.
    2. Of the key drive that LAKEHOUSE_KEYS names, with the passphrase in the file that
       LAKEHOUSE_PASSPHRASE_FILE names.
    3. Of a trial key drive in the home folder, where no other key drive was ever made for it.

    Raises
    ------
    KeysError
        Where intake is locked, the passphrase is wrong, or the home belongs to another key drive.
    """
    if os.environ.get("LAKEHOUSE_AGENT") or home.agent.exists():
        return _of_this_home(home, ask_agent(home.agent))
    named = os.environ.get("LAKEHOUSE_KEYS")
    return _of_this_home(home, _medium_keys(Path(named)) if named else _throwaway_keys(home))


def _of_this_home(home: Home, keys: Keys) -> Keys:
    if medium_of(home.crosswalk) not in {"", keys.recipient}:
        raise KeysError(OTHER_MEDIUM)
    return keys


def _medium_keys(medium: Path) -> Keys:
    passphrase = os.environ.get("LAKEHOUSE_PASSPHRASE_FILE")
    if not is_throwaway(medium) and not passphrase:
        raise KeysError(
            "the key drive is sealed and intake is locked; "
            "unlock it with `lakehouse keys unlock KEY_DRIVE`, "
            "or give the file that holds the passphrase in LAKEHOUSE_PASSPHRASE_FILE"
        )
    if passphrase and not Path(passphrase).is_file():
        raise KeysError(
            "the file that LAKEHOUSE_PASSPHRASE_FILE names is not there and intake is locked; "
            "unlock with `lakehouse keys unlock KEY_DRIVE`"
        )
    return unlock(
        medium, Path(passphrase).read_text(encoding="utf-8").rstrip("\n") if passphrase else ""
    )


def _throwaway_keys(home: Home) -> Keys:
    medium, known = home.throwaway_medium, medium_of(home.crosswalk)
    if known and not is_throwaway(medium):
        raise KeysError(LOCKED)
    return unlock(medium if is_throwaway(medium) else create_throwaway_medium(medium))


def content_of_vault(home: Home, site: str) -> str:
    """Digest of what tables of a site are made from: objects, case report, and refusals.

    The clock of its last intake is left out: it moves each night.
    """
    vault = home.vault / site
    files = [vault / MANIFEST, vault / REFUSED_TABLE, *(vault / CASE_REPORT).glob("*.parquet")]
    contents = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and file.stem != CLOCK
    }
    return digest_of(contents)


def take_in_site(home: Home, site: str, say: Callable[[str], None]) -> IntakeReport | None:
    """De-identify what a site delivered since the last run.

    None where the site has no delivery folder; its vault then stays as it is.

    Raises
    ------
    DeliveryError
        Where the site cannot be taken in at all; the others can.
    """
    folder, vault = home.landing / site, home.vault / site
    if not folder.is_dir():
        say("no delivery folder: the vault is kept as it is")
        return None
    keys, signature = session_keys(home), home.delivery(site)
    if keys.throwaway:
        say(THROWAWAY)
    try:
        report = take_in(
            folder,
            vault,
            keys=keys,
            crosswalk=home.crosswalk,
            mapper=map_tasks,
            progress=_Progress(say),
        )
    except Exception as error:
        raise DeliveryError(site, fault_of(error, home) or error) from None
    (vault / TAKEN_IN).write_text(signature, encoding="utf-8")
    (vault / "SIMULATED").touch() if (folder / "SIMULATED").is_file() else (
        vault / "SIMULATED"
    ).unlink(missing_ok=True)
    return report


class _Progress:
    """Says about ten times how far the intake is."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._told = say, 0

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > self._told:
            self._told = tenth
            self._say(f"files looked at: {done} of {total}")
