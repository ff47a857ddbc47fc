"""What is new in the vault, looked at after intake: a night with nothing new costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

from dagster_project.intake.vault_audit import Audit, audit_vault
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home

KEPT = "audit.json"
"""Beside a site's manifest: the manifest's size at the last audit, when it began, and what is found and still open."""


def audit_what_is_new(home: Home) -> Audit:
    """Audit the files of each site whose manifest has grown since the last audit, and tell again what was found before and is still there."""
    whole = Audit()
    for manifest in sorted(home.vault.glob("*/manifest.jsonl")):
        _audit_site(whole, manifest.parent, manifest.stat().st_size)
    return whole


def _audit_site(whole: Audit, site: Path, size: int) -> None:
    before = _kept(site / KEPT)
    still = [tuple(f) for f in before["findings"] if (site.parent / f[1]).exists()]
    if size != before["size"]:
        began = max((f.stat().st_ctime_ns for f in site.glob("*/*/**/*.dcm")), default=0)
        found = audit_vault(site.parent, ocr=False, site=site.name, since=before["until"])
        whole.files += found.files
        whole.elements += found.elements
        still = list(dict.fromkeys([*still, *found.findings]))
        write_whole(site / KEPT, json.dumps({"size": size, "until": began, "findings": still}).encode())
    whole.findings += still


def _kept(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"size": -1, "until": 0, "findings": []}
