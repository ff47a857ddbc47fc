"""`lakehouse status`: what is in, stale, damaged or refused, open arbitrations, and the gate.

The gate is shown with its reasons.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import duckdb
from rich.markup import escape

from dagster_project.commands.leaving import PENDING, pending
from dagster_project.commands.terminal import (
    CONSOLE,
    existing_home,
    language,
    print_table,
    print_unknown_folders,
)
from dagster_project.commands.words import printed
from dagster_project.domain.cohort.quality import CLOSING
from dagster_project.flow.home_state import delivery_state, home_state
from dagster_project.flow.vault_audit import BLOCKED, NOT_THE_SAME, advice, open_findings, summarise
from dagster_project.lake import sql
from dagster_project.lake.errors import LakeError
from dagster_project.lake.free_space import fault_of
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.reasons import chinese_item, chinese_reason
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import TABLES
from dagster_project.study import load_study

DELIVERY = {
    "none": "no delivery folder; what was taken in remains",
    "new": "new: run `lakehouse run`",
    "taken_in": "taken in",
    "changed": "changed since the last run: run `lakehouse run`",
}
"""States of a delivery in words."""

ITEMS_SHOWN = 5
"""Items listed under a reason before the rest is counted; `--all` lists each."""


EARLIER = (
    "Cohort, models, {0} predictions and the dynamic reading date from snapshot {1}, "
    "when the gate was last open; they do not reflect later data."
)

ZH = {
    "Lake at snapshot {0} in {1}": "数据湖快照 {0}，位于 {1}",
    "Rows by site": "各中心行数",
    "table": "表",
    "Delivery": "提交",
    "site": "中心",
    "state": "状态",
    "Refused": "退回（数据质疑）",
    "{0} items": "{0} 项",
    "and {0} more: lakehouse status --all": "另有 {0} 项：lakehouse status --all",
    "none": "无",
    "Audit of the vault": "保管库审计",
    "nothing found": "未发现问题",
    "site blocked": "中心已暂停",
    "element": "元素",
    "files": "文件数",
    "first file": "首个文件",
    "cannot be walked": "文件结构无法逐项读取",
    "preamble is not empty": "文件前导区非空",
    "is not of the folder's patient": "与所在文件夹的患者不一致",
    "does not say that it is de-identified": "未注明已去标识化",
    "private element": "私有元素",
    "element that must not be there": "不应保留的元素",
    "UID of two patients": "同一 UID 属于两名患者",
    "UID of somebody's root": "UID 含机构根码",
    "date that is no day": "日期不存在",
    "date that is not plausible": "日期不合理",
    "dates far apart": "日期相隔过远",
    "number too long for a measurement": "数值位数过长，不像测量值",
    "text with a long number": "文本含长数字",
    "text like a name": "文本疑似姓名",
    "words in the pixels": "像素中有文字",
    "text that is on no list": "文本不在词表中",
    "text with a date": "文本含日期",
    "number that is none": "数值无法识别",
    "time of day": "含时刻",
    "age that is none": "年龄格式不符",
    "bytes that are no pixels": "像素以外的二进制内容",
    "bytes behind the pixels": "像素之后有多余字节",
    "bytes behind the mask": "掩膜之后有多余字节",
    "bytes behind the picture": "图片之后有多余字节",
    "mask of other values than 0 and 1": "掩膜含 0 和 1 以外的值",
    "UID that is no key": "UID 不是加密生成",
    "dates of one series far apart": "同一序列的日期相隔过远",
    "date that does not fit its day": "日期与天数不符",
    "name that is none of the vault's": "文件名不是保管库的命名",
    "column that is none of ours": "表中有未知的列",
    "header that is not empty": "文件头非空",
    "cannot be read": "无法读取",
    "file that intake did not note": "文件未经接收登记",
    "noted file is missing": "已登记的文件缺失",
    "other bytes than were noted": "内容与登记时不符",
    "file without a line in the manifest": "清单中没有该文件的记录",
    "line of the manifest without its file": "清单中有记录、文件缺失",
    "manifest is broken": "清单已损坏",
    NOT_THE_SAME: (
        "保管库与接收登记不一致：该中心的数据不再处理和发布。请从备份恢复缺失的文件，移走未经接收登记的文件，"
        "再运行 lakehouse run"
    ),
    BLOCKED: (
        "保管库中有内容可能识别到个人：该中心的数据不再处理和发布。"
        "lakehouse status 列出元素与文件；请上报，待新版本安装后再运行 lakehouse run"
    ),
    "Open for arbitration": "待裁决",
    "patient": "患者",
    "why": "原因",
    "Gate": "质控放行",
    "not judged yet": "尚未判定",
    "judged by another protocol: lakehouse run": (
        "评估后研究方案已更改，视为未放行：请运行 lakehouse run"
    ),
    "Looser than registered": "经登记的决定，宽于注册方案",
    "closed": "未放行",
    "open": "已放行",
    "Why": "原因",
    "rule": "规则",
    "scope": "范围",
    "statistic": "数值",
    "threshold": "界值",
    "verdict": "判定",
    "detail": "说明",
    "fail": "不通过",
    "cannot evaluate": "无法判定",
    "no delivery folder; what was taken in remains": "没有提交文件夹；已接收的数据保留",
    "new: run `lakehouse run`": "新提交：请运行 lakehouse run",
    "taken in": "已接收",
    "changed since the last run: run `lakehouse run`": "上次运行后有变化：请运行 lakehouse run",
    "Rows and images": "病例报告与图像对照",
    "finding": "情况",
    "patients": "患者数",
    "row without images": "有病例报告、无图像",
    "images without row": "有图像、无病例报告",
    "rows of nobody": "编号不属于任何患者的行",
    "Same patient?": "身份疑问",
    "patient or place": "患者或位置",
    "question": "疑问",
    "Damaged": "数据文件损坏",
    "what": "情况",
    "command": "恢复命令",
    "all": "全部",
    "cohort": "全队列",
    "is lost": "丢失",
    "has another size than was written": "大小与写入时不符",
    "has other bytes than were written": "内容与写入时不符",
    PENDING: "有一次撤回同意或移除医院的操作在完成前被中断；运行 lakehouse run 会先把它做完。",
    "cannot be shown until that is mended": "修复之前无法显示",
    "contract": "表结构",
    "open arbitrations": "待裁决病例",
    "icc resolved": "ICC（未经仲裁的配对）",
    "icc lower bound": "ICC 置信下限",
    "icc raw": "ICC（全部配对）",
    "arbitrated share": "仲裁比例",
    "patient at two sites": "同一患者出现在两个中心",
    "images under two pseudonyms": "同一图像对应两个研究编号",
    "label after task": "结局标签晚于任务",
    "decided by task": "任务之前结局已定",
    "minimum patients": "最少患者数",
    "minimum responders": "最少缓解患者数",
    "minimum non responders": "最少未缓解患者数",
    EARLIER: (
        "队列、模型、{0} 条预测与动态判读均来自快照 {1}（质控最近一次放行时），"
        "不反映此后到达的数据。"
    ),
}
"""The words of this command in Chinese; a word without an entry is shown in English."""


@click.command()
@click.option("--site", help="Only this site.  [default: all sites]")
@language()
@click.option(
    "--all", "every", is_flag=True, help="List every refused item, however many share a reason."
)
@click.option(
    "--files",
    is_flag=True,
    help="Name refused files by their path in landing/, on this screen only: "
    "a name may be a person's.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Read every data file of the lake and compare it with what was written.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="The state of the whole home for a machine, as JSON."
)
def status(
    site: str | None, lang: str, every: bool, files: bool, verify: bool, as_json: bool
) -> None:
    """Show what is in, damaged, refused or open for arbitration, and the gate.

    A refused item has its file, row, column and reason; the gate has its reasons.

    \b
    Example:
      lakehouse status --site BJCH --lang zh
      lakehouse status --json
    """
    home = existing_home()
    if as_json:
        click.echo(json.dumps(home_state(home, dt.datetime.now(dt.UTC)), ensure_ascii=False))
        return
    if site is not None and site not in home.sites():
        raise click.ClickException(
            printed("there is no site of that code; sites are {0}", ", ".join(home.sites()))
        )
    show_status(home, site=site, lang=lang, every=every, files=files, verify=verify)


def show_status(
    home: Home,
    *,
    site: str | None = None,
    lang: str = "en",
    every: bool = False,
    files: bool = False,
    verify: bool = False,
) -> None:
    """Print what is in, stale, damaged or refused, what waits for the arbiter, and the gate.

    A part whose table is damaged says so, and the others are shown all the same.
    """
    words = Words(lang)
    sites = [s for s in home.sites() if site in {None, s}]
    print_unknown_folders(home, lang)
    if pending(home):
        CONSOLE.print(escape(words(PENDING)), soft_wrap=True)
    with read_lake(home) as lake:
        lake.check_schema()
        title = words("Lake at snapshot {0} in {1}", lake.snapshot(), home.root)
        CONSOLE.print(escape(title), soft_wrap=True)
        _print_damage(lake, home, words, every_byte=verify)
        landing = home.landing if files else None
        parts: list[tuple[str, Callable[[], None]]] = [
            ("Rows by site", lambda: _print_rows(lake, words, sites)),
            ("Delivery", lambda: _print_deliveries(home, words, sites)),
            ("Audit of the vault", lambda: _print_audit(home, words, sites)),
            ("Refused", lambda: _print_refused(lake, words, site, every=every, landing=landing)),
            ("Rows and images", lambda: _print_reconciliation(lake, words, site)),
            ("Open for arbitration", lambda: _print_arbitration(lake, words, site)),
            ("Gate", lambda: print_gate(lake, words)),
        ]
        for title, part in parts:
            _print_part(words, title, part)


class Words:
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

    def code(self, text: str) -> str:
        """A code of the lake: as it is in English, with the name that readers know in Chinese."""
        return ZH.get(text.replace("_", " "), text) if self.chinese else text

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table whose title and columns are words of this command."""
        print_table(self(title), [self(c) for c in columns], rows, nothing=self("none"))


