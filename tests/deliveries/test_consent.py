"""Consent given in one row and withdrawn in another.

Nobody sees the patient, and the vault is as it was.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.deliveries.conftest import Deliveries, run_delivery
from tests.intake.builders import rtstruct, to_bytes, write_series

SITE, HEADER = "AB", "patient_id,sex,birth_date,consent\n"
GIVEN, WITHDRAWN = (f"ZY0012345,F,1949-05-11,{consent}\n" for consent in ("given", "withdrawn"))
TABLES = ("scans", "timepoints", "reads", "treatments", "lesions")


def _case_report(landing: Path, rows: str) -> None:
    folder = landing / SITE / "clinical"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patients.csv").write_text(HEADER + rows, encoding="utf-8")
    (folder / "treatments.csv").write_text(
        "patient_id,cycle,date\nZY0012345,1,2024-01-08\n", encoding="utf-8"
    )


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    def write(landing: Path) -> None:
        write_series(landing / SITE / "dicom", 12)
        (landing / SITE / "dicom" / "RS").write_bytes(to_bytes(rtstruct()))
        _case_report(landing, GIVEN)

    return run_delivery(tmp_path_factory.mktemp("consent"), write)


def _published(delivered: Deliveries) -> dict[str, int]:
    with duckdb.connect(
        str(delivered.trial.home.published / "lakehouse.duckdb"), read_only=True
    ) as c:
        counts = ((t, c.execute(f'SELECT count(*) FROM "{t}"').fetchone()) for t in TABLES)
        return {t: n[0] for t, n in counts if n is not None and n[0]}


def test_a_contradiction_holds_the_patient_out_and_a_correction_brings_all_back(
    delivered: Deliveries,
) -> None:
    vault, landing = delivered.trial.home.vault / SITE, delivered.trial.home.landing
    before, files = _published(delivered), sorted(vault.glob("*/*/*.dcm"))
    assert before["scans"] == before["treatments"] == 1
    _case_report(landing, GIVEN + WITHDRAWN)
    delivered.trial.call("run")
    assert _published(delivered) == {}
    assert delivered.ask("SELECT consent FROM patients") == [{"consent": "contradictory"}]
    assert sorted(vault.glob("*/*/*.dcm")) == files
    english, chinese = (
        " ".join(delivered.trial.call("status", "--lang", lang).output.split())
        for lang in ("en", "zh")
    )
    assert "run lakehouse withdraw" in english
    assert "一行写同意，另一行写撤回" in chinese.replace(" ", "")
    _case_report(landing, GIVEN)
    delivered.trial.call("run")
    assert _published(delivered) == before
