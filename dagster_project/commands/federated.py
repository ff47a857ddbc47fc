"""`lakehouse federated`: plans of runs over hospitals, and this hospital's ledger of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_project.lake.home import find_home

if TYPE_CHECKING:
    from dagster_project.federated.engine.outcomes import Outcome
    from dagster_project.federated.engine.places import Places
    from dagster_project.federated.engine.processes import Running
    from dagster_project.federated.ledger import Account, Ledger
    from dagster_project.federated.plans import Plan

KIB_A_CIPHERTEXT = 423
"""What a ciphertext of 8,192 slots takes, rounded up (docs/benchmarks.md)."""

FILE = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def _refusals() -> Iterator[None]:
    """A refusal ends the command with its sentences."""
    from dagster_project.federated.refusals import Refusal

    try:
        yield
    except Refusal as refusal:
        raise click.ClickException(str(refusal)) from refusal


def _ledger() -> Ledger:
    from dagster_project.federated.ledger import Ledger

    return Ledger(find_home().federated)


def _has_ledger() -> bool:
    from dagster_project.federated.home_records import has_ledger

    return has_ledger(find_home())


def _account() -> Account | None:
    """What the ledger adds up to; None where there is none."""
    return _ledger().account() if _has_ledger() else None


def _need_ledger() -> None:
    if not _has_ledger():
        raise click.ClickException(
            "this home has no ledger of federated runs; open one: "
            "`lakehouse federated ledger open --hospital CODE --epsilon 3 --delta 1e-5`\n"
            "本目录尚无联邦运行台账；请先建立："
            "`lakehouse federated ledger open --hospital CODE --epsilon 3 --delta 1e-5`"
        )


@click.group()
def federated() -> None:
    """Computations over hospitals that hand over sums alone (docs/federated.md).

    A hospital has `request`, `join`, plans and the ledger; the coordinator `approve`, `serve` and
    `run`.

    \b
    Example:
      lakehouse federated plan check PLAN.toml
    """


# -- keys of the hospitals -------------------------------------------------------------------------


@federated.command()
@click.argument("file", type=FILE)
def fingerprint(file: Path) -> None:
    """Print the fingerprint of the key in a certificate, a request for one, or a public key.

    Read it out to the other hospitals by telephone.

    \b
    Example:
      lakehouse federated fingerprint BJCH.csr
    """
    from dagster_project.federated.pins import fingerprint_of

    with _refusals():
        found = fingerprint_of(file)
    click.echo(_grouped(found))


@federated.command()
@click.argument("hospital")
@click.argument("fingerprint", nargs=-1, required=True)
@click.option("--again", is_flag=True, help="Also where another key is pinned.")
def pin(hospital: str, fingerprint: tuple[str, ...], *, again: bool) -> None:
    """Pin a hospital's key by the fingerprint that it has read out.

    \b
    Example:
      lakehouse federated pin GZSM "3f9a 77c1 …"
    """
    from dagster_project.federated.pins import Pins

    with _refusals():
        Pins(find_home().federated).pin(hospital, "".join(fingerprint), again=again)
    click.echo(f"pinned: {hospital}")


@federated.command()
def pins() -> None:
    """Show whose keys are pinned here.

    \b
    Example:
      lakehouse federated pins
    """
    from dagster_project.commands.terminal import print_table
    from dagster_project.federated.pins import Pins

    with _refusals():
        found = Pins(find_home().federated).read()
    print_table("Pinned keys", ["hospital", "fingerprint"], list(found.items()))


# -- plans -----------------------------------------------------------------------------------------


@federated.group()
def plan() -> None:
    """Study plans: read one, check it, allow it at this hospital.

    \b
    Example:
      lakehouse federated plan check PLAN.toml
    """


@plan.command("check")
@click.argument("file", type=FILE)
def check(file: Path) -> None:
    """Say what a plan asks and costs; exit 1, naming every fault, where it cannot be used.

    \b
    Example:
      lakehouse federated plan check PLAN.toml
    """
    with _refusals():
        found, account = _read(file), _account()
        for line in (*_described(found), *_at_home(found, account)):
            click.echo(line)


@plan.command("allow")
@click.argument("file", type=FILE)
def allow(file: Path) -> None:
    """Note in the ledger that this hospital allows a plan; nothing runs by that alone.

    \b
    Example:
      lakehouse federated plan allow PLAN.toml
    """
    with _refusals():
        found = _read(file)
        _need_ledger()
        _check_member(found, _ledger().account())
        _ledger().allow(found.digest)
        click.echo(f"allowed here: {found.plan.name} ({found.digest[:12]})")


@plan.command("forbid")
@click.argument("file", type=FILE)
def forbid(file: Path) -> None:
    """Note in the ledger that this hospital no longer allows a plan.

    \b
    Example:
      lakehouse federated plan forbid PLAN.toml
    """
    with _refusals():
        found = _read(file)
        _need_ledger()
        _ledger().forbid(found.digest)
        click.echo(f"no longer allowed here: {found.plan.name} ({found.digest[:12]})")


def _read(file: Path) -> Plan:
    from dagster_project.federated.plans import read_plan

    return read_plan(file)


def _check_member(found: Plan, account: Account) -> None:
    from dagster_project.federated.refusals import NotThisHospital

    if account.hospital not in found.plan.hospitals:
        raise NotThisHospital(account.hospital)


def _described(found: Plan) -> Iterator[str]:
    from dagster_project.federated.ciphertexts import number_of_ciphertexts
    from dagster_project.study import load_study

    asked = found.asked
    kib = KIB_A_CIPHERTEXT * number_of_ciphertexts(asked.length + 1)
    yield f"{found.plan.name}: [{found.kind}] of the patients of {found.plan.task}"
    yield f"hospitals: {', '.join(found.plan.hospitals)}"
    yield (
        f"sends: {asked.rounds} rounds of {asked.length:,} values, {kib:,} KiB a round, encrypted"
    )
    yield f"digest: {found.digest}"
    passes = getattr(asked, "passes", 0)
    if passes > (known := load_study().learning["network_epochs"]):
        yield (
            f"caution: the network sees each patient {passes} times, the study's own {known}; the "
            "longer it is trained, the better its weights show who took part"
        )


def _at_home(found: Plan, account: Account | None) -> Iterator[str]:
    """What the plan costs, and what this hospital's ledger says of it."""
    delta = account.budget.delta if account else getattr(found.asked, "delta", None)
    cost = None if delta is None else found.epsilon(delta)
    yield (
        "cost: the sums are exact; no ε limits what they show of a patient"
        if cost is None
        else f"cost: ε = {cost:.4g} at δ = {delta:g}, all rounds together"
    )
    if account is None:
        yield "ledger: this home has none"
        return
    _check_member(found, account)
    allowed = found.digest in account.plans
    yield f"ledger: {'allowed' if allowed else 'not allowed'} at {account.hospital}"
    if cost is not None:
        yield _after(found, account)


