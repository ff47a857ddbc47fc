"""Which scan each ROI of a file lies on: found once for a file and the patient's scans."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dagster_project.flow import outline_places
from dagster_project.flow.outline_places import PlacedFile, placed_outlines
from tests.domain.phantoms import SERIES, series_datasets, square, structure_set, write

FRAMES = {"SA": "1.1", "SB": "1.2"}
UIDS = {"SA": f"{SERIES}.1", "SB": f"{SERIES}.2"}


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """Two CTs of one patient in two frames of reference."""
    for name, frame in FRAMES.items():
        slices = series_datasets(
            np.zeros((4, 12, 12), np.int16), FrameOfReferenceUID=frame, SeriesInstanceUID=UIDS[name]
        )
        for one in slices:
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = (
                f"{frame}.{one.InstanceNumber}"
            )
        write(tmp_path / "AA" / "P1" / name, slices)
    (tmp_path / "AA" / "P1" / "contours" / "SITE").mkdir(parents=True)
    return tmp_path


def scan(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "site": "AA",
        "patient": "P1",
        "scan": name,
        "series_instance_uid": UIDS[name],
        "frame_of_reference_uid": FRAMES[name],
        "scan_date": dt.date(2024, 1, 5),
        "input_fingerprint": f"listing of {name}",
        **facts,
    }


def delivered(
    vault: Path, *images: str, frames: tuple[str | None, ...] = (None, None, None)
) -> Path:
    """Three ROIs; each names an image, or a frame of reference."""
    path = structure_set(
        vault / "AA" / "P1" / "contours" / "SITE" / "1.2.3.dcm",
        {f"L{k}": [square(2.5, 6.5, 1)] for k in (1, 2, 3)},
        series=None,
        frame=None,
    )
    ds = pydicom.dcmread(path)
    for roi, item, image, frame in zip(
        ds.StructureSetROISequence, ds.ROIContourSequence, images or ("",) * 3, frames, strict=True
    ):
        if frame:
            roi.ReferencedFrameOfReferenceUID = frame
        if image:
            item.ContourSequence[0].ContourImageSequence = [pydicom.Dataset()]
            item.ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID = image
    ds.save_as(path)
    return path


def place(vault: Path, path: Path, *names: str) -> PlacedFile:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return placed_outlines(vault, path, digest, [scan(name) for name in names])


@pytest.mark.parametrize(
    "facts",
    [
        {"images": ("1.1.2", "1.2.2", "9.9"), "frames": (None, None, None)},
        {"images": (), "frames": ("1.1", "1.2", "9.9")},
    ],
)
@pytest.mark.parametrize("order", [("SA", "SB"), ("SB", "SA")])
def test_rois_of_one_file_lie_on_several_scans_whatever_the_order(
    vault: Path, facts: dict[str, Any], order: tuple[str, str]
) -> None:
    path = delivered(vault, *facts["images"], frames=facts["frames"])
    placed = place(vault, path, *order)
    assert sorted((row["scan"], positions) for row, positions in placed.on_scans) == [
        ("SA", (1,)),
        ("SB", (2,)),
    ]
    ((position, label, reason),) = placed.lost
    assert (position, label) == (3, "L3")
    assert reason


def test_a_file_of_which_nothing_lies_here_is_refused_once(vault: Path) -> None:
    placed = place(vault, delivered(vault, frames=("9.9", "9.9", "9.9")), "SA", "SB")
    assert placed.on_scans == []
    assert [(position, "send the CT series" in reason) for position, _, reason in placed.lost] == [
        (0, True)
    ]


def test_it_is_found_once_and_again_when_a_scan_comes(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = delivered(vault, frames=("1.1", "1.2", "1.1"))
    first = place(vault, path, "SA")
    assert [positions for _, positions in first.on_scans] == [(1, 3)]
    assert [positions for _, positions in place(vault, path, "SA", "SB").on_scans] == [(1, 3), (2,)]
    monkeypatch.setattr(outline_places, "outline_parts", lambda _: pytest.fail("read again"))
    assert place(vault, path, "SA") == first


def test_images_are_taken_as_noted_when_the_scan_was_described(vault: Path) -> None:
    noted = vault / "AA" / "P1" / "SA" / "images" / "listing of SA.json"
    noted.parent.mkdir()
    noted.write_text(json.dumps(["9.9"]))
    placed = place(vault, delivered(vault, "1.2.1", "1.2.2", "9.9"), "SA", "SB")
    assert {row["scan"]: positions for row, positions in placed.on_scans} == {
        "SA": (3,),
        "SB": (1, 2),
    }
