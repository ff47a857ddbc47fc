"""The audit beside intake fails where a file of the vault identifies a person.

It does not say who it is, and the publication names its site as long as the file lies there.
"""

from __future__ import annotations

from pathlib import Path

import pydicom

from checks.intake import vault_audit
from checks.published import blocked_sites
from dagster_project.intake.vault.vault import take_in
from dagster_project.resources import Lakehouse
from tests.checks.evaluation import evaluate
from tests.intake.builders import KEYS
from tests.intake.vault.test_vault_files import deliver


def test_a_vault_with_a_name_in_it_fails_the_check(tmp_path: Path) -> None:
    lakehouse = Lakehouse(root=str(tmp_path))
    deliver(tmp_path / "landing" / "AB")
    take_in(
        tmp_path / "landing" / "AB",
        tmp_path / "vault" / "AB",
        keys=KEYS,
        crosswalk=tmp_path / "crosswalk",
    )
    assert evaluate(vault_audit, lakehouse).passed
    assert blocked_sites(lakehouse).passed
    file = min((tmp_path / "vault").rglob("0001.dcm"))
    clean, ds = file.read_bytes(), pydicom.dcmread(file)
    ds.OperatorsName = "Murong^Shuangyan"
    ds.save_as(file)
    result = evaluate(vault_audit, lakehouse)
    assert not result.passed
    assert "element that must not be there (0008,1070) in 1 files" in result.description
    blocked = blocked_sites(lakehouse)
    assert not blocked.passed
    assert "AB: element that must not be there (0008,1070)" in blocked.description
    assert "Murong" not in f"{result} {blocked}"
    file.write_bytes(clean)
    assert evaluate(vault_audit, lakehouse).passed
    assert blocked_sites(lakehouse).passed
