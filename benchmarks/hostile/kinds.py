"""Every hostile input by its name: the group it belongs to, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.hostile import dicom_files, folders, masks, names, tables
from benchmarks.hostile.setting import Setting

Meanwhile = Callable[[], folders.Stop]
Write = Callable[[Setting], Meanwhile | None]


@dataclass(frozen=True)
class Hostile:
    """An input: `usable` if it need not be refused, `important` if a whole run is tried with it."""

    group: str
    name: str
    write: Write
    usable: bool = False
    important: bool = False


GROUPS = {
    "what is no file": folders.NO_FILES,
    "folders and times": folders.FOLDERS,
    "names": names.NAMES,
    "DICOM": dicom_files.FILES,
    "masks": masks.MASKS,
    "tables": tables.TABLES,
    "study databases": tables.EXPORTS,
    "patients": tables.PATIENTS_FILES,
}
"""Of each group the writers by name."""

USABLE = frozenset(
    {
        *names.NAMES,
        "case collides, equal",
        "mtime in the future",
        "mtime before 1970",
        "deep folders",
        "ten thousand empty folders",
        "links between folders",
        "link within the landing",
        "grows while read",
        "replaced while read",
        "vanishes while read",
        "million private elements",
        "text of 100 MiB",
        "a thousand million frames",
        "negative frames",
        "date of year 0",
        "workbook that names other folders",
        "lesions of weird series",
        "name in unfinished escapes",
        "contours of NaN",
        "contours of 5,000 points at one place",
        "workbook of 20,000 merged pairs",
        "mask of everything",
        "names that are codes of a shell",
        "quotes alone",
    }
)
"""These hold nothing that has to be refused."""

IMPORTANT = frozenset(
    {
        "pipe",
        "link to an endless device",
        "file of 8 TiB",
        "ten thousand nested sequences",
        "deflated bomb",
        "gz bomb",
        "pipe as patients.csv",
        "workbook bomb",
        "billion laughs in UTF-16",
        "lock at year 1",
        "age of 400 nines",
        "name with a newline",
        "line of 4 GiB",
    }
)

HOSTILE = [
    Hostile(group, name, write, name in USABLE, name in IMPORTANT)
    for group, writers in GROUPS.items()
    for name, write in writers.items()
]
