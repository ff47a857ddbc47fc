"""`lakehouse backup` and `lakehouse restore`: a copy of the home on another disk, and back."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_project.commands.terminal import language
from dagster_project.lake.free_space import in_bytes
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.locks import HeldError, locked

if TYPE_CHECKING:
    from dagster_project.lake.home_backup import Backup, Manifest

IN_USE = (
    "this home, or the folder of the backups, is in use ({0}); nothing was copied. "
    "Wait for that to end, and give the command again"
)
NOTHING = "{0} holds no study; there is nothing to copy. Name its folder with --home"
DONE = "Backup {0}: {1} files, {2}; copied {3}, linked to the earlier backup {4}. Verified."
SAME_DISK = "The backup lies on the same disk as the home: it does not outlive that disk."
REMOTE = "The Parquet files lie in an object store and were not copied; its own backup holds them."
DAMAGED = "The lake was damaged before; what was copied is as damaged: `lakehouse status` says what"
REMOVED = "Earlier backups deleted: {0}"
NOT_COPIED = (
    "Not copied: deliveries, pages, publications, any key drive. "
    "The key drive lies elsewhere, never with a backup."
)
SOUND = "Every file of the backup of {0} is as it was written ({1} files, {2})."
UNSOUND = "{0} of {1} files of the backup of {2} are missing or damaged:"
RESTORED = (
    "Restored into {0}: {1} files of the backup of {2} (version {3}, schema version {4}). Next: "
    "the key drive, `lakehouse status`, `lakehouse run`."
)
WITHDRAWN = (
    "Who withdrew after {0} is in this home again: repeat those withdrawals "
    "(`lakehouse withdraw`) before anything is published."
)
OTHER_PROTOCOL = (
    "The protocol of the backup differs from the one in force: it lies in {0}; name it with "
    "LAKEHOUSE_STUDY, or what depends on the difference is computed anew."
)

ZH = {
    IN_USE: "该主目录或备份目录正在使用（{0}）；未复制任何内容。请等待其结束后再次运行本命令",
    NOTHING: "{0} 中没有研究数据，无可备份。请用 --home 指定主目录",
    DONE: "备份 {0}：{1} 个文件，{2}；新复制 {3} 个，与上次备份硬链接 {4} 个。已校验。",
    SAME_DISK: "备份与主目录位于同一磁盘：该磁盘损坏时备份一并丢失。",
    REMOTE: "Parquet 文件位于对象存储，未复制；请使用对象存储自身的备份。",
    DAMAGED: "备份前数据湖已有损坏，副本同样损坏：详见 `lakehouse status --lang zh`",
    REMOVED: "已删除较早的备份：{0}",
    NOT_COPIED: "未复制：landing、页面、发布文件与密钥盘。密钥盘须另行保管，不与备份放在一起。",
    SOUND: "{0} 的备份全部文件与写入时一致（{1} 个文件，{2}）。",
    UNSOUND: "{2} 的备份中，{1} 个文件有 {0} 个缺失或损坏：",
    RESTORED: "已恢复到 {0}：{2} 的备份，{1} 个文件（程序版本 {3}，结构版本 {4}）。"
    "下一步：接入密钥盘，运行 `lakehouse status`，再运行 `lakehouse run`。",
    WITHDRAWN: "{0} 之后撤回同意的患者又出现在该主目录中：发布任何内容之前，"
    "请重新执行这些撤回（`lakehouse withdraw`）。",
    OTHER_PROTOCOL: "备份时的研究方案与当前方案不同：备份的方案在 {0}；请用 LAKEHOUSE_STUDY 指定，"
    "否则受影响的结果将重新计算。",
}
"""Sentences in Chinese."""


class _Words:
    """Sentences of these commands in one language."""

    def __init__(self, lang: str) -> None:
        self._words: Mapping[str, str] = ZH if lang == "zh" else {}

    def __call__(self, text: str, *values: object) -> str:
        return self._words.get(text, text).format(*values)


@click.command()
@click.argument("dest", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="Afterwards delete all but so many backups of DEST.  [default: delete none]",
)
@click.option(
    "--anew", is_flag=True, help="Copy every file, also those that an earlier backup has."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One line of JSON about the backup, and no other."
)
@language()
def backup(dest: Path, keep: int | None, anew: bool, as_json: bool, lang: str) -> None:
    """Copy what a home cannot make again into a new folder of DEST, and read it back.

    Catalogue first, then Parquet, vault, crosswalk (sealed as it is), MLflow, Dagster's history,
    settings and protocol. A file that has not changed since the last backup of DEST is linked to
    it. A run that is going on is not disturbed: the command refuses, and names it.

    \b
    Example:
      lakehouse backup /srv/backup/lakehouse --keep 30
    """
    from dagster_project.lake.home_backup import prune_backups

    home, words = find_home(), _Words(lang)
    if not (home.has_lake or home.vault.is_dir()):
        raise click.ClickException(words(NOTHING, home.root))
    try:
        with locked(home.root / "run.lock", "lakehouse backup", seconds=0):
            made, sound = _back_up(home, dest.resolve(), anew=anew)
    except HeldError as error:
        raise click.ClickException(words(IN_USE, error.holder)) from None
    removed = prune_backups(dest.resolve(), keep) if keep else ()
    if as_json:
        click.echo(json.dumps(_facts(home, made, removed, sound=sound), ensure_ascii=False))
    else:
        _report(home, made, words, sound=sound)
        if removed:
            click.echo(words(REMOVED, ", ".join(removed)))
    sys.exit(0 if sound else 1)


def _back_up(home: Home, dest: Path, *, anew: bool) -> tuple[Backup, bool]:
    """The backup that was made, and whether the lake was sound before."""
    from dagster_project.lake.home_backup import back_up_home

    sound = _is_sound(home)
    return back_up_home(home, dest, dt.datetime.now(dt.UTC), anew=anew), sound


def _facts(home: Home, made: Backup, removed: Sequence[str], *, sound: bool) -> dict[str, object]:
    """What the backup holds, for a machine."""
    return {
        "backup": str(made.folder),
        "made_at": made.manifest.made_at,
        "files": len(made.manifest.files),
        "bytes": made.size,
        "copied": made.copied,
        "linked": made.linked,
        "data": made.manifest.data,
        "same_disk": _on_same_disk(home, made),
        "lake_sound": sound,
        "removed": list(removed),
    }


def _on_same_disk(home: Home, made: Backup) -> bool:
    return made.folder.stat().st_dev == home.root.stat().st_dev


def _report(home: Home, made: Backup, words: _Words, *, sound: bool) -> None:
    files, size = len(made.manifest.files), in_bytes(made.size)
    click.echo(words(DONE, made.folder, files, size, made.copied, made.linked))
    click.echo(words(NOT_COPIED))
    if made.manifest.data == "remote":
        click.echo(words(REMOTE))
    if _on_same_disk(home, made):
        click.echo(words(SAME_DISK))
    if not sound:
        click.echo(words(DAMAGED), err=True)


def _is_sound(home: Home) -> bool:
    from dagster_project.lake.damage import find_damage
    from dagster_project.lake.store import read_lake

    if not home.has_lake:
        return True
    with read_lake(home) as lake:
        return lake.fault() is not None or not find_damage(lake, home)


@click.command()
@click.argument("src", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Read every byte of the backup; write nothing.")
@language()
def restore(src: Path, check: bool, lang: str) -> None:
    """Fill an empty home from a backup: SRC, or the newest below SRC.

    The home may lie at another path than before. Each file is compared with the manifest; what is
    interrupted begins anew.

    \b
    Example:
      lakehouse restore /srv/backup/lakehouse --check
      lakehouse --home /srv/lakehouse/restored restore /srv/backup/lakehouse
    """
    from dagster_project.lake.home_restore import choose_backup, restore_home

    folder, words = choose_backup(src.resolve()), _Words(lang)
    if check:
        sys.exit(_check(folder, words))
    home = find_home().make_root()
    try:
        with locked(home.root / "run.lock", "lakehouse restore", seconds=0):
            manifest = restore_home(folder, home)
    except HeldError as error:
        raise click.ClickException(words(IN_USE, error.holder)) from None
    _say_restored(home, manifest, words)


def _check(folder: Path, words: _Words) -> int:
    from dagster_project.lake.home_restore import check_backup

    manifest, faults = check_backup(folder)
    size = in_bytes(sum(f.size for f in manifest.files.values()))
    if not faults:
        click.echo(words(SOUND, manifest.made_at, len(manifest.files), size))
        return 0
    click.echo(words(UNSOUND, len(faults), len(manifest.files), manifest.made_at))
    for name in faults:
        click.echo(f"  {name}")
    return 1


def _say_restored(home: Home, manifest: Manifest, words: _Words) -> None:
    from dagster_project.lake.home_backup import PROTOCOL_COPY
    from dagster_project.study import load_study

    files = len(manifest.files)
    facts = (files, manifest.made_at, manifest.program, manifest.schema_version)
    click.echo(words(RESTORED, home.root, *facts))
    click.echo(words(WITHDRAWN, manifest.made_at))
    if manifest.protocol_digest != load_study().digest:
        click.echo(words(OTHER_PROTOCOL, home.root / PROTOCOL_COPY))
