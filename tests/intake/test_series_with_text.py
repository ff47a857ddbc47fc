"""A slice with text in its pixels causes its series to be refused, by name.

This holds whatever the order of arrival, until another slice is in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydicom
import pytest
from pydicom.dataset import Dataset

from dagster_project.intake.dicom import deidentification
from dagster_project.intake.dicom.text_in_pixels import TEXT, TEXT_IN_SERIES
from dagster_project.intake.vault import vault, vault_placement
from dagster_project.intake.vault.file_index import Register
from dagster_project.intake.vault.manifest import Manifest, audit_manifest
from dagster_project.intake.vault.process_file import scan_name
from dagster_project.intake.vault.sandbox import close_child
from dagster_project.intake.vault.vault import remove_patient
from dagster_project.intake.vault.vault_audit import audit_vault
from dagster_project.lake.reasons import chinese_item, chinese_reason
from tests.intake.builders import PERSON, ROOT, ct, rtstruct, to_bytes
from tests.intake.dicom.test_text_in_pixels import chest, drawn, ink
from tests.intake.pacs_site import Site as Receiver
from tests.intake.vault.test_vault import Site, in_this_process

OTHER = f"{ROOT}.3"
NAME = "WANG XIAOMING"


def plain(index: int, **changes: object) -> Dataset:
    """A slice without text."""
    return ct(index, pixels=chest(index) + 1024, **changes)


def named(index: int, **changes: object) -> Dataset:
    """The same slice with a name in it."""
    return ct(index, pixels=drawn(chest(index), ink(NAME, 12), 1500) + 1024, **changes)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(vault, "take_files", in_this_process)
    made = Site(tmp_path)
    for index in range(3):
        made.put(f"dicom/a/{index}.dcm", plain(index))
        made.put(f"dicom/b/{index}.dcm", plain(index, series=OTHER))
    return made


def series(site: Site, uid: str = f"{ROOT}.2") -> str:
    return f"patient {site.patient()} series {scan_name(site.uid(uid))}"


def scans(site: Site) -> list[str]:
    """Scans in the vault, one entry a slice."""
    return [name.split("/")[1] for name in site.files() if "contours" not in name]


def events(site: Site) -> list[str]:
    return [
        json.loads(line)["event"]
        for line in (site.vault / "manifest.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("batch", [1, 200])
def test_a_name_on_one_slice_refuses_its_series_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch, at: int, batch: int
) -> None:
    monkeypatch.setattr(vault, "FILES_A_BATCH", batch)
    site.put(f"dicom/a/{at}.dcm", named(at))
    assert site.take().accepted == 3
    assert scans(site) == [scan_name(site.uid(OTHER))] * 3
    refused = site.refused()
    assert refused.pop(series(site)) == TEXT_IN_SERIES
    ((item, reason),) = refused.items()
    assert item.startswith("dicom/ file sha256:")
    assert reason == TEXT
    assert audit_manifest(site.vault / "manifest.jsonl") is None
    assert list((site.vault / ".incoming").iterdir()) == []


def test_without_the_guard_the_name_is_taken_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other tests depend on: nothing else refuses such a slice."""
    monkeypatch.setattr(deidentification, "holds_text", lambda *_: False)
    site.put("dicom/a/1.dcm", named(1))
    assert site.take().accepted == 6


def test_a_slice_that_comes_later_takes_the_earlier_ones_out_of_the_vault(site: Site) -> None:
    site.take()
    assert len(scans(site)) == 6
    site.put("dicom/a/3.dcm", named(3))
    site.take()
    assert scans(site) == [scan_name(site.uid(OTHER))] * 3
    assert events(site).count("retracted") == 3
    assert not (site.vault / str(site.patient()) / scan_name(site.uid(f"{ROOT}.2"))).exists()
    assert site.take().accepted == 0


def test_the_audit_of_such_a_vault_finds_nothing(site: Site) -> None:
    site.take()
    site.put("dicom/a/3.dcm", named(3))
    site.take()
    assert audit_vault(site.vault.parent, ocr=False).findings == []


def test_the_series_is_taken_in_once_the_slice_is_sent_without_the_text(site: Site) -> None:
    site.put("dicom/a/1.dcm", named(1))
    site.take()
    site.put("dicom/a/1.dcm", plain(1))
    assert site.take().accepted == 3
    assert len(scans(site)) == 6
    assert site.refused() == {}


def test_the_rest_is_taken_in_once_the_slice_is_out_of_the_landing(site: Site) -> None:
    site.put("dicom/a/1.dcm", named(1)).touch()
    site.take()
    (site.landing / "dicom/a/1.dcm").unlink()
    assert site.take().accepted == 2


def test_contours_of_the_series_wait_for_it(site: Site) -> None:
    without_number = rtstruct(patient="")
    site.put("dicom/rs.dcm", without_number)
    site.put("dicom/a/1.dcm", named(1))
    site.take()
    assert any("is not in the vault" in reason for reason in site.refused().values())
    site.put("dicom/a/1.dcm", plain(1))
    site.take()
    assert site.refused() == {}


def test_a_run_cut_short_leaves_no_text_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take()
    site.put("dicom/a/3.dcm", named(3))
    with monkeypatch.context() as killed:
        killed.setattr(vault, "move_into_place", _killed)
        with pytest.raises(KeyboardInterrupt):
            site.take()
    assert len(scans(site)) == 6
    site.take()
    assert scans(site) == [scan_name(site.uid(OTHER))] * 3


