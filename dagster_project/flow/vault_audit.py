"""What is new in the vault, looked at after intake: a night with nothing new costs nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.flow.lake_audit import open_lake_findings
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home

if TYPE_CHECKING:  # who asks what was found does without what looks
    from dagster_project.intake.vault.vault_audit import Audit

KEPT = "audit.json"
"""State of a site's audit, beside its manifest.

It holds the rules that the site was audited by, when that began, and what is found and still open.
"""

Finding = tuple[str, str, str]
"""What it is, the file in the vault, the element: never the value."""

BLOCKED = (
    "something in the vault could identify a person: nothing of this site is derived or published. "
    "`lakehouse status` names element and file; report them, "
    "and run `lakehouse run` after the next version"
)

NOT_THE_SAME = (
    "the vault does not hold what intake noted: nothing of this site is derived or published. "
    "Restore missing files from the backup, move away what intake did not note, "
    "and run `lakehouse run`"
)


def advice(findings: Iterable[Finding]) -> list[str]:
    """What findings lead to, and what to do.

    One text is for what could identify a person, one for what is missing.
    """
    from dagster_project.intake.vault.vault_files import EACH_TIME, NAME

    missing = {what in EACH_TIME - {NAME} for what, _, _ in findings}
    return [text for kind, text in ((False, BLOCKED), (True, NOT_THE_SAME)) if kind in missing]


def audit_site(home: Home, site: str, *, ocr: bool = False, since: int = 0) -> Audit:
    """Audit a site's vault: every file, and whether files, register and manifest agree."""
    from dagster_project.intake.vault.vault_audit import audit_vault
    from dagster_project.intake.vault.vault_files import audit_site_files

    found = audit_vault(home.vault, ocr=ocr, site=site, since=since)
    audit_site_files(home.vault, site, found.find, since=since)
    return found


def audit_home(home: Home, *, ocr: bool) -> Audit:
    """Audit the vault of every site whole."""
    from dagster_project.intake.vault.vault_audit import audit_vault
    from dagster_project.intake.vault.vault_files import audit_site_files

    found = audit_vault(home.vault, ocr=ocr)
    for site in sorted(folder.name for folder in home.vault.iterdir() if folder.is_dir()):
        audit_site_files(home.vault, site, found.find)
    return found


def audit_what_is_new(home: Home, site: str) -> Audit:
    """Audit what is new in a site's vault since the last audit.

    1. Files written since then are read, whether or not intake noted them.
    2. Earlier findings whose file has not changed since remain; where the finding is about a folder
       (dates that were compared) and a file of it has changed, every file is read.
    3. What is missing is looked for anew each time.
    """
    from dagster_project.intake.vault.vault_audit import Audit
    from dagster_project.intake.vault.vault_files import EACH_TIME

    folder = home.vault / site
    if not folder.is_dir():
        return Audit()
    before = _kept(folder / KEPT, _rules())
    earlier = [
        (what, where, element)
        for what, where, element in before["findings"]
        if what not in EACH_TIME
    ]
    still = [finding for finding in earlier if _unchanged(home.vault / finding[1], before["until"])]
    again = any((home.vault / where).is_dir() for _, where, _ in set(earlier) - set(still))
    began = max((f.stat().st_ctime_ns for f in folder.rglob("*") if f.is_file()), default=0)
    found = audit_site(home, site, since=0 if again else before["until"])
    found.findings = list(dict.fromkeys([*still, *found.findings]))
    state = {"rules": _rules(), "until": began, "findings": found.findings}
    write_whole(folder / KEPT, json.dumps(state).encode())
    return found


def open_findings(home: Home) -> dict[str, list[Finding]]:
    """What the last audits of vault and lake found and is still there, by site.

    Sites without a finding are left out.
    """
    found = open_lake_findings(home)
    for file in sorted(home.vault.glob(f"*/{KEPT}")):
        state = json.loads(file.read_text(encoding="utf-8"))
        still = [
            (what, where, element)
            for what, where, element in state["findings"]
            if _is_open(home, what, where)
        ]
        if still:
            found[file.parent.name] = [*still, *found.get(file.parent.name, [])]
    return found


def _is_open(home: Home, what: str, where: str) -> bool:
    """What has no file of its own, or misses one, is open until the next audit."""
    from dagster_project.intake.vault.vault_files import EACH_TIME

    return what in EACH_TIME or (home.vault / where).exists()


def blocked_sites(home: Home) -> frozenset[str]:
    """Sites of which nothing is published until their findings are gone.

    `EVERY_SITE` among them where a table that names no site has a finding.
    """
    return frozenset(open_findings(home))


def summarise(findings: list[Finding]) -> list[tuple[str, str, int, str]]:
    """Finding and element, in how many files, and the first of them."""
    places: dict[tuple[str, str], list[str]] = {}
    for what, where, element in findings:
        places.setdefault((what, element), []).append(where)
    return [
        (what, element, len(where), where[0]) for (what, element), where in sorted(places.items())
    ]


def _unchanged(file: Path, until: int) -> bool:
    """A file that was written anew is looked at anew; of a folder each image."""
    if file.is_dir():
        images = list(file.rglob("*.dcm"))
        return bool(images) and all(_unchanged(image, until) for image in images)
    return file.exists() and file.stat().st_ctime_ns <= until


@cache
def _rules() -> str:
    """Digest of what the audit looks for.

    Other rules look at every file anew and forget what the former ones found.
    """
    from dagster_project.intake.dicom import audit_texts
    from dagster_project.intake.vault import audit_words, vault_audit, vault_files, vault_names

    modules = (vault_audit, vault_files, vault_names, audit_texts, audit_words)
    sources = (*(Path(module.__file__ or "") for module in modules), audit_texts.VOCABULARIES)
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _kept(file: Path, rules: str) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if found.get("rules") == rules else {"until": 0, "findings": []}
