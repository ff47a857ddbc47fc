"""An attacker tries to find by how many days a patient's dates are shifted.

The attacker has the published files, the ADaM export and the pages, and knows the two years and how
long deliveries take.

The lake is one that was filled night by night: patients come over two years, each scan a few days
after it was made, and every column that is true, or in order of time, holds what it would hold
then.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.domain.adam import SOURCES, derive_adam
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.identity.pseudonyms import LONGEST_SHIFT_DAYS, SHORTEST_SHIFT_DAYS
from dagster_project.intake.vault.process_file import scan_name
from dagster_project.lake import published_files
from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.published_files import by_site, source, write_tables
from dagster_project.lake.schema import with_fingerprint
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import BY_NAME, PUBLISHED, TABLES, published
from dagster_project.reports.writing import (
    write_arbitration_pages,
    write_patient_reports,
    write_study_report,
)
from dagster_project.study import digest_of, load_study
from tests.reports.cohort import DAY_ZERO, whole

BEGIN, DAYS_OF_ENROLMENT = dt.date(2024, 1, 1), 730
RECOVERED_DAYS = 60
"""A shift is found where half of the patients' are known to within so many days.

It is a third of what the two years alone leave open.
"""

WRITTEN_AT = dt.datetime(2031, 7, 9, 4, 5, tzinfo=dt.UTC)
"""When the pages are written."""

Frames = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Study:
    """The tables of the lake, and what only the key holder knows.

    That is each patient's shift and day 0.
    """

    tables: Frames
    shift: Mapping[str, int]
    began: Mapping[str, dt.date]


@pytest.fixture(scope="module")
def study() -> Study:
    random = np.random.default_rng(11)
    patients = sorted({str(p) for p in whole()["patients"]["patient"]})
    began = {p: BEGIN + dt.timedelta(int(random.integers(DAYS_OF_ENROLMENT))) for p in patients}
    shift = {
        p: -int(random.integers(SHORTEST_SHIFT_DAYS, LONGEST_SHIFT_DAYS + 1)) for p in patients
    }
    tables = {name: _dated(frame, began, shift, random) for name, frame in whole().items()}
    tables |= {
        "arbitrations": _decided(tables["arbitrations"], began, random),
        "reconciliation": _listed(began),
    }
    tables["reads"] = with_fingerprint(tables["reads"].drop("input_fingerprint"))
    return Study(tables, shift, began)


def _dated(
    frame: pl.DataFrame,
    began: Mapping[str, dt.date],
    shift: Mapping[str, int],
    random: np.random.Generator,
) -> pl.DataFrame:
    """The frame with shifted dates, and with times and snapshots as they are.

    Times and snapshots are some days after what they are about.
    """
    if "patient" not in frame.columns or frame.is_empty():
        return frame
    day_0 = [began.get(p) for p in frame["patient"]]
    moved = [
        ((d or DAY_ZERO) - DAY_ZERO).days + shift.get(p, 0)
        for d, p in zip(day_0, frame["patient"], strict=True)
    ]
    since = (
        frame["day"].fill_null(0).to_list()
        if "day" in frame.columns
        else [60 if "visit" in frame.columns else 100] * frame.height
    )
    came = [
        dt.datetime.combine(d or BEGIN, dt.time(1, 30), dt.UTC)
        + dt.timedelta(int(n) + int(random.integers(1, 11)))
        for d, n in zip(day_0, since, strict=True)
    ]
    frame = frame.with_columns(
        (pl.col(pl.Date).cast(pl.Int32) + pl.Series(moved, dtype=pl.Int32)).cast(pl.Date)
    )
    frame = frame.with_columns(
        pl.Series(c, came, dtype=pl.Datetime("us", "UTC"))
        for c, kind in frame.schema.items()
        if kind == pl.Datetime("us", "UTC")
    )
    night = pl.Series("snapshot", [200 + (c.date() - BEGIN).days * 9 for c in came], dtype=pl.Int64)
    return frame.with_columns(night) if "snapshot" in frame.columns else frame


def _decided(
    cases: pl.DataFrame, began: Mapping[str, dt.date], random: np.random.Generator
) -> pl.DataFrame:
    """A settled case of every patient."""
    row = cases.filter(pl.col("status") == "settled").row(0, named=True)
    decided = [
        dt.datetime.combine(d, dt.time(9, 5), dt.UTC) + dt.timedelta(130 + int(random.integers(20)))
        for d in began.values()
    ]
    rows = [
        {**row, "site": p.partition("-")[0], "patient": p, "decided_at": at}
        for p, at in zip(began, decided, strict=True)
    ]
    return pl.DataFrame(rows, schema=cases.schema)


def _listed(began: Mapping[str, dt.date]) -> pl.DataFrame:
    """A hospital's list grows with its patients."""
    rows = [
        {
            "site": p.partition("-")[0],
            "patient": p,
            "finding": "row_without_images",
            "item": f"clinical/patients.csv row {n}",
            "other_patient": "*",
            "question": "send the images",
            "simulated": False,
        }
        for n, p in enumerate(sorted(began, key=began.__getitem__), start=2)
    ]
    return with_fingerprint(
        pl.DataFrame(rows).select(
            n for n in BY_NAME["reconciliation"].names if n != "input_fingerprint"
        )
    )


