"""A publication has the k-anonymity of its own rows.

It is that by the settings of the publication, which also has the mark of the gate as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import duckdb
import polars as pl

from dagster_project.flow.publication import publish_home
from dagster_project.lake.home import Home
from dagster_project.lake.store import open_lake
from dagster_project.study import PROTOCOL, Study, load_study
from tests.domain.records import table
from tests.flow.test_gate import WHO, rows


def protocol(**section: object) -> Study:
    study = load_study(PROTOCOL)
    return replace(study, sections=MappingProxyType({**study.sections, "publish": section}))


def published(home: Home) -> tuple[int, int]:
    """k of ages, and the largest age, as an analyst finds them."""
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        (k,) = c.execute(
            "SELECT k FROM disclosure WHERE form = 'published' AND variables = 'age_years'"
        ).fetchall()[0]
        (age,) = c.execute("SELECT max(age_years) FROM patients").fetchall()[0]
    return k, age


def test_the_counts_follow_the_setting_at_once(tmp_path: Path) -> None:
    """Also where no run lies between the change of the setting and the publication."""
    home = Home(tmp_path / "home").make()
    patients = table(
        "patients", {"patient": "BJCH-1", "age_years": 61}, {"patient": "BJCH-2", "age_years": 64}
    )
    with open_lake(home) as lake:
        lake.replace("patients", patients.with_columns(site=pl.lit("BJCH")), site="BJCH")
        publish_home(lake, home, protocol())
        assert published(home) == (1, 64)
        publish_home(lake, home, protocol(age_band_years=5))
        assert published(home) == (2, 60)
        before = lake.snapshot()
        assert not publish_home(lake, home, protocol(age_band_years=5)).fresh
        assert lake.snapshot() == before


def test_a_mark_that_is_out_of_date_is_not_published(tmp_path: Path) -> None:
    """Whatever publishes: nothing was judged here, so the gate is closed."""
    home = Home(tmp_path / "home").make()
    with open_lake(home) as lake:
        lake.replace("predictions", rows("predictions", **WHO, gate="open"))
        publish_home(lake, home, protocol())
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        assert c.execute("SELECT gate FROM predictions").fetchall() == [("closed",)]
