"""A site that cannot be taken in fails alone.

Nothing that Dagster stores of it quotes the landing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.flow import intake as delivery
from dagster_project.flow.intake import DeliveryError, session_keys, take_in_site
from dagster_project.intake.identity.keys import KeysError
from dagster_project.lake.home import Home

SECRET = "欧阳慕霜_ZY123456789"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in (
        "LAKEHOUSE_KEYS",
        "LAKEHOUSE_PASSPHRASE_FILE",
        "LAKEHOUSE_CATALOG",
        "LAKEHOUSE_DATA",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    made = Home(tmp_path).make()
    for site in ("AA", "BB"):
        (made.landing / site / "clinical").mkdir(parents=True)
        (made.landing / site / "clinical" / "patients.csv").write_text(
            f"patient_id,sex\n{site}001,F\n", encoding="utf-8"
        )
    return made


def run_site(home: Home, site: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    from dagster_project.definitions import defs

    instance.add_dynamic_partitions("site", [site])
    chosen = [dg.AssetKey("intake"), dg.AssetKey("patients")]
    return defs.resolve_job_def("site").execute_in_process(
        instance=instance, partition_key=site, raise_on_error=False, asset_selection=chosen
    )


def test_one_site_fails_and_the_other_finishes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = delivery.take_in

    def take_in(folder: Path, *arguments: object, **named: object):
        if folder.name == "AA":
            raise PermissionError(13, "Permission denied", str(folder / "dicom" / SECRET))
        return taken(folder, *arguments, **named)

    monkeypatch.setattr(delivery, "take_in", take_in)
    with dg.DagsterInstance.ephemeral() as instance:
        failed, done = (run_site(home, site, instance) for site in ("AA", "BB"))
        kept = "".join(
            str(record) for run in (failed, done) for record in instance.all_logs(run.run_id)
        )
    assert not failed.success
    assert done.success
    assert SECRET not in kept
    assert "site AA could not be taken in: PermissionError in" in kept


def test_a_full_disk_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite reports that it cannot write its journal, and the system that nothing is left."""
    monkeypatch.setattr("dagster_project.lake.free_space.free_bytes", lambda _: 4096)
    for error in (
        sqlite3.OperationalError("disk I/O error"),
        OSError(28, "No space left on device"),
    ):

        def take_in(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(delivery, "take_in", take_in)
        with pytest.raises(DeliveryError, match="the disk is full; make room"):
            take_in_site(home, "AA", print)


def test_a_folder_that_is_no_site_says_how_to_name_it(home: Home) -> None:
    (home.landing / "beijing chest").mkdir()
    with pytest.raises(DeliveryError, match="2 to 8 characters, capital letters first"):
        take_in_site(home, "beijing chest", print)


def test_where_the_landing_is_gone_the_vault_stays(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    take_in_site(home, "AA", print)
    (home.landing / "AA").rename(home.root / "elsewhere")
    assert take_in_site(home, "AA", print) is None
    assert "the vault is kept" in capsys.readouterr().out
    assert (home.vault / "AA" / "case_report" / "patients.parquet").is_file()


def test_the_mark_of_a_simulation_follows_the_landing(home: Home) -> None:
    (home.landing / "AA" / "SIMULATED").touch()
    take_in_site(home, "AA", print)
    assert (home.vault / "AA" / "SIMULATED").is_file()
    (home.landing / "AA" / "SIMULATED").unlink()
    take_in_site(home, "AA", print)
    assert not (home.vault / "AA" / "SIMULATED").exists()


def test_throwaway_keys_are_made_once_and_told_of(home: Home) -> None:
    said: list[str] = []
    take_in_site(home, "AA", said.append)
    assert any("trial keys" in text for text in said)
    assert session_keys(home) == session_keys(home)


def test_a_sealed_medium_without_its_passphrase_keeps_intake_locked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_KEYS", str(home.root / "medium"))
    with pytest.raises(KeysError, match="intake is locked"):
        session_keys(home)
