"""The audit beside intake fails where a file of the vault tells a person, and says nothing of whom."""

from __future__ import annotations

from pathlib import Path

import pydicom

from checks.intake import vault_audit
from dagster_project.intake.deidentification import deidentify, open_source
from dagster_project.resources import Lakehouse
from tests.intake.builders import PERSON, ct, to_bytes


def test_a_vault_with_a_name_in_it_fails_the_check(tmp_path: Path) -> None:
    lakehouse = Lakehouse(root=str(tmp_path))
    site = tmp_path / "vault" / "AB"
    file = site / PERSON.pseudonym / "S1" / "0001.dcm"
    file.parent.mkdir(parents=True)
    file.write_bytes(deidentify(open_source(to_bytes(ct())), PERSON).data)
    (site / "manifest.jsonl").write_text("1\n", encoding="utf-8")
    assert vault_audit(lakehouse).passed
    ds = pydicom.dcmread(file)
    ds.OperatorsName = "Murong^Shuangyan"
    ds.save_as(file)
    (site / "manifest.jsonl").write_text("1\n2\n", encoding="utf-8")
    result = vault_audit(lakehouse)
    assert not result.passed
    assert result.metadata["element that must not be there"].value == 1
    assert "Murong" not in str(result)