@pytest.fixture(scope="module")
def lake(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Home]]:
    home = Home(tmp_path_factory.mktemp("shift") / "home").make()
    with open_lake(home) as opened:
        for name, frame in study.tables.items():
            opened.replace(name, frame)
        yield opened, home


# -- the attack ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clue:
    """Something that may tell the time at which a patient came: in days, or in an order alone."""

    name: str
    values: Mapping[str, float]
    in_days: bool


def clues_of(frames: Frames, patient: str = "patient") -> Iterator[Clue]:
    """Every column of every frame, and the order of its rows, by patient.

    Of each, the clues are the first, the smallest and the largest value.
    """
    for name, frame in frames.items():
        if patient not in frame.columns or frame.is_empty():
            continue
        numbered = frame.with_row_index("place of the row")
        for column in (c for c in numbered.columns if c != patient):
            for reading, in_days, values in _readings(numbered[column]):
                known = pl.DataFrame({"who": numbered[patient], "value": values}).drop_nulls()
                found = known.group_by("who", maintain_order=True).agg(
                    first=pl.col("value").first(),
                    min=pl.col("value").min(),
                    max=pl.col("value").max(),
                )
                yield from (
                    Clue(
                        f"{name}.{column} {reading}, {what}",
                        dict(found.select("who", what).iter_rows()),
                        in_days,
                    )
                    for what in ("first", "min", "max")
                )
        yield Clue(
            f"{name}: order of {patient}",
            {p: float(k) for k, p in enumerate(sorted(frame[patient].unique()))},
            in_days=False,
        )


def _readings(column: pl.Series) -> Iterator[tuple[str, bool, list[float | None]]]:
    """What a column may mean.

    It is a time in days since 1970, a number, or a text that holds one of these or comes before
    another.
    """
    if column.dtype in {pl.Date(), pl.Datetime("us", "UTC")}:
        yield "as time", True, [None if v is None else v.toordinal() for v in column.to_list()]
        yield "in order", False, column.to_physical().cast(pl.Float64).to_list()
    elif column.dtype.is_numeric():
        yield "in order", False, column.cast(pl.Float64).to_list()
        yield (
            "as seconds",
            True,
            [None if v is None else float(v) / 86400 for v in column.to_list()],
        )
        yield "as days", True, column.cast(pl.Float64).to_list()
    elif column.dtype == pl.String:
        order = {text: float(k) for k, text in enumerate(sorted(column.drop_nulls().unique()))}
        yield "in order", False, [None if v is None else order[v] for v in column.to_list()]
        yield "by its last number", False, [_last_number(v) for v in column.to_list()]
        yield "by the date in it", True, [_date_in(v) for v in column.to_list()]


def _last_number(text: str | None) -> float | None:
    found = re.findall(r"\d{1,15}", text or "")
    return float(found[-1]) if found else None


def _date_in(text: str | None) -> float | None:
    found = re.search(
        r"(?<!\d)((?:19|20)\d\d)[-./]?(0[1-9]|1[0-2])(?:[-./]?(0[1-9]|[12]\d|3[01]))?(?!\d)",
        text or "",
    )
    try:
        return (
            dt.date(int(found[1]), int(found[2]), int(found[3] or 15)).toordinal()
            if found
            else None
        )
    except ValueError:
        return None


