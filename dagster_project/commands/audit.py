"""`lakehouse audit`: the vault looked at by somebody else's eyes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from dagster_project.commands.terminal import CONSOLE, has_lake, print_table, refuse_other_schema
from dagster_project.lake.home import Home, find_home


def _audit_lake(home: Home, find: Callable[[str, str, str], None]) -> None:
    from dagster_project.flow.lake_audit import audit_lake
    from dagster_project.lake.store import open_lake

    with open_lake(home) as lake:
        for site, findings in audit_lake(lake, home).items():
            for what, table, column in findings:
                find(what, f"{table} of {site}", column)


@click.command()
@click.option("--no-ocr", is_flag=True, help="Leave out the search for words in the pixels.")
def audit(no_ocr: bool) -> None:
    """Re-read vault and lake; exit 1 where anything could identify a person.

    The code shares nothing with what wrote them.

    \b
    Looks at every element, at UIDs of two patients, at dates, texts, numbers, names of files,
    tables and notes of the vault; at files, register and manifest, which must agree; at texts,
    numbers and days of the lake's tables; and (with tesseract) at words in pixels.
    Example:
      lakehouse audit --no-ocr
    """
    from dagster_project.flow.vault_audit import audit_home

    home = refuse_other_schema(find_home())
    if not home.vault.is_dir():
        raise click.ClickException(f"there is no vault in {home.root}; `lakehouse run` makes one")
    found = audit_home(home, ocr=not no_ocr)
    if has_lake(home):
        _audit_lake(home, found.find)
    print_table(
        "Findings",
        ["finding", "files", "first place", "element"],
        [
            (
                what,
                n,
                *next((where, element) for kind, where, element in found.findings if kind == what),
            )
            for what, n in sorted(found.counts().items())
        ],
    )
    seen = (
        f"{found.pictures} pictures"
        if found.ocr
        else "pixels not searched for words" + ("" if no_ocr else " (install tesseract-ocr for it)")
    )
    CONSOLE.print(
        f"\nLooked at {found.files} files, {found.elements} elements, {seen}: "
        f"{len(found.findings)} findings."
    )
    sys.exit(1 if found.findings else 0)