def _print_part(words: Words, title: str, part: Callable[[], None]) -> None:
    try:
        part()
    except (duckdb.Error, LakeError) as error:
        fault = fault_of(error, find_home())
        text = words.reason(str(fault)) if fault else words("cannot be shown until that is mended")
        CONSOLE.print(f"\n[bold]{words(title)}[/bold]: [red]{escape(text)}[/red]", soft_wrap=True)


def _print_damage(lake: Lake, home: Home, words: Words, *, every_byte: bool) -> None:
    from dagster_project.lake.damage import find_damage

    found = find_damage(lake, home, every_byte=every_byte)
    if found:
        rows = sorted({(d.table, d.site or words("all"), words(d.what), d.command) for d in found})
        words.table("Damaged", ["table", "site", "what", "command"], rows)


def _print_rows(lake: Lake, words: Words, sites: list[str]) -> None:
    print_table(words("Rows by site"), [words("table"), *sites], _rows_by_site(lake, sites))


def _print_deliveries(home: Home, words: Words, sites: list[str]) -> None:
    rows = [(s, words(DELIVERY[delivery_state(home, s)])) for s in sites]
    words.table("Delivery", ["site", "state"], rows)


def _print_audit(home: Home, words: Words, sites: list[str]) -> None:
    """What the audit found in each site's vault: finding, element, files, the first of them."""
    found = {s: f for s, f in open_findings(home).items() if s in sites}
    if not found:
        CONSOLE.print(f"\n[bold]{words('Audit of the vault')}[/bold]: {words('nothing found')}")
        return
    rows = [
        (site, words(what), element, n, where)
        for site, findings in found.items()
        for what, element, n, where in summarise(findings)
    ]
    words.table("Audit of the vault", ["site", "finding", "element", "files", "first file"], rows)
    named = ", ".join(found)
    follows = " ".join(
        words(text) for text in advice(f for findings in found.values() for f in findings)
    )
    text = f"{words('site blocked')}: {named}. {follows}"
    CONSOLE.print(f"[red]{escape(text)}[/red]", soft_wrap=True)