def test_a_run_cut_short_before_its_lines_are_written_leaves_no_line_without_its_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take()
    site.put("dicom/a/3.dcm", named(3))
    append = Manifest.append

    def killed(manifest: Manifest, records: Iterable[Mapping[str, Any]]) -> None:
        lines = list(records)
        if any(line["event"] == "retracted" for line in lines):
            raise KeyboardInterrupt
        append(manifest, lines)

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            site.take()
    site.take()
    assert events(site).count("retracted") == 3
    assert audit_vault(site.vault.parent, ocr=False).findings == []


def _killed(register: Register, *_: Path) -> None:
    if register.leaving():
        raise KeyboardInterrupt


def test_what_was_taken_in_by_older_rules_is_searched_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("dicom/a/1.dcm", named(1))
    with monkeypatch.context() as older:
        older.setattr(deidentification, "holds_text", lambda *_: False)
        older.setattr(vault, "TEXT_RULES", "0")
        assert site.take().accepted == 6
    site.take()
    assert scans(site) == [scan_name(site.uid(OTHER))] * 3
    assert site.refused()[series(site)] == TEXT_IN_SERIES
    site.put("dicom/a/1.dcm", plain(1))
    site.take()
    assert len(scans(site)) == 6


def test_of_a_patient_who_withdraws_no_refusal_is_left(site: Site) -> None:
    site.put("dicom/a/1.dcm", named(1))
    site.take()
    patient = str(site.patient())
    remove_patient(site.vault, patient, crosswalk=site.crosswalk)
    for file in site.vault.rglob("*"):
        assert not file.is_file() or patient.encode() not in file.read_bytes(), file.name


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    yield Receiver(tmp_path)
    close_child()


def send(receiver: Receiver, dataset: Dataset) -> str:
    return receiver.reception.take(str(dataset.SOPInstanceUID), to_bytes(dataset)).reason


def test_what_came_by_the_network_leaves_again_and_comes_back_when_it_is_sent_without_text(
    receiver: Receiver,
) -> None:
    uids = [str(plain(index).SOPInstanceUID) for index in range(4)]
    assert [send(receiver, plain(index)) for index in range(2)] == ["", ""]
    assert send(receiver, named(2)) == TEXT
    assert send(receiver, plain(3)) == TEXT_IN_SERIES
    receiver.reception.close()
    assert receiver.content() == {}
    assert sorted(receiver.refused()) == sorted([TEXT, TEXT_IN_SERIES])
    assert receiver.reception.missing(uids) == []
    assert send(receiver, plain(2)) == ""
    assert receiver.reception.missing(uids) == [uids[0], uids[1], uids[3]]
    assert [send(receiver, plain(index)) for index in (0, 1, 3)] == [""] * 3
    receiver.reception.close()
    assert len(receiver.content()) == 4
    assert receiver.refused() == []


def test_every_reason_and_place_has_its_chinese() -> None:
    assert not any(
        "a" <= letter <= "z"
        for reason in (TEXT, TEXT_IN_SERIES)
        for letter in chinese_reason(reason)
    )
    assert chinese_item("patient P series S") == "患者 P 序列 S"


def test_refusals_by_name_hold_nothing_of_the_patient(site: Site) -> None:
    site.put("dicom/a/1.dcm", named(1))
    site.take()
    table = pl.read_parquet(site.vault / "refused.parquet")
    told = " ".join(table["item"].to_list() + table["reason"].to_list())
    assert not any(secret in told for secret in ("WANG", "Murong", "0012345"))


def test_placing_knows_the_series_by_name() -> None:
    assert vault_placement.series_item("2.25.1", "AB-X") == "patient AB-X series SJGY3ANOCZ55KOU26"


def test_text_in_unused_bits_overlays_and_icons_does_not_leave() -> None:
    """Overlays are dropped, and icons too.

    Old overlays lie in the bits above BitsStored, others in groups 6000 to 60FF.
    """
    letters = (ink(NAME, 12, smooth=False) > 0).astype(np.uint16)
    values = (chest() + 1024).astype(np.uint16)
    values[60 : 60 + letters.shape[0], 20 : 20 + letters.shape[1]] |= letters << 12
    dataset = ct(pixels=values)
    for group in (0x6000, 0x601E):
        dataset.add_new((group, 0x0010), "US", values.shape[0])
        dataset.add_new((group, 0x0011), "US", values.shape[1])
        dataset.add_new((group, 0x3000), "OW", np.packbits(values > 4095).tobytes())
    icon = Dataset()
    icon.Rows, icon.Columns = 4, 4
    icon.add_new((0x7FE0, 0x0010), "OB", b"MURONG" * 3)
    dataset.IconImageSequence = [icon]
    dataset.add_new((0x0029, 0x0010), "LO", "MAKER")
    dataset.add_new((0x0029, 0x1010), "OB", b"MURONG" * 100)
    clean = deidentification.deidentify(deidentification.open_source(to_bytes(dataset)), PERSON)
    written = pydicom.dcmread(BytesIO(clean.data))
    assert not clean.has_text
    assert (chest() + 1024).astype("<u2").tobytes() == written.PixelData
    assert not any(
        0x6000 <= tag.group <= 0x60FF or tag.is_private
        for tag in written.keys()  # noqa: SIM118 - elements else
    )
    assert "IconImageSequence" not in written
    assert b"MURONG" not in clean.data