def error_days(clue: Clue, first_scan: Mapping[str, dt.date], shift: Mapping[str, int]) -> float:
    """Error in days to which a clue gives half of the patients' shifts.

    A delay that is common to all is given to the attacker.
    """
    who = [
        p
        for p in clue.values
        if p in first_scan and clue.values[p] is not None and np.isfinite(clue.values[p])
    ]
    if len(who) < 8:
        return np.inf
    shown = np.array([first_scan[p].toordinal() for p in who], float)
    values = np.array([clue.values[p] for p in who], float)
    if clue.in_days:
        guesses = [shown - values]
    else:
        places = np.array([(values < v).mean() + (values == v).mean() / 2 for v in values])
        guesses = [shown - DAYS_OF_ENROLMENT * places, shown + DAYS_OF_ENROLMENT * places]
    true = np.array([shift[p] for p in who], float)
    return min(float(np.median(np.abs(g - true - np.median(g - true)))) for g in guesses)


def found_by(frames: Frames, study: Study, patient: str = "patient") -> dict[str, float]:
    """The clues that give the shift away, with the error in days."""
    first_scan = dict(
        study.tables["timepoints"].group_by("patient").agg(pl.col("scan_date").min()).iter_rows()
    )
    scored = {
        clue.name: error_days(clue, first_scan, study.shift) for clue in clues_of(frames, patient)
    }
    return {name: error for name, error in scored.items() if error < RECOVERED_DAYS}


