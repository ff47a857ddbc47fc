"""The ledger as rows: what each line added up to."""

from __future__ import annotations

import pytest

from dagster_project.federated.accounting import noise_for
from dagster_project.federated.home_records import read_ledger
from dagster_project.federated.ledger import Budget, Ledger, Step
from dagster_project.federated.refusals import LedgerRolledBack
from dagster_project.lake.home import Home
from tests.federated.plans import CODES


def test_each_line_has_what_was_spent_so_far(tmp_path):
    home = Home(tmp_path)
    ledger = Ledger.create(home.federated, "BJCH", Budget(3.0, 1e-5))
    ledger.allow("a" * 64)
    mu = 1 / noise_for(1.0, 1e-5, 2)
    for number in (1, 2):
        ledger.spend(Step("b" * 64, number, "a" * 64, "c" * 64, "d" * 64, CODES, mu))
    ledger.spend(Step("e" * 64, 1, "a" * 64, "f" * 64, "d" * 64, CODES, None))
    rows = read_ledger(home)
    assert rows["event"].to_list() == ["opened", "allowed", "spent", "spent", "spent"]
    spent = rows["epsilon_spent"].to_list()
    assert spent[:2] == [0, 0]
    assert 0 < spent[2] < spent[3]
    assert abs(spent[3] - 1.0) < 1e-6
    assert spent[4] == spent[3]
    assert rows["hospitals"][2].to_list() == list(CODES)


def test_a_ledger_that_was_cut_is_no_table(tmp_path):
    home = Home(tmp_path)
    Ledger.create(home.federated, "BJCH", Budget(3.0, 1e-5)).allow("a" * 64)
    file = home.federated / "ledger"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerRolledBack):
        read_ledger(home)


def test_a_home_without_one(tmp_path):
    assert read_ledger(Home(tmp_path)).is_empty()
