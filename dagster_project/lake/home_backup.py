"""A copy of what a home cannot make again; it can be restored at any path.

1. The catalogue is copied first. Parquet files are written once, so that those which it names are
   there afterwards.
2. Databases of SQLite are copied by SQLite's own backup, other files byte by byte.
3. A file with the size and time of change that the newest earlier backup has is linked to it.
4. Everything that was copied is read again from the disk before the backup gets its name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from dagster_project.lake.catalogue_backup import POSTGRES, SQLITE, copy_sqlite, dump_postgres
from dagster_project.lake.durable import sync_folder
from dagster_project.lake.errors import LakeError, NoBackup
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.locks import locked
from dagster_project.lake.migrations import latest
from dagster_project.study import load_study, protocol_file

FORMAT = 1
"""Version of the manifest; another one is refused."""

MANIFEST, DIGEST = "manifest.json", "manifest.sha256"
"""What a backup holds, with sizes and digests, and the digest of that list.

The second has the form of sha256sum.
"""

PROTOCOL_COPY = "protocol-in-force.toml"
"""The protocol at the time of the backup, wherever it lies otherwise."""

CATALOGUE, DUMP = "lake/catalog.sqlite", "lake/catalog.dump"
DATA = "lake/data"

FOLDERS = ("crosswalk", "federated", "mlflow", "dagster")
"""Folders of the home that are copied whole, beside the lake and the vault.

The landing is delivered again; pages and publications are written again.
"""

NEVER = (".age", ".lock", ".part", ".socket", "-wal", "-shm", "-journal")
"""Endings of files that are not copied: key media, locks, what is half written.

The last three belong to a database of SQLite, whose copy is complete without them.
"""

SQLITE_MAGIC = b"SQLite format 3\0"
AT_ONCE = 2**20
PARTIAL = ".lakehouse-backup-"


class BackupError(LakeError):
    """A backup could not be made or restored; the message has an English and a Chinese line."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(f"{en}\n{zh}")


@dataclass(frozen=True)
class Copied:
    """One file of a backup."""

    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    made_at: str
    program: str
    schema_version: int
    catalogue: str
    """`sqlite`, `postgres`, or `none` where the home has no lake yet."""
    data: str
    """`local`, or `remote` where the Parquet files lie in an object store and are not copied."""
    protocol_digest: str
    files: Mapping[str, Copied]

    def as_json(self) -> bytes:
        """The form in which it is stored."""
        facts = {key: value for key, value in vars(self).items() if key != "files"}
        files = {name: [f.size, f.modified_ns, f.sha256] for name, f in sorted(self.files.items())}
        return json.dumps({"format": FORMAT, **facts, "files": files}, indent=0).encode()


@dataclass(frozen=True)
class Backup:
    """A backup that was made: where, and what had to be copied."""

    folder: Path
    manifest: Manifest
    copied: int
    linked: int

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.manifest.files.values())


def list_backups(destination: Path) -> list[Path]:
    """Complete backups of a folder, the oldest first."""
    return sorted(file.parent for file in destination.glob(f"[0-9]*Z/{DIGEST}"))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises
    ------
    BackupError
        Where it is missing, damaged, or of a later format.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        noted = (folder / DIGEST).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError):
        raise _no_backup(folder) from None
    if hashlib.sha256(text).hexdigest() != noted:
        raise BackupError(
            f"{MANIFEST} of this backup is damaged; use an earlier backup",
            f"该备份的 {MANIFEST} 已损坏；请使用更早的备份",
        )
    written = json.loads(text)
    if written.pop("format") != FORMAT:
        raise BackupError(
            "this backup was made by a later version of the program; restore it with that version",
            "该备份由更新版本的程序制作；请用该版本恢复",
        )
    files = {name: Copied(*facts) for name, facts in written.pop("files").items()}
    return Manifest(**written, files=files)


def _no_backup(folder: Path) -> BackupError:
    return BackupError(
        f"{folder} holds no complete backup (a folder with {MANIFEST} and {DIGEST})",
        f"{folder} 中没有完整的备份（应含 {MANIFEST} 与 {DIGEST}）",
    )


def back_up_home(home: Home, destination: Path, now: dt.datetime, *, anew: bool = False) -> Backup:
    """Write a backup of a home below a folder, whole or not at all.

    Call it while the home is locked (`lake.locks`).

    Parameters
    ----------
    now
        Names the backup, in UTC.
    anew
        Copy every file, also those that an earlier backup has.

    Raises
    ------
    BackupError
        Where the folder lies within the home, has too little space, or a file does not read back
        as it was written.
    """
    _refuse_within(home, destination)
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(destination / ".lock", "lakehouse backup", seconds=0):
        for left in destination.glob(f"{PARTIAL}*"):
            shutil.rmtree(left)
        earlier = None if anew else _newest(destination)
        return _write(home, destination, now, earlier)


