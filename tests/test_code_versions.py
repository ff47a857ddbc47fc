"""What a change of the code makes stale, and what it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from dagster_project import code_versions
from dagster_project.code_versions import CARRIES, closure, code_version, parse
from dagster_project.definitions import defs
from dagster_project.lake.tables import BY_NAME, TABLES
from tests.conftest import REPOSITORY

SOURCE = b'''"""Why this exists."""
from dagster_project.domain import recist

LIMIT = 5
"""A limit."""

def is_large(value):
    """Whether it is."""
    # a comment
    return value > LIMIT
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"Why this exists.", b"Something else.", True),
        (b"A limit.", b"The limit, in mm.", True),
        (b"# a comment", b"# another comment", True),
        (b"LIMIT = 5", b"LIMIT  =  5  # mm", True),
        (b"LIMIT = 5", b"LIMIT = 6", False),
        (b"value > LIMIT", b"value >= LIMIT", False),
    ],
)
def test_a_comment_means_nothing_and_code_does(old: bytes, new: bytes, same: bool) -> None:
    assert (parse(SOURCE).meaning == parse(SOURCE.replace(old, new)).meaning) is same


def assets_by(module: str) -> set[str]:
    return {t.name for t in TABLES if module in closure(f"assets.{t.name}")}


def test_a_kernel_counts_for_what_is_measured_with_it() -> None:
    kernel = "dagster_project.radiomics.kernels.glcm"
    assert assets_by(kernel) == {"radiomic_features", "control_features"}


def test_a_rule_counts_for_what_is_judged_by_it() -> None:
    judged = assets_by("dagster_project.domain.response.recist")
    assert {"responses", "outcomes", "time_to_event", "quality_verdicts"} <= judged
    assert judged.isdisjoint({"scans", "reads", "radiomic_features", "delta_features", "habitats"})


def test_what_carries_rows_makes_nothing_stale() -> None:
    store = "dagster_project.lake.store"
    assert "dagster_project.lake" in CARRIES
    assert assets_by(store) == set()


def test_only_a_table_of_its_own_counts() -> None:
    responses, outcomes = BY_NAME["responses"], BY_NAME["outcomes"]
    module = "assets.responses"
    assert code_version(module, responses) == code_version(module, responses)
    assert code_version(module, responses) != code_version(module, outcomes)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, read as if it were the program."""
    for name in code_versions.OURS:
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    monkeypatch.setattr(code_versions, "ROOT", tmp_path)
    monkeypatch.setattr(code_versions, "CACHE", tmp_path / "cache.json")
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for cached in ("_file", "_meaning", "_module", "_read", "_write_later"):
        getattr(code_versions, cached).cache_clear()


def versions() -> dict[str, str]:
    forget()
    found = {t.name: code_version(f"assets.{t.name}", t) for t in TABLES}
    code_versions._write()
    return found


def test_an_edit_makes_stale_what_it_changes(elsewhere: Path) -> None:
    before = versions()
    assert versions() == before, "the same from what was noted"
    limits = elsewhere / "dagster_project/radiomics/dhi_calibration.toml"
    limits.write_text(limits.read_text(encoding="utf-8") + "\n# anew\n", encoding="utf-8")
    changed = {name for name, version in versions().items() if version != before[name]}
    assert "dhi" in changed
    assert changed.isdisjoint({"responses", "eligibility", "patients"})


def test_a_comment_makes_nothing_stale_and_a_kernel_what_is_measured_with_it(
    elsewhere: Path,
) -> None:
    """What follows is stale once they are made anew and have other rows."""
    before, kernel = versions(), elsewhere / "dagster_project/radiomics/kernels/glcm.py"
    text = kernel.read_text(encoding="utf-8")
    kernel.write_text(f"{text}\n# a comment on the matrix\n", encoding="utf-8")
    assert versions() == before
    kernel.write_text(f"{text}\nANEW = 1\n", encoding="utf-8")
    changed = {name for name, version in versions().items() if version != before[name]}
    assert changed == {"control_features", "radiomic_features"}
    follows = dg.AssetSelection.assets(*changed).downstream().resolve(defs.resolve_asset_graph())
    named = {key.to_user_string() for key in follows}
    assert {"delta_features", "feature_stability", "model_runs", "predictions"} <= named
    assert named.isdisjoint({"scans", "reads", "responses", "outcomes", "dhi", "habitats"})


def test_what_was_noted_of_another_text_is_not_used(elsewhere: Path) -> None:
    before = versions()
    recist = elsewhere / "dagster_project/domain/response/recist.py"
    recist.write_text(recist.read_text(encoding="utf-8") + "\nANEW = 1\n", encoding="utf-8")
    assert versions()["responses"] != before["responses"]
    (elsewhere / "cache.json").write_text("no JSON", encoding="utf-8")
    assert versions()["patients"] == before["patients"]
