"""What the mapping of a lesion leaves in the vault, and a codebook that stays as it was fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_project.domain.imaging.masks import load_mask, mask_digest, save_mask
from dagster_project.flow.habitat_histograms import (
    HistogramTask,
    load_histograms,
    write_new_histograms,
)
from dagster_project.flow.habitats import (
    LesionTask,
    frozen_codebook,
    habitat_settings,
    keep_local_features,
    load_local_features,
    load_map,
    map_file,
    map_lesion,
    word_grid,
)
from dagster_project.flow.result_cache import mask_file, scan_image
from dagster_project.radiomics.habitat_codebook import assign_habitats, localise
from dagster_project.radiomics.habitat_histograms import count_bins
from dagster_project.study import load_study
from tests.radiomics.conftest import read_ct, read_seg

SETTINGS: dict[str, Any] = habitat_settings(load_study()) | {"lesions_minimum": 2}


@pytest.fixture
def tasks(tmp_path: Path, shared_data: Path) -> list[LesionTask]:
    """Two readers' outlines of one real nodule as two lesions."""
    folder, found = shared_data / "two_readers" / "ct", []
    image = read_ct(folder)
    for k in (1, 2):
        mask = read_seg(shared_data / "two_readers" / f"reader_{k}.seg.dcm", image)
        file = mask_file(tmp_path, mask_digest(mask))
        save_mask(file, mask)
        key = {
            "site": "S",
            "patient": "P",
            "visit": "T0",
            "scan": "SCAN",
            "lesion": f"L{k}",
            "simulated": False,
        }
        found.append(
            LesionTask(key, folder, "digest", file, SETTINGS, tmp_path / f"local-{k}.npz", 1.0)
        )
    return found


@pytest.mark.real_data
def test_what_is_kept_is_what_was_computed(tasks: list[LesionTask], tmp_path: Path) -> None:
    for task in tasks:
        assert task.mask is not None
        count = keep_local_features(task)
        local, fresh = (
            load_local_features(task.local),
            localise(scan_image(task.folder, "digest"), load_mask(task.mask), SETTINGS),
        )
        assert local is not None
        assert fresh is not None
        assert count == local.count > 100
        for name in ("mask", "values", "features"):
            np.testing.assert_array_equal(getattr(local, name), getattr(fresh, name))
    codebook, waiting = frozen_codebook(tmp_path / "codebooks", tasks, SETTINGS)
    assert codebook is not None
    assert not waiting
    mapped = replace(tasks[0], folder=tmp_path, codebook=codebook, fingerprint="f" * 16)
    measures, local = map_lesion(mapped), load_local_features(tasks[0].local)
    assert measures is not None
    assert local is not None
    np.testing.assert_array_equal(
        load_map(map_file(tmp_path, mapped.fingerprint)), assign_habitats(local, codebook)
    )
    assert measures["n_voxels"] == local.count


@pytest.mark.real_data
def test_words_are_kept_once_by_features_and_grid(tasks: list[LesionTask]) -> None:
    grid = word_grid(load_study())
    own = [HistogramTask(task.local, grid) for task in tasks]
    assert load_histograms(own[0]) is None, "nothing is kept yet"
    keep_local_features(tasks[0])
    keep_local_features(tasks[1])
    assert write_new_histograms(own, lambda _: None) == 2
    local, words = load_local_features(tasks[0].local), load_histograms(own[0])
    assert local is not None
    assert words is not None
    assert words.digest == count_bins(local, grid).digest
    assert words.counts.sum() == local.count
    assert write_new_histograms(own, lambda _: None) == 0
    coarser = HistogramTask(tasks[0].local, replace(grid, spread_hu=grid.spread_hu[::2]))
    assert coarser.file != own[0].file
    tasks[1].local.write_bytes(b"")
    own[1].file.unlink()
    assert write_new_histograms(own, lambda _: None) == 1
    assert load_histograms(own[1]) is None, "a lesion of which nothing is left has no words"


@pytest.mark.real_data
def test_a_codebook_waits_for_lesions_then_stays(tasks: list[LesionTask], tmp_path: Path) -> None:
    keep_local_features(tasks[0])
    folder = tmp_path / "codebooks"
    assert frozen_codebook(folder, tasks, SETTINGS) == (
        None,
        "no codebook yet: 1 lesions and visits of at least 2",
    )
    assert not folder.exists(), "nothing is frozen before there are enough"
    keep_local_features(tasks[1])
    fitted, _ = frozen_codebook(folder, tasks, SETTINGS)
    assert frozen_codebook(folder, tasks[:1], SETTINGS) == (fitted, ""), (
        "read, whatever lesions there are now"
    )
    anew, _ = frozen_codebook(folder, tasks, SETTINGS | {"version": 2})
    assert fitted is not None
    assert anew is not None
    assert anew.fingerprint != fitted.fingerprint
    assert anew.centres == fitted.centres


@pytest.mark.real_data
def test_a_mask_of_a_voxel_is_kept_as_nothing(tasks: list[LesionTask], tmp_path: Path) -> None:
    assert tasks[0].mask is not None
    dot = np.zeros_like(load_mask(tasks[0].mask))
    dot[5, 200, 200] = True
    save_mask(tmp_path / "dot.npz", dot)
    task = replace(tasks[0], mask=tmp_path / "dot.npz")
    assert keep_local_features(task) == 0
    assert load_local_features(task.local) is None
    assert map_lesion(task) is None
