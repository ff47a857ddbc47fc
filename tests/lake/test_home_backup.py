"""A backup is whole or no backup, and what it gives back is what was there."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import gdcm  # noqa: F401 - commands load it, and it sets a variable of the environment once
import pytest
from click.testing import CliRunner, Result

from dagster_project.cli import main
from dagster_project.lake import home_backup
from dagster_project.lake.home import Home
from dagster_project.lake.home_backup import (
    BackupError,
    back_up_home,
    list_backups,
    prune_backups,
    read_manifest,
)
from dagster_project.lake.home_restore import check_backup, restore_home
from dagster_project.lake.locks import locked
from dagster_project.lake.store import open_lake, read_lake
from tests.conftest import REPOSITORY
from tests.lake.test_store import rows

NIGHT = dt.datetime(2026, 5, 1, 3, tzinfo=dt.UTC)
SECRET = "AGE-SECRET-KEY"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a little of everything, and a key medium that lies in it as in a trial."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA"):
            patch.delenv(name, raising=False)
        return fill(Home(tmp_path_factory.mktemp("backup") / "home").make())


@pytest.fixture
def home(made_once: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of it."""
    for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA", "LAKEHOUSE_STUDY"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(made_once.root, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


def fill(made: Home) -> Home:
    with open_lake(made) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
    for name in ("crosswalk/crosswalk.sqlite", "mlflow/mlflow.sqlite", "vault/AA/files.sqlite"):
        write_database(made.root / name, name)
    for name, content in {
        "vault/AA/p1/s1/0001.dcm": b"slice",
        "vault/AA/manifest.jsonl": b"{}",
        "mlflow/artifacts/m.safetensors": b"weights",
        "lake/codebooks/habitats.json": b"[]",
        "lake/answers/x.json": b"asked anew",
        "pacs.toml": b"[AA.listen]",
        "throwaway-key-medium/root.age": SECRET.encode(),
        "root.age": SECRET.encode(),
        "landing/AA/dicom/name.dcm": b"identified",
        "reports/index.html": b"written again",
    }.items():
        file = made.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return made


def write_database(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", [text])


def read_database(file: Path) -> str:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT x FROM t").fetchone()[0]


def call(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.root), *arguments])


