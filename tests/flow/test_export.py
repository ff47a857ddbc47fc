"""An export holds what may leave of a patient and nothing else, and is the same each time."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import polars as pl
import pydicom
import pytest
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.domain.imaging.masks import load_mask, save_mask
from dagster_project.domain.imaging.series import pixel_digest
from dagster_project.domain.reading.arbitration import mask_readers
from dagster_project.flow.export import CONTENTS, Export, export_patient
from dagster_project.flow.exported_patient import ExportRefused, reader_letters
from dagster_project.flow.result_cache import mask_file
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import Crosswalk, withdraw_from_crosswalk
from dagster_project.lake.tables import CONTRADICTORY
from dagster_project.resources import Lakehouse
from tests.domain.rows import day, table
from tests.interchange.scans import ct, outlined, row_of, stacked

PATIENT, READERS = "AA-P1", ("RZQX71", "RZQX72")
DAYS = {"T0": -7, "T1": 58, "T2": 100}
SIZES = {"T0": (5, 8), "T1": (4, 9), "T2": (3, 10)}
"""Slices of the lesion: it grows, so that T1 is iUPD and T2 iCPD."""


class Home:
    """A lake of one patient whom two readers have outlined at three visits."""

    def __init__(self, root: Path, *, frame_of_reference: bool = True) -> None:
        self.lakehouse = Lakehouse(root=str(root / "home"))
        self.lakehouse.home.make()
        self.root, self.reads, self.digests = root, [], {}
        for number, (visit, ends) in enumerate(SIZES.items()):
            self._add(visit, number, ends, frame_of_reference=frame_of_reference)
        self._write_rows()

    def folder(self, visit: str) -> Path:
        return self.lakehouse.home.vault / "AA" / PATIENT / f"SCAN{visit}"

    def _add(self, visit: str, number: int, ends, *, frame_of_reference: bool) -> None:
        uid = f"1.2.826.0.1.3680043.10.2.{number}"
        slices = ct(SeriesInstanceUID=f"{uid}.1", StudyInstanceUID=f"{uid}.2")
        for place, one in enumerate(slices):
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{uid}.3.{place}"
            one.PatientID = one.PatientName = PATIENT
            if not frame_of_reference:
                del one.FrameOfReferenceUID
        series, _ = stacked(self.folder(visit), slices)
        self.digests[visit] = pixel_digest(series)
        for place, reader in enumerate(READERS):
            lesion = outlined(series, "L1", ends[0], ends[1] + place, place, 4 + 4 * number)
            row = row_of(series, lesion, visit=visit, scan=f"SCAN{visit}", reader=reader)
            save_mask(mask_file(self.folder(visit), row["mask_digest"]), lesion.mask)
            self.reads.append({**row, "patient": PATIENT, "measurement_source": "mask"})

    def _write_rows(self) -> None:
        own = {"patient": PATIENT}
        write_rows = self.lakehouse.lake.replace
        write_rows("patients", with_usual("patients", own), site="AA")
        times = [
            {**own, "visit": v, "scan": f"SCAN{v}", "day": d, "scan_date": day(d)}
            for v, d in DAYS.items()
        ]
        write_rows("timepoints", table("timepoints", *times), site="AA")
        scans = [
            {
                **own,
                "scan": f"SCAN{visit}",
                "study_instance_uid": f"2.{number}",
                "pixel_digest": self.digests[visit],
            }
            for number, visit in enumerate(DAYS)
        ]
        write_rows("scans", with_usual("scans", *scans), site="AA")
        self.read(READERS)
        accepted = [r for r in self.reads if r["reader"] == READERS[0]]
        facts = {"acceptance_basis": "agreement", "n_readers": 2, "is_lymph_node": False}
        write_rows("lesions", with_usual("lesions", *({**r, **facts} for r in accepted)))

    def read(self, readers, visits=tuple(DAYS)) -> None:
        """Only these readers have locked these visits; the first reader all of them."""
        rows = [
            r
            for r in self.reads
            if r["reader"] == READERS[0] or (r["reader"] in readers and r["visit"] in visits)
        ]
        self.lakehouse.lake.replace("reads", table("reads", *rows), site="AA")

    def case(self, status: str | None) -> None:
        two = {"reader_a": READERS[0], "reader_b": READERS[1]}
        rows = [{"patient": PATIENT, "status": status, **two}] if status else []
        self.lakehouse.lake.replace("arbitrations", table("arbitrations", *rows))

    def export(self, name: str, *visits: str):
        return export_patient(self.lakehouse, PATIENT, self.root / name, visits, version="0")


def with_usual(name: str, *rows: dict) -> pl.DataFrame:
    """Rows of a table for which tests have no usual values yet."""
    from dagster_project.lake.schema import polars_schema
    from dagster_project.lake.tables import BY_NAME

    usual = {"site": "AA", "simulated": False, "input_fingerprint": "f"}
    empty = {
        c.name: {"bool": False, "int32": 0, "int64": 0, "double": 0.0, "list<string>": []}.get(
            c.type, (c.allowed or ("x",))[0]
        )
        for c in BY_NAME[name].columns
        if not c.nullable
    }
    schema = polars_schema(BY_NAME[name])
    return pl.DataFrame(
        [{c: {**empty, **usual, **row}.get(c) for c in schema} for row in rows], schema=schema
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def settled(shared: Home, tmp_path_factory) -> Export:
    """All visits, all reads locked, no case."""
    shared.root = tmp_path_factory.mktemp("settled")
    return shared.export("out")


@pytest.fixture
def home(shared: Home, tmp_path: Path) -> Iterator[Home]:
    """The shared home with all reads locked and no case; exports go into the test's own folder."""
    shared.root = tmp_path
    yield shared
    shared.case(None)
    shared.read(READERS)


