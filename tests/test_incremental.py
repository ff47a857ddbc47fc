"""What is done again and what is not: by content, and by every name that a row bears."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project import incremental
from dagster_project.domain.series import SeriesError
from dagster_project.lake.store import Lake, Write
from dagster_project.resources import Lakehouse
from dagster_project.workers import FeatureTask
from tests.domain.records import table
from tests.trial import SITES, Stage


def silent(_: str) -> None:
    """Say nothing."""


# -- features ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"visit": "V7"}, {"lesion": "L9"}, {"simulated": False}, {"mask_digest": "b" * 64}, {"reader": "R9"}], ids=lambda c: next(iter(c)))
def test_a_read_that_changes_in_name_or_mask_is_measured_anew(grown: Stage, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]) -> None:
    """Else a corrected visit or label would leave features behind under the old one."""
    with grown.trial.entered():
        lakehouse = grown.trial.lakehouse
        reads = lakehouse.lake.read("reads", site=SITES[0])
        before = {t.fingerprint for t in incremental._feature_tasks(lakehouse, SITES[0])}
        one = (pl.col("scan") == reads["scan"][0]) & (pl.col("lesion") == "L1")
        changed = reads.with_columns(pl.when(one).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in change.items())
        read = lakehouse.lake.read
        monkeypatch.setattr(type(lakehouse.lake), "read", lambda _, name, **how: changed if name == "reads" else read(name, **how))
        after = {t.fingerprint for t in incremental._feature_tasks(lakehouse, SITES[0])}
    assert before != after


def test_features_of_the_other_site_rest_on_nothing_here(grown: Stage) -> None:
    with grown.trial.entered():
        stored = {row[0] for row in grown.trial.rows("SELECT DISTINCT input_fingerprint FROM radiomic_features")}
        wanted = {t.fingerprint for site in SITES for t in incremental._feature_tasks(grown.trial.lakehouse, site)}
    assert stored == wanted


# -- scans ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """One lake; each test has a site of its own in it."""
    return Lakehouse(root=str(tmp_path_factory.mktemp("incremental")))


@dataclass
class Site:
    """A site of one scan that is described without being read."""

    lakehouse: Lakehouse
    name: str

    @property
    def folder(self) -> Path:
        return self.lakehouse.home.vault / self.name / "P" / "SCAN"

    @property
    def scans(self) -> pl.DataFrame:
        return self.lakehouse.lake.read("scans", site=self.name)

    @property
    def refusals(self) -> pl.DataFrame:
        return self.lakehouse.refusals().filter(site=self.name)

    def run(self) -> dict[str, int]:
        done = incremental.describe_new_scans(self.lakehouse, self.name, silent)
        self.lakehouse.lake.replace("scans", done.rows, site=self.name)
        return done.counts


NUMBERS = itertools.count()


@pytest.fixture
def site(shared: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    made = Site(shared, f"SITE{next(NUMBERS)}")
    made.folder.mkdir(parents=True)
    (made.folder / "0001.dcm").write_bytes(b"slice")
    return made


class Describer:
    """Stands in for reading a series; counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.asked = 0
        monkeypatch.setattr("dagster_project.domain.series.read_series", lambda _: self)
        monkeypatch.setattr("dagster_project.domain.series.describe_series", self)
        self.error = error

    def __call__(self, *_: object) -> dict[str, object]:
        self.asked += 1
        if self.error:
            raise self.error
        left_out = {"site", "patient", "scan", "simulated", "input_fingerprint"}
        return {k: v for k, v in table("scans", {}).row(0, named=True).items() if k not in left_out}


def test_a_scan_is_described_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    describer = Describer(monkeypatch)
    assert site.run() == {"computed": 1, "reused": 0, "removed": 0, "refused": 0}
    assert site.run() == {"computed": 0, "reused": 1, "removed": 0, "refused": 0}
    assert describer.asked == 1


