"""Words that this program once coined are gone; the field has words for them.

Names in code, columns, and what people read: pages, help, descriptions of columns, documents.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.lake.store import Lake
from dagster_project.lake.tables import TABLES
from tests.conftest import REPOSITORY

COINED = {
    "CohortWords": "CohortHistograms",
    "Done": "StepResult",
    "Fusion": "Stack",
    "FusionModel": "StackModel",
    "Learned": "TrainingOutcome",
    "LearntBefore": "TrainingState",
    "LesionSeries": "LesionSequences",
    "Said": "PredictionSet",
    "SeriesScaler": "SequenceScaler",
    "SeriesWords": "SequenceHistograms",
    "WordCounts": "BinCounts",
    "WordGrid": "HistogramGrid",
    "WordHabitats": "HistogramHabitats",
    "WordTask": "HistogramTask",
    "answer_once": "cached_query",
    "ask_about_others": "predict_outside_cohort",
    "bound_held_out": "jackknife_intervals",
    "build_others": "build_inference_set",
    "build_series": "build_sequences",
    "champion_on": "champion_probabilities",
    "comparisons_seen": "load_comparisons_as_of",
    "count_words": "count_bins",
    "divided_by": "scale_dhi",
    "expunge": "purge_history",
    "fit_word_codebook": "fit_histogram_codebook",
    "gains": "compare_with_references",
    "hold_out_pairs": "intervals_of_fold",
    "keep_new_words": "write_new_histograms",
    "keep_words": "write_histograms",
    "kept": "read_cached",
    "kept_said": "load_predictions",
    "learnt_before": "training_state",
    "leave_study": "withdraw_patient",
    "load_words": "load_histograms",
    "measure_words": "measure_histograms",
    "own_limits": "fit_dhi_limits",
    "place_words": "place_histograms",
    "scrub": "redact_stores",
    "stack_words": "stack_histograms",
    "strangeness": "ood_score",
    "tables_seen": "load_tables_as_of",
    "undivided": "raw_dhi",
    "words_seen": "load_histograms_as_of",
}
"""Each coined name of a function, class or module, and what takes its place."""

ROOMS = ("dagster_project", "assets", "checks", "models")
FILES = [file for room in ROOMS for file in sorted((REPOSITORY / room).rglob("*.py"))]


def defined(file: Path) -> Iterator[str]:
    """Names that a file gives to functions, classes and itself."""
    yield file.stem
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(REPOSITORY).as_posix())
def test_no_coined_name_is_defined(file: Path) -> None:
    assert {n: COINED[n] for n in defined(file) if n in COINED} == {}


def test_a_coined_name_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "answer_once.py"
    file.write_text("class Done:\n    def kept(self): ...\n", encoding="utf-8")
    assert set(defined(file)) & set(COINED) == {"answer_once", "Done", "kept"}


OF_THE_LAKE = {
    "differing": "changed_patients",
    "exchange": "replace_by_fingerprint",
    "frozen": "read_snapshot",
    "holds": "has_snapshots",
    "touched": "tables_written",
}
"""Former names of the store's methods, words of plain English that others may use."""


def test_the_methods_of_the_lake_have_names_that_need_no_explanation() -> None:
    assert {old: new for old, new in OF_THE_LAKE.items() if hasattr(Lake, old)} == {}
    assert [new for new in OF_THE_LAKE.values() if not hasattr(Lake, new)] == []


# -- columns ---------------------------------------------------------------------------------------

COLUMNS = {
    "accepted_because": "acceptance_basis",
    "chosen_because": "selection_reason",
    "control": "control_type",
    "copy": "replicate",
    "dhi_amount": "dhi_magnitude",
    "figure": "statistic",
    "known_from": "recorded_at",
    "limit": "threshold",
    "node": "is_lymph_node",
    "novelty": "ood_score",
    "positive": "predicted_positive",
    "present": "is_present",
    "runners_up": "alternative_scans",
    "spread": "ensemble_sd",
    "too_small": "too_small_to_measure",
}
"""Each former name of a column, and the field's."""


