"""A part of the benchmark of identifiers.

None of a delivery is left in what intake writes, and the audit finds those that are put there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import identifiers
from benchmarks.identifiers import KINDS, SITE, audit_of_files, deliver, survivors
from dagster_project.flow.trace_search import _everything
from dagster_project.intake.vault.vault import take_in
from dagster_project.lake.home import Home
from tests.intake.builders import KEYS


@pytest.fixture(autouse=True)
def _pydicom_says_nothing() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_no_identifier_of_a_delivery_is_in_the_vault(tmp_path: Path) -> None:
    home = Home(tmp_path).make()
    tried = deliver(home.landing)
    assert len({row[:2] for row in tried.rows}) >= 120
    report = take_in(home.landing / SITE, home.vault / SITE, keys=KEYS, crosswalk=home.crosswalk)
    assert report.accepted > 100
    files = [
        f
        for f in sorted(home.root.rglob("*"))
        if f.relative_to(home.root).parts[0] in {"vault", "crosswalk"}
    ]
    assert [tried.rows[n][:3] for n in survivors(tried, _everything(home, files))] == []


def test_the_search_finds_what_lies_in_the_landing(tmp_path: Path) -> None:
    home = Home(tmp_path).make()
    tried = deliver(home.landing)
    found = survivors(tried, _everything(home, sorted(home.landing.rglob("*"))))
    assert len(found) > 0.98 * len(tried.rows), (
        "masks are packed, and some elements are too short for some values"
    )


@pytest.mark.parametrize(
    "kind",
    [k for k in KINDS if k.name in {"name, pinyin", "hospital number", "name, GB18030"}],
    ids=lambda k: k.name,
)
def test_what_is_put_into_the_vault_past_intake_is_found(
    tmp_path: Path, kind: identifiers.Kind
) -> None:
    assert [row[:3] for row in audit_of_files(tmp_path, (kind,)) if not row[3]] == []
