"""The PI's commands, and what a locked home does not reveal.

The commands make a key drive, unlock, lock, rotate, join numbers and re-identify.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from dagster_project.flow.intake import session_keys, take_in_site
from dagster_project.intake.identity.agent import start_agent
from dagster_project.intake.identity.keys import KeysError, create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import (
    Crosswalk,
    blind_index,
    canonical_number,
    medium_of,
)
from dagster_project.lake.home import Home
from tests.intake.builders import write_series

PASSPHRASE, SECOND = "correct horse battery", "staple battery horse"
NUMBER, NAME = "ZY0012345", "慕容霜雁"


@dataclass
class Study:
    """A home, its key drive, and the command line in it."""

    home: Home
    medium: Path
    said: list[str] = field(default_factory=list)

    def call(self, *arguments: str, typed: str = "") -> Result:
        result = CliRunner().invoke(
            cli.main, ["--home", str(self.home.root), *arguments], input=typed
        )
        self.said.append(result.output)
        return result

    def good(self, *arguments: str, typed: str = "") -> str:
        result = self.call(*arguments, typed=typed)
        assert result.exit_code == 0, result.output
        return result.output

    def crosswalk(self) -> Crosswalk:
        return Crosswalk(self.home.crosswalk, session_keys(self.home))


SETTINGS = (
    "LAKEHOUSE_KEYS",
    "LAKEHOUSE_PASSPHRASE_FILE",
    "LAKEHOUSE_AGENT",
    "LAKEHOUSE_CATALOG",
    "LAKEHOUSE_DATA",
    "LAKEHOUSE_HOME",
    "DAGSTER_HOME",
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with its key drive, and the keys.

    The command makes the key drive once, since a passphrase is slow to open on purpose.
    """
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.setenv(name, "")
            patch.delenv(name)
        study = Study(Home(folder / "home"), folder / "medium")
        study.good(
            "keys", "create", "--out", str(study.medium), typed=f"{PASSPHRASE}\n{PASSPHRASE}\n"
        )
    write_series(study.home.landing / "AB" / "dicom", 2)
    (study.home.landing / "AB" / "clinical").mkdir()
    (study.home.landing / "AB" / "clinical" / "patients.csv").write_text(
        f"patient_id,sex,name\n{NUMBER},F,{NAME}\n", encoding="utf-8"
    )
    return study, unlock(study.medium, PASSPHRASE)


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what a command sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    copy = Study(Home(tmp_path / "home"), made[0].medium)
    shutil.copytree(made[0].home.root, copy.home.root)
    yield copy
    copy.call("keys", "lock")


@pytest.fixture
def unlocked(study, made):
    start_agent(study.home.agent, made[1], hours=0.1)
    return study


@pytest.fixture
def filled(unlocked):
    take_in_site(unlocked.home, "AB", unlocked.said.append)
    return unlocked


# -- locked and unlocked ---------------------------------------------------------------------------


def test_a_new_home_is_locked_until_its_medium_unlocks_it(study):
    with pytest.raises(KeysError, match="lakehouse keys unlock KEY_DRIVE"):
        session_keys(study.home)
    study.good("keys", "unlock", str(study.medium), typed=PASSPHRASE + "\n")
    assert session_keys(study.home) == unlock(study.medium, PASSPHRASE)
    study.good("keys", "lock")
    with pytest.raises(KeysError, match="locked"):
        session_keys(study.home)
    assert not study.home.throwaway_medium.exists()


def test_a_wrong_passphrase_and_no_medium_are_told_and_leave_intake_locked(study):
    assert (
        "does not open this key drive"
        in study.call("keys", "unlock", str(study.medium), typed="wrong wrong wrong\n").output
    )
    assert (
        "no key drive here"
        in study.call("keys", "unlock", str(study.medium / "none"), typed=PASSPHRASE + "\n").output
    )
    assert not study.home.agent.exists()


def test_a_short_passphrase_and_a_second_medium_are_refused(study):
    again = study.call(
        "keys",
        "create",
        "--out",
        str(study.medium / "second"),
        typed=f"{PASSPHRASE}\n{PASSPHRASE}\n",
    )
    assert "already has a key drive" in again.output
    other = CliRunner().invoke(
        cli.main,
        ["--home", str(study.home.root / "x"), "keys", "create", "--out", str(study.medium / "x")],
        input="short\nshort\n",
    )
    assert "fewer than 12 characters" in other.output


