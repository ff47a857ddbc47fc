"""An analyst's session in a process of its own.

One connection is open throughout, and others are opened again and again.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

QUESTION = (
    "SELECT count(*), (SELECT count(*) FROM arbitrations WHERE status = 'settled') FROM reads"
)


@contextlib.contextmanager
def reading(database: Path) -> Iterator[dict[str, Any]]:
    """Have the file read all the while; the dictionary is filled at the end."""
    seen: dict[str, Any] = {}
    command = [sys.executable, __file__, str(database)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        session.stdout.readline()
        try:
            yield seen
        finally:
            answer, complaint = session.communicate()
            seen |= json.loads(answer) if answer else {"errors": [complaint]}


def main(database: str) -> None:
    """Ask until standard input ends, then tell what was seen."""
    held, errors, told, newest = duckdb.connect(database, read_only=True), [], set(), (0, 0)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        try:
            told.add(held.execute(QUESTION).fetchone())
            with duckdb.connect(str(Path(database).resolve()), read_only=True) as again:
                newest = again.execute(QUESTION).fetchone()
        except duckdb.Error as error:
            errors.append(str(error))
    print(json.dumps({"errors": errors, "held": sorted(told), "newest": newest}))


if __name__ == "__main__":
    main(sys.argv[1])