def test_a_series_that_cannot_be_stacked_is_tried_once_and_told_every_night(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    describer = Describer(monkeypatch, SeriesError("slices of two sizes; send one series a folder"))
    for _ in range(2):
        assert site.run() == {"computed": 0, "reused": 0, "removed": 0, "refused": 1}
        assert site.refusals.select("stage", "item").rows() == [("scans", "scan SCAN")]
        assert "two sizes" in site.refusals["reason"][0]
    assert describer.asked == 1


def test_another_slice_has_it_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch, SeriesError("no"))
    site.run()
    (site.folder / "0002.dcm").write_bytes(b"slice")
    mended = Describer(monkeypatch)
    assert site.run() == {"computed": 1, "reused": 0, "removed": 0, "refused": 0}
    assert mended.asked == 1
    assert site.refusals.height == 0


def test_a_fault_of_the_machine_is_tried_again_and_quotes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch, OSError("no space for Zhang San"))
    assert site.run()["refused"] == 1
    assert "Zhang" not in site.refusals["reason"][0]
    again = Describer(monkeypatch)
    assert site.run()["computed"] == 1
    assert again.asked == 1


def test_a_landing_marked_as_simulated_later_marks_rows_that_are_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch)
    site.run()
    assert site.scans["simulated"].to_list() == [False]
    (site.lakehouse.home.vault / site.name / "SIMULATED").touch()
    site.run()
    assert site.scans["simulated"].to_list() == [True]


def test_a_scan_that_is_gone_is_removed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch)
    site.run()
    (site.folder / "0001.dcm").unlink()
    assert site.run() == {"computed": 0, "reused": 0, "removed": 1, "refused": 0}
    assert site.scans.height == 0


# -- commits of features ------------------------------------------------------------------------------------------------------


def feature_task(site: str, lesion: str, fingerprint: str) -> FeatureTask:
    key = {"site": site, "patient": "P", "visit": "T0", "scan": "SCAN", "lesion": lesion, "simulated": True, "settings_digest": "d", "engine": "e"}
    return FeatureTask({**key, "input_fingerprint": fingerprint}, Path(), {}, (), {}, fingerprint, 1.0)


def features(task: FeatureTask) -> pl.DataFrame:
    return table("radiomic_features", {**task.key, "reader": "R1", "region": "tumor", "feature": "f", "value": 1.0, "reason": None})


def test_no_commit_leaves_a_lesion_twice_or_loses_one_that_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1 and L2 were outlined anew, L3 stays, L4 is gone, L5 cannot be measured: looked at after every single commit, as a killed run would leave it."""
    lake, before = site.lakehouse.lake, {"L1": "old1", "L2": "old2", "L3": "same", "L4": "old4"}
    lake.exchange("radiomic_features", site=site.name, removed=[], added=pl.concat([features(feature_task(site.name, *item)) for item in before.items()]))
    wanted = [feature_task(site.name, *item) for item in {"L1": "new1", "L2": "new2", "L3": "same", "L5": "new5"}.items()]

    def extract(task: FeatureTask) -> pl.DataFrame:
        if task.key["lesion"] == "L5":
            raise MemoryError
        return features(task)

    seen: list[list[str]] = []
    exchange = type(lake).exchange

    def watched(self: Lake, name: str, **how: Any) -> Write:
        written = exchange(self, name, **how)
        seen.append(self.read(name, site=site.name)["lesion"].to_list())
        return written

    monkeypatch.setattr(incremental, "_feature_tasks", lambda *_: wanted)
    monkeypatch.setattr(incremental, "extract_features", extract)
    monkeypatch.setattr(incremental, "COMMIT_TASKS", 1)
    monkeypatch.setattr(Lake, "exchange", watched)
    counts = incremental.extract_new_features(site.lakehouse, site.name, silent).counts
    assert counts == {"computed": 2, "reused": 1, "removed": 3, "refused": 1}
    assert len(seen) >= 3
    assert all(len(lesions) == len(set(lesions)) and {"L1", "L2", "L3"} <= set(lesions) for lesions in seen)
    assert dict(lake.read("radiomic_features", site=site.name).select("lesion", "input_fingerprint").iter_rows()) == {"L1": "new1", "L2": "new2", "L3": "same"}
    assert site.refusals["item"].to_list() == ["scan SCAN lesion L5"]