def _rows_by_site(lake: Lake, sites: list[str]) -> list[tuple[str, ...]]:
    tables = [table for table in TABLES if "site" in table.names]
    rows = lake.query(sql.rows_by_site(tables)).fetchall()
    counts = {(table, site): n for table, site, n in rows}
    return [
        (table.name, *(str(counts.get((table.name, site), 0)) for site in sites))
        for table in tables
    ]


def _print_refused(
    lake: Lake, words: Words, site: str | None, *, every: bool, landing: Path | None
) -> None:
    """Print each refusal by place, under its site, stage and reason.

    With a delivery folder, the paths of the files are shown too.
    """
    found = lake.query(
        "SELECT site, stage, reason, list(item ORDER BY item) FROM quarantine "
        "WHERE site = coalesce(?, site) "
        "GROUP BY ALL ORDER BY site, stage, count(*) DESC, reason",
        [site],
    ).fetchall()
    total = sum(len(items) for *_, items in found)
    count = words("{0} items", total) if total else words("none")
    CONSOLE.print(f"\n[bold]{words('Refused')}[/bold]: {count}")
    paths = {} if landing is None else _paths(landing, found)
    for at, stage, reason, items in found:
        line = f"{at} {stage} [dim]×{len(items)}[/dim] {escape(words.reason(reason))}"
        CONSOLE.print(line, soft_wrap=True)
        shown = items if every else items[:ITEMS_SHOWN]
        for item in shown:
            path = paths.get(at, {}).get(item.partition("sha256:")[2], "")
            CONSOLE.print(escape(f"    {words.item(item)} {path}".rstrip()), soft_wrap=True)
        if len(items) > len(shown):
            more = words("and {0} more: lakehouse status --all", len(items) - len(shown))
            CONSOLE.print(f"    [dim]{more}[/dim]")


