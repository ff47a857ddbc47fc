"""The ledger: what it refuses by itself, and that nobody takes a line out of it unseen."""

import dataclasses
import multiprocessing
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.federated.accounting import compose, epsilon_of, noise_for
from dagster_project.federated.ledger import Budget, Ledger, Step
from dagster_project.federated.refusals import (
    BudgetSpent,
    LedgerDamaged,
    LedgerRolledBack,
    NotThisHospital,
    OtherCohort,
    OtherHospitals,
    PlanNotAllowed,
    RoundSpent,
    TooFewHospitals,
)

BUDGET = Budget(3.0, 1e-5)
PLAN, OTHER_PLAN = "a" * 64, "b" * 64
STEP = Step("r1" * 32, 1, PLAN, "q1" * 32, "c1" * 32, ("BJCH", "GZSM", "SHFD"), 0.1)
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(folder: Path) -> Ledger:
    ledger = Ledger.create(folder, "BJCH", BUDGET)
    ledger.allow(PLAN)
    return ledger


def step(**changes) -> Step:
    return dataclasses.replace(STEP, **changes)


@pytest.fixture
def ledger(tmp_path):
    return opened(tmp_path / "federated")


# -- what it refuses -------------------------------------------------------------------------------


def test_a_plan_that_is_not_allowed_here(ledger):
    with pytest.raises(PlanNotAllowed, match=OTHER_PLAN[:12]):
        ledger.spend(step(plan=OTHER_PLAN))
    ledger.allow(OTHER_PLAN)
    ledger.spend(step(plan=OTHER_PLAN))
    ledger.forbid(OTHER_PLAN)
    with pytest.raises(PlanNotAllowed):
        ledger.spend(step(plan=OTHER_PLAN, number=2))


@pytest.mark.parametrize("hospitals", [("BJCH",), ("BJCH", "GZSM"), ("BJCH", "BJCH", "GZSM")])
def test_fewer_than_three_hospitals(ledger, hospitals):
    with pytest.raises(TooFewHospitals):
        ledger.spend(step(hospitals=hospitals))


def test_a_step_of_others(ledger):
    with pytest.raises(NotThisHospital, match="BJCH"):
        ledger.spend(step(hospitals=("GZSM", "SHFD", "WHTJ")))


def test_the_same_round_twice(ledger):
    ledger.spend(STEP)
    with pytest.raises(RoundSpent, match="round 1"):
        ledger.spend(STEP)
    with pytest.raises(RoundSpent):
        ledger.spend(step(query="q2" * 32, mu=None))
    ledger.spend(step(number=2))


@pytest.mark.parametrize("mu", [0.1, None])
@pytest.mark.parametrize(
    ("hospitals", "named"),
    [
        (("BJCH", "GZSM", "SHFD"), "WHTJ"),
        (("BJCH", "GZSM", "NJGL", "SHFD", "WHTJ"), "NJGL"),
        (("BJCH", "GZSM", "NJGL", "SHFD"), "NJGL, WHTJ"),
    ],
)
def test_the_same_query_with_other_hospitals(ledger, hospitals, named, mu):
    ledger.spend(step(hospitals=("BJCH", "GZSM", "SHFD", "WHTJ"), mu=mu))
    with pytest.raises(OtherHospitals, match=f"by {named}:"):
        ledger.spend(step(run="r2" * 32, hospitals=hospitals, mu=mu))
    ledger.spend(step(run="r2" * 32, hospitals=hospitals, mu=mu, query="q2" * 32))


@pytest.mark.parametrize(("first", "second"), [(None, None), (None, 0.1), (0.1, None)])
def test_an_exact_query_again_after_the_rows_have_changed(ledger, first, second):
    ledger.spend(step(mu=first))
    ledger.spend(step(run="r2" * 32, mu=second))
    with pytest.raises(OtherCohort):
        ledger.spend(step(run="r3" * 32, mu=second, cohort="c2" * 32))


def test_a_query_with_noise_again_after_the_rows_have_changed(ledger):
    ledger.spend(STEP)
    ledger.spend(step(run="r2" * 32, cohort="c2" * 32))


def test_a_spent_budget(ledger):
    mu = BUDGET.mu / 2
    for number in range(1, 5):
        account = ledger.spend(step(number=number, mu=mu))
    assert account.epsilon == pytest.approx(BUDGET.epsilon, rel=1e-9)
    with pytest.raises(BudgetSpent, match="budget is 3"):
        ledger.spend(step(number=5, mu=1e-3))
    ledger.spend(step(number=5, mu=None, query="q2" * 32))
    assert ledger.account().exact_steps == 1


