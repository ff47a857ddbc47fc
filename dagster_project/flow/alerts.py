"""What somebody has to be called for, each once: conditions of a home's state, and who knows.

A condition has a key. It is sent while its key is not among those that a channel was sent, and a
key whose condition has passed is forgotten, so that the same trouble later is new.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dagster_project.flow.home_state import State
from dagster_project.lake.free_space import in_bytes

Level = Literal["warning", "critical"]

PUT_OFF_MINUTES = 30
"""How long a listener may put senders off before somebody is called: a run may take that long."""


@dataclass(frozen=True)
class Limits:
    """How old the last run may be, and how little space may be left."""

    max_age: dt.timedelta
    min_free: int


@dataclass(frozen=True)
class Condition:
    """One thing that is not as it should be, in both languages, naming no person."""

    key: str
    kind: str
    level: Level
    en: str
    zh: str


def find_conditions(state: State, limits: Limits, now: dt.datetime) -> list[Condition]:
    """Everything that is not as it should be, the worst first."""
    found = [
        *_lake_conditions(state),
        *_night_conditions(state),
        *_age_conditions(state, limits, now),
        *_space_conditions(state, limits),
        *_audit_conditions(state),
        *_listener_conditions(state, now),
    ]
    return sorted(found, key=lambda condition: condition.level)


def _lake_conditions(state: State) -> Iterator[Condition]:
    if state["fault"]:
        en, _, zh = str(state["fault"]).partition("\n")
        yield Condition("schema", "lake", "critical", en, zh or en)
    tables = sorted({damage["table"] for damage in state["damaged"]})
    if tables:
        names = ", ".join(tables)
        yield Condition(
            f"damaged:{names}",
            "lake",
            "critical",
            f"data files of the lake are lost or damaged ({names}); `lakehouse status` names the "
            "command",
            f"数据湖的数据文件丢失或损坏（{names}）；`lakehouse status --lang zh` 列出恢复命令",
        )


def _night_conditions(state: State) -> Iterator[Condition]:
    for night in state["nights"]:
        where = night["site"] or night["job"]
        if night["status"] == "failed":
            yield Condition(
                f"night:{night['run']}",
                "night",
                "critical",
                f"{where}: the last run failed; the Dagster UI names the step",
                f"{where}：最近一次运行失败；Dagster 界面列出失败步骤",
            )
        if night["status"] == "killed":
            yield Condition(
                f"night:{night['run']}",
                "night",
                "critical",
                f"{where}: the last run was killed (memory, or the machine was started anew); the "
                "next run goes on from what was saved",
                f"{where}：最近一次运行被强制终止（内存不足或机器重启）；下一次运行将从已保存处继续",
            )


def _age_conditions(state: State, limits: Limits, now: dt.datetime) -> Iterator[Condition]:
    last = state["last_run"]
    if last and now - dt.datetime.fromisoformat(last) <= limits.max_age:
        return
    hours = limits.max_age.total_seconds() / 3600
    yield Condition(
        f"age:{last}",
        "age",
        "critical",
        f"no run has begun for {hours:g} h (the last one: {last or 'none yet'}); is the service "
        "running?",
        f"已有 {hours:g} 小时没有运行（最近一次：{last or '尚无'}）；请检查服务是否在运行",
    )


def _space_conditions(state: State, limits: Limits) -> Iterator[Condition]:
    free = state["free_bytes"]
    if free >= limits.min_free:
        return
    yield Condition(
        "space",
        "space",
        "critical",
        f"{in_bytes(free)} are free on the disk of the home, less than {in_bytes(limits.min_free)}",
        f"主目录所在磁盘剩余 {in_bytes(free)}，低于 {in_bytes(limits.min_free)}",
    )


def _audit_conditions(state: State) -> Iterator[Condition]:
    for site, facts in state["sites"].items():
        if not facts["blocked"]:
            continue
        kinds = sorted({finding["what"] for finding in facts["findings"]})
        digest = hashlib.sha256(json.dumps(facts["findings"]).encode()).hexdigest()[:12]
        yield Condition(
            f"audit:{site}:{digest}",
            "audit",
            "critical",
            f"{site}: the audit found something and blocks the site ({'; '.join(kinds)}); "
            "`lakehouse status` says what to do",
            f"{site}：审计有发现，该中心已暂停；`lakehouse status --lang zh` 说明处理办法",
        )


def _listener_conditions(state: State, now: dt.datetime) -> Iterator[Condition]:
    for site, facts in state["listeners"].items():
        if not facts["running"]:
            yield Condition(
                f"listener:{site}:gone",
                "listener",
                "critical",
                f"{site}: the listener has ended without being ended; start it again",
                f"{site}：接收服务异常退出；请重新启动",
            )
            continue
        since = facts["put_off_since"]
        waited = now - dt.datetime.fromisoformat(since) if since else dt.timedelta()
        if waited > dt.timedelta(minutes=PUT_OFF_MINUTES):
            yield Condition(
                f"listener:{site}:{since}",
                "listener",
                "critical",
                f"{site}: the listener has put senders off since {since} ({facts['put_off']} "
                "objects): a run that does not end, a full disk, or a locked vault",
                f"{site}：接收服务自 {since} 起拒收（{facts['put_off']} 个对象）："
                "运行未结束、磁盘已满或保管库被占用",
            )


# -- who knows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What a channel was sent: keys of conditions that still hold, and the gate as it was."""

    keys: frozenset[str] = frozenset()
    gate: str = ""

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Sent:
        """As it was stored."""
        return cls(frozenset(written.get("keys", ())), str(written.get("gate", "")))

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"keys": sorted(self.keys), "gate": self.gate}


def new_conditions(
    conditions: Sequence[Condition], state: State, sent: Sent
) -> tuple[list[Condition], Sent]:
    """What a channel has not been sent, and what it knows once it was.

    1. A condition is new while its key is not known.
    2. The gate has turned where it was open and is closed, or the other way round. A first look,
       and a gate that is not judged, turn nothing.
    """
    new = [condition for condition in conditions if condition.key not in sent.keys]
    gate = state["gate"]["state"]
    judged = gate in {"open", "closed"}
    if judged and sent.gate and gate != sent.gate:
        new.append(_turned(state))
    keys = frozenset(condition.key for condition in conditions)
    return new, Sent(keys, gate if judged else sent.gate)


def _turned(state: State) -> Condition:
    gate = state["gate"]
    if gate["state"] == "open":
        return Condition(
            "gate",
            "gate",
            "warning",
            "the gate has opened: models are trained",
            "质控已放行：开始训练模型",
        )
    rules = ", ".join(
        f"{v['rule']} ({v['scope']})" for v in gate["verdicts"] if v["verdict"] != "pass"
    )
    return Condition(
        "gate",
        "gate",
        "warning",
        f"the gate has closed: {rules}; no fault of the program, `lakehouse status` says why",
        f"质控未放行：{rules}；并非程序故障，`lakehouse status --lang zh` 说明原因",
    )


def message_of(conditions: Sequence[Condition], contact: str) -> tuple[str, str]:
    """Subject and text of one message, English and Chinese, with whom to call."""
    kinds = ", ".join(dict.fromkeys(condition.kind for condition in conditions))
    lines = [*(f"- {c.en}" for c in conditions), "", *(f"- {c.zh}" for c in conditions)]
    if contact:
        lines += ["", contact]
    return f"Lakehouse: {kinds}", "\n".join(lines)