def test_a_home_takes_no_other_medium(filled, tmp_path):
    filled.good("keys", "lock")
    other = create_throwaway_medium(tmp_path / "other")
    assert "another key drive" in filled.call("keys", "unlock", str(other)).output


def test_the_agent_serves_intake_and_a_locked_home_refuses_but_keeps_what_it_has(filled):
    held = sorted((filled.home.vault / "AB").rglob("*.dcm"))
    assert len(held) == 2
    filled.good("keys", "lock")
    with pytest.raises(Exception, match="lakehouse keys unlock"):
        take_in_site(filled.home, "AB", filled.said.append)
    assert sorted((filled.home.vault / "AB").rglob("*.dcm")) == held


def test_a_locked_home_holds_no_name_no_number_and_no_key(filled):
    keys = session_keys(filled.home)
    filled.good("keys", "lock")
    secret = [
        NUMBER,
        canonical_number(NUMBER),
        NAME,
        "Murong",
        "Shuangyan",
        "19490511",
        "1949-05-11",
        PASSPHRASE,
    ]
    needles = {s.encode(e) for s in secret for e in ("utf-8", "gb18030")} | {
        s.lower().encode() for s in secret
    }
    needles |= {
        form for key in (keys.index, keys.uid, keys.date) for form in (key, key.hex().encode())
    }
    needles |= {
        (filled.medium / "root.age").read_bytes(),
        (filled.medium / "identity.age").read_bytes(),
    }
    files = [
        f
        for f in filled.home.root.rglob("*")
        if f.is_file() and f.relative_to(filled.home.root).parts[0] != "landing"
    ]
    assert len(files) > 8
    assert [
        f for f in files for n in needles if n in f.read_bytes() or n.decode("latin-1") in f.name
    ] == []
    assert not any(s in text for s in (NUMBER, NAME, PASSPHRASE) for text in filled.said)


def test_a_number_cannot_be_tried_against_the_index_of_a_locked_home(filled):
    """Whoever has the whole home but not the keys tries the very number.

    It is tried with everything in the home that could be a key.
    """
    known = session_keys(filled.home)
    filled.good("keys", "lock")
    with sqlite3.connect(filled.home.crosswalk / "crosswalk.sqlite") as connection:
        blinds = {row[0] for row in connection.execute("SELECT blind FROM number")}
        cells = {
            str(cell).encode()
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for row in connection.execute(f"SELECT * FROM {table}")
            for cell in row
            if not isinstance(cell, bytes)
        }
    guesses = {
        b"",
        b"\0" * 32,
        (filled.medium / "recipient.txt").read_bytes(),
        medium_of(filled.home.crosswalk).encode(),
        *cells,
    }
    assert blinds.isdisjoint({blind_index(guess, "AB", "", NUMBER) for guess in guesses})
    assert (
        blind_index(known.index, "AB", "", NUMBER) in blinds
    )  # with the key the same trial finds it


# -- who is who ------------------------------------------------------------------------------------


def test_reidentify_works_without_lake_and_agent_and_writes_its_audit(filled, tmp_path):
    patient = filled.crosswalk().find("AB", NUMBER)
    filled.good("keys", "lock")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "crosswalk.sqlite").write_bytes(
        (filled.home.crosswalk / "crosswalk.sqlite").read_bytes()
    )
    told = filled.good(
        "reidentify",
        patient,
        "--key-drive",
        str(filled.medium),
        "--purpose",
        "incidental finding",
        "--crosswalk",
        str(moved),
        typed=PASSPHRASE + "\n",
    )
    assert NUMBER in told
    assert NAME in told
    line = json.loads((moved / "audit.jsonl").read_text(encoding="utf-8"))
    assert (line["action"], line["pseudonym"], line["purpose"]) == (
        "reidentify",
        patient,
        "incidental finding",
    )
    wrong = filled.call(
        "reidentify",
        patient,
        "--key-drive",
        str(filled.medium),
        "--purpose",
        "x",
        typed="wrong wrong wrong\n",
    )
    assert wrong.exit_code == 1
    assert NAME not in wrong.output


def test_an_alias_leads_to_the_same_patient_and_is_not_shown(filled):
    patient = filled.crosswalk().find("AB", NUMBER)
    told = filled.good("keys", "alias", patient, "--site", "AB", typed="MZ778899\n")
    assert "MZ778899" not in told
    assert filled.crosswalk().find("AB", "ＭＺ 778899") == patient


