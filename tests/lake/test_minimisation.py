"""A publication can contain less than what the lake holds.

What is left out now is in no earlier file either.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from dagster_project.lake import views
from dagster_project.lake.home import Home
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from dagster_project.lake.publish import publish
from dagster_project.lake.schema import arrow_schema, with_fingerprint
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import BY_NAME, PUBLISHED, TABLES
from dagster_project.study import PROTOCOL, StudyError, load_study

STUDY = load_study(PROTOCOL)


def patients(*ages: int | None, **more: Any) -> pl.DataFrame:
    table = BY_NAME["patients"]
    row = (
        dict.fromkeys(table.names)
        | {
            "site": "AA",
            "sex": "F",
            "stage": "IVA",
            "regimen": "pembrolizumab",
            "consent": "given",
            "in_case_report": True,
            "simulated": True,
            "input_fingerprint": "f",
        }
        | more
    )
    return pl.DataFrame(
        [row | {"patient": f"AA-{i}", "age_years": age} for i, age in enumerate(ages)],
        infer_schema_length=None,
    )


def protocol(**publish_section: Any) -> Minimisation:
    return Minimisation.of(
        replace(STUDY, sections=MappingProxyType({**STUDY.sections, "publish": publish_section}))
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def published(home: Home, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        return c.execute(statement).fetchall()


SMALL = protocol(
    age_band_years=5,
    suppressed_columns=["patients.regimen", "*.scan_date", "patients.in_case_report"],
)


def test_ages_leave_in_bands_and_suppressed_columns_without_values(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("patients", patients(62, 64, 65, 90, None), site="AA")
        publish(lake, home.published, minimised=SMALL)
        assert lake.read("patients")["age_years"].to_list() == [62, 64, 65, 90, None]
    assert published(home, "SELECT age_years FROM patients ORDER BY patient") == [
        (60,),
        (60,),
        (65,),
        (90,),
        (None,),
    ]
    parquet = pl.read_parquet(home.published / "parquet" / "latest" / "patients.parquet")
    assert parquet["age_years"].to_list() == [60, 60, 65, 90, None]
    assert parquet["regimen"].null_count() == parquet["in_case_report"].null_count() == 5
    assert published(
        home, "SELECT count(regimen), count(in_case_report), count(sex) FROM patients"
    ) == [(0, 0, 5)]


def test_types_stay_and_the_descriptions_say_what_was_done(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("patients", patients(62), site="AA")
        publish(lake, home.published, minimised=SMALL)
    comments = dict(
        published(
            home, "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'patients'"
        )
    )
    assert "bands of 5 years, as the lower bound" in comments["age_years"]
    assert "not published, always NULL" in comments["regimen"]
    assert "不发布" in comments["regimen"]
    for table in PUBLISHED:
        place = home.published / "parquet" / "latest" / f"{table.name}.parquet"
        file = next(place.iterdir()) if place.is_dir() else place
        assert pq.read_schema(file).types == arrow_schema(table).types, table.name


def test_views_still_answer(home: Home) -> None:
    """Every column that can be left out is: what analysts ask finds nothing, but no error."""
    listed = [
        f"{t.name}.{n}"
        for t in TABLES
        for n in t.names
        if n not in (*t.key, "site", "patient", "simulated", "consent")
    ]
    with open_lake(home) as lake:
        lake.replace("patients", patients(62), site="AA")
        publish(lake, home.published, minimised=protocol(suppressed_columns=listed))
    for view in views.VIEWS:
        rows = published(home, f'SELECT * FROM "{view}"')
        assert len(rows) == (view == "patient_summary")
    assert published(home, "SELECT patient, age_years, sex FROM patients") == [("AA-0", None, None)]


def test_another_setting_publishes_the_same_snapshot_anew_and_takes_the_earlier_ones_away(
    home: Home,
) -> None:
    """They would give what is left out now."""
    with open_lake(home) as lake:
        lake.replace("patients", patients(62), site="AA")
        publish(lake, home.published)
        lake.replace("patients", patients(62, 63), site="AA")
        publish(lake, home.published)
        assert publish(lake, home.published, minimised=SMALL).from_nothing
        assert not publish(lake, home.published, minimised=SMALL).fresh
        assert (
            len(list(home.published.glob("lakehouse-*.duckdb")))
            == len(list((home.published / "parquet").glob("[0-9]*")))
            == 1
        )
        lake.replace("patients", patients(62, 63, 71), site="AA")
        publish(lake, home.published, minimised=SMALL)
        assert published(home, "SELECT age_years FROM patients ORDER BY patient") == [
            (60,),
            (60,),
            (70,),
        ]
        publish(lake, home.published)
    assert published(home, "SELECT age_years FROM patients ORDER BY patient") == [
        (62,),
        (63,),
        (71,),
    ]
    assert len(list(home.published.glob("lakehouse-*.duckdb"))) == 1


def test_no_byte_of_a_suppressed_value_is_published(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("patients", patients(62, regimen="a-rare-regimen"), site="AA")
        publish(lake, home.published, minimised=SMALL)
    files = [p for p in home.published.rglob("*") if p.is_file()]
    assert files
    assert not [p.name for p in files if b"a-rare-regimen" in p.read_bytes()]


@pytest.mark.parametrize(
    "minimised",
    [Minimisation(5), protocol(suppressed_columns=["patients.stage"])],
    ids=["bands", "suppressed"],
)
def test_no_value_is_found_by_trying_what_gives_the_digest_of_a_row(
    home: Home, minimised: Minimisation
) -> None:
    """Of five ages in a band, one gives the row's digest.

    The digest would be published beside the band.
    """
    rows = with_fingerprint(patients(62, 64).drop("input_fingerprint"))
    with open_lake(home) as lake:
        lake.replace("patients", rows, site="AA")
        publish(lake, home.published, minimised=minimised)
        assert lake.read("patients")["input_fingerprint"].null_count() == 0
    assert published(home, "SELECT count(*), count(input_fingerprint) FROM patients") == [(2, 0)]
    assert minimised.frame("patients", rows)["input_fingerprint"].null_count() == 2
    assert (
        minimised.as_json()
        != replace(minimised, age_band_years=1, suppressed=frozenset()).as_json()
    )


def test_digests_of_what_leaves_as_it_is_are_published() -> None:
    assert AS_IN_THE_LAKE.left_out == frozenset()
    assert protocol(suppressed_columns=["patients.stage"]).left_out == {
        "patients.stage",
        "patients.input_fingerprint",
        "predictions.input_digest",
    }
    assert protocol(suppressed_columns=["follow_up.detail"]).left_out == {
        "follow_up.detail",
        "follow_up.input_fingerprint",
    }


def test_a_night_after_it_writes_only_what_differs(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("patients", patients(62), site="AA")
        publish(lake, home.published, minimised=SMALL)
        lake.replace("patients", patients(62, 63), site="AA")
        assert not publish(lake, home.published, minimised=SMALL).from_nothing


@pytest.mark.parametrize("width", range(1, 31))
def test_every_age_is_in_one_band(width: int) -> None:
    """Every age is in exactly one band, and the frame, SQL and text agree.

    An age in no band or in two is what ARX calls an ambiguous rule (its issue 104).
    """
    minimised, ages = Minimisation(width), list(range(91))
    frame = minimised.frame(
        "patients", pl.DataFrame({"age_years": ages}, schema={"age_years": pl.Int32})
    )["age_years"].to_list()
    column = minimised.columns(BY_NAME["patients"]).split(", ")[
        BY_NAME["patients"].names.index("age_years")
    ]
    table = "(SELECT unnest(range(91)) AS age_years)"
    assert [low for (low,) in duckdb.sql(f"SELECT {column} FROM {table}").fetchall()] == frame
    assert all(low <= age < low + width for low, age in zip(frame, ages, strict=True))
    assert len({minimised.band(age) for age in ages}) == len(set(frame))


def test_by_default_everything_leaves_as_it_is() -> None:
    assert Minimisation.of(STUDY) == AS_IN_THE_LAKE
    without = {k: v for k, v in STUDY.sections.items() if k != "publish"}
    assert Minimisation.of(replace(STUDY, sections=without)) == AS_IN_THE_LAKE


@pytest.mark.parametrize(
    "wrong",
    [
        {"age_band_years": 0},
        {"age_band_years": -5},
        {"age_band_years": 31},
        {"age_band_years": 5.0},
        {"age_band_years": "5"},
        {"age_band_years": True},
        {"age_band_years": float("nan")},
        {"suppressed_columns": "patients.regimen"},
        {"suppressed_columns": ["regimen"]},
        {"suppressed_columns": ["patients.regime"]},
        {"suppressed_columns": ["patient.regimen"]},
        {"suppressed_columns": ["patients.patient"]},
        {"suppressed_columns": ["*.site"]},
        {"suppressed_columns": ["*.simulated"]},
        {"suppressed_columns": ["patients.consent"]},
        {"suppressed_columns": ["treatments.cycle"]},
        {"suppressed_columns": ["*.*"]},
        {"suppressed_columns": ["a.b.c"]},
        {"suppressed_columns": [3]},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(wrong))) as refused:
        protocol(**wrong)
    assert "study.toml [publish]" in str(refused.value)
    assert any("\u4e00" <= c <= "\u9fff" for c in str(refused.value))


def test_publishing_less_trains_nothing_anew(tmp_path: Path) -> None:
    text = PROTOCOL.read_text(encoding="utf-8").replace(
        "age_band_years = 1 ", "age_band_years = 10 "
    )
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    other = load_study(tmp_path / "study.toml")
    assert other.section("publish")["age_band_years"] == 10
    assert other.digest == STUDY.digest
