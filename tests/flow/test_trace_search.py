"""What is left of a patient is found in files of every kind.

The traces are packed, columnar, within pages and across page borders.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.flow.trace_search import HEADER_BYTES, PIECE, picture_marks, search_home
from dagster_project.flow.withdrawal import _is_telling
from dagster_project.lake.home import Home

TRACE = "AB-AAAAAAAAAAAAAAAAA"
OTHERS = [f"AC-{n:017d}".replace("0", "B").replace("1", "C") for n in range(3000)]
"""A patient of three scans of 400 slices is known by some thousands of texts."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def _sqlite(file: Path) -> None:
    """A text that lies on two pages of the file: its bytes are cut by a page's border."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("CREATE TABLE t (text)")
        for length in range(3900, 4200, 7):
            store.execute("INSERT INTO t VALUES (?)", ("x" * length + TRACE,))


def _duckdb(file: Path) -> None:
    with duckdb.connect(str(file)) as store:
        store.execute(f"CREATE TABLE t AS SELECT '{TRACE}' AS patient FROM range(100000)")


def _archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", "x" * 1000 + TRACE)


def _arrays(file: Path) -> None:
    np.savez_compressed(file, numbers=np.zeros(10), names=np.array([f"{TRACE}"]).astype("S20"))


WRITERS: dict[str, Callable[[Path], object]] = {
    "reports/page.html": lambda f: f.write_text(f"<p>{TRACE}</p>", encoding="utf-8"),
    "mlflow/artifacts/notes.txt.gz": lambda f: f.write_bytes(gzip.compress(TRACE.encode())),
    "mlflow/artifacts/model.zip": _archive,
    "vault/AB/AB-BBBBBBBBBBBBBBBBB/words.npz": _arrays,
    "lake/data/main/rows.parquet": lambda f: pl.DataFrame(
        {"item": [f"patient {TRACE} row 3"] * 9}
    ).write_parquet(f, statistics=False),
    "lake/data/main/lists.parquet": lambda f: pl.DataFrame({"items": [[TRACE]] * 9}).write_parquet(
        f, statistics=False
    ),
    "lake/answers/answer.json": lambda f: f.write_text(json.dumps({"a": TRACE}), encoding="utf-8"),
    "dagster/history/runs/index.db": _sqlite,
    "published/lakehouse-1.duckdb": _duckdb,
    "crosswalk/.audit.jsonl.part": lambda f: f.write_text(TRACE, encoding="utf-8"),
    f"reports/{TRACE}.html": lambda f: f.touch(),
    "dagster/storage/at the border of two pieces": lambda f: f.write_bytes(
        b"x" * (PIECE - 7) + TRACE.encode() + b"x" * 100
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_trace_is_found_and_its_file_named(home: Home, name: str) -> None:
    file = home.root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "other.txt").write_text(
        " ".join(f"{n:x}" for n in range(1000)), encoding="utf-8"
    )
    WRITERS[name](file)
    assert search_home(home, [*OTHERS, TRACE]) == [name]
    assert search_home(home, OTHERS) == []


def test_the_landing_and_what_is_named_aside_are_left_out(home: Home) -> None:
    aside = home.crosswalk / "leaving.json"
    for file in (aside, home.landing / "x.csv"):
        file.write_text(TRACE, encoding="utf-8")
    assert search_home(home, [TRACE], besides=(aside,)) == []


def test_of_another_patients_slice_all_but_the_pixels_is_read(home: Home) -> None:
    folder = home.vault / "AB" / "AB-BBBBBBBBBBBBBBBBB" / "SAAAAAAAAAAAAAAAA"
    folder.mkdir(parents=True)
    (folder / "0001.dcm").write_bytes(b"x" * 300 + TRACE.encode() + bytes(2 * HEADER_BYTES))
    (folder / "0002.dcm").write_bytes(bytes(2 * HEADER_BYTES) + TRACE.encode())
    assert [Path(name).name for name in search_home(home, [TRACE])] == ["0001.dcm"]


def _picture(seed: int) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)).save(
        made, "PNG"
    )
    return made.getvalue()


def _page(*pictures: bytes) -> bytes:
    return b"".join(
        b"<img src='data:image/png;base64," + base64.b64encode(p) + b"'>" for p in pictures
    )


@pytest.mark.parametrize(
    "write",
    [
        lambda f, png: f.write_bytes(png),
        lambda f, png: f.write_bytes(_page(_picture(3), png)),
        lambda f, png: f.write_text(
            json.dumps({"md": f"![p](data:image/png;base64,{base64.b64encode(png).decode()})"}),
            encoding="utf-8",
        ),
    ],
)
def test_a_picture_is_known_as_a_file_in_a_page_and_in_an_event(
    home: Home, write: Callable[[Path, bytes], object]
) -> None:
    marks = picture_marks([_page(_picture(1), _picture(2))])
    assert len(marks) == 2
    write(home.reports / "somewhere", _picture(2))
    (home.reports / "another").write_bytes(_page(_picture(4)))
    assert search_home(home, [TRACE], pictures=marks) == ["reports/somewhere"]


def test_figures_that_many_files_hold_by_chance_tell_nobody() -> None:
    telling = ["-103.21938476512", "0.4871625340981762", "123.456789012345"]
    others = [
        "0.6666666666666666",
        "12.5",
        "1000000.0",
        "0.14285714285714285",
        "33.333333333333336",
        "0.0",
    ]
    assert list(filter(_is_telling, [*others, *telling])) == telling
