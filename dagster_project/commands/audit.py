"""`lakehouse audit`: the vault looked at by somebody else's eyes."""

from __future__ import annotations

import sys

import click

from dagster_project.commands.terminal import CONSOLE, print_table
from dagster_project.lake.home import find_home


@click.command()
@click.option("--no-ocr", is_flag=True, help="Leave out the search for words in the pixels.")
def audit(no_ocr: bool) -> None:
    """Re-read the vault with code that shares nothing with what wrote it; exit 1 where anything could tell a person.

    \b
    Looks at every element, at UIDs of two patients, at dates, texts, numbers, names of files, tables
    and notes of the vault; at files, register and manifest, which must agree; and (with tesseract)
    at words in pixels.
    Example:
      lakehouse audit --no-ocr
    """
    from dagster_project.flow.vault_audit import audit_home

    home = find_home()
    if not home.vault.is_dir():
        raise click.ClickException(f"there is no vault in {home.root}; `lakehouse run` makes one")
    found = audit_home(home, ocr=not no_ocr)
    print_table("Findings", ["finding", "files", "first place", "element"], [
        (what, n, *next((where, element) for kind, where, element in found.findings if kind == what)) for what, n in sorted(found.counts().items())])
    seen = f"{found.pictures} pictures" if found.ocr else "pixels not searched for words" + ("" if no_ocr else " (install tesseract-ocr for it)")
    CONSOLE.print(f"\nLooked at {found.files} files, {found.elements} elements, {seen}: {len(found.findings)} findings.")
    sys.exit(1 if found.findings else 0)
