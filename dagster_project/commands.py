"""What the longer commands do: run the flow headless, say how things stand, write a synthetic landing."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.lake.home import Home, delivery_signature
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import TABLES, TRAINING_COHORT

CONSOLE = Console(highlight=False)
GATE_CLOSED = "The gate is closed."
GATE_SHUT = f"{GATE_CLOSED} No model was trained; see above, and `lakehouse status`."
GATE_OPEN = "The gate is open."
GATE_UNJUDGED = "The gate was not judged, since a step failed."


@dataclass(frozen=True)
class Flow:
    """How a run of the flow ended."""

    failed: tuple[str, ...]
    gate_open: bool
    gate_reason: str


def run_flow(home: Home, only: Sequence[str]) -> Flow:
    """Run every site's part, then the cohort's, then the reports; a failed site or a closed gate does not stop the rest."""
    install_dagster_settings(home)
    from dagster_project.definitions import defs

    began, failed, gate, opened, imaging = time.monotonic(), [], "", False, Counter[str]()
    with dg.DagsterInstance.get() as instance:
        sites = list(only) or home.sites()
        instance.add_dynamic_partitions("site", sites)
        for job, site in (*(("site", s) for s in sites), ("cohort", None), ("report", None)):
            result = _execute(defs, instance, job, site)
            imaging += _imaging_work(result)
            opened |= any(e.is_step_success and e.step_key == TRAINING_COHORT.name for e in result.all_events)
            for step, reason in _failures(result):
                closed = reason.startswith(GATE_CLOSED)
                gate = reason if closed else gate
                failed += [] if closed else [f"{site or job} {step}: {reason}"]
    opened &= not gate
    CONSOLE.print(f"\nImaging: {imaging['computed'] or 'nothing'} computed, {imaging['reused']} reused.")
    _tell_end(home, failed, GATE_OPEN if opened else GATE_SHUT if gate else GATE_UNJUDGED, time.monotonic() - began)
    return Flow(tuple(failed), opened, gate)


def install_dagster_settings(home: Home) -> None:
    """Put Dagster's settings into its home, telemetry off; settings that someone changed there stay."""
    target = home.dagster / "dagster.yaml"
    if not target.is_file():
        shutil.copyfile(Path(__file__).with_name("dagster.yaml"), target)


def _execute(defs: dg.Definitions, instance: dg.DagsterInstance, job: str, site: str | None) -> dg.ExecuteInProcessResult:
    CONSOLE.rule(f"[bold]{job}[/bold]{' ' + site if site else ''}", align="left")
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=site, raise_on_error=False, run_config={"loggers": {"console": {}}})
    _tell_assets(result)
    return result


def _imaging_work(result: dg.ExecuteInProcessResult) -> Counter[str]:
    """Results that imaging assets computed and reused: files taken in, scans, contour files, lesions, pairs of visits."""
    work: Counter[str] = Counter()
    for event in result.get_asset_materialization_events():
        for what in ("computed", "reused"):
            work[what] += int(getattr(event.materialization.metadata.get(what), "value", 0) or 0)
    return work


def _tell_assets(result: dg.ExecuteInProcessResult) -> None:
    seconds = {e.step_key: e.step_success_data.duration_ms / 1000 for e in result.all_events if e.is_step_success}
    table = Table("asset", "rows", "computed", "reused", "removed", "refused", "seconds", box=None, header_style="dim", pad_edge=False)
    for event in result.get_asset_materialization_events():
        told = {k: getattr(v, "value", v) for k, v in event.materialization.metadata.items()}
        name = event.asset_key.to_user_string() if event.asset_key else ""
        figures = [told.get(k) for k in ("dagster/row_count", "computed", "reused", "removed", "refused")]
        table.add_row(name, *("" if f is None else str(f) for f in figures), f"{seconds.get(event.step_key, 0):.1f}")
    CONSOLE.print(table)
    failed = [e.asset_check_evaluation_data for e in result.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    for check in (c for c in failed if not c.passed):
        CONSOLE.print(f"  [yellow]check[/yellow] {check.asset_key.to_user_string()}.{check.check_name}: {escape(check.description or 'failed')}")


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, str]]:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            own = data.user_failure_data.description if data.user_failure_data else None
            error = data.error.cause if data.error and data.error.cause else data.error
            reason = own or (error.message.strip() if error else "no reason given")
            colour = "yellow" if reason.startswith(GATE_CLOSED) else "red"
            CONSOLE.print(f"  [{colour}]{event.step_key}[/{colour}] {escape(reason)}")
            yield str(event.step_key), reason