@pytest.mark.parametrize("steps", [1, 7, 40, 120])
def test_steps_planned_for_just_the_budget_fit_and_no_more(ledger, steps):
    mu = 1 / noise_for(BUDGET.epsilon, BUDGET.delta, steps)
    for number in range(1, steps + 1):
        ledger.spend(step(number=number, mu=mu))
    with pytest.raises(BudgetSpent):
        ledger.spend(step(number=steps + 1, mu=mu / 1000))


@pytest.mark.parametrize("mu", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cost_that_is_none(mu):
    with pytest.raises(ValueError, match="above 0"):
        step(mu=mu)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(float("nan"), 1e-5), (0.0, 1e-5), (float("inf"), 1e-5), (1.0, 1.0)]
)
def test_a_budget_that_is_none(epsilon, delta):
    with pytest.raises(ValueError, match="budget"):
        Budget(epsilon, delta)


@settings(FILES, max_examples=20)
@given(st.lists(st.floats(0.01, 0.8), max_size=8))
def test_what_is_spent_is_what_the_steps_cost_and_never_above_the_budget(tmp_path_factory, mus):
    ledger, done = opened(tmp_path_factory.mktemp("ledger") / "f"), []
    for number, mu in enumerate(mus, start=1):
        try:
            ledger.spend(step(number=number, mu=mu))
            done.append(mu)
        except BudgetSpent:
            assert epsilon_of(compose([*done, mu]), BUDGET.delta) > BUDGET.epsilon
    assert ledger.account().mu == pytest.approx(compose(done))
    assert ledger.account().epsilon <= BUDGET.epsilon * (1 + 1e-9)


# -- the file --------------------------------------------------------------------------------------


def test_only_its_owner_reads_it(ledger, tmp_path):
    ledger.spend(STEP)
    folder = tmp_path / "federated"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {f.name: stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {
        "ledger": 0o600,
        "ledger.head": 0o600,
        "ledger.lock": 0o600,
    }


def test_it_outlives_a_restart(ledger, tmp_path):
    ledger.spend(STEP)
    again = Ledger(tmp_path / "federated")
    assert again.account() == ledger.account()
    with pytest.raises(RoundSpent):
        again.spend(STEP)
    assert [r["event"] for r in again.records()] == ["opened", "allowed", "spent"]


def test_it_is_made_once(ledger, tmp_path):
    for lost in ("", "ledger"):
        if lost:
            (tmp_path / "federated" / lost).unlink()
        with pytest.raises(FileExistsError):
            Ledger.create(tmp_path / "federated", "BJCH", BUDGET)


def filled(folder: Path) -> Path:
    ledger = opened(folder)
    for number in (1, 2, 3):
        ledger.spend(step(number=number))
    return folder / "ledger"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("ledger") / "f")


@settings(FILES, max_examples=60)
@given(st.data())
def test_any_changed_byte_is_noticed(whole, tmp_path_factory, data):
    folder = shutil.copytree(whole.parent, tmp_path_factory.mktemp("copy") / "f")
    content = bytearray((folder / "ledger").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "ledger").write_bytes(bytes(content))
    with pytest.raises((LedgerDamaged, LedgerRolledBack)):
        Ledger(folder).account()


@settings(FILES, max_examples=60)
@given(st.data())
def test_any_cut_is_noticed(whole, tmp_path_factory, data):
    folder = shutil.copytree(whole.parent, tmp_path_factory.mktemp("copy") / "f")
    content = (folder / "ledger").read_bytes()
    (folder / "ledger").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises((LedgerDamaged, LedgerRolledBack)):
        Ledger(folder).account()
    with pytest.raises((LedgerDamaged, LedgerRolledBack)):
        Ledger(folder).spend(step(number=9))


@pytest.mark.parametrize("line", range(5))
def test_a_line_taken_out_or_moved_is_named(whole, tmp_path, line):
    folder = shutil.copytree(whole.parent, tmp_path / "f")
    lines = whole.read_bytes().splitlines(keepends=True)
    (folder / "ledger").write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    if line < 4:
        with pytest.raises(LedgerDamaged, match=f"line {line + 1} does not follow"):
            Ledger(folder).account()
    else:
        with pytest.raises(LedgerRolledBack, match="BJCH has 4 lines of the 5"):
            Ledger(folder).account()


