"""Words of lesions, stored beside their local features in the vault.

The folds of a model fit their own codebooks on them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.compute import run_tasks
from dagster_project.flow.result_cache import fingerprint
from dagster_project.flow.step_result import Say, report_progress
from dagster_project.lake.files import write_whole

if TYPE_CHECKING:
    from dagster_project.radiomics.habitat_histograms import BinCounts, HistogramGrid


@dataclass(frozen=True)
class HistogramTask:
    """The kept local features of a lesion, to be counted in words of a grid."""

    local: Path
    grid: HistogramGrid

    @property
    def file(self) -> Path:
        """Where the words are kept: the features' digest and the grid's lead to it."""
        return self.local.with_name(
            f"words-{fingerprint(self.local.stem, self.grid.density_hu, self.grid.spread_hu)}.npz"
        )


def write_histograms(task: HistogramTask) -> int:
    """Count a lesion's words and store them.

    An empty file means that nothing is left of the lesion after peeling.
    """
    import numpy as np

    from dagster_project.flow.habitats import load_local_features
    from dagster_project.radiomics.habitat_histograms import count_bins

    local, content = load_local_features(task.local), io.BytesIO()
    if local is not None:
        words = count_bins(local, task.grid)
        np.savez_compressed(
            content, counts=words.counts, pair_code=words.pair_code, pair_count=words.pair_count
        )
    write_whole(task.file, content.getvalue())
    return local.count if local else 0


def load_histograms(task: HistogramTask) -> BinCounts | None:
    """What `write_histograms` kept; None where nothing was, or nothing was left of the lesion."""
    import numpy as np

    from dagster_project.radiomics.habitat_histograms import BinCounts

    if not task.file.is_file() or task.file.stat().st_size == 0:
        return None
    with np.load(task.file) as kept:
        return BinCounts(
            task.grid,
            kept["counts"],
            np.zeros(kept["pair_code"].size, np.int32),
            kept["pair_code"],
            kept["pair_count"],
        )


def write_new_histograms(tasks: Sequence[HistogramTask], say: Say) -> int:
    """Count the words that are not stored yet; return how many lesions that were.

    What cannot be read is left out here, and reported where it is mapped.
    """
    new = [t for t in tasks if t.local.is_file() and not t.file.is_file()]
    return sum(
        o.reason is None
        for o in report_progress(run_tasks(write_histograms, new), len(new), "lesions binned", say)
    )