def _tell_end(home: Home, failed: list[str], gate: str, seconds: float) -> None:
    CONSOLE.rule("[bold]done[/bold]", align="left")
    CONSOLE.print(f"{gate} {seconds:.0f} s.")
    for line in failed:
        CONSOLE.print(f"[red]failed[/red] {escape(line)}")
    where = (("pages", home.reports / "index.html"), ("analysts", home.published / "lakehouse.duckdb"), ("models", home.mlflow))
    for what, path in where:
        CONSOLE.print(f"  {what:9} {path}", soft_wrap=True)


def show_status(home: Home) -> None:
    """Print what is in, what is stale, what was refused, what waits for the arbiter, and the gate."""
    with read_lake(home) as lake:
        CONSOLE.print(f"Lake at snapshot {lake.snapshot()} in {home.root}", soft_wrap=True)
        _tell("Rows by site", ["table", *home.sites()], _rows_by_site(lake, home.sites()))
        _tell("Delivery", ["site", "state"], [(s, _delivery(home, s)) for s in home.sites()])
        _tell("Refused", ["site", "stage", "items", "reason"], lake.query(
            "SELECT site, stage, count(*), reason FROM quarantine GROUP BY ALL ORDER BY site, stage, 3 DESC").fetchall())
        _tell("Open for arbitration", ["site", "patient", "why"], lake.query(
            "SELECT site, patient, array_to_string(triggers, '; ') FROM arbitrations WHERE status = 'open' ORDER BY ALL").fetchall())
        _tell_gate(lake)


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
    return "taken in" if taken.read_text(encoding="utf-8") == delivery_signature(folder) else "changed since the last run: run `lakehouse run`"


def _tell_gate(lake: Lake) -> None:
    asked = lake.query("SELECT rule, scope, figure, \"limit\", verdict, detail FROM quality_verdicts WHERE kind = 'cohort' ORDER BY ALL").fetchall()
    closed = [v for v in asked if v[4] in {"fail", "cannot_evaluate"}]
    state = "not judged yet" if not asked else "closed" if closed else "open"
    CONSOLE.print(f"\n[bold]Gate[/bold] {state}")
    if closed:
        _tell("Why", ["rule", "scope", "figure", "limit", "verdict", "detail"], closed)


def _tell(title: str, columns: list[str], rows: Sequence[Sequence[Any]]) -> None:
    CONSOLE.print(f"\n[bold]{title}[/bold]{'' if rows else ': none'}")
    if rows:
        table = Table(*columns, box=None, header_style="dim", pad_edge=False)
        for row in rows:
            table.add_row(*("" if v is None else f"{v:.4g}" if isinstance(v, float) else escape(str(v)) for v in row))
        CONSOLE.print(table)


def simulate_landing(home: Home, plan: str, seed: int | None, into: Path | None, truth: Path | None) -> None:
    """Write a synthetic landing and say where its truth is."""
    from dataclasses import replace

    from rich.progress import Progress

    from dagster_project.simulation.cohort import simulate_cohort
    from dagster_project.simulation.plan import DEMO, TINY

    chosen = {"demo": DEMO, "tiny": TINY}[plan]
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    landing, known = into or home.landing, truth or home.root / "truth"
    with Progress(transient=True) as bar:
        task = bar.add_task("scans simulated", total=None)
        simulate_cohort(landing, known, chosen, progress=lambda done, total: bar.update(task, completed=done, total=total))
    CONSOLE.print(f"Synthetic landing in {landing}; its truth, which no asset reads, in {known}", soft_wrap=True)