def test_a_ledger_or_its_second_file_that_is_gone_is_noticed(whole, tmp_path):
    for name in ("ledger", "ledger.head"):
        folder = shutil.copytree(whole.parent, tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(LedgerDamaged, match=r"missing|gone"):
            Ledger(folder).account()
    (folder / "ledger.head").write_text("no number\n")
    with pytest.raises(LedgerDamaged, match=r"ledger\.head"):
        Ledger(folder).account()


def test_an_older_copy_is_noticed(tmp_path):
    ledger = opened(tmp_path / "f")
    ledger.spend(STEP)
    older = (tmp_path / "f" / "ledger").read_bytes()
    ledger.spend(step(number=2))
    (tmp_path / "f" / "ledger").write_bytes(older)
    with pytest.raises(LedgerRolledBack, match="3 lines of the 4"):
        ledger.spend(step(number=3))


def test_another_history_of_the_same_length_is_noticed(tmp_path):
    ledger = opened(tmp_path / "f")
    older = shutil.copytree(tmp_path / "f", tmp_path / "older")
    ledger.spend(step(mu=0.5))
    Ledger(older).spend(step(mu=0.01))
    shutil.copy(older / "ledger", tmp_path / "f" / "ledger")
    with pytest.raises(LedgerRolledBack):
        ledger.account()


# -- killed at any moment --------------------------------------------------------------------------


def test_half_a_line_that_was_never_acknowledged_is_dropped(tmp_path):
    ledger = opened(tmp_path / "f")
    before = (tmp_path / "f" / "ledger").read_bytes()
    ledger.spend(STEP)
    line = (tmp_path / "f" / "ledger").read_bytes()[len(before) :]
    for cut in (1, 64, len(line) - 1):
        folder = shutil.copytree(tmp_path / "f", tmp_path / f"cut{cut}")
        (folder / "ledger").write_bytes(before + line[:cut])
        (folder / "ledger.head").write_text(f"2 {before.splitlines()[-1][:64].decode()}\n")
        assert Ledger(folder).spend(STEP).noisy_steps == 1


def test_a_line_that_its_second_file_does_not_name_yet_counts(tmp_path):
    ledger = opened(tmp_path / "f")
    head = (tmp_path / "f" / "ledger.head").read_bytes()
    ledger.spend(STEP)
    (tmp_path / "f" / "ledger.head").write_bytes(head)
    with pytest.raises(RoundSpent):
        ledger.spend(STEP)
    assert (tmp_path / "f" / "ledger.head").read_text().startswith("3 ")


def test_a_process_killed_before_the_first_line_leaves_no_ledger_that_can_be_used(tmp_path):
    opened(tmp_path / "f")
    for name in ("ledger", "ledger.head"):
        (tmp_path / "f" / name).unlink()
    (tmp_path / "f" / "ledger").touch()
    with pytest.raises(LedgerDamaged, match="missing"):
        Ledger(tmp_path / "f").account()


def spend_one(folder, number, results):
    try:
        Ledger(folder).spend(step(number=number, mu=BUDGET.mu / 2))
        results.put("spent")
    except BudgetSpent:
        results.put("refused")


def test_processes_at_once_do_not_spend_more_than_there_is(tmp_path):
    opened(tmp_path / "f")
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    workers = [
        context.Process(target=spend_one, args=(tmp_path / "f", n, results)) for n in range(1, 7)
    ]
    for worker in workers:
        worker.start()
    found = sorted(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    results.close()
    assert found == ["refused"] * 2 + ["spent"] * 4


# -- other hospitals -------------------------------------------------------------------------------


def test_a_hospital_that_restored_all_of_its_home_is_noticed_by_the_others(tmp_path):
    own = opened(tmp_path / "own")
    theirs = Ledger.create(tmp_path / "theirs", "GZSM", BUDGET)
    theirs.allow(PLAN)
    backup = shutil.copytree(tmp_path / "theirs", tmp_path / "backup")
    theirs.spend(STEP)
    own.note_others({"GZSM": theirs.hashes()})
    theirs.spend(step(number=2))
    own.note_others({"GZSM": theirs.hashes()})
    shutil.rmtree(tmp_path / "theirs")
    shutil.copytree(backup, tmp_path / "theirs")
    assert theirs.account().noisy_steps == 0
    with pytest.raises(LedgerRolledBack, match="GZSM has 2 lines of the 4"):
        own.note_others({"GZSM": theirs.hashes()})
    for number in (1, 2, 3):
        theirs.spend(step(number=number, mu=0.01))
    with pytest.raises(LedgerRolledBack, match="GZSM has 5 lines of the 4"):
        own.note_others({"GZSM": theirs.hashes()})


def test_what_is_known_of_the_others_is_noted_once(ledger):
    hashes = {"GZSM": ["1" * 64], "SHFD": ["2" * 64, "3" * 64]}
    ledger.note_others(hashes)
    ledger.note_others(hashes)
    assert [r["event"] for r in ledger.records()] == ["opened", "allowed", "others"]
    with pytest.raises(LedgerRolledBack, match="SHFD has 0 lines of the 2"):
        ledger.note_others({"SHFD": []})


def test_nothing_but_codes_digests_and_numbers_is_in_it(ledger, tmp_path):
    ledger.spend(STEP)
    ledger.note_others({"GZSM": ["1" * 64]})
    allowed = {"event", "at", "hospital", "epsilon", "delta", "plan", "run", "number", "query"}
    allowed |= {"cohort", "hospitals", "mu", "ledgers"}
    assert {key for record in ledger.records() for key in record} <= allowed
