"""Which lesions are measured again, and what each commit leaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.compute import run_tasks
from dagster_project.flow import radiomic_features as flow
from dagster_project.flow.radiomic_features import FeatureTask
from dagster_project.flow.result_cache import scan_image
from dagster_project.lake.store import Lake, Write
from tests.domain.records import table
from tests.flow.site import Site, silent
from tests.trial import SITES, Stage


@pytest.mark.parametrize(
    "change",
    [
        {"visit": "V7"},
        {"lesion": "L9"},
        {"simulated": False},
        {"mask_digest": "b" * 64},
        {"reader": "R9"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_read_that_changes_in_name_or_mask_is_measured_anew(
    grown: Stage, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """Else a corrected visit or label would leave features behind under the old one."""
    with grown.trial.entered():
        lakehouse = grown.trial.lakehouse
        reads = lakehouse.lake.read("reads", site=SITES[0])
        before = {t.fingerprint for t in flow._feature_tasks(lakehouse, SITES[0])}
        one = (pl.col("scan") == reads["scan"][0]) & (pl.col("lesion") == "L1")
        changed = reads.with_columns(
            pl.when(one).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
            for name, value in change.items()
        )
        read = lakehouse.lake.read
        monkeypatch.setattr(
            type(lakehouse.lake),
            "read",
            lambda _, name, **how: changed if name == "reads" else read(name, **how),
        )
        after = {t.fingerprint for t in flow._feature_tasks(lakehouse, SITES[0])}
    assert before != after


def test_features_of_the_other_site_rest_on_nothing_here(grown: Stage) -> None:
    with grown.trial.entered():
        stored = {
            row[0]
            for row in grown.trial.rows("SELECT DISTINCT input_fingerprint FROM radiomic_features")
        }
        wanted = {
            t.fingerprint
            for site in SITES
            for t in flow._feature_tasks(grown.trial.lakehouse, site)
        }
    assert stored == wanted


def test_a_scan_is_read_once_for_all_its_lesions(grown: Stage) -> None:
    with grown.trial.entered(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_WORKERS", "0")
        every = flow._feature_tasks(grown.trial.lakehouse, SITES[0])
        stored = grown.trial.lakehouse.lake.read("radiomic_features", site=SITES[0])
        crowded = [
            scan for scan, n in Counter(t.key["scan"] for t in every).most_common(3) if n > 1
        ]
        tasks = [t for t in every if t.key["scan"] in crowded]
        scan_image.cache_clear()
        found = [
            o.result
            for o in run_tasks(
                flow.extract_features,
                tasks,
                weight=lambda t: t.volume_mm3,
                together=lambda t: t.key["scan"],
            )
            if o.result is not None
        ]
    assert len(found) == len(tasks) > scan_image.cache_info().misses == len(crowded)
    key = ["scan", "lesion", "reader", "region", "feature"]
    measured = pl.concat(found).sort(key)
    assert measured.equals(
        stored.filter(pl.col("input_fingerprint").is_in([t.fingerprint for t in tasks])).sort(key)
    ), "as the workers measured it"


def feature_task(site: str, lesion: str, fingerprint: str) -> FeatureTask:
    key = {
        "site": site,
        "patient": "P",
        "visit": "T0",
        "scan": "SCAN",
        "lesion": lesion,
        "simulated": True,
        "settings_digest": "d",
        "engine": "e",
    }
    return FeatureTask(
        {**key, "input_fingerprint": fingerprint}, Path(), {}, (), {}, fingerprint, 1.0, "p"
    )


def features(task: FeatureTask) -> pl.DataFrame:
    return table(
        "radiomic_features",
        {
            **task.key,
            "reader": "R1",
            "region": "tumor",
            "feature": "f",
            "value": 1.0,
            "reason": None,
        },
    )


def test_no_commit_leaves_a_lesion_twice_or_loses_one_that_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1 and L2 were outlined anew, L3 stays, L4 is gone, L5 cannot be measured.

    The table is looked at after every single commit, as a killed run would leave it.
    """
    lake, before = site.lakehouse.lake, {"L1": "old1", "L2": "old2", "L3": "same", "L4": "old4"}
    lake.replace_by_fingerprint(
        "radiomic_features",
        site=site.name,
        removed=[],
        added=pl.concat([features(feature_task(site.name, *item)) for item in before.items()]),
    )
    wanted = [
        feature_task(site.name, *item)
        for item in {"L1": "new1", "L2": "new2", "L3": "same", "L5": "new5"}.items()
    ]

    def extract(task: FeatureTask) -> pl.DataFrame:
        if task.key["lesion"] == "L5":
            raise MemoryError
        return features(task)

    seen: list[list[str]] = []
    exchange = type(lake).replace_by_fingerprint

    def watched(self: Lake, name: str, **how: Any) -> Write:
        written = exchange(self, name, **how)
        seen.append(self.read(name, site=site.name)["lesion"].to_list())
        return written

    monkeypatch.setattr(flow, "_feature_tasks", lambda *_: wanted)
    monkeypatch.setattr(flow, "extract_features", extract)
    monkeypatch.setattr(flow, "COMMIT_TASKS", 1)
    monkeypatch.setattr(Lake, "replace_by_fingerprint", watched)
    counts = flow.extract_new_features(site.lakehouse, site.name, silent).counts
    assert counts == {"computed": 2, "reused": 1, "removed": 3, "refused": 1}
    assert len(seen) >= 3
    assert all(
        len(lesions) == len(set(lesions)) and {"L1", "L2", "L3"} <= set(lesions) for lesions in seen
    )
    assert dict(
        lake.read("radiomic_features", site=site.name)
        .select("lesion", "input_fingerprint")
        .iter_rows()
    ) == {"L1": "new1", "L2": "new2", "L3": "same"}
    assert site.refusals["item"].to_list() == ["scan SCAN lesion L5"]
