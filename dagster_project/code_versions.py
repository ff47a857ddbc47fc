"""A version of the code behind each asset, by which Dagster sees what a change makes stale.

It is the digest of what the asset's module and all our modules that it imports mean: their syntax
trees without docstrings and comments, and the data files that they name. What carries rows but
makes none (the store, the connection to Dagster) has no part in it, nor has another table's
declaration.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dagster_project.lake.files import write_whole
from dagster_project.lake.tables import Table

ROOT = Path(__file__).resolve().parents[1]
OURS = ("dagster_project", "assets", "models")
CARRIES = (
    "dagster_project.materialisation",
    "dagster_project.resources",
    "dagster_project.partitions",
    "dagster_project.compute",
    "dagster_project.console",
    "dagster_project.run_processes",
    "dagster_project.code_versions",
    "dagster_project.reports",
    "dagster_project.lake",
)
"""Modules, and packages with all that is in them, that carry or show rows without making any."""

MEANS = ("dagster_project.lake.vocabulary", "dagster_project.lake.schema")
"""Modules of `CARRIES` that decide about values after all."""

DATA = (".toml", ".csv", ".json")
"""Endings of the data files that a module may name."""


CACHE = Path(__file__).with_name("__pycache__") / "code_versions.json"
"""What was read of each module, by its file's time and size.

Parsing all of them takes longer than importing them. Where nothing can be written it is done anew
each time.
"""


class Module(NamedTuple):
    """What counts of a module: what it imports, its meaning, and the data files that it names."""

    imports: list[str]
    meaning: str
    data: list[str]


def code_version(module: str, table: Table | None = None) -> str:
    """Version of the code of an asset, which lies in this module and makes this table, if any.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    names = sorted(closure(module))
    parts = [repr(table), *names, *map(_meaning, names)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def closure(module: str) -> set[str]:
    """Our modules that a module imports, directly or through others, with itself."""
    found, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _counts(name):
            found.add(name)
            waiting += _module(name).imports
    return found


def _counts(name: str) -> bool:
    carries = any(name == c or name.startswith(f"{c}.") for c in CARRIES)
    return _file(name) is not None and (name in MEANS or not carries)


@cache
def _file(name: str) -> Path | None:
    """The source of one of our modules; None where the name is none."""
    if name.partition(".")[0] not in OURS:
        return None
    path = ROOT.joinpath(*name.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


@cache
def _meaning(name: str) -> str:
    """Digest of all of a module that can change a value."""
    folder = (_file(name) or ROOT).parent
    data = [folder / file for file in _module(name).data]
    parts = [_module(name).meaning.encode(), *(f.read_bytes() for f in data if f.is_file())]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


@cache
def _module(name: str) -> Module:
    file = _file(name) or ROOT
    stat = file.stat()
    key = f"{name} {stat.st_mtime_ns} {stat.st_size}"
    if key not in _read():
        _read()[key] = parse(file.read_bytes())
        _write_later()
    return Module(*_read()[key])


@cache
def _read() -> dict[str, Module]:
    try:
        return {k: Module(*v) for k, v in json.loads(CACHE.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError):
        return {}


@cache
def _write_later() -> None:
    """Write what was read when this process ends."""
    atexit.register(_write)


def _write() -> None:
    current = {k: v for k, v in _read().items() if _is_current(k)}
    with contextlib.suppress(OSError):
        write_whole(CACHE, json.dumps(current).encode())


def _is_current(key: str) -> bool:
    name, time, size = key.rsplit(" ", 2)
    file = _file(name)
    stat = file.stat() if file else None
    return stat is not None and (str(stat.st_mtime_ns), str(stat.st_size)) == (time, size)


def parse(source: bytes) -> Module:
    """What counts of a module's source; docstrings and comments do not."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)]  # type: ignore[attr-defined]
    meaning = hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()
    return Module(sorted(set(_imports(tree))), meaning, sorted(set(_data_files(tree))))


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a text that stands alone: a docstring, also that of a constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    """What is imported of ours, wherever the import stands; a name may be a module or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith(OURS))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            yield from (str(node.module), *(f"{node.module}.{a.name}" for a in node.names))


def _data_files(tree: ast.Module) -> Iterator[str]:
    """Names of data files that stand in the code."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and value.endswith(DATA):
            yield value