def _after(found: Plan, account: Account) -> str:
    """ε once the plan has run."""
    from dagster_project.federated.accounting import compose, epsilon_of

    each = found.asked.mu or 0.0
    mu = compose([account.mu, *[each] * found.asked.rounds])
    fits = "within" if mu <= account.budget.mu * (1 + 1e-12) else "beyond"
    after = epsilon_of(mu, account.budget.delta)
    return (
        f"ledger: ε = {account.epsilon:.4g} is spent, {after:.4g} after this plan: "
        f"{fits} the budget of {account.budget.epsilon:.4g}"
    )


# -- ledger ----------------------------------------------------------------------------------------


@federated.group(invoke_without_command=True)
@click.pass_context
def ledger(ctx: click.Context) -> None:
    """What this hospital has given away to federated runs, and what is left of its budget.

    Without a command it shows that.

    \b
    Example:
      lakehouse federated ledger
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@ledger.command("open")
@click.option("--hospital", required=True, help="This hospital's code.")
@click.option(
    "--epsilon",
    type=click.FloatRange(0, 20, min_open=True),
    required=True,
    help="Budget for the life of the cohort.",
)
@click.option(
    "--delta",
    type=click.FloatRange(0, 0.01, min_open=True, max_open=True),
    required=True,
    help="δ of the budget, such as 1e-5.",
)
def open_ledger(hospital: str, epsilon: float, delta: float) -> None:
    """Begin this hospital's ledger; its budget cannot be changed later.

    \b
    Example:
      lakehouse federated ledger open --hospital BJCH --epsilon 3 --delta 1e-5
    """
    from dagster_project.federated.ledger import Budget, Ledger
    from dagster_project.lake.home import why_no_site

    reason = why_no_site(hospital)
    if reason:
        raise click.ClickException(f"--hospital: {reason}")
    try:
        Ledger.create(find_home().federated, hospital, Budget(epsilon, delta))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except FileExistsError:
        raise click.ClickException(
            "this home has, or has had, a ledger; `lakehouse federated ledger show` reads it\n"
            "本目录已有或曾有台账；可用 `lakehouse federated ledger show` 查看"
        ) from None
    click.echo(f"opened for {hospital}: ε = {epsilon:g} at δ = {delta:g}")


@ledger.command("show")
def show() -> None:
    """Follow the ledger line by line, and add it up; exit 1 where a line breaks the chain.

    \b
    Example:
      lakehouse federated ledger show
    """
    with _refusals():
        _need_ledger()
        account, records = _ledger().account(), _ledger().records()
    click.echo(
        f"{account.hospital}: ε = {account.epsilon:.4g} spent of {account.budget.epsilon:.4g} "
        f"at δ = {account.budget.delta:g}; one more step could cost {_left(account):.4g}"
    )
    click.echo(
        f"{account.noisy_steps} rounds with noise, {account.exact_steps} exact; "
        f"{len(account.plans)} plans allowed; {len(records)} lines, whole"
    )
    _print_runs(records)


def _left(account: Account) -> float:
    from dagster_project.federated.accounting import epsilon_of

    mu = sqrt(max(0.0, account.budget.mu**2 - account.mu**2))
    return epsilon_of(mu, account.budget.delta)


def _print_runs(records: list[dict]) -> None:
    """One row per run."""
    from dagster_project.commands.terminal import print_table

    runs: dict[str, list[dict]] = {}
    for record in records:
        if record["event"] == "spent":
            runs.setdefault(record["run"], []).append(record)
    rows = [
        [
            steps[0]["at"],
            run[:12],
            steps[0]["plan"][:12],
            len(steps),
            ", ".join(steps[0]["hospitals"]),
        ]
        for run, steps in runs.items()
    ]
    print_table("Runs", ["since", "run", "plan", "rounds", "hospitals"], rows)


# -- runs ------------------------------------------------------------------------------------------


def _places() -> Places:
    from dagster_project.federated.engine.places import Places

    return Places(find_home().federated)


@federated.command()
@click.option("--out", type=FILE, help="Where the request goes; CODE.csr by default.")
def request(out: Path | None) -> None:
    """Make this hospital's key, which stays here, and a request for a certificate.

    Send the request to the coordinator, and read the fingerprint out by telephone.

    \b
    Example:
      lakehouse federated request
    """
    from dagster_project.federated.engine.certificates import make_key, make_request, read_key
    from dagster_project.federated.identities import fingerprint as of_key
    from dagster_project.federated.identities import public_bytes

    with _refusals():
        _need_ledger()
        hospital, places = _ledger().account().hospital, _places()
        key = read_key(places.key) if places.key.exists() else make_key(places.key)
        file = out or Path(f"{hospital}.csr")
        file.write_bytes(make_request(hospital, key))
    click.echo(f"request: {file}")
    click.echo(f"fingerprint: {_grouped(of_key(public_bytes(key)))}")


@federated.command()
@click.argument("file", type=FILE)
@click.argument("fingerprint", nargs=-1, required=True)
@click.option("--host", required=True, help="The coordinator's name or address for hospitals.")
@click.option("--port", type=click.IntRange(1, 65535), default=8443, show_default=True)
def approve(file: Path, fingerprint: tuple[str, ...], host: str, port: int) -> None:
    """Certify a hospital's request, at the coordinator, by the fingerprint that it has read out.

    \b
    Example:
      lakehouse federated approve GZSM.csr "3f9a 77c1 …" --host lakehouse.example.org
    """
    from dagster_project.federated.engine.certificates import Authority
    from dagster_project.federated.engine.kits import Address, invite

    places = _places()
    places.make()
    with _refusals():
        authority = Authority(places.authority).make()
        hospital, signed = authority.approve(_bytes(file), "".join(fingerprint))
        invitation = invite(authority, signed, Address(host, port))
    out = Path(f"{hospital}.invitation")
    out.write_bytes(invitation.to_bytes())
    click.echo(f"approved: {hospital}; send it {out}, which holds no secret")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()[: 2**16]
    except OSError as error:
        raise click.ClickException(f"{file.name}: {error.strerror}") from None


def _grouped(fingerprint: str) -> str:
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))


@federated.command()
@click.option("--host", required=True, help="The name or address that hospitals connect to.")
@click.option("--port", type=click.IntRange(1, 65535), default=8443, show_default=True)
def serve(host: str, port: int) -> None:
    """Coordinate runs, in one process, until it is interrupted.

    \b
    Example:
      lakehouse federated serve --host lakehouse.example.org
    """
    from dagster_project.federated.engine.kits import Address, write_coordinator
    from dagster_project.federated.engine.processes import start_coordinator

    places = _places()
    places.make()
    with _refusals():
        kit = write_coordinator(places, Address(host, port))
    click.echo(f"coordinating on {host}:{port}; hospitals connect to this port alone")
    _until_ended(start_coordinator(places.folder.parent, kit), kit)


@federated.command()
@click.argument("invitation", type=FILE)
@click.option("--rows", type=FILE, help="A table for plans without [rows] (docs/federated.md).")
def join(invitation: Path, rows: Path | None) -> None:
    """Take part in runs, in one process that connects to the coordinator, until interrupted.

    Nothing is sent but for plans that are allowed here. Rows come from this home's lake, behind its
    gate; the key drive of the home is noted, and another one ends runs.

    \b
    Example:
      lakehouse federated join GZSM.invitation
    """
    from dagster_project.federated.engine.kits import Invitation, write_hospital
    from dagster_project.federated.engine.places import write_closed
    from dagster_project.federated.engine.processes import start_hospital

    with _refusals():
        _need_ledger()
        places, hospital = _places(), _ledger().account().hospital
        kit = write_hospital(places, Invitation.from_bytes(_bytes(invitation)), hospital)
        places.note_medium()
        places.rows.unlink(missing_ok=True)
        if rows is not None:
            write_closed(places.rows, str(rows.resolve()).encode())
    click.echo(f"{hospital} takes part; runs and their results are in {places.results}")
    _until_ended(start_hospital(places.folder.parent, kit, hospital), kit)


def _until_ended(running: Running, kit: Path) -> None:
    """Wait for a process, which is ended with all that it has started."""
    from signal import SIGTERM, default_int_handler, signal

    signal(SIGTERM, default_int_handler)
    try:
        running.process.wait()
    except KeyboardInterrupt:
        click.echo("ended")
        return
    finally:
        running.end()
    raise click.ClickException(
        f"the process has ended by itself; its log is {kit / 'log.txt'}\n"
        f"进程已自行结束；日志见 {kit / 'log.txt'}"
    )


TIMEOUT = click.IntRange(5, 3600)


@federated.command()
@click.argument("file", type=FILE)
@click.option("--timeout", "timeout_s", type=TIMEOUT, default=60, show_default=True)
@click.option("--simulate", "table", type=FILE, help="A table to be split over hospitals here.")
def run(file: Path, timeout_s: int, table: Path | None) -> None:
    """Run a plan over the hospitals that have joined, at the coordinator.

    Results are at the hospitals: the coordinator has no key. With --simulate, coordinator and
    hospitals are processes on this machine, each with a home of its own that is
    taken away afterwards, and a table's rows are dealt out to them; the result is then printed.

    \b
    Example:
      lakehouse federated run PLAN.toml
    """
    from dagster_project.federated.engine.operator import run_plan

    with _refusals():
        found = _read(file)
        if table is not None:
            _simulate(found, table, timeout_s)
            return
        name = run_plan(_places(), found, timeout_s, _show)
    click.echo(f"done: each hospital has the result of run {name}")


def _simulate(found: Plan, table: Path, timeout_s: int) -> None:
    import json
    from tempfile import TemporaryDirectory

    from dagster_project.federated.engine.simulation import simulate

    with TemporaryDirectory(prefix="lakehouse-federated-") as folder:
        outcomes = simulate(Path(folder), found, table, timeout_s, _show)
    for hospital, outcome in outcomes.items():
        click.echo(f"{hospital}: {outcome.state}, {outcome.cpu_s:.1f} s of processor time")
    click.echo(json.dumps(next(iter(outcomes.values())).result, indent=1))


def _show(outcome: Outcome) -> None:
    of = f" {outcome.number} of {outcome.rounds}" if outcome.request == "part" else ""
    click.echo(f"{outcome.state}: {outcome.request}{of}")


@federated.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Leave the homes in this empty folder; they are taken away otherwise.",
)
def demo(keep: Path | None) -> None:
    """Let three simulated hospitals learn a model together, in a few minutes.

    Each has a home, a lake and keys of its own; coordinator and hospitals are processes on this
    machine. Ends with a table, and with all processes ended.

    \b
    Example:
      lakehouse federated demo
    """
    from contextlib import nullcontext
    from signal import SIGTERM, default_int_handler, signal
    from tempfile import TemporaryDirectory

    from dagster_project.commands.terminal import print_table
    from dagster_project.federated.demo import run_demo

    signal(SIGTERM, default_int_handler)
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise click.ClickException(f"{keep.name} holds something; give the demo an empty folder")
    place = TemporaryDirectory(prefix="lakehouse-federated-") if keep is None else nullcontext(keep)
    with _refusals(), place as folder:
        found = run_demo(Path(folder), click.echo)
    print_table(
        "AUC on other simulated patients (these figures say nothing of real ones)",
        ["learned by", "AUC"],
        list(found.rows()),
    )
    click.echo(
        f"federated less pooled with the same clip, largest coefficient: {found.difference:.0e}"
    )
