"""What Dagster takes for stale is what has other rows to be made from, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from dagster_project.definitions import defs
from dagster_project.lake.home import Home
from dagster_project.lake.store import read_lake

SITES = ("AA", "BB", "CC")
OF_A_SITE = ("intake", "patients", "treatments")


class Nights:
    """Runs over three sites with a case report each, in one home."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance
        instance.add_dynamic_partitions("site", list(SITES))

    def deliver(self, site: str, *numbers: str) -> None:
        """Replace the site's patients."""
        folder = self.home.landing / site / "clinical"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{site}00{number},F" for number in numbers]
        (folder / "patients.csv").write_text(
            "\n".join(["patient_id,sex", *rows]) + "\n", encoding="utf-8"
        )

    def run_site(self, site: str) -> None:
        """Take in the site and write its tables."""
        self._run("site", OF_A_SITE, site)

    def run_cohort(self) -> None:
        """Derive the table of the cohort that depends on patients alone."""
        self._run("cohort", ("disclosure",), None)

    def run_all(self) -> None:
        """All sites, then the cohort."""
        for site in SITES:
            self.run_site(site)
        self.run_cohort()

    def _run(self, job: str, assets: tuple[str, ...], site: str | None) -> None:
        made = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=site,
            asset_selection=[dg.AssetKey(name) for name in assets],
        )
        assert made.success

    def versions(self) -> dict[str, str]:
        """The newest data version of each asset and site."""
        names = [(name, site) for name in OF_A_SITE for site in SITES]
        resolver = self._resolver()
        found = {
            f"{site} {name}": resolver.get_current_data_version(dg.AssetKey(name), site).value
            for name, site in names
        }
        return {
            **found,
            "disclosure": resolver.get_current_data_version(dg.AssetKey("disclosure")).value,
        }

    def stale(self) -> dict[str, set[str]]:
        """What Dagster takes for stale, each with the sites and assets that are the cause."""
        resolver = self._resolver()
        names = [("disclosure", None), *((n, s) for n in OF_A_SITE for s in SITES)]
        causes = {
            f"{site or ''} {name}".strip(): {
                f"{c.dependency.partition_key or ''} {c.dependency.asset_key.to_user_string()}"
                for c in resolver.get_stale_causes(dg.AssetKey(name), site)
                if c.dependency
            }
            for name, site in names
        }
        return {name: found for name, found in causes.items() if found}

    def _resolver(self) -> CachingStaleStatusResolver:
        return CachingStaleStatusResolver(
            self.instance, defs.resolve_asset_graph(), LoadingContextForTest(self.instance)
        )


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    yield from after_the_first_night(tmp_path, monkeypatch)


def after_the_first_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    """A home of three sites, all of which have run once, and the cohort after them."""
    for name in (
        "LAKEHOUSE_KEYS",
        "LAKEHOUSE_PASSPHRASE_FILE",
        "LAKEHOUSE_CATALOG",
        "LAKEHOUSE_DATA",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    with dg.DagsterInstance.ephemeral() as instance:
        made = Nights(Home(tmp_path).make(), instance)
        for site in SITES:
            made.deliver(site, "1", "2")
        made.run_all()
        yield made


def test_quiet_nights_leave_every_version_and_make_nothing_stale(nights: Nights) -> None:
    before = nights.versions()
    assert len(set(before.values())) >= 1 + 2 * len(SITES)
    assert nights.stale() == {}
    nights.run_all()
    assert nights.versions() == before
    assert nights.stale() == {}


def test_a_changed_site_makes_stale_what_depends_on_it_and_no_other_site(nights: Nights) -> None:
    before = nights.versions()
    nights.deliver("BB", "1", "2", "3")
    for site in SITES:
        nights.run_site(site)
    changed = {name for name, version in nights.versions().items() if version != before[name]}
    assert changed == {"BB intake", "BB patients"}
    assert nights.stale() == {"disclosure": {"BB patients"}}
    nights.run_cohort()
    assert nights.stale() == {}
    with read_lake(nights.home) as lake:
        assert lake.count("patients", site="BB") == 3


def test_the_same_rows_delivered_anew_make_no_table_stale(nights: Nights) -> None:
    """The delivery has another version, and what it gives has not."""
    before = nights.versions()
    os.utime(nights.home.landing / "AA" / "clinical" / "patients.csv", (1, 1))
    nights.run_site("AA")
    after = nights.versions()
    assert {name for name in after if after[name] != before[name]} == {"AA intake"}
    assert nights.stale() == {}


def test_a_table_made_before_its_source_changed_is_stale(nights: Nights) -> None:
    nights.deliver("CC", "1")
    nights._run("site", ("intake", "patients"), "CC")
    assert nights.stale() == {"disclosure": {"CC patients"}, "CC treatments": {"CC patients"}}


def shown(nights: Nights, name: str, site: str | None) -> dict[str, object]:
    """Metadata of an asset's newest materialisation."""
    asked = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(name), asset_partitions=[site] if site else None
    )
    (record,) = nights.instance.fetch_materializations(asked, limit=1).records
    assert record.asset_materialization
    found = record.asset_materialization.metadata
    return {"run": record.run_id, **{key: value.value for key, value in found.items()}}


def test_a_preview_that_did_not_change_is_a_link_to_the_run_that_shows_it(nights: Nights) -> None:
    first = shown(nights, "patients", "BB")
    assert "preview" in first
    for _ in range(2):
        nights.run_all()
        again = shown(nights, "patients", "BB")
        assert "preview" not in again
        assert again["shown_in"] == first["run"] != again["run"]
    nights.deliver("BB", "1")
    nights.run_all()
    changed = shown(nights, "patients", "BB")
    assert "preview" in changed
    assert "shown_in" not in changed


def test_a_preview_whose_run_was_deleted_is_shown_again(nights: Nights) -> None:
    nights.run_site("BB")
    first = shown(nights, "patients", "BB")["shown_in"]
    nights.instance.delete_run(str(first))
    nights.run_site("BB")
    again = shown(nights, "patients", "BB")
    assert "preview" in again
    assert "shown_in" not in again
