"""Power cuts at random moments of an intake.

What was not synced is lost, torn or emptied, and the next run goes on.

    python benchmarks/power_loss.py [--moments 500] [--seed 1] [--without sync_file|sync_folder]

Every write, sync and change of a name below a site's vault is recorded while it is taken in. At a
moment the disk holds what was synced, and of everything else whatever chance leaves: each name of a
folder by itself, the data of each file whole, cut, zeroed or gone. What SQLite has committed is on
the disk, since it waits for the disk; `commits_last` is False for a disk that takes the last commit
back.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import polars as pl

from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.vault import manifest, vault, vault_placement
from dagster_project.intake.vault.manifest import verify_manifest
from dagster_project.intake.vault.vault import Reception, take_in
from tests.intake.builders import (
    KEYS,
    ROOT,
    ct,
    image,
    rtstruct,
    to_bytes,
    write_mask,
    write_series,
)
from tests.intake.vault.test_vault import in_this_process

Names = dict[int, dict[str, int]]
"""By number of a folder: its names and the numbers they lead to; the vault itself is number 0."""

SYNCS = {
    "sync_file": ((vault, "sync_file"), (manifest, "sync_file")),
    "sync_folder": (
        (vault, "sync_folder"),
        (manifest, "sync_folder"),
        (vault_placement, "sync_folders"),
        (vault, "sync_folders"),
    ),
}
"""What can be taken out, so that the benchmark is seen to fail: functions of modules by guard."""

DATABASE = "intake.sqlite"


@dataclass(frozen=True)
class Moment:
    """What was there, and what of it was on the disk.

    `acknowledged` are digests of objects whose storage was confirmed to the sender.
    """

    names: Names
    data: Mapping[int, bytes]
    synced_names: Names
    synced_data: Mapping[int, bytes]
    commits: tuple[bytes, ...]
    crosswalk: bytes
    acknowledged: frozenset[str]


@dataclass
class Recorder:
    """Watches a folder while something writes to it."""

    root: Path
    crosswalk: Path
    moments: list[Moment] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    _synced_names: Names = field(default_factory=dict)
    _synced_data: dict[int, bytes] = field(default_factory=dict)
    _commits: list[bytes] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _open: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def number(self, path: Path) -> int:
        """Number of a file or folder, in the order in which they were seen first.

        Each is held open while it is watched: a disk may give the inode of a folder that was
        removed to a new file.
        """
        inode = path.stat().st_ino
        if inode not in self._numbers:
            self._open.append(os.open(path, os.O_PATH))
            self._numbers[inode] = len(self._numbers)
        return self._numbers[inode]

    def look(self) -> None:
        """Note a moment."""
        names, data = self._seen()
        database = self.root / DATABASE
        content = database.read_bytes() if database.exists() else b""
        if not self._commits or self._commits[-1] != content:
            self._commits.append(content)
        crosswalk = self.crosswalk.read_bytes()
        self.moments.append(
            Moment(
                names,
                data,
                {k: dict(v) for k, v in self._synced_names.items()},
                dict(self._synced_data),
                tuple(self._commits[-2:]),
                crosswalk,
                frozenset(self.acknowledged),
            )
        )

    def synced(self, descriptor: int) -> None:
        """A file or folder was synced."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path != self.root and self.root not in path.parents:
            return
        number = self.number(path)
        if path.is_dir():
            self._synced_names[number] = self._entries(path)
        else:
            self._synced_data[number] = path.read_bytes()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Note the moments before and after each system call that changes something."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._release)
            self._synced_names, self._synced_data = self._seen()  # what lies there from before
            for name in ("replace", "rename", "mkdir", "unlink", "rmdir"):
                stack.enter_context(mock.patch.object(os, name, self._around(getattr(os, name))))
            stack.enter_context(mock.patch.object(os, "fsync", self._around(os.fsync, self.synced)))
            yield
            self.look()

    def _around(
        self, call: Callable[..., Any], then: Callable[[int], None] | None = None
    ) -> Callable[..., Any]:
        def called(*arguments: Any, **keywords: Any) -> Any:
            self.look()
            result = call(*arguments, **keywords)
            if then:
                then(arguments[0])
            self.look()
            return result

        return called

    def _release(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def _entries(self, folder: Path) -> dict[str, int]:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(DATABASE))
        return {path.name: self.number(path) for path in paths}

    def _seen(self) -> tuple[Names, dict[int, bytes]]:
        folders, names, data = [self.root], Names(), dict[int, bytes]()
        for folder in folders:
            number = self.number(folder)
            names[number] = self._entries(folder)
            for name, entry in names[number].items():
                path = folder / name
                if path.is_dir():
                    folders.append(path)
                else:
                    data[entry] = path.read_bytes()
        return names, data


