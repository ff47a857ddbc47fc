"""`lakehouse migrate`: lead a lake of an earlier version to this version's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dagster_project.commands.terminal import existing_home, language
from dagster_project.lake.home import Home
from dagster_project.lake.locks import HeldError, locked

if TYPE_CHECKING:
    from dagster_project.lake.upgrade import Plan

IN_USE = (
    "this home is in use ({0}); nothing was migrated. Stop the service, or wait for that to end, "
    "and give the command again"
)
RUNS = (
    "Dagster's runs have begun and not ended: {0}; nothing was migrated. Wait for them, or end "
    "them in the Dagster UI, and give the command again"
)
AT = "The lake has schema version {0}; this program needs {1}."
CURRENT = "The lake has schema version {0}, which this program needs; there is nothing to migrate."
WOULD = "`lakehouse migrate` would"
BACK_UP = "copy the catalogue to {0}"
NO_COPY = "copy nothing, since --no-backup is given"
VERSION = "lead the lake to version {0} ({1}):"
APPLIED = "Schema version {0} was applied: {1}."
NO_ROW = "record that the lake has this version; no row is touched"
CREATE = "create tables that are missing: {0}"
DONE = (
    "The lake has schema version {0}. Rows and snapshots are as they were; earlier snapshots are "
    "read under the names of today. Next: `lakehouse run`."
)
COPY = "The catalogue as it was: {0}"

ZH = {
    IN_USE: "该主目录正在使用（{0}）；未做任何迁移。请停止服务或等待其结束，再次运行本命令",
    RUNS: "Dagster 有已开始而未结束的运行：{0}；未做任何迁移。"
    "请等待其结束，或在 Dagster 界面中终止，再次运行本命令",
    AT: "数据湖的结构版本为 {0}；本程序需要 {1}。",
    CURRENT: "数据湖的结构版本为 {0}，与本程序一致；无需迁移。",
    WOULD: "`lakehouse migrate` 将：",
    BACK_UP: "复制目录库到 {0}",
    NO_COPY: "不复制目录库（已指定 --no-backup）",
    VERSION: "升级到版本 {0}（{1}）：",
    APPLIED: "已应用结构版本 {0}：{1}。",
    NO_ROW: "仅登记该版本，不改动任何数据行",
    CREATE: "建立缺少的表：{0}",
    DONE: "数据湖的结构版本为 {0}。数据与快照保持不变；历史快照以现在的列名读取。"
    "下一步：`lakehouse run`。",
    COPY: "迁移前的目录库：{0}",
}
"""Sentences in Chinese; steps are in the words of the schema."""


@click.command()
@click.option("--check", is_flag=True, help="Only print what would be done.")
@click.option("--no-backup", is_flag=True, help="Copy no catalogue; for who has a copy already.")
@language()
def migrate(check: bool, no_backup: bool, lang: str) -> None:
    """Lead the lake to this program's schema version; rows and snapshots stay.

    Stop the service first. The catalogue is copied beforehand (SQLite, or pg_dump). Each version
    is one transaction: what is interrupted leaves the lake as it was before or after one, and the
    same command goes on.

    \b
    Example:
      lakehouse migrate --check
      lakehouse migrate
    """
    from dagster_project.lake.upgrade import plan_upgrade

    home, words = existing_home(), _Words(lang)
    if check:
        _print_plan(plan_upgrade(home), words, backup=not no_backup)
        return
    try:
        with locked(home.root / "run.lock", "lakehouse migrate", seconds=0):
            _refuse_active_runs(home, words)
            _migrate(home, words, backup=not no_backup)
    except HeldError as error:
        raise click.ClickException(words(IN_USE, error.holder)) from None


class _Words:
    """Sentences of this command in one language."""

    def __init__(self, lang: str) -> None:
        self._chinese = lang == "zh"

    def __call__(self, text: str, *values: object) -> str:
        return (ZH[text] if self._chinese else text).format(*values)


def _migrate(home: Home, words: _Words, *, backup: bool) -> None:
    from dagster_project.lake.damage import note_files
    from dagster_project.lake.migrations import latest
    from dagster_project.lake.store import open_lake
    from dagster_project.lake.upgrade import upgrade

    plans: list[Plan] = []
    done = upgrade(home, backup=backup, begun=plans.append)
    with open_lake(home) as lake:
        note_files(lake, home)
    if not done:
        click.echo(words(CURRENT, latest()))
        return
    for migration in done:
        click.echo(words(APPLIED, migration.version, migration.name))
    if backup:
        click.echo(words(COPY, plans[0].backup))
    click.echo(words(DONE, latest()))


def _refuse_active_runs(home: Home, words: _Words) -> None:
    if not (home.dagster / "dagster.yaml").is_file():
        return
    import dagster as dg

    from dagster_project.run_processes import active_runs

    with dg.DagsterInstance.get() as instance:
        runs = active_runs(instance)
    if runs:
        raise click.ClickException(words(RUNS, ", ".join(runs)))


def _print_plan(plan: Plan, words: _Words, *, backup: bool) -> None:
    from dagster_project.lake.migrations import latest

    if not plan.migrations:
        click.echo(words(CURRENT, plan.version))
    else:
        click.echo(words(AT, plan.version, latest()))
        click.echo(words(WOULD))
        click.echo("- " + (words(BACK_UP, plan.backup) if backup else words(NO_COPY)))
    for migration in plan.migrations:
        click.echo("- " + words(VERSION, migration.version, migration.name))
        for step in migration.steps:
            click.echo(f"  - {step.words()}")
        if not migration.steps:
            click.echo(f"  - {words(NO_ROW)}")
    if plan.missing:
        click.echo("- " + words(CREATE, ", ".join(plan.missing)))
