"""What is new in the vault, looked at after intake: a night with nothing new costs nothing."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from dagster_project.intake import vault_audit
from dagster_project.intake.vault_audit import Audit, audit_vault
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home

KEPT = "audit.json"
"""Beside a site's manifest: by which rules it was audited, the manifest's size at the last audit, when it began, and what is found and still open."""


def audit_what_is_new(home: Home) -> Audit:
    """Audit the files of each site whose manifest has grown since the last audit, and tell again what was found before and is still there."""
    whole = Audit()
    for manifest in sorted(home.vault.glob("*/manifest.jsonl")):
        _audit_site(whole, manifest.parent, manifest.stat().st_size)
    return whole


def _audit_site(whole: Audit, site: Path, size: int) -> None:
    before = _kept(site / KEPT, _rules())
    still = [tuple(f) for f in before["findings"] if (site.parent / f[1]).exists()]
    if size != before["size"]:
        began = max((f.stat().st_ctime_ns for f in site.glob("*/*/**/*.dcm")), default=0)
        found = audit_vault(site.parent, ocr=False, site=site.name, since=before["until"])
        whole.files += found.files
        whole.elements += found.elements
        still = list(dict.fromkeys([*still, *found.findings]))
        write_whole(site / KEPT, json.dumps({"rules": _rules(), "size": size, "until": began, "findings": still}).encode())
    whole.findings += still


@cache
def _rules() -> str:
    """Digest of what the audit looks for: other rules look at every file anew and forget what the former ones found."""
    return hashlib.sha256(Path(vault_audit.__file__).read_bytes()).hexdigest()


def _kept(file: Path, rules: str) -> dict:
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if found.get("rules") == rules else {"size": -1, "until": 0, "findings": []}
