"""A cached result bears a name of all its inputs: whatever changes one of them is computed anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dagster_project.domain.imaging.lung_registration import NO_FIT, LungsError
from dagster_project.flow import lung_motions, pages, result_cache, vault_audit
from dagster_project.flow.result_cache import contents_of, outlines_file, slices_of

SCAN = {
    "pixel_digest": "p",
    "series_instance_uid": "2.25.1",
    "frame_of_reference_uid": "2.25.2",
    "input_fingerprint": "f",
}
MASK = Path("2.25.1__L1.nii.gz")


def _outlines(
    *, name: str = MASK.name, digest: str = "d", positions: tuple[int, ...] = (), **scan: str
) -> str:
    return outlines_file(Path("S1"), Path(name), digest, SCAN | scan, positions).name


def test_equal_masks_of_two_lesions_have_two_results() -> None:
    assert _outlines() == _outlines()
    assert _outlines(name="2.25.1__L2.nii.gz") != _outlines()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "other"},
        {"pixel_digest": "other"},
        {"series_instance_uid": "2.25.9"},
        {"frame_of_reference_uid": "2.25.9"},
        {"input_fingerprint": "other"},
        {"positions": (1, 2)},
    ],
)
def test_outlines_are_read_anew_when_the_file_or_the_scan_is_another(
    change: dict[str, Any],
) -> None:
    assert _outlines(**change) != _outlines()


def test_outlines_are_read_anew_by_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _outlines()
    monkeypatch.setattr(result_cache, "CODE_VERSION", "another")
    assert _outlines() != before


def _scan(folder: Path, *slices: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in slices:
        (folder / name).write_bytes(b"slice")
    return folder


def test_a_slice_that_comes_later_or_was_changed_makes_another_scan(tmp_path: Path) -> None:
    folder = _scan(tmp_path / "S1", "0001.dcm", "0002.dcm")
    before = slices_of(folder)
    _scan(folder, "0003.dcm")
    with_three = slices_of(folder)
    os.utime(folder / "0001.dcm", ns=(1, 1))
    assert len({str(s) for s in (before, with_three, slices_of(folder))}) == 3


def test_a_scan_is_known_by_what_was_taken_in_and_not_by_when_or_in_which_order(
    tmp_path: Path,
) -> None:
    noted = [
        {
            f"P/{scan}/{name}": digest
            for name, digest in zip(("0001.dcm", "0002.dcm"), order, strict=True)
        }
        for scan, order in (("S1", "ab"), ("S2", "ba"))
    ]
    (tmp_path / "P").mkdir()
    one, other = (_scan(tmp_path / "P" / scan, "0001.dcm", "0002.dcm") for scan in ("S1", "S2"))
    os.utime(other / "0001.dcm", ns=(1, 1))
    assert contents_of(one, noted[0]) == contents_of(other, noted[1])
    before = contents_of(one, noted[0])
    (one / "0002.dcm").write_bytes(b"cut")
    assert contents_of(one, noted[0]) != before, "a slice that was cut"
    (other / "0002.dcm").unlink()
    assert len(contents_of(other, noted[1])) == 1, "a slice that was lost"


def test_a_slice_that_nobody_noted_is_known_by_name_size_and_time(tmp_path: Path) -> None:
    folder = _scan(tmp_path / "S1", "0001.dcm")
    before = contents_of(folder, {})
    os.utime(folder / "0001.dcm", ns=(1, 1))
    assert contents_of(folder, {}) != before


def test_pictures_are_drawn_anew_on_another_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dagster_project.reports.figures.lesions.slice_figure", lambda image, *_, **__: image
    )
    monkeypatch.setattr("dagster_project.domain.imaging.masks.load_mask", lambda _: None)
    folder = _scan(tmp_path / "S1", "0001.dcm")
    first = pages._kept_picture(folder, {"R1": "m"}, "caption", lambda: b"as it was")
    again = pages._kept_picture(folder, {"R1": "m"}, "caption", lambda: b"drawn twice")
    _scan(folder, "0002.dcm")
    assert (first, again) == (b"as it was", b"as it was")
    assert (
        pages._kept_picture(folder, {"R1": "m"}, "caption", lambda: b"of two slices")
        == b"of two slices"
    )


def test_lungs_are_registered_anew_on_another_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def fail(*_: object) -> None:
        found.append(1)
        raise LungsError(NO_FIT)

    monkeypatch.setattr("dagster_project.domain.imaging.lung_registration.register_lungs", fail)
    series = type("Series", (), {"image": None, "affine": None})
    monkeypatch.setattr(lung_motions, "_series", lambda _: series)
    earlier, later = _scan(tmp_path / "S1", "0001.dcm"), _scan(tmp_path / "S2", "0001.dcm")
    assert [lung_motions.next_scan(earlier, later) for _ in range(2)] == [NO_FIT, NO_FIT]
    assert len(found) == 1
    _scan(earlier, "0002.dcm")
    lung_motions.next_scan(earlier, later)
    assert len(found) == 2


def test_findings_of_former_rules_are_looked_for_anew(tmp_path: Path) -> None:
    file = tmp_path / vault_audit.KEPT
    file.write_text(
        json.dumps(
            {
                "rules": "former",
                "size": 9,
                "until": 9,
                "findings": [["text like a name", "AB/x.dcm", ""]],
            }
        )
    )
    assert vault_audit._kept(file, "present")["findings"] == []
    assert vault_audit._kept(file, "former")["size"] == 9
