"""SeriesNumber and AcquisitionNumber are counted anew within a study.

What a hospital wrote there is nowhere afterwards.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from dagster_project.intake.dicom import dicom_writer, numbering
from dagster_project.intake.dicom.allowlists import Rule
from dagster_project.intake.dicom.numbering import (
    HEAD_BYTES,
    Head,
    count_anew,
    read_head,
    values_of,
    with_numbers,
)
from dagster_project.intake.vault import earlier_numbers, vault
from dagster_project.intake.vault.earlier_numbers import COUNTED
from dagster_project.intake.vault.file_index import Register
from dagster_project.intake.vault.manifest import audit_manifest
from dagster_project.intake.vault.sandbox import close_child, take_files
from dagster_project.intake.vault.vault import Reception, remove_patient
from dagster_project.intake.vault.vault_audit import audit_vault
from dagster_project.intake.vault.vault_files import audit_site_files
from tests.intake.builders import KEYS, ROOT, ct, plant, rtstruct, seg, to_bytes
from tests.intake.vault.test_vault import Site, in_this_process

ANYBODYS = (190704, 20240220, 41, 619, 330102, 13800138000)
"""Two days, a plain number, a birthday, the start of an identity number, a telephone number."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(vault, "take_files", in_this_process)
    return Site(tmp_path)


def put(
    site: Site,
    name: str,
    index: int,
    number: int | str | None,
    acquisition: int | str | None = 1,
    *,
    study: int = 1,
    **changes: object,
) -> None:
    """A slice of a series that is known by its SeriesNumber."""
    image = ct(
        index,
        series=f"{ROOT}.2.{study}.{number if isinstance(number, int) else 0}",
        StudyInstanceUID=f"{ROOT}.1.{study}",
        SeriesNumber=None,
        **changes,
    )
    for keyword, value in (("SeriesNumber", number), ("AcquisitionNumber", acquisition)):
        if value is not None:
            plant(image, keyword, "IS", str(value).encode())
    site.put(f"dicom/{name}.dcm", image)


def told(site: Site, keyword: str = "SeriesNumber") -> dict[str, object]:
    """What each image of the vault says, by its keyed SOPInstanceUID."""
    images = [pydicom.dcmread(site.vault / f) for f in site.files() if "contours" not in f]
    return {str(one.SOPInstanceUID): one.get(keyword) for one in images}


def of_series(site: Site, keyword: str = "SeriesNumber") -> dict[int, set[object]]:
    """Values in the images of each series of the first study, by the hospital's series number."""
    images = [pydicom.dcmread(site.vault / f) for f in site.files() if "contours" not in f]
    known = {site.uid(f"{ROOT}.2.1.{n}"): n for n in (*ANYBODYS, *range(60))}
    found: dict[int, set[object]] = {}
    for one in images:
        found.setdefault(known[one.SeriesInstanceUID], set()).add(one.get(keyword))
    return found


# -- which number ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_series_are_numbered_from_1_in_the_order_of_their_numbers_whatever_files_are_called(
    site: Site, reverse: bool
) -> None:
    for k, number in enumerate(sorted(ANYBODYS, key=str, reverse=reverse)):
        for index in range(2):
            put(site, f"{k}_{index}", index, number)
    site.take()
    assert of_series(site) == {number: {k} for k, number in enumerate(sorted(ANYBODYS), start=1)}


def test_what_a_hospital_wrote_there_is_nowhere_in_the_vault(site: Site) -> None:
    for k, number in enumerate(ANYBODYS):
        put(site, str(k), 0, number, number)
    site.put("dicom/rs.dcm", rtstruct(series=f"{ROOT}.2.1.41"))
    site.put("dicom/seg.dcm", seg(series=f"{ROOT}.2.1.41"))
    for name, made in (("rs", rtstruct), ("seg", seg)):
        contour = made(series=f"{ROOT}.2.1.41")
        contour.SeriesNumber, contour.InstanceNumber = 190704, 330102
        site.put(f"dicom/{name}.dcm", contour)
    assert site.take().refused == 0
    written = {path: path.read_bytes() for path in site.vault.rglob("*") if path.is_file()}
    for number in (n for n in ANYBODYS if n > 999):
        assert [path for path, data in written.items() if str(number).encode() in data] == []
    assert set(told(site, "AcquisitionNumber").values()) == {1, 2, 3, 4, 5, 6}
    contours = {
        pydicom.dcmread(site.vault / f).Modality: pydicom.dcmread(site.vault / f)
        for f in site.files()
        if "contours" in f
    }
    assert (contours["SEG"].SeriesNumber, contours["SEG"].InstanceNumber) == (1, 1)
    assert (contours["RTSTRUCT"].SeriesNumber, contours["RTSTRUCT"].InstanceNumber) == (None, 1)


