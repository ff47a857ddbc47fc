"""`lakehouse run`: the whole flow, headless."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from dagster_project.commands.interruption import interruptible
from dagster_project.commands.leaving import complete_pending, pending, whole
from dagster_project.commands.terminal import (
    CONSOLE,
    has_lake,
    print_unknown_folders,
    refuse_other_schema,
)
from dagster_project.commands.words import chosen_language, in_one_language, printed
from dagster_project.lake.free_space import fault_in, refuse_little_space
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.locks import home_locked
from dagster_project.lake.tables import TRAINING_COHORT
from dagster_project.run_processes import ANY_SPACE, DEAD, end_dead_runs, process_tags

if TYPE_CHECKING:
    import dagster as dg
    from dagster_shared.error import SerializableErrorInfo

    from dagster_project.commands.progress import Stage

EXIT_GATE_CLOSED = 3

WHAT_TO_PUT = """Nothing to do: {landing} holds no site.

Put a site's delivery there, one folder per site, named by its code \
(capital letters, then at most two digits):
  {landing}/<SITE>/clinical/patients.csv      one row per patient
  {landing}/<SITE>/clinical/treatments.csv    one row per administered cycle
  {landing}/<SITE>/clinical/follow_up.csv     one row per event or last contact
  {landing}/<SITE>/clinical/visits.csv        one row per day with ECOG, symptoms, stability
  {landing}/<SITE>/dicom/**                   CT, RTSTRUCT, SEG as the PACS exports them
  {landing}/<SITE>/reads/<reader>/**          a reader's contours, lesions.csv and LOCKED
Everything is optional but one of clinical/ and dicom/. README.md says more.
Or try a synthetic study first:  lakehouse simulate && lakehouse run"""

WHAT_TO_PUT_ZH = """没有可处理的内容：{landing} 中没有医院。

请将医院的交付数据放在这里，每家医院一个文件夹，以医院代码命名\
（大写字母开头，末尾至多两位数字）：
  {landing}/<SITE>/clinical/patients.csv      每名患者一行
  {landing}/<SITE>/clinical/treatments.csv    每个已给药周期一行
  {landing}/<SITE>/clinical/follow_up.csv     每个事件或末次随访一行
  {landing}/<SITE>/clinical/visits.csv        每日一行：ECOG、症状、是否稳定
  {landing}/<SITE>/dicom/**                   PACS 导出的 CT、RTSTRUCT、SEG
  {landing}/<SITE>/reads/<reader>/**          阅片者的勾画、lesions.csv 与 LOCKED
clinical/ 与 dicom/ 至少一项，其余均可缺。详见 README.zh-CN.md。
或先试用模拟研究：  lakehouse simulate && lakehouse run"""

INTERRUPTED = (
    "Interrupted{0}. Steps saved: {1}; the one in work begins anew with the next run. "
    "{2}: {3}. Go on with `lakehouse run`."
)

PASSED = "PASSED"
"""Stands in the place of a severity where a check passed."""

GATE_CLOSED = "The gate is closed."
GATE_SHUT = f"{GATE_CLOSED} No model was trained; see above, and `lakehouse status`."
GATE_OPEN = "The gate is open."
GATE_UNJUDGED = "The gate was not judged, since a step failed."


@click.command()
@click.option(
    "--site", multiple=True, help="Only this site's part (may be repeated).  [default: all sites]"
)
@click.option(
    "--require-model", is_flag=True, help=f"Exit with {EXIT_GATE_CLOSED} where the gate is closed."
)
@click.option("--profile", is_flag=True, help="Print at the end what each step cost.")
@click.option("--json", "as_json", is_flag=True, help="At the end one line of JSON, and no other.")
def run(site: Sequence[str], require_model: bool, profile: bool, as_json: bool) -> None:
    """The whole flow on HOME/landing: sites, cohort, reports, publication.

    \b
    Exit 0 also when the data close the gate (it says so and why);
    1 when a step failed or the audit found something.
    Example:
      lakehouse run --site BJCH
      lakehouse --quiet run --json
    """
    quiet, CONSOLE.quiet = CONSOLE.quiet, CONSOLE.quiet or as_json
    try:
        code = _run(list(site), require_model=require_model, profile=profile, as_json=as_json)
    finally:
        CONSOLE.quiet = quiet
    sys.exit(code)


def _run(site: list[str], *, require_model: bool, profile: bool, as_json: bool) -> int:
    home = refuse_other_schema(find_home()).make()
    print_unknown_folders(home)
    if pending(home):
        with whole(home, "lakehouse run"):
            complete_pending(home)
    if not home.sites():
        click.echo(_what_to_put(home), err=as_json)
        return 0
    unknown = sorted(set(site) - set(home.sites()))
    if unknown:
        raise click.ClickException(
            printed(
                "{0} has neither a delivery folder nor a vault; sites are {1}",
                ", ".join(unknown),
                ", ".join(home.sites()),
            )
        )
    refuse_little_space(home)
    refuse_damaged(home)
    with _costs(wanted=profile):
        outcome = run_flow(home, site)
    note_what_was_written(home)
    _print_outcome(outcome, as_json=as_json)
    if outcome.failed:
        return 1
    return EXIT_GATE_CLOSED if require_model and not outcome.gate_open else 0


def _costs(*, wanted: bool) -> AbstractContextManager[None]:
    from dagster_project.commands.costs import counted

    return counted(wanted=wanted)


def _print_outcome(outcome: Flow, *, as_json: bool) -> None:
    """For a machine one line; where nothing is printed on the way, what failed."""
    if as_json:
        click.echo(json.dumps(asdict(outcome), ensure_ascii=False))
    elif CONSOLE.quiet:
        for line in outcome.failed:
            click.echo(f"{printed('failed')} {line}", err=True)


def _what_to_put(home: Home) -> str:
    """Where a delivery goes."""
    text = WHAT_TO_PUT_ZH if chosen_language() == "zh" else WHAT_TO_PUT
    return text.format(landing=home.landing)


@dataclass(frozen=True)
class Flow:
    """How a run of the flow ended."""

    failed: tuple[str, ...]
    gate_open: bool
    gate_reason: str
    checks: tuple[tuple[str, str], ...] = ()
    """Severity (ERROR, WARN) and name of each check that failed when it was last asked."""


def run_flow(home: Home, only: Sequence[str], *, leave_out: Sequence[str] = ()) -> Flow:
    """Run every site's part, then the cohort's, then the reports.

    A failed site or a closed gate does not stop the rest.

    1. Another run in this home is waited for.
    2. Assets of `leave_out` are not made: without `intake` no delivery is read, and everything is
       derived from what the vault holds.
    3. Ctrl-C or SIGTERM ends it after the present transaction; what ended before is saved, and the
       next run goes on.

    Raises
    ------
    Interrupted
        Where a signal ended it.
    """
    done = _Done(home)
    with interruptible(done.summary) as check, home_locked(home, "lakehouse run", waiting=_say):
        return _run_flow(home, only, leave_out, done, check)


def _say(text: str) -> None:
    CONSOLE.print(text, soft_wrap=True)


@dataclass
class _Done:
    """What a run that is interrupted says of itself."""

    home: Home
    where: str = ""
    saved: list[str] = field(default_factory=list)

    @contextmanager
    def part(self, instance: dg.DagsterInstance, name: str) -> Iterator[str]:
        """A job under its own id, whose ended steps are noted also where it is interrupted."""
        self.where, run_id = name, str(uuid.uuid4())
        try:
            yield run_id
        finally:
            with uninterrupted():
                self.saved += _materialised(instance, run_id)

    def summary(self) -> str:
        """What is saved, and how to go on."""
        where = printed(" in {0}", self.where) if self.where else ""
        published = printed(
            "It was published before" if "published" in self.saved else "Nothing was published"
        )
        return printed(INTERRUPTED, where, len(self.saved), published, self.home.published)


def _materialised(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Assets that a run has written, as Dagster's log has them."""
    from dagster import DagsterEventType

    events = (
        e.dagster_event
        for e in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    )
    return [e.asset_key.to_user_string() for e in events if e and e.asset_key]


def _instance(home: Home) -> dg.DagsterInstance:
    """Dagster's own storage, without a copy of what is printed.

    The copy is made by processes beside this one, which a Ctrl-C would reach; the log holds every
    message anyhow.
    """
    import dagster as dg

    none = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
    return dg.DagsterInstance.local_temp(str(home.dagster), overrides={"compute_logs": none})


def _run_flow(
    home: Home,
    only: Sequence[str],
    leave_out: Sequence[str],
    done: _Done,
    check: Callable[[], None],
) -> Flow:
    install_dagster_settings(home)

    from dagster_project.definitions import defs

    began, failed, gate, opened, imaging = time.monotonic(), [], "", False, Counter[str]()
    checks: dict[str, str] = {}
    with _instance(home) as instance:
        _end_dead_runs(instance)
        sites = list(only) or home.sites()
        instance.add_dynamic_partitions("site", sites)
        for stage, job, site in _stages(home, sites):
            with done.part(instance, stage.name) as run_id:
                result = _execute(defs, instance, run_id, stage, job, site, leave_out=leave_out)
                check()
            _print_assets(result)
            imaging += _imaging_work(result)
            checks |= _checks(result, site)
            opened |= TRAINING_COHORT.name in _made(result)
            gate = _why_closed(result) or gate
            failed += [f"{site or job} {f.step}: {f.reason}" for f in _failures(result)]
    opened &= not gate
    if gate:
        _print_closed_gate(home)
    work = printed("Imaging: {0} computed, {1} reused.", imaging["computed"], imaging["reused"])
    CONSOLE.print(f"\n{work}")
    broken = tuple(
        sorted((severity, name) for name, severity in checks.items() if severity != PASSED)
    )
    _print_checks(broken, len(checks))
    _print_end(
        home, failed, _gate_in_words(opened=opened, closed=bool(gate)), time.monotonic() - began
    )
    return Flow(tuple(failed), opened, gate, broken)


def _stages(home: Home, sites: Sequence[str]) -> list[tuple[Stage, str, str | None]]:
    """The jobs of a run in order, with how long each took the last time."""
    from dagster_project.commands.progress import Stage, seconds_of_last_time, today
    from dagster_project.flow.nights import read_nights

    jobs = [*(("site", s) for s in sites), ("cohort", None), ("report", None)]
    last = seconds_of_last_time(read_nights(home, today()))
    return [
        (
            Stage(f"{job} {site or ''}".strip(), number, len(jobs), last.get((job, site or ""))),
            job,
            site,
        )
        for number, (job, site) in enumerate(jobs, start=1)
    ]


def _print_closed_gate(home: Home) -> None:
    """Every rule that closes the gate, as `lakehouse status` shows it."""
    from dagster_project.commands.status import Words, print_gate
    from dagster_project.lake.store import read_lake

    with read_lake(home) as lake:
        print_gate(lake, Words(chosen_language()))


def _gate_in_words(*, opened: bool, closed: bool) -> str:
    if opened:
        return GATE_OPEN
    return GATE_SHUT if closed else GATE_UNJUDGED


def _made(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the assets that were made."""
    return {
        e.asset_key.to_user_string()
        for e in result.get_asset_materialization_events()
        if e.asset_key
    }


def _why_closed(result: dg.ExecuteInProcessResult) -> str:
    """Why the gate is closed, by the check of the assets behind it; empty where it is not."""
    from dagster_project.materialisation import GATE_CHECK

    reasons = [
        c.description or ""
        for c in _evaluations(result)
        if c.check_name == GATE_CHECK and not c.passed
    ]
    return reasons[-1] if reasons else ""


def _evaluations(result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    """Every check that ran."""
    return [
        e.asset_check_evaluation_data
        for e in result.all_events
        if e.event_type_value == "ASSET_CHECK_EVALUATION"
    ]


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Runs that were killed, here or by the daemon: nobody waits for them any more."""
    for name in end_dead_runs(instance):
        text = printed("An earlier run ({0}): {1}.", name, in_one_language(DEAD))
        CONSOLE.print(text, soft_wrap=True)


def _checks(result: dg.ExecuteInProcessResult, site: str | None) -> dict[str, str]:
    """Severity of each check that failed, by name, or that it passed.

    A check in a site's run is about that site, and counts for it.
    """
    return {
        _check_name(c, site): PASSED if c.passed else c.severity.value for c in _evaluations(result)
    }


def _check_name(evaluation: dg.AssetCheckEvaluation, site: str | None) -> str:
    name = f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}"
    return f"{site} {name}" if site else name


def _print_checks(broken: Sequence[tuple[str, str]], total: int) -> None:
    """How many checks failed by severity, and which of them are errors."""
    errors = [name for severity, name in broken if severity == "ERROR"]
    named = f": {', '.join(errors)}" if errors else ""
    colour = "red" if errors else "green"
    found = f"[{colour}]{len(errors)}[/{colour}]"
    warnings = len(broken) - len(errors)
    text = printed(
        "{0} checks: {1} errors{2}, {3} warnings.", total, found, escape(named), warnings
    )
    CONSOLE.print(text, soft_wrap=True)


def materialise_tables(home: Home, site: str | None, tables: Collection[str]) -> list[str]:
    """Derive some tables (of one site) anew from what lies before them.

    Returns what failed; a closed gate is no failure.
    """
    install_dagster_settings(home)
    import dagster as dg

    from dagster_project.definitions import defs

    with dg.DagsterInstance.get() as instance:
        if site:
            instance.add_dynamic_partitions("site", [site])
        job = defs.resolve_job_def("site" if site else "cohort")
        keys = [
            key for key in job.asset_layer.executable_asset_keys if key.to_user_string() in tables
        ]
        result = job.execute_in_process(
            instance=instance,
            partition_key=site,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
            asset_selection=keys,
            tags=process_tags(),
        )
        _print_assets(result)
        failures = list(_failures(result))
    return [f"{site or 'cohort'} {f.step}: {f.reason}" for f in failures]


def refuse_damaged(home: Home) -> None:
    """Look at the lake before anything is made of it.

    Raises
    ------
    click.ClickException
        Where a data file is lost or no longer what was written: figures made of it would be wrong
        without a word.
    """
    from dagster_project.lake.damage import find_damage
    from dagster_project.resources import Lakehouse

    if not has_lake(home):
        return
    damages = find_damage(Lakehouse(root=str(home.root)).lake, home)
    if damages:
        raise click.ClickException("\n".join(str(damage.error()) for damage in damages))


def note_what_was_written(home: Home) -> None:
    """Note the digests of new data files, by which damage is found later."""
    from dagster_project.lake.damage import note_files
    from dagster_project.resources import Lakehouse

    if has_lake(home):
        note_files(Lakehouse(root=str(home.root)).lake, home)


def install_dagster_settings(home: Home) -> None:
    """Put Dagster's settings into its home, telemetry off; settings changed there stay."""
    target = home.dagster / "dagster.yaml"
    if not target.is_file():
        shutil.copyfile(Path(__file__).parents[1] / "dagster.yaml", target)


def _execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    run_id: str,
    stage: Stage,
    job: str,
    site: str | None,
    leave_out: Sequence[str],
) -> dg.ExecuteInProcessResult:
    from dagster_project.commands.progress import shown

    resolved = defs.resolve_job_def(job)
    chosen = (
        [
            key
            for key in resolved.asset_layer.executable_asset_keys
            if key.to_user_string() not in leave_out
        ]
        if leave_out
        else None
    )
    with shown(stage, len(list(chosen or resolved.asset_layer.executable_asset_keys))):
        return resolved.execute_in_process(
            run_id=run_id,
            instance=instance,
            partition_key=site,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
            asset_selection=chosen,
            tags=_tags(defs, instance, job, site, whole=not leave_out),
        )


def _tags(
    defs: dg.Definitions, instance: dg.DagsterInstance, job: str, site: str | None, *, whole: bool
) -> dict[str, str]:
    """Tags of a run: its process, and of a whole run what it is made from."""
    from dagster_project.commands.progress import today
    from dagster_project.run_inputs import cohort_inputs, site_inputs

    if not whole:
        return process_tags() | {ANY_SPACE: "yes"}
    home, graph = find_home(), defs.resolve_asset_graph()
    if site:
        return process_tags() | site_inputs(home, graph, site).tags
    if job != "cohort":
        return process_tags()
    return process_tags() | cohort_inputs(instance, home, graph, today()).tags


def _imaging_work(result: dg.ExecuteInProcessResult) -> Counter[str]:
    """Results that imaging assets computed and reused.

    They are files taken in, scans, contour files, lesions, and pairs of visits.
    """
    work: Counter[str] = Counter()
    for event in result.get_asset_materialization_events():
        for what in ("computed", "reused"):
            work[what] += int(getattr(event.materialization.metadata.get(what), "value", 0) or 0)
    return work


def _print_assets(result: dg.ExecuteInProcessResult) -> None:
    """What each asset did, and each check that failed; the gate has a table of its own."""
    from dagster_project.materialisation import GATE_CHECK

    seconds = {
        e.step_key: e.step_success_data.duration_ms / 1000
        for e in result.all_events
        if e.is_step_success
    }
    headings = ("asset", "rows", "computed", "reused", "removed", "refused", "seconds")
    table = Table(*map(printed, headings), box=None, header_style="dim", pad_edge=False)
    for event in result.get_asset_materialization_events():
        metadata = {k: getattr(v, "value", v) for k, v in event.materialization.metadata.items()}
        name = event.asset_key.to_user_string() if event.asset_key else ""
        figures = [
            metadata.get(k)
            for k in ("dagster/row_count", "computed", "reused", "removed", "refused")
        ]
        table.add_row(
            name,
            *("" if f is None else str(f) for f in figures),
            f"{seconds.get(event.step_key, 0):.1f}",
        )
    CONSOLE.print(table)
    for check in (c for c in _evaluations(result) if not c.passed and c.check_name != GATE_CHECK):
        colour = "red" if check.severity.value == "ERROR" else "yellow"
        name = f"{check.asset_key.to_user_string()}.{check.check_name}"
        text = escape(check.description or printed("failed"))
        CONSOLE.print(f"  [{colour}]{printed('check')}[/{colour}] {name}: {text}", soft_wrap=True)


@dataclass(frozen=True)
class _Failed:
    """A step that failed, or a job that did not start."""

    step: str
    reason: str


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[_Failed]:
    """What failed, each printed."""
    for failure in _find_failures(result):
        CONSOLE.print(f"  [red]{failure.step}[/red] {escape(failure.reason)}")
        yield failure


def _find_failures(result: dg.ExecuteInProcessResult) -> Iterator[_Failed]:
    steps = [e for e in result.all_events if e.is_step_failure]
    for event in steps:
        data = event.step_failure_data
        own = data.user_failure_data
        reason = own.description if own and own.description else _reason(data.error)
        yield _Failed(str(event.step_key), reason)
    if not (steps or result.success):
        ends = [e.job_failure_data.error for e in result.all_events if e.is_job_failure]
        yield _Failed("did not start", _reason(ends[0] if ends else None))


def _reason(error: SerializableErrorInfo | None) -> str:
    found = error.cause if error and error.cause else error
    return _in_our_words(found.message.strip()) if found else "no reason given"


OURS = re.compile(r"^(?:dagster_project|models|assets|checks)(?:\.\w+)+: ")
MODULES = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*: )")
"""How Dagster begins a message: with the path of the exception's class."""


def _in_our_words(message: str) -> str:
    """The message without a path of a module.

    One on a lost file has table, site and command, in place of DuckDB's with a path. An error of
    this program says all by itself; of others the name of the class stays.
    """
    return str(fault_in(message, find_home()) or MODULES.sub("", OURS.sub("", message)))


def _print_end(home: Home, failed: list[str], gate: str, seconds: float) -> None:
    CONSOLE.rule(f"[bold]{printed('done')}[/bold]", align="left")
    CONSOLE.print(f"{printed(gate)} {seconds:.0f} s.")
    for line in failed:
        CONSOLE.print(f"[red]{printed('failed')}[/red] {escape(line)}")
    where = (
        ("pages", home.reports / "index.html"),
        ("analysts", home.published / "lakehouse.duckdb"),
        ("models", home.mlflow),
    )
    for what, path in where:
        CONSOLE.print(f"  {printed(what):9} {path}", soft_wrap=True)
