"""Power cuts in the middle of an intake lose nothing that counts as taken in.

If a sync is taken out of the code, the tests notice.
"""

import random

import pytest

from benchmarks.power_loss import KINDS, fault_after, recorded, tried, without
from dagster_project.intake.vault.file_index import LOST_KEY, Register
from dagster_project.intake.vault.vault import LOST
from tests.intake.builders import ct
from tests.intake.vault.test_vault import Site, in_this_process, write_series


@pytest.mark.parametrize("what", KINDS)
def test_after_a_power_cut_at_a_random_moment_the_next_run_has_everything(tmp_path, what):
    site, recorder = recorded(tmp_path / "recorded", what)
    chance = random.Random(what)
    for n in range(7):
        moment = recorder.moments[-1] if n == 0 else chance.choice(recorder.moments)
        assert fault_after(site, moment, site, what, chance, tmp_path / str(n)) == ""


@pytest.mark.parametrize(("guard", "what"), [("sync_file", "network"), ("sync_folder", "network")])
def test_a_sync_that_is_taken_out_is_missed(guard, what):
    count = tried(12, 3, guard, [what])[what]
    assert count.keys() - {"right", "moments recorded"}, "something is lost"


def test_a_disk_that_takes_the_last_commit_back_loses_no_object_either(tmp_path):
    site, recorder = recorded(tmp_path / "recorded", "network")
    chance = random.Random(5)
    for n in range(5):
        moment = chance.choice(recorder.moments)
        assert (
            fault_after(
                site, moment, site, "network", chance, tmp_path / str(n), commits_last=False
            )
            == ""
        )


def test_register_and_crosswalk_wait_for_their_commits(site, monkeypatch):
    from dagster_project.intake.identity import pseudonyms
    from dagster_project.intake.vault import file_index

    waiting = []
    for owner in (file_index, pseudonyms):
        told = owner.sync_commits

        def noted(connection, told=told):
            told(connection)
            waiting.append(connection.execute("PRAGMA synchronous").fetchone()[0])

        monkeypatch.setattr(owner, "sync_commits", noted)
    site.take()
    assert set(waiting) == {3}, "EXTRA"


@pytest.fixture
def site(tmp_path, monkeypatch):
    from dagster_project.intake.vault import vault

    monkeypatch.setattr(vault, "take_files", in_this_process)
    made = Site(tmp_path)
    write_series(made.landing / "dicom")
    return made


def cut_short(site):
    """As a run leaves it that did not come to its end."""
    register = Register(site.vault / "intake.sqlite")
    register.remember("under_way", "another")
    register.close()


def damage(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("lose", [damage, lambda path: path.unlink()], ids=["emptied", "gone"])
def test_what_the_disk_lost_is_taken_in_again_after_a_run_that_did_not_end(site, lose):
    site.take()
    before = {(site.vault / f).read_bytes() for f in site.files()}
    lose(site.vault / site.files()[1])
    cut_short(site)
    report = site.take()
    assert (report.accepted, report.refused) == (1, 0)
    assert {(site.vault / f).read_bytes() for f in site.files()} == before
    assert '"event": "lost"' in (site.vault / "manifest.jsonl").read_text()


def test_what_lies_in_the_landing_no_more_is_named_until_it_comes_again(site):
    site.take()
    (site.vault / site.files()[1]).unlink()
    (site.landing / "dicom" / "Murong_1.dcm").unlink()
    cut_short(site)
    site.take()
    ((item, reason),) = site.refused().items()
    assert reason == LOST
    assert item.startswith(f"patient {site.patient()} scan S")
    site.take()
    assert len(site.refused()) == 1, "also in the runs that follow"
    site.put("dicom/again", ct(1))
    report = site.take()
    assert (report.accepted, report.refused, site.refused()) == (1, 0, {})
    assert LOST_KEY.startswith("pacs")


def test_a_run_that_ended_is_not_looked_at_again(site, monkeypatch):
    site.take()
    monkeypatch.setattr(Register, "placed", lambda _: pytest.fail("the vault was compared"))
    site.take()


def test_the_guards_of_the_benchmark_are_put_back():
    from dagster_project.intake.vault import vault

    before = vault.sync_file
    with without("sync_file"):
        assert vault.sync_file is not before
    assert vault.sync_file is before
