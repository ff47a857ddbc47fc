"""What the comparison of a lesion between two visits leaves in the vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_project.domain.imaging.masks import mask_digest, save_mask
from dagster_project.flow.dhi import PairTask, compare_visits
from dagster_project.flow.result_cache import mask_file, read_cached, scan_image
from dagster_project.study import load_study
from tests.radiomics.conftest import read_ct, read_seg


@pytest.mark.real_data
def test_pairs_of_the_same_scans_read_each_scan_once(tmp_path: Path, shared_data: Path) -> None:
    """Two readers' outlines of one nodule as two visits, forth and back.

    Nothing but the outline differs.
    """
    folder = shared_data / "two_readers" / "ct"
    image = read_ct(folder)
    masks = [read_seg(shared_data / "two_readers" / f"reader_{k}.seg.dcm", image) for k in (1, 2)]
    files = [mask_file(tmp_path, mask_digest(mask)) for mask in masks]
    for file, mask in zip(files, masks, strict=True):
        save_mask(file, mask)
    settings, pairs = dict(load_study().section("dhi")), []
    scan_image.cache_clear()
    for start, end in ((0, 1), (1, 0)):
        key = {"patient": "P", "lesion": f"L{start}"}
        task = PairTask(
            key,
            folder,
            "digest",
            files[start],
            folder,
            "digest",
            files[end],
            settings,
            1.0,
            tmp_path / f"{start}.json",
        )
        found = compare_visits(task)
        assert read_cached(task.kept) == key | found
        pairs.append(found)
    assert scan_image.cache_info().misses == 1
    forth, back = pairs
    assert forth["reason"] is back["reason"] is None
    assert (forth["volume_a_mm3"], forth["volume_b_mm3"]) == (
        back["volume_b_mm3"],
        back["volume_a_mm3"],
    )
    assert forth["delta_log_volume"] == pytest.approx(-back["delta_log_volume"])
