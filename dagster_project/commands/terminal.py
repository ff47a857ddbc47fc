"""How commands print on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.commands.words import LANGUAGES, chosen_language, printed
from dagster_project.lake.home import Home, find_home, listed_sites

CONSOLE = Console(highlight=False)

Command = TypeVar("Command", bound=Callable[..., Any])


def language(of: str = "the output") -> Callable[[Command], Command]:
    """The option `--lang` of a command; else the environment sets it for all of them."""
    return click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        default=chosen_language,
        help=f"Language of {of}.  [default: LAKEHOUSE_LANGUAGE, else the locale's]",
    )


def print_table(
    title: str, columns: list[str], rows: Sequence[Sequence[Any]], *, nothing: str = "none"
) -> None:
    """Print a table under its title; numbers in four figures, nothing for NULL."""
    CONSOLE.print(f"\n[bold]{title}[/bold]{'' if rows else f': {nothing}'}")
    if rows:
        table = Table(*columns, box=None, header_style="dim", pad_edge=False)
        for row in rows:
            table.add_row(*map(_cell, row))
        CONSOLE.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


UNKNOWN_FOLDERS = (
    "{folders} folders and {files} files that lie in landing/ belong to no site and were not "
    "read: a site's folder is named by its code, 2 to 8 characters, capital letters first, "
    "then at most two digits (BJCH), once; rename each, or move it into its site's folder. "
    "They are not named here, since a folder's name may be a person's: ls {landing}"
)
UNKNOWN_FOLDERS_ZH = (
    "landing/ 下有 {folders} 个文件夹和 {files} 个文件不属于任何中心，未读取："
    "中心文件夹须以中心代码命名（2–8 位，大写字母在前，末尾至多两位数字，如 BJCH），且只有一个；"
    "请改名，或移入所属中心的文件夹。文件夹名可能含患者姓名，此处不显示：ls {landing}"
)


NOT_LISTED = (
    "{folders} folders and {files} files that lie in landing/ belong to no site and were not "
    "read: a site's folder is named by a code that the protocol lists ([study] sites: {codes}), "
    "once; rename each, or have the site listed in study.toml. They are not named here, "
    "since a folder's name may be a person's: ls {landing}"
)
NOT_LISTED_ZH = (
    "landing/ 下有 {folders} 个文件夹和 {files} 个文件不属于任何中心，未读取："
    "中心文件夹须以研究方案所列的中心代码命名（[study] sites：{codes}），且只有一个；请改名，"
    "或在 study.toml 中登记该中心。文件夹名可能含患者姓名，此处不显示：ls {landing}"
)
FORMER = (
    "{codes}: taken in before, and not among the sites that the protocol lists ([study] sites). "
    "Nothing is taken in or computed for it, and its rows remain as they were; list it, "
    "or take it out with `lakehouse site remove`"
)
FORMER_ZH = (
    "{codes}：曾经接收，但不在研究方案所列的中心之内（[study] sites）。不再接收或计算，"
    "已有数据保持不变；请在 study.toml 中登记，或用 `lakehouse site remove` 移除"
)


NO_LAKE = "there is no lake in {0}; make one with `lakehouse run`, or name its folder with --home"


def print_unknown_folders(home: Home, lang: str | None = None) -> None:
    """Say how many entries of the delivery folder are no site's, and which vaults are no longer."""
    folders, files = home.strangers()
    listed, chinese = sorted(listed_sites()), (lang or chosen_language()) == "zh"
    if folders or files:
        anybody, only = (
            (UNKNOWN_FOLDERS_ZH, NOT_LISTED_ZH) if chinese else (UNKNOWN_FOLDERS, NOT_LISTED)
        )
        _warn(
            (only if listed else anybody).format(
                folders=folders, files=files, landing=home.landing, codes=", ".join(listed)
            )
        )
    if former := home.former_sites():
        _warn((FORMER_ZH if chinese else FORMER).format(codes=", ".join(former)))


def _warn(text: str) -> None:
    CONSOLE.print(f"[yellow]{escape(text)}[/yellow]", soft_wrap=True)


def has_lake(home: Home) -> bool:
    """Whether a lake was made in a home, or lies on a database server."""
    return home.has_lake


def refuse_other_schema(home: Home) -> Home:
    """The home, where its lake has this program's schema or there is none yet.

    Raises
    ------
    UnmigratedLake, LaterSchema, OtherSchema
        Before the command that calls it writes anything.
    """
    from dagster_project.lake.store import open_lake

    if has_lake(home):
        open_lake(home).close()
    return home


def existing_home() -> Home:
    """The home, where a lake was made in it.

    Raises
    ------
    click.ClickException
        Where there is none, saying how to make one.
    """
    home = find_home()
    if not has_lake(home):
        raise click.ClickException(printed(NO_LAKE, home.root))
    return home