def test_each_study_is_numbered_by_itself(site: Site) -> None:
    for study, numbers in ((1, (3, 9)), (2, (190704,))):
        for number in numbers:
            put(site, f"{study}_{number}", 0, number, number, study=study)
    site.take()
    assert (
        sorted(told(site).values()) == sorted(told(site, "AcquisitionNumber").values()) == [1, 1, 2]
    )


@pytest.mark.parametrize("number", [None, "", "3\\4", "A3", "3.0", "1" * 13])
def test_an_image_without_a_number_or_with_none_that_can_be_read_has_none(
    site: Site, number: str | None
) -> None:
    put(site, "a", 0, number, number)
    put(site, "b", 1, 5, 5)
    site.take()
    assert sorted(map(str, told(site).values())) == ["1", "None"]
    assert sorted(map(str, told(site, "AcquisitionNumber").values())) == ["1", "None"]


def test_series_of_one_number_have_two(site: Site) -> None:
    for study_part in ("7", "8"):
        site.put(f"dicom/{study_part}.dcm", ct(0, series=f"{ROOT}.2.{study_part}", SeriesNumber=4))
    site.take()
    assert sorted(told(site).values()) == [1, 2]


@pytest.mark.parametrize(
    ("number", "left"),
    [(0, 0), (-3, -3), (9999, 9999), (10000, None), (190704, None), (20240220, None)],
)
def test_an_instance_number_is_a_count_or_is_left_out(
    site: Site, number: int, left: int | None
) -> None:
    put(site, "a", 0, 3, InstanceNumber=number)
    assert site.take().accepted == 1
    assert list(told(site, "InstanceNumber").values()) == [left]


# -- later deliveries ------------------------------------------------------------------------------


def test_what_comes_later_comes_behind_and_what_was_there_stays_byte_for_byte(site: Site) -> None:
    for number in (7, 190704):
        put(site, str(number), 0, number, number)
    site.take()
    before = {f: (site.vault / f).read_bytes() for f in site.files()}
    for number in (2, 9):
        put(site, str(number), 0, number, number)
    put(site, "more", 1, 190704, 190704)
    assert site.take().accepted == 3
    assert {f: (site.vault / f).read_bytes() for f in before} == before
    assert of_series(site) == {7: {1}, 190704: {2}, 2: {3}, 9: {4}}
    assert of_series(site, "AcquisitionNumber") == {7: {1}, 190704: {2}, 2: {3}, 9: {4}}


def test_the_same_files_give_the_same_bytes_under_other_names_and_in_another_vault(
    site: Site, tmp_path: Path
) -> None:
    for k, number in enumerate(ANYBODYS):
        put(site, f"a{k}", 0, number, ANYBODYS[-k])
        put(site, f"b{k}", 1, number, ANYBODYS[-k])
    site.take()
    before = sorted((site.vault / f).read_bytes() for f in site.files())
    for n, file in enumerate(sorted((site.landing / "dicom").iterdir(), reverse=True)):
        file.rename(file.with_name(f"{n:02d}"))
    assert site.take().duplicates == 12
    assert sorted((site.vault / f).read_bytes() for f in site.files()) == before
    shutil.rmtree(site.vault)
    site.take()
    assert sorted((site.vault / f).read_bytes() for f in site.files()) == before


def test_a_run_that_was_killed_changes_no_number(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "FILES_A_BATCH", 2)
    for k, number in enumerate((9, 190704, 7)):
        for index in range(2):
            put(site, f"{k}_{index}", index, number)
    calls = []

    def dies(session, tasks):
        calls.append(tasks)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return in_this_process(session, tasks)

    monkeypatch.setattr(vault, "take_files", dies)
    with pytest.raises(KeyboardInterrupt):
        site.take()
    monkeypatch.setattr(vault, "take_files", in_this_process)
    site.take()
    assert of_series(site) == {7: {1}, 9: {2}, 190704: {3}}


