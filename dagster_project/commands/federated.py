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
    """Whether there is one, or was one: what is left of it is then looked at."""
    folder = find_home().federated
    return (folder / "ledger").exists() or (folder / "ledger.head").exists()


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

    Keys, plans and the ledger are here; runs between machines are not yet.

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
    click.echo(" ".join(found[i : i + 4] for i in range(0, len(found), 4)))


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

    asked = found.asked
    kib = KIB_A_CIPHERTEXT * number_of_ciphertexts(asked.length + 1)
    yield f"{found.plan.name}: [{found.kind}] of the patients of {found.plan.task}"
    yield f"hospitals: {', '.join(found.plan.hospitals)}"
    yield (
        f"sends: {asked.rounds} rounds of {asked.length:,} values, {kib:,} KiB a round, encrypted"
    )
    yield f"digest: {found.digest}"


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
    """One row a run."""
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
