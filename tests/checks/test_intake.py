"""The audit beside intake fails where a file of the vault tells a person, and says nothing of whom."""

from __future__ import annotations

import random
from pathlib import Path

import dagster as dg
import pydicom

from checks.intake import vault_audit
from dagster_project.intake.deidentification import deidentify, open_source
from dagster_project.resources import Lakehouse
from tests.intake.builders import PERSON, ct, to_bytes


def audited(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """The check, of the only site; Dagster's context draws from Python's random numbers."""
    drawn = random.getstate()
    try:
        return vault_audit(dg.build_asset_check_context(), lakehouse)
    finally:
        random.setstate(drawn)


def test_a_vault_with_a_name_in_it_fails_the_check(tmp_path: Path) -> None:
    lakehouse = Lakehouse(root=str(tmp_path))
    site = tmp_path / "vault" / "AB"
    file = site / PERSON.pseudonym / "S1" / "0001.dcm"
    file.parent.mkdir(parents=True)
    file.write_bytes(deidentify(open_source(to_bytes(ct())), PERSON).data)
    (site / "manifest.jsonl").write_text("1\n", encoding="utf-8")
    assert audited(lakehouse).passed
    ds = pydicom.dcmread(file)
    ds.OperatorsName = "Murong^Shuangyan"
    ds.save_as(file)
    (site / "manifest.jsonl").write_text("1\n2\n", encoding="utf-8")
    result = audited(lakehouse)
    assert not result.passed
    assert "element that must not be there (0008,1070) in 1 files" in result.description
    assert "(0008,1070)" in str(result.metadata["places"])
    assert "Murong" not in str(result)