def after_power_loss(
    moment: Moment, target: Path, chance: random.Random, *, commits_last: bool = True
) -> None:
    """What lies on the disk when the machine starts again."""
    names = _left_names(moment, chance)
    lost = (_reached(moment.synced_names) & _reached(moment.names)) - _reached(names)
    for folder, entries in moment.synced_names.items():  # a rename has one of its two names
        names.setdefault(folder, {}).update(
            {name: inode for name, inode in entries.items() if inode in lost}
        )
    _write(target, 0, names, moment, chance)
    content = moment.commits[-1] if commits_last else chance.choice(moment.commits)
    (target / DATABASE).write_bytes(content)


def _left_names(moment: Moment, chance: random.Random) -> Names:
    left: Names = {}
    for folder in sorted(moment.names.keys() | moment.synced_names.keys()):
        now, synced = moment.names.get(folder, {}), moment.synced_names.get(folder, {})
        chosen = {
            name: chance.choice([now.get(name), synced.get(name)])
            for name in sorted(now.keys() | synced.keys())
        }
        left[folder] = {name: inode for name, inode in chosen.items() if inode is not None}
    return left


def _reached(names: Names, folder: int = 0) -> set[int]:
    found: set[int] = set()
    for inode in names.get(folder, {}).values():
        found |= {inode} | (_reached(names, inode) if inode in names else set())
    return found


def _write(target: Path, folder: int, names: Names, moment: Moment, chance: random.Random) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    for name, inode in names.get(folder, {}).items():
        if inode in moment.names or inode in moment.synced_names:
            _write(target / name, inode, names, moment, chance)
        else:
            (target / name).write_bytes(_left_data(moment, inode, chance))


def _left_data(moment: Moment, inode: int, chance: random.Random) -> bytes:
    synced = moment.synced_data.get(inode, b"")
    now = moment.data.get(inode, synced)
    new = now.removeprefix(synced)
    kept = synced if now.startswith(synced) else b""
    if not new:
        return now
    return chance.choice(
        [synced, now, kept + new[: chance.randrange(len(new) + 1)], kept + bytes(len(new))]
    )


# ── what is taken in ──


@dataclass(frozen=True)
class Site:
    """A site whose landing lies beside its vault.

    Its patient has a pseudonym already, so that files can be compared.
    """

    root: Path
    keys: Keys = KEYS

    @property
    def landing(self) -> Path:
        return self.root / "landing" / "AB"

    @property
    def vault(self) -> Path:
        return self.root / "vault" / "AB"

    @property
    def crosswalk(self) -> Path:
        return self.root / "crosswalk.sqlite"

    def take(self) -> vault.IntakeReport:
        return take_in(self.landing, self.vault, keys=self.keys, crosswalk=self.crosswalk)

    def content(self) -> Counter[tuple[str, str]]:
        """Digest of each image and contour, by the folder that it lies in."""
        files = [
            p
            for p in self.vault.rglob("*")
            if p.suffix in {".dcm", ".gz"} and vault.INCOMING not in p.parts
        ]
        return Counter(
            (str(p.parent.relative_to(self.vault)), sha256(p.read_bytes()).hexdigest())
            for p in files
        )

    def tables(self) -> dict[str, Any]:
        files = sorted((self.vault / vault.CASE_REPORT).glob("*.parquet"))
        return {file.stem: pl.read_parquet(file).to_dicts() for file in files}


def new_site(root: Path) -> Site:
    """A site with a first delivery."""
    site = Site(root)
    Crosswalk(site.crosswalk, site.keys).find_or_create("AB", "ZY0012345")
    write_series(site.landing / "dicom", 4)
    (site.landing / "dicom" / "RS").write_bytes(to_bytes(rtstruct()))
    (site.landing / "dicom" / "no").write_bytes(b"no DICOM")
    for name in ("reads/R1", "clinical"):
        (site.landing / name).mkdir(parents=True)
    write_mask(site.landing / "reads" / "R1" / f"{ROOT}.2__L1.nii.gz", np.ones((2, 3, 4), np.uint8))
    (site.landing / "clinical" / "patients.csv").write_text(
        "patient_id,sex,birth_date,stage\nZY0012345,F,1949-05-11,IIIB\n", encoding="utf-8"
    )
    return site


def deliver_more(site: Site) -> None:
    """More slices, a corrected mask, two files that contradict each other, another stage."""
    for index in (5, 6):
        (site.landing / "dicom" / f"more{index}").write_bytes(to_bytes(ct(index)))
    for name, pixels in (("one", image(7)), ("two", image(9))):
        (site.landing / "dicom" / name).write_bytes(to_bytes(ct(7, pixels=pixels)))
    write_mask(site.landing / "reads" / "R1" / f"{ROOT}.2__L1.nii.gz", np.ones((2, 3, 5), np.uint8))
    (site.landing / "clinical" / "patients.csv").write_text(
        "patient_id,sex,birth_date,stage\nZY0012345,F,1949-05-11,IV\n", encoding="utf-8"
    )


