"""The audit also looks at what lies in a vault beside DICOM.

Files, register and manifest must agree.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest

from dagster_project.flow.vault_audit import NOT_THE_SAME, advice, audit_what_is_new, blocked_sites
from dagster_project.intake.case_report.case_report import is_reader_name
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.vault import vault_files
from dagster_project.intake.vault.audit_words import WORD
from dagster_project.intake.vault.file_index import Register
from dagster_project.intake.vault.vault import LOST, give_up_patient, remove_patient, take_in
from dagster_project.intake.vault.vault_audit import audit_vault
from dagster_project.intake.vault.vault_files import (
    BROKEN,
    HEADER,
    MISSING,
    NAME,
    NO_FILE,
    NO_LINE,
    OTHER_BYTES,
    UNNOTED,
    audit_site_files,
)
from dagster_project.intake.vault.vault_names import is_known
from dagster_project.lake.home import Home
from dagster_project.reports.crops import Crop, encode_crop
from tests.intake.builders import KEYS, ROOT, ct, rtstruct, to_bytes, write_mask

NUMBERS = ("ZY0012345", "ZY0067890")


def deliver(folder: Path) -> None:
    """Two patients of three slices each, with a case report, contours and a mask."""
    for n, number in enumerate(NUMBERS):
        series = f"{ROOT}.{n + 20}"
        own = {"StudyInstanceUID": f"{ROOT}.{n + 40}", "FrameOfReferenceUID": f"{ROOT}.{n + 50}"}
        (folder / "dicom" / number).mkdir(parents=True)
        for index in range(3):
            slice_ = ct(index, patient=number, series=series, **own)
            (folder / "dicom" / number / f"{index}.dcm").write_bytes(to_bytes(slice_))
        contours = rtstruct(patient=number, series=series, instance=f"{ROOT}.5.{n}")
        contours.update({**own, "SeriesInstanceUID": f"{ROOT}.{n + 30}"})
        contours.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = own[
            "FrameOfReferenceUID"
        ]
        contours.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = own[
            "FrameOfReferenceUID"
        ]
        reads = folder / "reads" / "R1"
        reads.mkdir(parents=True, exist_ok=True)
        (reads / f"{n}.dcm").write_bytes(to_bytes(contours))
        mask = np.zeros((3, 16, 12), np.uint8)
        mask[:, 4:8, 4:8] = 1
        write_mask(reads / f"{series}__GTV-1.nii.gz", mask)
    (folder / "clinical").mkdir()
    rows = [f"{number},慕容霜雁,F,1949-05-11" for number in NUMBERS]
    (folder / "clinical" / "patients.csv").write_text(
        "\n".join(["patient_id,name,sex,birth_date", *rows]), encoding="utf-8"
    )


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("vault files")
    deliver(home / "landing" / "AB")
    report = take_in(
        home / "landing" / "AB", home / "vault" / "AB", keys=KEYS, crosswalk=home / "crosswalk"
    )
    assert report.accepted == 10
    return home


@pytest.fixture
def home(taken_in: Path, tmp_path: Path) -> Path:
    shutil.copytree(taken_in, tmp_path / "home")
    return tmp_path / "home"


def findings(home: Path, since: int = 0) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    audit_site_files(home / "vault", "AB", lambda *f: found.append(f), since=since)
    return found


def kinds(home: Path) -> set[str]:
    return {what for what, _, _ in findings(home)}


def slice_of(home: Path) -> Path:
    return min((home / "vault").rglob("0001.dcm"))


def change(file: Path, old: bytes, new: bytes) -> None:
    file.write_bytes(file.read_bytes().replace(old, new))


def test_what_intake_writes_has_no_finding(home: Path) -> None:
    assert findings(home) == []


@pytest.mark.parametrize(
    "name", [".ab12_xyz.part", "case_report/.ab12_xyz.part", "intake.sqlite-journal"]
)
def test_what_is_being_written_this_moment_is_no_finding(home: Path, name: str) -> None:
    (home / "vault" / "AB" / name).touch()
    assert findings(home) == []


@pytest.mark.parametrize("name", [".murong.part", "murong.part", "other.sqlite-journal"])
def test_what_only_looks_like_it_is_found(home: Path, name: str) -> None:
    (home / "vault" / "AB" / name).write_bytes(b"half")
    assert kinds(home) == {NAME}


@pytest.mark.parametrize("reader", ["R1", "R-1", "Reader_12", "observer2", "ARBITER1", "SITE"])
@pytest.mark.parametrize(
    "label", [".dcm", "__GTV_1.nii.gz", "__T01-T02.nii.gz", "__L1-1.nii.gz", "__病灶3.nii.gz"]
)
def test_outlines_of_every_reader_and_label_that_intake_takes_have_known_names(
    reader: str, label: str
) -> None:
    assert reader == "SITE" or is_reader_name(reader)
    assert is_known(f"AB-{'Q' * 17}/contours/{reader}/2.25.{'7' * 38}{label}")


@pytest.mark.parametrize("label", ["张三", "GTV-24-02-20", "T01-murong"])
def test_a_label_that_is_no_lesion_has_no_known_name(label: str) -> None:
    assert not is_known(f"AB-{'Q' * 17}/contours/R1/2.25.{'7' * 38}__{label}.nii.gz")


# ── both ways ──


def test_a_file_that_is_lost_is_missing(home: Path) -> None:
    slice_of(home).unlink()
    assert kinds(home) == {MISSING}


def test_a_file_with_other_bytes_is_found(home: Path) -> None:
    change(slice_of(home), b"CHEST", b"ABDOM")
    assert kinds(home) == {OTHER_BYTES}


def test_a_file_that_came_past_intake_is_found(home: Path) -> None:
    shutil.copy(slice_of(home), slice_of(home).with_name("0009.dcm"))
    assert kinds(home) == {UNNOTED}


def test_a_file_that_the_manifest_never_took_in_is_found(home: Path) -> None:
    manifest = home / "vault" / "AB" / "manifest.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text("".join(lines[:2]), encoding="utf-8")
    assert kinds(home) == {NO_LINE}


def test_a_line_of_the_manifest_whose_file_and_row_are_gone_is_found(home: Path) -> None:
    name = slice_of(home).relative_to(home / "vault" / "AB").as_posix()
    slice_of(home).unlink()
    with closing(sqlite3.connect(home / "vault" / "AB" / "intake.sqlite")) as register, register:
        register.execute("DELETE FROM object WHERE output = ?", (name,))
    assert kinds(home) == {NO_FILE}


def test_a_file_that_the_disk_lost_and_that_was_named_for_it_is_no_line_without_its_file(
    home: Path,
) -> None:
    """Its line says that it was lost: else its site would be blocked for good."""
    slice_of(home).unlink()
    shutil.rmtree(home / "landing" / "AB" / "dicom")
    with closing(Register(home / "vault" / "AB" / "intake.sqlite")) as register:
        register.remember("under_way", "another")
    take_in(home / "landing" / "AB", home / "vault" / "AB", keys=KEYS, crosswalk=home / "crosswalk")
    assert LOST in pl.read_parquet(home / "vault" / "AB" / "refused.parquet")["reason"].to_list()
    assert kinds(home) == set()


@pytest.mark.parametrize(
    "spoil",
    [lambda manifest: manifest.unlink(), lambda manifest: change(manifest, b'"n": 2', b'"n": 3')],
)
def test_a_manifest_that_is_lost_or_changed_is_broken(
    home: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(home / "vault" / "AB" / "manifest.jsonl")
    assert BROKEN in kinds(home)


def test_what_a_listener_takes_in_meanwhile_is_no_finding(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After names were listed and before the register is read a slice comes in."""
    landing = home / "landing" / "AB" / "dicom" / NUMBERS[0]
    noted = vault_files._noted

    def later(register: Path) -> object:
        own = {"StudyInstanceUID": f"{ROOT}.40", "FrameOfReferenceUID": f"{ROOT}.50"}
        landing.mkdir(exist_ok=True)
        (landing / "9.dcm").write_bytes(
            to_bytes(ct(9, patient=NUMBERS[0], series=f"{ROOT}.20", **own))
        )
        take_in(
            home / "landing" / "AB", home / "vault" / "AB", keys=KEYS, crosswalk=home / "crosswalk"
        )
        return noted(register)

    (home / "vault" / "AB" / ".incoming" / "half").write_bytes(b"\xff")
    (home / "vault" / "AB" / ".incoming" / "half.dcm").write_bytes(b"half")
    monkeypatch.setattr(vault_files, "_noted", later)
    assert kinds(home) == set()
    assert audit_vault(home / "vault", ocr=False).findings == []