def test_who_leaves_leaves_no_number(site: Site) -> None:
    put(site, "a", 0, 190704)
    put(site, "b", 0, 3, study=2, patient="ZY0099999")
    put(site, "refused", 0, 8, study=3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    site.take()
    remove_patient(site.vault, site.patient(), crosswalk=site.crosswalk)
    with contextlib.closing(sqlite3.connect(site.vault / "intake.sqlite")) as register:
        assert register.execute("SELECT series FROM study_of").fetchall() == [
            (site.uid(f"{ROOT}.2.2.3"),)
        ]
        assert register.execute("SELECT DISTINCT study FROM number").fetchall() == [
            (site.uid(f"{ROOT}.1.2"),)
        ]


def test_by_the_network_series_are_numbered_as_they_come(site: Site) -> None:
    reception = Reception(site.landing, site.vault, keys=site.keys, crosswalk=site.crosswalk)
    for number in (190704, 3):
        image = ct(0, series=f"{ROOT}.2.1.{number}", SeriesNumber=number, AcquisitionNumber=number)
        assert reception.take(str(image.SOPInstanceUID), to_bytes(image)).reason == ""
    reception.close()
    assert of_series(site) == {190704: {1}, 3: {2}}


# -- heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.2"]
)
def test_a_head_is_read_in_every_syntax(tmp_path: Path, syntax: str) -> None:
    image = ct(0, SeriesNumber=5, AcquisitionNumber=6)
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "x",
        image,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != "1.2.840.10008.1.2.2",
    )
    assert read_head((tmp_path / "x").read_bytes(), str) == Head(f"{ROOT}.1", f"{ROOT}.2", 5, 6)


def test_a_long_header_is_read_to_its_end(site: Site) -> None:
    image = ct(0, SeriesNumber=190704)
    image.add_new(0x00090010, "LO", "SOMEBODY")
    image.add_new(0x00091001, "OB", bytes(2 * HEAD_BYTES))
    site.put("dicom/a.dcm", image)
    site.take()
    assert list(told(site).values()) == [1]


def test_what_is_no_image_has_no_head() -> None:
    assert [
        read_head(data, str)
        for data in (b"", b"Murong", to_bytes(rtstruct()), to_bytes(ct())[:400])
    ] == [None] * 4


def test_the_child_that_reads_files_reads_heads(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "take_files", take_files)
    put(site, "a", 0, 190704)
    try:
        site.take()
    finally:
        close_child()
    assert list(told(site).values()) == [1]


def test_numbers_of_many_images_are_those_of_one_at_a_time(tmp_path: Path) -> None:
    heads = {k: Head("study", f"series {k % 3}", 10 - k % 3, k) for k in range(9)}
    with (
        contextlib.closing(Register(tmp_path / "a")) as one,
        contextlib.closing(Register(tmp_path / "b")) as other,
    ):
        together = count_anew(one, heads, KEYS.uid)
        again = {k: count_anew(one, {k: head}, KEYS.uid)[k] for k, head in heads.items()}
        ordered = sorted(
            heads.items(), key=lambda pair: (pair[1].series_number, pair[1].acquisition)
        )
        singly = {k: count_anew(other, {k: head}, KEYS.uid)[k] for k, head in ordered}
    assert together == again
    assert {k: n.series for k, n in singly.items()} == {k: n.series for k, n in together.items()}


# -- vaults that were filled before ----------------------------------------------------------------


def as_written(_: dicom_writer.Writer, rule: Rule, dataset: Dataset) -> bytes | None:
    """The value that the hospital wrote."""
    return str(dataset[rule.keyword].value).encode() if rule.keyword in dataset else None


