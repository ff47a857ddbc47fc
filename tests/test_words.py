"""Names that this program once coined are gone; the field has words for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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
