"""The record of board pages grows and is never written again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from dagster_project.domain.response.board_decisions import page_code
from dagster_project.flow.shown_boards import ShownBoards, read_shown_boards
from dagster_project.intake.vault.vault_names import is_known
from dagster_project.resources import Lakehouse

PATIENT = "BJCH-" + "A" * 17
SHEET = SimpleNamespace(site="BJCH", patient=PATIENT, visit="T1", day=60)
CODES = [page_code(n) for n in range(3)]


@pytest.fixture
def lakehouse(tmp_path):
    (tmp_path / "vault" / "BJCH" / PATIENT).mkdir(parents=True)
    return Lakehouse(root=str(tmp_path))


def test_each_state_is_a_file_and_one_that_comes_back_is_another(lakehouse):
    for code in (CODES[0], CODES[0], CODES[1], CODES[0]):
        read_shown_boards(lakehouse).record(SHEET, code, {"snapshot": 7})
    shown = read_shown_boards(lakehouse)
    assert shown.codes == {("BJCH", PATIENT, "T1"): [CODES[0], CODES[1], CODES[0]]}
    assert shown.cases() == dict.fromkeys(CODES[:2], ("BJCH", PATIENT, "T1"))
    files = sorted(lakehouse.home.vault.rglob("*.json"))
    assert [json.loads(f.read_text(encoding="utf-8"))["page_code"] for f in files] == [
        CODES[0],
        CODES[1],
        CODES[0],
    ]
    below = [file.relative_to(lakehouse.home.vault / "BJCH").as_posix() for file in files]
    assert all(map(is_known, below))


def test_a_file_that_is_there_is_never_written_again(lakehouse):
    ShownBoards(lakehouse.home).record(SHEET, CODES[0], {})
    (file,) = lakehouse.home.vault.rglob("*.json")
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        ShownBoards(lakehouse.home).record(SHEET, CODES[0], {"snapshot": 9})
    assert file.read_bytes() == before


def test_nothing_is_recorded_of_a_patient_whose_folder_has_left_the_vault(lakehouse):
    gone = SimpleNamespace(**{**vars(SHEET), "patient": "BJCH-" + "B" * 17})
    shown = ShownBoards(lakehouse.home)
    shown.record(gone, CODES[0], {})
    assert not list(lakehouse.home.vault.rglob("*.json"))
    assert shown.codes == {}