@pytest.fixture
def earlier(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A vault as an earlier version left it, with numbers as the hospital wrote them."""
    with monkeypatch.context() as patch:
        patch.setitem(dicom_writer.ACTIONS, "counted", as_written)
        patch.setitem(dicom_writer.ACTIONS, "count", as_written)
        for k, number in enumerate((190704, 7, 41)):
            for index in range(2):
                put(
                    site,
                    f"{k}_{index}",
                    index,
                    number,
                    number,
                    InstanceNumber=190704 if index else 1,
                )
        site.put("dicom/seg.dcm", seg(series=f"{ROOT}.2.1.41"))
        site.take()
    with contextlib.closing(Register(site.vault / "intake.sqlite")) as register:
        register.remember(COUNTED, "")
    with contextlib.closing(sqlite3.connect(site.vault / "intake.sqlite")) as register, register:
        register.execute("DELETE FROM number")
        register.execute("DELETE FROM study_of")
    assert of_series(site) == {190704: {190704}, 7: {7}, 41: {41}}
    return site


def bytes_of_new_vault(site: Site) -> list[bytes]:
    shutil.rmtree(site.vault)
    site.take()
    return sorted((site.vault / f).read_bytes() for f in site.files())


def test_an_earlier_vault_gets_the_numbers_and_bytes_of_a_new_one(earlier: Site) -> None:
    assert earlier.take().accepted == 0
    assert of_series(earlier) == {7: {1}, 41: {2}, 190704: {3}}
    found: list[tuple[str, str, str]] = []
    audit_site_files(earlier.vault.parent, "AB", lambda *what: found.append(what))
    assert found == []
    assert audit_vault(earlier.vault.parent, ocr=False).findings == []
    assert audit_manifest(earlier.vault / "manifest.jsonl") is None
    for file in (earlier.landing / "dicom").iterdir():
        file.rename(file.with_name(f"again {file.name}"))
    again = earlier.take()
    assert (again.accepted, again.refused, again.duplicates) == (0, 0, 7)
    migrated = sorted((earlier.vault / f).read_bytes() for f in earlier.files())
    assert bytes_of_new_vault(earlier) == migrated


def test_an_earlier_vault_without_its_landing_is_counted_too(earlier: Site) -> None:
    shutil.rmtree(earlier.landing)
    earlier.landing.mkdir()
    earlier.take()
    assert of_series(earlier) == {7: {1}, 41: {2}, 190704: {3}}
    assert b"190704" not in b"".join(
        p.read_bytes() for p in earlier.vault.rglob("*") if p.is_file()
    )


@pytest.mark.parametrize("place", ["_exchange", "move_into_place"])
def test_counting_that_is_cut_short_is_finished_by_the_next_run(
    earlier: Site, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(earlier_numbers, "OBJECTS_AT_ONCE", 2)
    calls: list[int] = []
    real = getattr(earlier_numbers, place)

    def dies(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no space")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(earlier_numbers, place, dies)
        with pytest.raises(OSError, match="no space"):
            earlier.take()
    earlier.take()
    assert of_series(earlier) == {7: {1}, 41: {2}, 190704: {3}}
    found: list[tuple[str, str, str]] = []
    audit_site_files(earlier.vault.parent, "AB", lambda *what: found.append(what))
    assert found == []


def test_a_vault_that_is_counted_is_not_read_again(
    earlier: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier.take()
    monkeypatch.setattr(earlier_numbers, "_head", lambda _: pytest.fail("a file was read"))
    earlier.take()


def test_only_the_named_elements_of_a_file_change() -> None:
    from tests.intake.dicom.test_deidentification import clean

    data = clean(ct(2, SeriesNumber=3)).data
    changed = with_numbers(data, {0x00200011: b"12", 0x00200013: b""})
    before, after = values_of(data), values_of(changed)
    assert {k for k in before | after if before.get(k) != after.get(k)} == {
        "SeriesNumber",
        "InstanceNumber",
    }
    assert with_numbers(changed, {0x00200011: b"", 0x00200013: b"3"}) == data
    with pytest.raises(ValueError, match="not a file of the vault"):
        values_of(b"x" * 200)


def test_a_usual_head_is_read_as_pydicom_reads_it() -> None:
    """Of every test file of pydicom, whole, as far as a head is read at first, and cut anywhere."""
    files = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
    images = [file.read_bytes() for file in files] + [to_bytes(ct(0, SeriesNumber=5))]
    usual = 0
    for data in images:
        for part in (data, data[:HEAD_BYTES], data[:700], data[: len(data) // 2 | 1]):
            usual += numbering._usual_elements(part) is not None
            assert read_head(part, str) == numbering._unusual_head(part, str)
    assert usual > 1
