"""Results that are written whole or not at all: beside their place, then moved there together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl


def write_together(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files by functions that take a path; where one fails, all stays as it was."""
    folder = next(iter(files)).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lakehouse-", dir=folder) as beside:
        for path, write in files.items():
            write(Path(beside) / path.name)
        for path in files:
            (Path(beside) / path.name).replace(path)


def write_frame(frame: pl.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write Parquet or CSV by the suffix; lists become texts with `; ` in CSV."""
    if path.suffix.lower() == ".parquet":
        frame.write_parquet(
            path, metadata={k: str(v) for k, v in metadata.items()} if metadata else None
        )
        return
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    frame.with_columns(pl.col(name).list.join("; ") for name in lists).write_csv(path)
