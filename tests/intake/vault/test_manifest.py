"""The chain shows what was taken out, and survives a process that was killed while writing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.intake.vault.manifest import START, Manifest, audit_manifest

RECORDS = [
    {"event": "accepted", "input": "ab", "output": "cd"},
    {"event": "refused", "reason": "原因; export again"},
    {"event": "run", "counts": {"accepted": 1}},
]


@pytest.fixture
def path(tmp_path):
    Manifest(tmp_path / "m.jsonl").append(RECORDS)
    return tmp_path / "m.jsonl"


def test_a_whole_chain_is_whole_and_goes_on_where_it_ended(path):
    again = Manifest(path)
    again.append(RECORDS)
    assert (again.count, audit_manifest(path)) == (6, None)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["hash"] == again.head


def test_an_empty_manifest_starts(tmp_path):
    manifest = Manifest(tmp_path / "m.jsonl")
    manifest.append([])
    assert (manifest.count, manifest.head, audit_manifest(tmp_path / "m.jsonl")) == (0, START, None)


@pytest.mark.parametrize("line", [0, 1])
def test_a_line_that_is_taken_out_shows(path, line):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:line] + lines[line + 1 :]), encoding="utf-8")
    assert audit_manifest(path) == line + 1


def test_a_changed_line_and_swapped_lines_show(path):
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"accepted", "hash"', '"refused", "hash"'), encoding="utf-8")
    assert audit_manifest(path) == 1
    lines = text.splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], lines[2]]), encoding="utf-8")
    assert audit_manifest(path) == 1


def test_a_chain_cut_at_its_end_is_told_by_the_reported_head(path):
    head = Manifest(path).head
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    assert audit_manifest(path) is None
    assert Manifest(path).head != head


@given(st.integers(1, 60))
def test_half_a_line_is_dropped(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("m") / "m.jsonl"
    Manifest(path).append(RECORDS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-length])
    again = Manifest(path)
    again.append(RECORDS[:1])
    assert audit_manifest(path) is None
    assert again.count == 3
