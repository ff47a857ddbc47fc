"""How values become a self-contained page.

A page is made from templates, one style sheet, and pictures as data; files are put in place whole.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dagster_project.lake.files import write_whole
from dagster_project.lake.reasons import CATALOGUE, chinese_reason
from dagster_project.lake.sharing import FILE, group_of, share_folder
from dagster_project.lake.vocabulary import VOCABULARY
from dagster_project.reports import wording
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.palette import PAGE, Theme

TEMPLATES = Path(__file__).with_name("templates")
"""Jinja2 templates, style sheets and scripts; package data."""


@dataclass(frozen=True)
class Script:
    """A script within a page, and the source by which the page's policy allows it alone."""

    text: Markup
    source: str


@cache
def script(name: str) -> Script:
    """A script beside the templates."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"'sha256-{digest}'")  # noqa: S704 - the program's own file


@cache
def program_digest() -> str:
    """Digest of what turns rows into pages: a page is written anew where it changed.

    The modules, templates and scripts of the reports, and the two files of Chinese words.
    """
    files = [*Path(__file__).parent.rglob("*.py"), *TEMPLATES.iterdir(), CATALOGUE, VOCABULARY]
    content = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file()):
        content.update(file.name.encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:16]


_DIGEST = re.compile(r'<meta name="digest" content="([0-9a-f]+)">')

HEAD_CHARACTERS = 2000
"""Of a page these hold its digest."""


def digest_on(path: Path) -> str | None:
    """Digest of what a page that is there was written from; None without one."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        found = _DIGEST.search(file.read(HEAD_CHARACTERS))
    return found[1] if found else None


def draw(paint: Callable[[Theme], bytes]) -> Markup | None:
    """The figure as SVG; None where there is nothing to draw, and the page says so."""
    try:
        return Markup(paint(PAGE).decode())  # noqa: S704 - matplotlib escapes what it writes
    except NothingToDraw:
        return None


def data_uri(png: bytes) -> str:
    """A PNG as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def render(template: str, **values: Any) -> str:
    """A template filled; every value is escaped, a name that is missing is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        f.__name__: f
        for f in (
            wording.number,
            wording.signed,
            wording.percent,
            wording.plain,
            wording.moment,
            wording.tone,
            wording.pair,
            wording.coded,
            wording.excluded,
            wording.triggered,
            wording.rate,
            wording.measure,
        )
    }
    environment.globals |= {
        "interval": wording.interval,
        "english": wording.english,
        "chinese": wording.chinese,
        "both": wording.both,
        "chinese_reason": chinese_reason,
        "words": wording,
    }
    return environment


def put(path: Path, text: str, *, closed: bool = False) -> Path:
    """Write a file whole or not at all: a reader sees the former page or this one.

    The group of the folder above may read it, whatever the umask; a `closed` one, which holds CT,
    is for this account alone, as the vault is.
    """
    folder = share_folder(path.parent, path.parent.parent)
    if closed:
        return write_whole(path, text.encode())
    return write_whole(path, text.encode(), mode=FILE, group=group_of(folder))