def prune_backups(destination: Path, keep: int) -> tuple[str, ...]:
    """Delete all but the newest backups of a folder; the names of those that went."""
    going = list_backups(destination)[:-keep]
    for folder in going:
        (folder / DIGEST).unlink()  # what is deleted half-way is no backup any more
        shutil.rmtree(folder)
    return tuple(folder.name for folder in going)


def _refuse_within(home: Home, destination: Path) -> None:
    if destination.resolve().is_relative_to(home.root):
        raise BackupError(
            "the backup would lie within the home that it copies; name a folder elsewhere, "
            "on another disk",
            "备份目录位于被备份的主目录之内；请指定其他磁盘上的目录",
        )


def _newest(destination: Path) -> tuple[Path, Manifest] | None:
    for folder in reversed(list_backups(destination)):
        with contextlib.suppress(BackupError):
            return folder, read_manifest(folder)
    return None


def _write(
    home: Home, destination: Path, now: dt.datetime, earlier: tuple[Path, Manifest] | None
) -> Backup:
    name = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    partial = destination / f"{PARTIAL}{name}"
    partial.mkdir(mode=0o700)
    try:
        copier = _Copier(partial, earlier)
        _copy_all(home, copier)
        manifest = _manifest(home, copier, now)
        os.sync()
        copier.verify()
        write_whole(partial / MANIFEST, text := manifest.as_json())
        line = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n"
        write_whole(partial / DIGEST, line.encode())
        folder = partial.rename(destination / name)
        sync_folder(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Backup(folder, manifest, len(copier.fresh), copier.linked)


def _manifest(home: Home, copier: _Copier, now: dt.datetime) -> Manifest:
    return Manifest(
        made_at=now.astimezone(dt.UTC).isoformat(timespec="seconds"),
        program=version("dynamic-irecist-lakehouse"),
        schema_version=latest(),
        catalogue=catalogue_kind(home),
        data="remote" if "://" in home.data else "local",
        protocol_digest=load_study().digest,
        files=copier.files,
    )


def catalogue_kind(home: Home) -> str:
    """`sqlite`, `postgres`, or `none` where there is no lake yet."""
    if home.catalog.startswith(POSTGRES):
        return "postgres"
    return "sqlite" if home.lake_made else "none"


def _copy_all(home: Home, copier: _Copier) -> None:
    """Copy in the order in which one part names the next."""
    _copy_catalogue(home, copier)
    if "://" not in home.data:
        copier.add_tree(Path(home.data), DATA)
    copier.add_tree(home.codebooks, "lake/codebooks")
    for file in sorted(home.lake.glob("*.json")):
        copier.add(file, f"lake/{file.name}")
    for site in sorted(p for p in home.vault.glob("*") if p.is_dir()):
        _copy_site(site, copier)
    for folder in FOLDERS:
        copier.add_tree(home.root / folder, folder)
    passphrase = os.environ.get("LAKEHOUSE_PASSPHRASE_FILE", "")
    for file in sorted(home.root.glob("*")):
        if file != Path(passphrase):
            copier.add(file, file.name)
    copier.add(protocol_file(), PROTOCOL_COPY)


def _copy_catalogue(home: Home, copier: _Copier) -> None:
    kind = catalogue_kind(home)
    try:
        if kind == "sqlite":
            copier.make(CATALOGUE, lambda f: copy_sqlite(Path(home.catalog[len(SQLITE) :]), f))
        elif kind == "postgres":
            copier.make(DUMP, lambda f: dump_postgres(home.catalog[len(POSTGRES) :], f))
    except NoBackup as error:
        raise BackupError(
            f"the catalogue was not copied: {error.why}. No backup was made",
            "目录库未能复制，未制作备份；请先解决上述问题",
        ) from error


def _copy_site(folder: Path, copier: _Copier) -> None:
    """Copy a site's vault, into which a PACS may send meanwhile.

    Most is copied beside the listener; what it wrote meanwhile is copied under the site's lock, so
    that files, register and manifest agree and a sender waits for seconds.
    """
    name = f"vault/{folder.name}"
    copier.add_tree(folder, name, databases=False)
    with locked(folder / ".lock", "lakehouse backup"):
        copier.forget_gone(folder, name)
        copier.add_tree(folder, name)


@dataclass
class _Copier:
    """Copies files into a folder, and knows what it has copied."""

    target: Path
    earlier: tuple[Path, Manifest] | None
    files: dict[str, Copied] = field(default_factory=dict)
    fresh: dict[str, Copied] = field(default_factory=dict)
    linked: int = 0

    def add_tree(self, folder: Path, name: str, *, databases: bool = True) -> None:
        """Copy the files below a folder."""
        for file in sorted(folder.rglob("*")):
            self.add(file, f"{name}/{file.relative_to(folder)}", database=databases)

    def add(self, source: Path, name: str, *, database: bool = True) -> None:
        """Copy a file under a name, or link the earlier backup's.

        What is no regular file, is never copied, or is gone by now, is left out.
        """
        if source.name.endswith(NEVER) or source.is_symlink():
            return
        with contextlib.suppress(FileNotFoundError):
            found = source.stat()
            if not stat.S_ISREG(found.st_mode):
                return
            if _is_sqlite(source):
                if database:
                    self.make(name, lambda made: copy_sqlite(source, made))
            elif not self._has(name, found):
                self._copy(source, name, found)

    def make(self, name: str, write: Callable[[Path], object]) -> None:
        """Have a file written by a function that takes its path."""
        file = self._place(name)
        file.touch(mode=0o600)
        write(file)
        found = file.stat()
        self._note(name, Copied(found.st_size, found.st_mtime_ns, digest_of(file)))

    def forget_gone(self, folder: Path, name: str) -> None:
        """Take back what was copied of a folder and has left it since."""
        gone = [
            n
            for n in self.files
            if n.startswith(f"{name}/") and not (folder / n.removeprefix(f"{name}/")).is_file()
        ]
        for n in gone:
            (self.target / n).unlink()
            del self.files[n]
            self.fresh.pop(n, None)

    def verify(self) -> None:
        """Read every file that was copied again, from the disk."""
        for name, noted in self.fresh.items():
            if digest_of(self.target / name, cached=False) != noted.sha256:
                raise BackupError(
                    "a file of the backup does not read back as it was written; "
                    "look at the disk of the backup, and give the command again",
                    "备份文件读出内容与写入时不符；请检查备份磁盘后重新运行",
                )

    def _has(self, name: str, found: os.stat_result) -> bool:
        """Whether a file is there already, from this backup or, by a link, from the earlier one."""
        facts = (found.st_size, found.st_mtime_ns)
        own = self.files.get(name)
        if own is not None and (own.size, own.modified_ns) == facts:
            return True
        known = self.earlier[1].files.get(name) if self.earlier else None
        if own is None and known and (known.size, known.modified_ns) == facts:
            return self._link(name, known)
        return False

    def _link(self, name: str, known: Copied) -> bool:
        """Link the earlier backup's file; False where it is not as noted or links are unknown."""
        assert self.earlier is not None
        former = self.earlier[0] / name
        try:
            if former.stat().st_size != known.size:
                return False
            os.link(former, self._place(name))
        except OSError:
            return False
        self.files[name] = known
        self.linked += 1
        return True

    def _copy(self, source: Path, name: str, found: os.stat_result) -> None:
        file = self._place(name)
        seen = copy_file(source, file)
        os.utime(file, ns=(found.st_mtime_ns, found.st_mtime_ns))
        self._note(name, Copied(file.stat().st_size, found.st_mtime_ns, seen))

    def _place(self, name: str) -> Path:
        """Where a file goes: nothing is there, since a link would be written through."""
        file = self.target / name
        make_private(file.parent, self.target)
        file.unlink(missing_ok=True)
        return file

    def _note(self, name: str, copied: Copied) -> None:
        self.files[name] = self.fresh[name] = copied


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def make_private(folder: Path, below: Path) -> None:
    """Make a folder and those between it and another one, closed to others."""
    missing = [f for f in (folder, *folder.parents) if f.is_relative_to(below) and not f.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700)


def copy_file(source: Path, target: Path) -> str:
    """Copy bytes into a new file that is closed to others; SHA-256 of what was read."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        for block in _blocks(source):
            digest.update(block)
            written.write(block)
    return digest.hexdigest()


def digest_of(file: Path, *, cached: bool = True) -> str:
    """SHA-256 of a file; where it shall not come from memory, the kernel is asked to forget it."""
    digest = hashlib.sha256()
    if not cached:
        _forget(file)
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


def _forget(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(AT_ONCE):
            yield block