DEMO_MARK = "DEMO"
"""A file in a home that the demo made and may therefore begin anew."""


def run_demo(home: Home) -> bool:
    """Simulate three sites and run the flow twice: before the arbiter's decisions, which the gate refuses, and after them.

    Returns
    -------
    bool
        True where the gate was closed at first, open afterwards, and nothing failed.
    """
    if home.root.is_dir() and any(home.root.iterdir()) and not (home.root / DEMO_MARK).is_file():
        raise click.ClickException(f"{home.root} holds another study; give the demo a folder of its own: lakehouse --home FOLDER demo")
    shutil.rmtree(home.root, ignore_errors=True)
    home.make()
    (home.root / DEMO_MARK).touch()
    _step("1. Three hospitals deliver scans, contours and case reports (synthetic, with planted trouble)")
    simulate_landing(home, "demo", None, None, None)
    _step("2. The whole flow: one hospital's second reader was careless, so the gate stays closed")
    before = run_flow(home, [])
    _step("3. The arbiter's decisions arrive")
    _deliver_decisions(home)
    _step("4. The flow again: only what the decisions touch is computed, the gate opens, the model is trained")
    after = run_flow(home, [])
    _tell_demo(home)
    return not (before.failed or after.failed) and not before.gate_open and after.gate_open


def _step(text: str) -> None:
    CONSOLE.print(f"\n[bold reverse] {text} [/bold reverse]\n")


def _deliver_decisions(home: Home) -> None:
    for decisions in sorted((home.root / "truth" / "arbitration").glob("*/*.csv")):
        target = home.landing / decisions.parent.name / "arbitration"
        target.mkdir(exist_ok=True)
        shutil.copy(decisions, target)
        CONSOLE.print(f"  {decisions.parent.name}: {sum(1 for _ in decisions.open(encoding='utf-8')) - 1} decisions")


def _tell_demo(home: Home) -> None:
    with read_lake(home) as lake:
        _tell("What was made", ["table", "rows", "what it is"], [(t.name, lake.count(t.name), t.en) for t in TABLES])
        runs = lake.query("SELECT model, n_patients, auc, auc_lower, auc_upper, sensitivity, specificity, alias FROM model_runs ORDER BY auc DESC").fetchall()
        _tell("Models (synthetic patients: these figures say nothing of real ones)",
              ["model", "patients", "AUC", "lower", "upper", "sensitivity", "specificity", "alias"], runs)
    _tell("Where to look", ["what", "how"], [
        ("study report", home.reports / "study_report.html"), ("patients", home.reports / "index.html"),
        ("tables in SQL", 'lakehouse sql "SELECT * FROM response_over_time"'), ("analysts' file", home.published / "lakehouse.duckdb"),
        ("Dagster and MLflow", "make dev"), ("state and refusals", "lakehouse status"), ("what was true", home.root / "truth")])


def serve(home: Home, port: int, mlflow_port: int) -> None:
    """Run Dagster's web server and daemon and MLflow's server until one of them ends or Ctrl-C."""
    import os
    import subprocess
    import sys
    from signal import SIGINT

    install_dagster_settings(home)
    repository = Path(__file__).resolve().parents[1]
    environment = os.environ | {"LAKEHOUSE_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)}
    folder = Path(sys.executable).parent
    commands = (
        [str(folder / "dagster"), "dev", "-w", str(repository / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)],
        [str(folder / "mlflow"), "server", "--backend-store-uri", home.mlflow_uri, "--artifacts-destination", str(home.mlflow / "artifacts"),
         "--host", "127.0.0.1", "--port", str(mlflow_port), "--workers", "1"],
    )
    CONSOLE.print(f"Dagster http://127.0.0.1:{port}   MLflow http://127.0.0.1:{mlflow_port}   (Ctrl-C stops both)")
    servers = [subprocess.Popen(command, env=environment, cwd=repository) for command in commands]
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
    except KeyboardInterrupt:
        CONSOLE.print("stopping")
    finally:
        for server in servers:
            server.send_signal(SIGINT)
        for server in servers:
            server.wait(timeout=30)