def test_a_home_is_restored_at_another_path_without_what_has_no_place_in_a_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passphrase = home.root / "passphrase"
    passphrase.write_text(SECRET)
    monkeypatch.setenv("LAKEHOUSE_PASSPHRASE_FILE", str(passphrase))
    made = call(home, "backup", str(tmp_path / "backups"))
    assert made.exit_code == 0, made.output
    (folder,) = list_backups(tmp_path / "backups")
    names = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert not {n for n in names if n.startswith(("landing", "reports", "published", "throwaway"))}
    assert not {n for n in names if n.endswith((".age", "-wal", ".lock")) or "answers" in n}
    assert not any(SECRET.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")} == {0o600, 0o700}

    there = Home(tmp_path / "elsewhere")
    done = call(there, "restore", str(tmp_path / "backups"))
    assert done.exit_code == 0, done.output
    assert "Next: the key drive" in done.output
    with read_lake(home) as before, read_lake(there) as after:
        assert after.read("treatments").equals(before.read("treatments"))
        assert after.snapshot() == before.snapshot()
    for name in ("crosswalk/crosswalk.sqlite", "mlflow/mlflow.sqlite", "vault/AA/files.sqlite"):
        assert read_database(there.root / name) == name
    for name in ("vault/AA/p1/s1/0001.dcm", "pacs.toml", "lake/codebooks/habitats.json"):
        same, other = home.root / name, there.root / name
        assert same.read_bytes() == other.read_bytes()
        assert same.stat().st_mtime_ns == other.stat().st_mtime_ns
    assert (there.root / home_backup.PROTOCOL_COPY).is_file()


def test_the_manifest_can_be_checked_without_the_program(home: Home, tmp_path: Path) -> None:
    folder = back_up_home(home, tmp_path / "backups", NIGHT).folder
    subprocess.run(["sha256sum", "--check", "--quiet", home_backup.DIGEST], cwd=folder, check=True)
    manifest = read_manifest(folder)
    on_disk = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    assert manifest.files.keys() == on_disk.keys() - {home_backup.MANIFEST, home_backup.DIGEST}
    for name, noted in manifest.files.items():
        content = on_disk[name].read_bytes()
        assert (noted.size, noted.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_what_has_not_changed_is_linked_and_what_has_is_copied(home: Home, tmp_path: Path) -> None:
    first = back_up_home(home, tmp_path / "backups", NIGHT)
    (home.root / "vault/AA/manifest.jsonl").write_bytes(b"{}\n{}")
    (home.root / "vault/AA/p1/s1/0001.dcm").unlink()
    second = back_up_home(home, tmp_path / "backups", NIGHT + dt.timedelta(days=1))

    def inode(made: home_backup.Backup, name: str) -> int:
        return (made.folder / name).stat().st_ino

    weights = "mlflow/artifacts/m.safetensors"
    assert inode(first, weights) == inode(second, weights)
    assert (second.folder / "vault/AA/manifest.jsonl").read_bytes() == b"{}\n{}"
    assert (first.folder / "vault/AA/manifest.jsonl").read_bytes() == b"{}"
    assert not (second.folder / "vault/AA/p1/s1/0001.dcm").exists()
    assert second.linked > 0
    assert check_backup(first.folder)[1] == check_backup(second.folder)[1] == []
    whole = back_up_home(home, tmp_path / "backups", NIGHT + dt.timedelta(days=2), anew=True)
    assert whole.linked == 0
    assert inode(whole, weights) != inode(second, weights)


def test_the_facts_of_a_backup_are_one_line_for_a_machine(home: Home, tmp_path: Path) -> None:
    destination = tmp_path / "backups"
    earlier = back_up_home(home, destination, NIGHT)
    result = call(home, "backup", str(destination), "--keep", "1", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.output)
    assert facts["files"] == facts["copied"] + facts["linked"]
    assert facts["linked"] > 0
    assert facts["removed"] == [earlier.folder.name]
    assert facts["lake_sound"] is True
    assert [str(p) for p in list_backups(destination)] == [facts["backup"]]


def test_old_backups_go_and_the_newest_stay(home: Home, tmp_path: Path) -> None:
    for day in range(4):
        back_up_home(home, tmp_path / "backups", NIGHT + dt.timedelta(days=day))
    names = [folder.name for folder in list_backups(tmp_path / "backups")]
    assert prune_backups(tmp_path / "backups", 2) == tuple(names[:2])
    assert [folder.name for folder in list_backups(tmp_path / "backups")] == names[2:]
    assert check_backup(list_backups(tmp_path / "backups")[-1])[1] == []


@pytest.mark.parametrize(
    ("lang", "words"), [("en", "nothing was copied"), ("zh", "未复制任何内容")]
)
def test_while_a_run_is_going_on_nothing_is_copied(
    home: Home, tmp_path: Path, lang: str, words: str
) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(home.root / "run.lock", "lakehouse run"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        result = call(home, "backup", str(tmp_path / "backups"), "--lang", lang)
    finally:
        done.set()
        thread.join()
    assert result.exit_code == 1
    assert words in result.output
    assert "lakehouse run, process" in result.output
    assert list_backups(tmp_path / "backups") == []


def test_a_damaged_backup_is_named_and_gives_no_home(home: Home, tmp_path: Path) -> None:
    sound = back_up_home(home, tmp_path / "backups", NIGHT)
    bad = back_up_home(home, tmp_path / "backups", NIGHT + dt.timedelta(days=1), anew=True)
    flip(bad.folder / "vault/AA/p1/s1/0001.dcm")
    (bad.folder / "mlflow/artifacts/m.safetensors").unlink()
    result = call(home, "restore", str(tmp_path / "backups"), "--check")
    assert result.exit_code == 1
    assert "2 of" in result.output
    assert "vault/AA/p1/s1/0001.dcm" in result.output

    there = Home(tmp_path / "elsewhere")
    assert "damaged" in call(there, "restore", str(tmp_path / "backups")).output
    for command in ("status", "run"):
        assert "a restore was begun in this home" in call(there, command).output
    assert call(there, "restore", str(sound.folder)).exit_code == 0
    assert call(there, "status").exit_code == 0


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


def test_a_manifest_that_was_changed_is_refused(home: Home, tmp_path: Path) -> None:
    folder = back_up_home(home, tmp_path / "backups", NIGHT).folder
    flip(folder / home_backup.MANIFEST)
    with pytest.raises(BackupError, match="damaged"):
        restore_home(folder, Home(tmp_path / "elsewhere"))
    with pytest.raises(BackupError, match="no complete backup"):
        restore_home(tmp_path, Home(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()


def test_what_does_not_read_back_is_no_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage_what_was_written() -> None:
        flip(next((tmp_path / "backups").glob("*/vault/AA/p1/s1/0001.dcm")))

    monkeypatch.setattr(home_backup.os, "sync", damage_what_was_written)
    with pytest.raises(BackupError, match="does not read back"):
        back_up_home(home, tmp_path / "backups", NIGHT)
    assert [p.name for p in (tmp_path / "backups").iterdir()] == [".lock"]


def test_a_filled_home_is_not_restored_into_and_a_home_holds_no_backup(
    home: Home, tmp_path: Path
) -> None:
    folder = back_up_home(home, tmp_path / "backups", NIGHT).folder
    assert "holds a study" in call(home, "restore", str(folder)).output
    assert "within the home" in call(home, "backup", str(home.root / "backups")).output
    assert not (home.root / "backups").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from dagster_project.lake import home_backup
home_backup.os.sync = lambda: os.kill(os.getpid(), signal.SIGKILL)
from dagster_project.cli import main
main(sys.argv[1:])
"""


def test_a_backup_that_was_killed_is_none_and_the_next_one_clears_it(
    home: Home, tmp_path: Path
) -> None:
    destination = tmp_path / "backups"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "--home", str(home.root), "backup", str(destination)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(destination.glob(f"{home_backup.PARTIAL}*"))
    assert list_backups(destination) == []
    assert "no complete backup" in call(home, "restore", str(destination), "--check").output
    back_up_home(home, destination, NIGHT)
    assert not list(destination.glob(f"{home_backup.PARTIAL}*"))
    assert len(list_backups(destination)) == 1


def test_a_damaged_lake_is_copied_and_said_to_be_damaged(home: Home, tmp_path: Path) -> None:
    next((home.lake / "data/main/treatments").rglob("*.parquet")).unlink()
    result = call(home, "backup", str(tmp_path / "backups"))
    assert result.exit_code == 1
    assert "damaged before" in result.output
    assert len(list_backups(tmp_path / "backups")) == 1
