"""Every block of the cookbook runs on a published file, and SQL and polars give one answer."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.conftest import REPOSITORY
from tests.trial import Stage

COOKBOOK, CHINESE = (REPOSITORY / "docs" / n for n in ("cookbook.md", "cookbook.zh-CN.md"))
SECTION = re.compile(r"^## (\d+)\. .+?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

MAY_BE_EMPTY = {6, 17}
"""Questions whose answer is no row where nothing differs or is missing."""


def blocks(text: str) -> dict[str, str]:
    """The blocks of a section by their language, each of them once."""
    found = BLOCK.findall(text)
    assert sorted(language for language, _ in found) == ["python", "sql"]
    return dict(found)


TEXT = COOKBOOK.read_text(encoding="utf-8")
((_, SETUP),) = BLOCK.findall(TEXT.partition("\n## ")[0])
QUESTIONS = {int(m.group(1)): blocks(m.group(0)) for m in SECTION.finditer(TEXT)}


def run_polars(block: str) -> pl.DataFrame:
    names: dict[str, pl.DataFrame] = {}
    exec(compile(SETUP + block, COOKBOOK.name, "exec"), names)
    return names["answer"]


@pytest.fixture
def published(opened: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which an analyst works."""
    monkeypatch.chdir(opened.trial.home.root)
    return Path("published/lakehouse.duckdb")


@pytest.mark.parametrize("number", QUESTIONS)
def test_sql_and_polars_give_one_answer(number: int, published: Path) -> None:
    with duckdb.connect(str(published), read_only=True) as file:
        by_sql = file.execute(QUESTIONS[number]["sql"]).pl()
    by_polars = run_polars(QUESTIONS[number]["python"])
    assert by_sql.height or number in MAY_BE_EMPTY
    assert_frame_equal(by_sql, by_polars, check_dtypes=False)


def test_there_are_twenty_questions_and_the_chinese_page_has_the_same_blocks() -> None:
    assert list(QUESTIONS) == list(range(1, 21))
    chinese = CHINESE.read_text(encoding="utf-8")
    assert BLOCK.findall(chinese) == BLOCK.findall(TEXT)
    titles = re.findall(r"^## \d+\. (.+)$", chinese, re.MULTILINE)
    assert len([t for t in titles if re.search(r"[\u4e00-\u9fff]", t)]) == len(QUESTIONS)
