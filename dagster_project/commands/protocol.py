"""`lakehouse protocol`: the settings in use, what each may be, and what differs elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dagster_project.protocol import (
    Sections,
    section_types,
    setting_keys,
    with_present_names,
    wording_of,
)
from dagster_project.registration import floors
from dagster_project.study import PROTOCOL, Study, load_study, protocol_file, read_sections

LONGEST = 60
"""Characters of a value in a table; --json has all."""


@click.group()
def protocol() -> None:
    """The study's protocol, study.toml or the file that LAKEHOUSE_STUDY names.

    \b
    Example:
      lakehouse protocol check
    """


@protocol.command()
def check() -> None:
    """Check every setting; exit 1 with each that cannot be used, in English and in Chinese.

    \b
    Example:
      LAKEHOUSE_STUDY=study.toml lakehouse protocol check
    """
    study = load_study()
    click.echo(
        f"{protocol_file().name}: {len(setting_keys())} settings can be used; digest {study.digest}"
    )
    for amendment in study.amendments:
        click.echo(f"looser than registered by decision: {amendment.words()}")


@protocol.command()
@click.argument("section", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per setting, one per line.")
def show(section: str | None, *, as_json: bool) -> None:
    """Show each setting with what it may be and what is registered.

    \b
    Example:
      lakehouse protocol show recist
    """
    study = load_study()
    if section not in {None, *section_types()}:
        raise click.ClickException(
            f"the protocol has no section {section}; it has {', '.join(section_types())}"
        )
    for name in section_types():
        if section in {None, name}:
            _show_section(
                [_row(key, study) for key in setting_keys() if key.startswith(f"{name}.")],
                name,
                as_json=as_json,
            )


def _show_section(rows: list[dict[str, Any]], name: str, *, as_json: bool) -> None:
    from dagster_project.commands.terminal import print_table

    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False, default=str))
        return
    shown = [
        [row["setting"].partition(".")[2], *map(_short, list(row.values())[1:])] for row in rows
    ]
    print_table(f"[{name}]", ["setting", "value", "may be", "registered"], shown)


@protocol.command()
@click.argument(
    "other", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=PROTOCOL
)
def diff(other: Path) -> None:
    """Show where the protocol in use differs from OTHER, by default the one as shipped.

    The other protocol may be one of an earlier version; it is not checked. Settings that had
    another name there are compared under their present one.

    \b
    Example:
      lakehouse protocol diff study-2026-05.toml
    """
    from dagster_project.commands.terminal import print_table

    earlier = with_present_names(read_sections(other))
    rows = list(_differences(load_study().sections, earlier))
    print_table(f"Settings that differ from {other.name}", ["setting", "in use", other.name], rows)


def _row(key: str, study: Study) -> dict[str, Any]:
    section, _, name = key.partition(".")
    value = getattr(getattr(study.protocol, section), name)
    return {
        "setting": key,
        "value": value,
        "may_be": wording_of(key).en,
        "registered": _registered(key, study),
    }


def _registered(key: str, study: Study) -> str:
    """The floor of a setting, and the decision by which it is looser."""
    if key not in floors():
        return ""
    decided = [
        f"; looser by decision of {a.decided_by}, {a.decided_on}"
        for a in study.amendments
        if a.key == key
    ]
    return "".join([floors()[key].words()[0], *decided])


def _differences(used: Sections, other: Sections) -> Iterator[list[str]]:
    keys = dict.fromkeys(
        f"{section}.{name}"
        for one in (used, other)
        for section, names in one.items()
        for name in names
    )
    for key in keys:
        section, _, name = key.partition(".")
        values = [one.get(section, {}).get(name, "not there") for one in (used, other)]
        if values[0] != values[1]:
            yield [key, *map(_short, values)]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
