"""The `lakehouse` command: what it can do lies in commands/."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from dagster_project.commands.words import Context, in_one_language, with_words

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# no plugin is installed, and to look for one reads the metadata of every package

COMMANDS: dict[str, tuple[str, str]] = {
    "adam": ("adam", "ADaM tables of the study for a statistician"),
    "arbitration": ("arbitration", "Cases in which two readers differ: list, look, decide"),
    "audit": ("audit", "Search vault and lake for what identifies a person"),
    "backup": ("backup", "Copy what a home cannot make again, and check it"),
    "check": ("check", "One line and an exit code for a monitoring system"),
    "demo": ("demo", "A synthetic study through the whole flow"),
    "dev": ("dev", "Dagster UI with schedules and sensors, and MLflow UI"),
    "evaluate": ("evaluate", "Judge the dynamic standard on another trial's tables"),
    "export": ("export", "A patient's scans, outlines and results as DICOM and FHIR"),
    "federated": ("federated", "Runs over hospitals: plans, and what was given away"),
    "grade": ("grade", "Grade another trial's SDTM tables by RECIST 1.1"),
    "keys": ("keys", "The key drive: make, unlock, rotate, lock"),
    "manifest": ("manifest", "The hash-chained record of what intake did"),
    "migrate": ("migrate", "Lead a lake of an earlier version to this one's schema"),
    "pacs": ("pacs", "Scans straight from a site's PACS, and results to one"),
    "protocol": ("protocol", "The study's settings: check, show, compare"),
    "publish": ("pages", "Write what analysts open, and nothing else"),
    "rebuild": ("rebuild", "Bring back lost or damaged rows of a table"),
    "reidentify": ("keys", "Who a pseudonym is; needs the key drive and a reason"),
    "report": ("pages", "Write the pages anew from the lake"),
    "restore": ("backup", "Fill an empty home from a backup"),
    "run": ("run", "The whole flow on the delivery folder: take in, compute, report"),
    "simulate": ("simulate", "Write a synthetic delivery with known truth"),
    "site": ("site", "A hospital as a whole, such as removing it"),
    "sql": ("query", "Query the lake, read-only"),
    "status": ("status", "What is in, refused, damaged, open, and what to do"),
    "tidy": ("tidy", "Expire old snapshots, merge and delete files"),
    "withdraw": ("withdraw", "Take a patient out of everything"),
}
"""Each command or group: its module in commands/, imported when it is called, and its summary.

The help of the whole command line imports none of them.
"""


INTERRUPTED = 130
"""What a command that Ctrl-C ended exits with, as a shell says it."""


class Commands(click.Group):
    """The commands of COMMANDS."""

    def main(self, *arguments: Any, **named: Any) -> Any:
        """Run; Ctrl-C is no error of the user's, which click would exit with."""
        try:
            return super().main(*arguments, **named)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except SystemExit as end:
            aborted = end.__context__
            if isinstance(aborted, click.Abort) and isinstance(
                aborted.__cause__, KeyboardInterrupt
            ):
                sys.exit(INTERRUPTED)
            raise

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in order of the alphabet."""
        return sorted(COMMANDS)

    def get_command(  # click's signature
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        return with_words(getattr(import_module(f"dagster_project.commands.{module}"), cmd_name))

    def format_commands(  # click's signature
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Each command with its summary."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in sorted(COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and report a fault of the lake itself in one sentence, with what to do.

        The lake's modules are looked up only after a failure, so that the command line starts at
        once.
        """
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if type(error) is not click.ClickException:  # of another class has its own exit code
                raise
            raise click.ClickException(in_one_language(error.message)) from error
        except (click.Abort, click.exceptions.Exit, SystemExit):
            raise
        except Exception as error:
            fault = _lake_fault(error)
            if fault is None:
                raise
            raise click.ClickException(in_one_language(str(fault))) from error


def _lake_fault(error: Exception) -> Exception | None:
    """What an error says of the lake or the protocol.

    It is known by the error itself, by the file that it names, or by a look at all files.
    """
    from dagster_project.study import StudyError

    if isinstance(error, StudyError):
        return error
    import duckdb

    from dagster_project.lake.free_space import fault_of
    from dagster_project.lake.home import find_home

    named = fault_of(error, find_home())
    if named is not None or not isinstance(error, duckdb.Error):
        return named
    from dagster_project.lake.damage import find_damage
    from dagster_project.lake.store import read_lake

    with read_lake(find_home()) as lake:
        return next((damage.error() for damage in find_damage(lake, find_home())), None)


@contextmanager
def _in_environment(**wanted: str) -> Iterator[None]:
    """Environment variables for as long as a command runs.

    A program that calls several commands has its own again between them.
    """
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quietly() -> Iterator[None]:
    """The terminal and the logger of runs print nothing on the way."""
    from dagster_project.commands.terminal import CONSOLE

    with _in_environment(LAKEHOUSE_QUIET="1"):
        before, CONSOLE.quiet = CONSOLE.quiet, True
        try:
            yield
        finally:
            CONSOLE.quiet = before


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    from dagster_project.lake.migrations import latest

    program = version("dynamic-irecist-lakehouse")
    click.echo(f"lakehouse, version {program}, schema version {latest()} of the lake")
    ctx.exit()


def check_protocol() -> None:
    """A protocol that may not be used stops every command before it has done anything."""
    from dagster_project.lake.minimisation import Minimisation
    from dagster_project.study import load_study

    Minimisation.of(load_study())


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the program's version and the lake's schema version, and exit.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="LAKEHOUSE_HOME",
    default=".lakehouse",
    show_default=True,
    help="The study's folder.",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="Print results and what failed, and nothing on the way."
)
@click.pass_context
def main(ctx: click.Context, home: Path, quiet: bool) -> None:
    """Serial CT of a multicentre study: de-identify, measure, compare, grade, model, report.

    \b
    Example, from an empty folder:
      lakehouse simulate
      lakehouse run
      lakehouse sql "SELECT * FROM outcomes"
    """
    ctx.with_resource(
        _in_environment(
            LAKEHOUSE_HOME=str(home.resolve()), DAGSTER_HOME=str(home.resolve() / "dagster")
        )
    )
    if quiet:
        ctx.with_resource(_quietly())
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    _refuse_half_restored(home, ctx.invoked_subcommand)
    check_protocol()


def _refuse_half_restored(home: Path, command: str | None) -> None:
    from dagster_project.lake.errors import HalfRestored
    from dagster_project.lake.home import Home

    if command != "restore" and Home(home).half_restored:
        raise click.ClickException(str(HalfRestored()))


if __name__ == "__main__":
    main()