def test_who_leaves_leaves_no_line_without_a_file(home: Path) -> None:
    """By withdrawal, and where two pseudonyms were joined; the lines name what left."""
    patients = [Crosswalk(home / "crosswalk", KEYS).find("AB", number) or "" for number in NUMBERS]
    remove_patient(home / "vault" / "AB", patients[0], crosswalk=home / "crosswalk")
    give_up_patient(home / "vault" / "AB", patients[1])
    assert kinds(home) == set()
    events = [
        json.loads(line)
        for line in (home / "vault" / "AB" / "manifest.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert [len(e["outputs"]) for e in events if e["event"] in {"withdrawn", "given_up"}] == [5, 5]


def test_a_withdrawal_of_an_earlier_version_does_not_block(home: Path) -> None:
    """Its line does not say which files left."""
    patient = Crosswalk(home / "crosswalk", KEYS).find("AB", NUMBERS[0]) or ""
    lines = vault_files._lines_of(home / "vault" / "AB" / "manifest.jsonl")
    remove_patient(home / "vault" / "AB", patient, crosswalk=home / "crosswalk")
    manifest = home / "vault" / "AB" / "manifest.jsonl"
    records = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    for record in records:
        record.pop("outputs", None)
    manifest.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    assert lines.complete
    assert not vault_files._lines_of(manifest).complete


# ── what is new, after intake ──


def spoil(file: Path) -> None:
    spoilt = pydicom.dcmread(file)
    spoilt.OperatorsName = "Murong^Shuangyan"
    spoilt.save_as(file)


def test_a_night_with_nothing_new_reads_no_file(home: Path) -> None:
    assert audit_what_is_new(Home(home), "AB").files == 8
    assert audit_what_is_new(Home(home), "AB").files == 0


def test_an_earlier_finding_stays_until_its_file_is_written_anew(home: Path) -> None:
    clean = slice_of(home).read_bytes()
    spoil(slice_of(home))
    first, second = audit_what_is_new(Home(home), "AB"), audit_what_is_new(Home(home), "AB")
    assert (first.files, second.files) == (8, 0)
    assert first.findings == second.findings != []
    assert blocked_sites(Home(home)) == {"AB"}
    slice_of(home).write_bytes(clean)
    assert audit_what_is_new(Home(home), "AB").findings == []
    assert blocked_sites(Home(home)) == frozenset()


def dated(home: Path, date: str, *names: str) -> None:
    for name in names:
        slice_ = pydicom.dcmread(slice_of(home).with_name(name))
        slice_.AcquisitionDate = date
        slice_.save_as(slice_of(home).with_name(name))


def test_dates_far_apart_block_every_night_until_they_are_mended(home: Path) -> None:
    """The finding is about a patient's folder: no file of it says alone that it is wrong."""
    date = pydicom.dcmread(slice_of(home)).AcquisitionDate
    dated(home, "19910101", "0002.dcm", "0003.dcm")
    expected = {"dates far apart", "dates of one series far apart"}
    for _ in range(2):
        assert {what for what, *_ in audit_what_is_new(Home(home), "AB").findings} >= expected
        assert blocked_sites(Home(home)) == {"AB"}
    dated(home, date, "0003.dcm")
    assert {what for what, *_ in audit_what_is_new(Home(home), "AB").findings} >= expected
    dated(home, date, "0002.dcm")
    assert not {what for what, *_ in audit_what_is_new(Home(home), "AB").findings} & expected


def test_what_came_past_intake_is_read_although_the_manifest_is_as_it_was(home: Path) -> None:
    assert audit_what_is_new(Home(home), "AB").findings == []
    spoil(slice_of(home))
    assert {what for what, _, _ in audit_what_is_new(Home(home), "AB").findings} >= {
        "element that must not be there",
        OTHER_BYTES,
    }


def test_what_is_missing_blocks_until_it_is_back(home: Path) -> None:
    moved = slice_of(home).rename(home / "moved away")
    for _ in range(2):
        found = audit_what_is_new(Home(home), "AB").findings
        assert [what for what, _, _ in found] == [MISSING]
        assert blocked_sites(Home(home)) == {"AB"}
        assert advice(found) == [NOT_THE_SAME]
    moved.rename(home / "vault" / found[0][1])
    assert audit_what_is_new(Home(home), "AB").findings == []


# ── identifiers beside DICOM ──


def _in_table(home: Path, column: str, value: str) -> None:
    file = home / "vault" / "AB" / "case_report" / "patients.parquet"
    pl.read_parquet(file).with_columns(pl.lit(value).alias(column)).write_parquet(file)


def _in_register(home: Path, value: str) -> None:
    with closing(sqlite3.connect(home / "vault" / "AB" / "intake.sqlite")) as register, register:
        register.execute("INSERT OR REPLACE INTO fact VALUES ('note', ?)", (value,))


def _in_note(home: Path, value: str) -> None:
    file = slice_of(home).parent / "images" / f"{'a' * 64}.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"note": [value]}), encoding="utf-8")


def _in_arrays(home: Path, value: str) -> None:
    file = slice_of(home).parent / "masks" / f"{'a' * 32}.npz"
    file.parent.mkdir()
    np.savez(file, note=np.array([value]))


PLACES: dict[str, Callable[[Path, str], None]] = {
    "cell of a table": lambda home, value: _in_table(home, "regimen", value),
    "column of a table": lambda home, value: _in_table(home, value, "x"),
    "register": _in_register,
    "note beside a scan": _in_note,
    "array of texts": _in_arrays,
}
VALUES = (
    "慕容霜雁",
    "murong shuangyan",
    "ZY0012345",
    "1949-05-11",
    "13800138000",
    "11010519491231002X",
)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", PLACES)
def test_an_identifier_is_found_and_not_quoted(home: Path, place: str, value: str) -> None:
    PLACES[place](home, value)
    found = findings(home)
    assert found
    assert value not in str(found)


@pytest.mark.parametrize("name", ["慕容霜雁.txt", "ZY0012345.dcm", "contours/Murong/x.dcm"])
def test_a_name_is_found_and_not_quoted(home: Path, name: str) -> None:
    file = slice_of(home).parents[1] / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    found = findings(home)
    assert NAME in {what for what, _, _ in found}
    assert name not in str(found)


def test_texts_in_the_header_of_a_mask_are_found(home: Path) -> None:
    mask = min((home / "vault").rglob("*.nii.gz"))
    plain = bytearray(gzip.decompress(mask.read_bytes()))
    plain[148:154] = b"Murong"
    mask.write_bytes(gzip.compress(bytes(plain), mtime=0))
    assert kinds(home) == {HEADER, OTHER_BYTES}


def test_bytes_behind_a_mask_are_found(home: Path) -> None:
    mask = min((home / "vault").rglob("*.nii.gz"))
    mask.write_bytes(gzip.compress(gzip.decompress(mask.read_bytes()) + b"Murong", mtime=0))
    assert "bytes behind the mask" in kinds(home)


def test_texts_of_a_picture_are_found(home: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Title", "Murong Shuangyan")
    file = slice_of(home).parents[1] / "habitats" / f"{'a' * 64}.png"
    file.parent.mkdir()
    Image.new("L", (4, 4)).save(file, pnginfo=notes)
    assert kinds(home) == {HEADER}


def test_a_crop_of_the_pages_is_known_and_what_is_hidden_in_it_is_found(home: Path) -> None:
    crop = Crop(
        np.zeros((3, 4, 5), np.int16),
        (0.5, 0.5, 1.0),
        1,
        (2.0, 2.0),
        (-1.0, 1.0),
        ("R", "L", "A", "P"),
        {"A": {}},
        None,
    )
    file = slice_of(home).parent / "pictures" / f"{'a' * 16}.crop"
    file.parent.mkdir()
    content = gzip.decompress(encode_crop(crop))
    file.write_bytes(gzip.compress(content, mtime=0))
    assert kinds(home) == set()
    file.write_bytes(gzip.compress(content + b"Murong Shuangyan", mtime=0))
    assert kinds(home) == {"bytes behind the crop"}
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length]) | {"edges": ["Murong Shuangyan"]}
    text = json.dumps(header).encode()
    file.write_bytes(gzip.compress(len(text).to_bytes(4, "little") + text + content[4 + length :]))
    assert kinds(home) == {WORD}


def test_an_empty_file_of_habitats_is_no_finding(tmp_path: Path) -> None:
    empty = tmp_path / "local-0123456789abcdef.npz"
    empty.touch()
    assert list(vault_files.READERS[".npz"](empty, frozenset())) == []
