"""What the audit finds in one site's vault blocks that site, and no other.

The site is blocked everywhere where a data manager looks.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pydicom
import pytest

from dagster_project.flow.vault_audit import KEPT
from tests.deliveries.conftest import Deliveries, run_delivery
from tests.intake.builders import ROOT, ct, to_bytes

SITES = ("AAAA", "BBBB")
PATIENTS = "patient_id,name,sex,birth_date\n{0},慕容霜雁,F,1949-05-11\n"


def deliver_two_sites(landing: Path) -> None:
    """A series of four slices at each of two sites.

    The sites have two makers, whose names are two capitalised words.
    """
    for number, (site, maker) in enumerate(
        zip(SITES, ("Canon Medical Systems", "United Imaging"), strict=True)
    ):
        folder = landing / site / "dicom"
        folder.mkdir(parents=True)
        (landing / site / "clinical").mkdir()
        patient = f"ZY001234{number}"
        (landing / site / "clinical" / "patients.csv").write_text(
            PATIENTS.format(patient), encoding="utf-8"
        )
        for index in range(4):
            made = ct(
                index,
                patient=patient,
                series=f"{ROOT}.{number + 5}",
                Manufacturer=maker,
                ConvolutionKernel="LUNG ENHANCE",
            )
            (folder / f"{index}.dcm").write_bytes(to_bytes(made))


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    return run_delivery(tmp_path_factory.mktemp("audited"), deliver_two_sites)


def _published(delivered: Deliveries, table: str) -> set[str]:
    with duckdb.connect(
        str(delivered.trial.home.published / "lakehouse.duckdb"), read_only=True
    ) as c:
        return {site for (site,) in c.execute(f'SELECT DISTINCT site FROM "{table}"').fetchall()}


def test_makers_whose_names_are_capitalised_words_are_no_finding(delivered: Deliveries) -> None:
    assert delivered.exit_code == 0, delivered.output
    assert _published(delivered, "scans") == set(SITES)
    assert "Audit of the vault: nothing found" in delivered.trial.call("status").output
    assert delivered.trial.check_passed("published", "blocked_sites")


def test_a_planted_name_blocks_its_site_and_is_seen_in_run_status_and_exit_code(
    delivered: Deliveries,
) -> None:
    vault = delivered.trial.home.vault
    first = min((vault / "AAAA").rglob("*.dcm"))
    clean = first.read_bytes()
    planted = pydicom.dcmread(first)
    planted.OperatorsName = "Murong^Shuangyan"
    planted.save_as(first)
    (vault / "AAAA" / KEPT).unlink()
    result = delivered.trial.call("run")
    said, shown = (
        " ".join(text.split()) for text in (result.output, delivered.trial.call("status").output)
    )
    assert result.exit_code == 1
    assert "AAAA intake.vault_audit" in said
    assert "BBBB intake.vault_audit" not in said
    assert not delivered.trial.check_passed("published", "blocked_sites"), (
        "what Dagster shows of `vault_audit` is of the site that came last, which has no finding"
    )
    assert "element that must not be there (0008,1070) in 1 files" in said
    assert _published(delivered, "scans") == _published(delivered, "patients") == {"BBBB"}
    assert "(0008,1070)" in shown
    assert "site blocked: AAAA." in shown
    assert "不应保留的元素" in delivered.trial.call("status", "--lang", "zh").output
    assert "Murong" not in said + shown
    assert delivered.trial.call("publish").exit_code == 0
    assert _published(delivered, "scans") == {"BBBB"}, "no command publishes a blocked site"
    first.write_bytes(clean)
    (vault / "AAAA" / KEPT).unlink()
    assert delivered.trial.call("run").exit_code == 0
    assert delivered.trial.check_passed("published", "blocked_sites")
    assert _published(delivered, "scans") == set(SITES)
