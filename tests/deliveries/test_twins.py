"""Two images of one delivery with one identity.

The series has a gap, and whoever looks is shown both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_project.intake.vault.vault_placement import TWINS
from tests.deliveries.conftest import Deliveries, run_delivery
from tests.intake.builders import ct, image, to_bytes, write_series

SITE = "AB"


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    def write(landing: Path) -> None:
        write_series(landing / SITE / "dicom", 12)
        (landing / SITE / "dicom" / "a").write_bytes(to_bytes(ct(5, pixels=image(9))))

    return run_delivery(tmp_path_factory.mktemp("twins"), write)


def test_the_gap_that_two_contradicting_images_leave_is_flagged(delivered: Deliveries) -> None:
    (scan,) = delivered.ask("SELECT * FROM scans WHERE site = ?", SITE)
    assert (scan["n_slices"], scan["n_missing_slices"], scan["largest_gap_mm"]) == (11, 1, 2.0)


def test_status_names_both_files_in_english_and_chinese(delivered: Deliveries) -> None:
    named = delivered.refused(SITE, "intake")
    assert len(named) == 2
    assert all(TWINS in one for one in named)
    english, chinese = (
        " ".join(delivered.trial.call("status", "--lang", lang).output.split())
        for lang in ("en", "zh")
    )
    assert "another file of this delivery" in english
    assert "与本次提交的另一文件标识相同" in chinese
