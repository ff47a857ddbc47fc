"""`lakehouse check`: one line and an exit code for the hospital's monitoring, and who is called."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dagster_project.commands.terminal import language
from dagster_project.lake.free_space import fault_of, in_bytes, parse_size
from dagster_project.lake.home import Home, find_home

if TYPE_CHECKING:
    from dagster_project.flow.alerts import Condition, Limits, Sent
    from dagster_project.flow.home_state import State

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""Exit codes, as monitoring plugins give them."""

SENT_FILE = "sent.json"
"""What each channel was sent."""

TEST = (
    "This is a test: a message of the lakehouse reaches you. There is nothing to do.",
    "这是一条测试消息：数据湖的通知可以送达，无需处理。",
)


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Bytes of a size such as 50G."""
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError:
            self.fail("give a size such as 50G", param, ctx)


class _Age(click.ParamType):
    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.timedelta:
        """A time such as 26h."""
        found = isinstance(value, str) and re.fullmatch(r"(\d+)([hd])", value)
        if isinstance(value, dt.timedelta):
            return value
        if not found:
            self.fail("give a time such as 26h or 2d", param, ctx)
        return dt.timedelta(hours=int(found[1]) * (1 if found[2] == "h" else 24))


@click.command()
@click.option(
    "--max-age", type=_Age(), default="26h", show_default=True, help="Oldest last run that is well."
)
@click.option(
    "--min-free", type=_Size(), default="50G", show_default=True, help="Least free space."
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write figures for Prometheus's node exporter (a file *.prom).",
)
@click.option(
    "--notify", is_flag=True, help="Send what is new by the channels of HOME/alerts.toml."
)
@click.option("--test", is_flag=True, help="Send a test message by each channel, and end.")
@language()
def check(
    max_age: dt.timedelta, min_free: int, textfile: Path | None, notify: bool, test: bool, lang: str
) -> None:
    """Say in one line whether all is well; exit 0 (OK), 1 (WARNING), 2 (CRITICAL), 3 (UNKNOWN).

    Critical: a failed or killed run, no run for --max-age, less space than --min-free, an audit
    finding, a listener that puts senders off, a damaged lake. A closed gate is no fault and is
    only named. A warning: a message could not be sent, or less than twice --min-free is free.

    \b
    Example:
      lakehouse check --max-age 26h --min-free 50G
      lakehouse check --notify --textfile /var/lib/node_exporter/lakehouse.prom
    """
    from dagster_project.flow.alerts import Limits

    home, now = find_home(), dt.datetime.now(dt.UTC)
    if test:
        sys.exit(_test(home))
    try:
        state, conditions = _look(home, Limits(max_age, min_free), now)
    except Exception as error:  # a plugin answers in one line whatever is wrong
        click.echo(f"UNKNOWN - {_first_line(error)}")
        sys.exit(UNKNOWN)
    faults = _notify(home, state, conditions) if notify else []
    if textfile:
        _write_textfile(textfile, state, conditions)
    sys.exit(_print(state, conditions, faults, Limits(max_age, min_free), chinese=lang == "zh"))


def _look(home: Home, limits: Limits, now: dt.datetime) -> tuple[dict[str, Any], list[Condition]]:
    from dagster_project.flow.alerts import find_conditions
    from dagster_project.flow.home_state import home_state

    if not home.root.is_dir():
        raise click.ClickException("there is no home of that name, or it is not mounted")
    state = home_state(home, now)
    return state, find_conditions(state, limits, now)


def _first_line(error: Exception) -> str:
    named = error if isinstance(error, click.ClickException) else fault_of(error, find_home())
    text = named.message if isinstance(named, click.ClickException) else str(named or "")
    return text.splitlines()[0] if text else f"the home cannot be read ({type(error).__name__})"


def _print(
    state: State,
    conditions: Sequence[Condition],
    faults: Sequence[str],
    limits: Limits,
    *,
    chinese: bool,
) -> int:
    """Print the line of a monitoring plugin, with figures behind the bar; its exit code."""
    little = state["free_bytes"] < 2 * limits.min_free
    code = WARNING if faults or little else OK
    if conditions:
        code = CRITICAL
    name = ("OK", "WARNING", "CRITICAL")[code]
    parts = [condition.zh if chinese else condition.en for condition in conditions]
    parts += [*faults, _summary(state, chinese=chinese)]
    figures = (
        f"free={state['free_bytes']}B;{2 * limits.min_free}:;{limits.min_free}: "
        f"conditions={len(conditions)}"
    )
    click.echo(f"{name} - {'; '.join(parts)} | {figures}")
    return code


def _summary(state: State, *, chinese: bool) -> str:
    gate, last = state["gate"]["state"].replace("_", " "), state["last_run"] or "-"
    free = in_bytes(state["free_bytes"])
    if chinese:
        return f"质控 {gate}，最近运行 {last}，剩余空间 {free}"
    return f"gate {gate}, last run {last}, {free} free"


# -- who is called ---------------------------------------------------------------------------------


def _notify(home: Home, state: State, conditions: Sequence[Condition]) -> list[str]:
    """Send each channel what it has not been sent; what could not be sent."""
    from dagster_project.flow.alert_channels import AlertError, channels_of, read_alerts
    from dagster_project.lake.locks import locked

    try:
        alerts = read_alerts(home.root)
        channels = channels_of(alerts, home.root)
    except AlertError as error:
        return [str(error).splitlines()[0]]
    if not channels:
        return ["alerts.toml names no channel, nobody is called"]
    home.watch.mkdir(mode=0o700, exist_ok=True)
    with locked(home.watch / ".lock", "lakehouse check"):
        faults = (
            _send(home, name, send, alerts.contact, state, conditions)
            for name, send in channels.items()
        )
        return [fault for fault in faults if fault]


def _send(
    home: Home, channel: str, send: Any, contact: str, state: State, conditions: Sequence[Condition]
) -> str:
    """Send what is new by one channel and note it; the fault where it was not sent."""
    from dagster_project.flow.alert_channels import AlertError
    from dagster_project.flow.alerts import Sent, message_of, new_conditions

    sent = _read_sent(home)
    new, then = new_conditions(conditions, state, Sent.of(sent.get(channel, {})))
    try:
        if new:
            send(*message_of(new, contact))
    except AlertError as error:
        return str(error).splitlines()[0]
    _write_sent(home, sent, channel, then)
    return ""


def _read_sent(home: Home) -> dict[str, Any]:
    file = home.watch / SENT_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _write_sent(home: Home, sent: Mapping[str, Any], channel: str, then: Sent) -> None:
    from dagster_project.lake.files import write_whole

    written = {**sent, channel: then.as_json()}
    if written != sent:
        write_whole(home.watch / SENT_FILE, json.dumps(written, indent=1).encode())


def _test(home: Home) -> int:
    from dagster_project.flow.alert_channels import AlertError, channels_of, read_alerts

    try:
        alerts = read_alerts(home.root)
        channels = channels_of(alerts, home.root)
        for name, send in channels.items():
            send("Lakehouse: test", "\n".join([*TEST, alerts.contact]))
            click.echo(f"{name}: sent")
    except AlertError as error:
        raise click.ClickException(str(error)) from None
    if not channels:
        raise click.ClickException(f"alerts.toml of {home.root} names no channel")
    return 0


# -- figures ---------------------------------------------------------------------------------------


def _write_textfile(file: Path, state: State, conditions: Sequence[Condition]) -> None:
    """Put the figures in place whole, readable by the exporter's account."""
    from dagster_project.lake.files import write_whole

    lines = [
        ("lakehouse_free_bytes", {}, state["free_bytes"]),
        ("lakehouse_gate_open", {}, int(state["gate"]["state"] == "open")),
        ("lakehouse_last_run_timestamp_seconds", {}, _seconds(state["last_run"])),
        *(("lakehouse_condition", {"kind": k}, n) for k, n in _by_kind(conditions).items()),
    ]
    for site, facts in state["sites"].items():
        label = {"site": site}
        at = _seconds(facts["last_good_night"])
        lines += [
            ("lakehouse_last_good_night_timestamp_seconds", label, at),
            ("lakehouse_refused_items", label, facts["refused"]),
            ("lakehouse_open_cases", label, facts["open_cases"]),
            ("lakehouse_site_blocked", label, int(facts["blocked"])),
        ]
    text = "".join(f"{name}{_labels(labels)} {value}\n" for name, labels, value in lines)
    write_whole(file, text.encode(), mode=0o644)


def _by_kind(conditions: Sequence[Condition]) -> dict[str, int]:
    kinds = ("age", "audit", "lake", "listener", "night", "space")
    return {kind: sum(c.kind == kind for c in conditions) for kind in kinds}


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""


def _seconds(moment: str | None) -> int:
    return int(dt.datetime.fromisoformat(moment).timestamp()) if moment else 0
