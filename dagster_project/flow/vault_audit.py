"""What is new in the vault, looked at after intake: a night with nothing new costs nothing."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from dagster_project.intake import vault_audit
from dagster_project.intake.vault_audit import Audit, audit_vault
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home

KEPT = "audit.json"
"""Beside a site's manifest: by which rules it was audited, the manifest's size at the last audit, when it began, and what is found and still open."""

MANIFEST = "manifest.jsonl"

Finding = tuple[str, str, str]
"""What it is, the file in the vault, the element: never the value."""

BLOCKED = (
    "something in the vault could identify a person: nothing of this site is derived or published. "
    "`lakehouse status` names element and file; report them, and run `lakehouse run` after the next version"
)


def audit_what_is_new(home: Home, site: str) -> Audit:
    """Audit the files of a site that are new since the last audit; earlier findings whose file has not changed since remain."""
    found, folder = Audit(), home.vault / site
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return found
    size, before = manifest.stat().st_size, _kept(folder / KEPT, _rules())
    still = [tuple(f) for f in before["findings"] if _unchanged(home.vault / f[1], before["until"])]
    if size != before["size"]:
        began = max((f.stat().st_ctime_ns for f in folder.glob("*/*/**/*.dcm")), default=0)
        found = audit_vault(home.vault, ocr=False, site=site, since=before["until"])
    else:
        began = before["until"]
    found.findings = list(dict.fromkeys([*still, *found.findings]))
    state = {"rules": _rules(), "size": size, "until": began, "findings": found.findings}
    write_whole(folder / KEPT, json.dumps(state).encode())
    return found


def open_findings(home: Home) -> dict[str, list[Finding]]:
    """What the last audit of each site found and is still there, by site; sites without a finding are left out."""
    found: dict[str, list[Finding]] = {}
    for file in sorted(home.vault.glob(f"*/{KEPT}")):
        state = json.loads(file.read_text(encoding="utf-8"))
        still = [(what, where, element) for what, where, element in state["findings"] if (home.vault / where).exists()]
        if still:
            found[file.parent.name] = still
    return found


def blocked_sites(home: Home) -> frozenset[str]:
    """Sites of which nothing is published until their findings are gone."""
    return frozenset(open_findings(home))


def summarise(findings: list[Finding]) -> list[tuple[str, str, int, str]]:
    """Finding and element, in how many files, and the first of them."""
    places: dict[tuple[str, str], list[str]] = {}
    for what, where, element in findings:
        places.setdefault((what, element), []).append(where)
    return [(what, element, len(where), where[0]) for (what, element), where in sorted(places.items())]


def _unchanged(file: Path, until: int) -> bool:
    """A file that was written anew is looked at anew."""
    return file.exists() and file.stat().st_ctime_ns <= until


@cache
def _rules() -> str:
    """Digest of what the audit looks for: other rules look at every file anew and forget what the former ones found."""
    sources = (Path(vault_audit.__file__), vault_audit.VOCABULARIES)
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _kept(file: Path, rules: str) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if found.get("rules") == rules else {"size": -1, "until": 0, "findings": []}
