"""`lakehouse status`: what is in, stale, damaged, refused, open for arbitration; the gate, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import duckdb
from rich.markup import escape

from dagster_project.commands.terminal import CONSOLE, existing_home, tell, tell_strangers
from dagster_project.intake.landing import locate_refused
from dagster_project.lake.errors import LakeError, name_fault
from dagster_project.lake.home import Home
from dagster_project.lake.reasons import chinese_item, chinese_reason
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import TABLES

ITEMS_SHOWN = 5
"""Items listed under a reason before the rest is counted; `--all` lists each."""

LANGUAGES = ("en", "zh")

ZH = {
    "Lake at snapshot {0} in {1}": "数据湖快照 {0}，位于 {1}",
    "Rows by site": "各中心行数", "table": "表", "Delivery": "提交", "site": "中心", "state": "状态",
    "Refused": "退回（数据质疑）", "{0} items": "{0} 项", "and {0} more: lakehouse status --all": "另有 {0} 项：lakehouse status --all",
    "none": "无", "Open for arbitration": "待裁决", "patient": "患者", "why": "原因", "Gate": "质控放行",
    "not judged yet": "尚未判定", "closed": "未放行", "open": "已放行", "Why": "原因", "rule": "规则", "scope": "范围",
    "figure": "数值", "limit": "界值", "verdict": "判定", "detail": "说明",
    "no landing folder; the vault is kept": "没有提交文件夹；已接收的数据保留", "new: run `lakehouse run`": "新提交：请运行 lakehouse run",
    "taken in": "已接收", "changed since the last run: run `lakehouse run`": "上次运行后有变化：请运行 lakehouse run",
    "Rows and images": "病例报告与图像对照", "finding": "情况", "patients": "患者数", "Who is this?": "身份疑问",
    "patient or place": "患者或位置", "question": "疑问", "Damaged": "数据文件损坏", "what": "情况", "command": "恢复命令", "all": "全部",
    "is lost": "丢失", "has another size than was written": "大小与写入时不符",
    "has other bytes than were written": "内容与写入时不符", "cannot be read": "无法读取",
    "cannot be shown until that is mended": "修复之前无法显示",
}
"""The words of this command in Chinese; a word without an entry is shown in English."""


@click.command()
@click.option("--site", help="Only this site.  [default: all sites]")
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, envvar="LAKEHOUSE_LANG", help="Language of what is said.")
@click.option("--all", "every", is_flag=True, help="List every refused item, however many share a reason.")
@click.option("--files", is_flag=True, help="Name refused files by their path in landing/, on this screen only: a name may be a person's.")
@click.option("--verify", is_flag=True, help="Read every data file of the lake and compare it with what was written.")
def status(site: str | None, lang: str, every: bool, files: bool, verify: bool) -> None:
    """What is in, damaged, refused (file, row, column, why), open for arbitration; the gate, and why.

    \b
    Example:
      lakehouse status --site BJCH --lang zh
    """
    home = existing_home()
    if site is not None and site not in home.sites():
        raise click.ClickException(f"there is no site of that code; sites are {', '.join(home.sites())}")
    show_status(home, site=site, lang=lang, every=every, files=files, verify=verify)


def show_status(
    home: Home, *, site: str | None = None, lang: str = "en", every: bool = False, files: bool = False, verify: bool = False,
) -> None:
    """Print what is in, stale, damaged or refused, what waits for the arbiter, and the gate.

    A part whose table is damaged says so, and the others are shown all the same.
    """
    said = Said(lang)
    sites = [s for s in home.sites() if site in {None, s}]
    tell_strangers(home, lang)
    with read_lake(home) as lake:
        lake.check_schema()
        CONSOLE.print(escape(said("Lake at snapshot {0} in {1}", lake.snapshot(), home.root)), soft_wrap=True)
        _tell_damage(lake, home, said, every_byte=verify)
        parts: list[tuple[str, Callable[[], None]]] = [
            ("Rows by site", lambda: tell(said("Rows by site"), [said("table"), *sites], _rows_by_site(lake, sites))),
            ("Delivery", lambda: tell(said("Delivery"), [said("site"), said("state")], [(s, said(_delivery(home, s))) for s in sites])),
            ("Refused", lambda: _tell_refused(lake, said, site, every=every, landing=home.landing if files else None)),
            ("Rows and images", lambda: _tell_reconciliation(lake, said, site)),
            ("Open for arbitration", lambda: _tell_arbitration(lake, said, site)),
            ("Gate", lambda: _tell_gate(lake, said)),
        ]
        for title, part in parts:
            _tell_part(said, title, part)


class Said:
    """The words of this command in one language."""

    def __init__(self, lang: str) -> None:
        self.chinese = lang == "zh"

    def __call__(self, text: str, *values: object) -> str:
        """A word or sentence, its numbered places filled."""
        return (ZH.get(text, text) if self.chinese else text).format(*values)

    def item(self, text: str) -> str:
        """The place of what was refused."""
        return chinese_item(text) if self.chinese else text

    def reason(self, text: str) -> str:
        """Why it was refused, and what to do."""
        return chinese_reason(text) if self.chinese else text


def _tell_part(said: Said, title: str, part: Callable[[], None]) -> None:
    try:
        part()
    except (duckdb.Error, LakeError) as error:
        fault = error if isinstance(error, LakeError) else name_fault(str(error))
        CONSOLE.print(f"\n[bold]{said(title)}[/bold]: [red]{escape(str(fault) if fault else said('cannot be shown until that is mended'))}[/red]", soft_wrap=True)


def _tell_damage(lake: Lake, home: Home, said: Said, *, every_byte: bool) -> None:
    from dagster_project.lake.damage import find_damage

    found = find_damage(lake, home, every_byte=every_byte)
    if found:
        rows = sorted({(d.table, d.site or said("all"), said(d.what), d.command) for d in found})
        tell(said("Damaged"), [said("table"), said("site"), said("what"), said("command")], rows)


def _rows_by_site(lake: Lake, sites: list[str]) -> list[tuple[str, ...]]:
    rows = []
    for table in (t for t in TABLES if "site" in t.names):
        counts = dict(lake.query(f'SELECT site, count(*) FROM "{table.name}" GROUP BY site').fetchall())
        rows.append((table.name, *(str(counts.get(site, 0)) for site in sites)))
    return rows


def _delivery(home: Home, site: str) -> str:
    taken, folder = home.vault / site / "delivery", home.landing / site
    if not folder.is_dir():
        return "no landing folder; the vault is kept"
    if not taken.is_file():
        return "new: run `lakehouse run`"
    return "taken in" if taken.read_text(encoding="utf-8") == home.delivery(site) else "changed since the last run: run `lakehouse run`"


def _tell_refused(lake: Lake, said: Said, site: str | None, *, every: bool, landing: Path | None) -> None:
    """Each refusal by place: items that share site, stage and reason stand under it, with their paths where a landing is given."""
    found = lake.query(
        "SELECT site, stage, reason, list(item ORDER BY item) FROM quarantine WHERE site = coalesce(?, site) "
        "GROUP BY ALL ORDER BY site, stage, count(*) DESC, reason", [site]).fetchall()
    total = sum(len(items) for *_, items in found)
    CONSOLE.print(f"\n[bold]{said('Refused')}[/bold]: {said('{0} items', total) if total else said('none')}")
    paths = {} if landing is None else {
        at: locate_refused(landing / at, [item for where, *_, items in found if where == at for item in items]) for at in {at for at, *_ in found}}
    for at, stage, reason, items in found:
        CONSOLE.print(f"{at} {stage} [dim]×{len(items)}[/dim] {escape(said.reason(reason))}", soft_wrap=True)
        shown = items if every else items[:ITEMS_SHOWN]
        for item in shown:
            path = paths.get(at, {}).get(item.partition("sha256:")[2], "")
            CONSOLE.print(escape(f"    {said.item(item)} {path}".rstrip()), soft_wrap=True)
        if len(items) > len(shown):
            CONSOLE.print(f"    [dim]{said('and {0} more: lakehouse status --all', len(items) - len(shown))}[/dim]")


def _tell_reconciliation(lake: Lake, said: Said, site: str | None) -> None:
    """How many patients have only a row or only images; by name those with a nearly equal number, and the numbers of nobody."""
    tell(said("Rows and images"), [said("site"), said("finding"), said("patients")], lake.query(
        "SELECT site, replace(finding, '_', ' '), count(DISTINCT (patient, item)) FROM reconciliation WHERE site = coalesce(?, site) "
        "GROUP BY ALL ORDER BY ALL", [site]).fetchall(), nothing=said("none"))
    tell(said("Who is this?"), [said("site"), said("patient or place"), said("question")], lake.query(
        "SELECT site, CASE WHEN patient = '*' THEN item ELSE patient END, question FROM reconciliation "
        "WHERE (other_patient <> '*' OR patient = '*') AND site = coalesce(?, site) ORDER BY ALL", [site]).fetchall(), nothing=said("none"))


def _tell_arbitration(lake: Lake, said: Said, site: str | None) -> None:
    tell(said("Open for arbitration"), [said("site"), said("patient"), said("why")], lake.query(
        "SELECT site, patient, array_to_string(triggers, '; ') FROM arbitrations WHERE status = 'open' AND site = coalesce(?, site) "
        "ORDER BY ALL", [site]).fetchall(), nothing=said("none"))


def _tell_gate(lake: Lake, said: Said) -> None:
    asked: list[tuple[Any, ...]] = lake.query(
        "SELECT rule, scope, figure, \"limit\", verdict, detail FROM quality_verdicts WHERE kind = 'cohort' ORDER BY ALL").fetchall()
    closed = [v for v in asked if v[4] in {"fail", "cannot_evaluate"}]
    state = "not judged yet" if not asked else "closed" if closed else "open"
    CONSOLE.print(f"\n[bold]{said('Gate')}[/bold] {said(state)}")
    if closed:
        _tell_standing(lake)
        tell(said("Why"), [said(n) for n in ("rule", "scope", "figure", "limit", "verdict", "detail")], closed)


def _tell_standing(lake: Lake) -> None:
    """What stands behind a closed gate from the last night on which it was open."""
    snapshot, cohort = lake.query("SELECT max(snapshot), count(*) FROM training_cohort").fetchall()[0]
    (predicted,) = lake.query("SELECT count(*) FROM predictions").fetchall()[0]
    if cohort or predicted:
        CONSOLE.print(f"Cohort, models, {predicted} predictions and the dynamic reading stand as of snapshot {snapshot}, when the gate was last open; "
                      "they say nothing of what arrived since.", soft_wrap=True)
