"""A home from a backup, at any path: each file is compared with the manifest as it is written.

1. An empty home alone is filled. Until all is there it bears a mark, and no command works on it.
2. A PostgreSQL catalogue is restored into the empty database that LAKEHOUSE_CATALOG names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dagster_project.lake.catalogue_backup import DEBIAN, POSTGRES, without_password
from dagster_project.lake.durable import sync_folder
from dagster_project.lake.home import RESTORE_MARK, Home
from dagster_project.lake.home_backup import (
    DATA,
    DIGEST,
    DUMP,
    BackupError,
    Manifest,
    catalogue_kind,
    copy_file,
    digest_of,
    list_backups,
    make_private,
    read_manifest,
)


def choose_backup(source: Path) -> Path:
    """The backup that a path names: itself, or the newest below it."""
    if (source / DIGEST).is_file():
        return source
    found = list_backups(source)
    return found[-1] if found else source


def check_backup(folder: Path) -> tuple[Manifest, list[str]]:
    """Read every byte of a backup.

    Returns
    -------
    tuple
        Its manifest, and the names of files that are missing or differ from it.
    """
    manifest = read_manifest(folder)
    return manifest, [n for n in manifest.files if not _is_as_noted(folder / n, manifest, n)]


def _is_as_noted(file: Path, manifest: Manifest, name: str) -> bool:
    try:
        return digest_of(file, cached=False) == manifest.files[name].sha256
    except OSError:
        return False


def restore_home(folder: Path, home: Home) -> Manifest:
    """Fill an empty home from a backup.

    Raises
    ------
    BackupError
        Where the home holds data, the catalogue is of another kind, or a file of the backup is
        missing or damaged. What was begun stays marked, and the same command begins anew.
    """
    manifest = read_manifest(folder)
    _refuse_filled(home)
    _refuse_other_catalogue(manifest, home)
    home.make()
    (home.root / RESTORE_MARK).touch()
    for name, noted in manifest.files.items():
        target = _target(home, name)
        make_private(target.parent, Path(target.anchor))
        if _copied_digest(folder / name, target) != noted.sha256:
            raise _damaged(name)
        os.utime(target, ns=(noted.modified_ns, noted.modified_ns))
    if manifest.catalogue == "postgres":
        _restore_postgres(folder / DUMP, home.catalog.removeprefix(POSTGRES))
    os.sync()
    (home.root / RESTORE_MARK).unlink()
    sync_folder(home.root)
    return manifest


def _copied_digest(source: Path, target: Path) -> str:
    try:
        return copy_file(source, target)
    except FileNotFoundError:
        return ""


def _damaged(name: str) -> BackupError:
    part = name.partition("/")[0]
    return BackupError(
        f"a file of the backup is missing or damaged (below {part}/); nothing works on the home "
        "that was begun. `lakehouse restore SRC --check` names all of them; restore an earlier "
        "backup with the same command",
        f"备份中有文件缺失或损坏（{part}/ 之下）；已开始恢复的主目录不可使用。"
        "`lakehouse restore SRC --check` 列出所有问题文件；请用同一命令恢复更早的备份",
    )


def _target(home: Home, name: str) -> Path:
    """Where a file of a backup goes; Parquet files where LAKEHOUSE_DATA has them."""
    if name.startswith(f"{DATA}/"):
        return Path(home.data) / name.removeprefix(f"{DATA}/")
    return home.root / name


def _refuse_filled(home: Home) -> None:
    if home.half_restored:
        for part in _parts(home):
            shutil.rmtree(part)
    if any(any(part.iterdir()) for part in _parts(home)):
        raise BackupError(
            f"{home.root} holds a study; restore into an empty folder: "
            "lakehouse --home FOLDER restore SRC",
            f"{home.root} 中已有研究数据；请恢复到空目录：lakehouse --home 目录 restore SRC",
        )


def _parts(home: Home) -> Iterator[Path]:
    """Folders that a backup fills."""
    folders = (home.lake, home.vault, home.crosswalk, home.mlflow, home.federated, home.dagster)
    yield from (folder for folder in folders if folder.is_dir())


def _refuse_other_catalogue(manifest: Manifest, home: Home) -> None:
    here = "postgres" if catalogue_kind(home) == "postgres" else "sqlite"
    if manifest.catalogue not in {here, "none"}:
        raise BackupError(
            f"the backup's catalogue is of {manifest.catalogue}, and LAKEHOUSE_CATALOG names one "
            f"of {here}; set it as it was, to an empty database",
            f"备份的目录库类型为 {manifest.catalogue}，而 LAKEHOUSE_CATALOG 指定的是 {here}；"
            "请按备份时的类型设置，并指定空数据库",
        )


def _restore_postgres(dump: Path, connection: str) -> None:
    """Restore in one transaction; a password stays out of the process list."""
    found = sorted(DEBIAN.glob("*/bin/pg_restore"), key=lambda p: float(p.parts[-3]))
    program = shutil.which("pg_restore") or (str(found[-1]) if found else None)
    public, password = without_password(connection)
    done = program and subprocess.run(
        [program, "--single-transaction", "--no-owner", f"--dbname={public}", str(dump)],
        env=os.environ | ({"PGPASSWORD": password} if password else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if not done or done.returncode:
        raise BackupError(
            "pg_restore is missing or did not end well: it must reach the server that "
            "LAKEHOUSE_CATALOG names, be of its version or later, and find an empty database",
            "pg_restore 未安装或未成功：须能连接 LAKEHOUSE_CATALOG 指定的服务器，版本不低于服务器，"
            "且数据库为空",
        )