def test_no_column_has_a_name_that_the_field_does_not_use() -> None:
    assert {(t.name, n): COLUMNS[n] for t in TABLES for n in t.names if n in COLUMNS} == {}


# -- what people read ------------------------------------------------------------------------------

CHINESE = {
    "一次性介质": "临时密钥（仅供试用）",
    "假名": "研究编号",
    "候选模型": "待定模型",
    "再识别": "重标识",
    "冠军": "现行模型",
    "密钥介质": "密钥盘",
    "拒绝": "退回（数据质疑）",
    "评效": "疗效评价",
    "门控": "质控放行",
}
"""Words that Chinese radiology departments do not use so, and theirs."""

OTHERWISE_MEANT = {
    "dagster_project/federated/engine/coordination.py": "a hospital refuses a job, no data",
    "dagster_project/federated/engine/submission.py": "a hospital refuses a job, no data",
    "dagster_project/federated/refusals.py": "a hospital refuses a job, no data",
    "dagster_project/lake/reasons_zh.toml": "a PACS is refused a service",
    "dagster_project/lake/vocabulary.toml": "what a patient did, in a hospital's file",
    "docs/changelog.md": "what was said then",
    "docs/pacs.md": "a PACS is refused a service",
    "tests/intake/case_report/test_case_values.py": "what a patient did, in a hospital's file",
    "tests/test_words.py": "this list",
}
"""Files in which such a word has its own meaning, and which."""

ENGLISH = {
    r"\b(?:key|throw-?away|the|a|its|old|new|sealed) medium\b": "key drive, trial keys",
    r"\b[Tt]hrow-?away\b(?!-key-medium)": "trial keys",
    r"\b[Ll]anding (?:contract|folder)\b": "delivery specification, delivery folder",
    r"\b(?:[Tt]he|[Aa]|[Ii]ts|[Ss]ynthetic) landing\b(?!/)": "delivery, delivery folder",
}
"""What help, pages and documents called otherwise than the field."""

READ = re.compile(
    r"README\.md|docs/[^/]+\.md|dagster_project/(?:cli|commands/\w+|lake/tables|lake/columns)\.py"
    r"|dagster_project/reports/templates/\w+\.html"
)
"""Files whose English people read; `tables.py` becomes the data dictionary."""

TEXTS = re.compile(r"\.(?:py|md|toml|html|svg|css|csv|yaml)$")


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [f for f in listed if TEXTS.search(f) and not f.startswith("docs/decisions/")]


def text_of(file: str) -> str:
    return (REPOSITORY / file).read_text(encoding="utf-8")


def chinese_in(text: str) -> dict[str, str]:
    return {word: better for word, better in CHINESE.items() if word in text}


def english_in(text: str) -> dict[str, str]:
    return {found: better for w, better in ENGLISH.items() for found in re.findall(w, text)}


def test_chinese_is_that_of_radiology_departments() -> None:
    found = {f: words for f in tracked() if (words := chinese_in(text_of(f)))}
    assert {f: words for f, words in found.items() if f not in OTHERWISE_MEANT} == {}
    assert set(OTHERWISE_MEANT) - set(found) <= {"docs/changelog.md"}


def test_help_pages_and_documents_use_the_terms_of_the_field() -> None:
    files = [f for f in tracked() if READ.fullmatch(f) and f != "docs/changelog.md"]
    assert len(files) > 40
    assert {f: words for f in files if (words := english_in(text_of(f)))} == {}


@pytest.mark.parametrize("file", ["README.md", "docs/glossary.md", "docs/flow.svg"])
def test_the_gate_is_introduced_as_the_quality_gate(file: str) -> None:
    assert "quality gate" in text_of(file)


def test_a_word_that_nobody_uses_would_be_found() -> None:
    assert chinese_in("门控关闭，文件被拒绝") == {"门控": "质控放行", "拒绝": "退回（数据质疑）"}
    said = "Put a key medium beside the landing folder; the landing holds throw-away keys."
    assert set(english_in(said)) == {"key medium", "landing folder", "the landing", "throw-away"}
    assert english_in("cp landing/BJCH throwaway-key-medium/") == {}
