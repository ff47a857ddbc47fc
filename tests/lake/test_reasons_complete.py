"""Every reason, question and verdict that the code can write for a hospital has its Chinese.

The templates are collected from the source: every sentence in quotation marks of the modules that
refuse something, docstrings aside. A new one without an entry in lake/reasons_zh.toml fails here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.lake.reasons import CATALOGUE, chinese_item, chinese_reason

ROOT = Path(__file__).parents[2] / "dagster_project"

OTHERS = {
    # What the person at the keyboard reads: errors of commands.
    "intake": {
        "agent",
        "allowlists",
        "keys",
        "manifest",
        "pacs_messages",
        "pacs_settings",
        "vault_audit",
        "audit_texts",
        "audit_words",
        "vault_files",
    },
    # Values of table columns, which docs/dictionary.md describes: rules, evidence, reasons for
    # NULL.
    "domain": {
        "adam",
        "agreement",
        "artifacts",
        "best_response",
        "dynamic",
        "eligibility",
        "endpoints",
        "feature_stability",
        "findings",
        "identity",
        "irecist",
        "masks",
        "new_lesions",
        "progression_free",
        "pseudoprogression",
        "reader_figures",
        "recist",
        "recorded_responses",
        "responses",
        "survival",
        "time_to_event",
        "timepoints",
        "training_cohort",
        "volumes",
        "trial_assessments",
        "trial_findings",
        "trial_grading",
        "trial_rows",
        "trial_spellings",
        "trial_visits",
    },
}
"""Modules whose sentences reach no hospital as a refusal."""

MORE = ("compute.py", "radiomics/extraction.py")
"""Modules of other folders whose errors become reasons."""

COMMAND_ERRORS = {
    "PacsError",
    "KeysError",
    "IntakeError",
    "UnknownPseudonymError",
    "AssertionError",
    "UnusableSettingError",
    "SchedulerLostError",
    "SeveralEvaluators",
    "UnknownEvaluator",
    "ValueError",
}
"""Errors that end a command; none of them is a reason of the quarantine."""

NO_REASONS = {
    "intake/dicom/deidentification.py": {"missing or unknown"},
    "intake/case_report/file_kinds.py": {"an xz archive"},
    "intake/vault/process_file.py": {
        "vault or crosswalk cannot be written ({0}); free space or mend the disk, then run again"
    },
    "intake/identity/pseudonyms.py": {
        "this home's patients were taken in with another key drive; put that one in place, "
        "or begin a new home"
    },
    # Reasons of NULL in a column of features, and what an assertion names.
    "radiomics/extraction.py": {
        "the reader's mask holds no voxel",
        "the scan is too small for this filter",
        "the mask of reader {0}",
    },
}
"""Sentences of the collected modules that are something else, by module."""

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PROSE = re.compile(r"(?:\b[a-z]{2,}\b[,:]? ){2}\b[a-z]+\b")
"""Three English words in a row."""

COMMAND = re.compile(r"`[^`]*`|study\.toml|\[reads\] \w+")
"""Names of commands, files and settings, which stay as they are."""

NOT_PROSE = re.compile(r"\s*(SELECT|CREATE|INSERT|UPDATE|DELETE|WITH) |yes modified iso_ir")


def modules() -> Iterator[Path]:
    for folder, others in OTHERS.items():
        yield from (
            file for file in sorted((ROOT / folder).rglob("*.py")) if file.stem not in others
        )
    yield from (ROOT / name for name in MORE)


def sentences(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each sentence of a module; what an f-string fills in is `{0}`, `{1}` …"""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {id(node) for node in _skipped(tree)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        text = _text(node)
        if text and PROSE.search(text) and not NOT_PROSE.match(text):
            yield node.lineno, text


def _skipped(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, the parts of f-strings, and what is said to the person at the keyboard."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield from node.values
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in COMMAND_ERRORS:
            yield from ast.walk(node)
        if isinstance(node, ast.ClassDef) and node.name in COMMAND_ERRORS:
            yield from ast.walk(node)
        if isinstance(node, ast.Assert) and node.msg is not None:
            yield from ast.walk(node.msg)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
    return _numbered("".join(map(str, parts)))


def _numbered(text: str) -> str:
    for n in range(text.count("{}")):
        text = text.replace("{}", f"{{{n}}}", 1)
    return text


def english_left(text: str) -> bool:
    """Whether a template still shows a piece of English prose where a hospital reads Chinese.

    A message of a command bears both languages, and needs no entry.
    """
    if CHINESE.search(text):
        return False
    shown = re.sub(r"\{\w*(:\w+)?\}", "7", text)
    return all(
        PROSE.search(COMMAND.sub("", translate(shown)))
        for translate in (chinese_reason, chinese_item)
    )


def is_part_of_an_entry(text: str) -> bool:
    """Whether the catalogue has a template that this sentence is put into."""
    return re.sub(r"\{\w*\}", "{}", text) in re.sub(
        r"\{\w*\}", "{}", CATALOGUE.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("file", modules(), ids=lambda f: f"{f.parent.name}/{f.name}")
def test_every_sentence_has_its_chinese(file: Path) -> None:
    others = NO_REASONS.get(file.relative_to(ROOT).as_posix(), set())
    missing = [
        f"{file.name}:{line}: {text}"
        for line, text in sentences(file)
        if text not in others and english_left(text) and not is_part_of_an_entry(text)
    ]
    assert missing == [], "give each an entry in dagster_project/lake/reasons_zh.toml"


def test_a_sentence_without_an_entry_is_found(tmp_path: Path) -> None:
    """The collection finds constants and f-strings, but no docstring, SQL or error of a command."""
    file = tmp_path / "rules.py"
    file.write_text(
        '"""No reason at all in here."""\n'
        'A = "nobody has translated this one yet"\n'
        "def f(n):\n"
        '    """Nor is there one here."""\n'
        '    q = f"SELECT a, b from c where {n}"\n'
        '    raise PacsError("the peer is not there")\n'
        '    return f"{n} slices have gone astray; the row is left out"\n',
        encoding="utf-8",
    )
    found = [text for _, text in sentences(file)]
    assert found == [
        "nobody has translated this one yet",
        "{0} slices have gone astray; the row is left out",
    ]
    assert all(english_left(text) for text in found)
