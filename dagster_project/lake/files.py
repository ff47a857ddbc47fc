"""Files that appear whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.lake.migrations import renamed_columns
from dagster_project.lake.tables import Table

if TYPE_CHECKING:
    import polars as pl


def write_whole(file: Path, content: bytes, *, mode: int = 0o600, group: int = -1) -> Path:
    """Write a file so that a reader sees the former content or this one, never half of it.

    A full disk leaves the former.

    The file is closed to others, unless `mode` says otherwise, whatever the umask, and gets a
    `group` where this account may give it; its folder is made where it is not there.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as partial:
            partial.write(content)
            partial.flush()
            with contextlib.suppress(OSError):
                os.fchown(partial.fileno(), -1, group)
            os.fchmod(partial.fileno(), mode)
            os.fsync(partial.fileno())
        Path(beside).replace(file)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return file


def write_parquet_whole(file: Path, frame: pl.DataFrame) -> Path:
    """Write a frame as a Parquet file that appears whole or not at all."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return write_whole(file, content.getvalue())


def read_parquet_of(table: Table, file: Path) -> pl.DataFrame:
    """Rows of a table from a file that may be of an earlier schema version.

    Columns that were renamed since have the names of today; those that were added since are not
    there.
    """
    import polars as pl

    frame = pl.read_parquet(file)
    names = {old: new for old, new in renamed_columns(table).items() if old in frame.columns}
    return frame.rename(names)