def names(folder: Path) -> set[str]:
    """Files beside the CT."""
    found = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    return {name for name in found if "/CT/" not in name}


ALWAYS = {"README.txt", "fhir.json", CONTENTS}


def test_every_visit_has_its_ct_a_seg_per_reader_the_accepted_one_and_a_report(
    home: Home, settled: Export
) -> None:
    made = settled
    objects = ("SEG_accepted", "SEG_reader_A", "SEG_reader_B", "SR")
    assert names(made.folder) == ALWAYS | {f"{v}/{o}.dcm" for v in DAYS for o in objects}
    assert made.notes == []
    for visit in DAYS:
        vault = [f.read_bytes() for f in sorted(home.folder(visit).glob("*.dcm"))]
        assert [f.read_bytes() for f in sorted((made.folder / visit / "CT").iterdir())] == vault


def test_voxels_are_those_that_the_lake_measured(home: Home, settled: Export) -> None:
    made = settled
    letters = mask_readers("AA", PATIENT, READERS)
    for row in home.reads:
        letter = next(k for k, reader in letters.items() if reader == row["reader"])
        expected = load_mask(mask_file(home.folder(row["visit"]), row["mask_digest"]))
        seg = hd.seg.segread(made.folder / row["visit"] / f"SEG_reader_{letter}.dcm")
        drawn = np.flatnonzero(expected.any((1, 2)))
        frames = seg.get_volume(combine_segments=True).array.astype(bool)
        assert frames.sum() == expected.sum() == row["voxel_count"]
        assert len({tuple(f.ravel()) for f in frames} - {tuple(np.zeros(frames[0].size))}) == len(
            {tuple(expected[z].ravel()) for z in drawn}
        )


def test_a_second_export_is_the_same_byte_for_byte(home: Home, settled: Export) -> None:
    first, second = settled.folder, home.export("two").folder
    files = {f.relative_to(first): f.read_bytes() for f in first.rglob("*") if f.is_file()}
    again = {f.relative_to(second): f.read_bytes() for f in second.rglob("*") if f.is_file()}
    assert files == again
    assert len(files) == 3 * (14 + 4) + 3