@contextlib.contextmanager
def without(guard: str) -> Iterator[None]:
    """Take a guard out."""
    nothing = mock.Mock(return_value=None)
    with contextlib.ExitStack() as stack:
        for module, name in SYNCS.get(guard, ()):
            stack.enter_context(mock.patch.object(module, name, nothing))
        yield


def recorded(root: Path, what: str) -> tuple[Site, Recorder]:
    """An intake of a kind, with all its moments."""
    site = new_site(root)
    with (
        mock.patch.object(vault, "take_files", in_this_process),
        mock.patch.object(vault, "FILES_A_BATCH", 3),
    ):
        if what == "second delivery":
            site.take()
            deliver_more(site)
        recorder = Recorder(site.vault, site.crosswalk)
        if what == "network":
            shutil.rmtree(site.landing / "dicom")
            shutil.rmtree(site.landing / "reads")
            with recorder.watching():
                _receive(site, recorder)
            site.take()
        else:
            with recorder.watching():
                site.take()
    return site, recorder


def _receive(site: Site, recorder: Recorder | None = None) -> None:
    reception = Reception(site.landing, site.vault, keys=site.keys, crosswalk=site.crosswalk)
    for index in range(5):
        uid = f"{ROOT}.2.{1001 + index}"
        outcome = reception.take(uid, to_bytes(ct(index)))
        if recorder is not None and not outcome.reason:
            recorder.acknowledged.add(outcome.output_digest)
            recorder.look()
        if index == 2:
            reception.close()
    reception.close()


KINDS = ("first delivery", "second delivery", "network")


def fault_after(
    site: Site,
    moment: Moment,
    undisturbed: Site,
    what: str,
    chance: random.Random,
    folder: Path,
    *,
    commits_last: bool = True,
) -> str:
    """What is wrong after a power cut at a moment and the next run; empty where nothing is."""
    again = Site(folder)
    shutil.copytree(site.landing, again.landing)
    again.crosswalk.write_bytes(moment.crosswalk)
    again.vault.parent.mkdir(parents=True)
    after_power_loss(moment, again.vault, chance, commits_last=commits_last)
    with mock.patch.object(vault, "take_files", in_this_process):
        try:
            again.take()
        except Exception as error:  # a fault like any other
            return f"the next run ends with {type(error).__name__}"
        if not moment.acknowledged <= {digest for _, digest in again.content()}:
            return "acknowledged objects are lost"
        if what == "network":
            _receive(again)
        more = again.take().accepted
    wrong = {
        "a third run takes in more": more and what != "network",
        "other files than an undisturbed run has": again.content() != undisturbed.content(),
        "other rows than an undisturbed run has": again.tables() != undisturbed.tables(),
        "the manifest is broken": verify_manifest(again.vault / vault.MANIFEST).broken_line,
    }
    return next((name for name, found in wrong.items() if found), "")


def tried(
    moments: int, seed: int, guard: str = "", kinds: Sequence[str] = KINDS
) -> dict[str, Counter[str]]:
    """Faults by kind of intake, over random moments."""
    chance, found = random.Random(seed), {}
    for what in kinds:
        with tempfile.TemporaryDirectory() as folder, without(guard):
            site, recorder = recorded(Path(folder) / "recorded", what)
            found[what] = Counter[str]()
            for n in range(moments // len(kinds)):
                at = (
                    len(recorder.moments) - 1
                    if n % 10 == 0
                    else chance.randrange(len(recorder.moments))
                )
                place = Path(folder) / str(n)
                found[what][
                    fault_after(site, recorder.moments[at], site, what, chance, place) or "right"
                ] += 1
                shutil.rmtree(place)
            found[what]["moments recorded"] = len(recorder.moments)
    return found


def main() -> None:
    """Print what came of the power cuts; end with 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=510)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="", choices=("", *SYNCS))
    arguments = parser.parse_args()
    found = tried(arguments.moments, arguments.seed, arguments.without)
    print(
        "| intake | moments recorded | power cuts | wrong | what is wrong |\n"
        "|---|---:|---:|---:|---|"
    )
    for what, count in found.items():
        faults = {name: n for name, n in count.items() if name not in {"right", "moments recorded"}}
        wrong = sum(faults.values())
        named = ", ".join(f"{name}: {n}" for name, n in faults.items())
        print(
            f"| {what} | {count['moments recorded']} | {count['right'] + wrong} | {wrong} "
            f"| {named} |"
        )
    sys.exit(any(count.keys() - {"right", "moments recorded"} for count in found.values()))


if __name__ == "__main__":
    main()
