"""`lakehouse status` names every refusal by place, in English and Chinese.

It shows no traceback, whatever is damaged.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.deliveries.conftest import Deliveries
from tests.lake.test_reasons_complete import english_left
from tests.trial import Trial

pytestmark = pytest.mark.real_data


@pytest.fixture
def copy(landed: Deliveries, tmp_path: Path) -> Trial:
    """A home of its own with the same lake, to be harmed; the images are not needed."""
    root = tmp_path / "home"
    skip = shutil.ignore_patterns(
        "landing", "dicom", "*.dcm", "*.npz", "reports", "published", "dagster", "mlflow"
    )
    shutil.copytree(landed.trial.root, root, symlinks=True, ignore=skip)
    return Trial(root, landed.trial.protocol)


def test_every_refusal_is_named_by_its_place(landed: Deliveries) -> None:
    said = landed.trial.call("status", "--all").output
    rows = landed.ask("SELECT item, reason FROM quarantine")
    assert rows
    assert [r for r in rows if r["item"] not in said or r["reason"] not in said] == []


def test_places_and_reasons_are_said_in_chinese(landed: Deliveries) -> None:
    said = landed.trial.call("status", "--all", "--lang", "zh").output
    assert "退回（数据质疑）" in said
    items = landed.ask(
        "SELECT item FROM quarantine WHERE item LIKE 'clinical/%.csv row % column %'"
    )
    assert items
    for item in (r["item"] for r in items):
        file, row, column = re.fullmatch(r"(\S+) row (\d+) column (\S+)", item).groups()
        assert f"{file} 第 {row} 行 {column} 列" in said


def test_every_reason_question_and_verdict_has_its_chinese(landed: Deliveries) -> None:
    """No English sentence is left over.

    That the code has no other sentence is tested in tests/lake/test_reasons_complete.py.
    """
    reasons = [r["reason"] for r in landed.ask("SELECT DISTINCT reason FROM quarantine")]
    questions = [r["question"] for r in landed.ask("SELECT DISTINCT question FROM reconciliation")]
    details = [r["detail"] for r in landed.ask("SELECT DISTINCT detail FROM quality_verdicts")]
    assert reasons
    assert questions
    assert details
    assert [text for text in (*reasons, *questions, *details) if english_left(text)] == []


def test_rows_without_images_are_asked_about_in_chinese(landed: Deliveries) -> None:
    shown = landed.trial.call("status", "--lang", "zh").output
    assert "有病例报告、无图像" in shown
    assert "row without images" not in shown


def test_one_site_is_shown_alone_and_an_unknown_one_is_refused(landed: Deliveries) -> None:
    site, other = (
        r["site"] for r in landed.ask("SELECT DISTINCT site FROM quarantine ORDER BY site LIMIT 2")
    )
    said = (
        landed.trial.call("status", "--site", site)
        .output.partition("Refused")[2]
        .partition("Gate")[0]
    )
    assert site in said
    assert other not in said
    assert landed.trial.call("status", "--site", "NOSUCH").exit_code == 1


def test_a_refused_file_is_named_on_this_screen_alone_where_that_is_asked(
    landed: Deliveries,
) -> None:
    (row, *_) = landed.ask(
        "SELECT site, item FROM quarantine WHERE stage = 'intake' AND item LIKE '%sha256:%'"
    )
    landing = str(landed.trial.home.landing)
    assert landing not in landed.trial.call("status", "--all").output.partition("Refused")[2]
    assert f"{row['item']} {landing}/{row['site']}/" in _shown_on_purpose(
        landed, "status", "--all", "--files"
    )


def _shown_on_purpose(landed: Deliveries, *arguments: str) -> str:
    """Output of a command that names files because it was asked to.

    The search for names in all other output leaves it out.
    """
    before = list(landed.trial.said)
    output = landed.trial.call(*arguments).output
    landed.trial.said[:] = before
    return output


HARMS = {
    "a lost file": (lambda f: f.unlink(), "is lost", 0),
    "a file cut short": (lambda f: f.write_bytes(f.read_bytes()[:-100]), "has another size", 0),
    "a changed file": (lambda f: f.write_bytes(bytes(f.stat().st_size)), "has other bytes", 0),
}


@pytest.mark.parametrize(("harm", "what", "code"), HARMS.values(), ids=HARMS)
def test_a_damaged_file_is_named_with_its_command_and_the_rest_is_shown(
    copy: Trial, harm, what: str, code: int
) -> None:
    file = min(
        p
        for p in (copy.home.lake / "data" / "main" / "scans").rglob("*.parquet")
        if "site=" in str(p)
    )
    site = file.parent.name.removeprefix("site=")
    harm(file)
    result = copy.call("status")
    assert result.exit_code == code
    assert result.exception is None
    assert what in result.output.replace("\n", " ")
    assert f"lakehouse rebuild scans --site {site}" in " ".join(result.output.split())
    assert "Gate" in result.output


def test_a_catalogue_that_is_none_is_named(copy: Trial) -> None:
    for file in copy.home.lake.glob("catalog.sqlite*"):
        file.write_bytes(b"no catalogue" * 1000)
    result = copy.call("status")
    assert result.exit_code == 1
    assert "Backup and restore" in result.output
    assert "Traceback" not in result.output


def test_a_lake_of_an_earlier_version_is_named_with_what_to_do(copy: Trial) -> None:
    from dagster_project.lake.store import Lake

    with Lake(copy.home.catalog, copy.home.data) as lake:
        lake.query("ALTER TABLE scans DROP COLUMN kernel")
    result = copy.call("status")
    assert result.exit_code == 1
    assert "table scans lacks the column kernel" in result.output
    assert copy.call("run").exit_code == 1