def test_the_list_of_files_has_their_digests_and_all_are_closed_to_others(
    home: Home, settled: Export
) -> None:
    made = settled
    listed = json.loads((made.folder / CONTENTS).read_text())["files"]
    for name, facts in listed.items():
        content = (made.folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    found = [made.folder, *made.folder.rglob("*")]
    assert {stat.S_IMODE(f.stat().st_mode) for f in found} == {0o600, 0o700}
    line = json.loads(home.lakehouse.home.audit.read_text().splitlines()[-1])
    assert (line["action"], line["pseudonym"]) == ("export", PATIENT)


def texts(folder: Path) -> str:
    """All that is written beside pixels."""
    found = []
    for file in folder.rglob("*"):
        if file.suffix == ".dcm":
            read = pydicom.dcmread(file)
            read.pop("PixelData", None)
            found.append(str(read))
        elif file.is_file():
            found.append(file.read_text(encoding="utf-8"))
    return "\n".join(found) + "\n".join(str(f) for f in folder.rglob("*"))


def test_no_reader_is_named(settled: Export) -> None:
    written = texts(settled.folder)
    assert [reader for reader in READERS if reader in written] == []


def test_an_open_case_gives_the_outlines_by_letter_and_no_response(home: Home) -> None:
    home.case("open")
    made = home.export("out")
    objects = ("SEG_reader_A", "SEG_reader_B")
    assert names(made.folder) == ALWAYS | {f"{v}/{o}.dcm" for v in DAYS for o in objects}
    assert [visit for visit, note in made.notes if "arbiter" in note and "仲裁" in note] == [*DAYS]
    kinds = [e["resource"]["resourceType"] for e in bundle_of(made.folder)]
    assert kinds == ["Patient", "ImagingStudy", "ImagingStudy", "ImagingStudy"]
    written = texts(made.folder)
    assert [word for word in (*READERS, "iUPD", "iCPD", "ACCEPTED") if word in written] == []


def test_the_letters_of_a_case_are_those_of_the_arbiters_page_and_stay(
    home: Home, settled: Export
) -> None:
    home.case("open")
    opened = home.export("two").folder
    for visit in DAYS:
        for letter in "AB":
            name = f"{visit}/SEG_reader_{letter}.dcm"
            assert (settled.folder / name).read_bytes() == (opened / name).read_bytes()
    masks = mask_readers("AA", PATIENT, READERS)
    voxels = {
        letter: int(
            hd.seg.segread(opened / f"T1/SEG_reader_{letter}.dcm")
            .get_volume(combine_segments=True)
            .array.sum()
        )
        for letter in "AB"
    }
    expected = {
        letter: next(
            r["voxel_count"] for r in home.reads if (r["reader"], r["visit"]) == (reader, "T1")
        )
        for letter, reader in masks.items()
    }
    assert voxels == expected
    assert len(set(voxels.values())) == 2


def test_a_lesion_whose_name_holds_a_reader_leaves_under_a_name_that_hints_at_none(
    home: Home,
) -> None:
    """As the matching of lesions calls what two readers number alike and outlined elsewhere."""
    home.case("open")
    rows = [
        {**r, "lesion": f"L1 ({READERS[1]})"} if r["reader"] == READERS[1] else r
        for r in home.reads
    ]
    home.lakehouse.lake.replace("reads", table("reads", *rows), site="AA")
    folder = home.export("out").folder
    labels = [
        pydicom.dcmread(folder / f"T0/SEG_reader_{letter}.dcm").SegmentSequence[0].SegmentLabel
        for letter in "AB"
    ]
    assert sorted(labels) == ["L1-1", "L1-2"]
    assert [reader for reader in READERS if reader in texts(folder)] == []


@pytest.mark.parametrize("patient", [f"AA-P{n}" for n in range(6)])
def test_letters_of_a_case_hold_where_a_third_reader_has_read(patient: str) -> None:
    usual = {"patient": patient, "visit": "T0", "scan": "S", "lesion": "L1"}
    reads = table("reads", *({**usual, "reader": r} for r in ("R1", "R2", "R3", "SITE")))
    case = table("arbitrations", {"patient": patient, "reader_a": "R1", "reader_b": "R3"})
    letters = reader_letters({"reads": reads, "arbitrations": case}, "SITE")
    masked = {reader: k for k, reader in mask_readers("AA", patient, ("R1", "R3")).items()}
    assert letters == {**masked, "R2": "C", "SITE": "S"}


def bundle_of(folder: Path) -> list[dict]:
    return json.loads((folder / "fhir.json").read_text(encoding="utf-8"))["entry"]


def test_before_both_locks_the_images_leave_alone(home: Home) -> None:
    home.read(READERS, visits=("T0",))
    made = home.export("out")
    of_t0 = {f"T0/{o}.dcm" for o in ("SEG_accepted", "SEG_reader_A", "SEG_reader_B", "SR")}
    assert names(made.folder) == ALWAYS | of_t0
    assert [(v, "locked" in note) for v, note in made.notes] == [("T1", True), ("T2", True)]
    assert len([*(made.folder / "T2" / "CT").iterdir()]) == 14


def test_a_report_holds_what_was_known_at_its_visit(settled: Export) -> None:
    made = settled
    codes = {
        visit: [
            item.ConceptCodeSequence[0].CodeValue
            for container in pydicom.dcmread(made.folder / visit / "SR.dcm").ContentSequence
            for item in container.get("ContentSequence", [])
            if "ConceptCodeSequence" in item
        ]
        for visit in DAYS
    }
    assert codes["T0"] == []
    assert {"iUPD", "waiting"} <= set(codes["T1"])
    assert {"iCPD", "confirmed"} <= set(codes["T2"])
    assert "iCPD" not in texts(made.folder / "T1")


def test_one_visit_is_exported_by_its_name(home: Home, settled: Export) -> None:
    made = home.export("out", "T1")
    assert {name.partition("/")[0] for name in made.files} == {"README.txt", "fhir.json", "T1"}
    for name in ("SR", "SEG_accepted"):
        file = f"T1/{name}.dcm"
        assert (made.folder / file).read_bytes() == (settled.folder / file).read_bytes()


def test_a_series_without_frame_of_reference_has_its_diameters_and_says_why_no_seg(
    tmp_path: Path,
) -> None:
    made = Home(tmp_path, frame_of_reference=False).export("out")
    assert names(made.folder) == ALWAYS | {f"{v}/SR.dcm" for v in DAYS}
    assert [(v, "FrameOfReferenceUID" in note) for v, note in made.notes] == [
        (v, True) for v in DAYS
    ]
    report = hd.sr.srread(made.folder / "T1/SR.dcm").content
    assert len(report.get_planar_roi_measurement_groups()) == 1
    assert report.get_volumetric_roi_measurement_groups() == []


def test_images_that_changed_since_they_were_outlined_leave_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    files = home.folder("T1").glob("*.dcm")
    max(files, key=lambda f: pydicom.dcmread(f).ImagePositionPatient[2]).unlink()
    made = home.export("out")
    assert {name for name in names(made.folder) if name.startswith("T1")} == set()
    assert [(v, "images have changed" in note) for v, note in made.notes] == [("T1", True)]
    assert "T2/SR.dcm" in made.files


@pytest.mark.parametrize(
    ("patient", "visits", "word"),
    [
        ("AA-NOBODY", (), "no patient of that pseudonym"),
        ("ZZ-NOBODY", (), "没有该研究编号"),
        (PATIENT, ("T7",), "no visit T7; there are T0, T1, T2"),
    ],
)
def test_who_or_what_is_not_there_is_refused_by_name(
    home: Home, patient: str, visits: tuple[str, ...], word: str
) -> None:
    with pytest.raises(ExportRefused, match=word):
        export_patient(home.lakehouse, patient, home.root / "out", visits, version="0")
    assert not (home.root / "out").exists()


def test_a_patient_who_has_withdrawn_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    keys = unlock(create_throwaway_medium(tmp_path / "medium"))
    crosswalk = Crosswalk(home.lakehouse.home.crosswalk, keys)
    left = crosswalk.find_or_create("AA", "12345678")
    mark = withdraw_from_crosswalk(home.lakehouse.home.crosswalk, left, "AA-MARK")
    with pytest.raises(ExportRefused, match=r"has withdrawn.*已退出研究"):
        export_patient(home.lakehouse, mark, tmp_path / "out", version="0")
    with pytest.raises(ExportRefused, match="Nothing is left of a patient who has withdrawn"):
        export_patient(home.lakehouse, left, tmp_path / "out", version="0")


def test_a_patient_whose_consent_is_contradictory_is_refused_by_name(home: Home) -> None:
    file = home.lakehouse.case_report_file("AA", "patients")
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"patient": [PATIENT], "consent": [CONTRADICTORY]}).write_parquet(file)
    (home.lakehouse.home.landing / "AA").mkdir(parents=True, exist_ok=True)
    try:
        with pytest.raises(ExportRefused, match=r"held out.*知情同意"):
            home.export("out")
    finally:
        file.unlink()


def test_only_an_empty_folder_outside_the_home_is_written_into(home: Home) -> None:
    (home.root / "full").mkdir()
    (home.root / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ExportRefused, match=r"full is not empty.*不是空的"):
        home.export("full")
    assert [f.name for f in (home.root / "full").iterdir()] == ["notes.txt"]
    inside = home.lakehouse.home.root / "export"
    with pytest.raises(ExportRefused, match="within the study's home"):
        export_patient(home.lakehouse, PATIENT, inside, version="0")
    assert not inside.exists()
    (home.root / "empty").mkdir()
    assert home.export("empty").files


def test_the_command_says_what_it_wrote_and_what_it_left_out(home: Home) -> None:
    home.case("open")
    command = ["--home", str(home.lakehouse.home.root), "export", PATIENT, "--out"]
    done = CliRunner().invoke(main, [*command, str(home.root / "out"), "--visit", "T1"])
    assert done.exit_code == 0, done.output
    assert "T1: outlines by letter, without response" in done.output
    assert "18 files in" in done.output
    again = CliRunner().invoke(main, [*command, str(home.root / "out")])
    assert again.exit_code == 1
    assert "is not empty" in again.output