def _paths(landing: Path, found: Sequence[tuple[Any, ...]]) -> dict[str, Mapping[str, Path]]:
    """Paths of refused files by site and digest."""
    from dagster_project.intake.vault.landing import locate_refused

    by_site: dict[str, list[str]] = {}
    for at, *_, items in found:
        by_site.setdefault(at, []).extend(items)
    return {at: locate_refused(landing / at, items) for at, items in by_site.items()}


def _print_reconciliation(lake: Lake, words: Words, site: str | None) -> None:
    """Print the patients with only a row or only images, and near matches of their numbers.

    Patients with only a row or only images are counted; those with a nearly equal number are listed
    by name.
    """
    counts = lake.query(
        "SELECT site, replace(finding, '_', ' '), count(DISTINCT (patient, item)) "
        "FROM reconciliation "
        "WHERE site = coalesce(?, site) GROUP BY ALL ORDER BY ALL",
        [site],
    ).fetchall()
    rows = [(at, words(finding), n) for at, finding, n in counts]
    words.table("Rows and images", ["site", "finding", "patients"], rows)
    questions = lake.query(
        "SELECT site, CASE WHEN patient = '*' THEN item ELSE patient END, question "
        "FROM reconciliation "
        "WHERE (other_patient <> '*' OR patient = '*') AND site = coalesce(?, site) ORDER BY ALL",
        [site],
    ).fetchall()
    rows = [(at, words.item(who), words.reason(question)) for at, who, question in questions]
    words.table("Same patient?", ["site", "patient or place", "question"], rows)


def _print_arbitration(lake: Lake, words: Words, site: str | None) -> None:
    cases = lake.query(
        "SELECT site, patient, triggers FROM arbitrations WHERE status = 'open' "
        "AND site = coalesce(?, site) ORDER BY site, patient",
        [site],
    ).fetchall()
    rows = [
        (at, patient, "; ".join(map(words.reason, triggers))) for at, patient, triggers in cases
    ]
    words.table("Open for arbitration", ["site", "patient", "why"], rows)


def print_gate(lake: Lake, words: Words) -> None:
    """Print whether the gate is open, and each rule that closes it."""
    verdicts: list[tuple[Any, ...]] = lake.query(
        "SELECT rule, scope, statistic, threshold, verdict, detail, protocol_digest "
        "FROM quality_verdicts "
        "WHERE kind = 'cohort' ORDER BY ALL"
    ).fetchall()
    closed, study = [v[:6] for v in verdicts if v[4] in CLOSING], load_study()
    state = "closed" if closed else "open"
    if not verdicts:
        state = "not judged yet"
    elif any(v[6] != study.digest for v in verdicts):
        state = "judged by another protocol: lakehouse run"
    CONSOLE.print(f"\n[bold]{words('Gate')}[/bold] {words(state)}")
    for amendment in study.amendments:
        CONSOLE.print(
            f"{words('Looser than registered')}: {escape(amendment.words())}", soft_wrap=True
        )
    if closed:
        _print_earlier(lake, words)
        rows = [
            (
                words.code(rule),
                words.code(scope),
                statistic,
                threshold,
                words.code(verdict),
                words.reason(detail),
            )
            for rule, scope, statistic, threshold, verdict, detail in closed
        ]
        words.table("Why", ["rule", "scope", "statistic", "threshold", "verdict", "detail"], rows)


def _print_earlier(lake: Lake, words: Words) -> None:
    """What remains behind a closed gate from the last night on which it was open."""
    snapshot, cohort = lake.query("SELECT max(snapshot), count(*) FROM training_cohort").fetchall()[
        0
    ]
    (predicted,) = lake.query("SELECT count(*) FROM predictions").fetchall()[0]
    if cohort or predicted:
        CONSOLE.print(words(EARLIER, predicted, snapshot), soft_wrap=True)
