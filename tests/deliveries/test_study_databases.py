"""What study databases deliver, by `lakehouse run`: in the tables, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deliveries.conftest import Deliveries, run_delivery
from tests.intake.case_report.test_odm import (
    CYCLES,
    DEATH,
    DM,
    at,
    changes,
    data,
    event,
    form,
    group,
    metadata,
    odm,
    subject,
)
from tests.intake.case_report.test_redcap import PROJECT, RAW, RAW_ROWS, csv, dictionary


def write(landing: Path) -> None:
    whole = data(*(subject(number, event("SE", DM, CYCLES, DEATH)) for number in ("001", "002")))
    removal = data(at(form("FU", group("FU", key="1", type_="Remove"))))
    raw = csv(RAW, *RAW_ROWS)
    sites = {
        "REMOVED": {
            "odm.xml": odm(metadata(), whole, more=' CreationDateTime="2025-01-01T00:00:00"'),
            "odm_later.xml": changes(removal, more=' CreationDateTime="2025-02-01T00:00:00"'),
        },
        "CODES": {"redcap.csv": raw},
        "WORDS": {
            "Lung_DATA_2025-01-05_1010.csv": raw,
            "Lung_DataDictionary_2025-01-05.csv": PROJECT,
        },
        "OTHER": {"redcap.csv": raw, "redcap_dictionary.csv": dictionary()},
        "NEWODM": {
            "odm.xml": odm(whole, space="http://www.cdisc.org/ns/odm/v2.0", version="2.0"),
            "patients.csv": "patient_id,sex\n001,F\n",
        },
    }
    for site, files in sites.items():
        for name, text in files.items():
            path = landing / site / "clinical" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    return run_delivery(tmp_path_factory.mktemp("databases"), write)


def test_the_run_ends_with_0(databases: Deliveries) -> None:
    assert databases.exit_code == 0, databases.output


def test_a_death_that_a_later_file_removes_is_none(databases: Deliveries) -> None:
    found = databases.ask("SELECT patient, event FROM follow_up WHERE site = 'REMOVED'")
    assert found == [{"patient": databases.pseudonym("REMOVED", "002"), "event": "death"}]
    assert len(databases.ask("SELECT 1 FROM treatments WHERE site = 'REMOVED'")) == 4
    assert not databases.refused("REMOVED", "case_report")


@pytest.mark.parametrize(
    ("site", "sex", "events", "named"),
    [
        ("WORDS", "F", ["death"], set()),
        ("CODES", None, [], {"code of an answer"}),
        ("OTHER", None, [], {"code of an answer", "another project"}),
        ("NEWODM", "F", [], {"of a version that is not read"}),
    ],
)
def test_codes_have_their_words_or_are_named(
    databases: Deliveries, site: str, sex: str | None, events: list[str], named: set[str]
) -> None:
    assert [r["sex"] for r in databases.ask("SELECT sex FROM patients WHERE site = ?", site)] == [
        sex
    ]
    found = databases.ask("SELECT event FROM follow_up WHERE site = ?", site)
    assert [r["event"] for r in found] == events
    refused = "\n".join(databases.refused(site))
    assert bool(refused) == bool(named)
    assert all(reason in refused for reason in named)
    assert "Lung" not in refused