def test_two_pseudonyms_of_one_person_are_joined_and_the_files_read_anew(filled):
    write_series(
        filled.home.landing / "AB" / "dicom" / "more",
        2,
        patient="MZ778899",
        series="1.2.826.0.1.3680043.9.9999.77",
    )
    take_in_site(filled.home, "AB", filled.said.append)
    first, second = (filled.crosswalk().find("AB", n) for n in (NUMBER, "MZ778899"))
    assert (
        "lakehouse keys merge"
        in filled.call("keys", "alias", first, "--site", "AB", typed="MZ778899\n").output
    )
    filled.good("keys", "merge", second, first, "--purpose", "one person")
    take_in_site(filled.home, "AB", filled.said.append)
    assert {
        f.relative_to(filled.home.vault).parts[1] for f in filled.home.vault.rglob("*.dcm")
    } == {first}
    assert len(list(filled.home.vault.rglob("*.dcm"))) == 4
    assert filled.crosswalk().find("AB", "MZ778899") == first


# -- rotation --------------------------------------------------------------------------------------


def test_rotation_moves_everything_to_the_new_medium_and_keeps_pseudonyms_uids_and_dates(
    filled, tmp_path
):
    before, patient = session_keys(filled.home), filled.crosswalk().find("AB", NUMBER)
    new = tmp_path / "new"
    assert (
        "lakehouse keys lock"
        in filled.call(
            "keys",
            "rotate",
            str(filled.medium),
            "--out",
            str(new),
            typed=f"{PASSPHRASE}\n{SECOND}\n{SECOND}\n",
        ).output
    )
    filled.good("keys", "lock")
    filled.good(
        "keys",
        "rotate",
        str(filled.medium),
        "--out",
        str(new),
        typed=f"{PASSPHRASE}\n{SECOND}\n{SECOND}\n",
    )
    assert (
        "another key drive"
        in filled.call("keys", "unlock", str(filled.medium), typed=PASSPHRASE + "\n").output
    )
    filled.good("keys", "unlock", str(new), typed=SECOND + "\n")
    after = session_keys(filled.home)
    assert (after.uid, after.date, after.version) == (before.uid, before.date, 2)
    assert filled.crosswalk().find("AB", NUMBER) == patient
    with sqlite3.connect(filled.home.crosswalk / "crosswalk.sqlite") as connection:
        blinds = {row[0] for row in connection.execute("SELECT blind FROM number")}
    assert blind_index(before.index, "AB", "", NUMBER) not in blinds
    write_series(filled.home.landing / "AB" / "dicom", 3)
    report = take_in_site(filled.home, "AB", filled.said.append)
    assert (report.accepted, report.patients) == (1, 1)
    filled.good("keys", "lock")
    assert NAME in filled.good(
        "reidentify", patient, "--key-drive", str(new), "--purpose", "check", typed=SECOND + "\n"
    )
    old = filled.call(
        "reidentify",
        patient,
        "--key-drive",
        str(filled.medium),
        "--purpose",
        "check",
        typed=PASSPHRASE + "\n",
    )
    assert old.exit_code == 1
    assert NAME not in old.output


# -- manifest --------------------------------------------------------------------------------------


def test_the_manifest_is_verified_and_the_line_that_breaks_is_named(filled):
    told = filled.good("manifest", "verify")
    assert "2 accepted" in told
    head = told.rpartition("head ")[2].strip()
    file = filled.home.vault / "AB" / "manifest.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for changed, line, reason in (
        ([lines[0], *lines[2:]], 2, "was taken out"),
        ([lines[0].replace("accepted", "refused"), *lines[1:]], 1, "does not follow"),
        ([*lines[:2], "nonsense\n", *lines[2:]], 3, "is not a record"),
    ):
        file.write_text("".join(changed), encoding="utf-8")
        broken = filled.call("manifest", "verify")
        assert broken.exit_code == 1
        assert f"line {line} " in broken.output
        assert reason in broken.output
    file.write_text("".join(lines[:-1]), encoding="utf-8")
    assert (
        filled.call("manifest", "verify").exit_code == 0
    )  # a chain that was cut at its end is whole in itself
    assert "missing at its end" in filled.call("manifest", "verify", "--head", head).output