def files_of(lake: Lake, folder: Path) -> dict[str, pl.DataFrame]:
    """The Parquet files of a publication, in the order of their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(lake, folder, None)
    return {
        t.name: pl.read_parquet(source(folder, t))
        for t in published_files.PUBLISHED
        if not by_site(t)
    }


# -- what is published -----------------------------------------------------------------------------


def test_the_attacker_finds_the_shift_where_the_lake_itself_is_handed_out(study: Study) -> None:
    told = {name.split()[0] for name in found_by(study.tables, study)}
    assert told >= {
        "responses.recorded_at",
        "reads.locked_at",
        "arbitrations.decided_at",
        "training_cohort.snapshot",
        "reconciliation.item",
    }
    years = Clue("the two years", dict.fromkeys(study.shift, 0.0), in_days=True)
    first_scan = dict(
        study.tables["timepoints"].group_by("patient").agg(pl.col("scan_date").min()).iter_rows()
    )
    assert error_days(years, first_scan, study.shift) > 2 * RECOVERED_DAYS


def test_nothing_that_is_published_tells_the_shift(lake: tuple[Lake, Home], study: Study) -> None:
    opened, home = lake
    made = publish(opened, home.published)
    frames = {t.name: pl.read_parquet(source(made.parquet, t)) for t in PUBLISHED}
    with duckdb.connect(str(made.database), read_only=True) as c:
        names = [
            name
            for (name,) in c.execute(
                "SELECT table_name FROM duckdb_tables() "
                "UNION SELECT view_name FROM duckdb_views() "
                "WHERE NOT internal"
            ).fetchall()
        ]
        frames |= {f"file {name}": c.execute(f'FROM "{name}"').pl() for name in names}
    assert found_by(frames, study) == {}
    assert not [
        f"{name}.{c}"
        for name, frame in frames.items()
        for c, kind in frame.schema.items()
        if kind.is_temporal() and kind != pl.Date()
    ]


GUARDS = [
    ("responses", "recorded_at"),
    ("reads", "locked_at"),
    ("arbitrations", "decided_at"),
    ("training_cohort", "snapshot"),
    ("reconciliation", "item"),
]


@pytest.mark.parametrize(("name", "column"), GUARDS, ids=[f"{t}.{c}" for t, c in GUARDS])
def test_without_one_guard_the_attack_succeeds(
    lake: tuple[Lake, Home],
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    column: str,
) -> None:
    table = BY_NAME[name]
    unguarded = replace(
        table,
        columns=tuple(replace(c, published=c.published or c.name == column) for c in table.columns),
    )
    for guarded, tables in ((True, (published(table),)), (False, (published(unguarded),))):
        monkeypatch.setattr(published_files, "PUBLISHED", tables)
        found = found_by(files_of(lake[0], tmp_path / str(guarded)), study)
        assert guarded == (not found)
        assert all(f"{name}.{column}" in clue for clue in found)


@pytest.mark.parametrize("order", ["snapshot", "locked_at"])
def test_rows_that_lie_in_the_order_in_which_they_came_would_tell(study: Study, order: str) -> None:
    name = {"snapshot": "training_cohort", "locked_at": "reads"}[order]
    columns = [c.name for c in BY_NAME[name].columns if c.published]
    as_they_came = study.tables[name].sort(order).select(columns)
    assert any("place of the row" in clue for clue in found_by({name: as_they_came}, study))


def test_every_point_in_time_and_every_snapshot_stays_in_the_lake() -> None:
    kept = {(t.name, c.name) for t in TABLES for c in t.columns if not c.published}
    assert kept >= {
        (t.name, c.name)
        for t in TABLES
        for c in t.columns
        if c.type == "timestamp" or c.name == "snapshot"
    }
    assert kept >= set(GUARDS)


# -- digests ---------------------------------------------------------------------------------------


def _times_that_fit(reads: pl.DataFrame, lock_times: Callable[[str], list[dt.datetime]]) -> int:
    """Rows of reads whose digest is found by trying times of the lock.

    It would be found if the time were in the digest.
    """
    names = [n for n in BY_NAME["reads"].names if n != "input_fingerprint"]
    hits = 0
    for row in reads.iter_rows(named=True):
        tried = (
            digest_of(tuple(at if n == "locked_at" else row[n] for n in names))
            for at in lock_times(row["patient"])
        )
        hits += row["input_fingerprint"] in tried
    return hits


@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "with times in the digest"])
def test_no_time_is_found_by_trying_what_gives_the_digest_of_a_row(
    study: Study, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:
        monkeypatch.setattr(pl, "exclude", lambda _: pl.all())
    reads = study.tables["reads"].head(30)
    mine = with_fingerprint(reads.drop("input_fingerprint"))
    locked = dict(reads.group_by("patient").agg(pl.col("locked_at").unique()).iter_rows())
    assert _times_that_fit(mine, locked.__getitem__) == (0 if guarded else 30)


def test_names_that_are_keyed_keep_no_order_of_what_they_are_made_of() -> None:
    """UIDs of scanners often hold the time, so that they sort by it."""
    made = [
        f"1.2.840.113619.2.55.3.{BEGIN + dt.timedelta(k):%Y%m%d}101530.{1000 + k}"
        for k in range(400)
    ]
    for names in (
        [keyed_uid(uid, b"u" * 32) for uid in made],
        [scan_name(keyed_uid(uid, b"u" * 32)) for uid in made],
    ):
        places = np.argsort(np.argsort(names))
        assert abs(np.corrcoef(places, np.arange(400))[0, 1]) < 0.2


# -- pages and exports -----------------------------------------------------------------------------


def _dates_on(folder: Path) -> set[str]:
    pages = [file.read_text(encoding="utf-8") for file in folder.rglob("*.html")]
    shown = (
        re.sub(r"<style>.*?</style>|data:[\w/;,+=]+", "", page, flags=re.DOTALL) for page in pages
    )
    return {
        d
        for page in shown
        for d in re.findall(r"(?<!\d)(?:19|20)\d\d-\d\d(?:-\d\d)?(?:[ T]\d\d:\d\d)?", page)
    }


def test_pages_show_no_date_but_that_on_which_they_were_written(
    study: Study, tmp_path: Path
) -> None:
    protocol = load_study()
    write_study_report(tmp_path, study.tables, protocol, 9, WRITTEN_AT)
    write_patient_reports(tmp_path, study.tables, protocol, 9, WRITTEN_AT)
    write_arbitration_pages(tmp_path, study.tables, protocol, 9, WRITTEN_AT, lambda _: ((), ()))
    assert len(list(tmp_path.rglob("*.html"))) > 2 * len(study.shift)
    assert _dates_on(tmp_path) == {"2031-07-09 04:05"}
    (tmp_path / "mutant.html").write_text("<td>2024-05-06 07:08 UTC</td>", encoding="utf-8")
    assert len(_dates_on(tmp_path)) == 2


def test_the_adam_export_does_not_tell_the_shift(study: Study) -> None:
    protocol = load_study()
    sources = {name: study.tables[name] for name in SOURCES}
    exported = derive_adam(
        sources,
        study="S",
        endpoints=protocol.section("endpoints"),
        recist=protocol.section("recist"),
    )
    assert sum(frame.height for frame in exported.values()) > len(study.shift)
    renamed = {
        name: frame.with_columns(patient=pl.col("USUBJID").str.replace("^S-", ""))
        for name, frame in exported.items()
    }
    known = {p for frame in renamed.values() for p in frame["patient"]}
    assert known & set(study.shift), sorted(known)[:3]
    assert found_by(renamed, study) == {}
