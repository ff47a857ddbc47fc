"""A report is read back to the digit by highdicom and by DCMTK, and dciodvfy finds no fault.

Several cases are reports of other people: OHIF 3390 and 1215, half a pixel in horos 447.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes as standard

from dagster_project.domain.imaging.grids import points_of, to_index
from dagster_project.flow.export import DECIMALS
from dagster_project.interchange import codes
from dagster_project.interchange.identifiers import tracking_uid
from dagster_project.interchange.measurement_reports import (
    DrawnDiameter,
    ReportedLesion,
    Visit,
    build_report,
)
from dagster_project.interchange.segmentation_objects import Subject, build_segmentation
from tests.intake.peers import of_dcmtk
from tests.interchange.scans import GRIDS, SUBJECT, ct, found_by_dciodvfy, outlined, row_of, stacked

RESPONSE = {
    "target_response": "PD",
    "nontarget_response": "NON_CR_NON_PD",
    "new_lesion": False,
    "overall_response": "PD",
    "irecist_response": "iUPD",
    "sum_mm": 35.56726866094724,
    "baseline_sum_mm": 26.6,
    "nadir_mm": 26.6,
    "change_from_baseline_percent": 33.7085789501954,
    "change_from_nadir_percent": None,
}
BLOCK = {"status": "waiting", "outcome": "open", "confirm_from_day": 84, "confirm_to_day": 116}
UNDRAWN = {
    "mask_digest": None,
    "volume_mm3": None,
    "longest_diameter_mm": None,
    "short_axis_mm": None,
    "organ": "lymph_node",
    "role": "non_target",
    "is_present": True,
    "too_small_to_measure": False,
}
BY_HAND = {**UNDRAWN, "lesion": "L3", "longest_diameter_mm": 17.25, "short_axis_mm": 11.5}
ABSENT = {**UNDRAWN, "lesion": "L4", "is_present": False}
SMALL = {**UNDRAWN, "lesion": "L5", "too_small_to_measure": True}
VISIT = Visit(58, RESPONSE, BLOCK)


def reported(folder: Path, slices, subject: Subject = SUBJECT):
    """Two outlined lesions and the SEG that holds them, as an export reports them."""
    series, headers = stacked(folder, slices)
    lesions = [outlined(series, "L1", 3, 12, 1), outlined(series, "L2", 8, 10, 2)]
    seg = build_segmentation(headers, series, lesions, subject, "accepted")
    made = []
    for number, one in enumerate(lesions, 1):
        row = row_of(series, one)
        points = points_of(row["diameter_ends_mm"])
        ends = np.round(to_index(series.affine, points)[:, :2], DECIMALS)
        drawn = headers.get(row["diameter_slice"])
        made.append(ReportedLesion(row, seg, number, DrawnDiameter(drawn, ends) if drawn else None))
    return headers, seg, made


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, list[ReportedLesion]]:
    """A report of five lesions on disk, beside its CT and SEG."""
    folder = tmp_path_factory.mktemp("report")
    headers, seg, lesions = reported(folder / "ct", ct())
    undrawn = [ReportedLesion(row) for row in (BY_HAND, ABSENT, SMALL)]
    made = build_report([*headers.values()], [*lesions, *undrawn], VISIT, SUBJECT)
    made.save_as(folder / "sr.dcm", enforce_file_format=True)
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    return folder, lesions


def groups(folder: Path, kind: str):
    return getattr(hd.sr.srread(folder / "sr.dcm").content, f"get_{kind}_roi_measurement_groups")()


def values(group) -> dict[str, float]:
    return {m.name.meaning: m.value for m in group.get_measurements()}


def test_highdicom_reads_every_number_back_to_the_digit(report) -> None:
    folder, lesions = report
    assert [values(group) for group in groups(folder, "volumetric")] == [
        {"Volume": one.row["volume_mm3"]} for one in lesions
    ]
    assert [values(group) for group in groups(folder, "planar")] == [
        {"Long axis": one.row["longest_diameter_mm"], "Short axis": one.row["short_axis_mm"]}
        for one in lesions
    ]


def test_volumetric_groups_refer_to_the_segments_of_the_seg(report) -> None:
    folder, _ = report
    seg = pydicom.dcmread(folder / "seg.dcm", stop_before_pixels=True)
    found = []
    for group in groups(folder, "volumetric"):
        image = next(item for item in group[0].ContentSequence if item.ValueType == "IMAGE")
        reference = image.ReferencedSOPSequence[0]
        found.append(
            (
                reference.ReferencedSOPInstanceUID,
                reference.ReferencedSegmentNumber,
                group.tracking_uid,
            )
        )
    assert found == [(seg.SOPInstanceUID, n, tracking_uid("AA-P1", f"L{n}")) for n in (1, 2)]
    assert [s.TrackingUID for s in seg.SegmentSequence] == [uid for _, _, uid in found]
    assert [g.tracking_uid for g in groups(folder, "planar")] == [uid for _, _, uid in found]


def test_dcmtk_reads_the_same_numbers(report) -> None:
    folder, lesions = report
    dumped = dumped_by_dcmtk(folder / "sr.dcm")
    for name, column in (
        ("Long axis", "longest_diameter_mm"),
        ("Short axis", "short_axis_mm"),
        ("Volume", "volume_mm3"),
    ):
        read = [float(v) for v in re.findall(rf'"{name}"\)="([\d.]+)"', dumped)]
        by_hand = [BY_HAND[column]] if BY_HAND[column] else []
        expected = [*(one.row[column] for one in lesions), *by_hand]
        assert read == pytest.approx(expected, rel=1e-12)
    for value in (RESPONSE["sum_mm"], RESPONSE["change_from_baseline_percent"]):
        assert f'="{value:.13f}"' in dumped or f'="{value:.12f}"' in dumped


def dumped_by_dcmtk(file: Path) -> str:
    done = subprocess.run(
        [of_dcmtk("dsrdump"), "+Pl", str(file)], check=True, capture_output=True, text=True
    )
    assert "E:" not in done.stderr
    return done.stdout


def test_dcmqi_reads_both_groups_as_3d_slicer_does(report, tmp_path: Path) -> None:
    folder, lesions = report
    program = str(files("dcmqi").joinpath("bin/tid1500reader"))
    command = [program, "--inputDICOM", str(folder / "sr.dcm")]
    subprocess.run(
        [*command, "--outputMetadata", str(tmp_path / "sr.json")], check=True, capture_output=True
    )
    read = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    values = [float(item["value"]) for group in read for item in group["measurementItems"]]
    columns = ("volume_mm3", "longest_diameter_mm", "short_axis_mm")
    expected = [one.row[column] for one in lesions for column in columns]
    assert values == pytest.approx(expected, rel=1e-12)
    assert [group.get("ReferencedSegment") for group in read] == [1, None, 2, None]


def test_responses_have_the_codes_of_dicom_where_it_has_any(report) -> None:
    folder, _ = report
    dumped = dumped_by_dcmtk(folder / "sr.dcm")
    for text in (
        '"Current Response")=(112043,DCM,"Target Lesion Progressive Disease")',
        '"Current Response")=(112046,DCM,"Non-Target Lesion Incomplete Response or Stable',
        '=(PD,99DIRECIST,"Progressive disease")',
        '=(iUPD,99DIRECIST,"Immune unconfirmed progressive disease")',
        '=(waiting,99DIRECIST,"Before the window in which a CT can confirm")',
        '"First day of the confirmation window from cycle 1")="84',
        "Verification Flag   : UNVERIFIED",
    ):
        assert text in dumped
    scheme = pydicom.dcmread(folder / "sr.dcm").CodingSchemeIdentificationSequence[0]
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeUID) == (
        codes.SCHEME,
        codes.SCHEME_UID,
    )


@pytest.mark.parametrize(
    ("cid", "ours"),
    [
        ("cid6144", (*codes.TARGET_RESPONSES.values(), *codes.NONTARGET_RESPONSES.values())),
        ("cid6147", (codes.RECIST_1_1,)),
        ("cid6145", codes.BASELINE_CATEGORIES.values()),
        ("cid7474", (codes.SEGMENTED_VOXELS,)),
    ],
)
def test_codes_are_those_of_the_context_groups(cid: str, ours) -> None:
    group = getattr(standard, cid)
    known = [getattr(group, name) for name in group.dir()]
    assert [code for code in ours if code not in known] == []


def test_lesions_without_outline_have_a_state_and_their_diameters(report) -> None:
    dumped = dumped_by_dcmtk(report[0] / "sr.dcm")
    for state in ("Not present any more", "Present, too small to measure"):
        assert f'"{state}")' in dumped
    assert "Present, not measured" not in dumped
    assert '"Long axis")="17.25"' in dumped
    assert {f"AA-P1 L{n}" for n in range(1, 6)} <= set(re.findall(r"AA-P1 L\d", dumped))


def test_dates_are_said_to_be_shifted_and_nothing_is_of_a_model(report) -> None:
    folder, _ = report
    made = pydicom.dcmread(folder / "sr.dcm")
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    texts = " ".join(str(e.value) for e in made.iterall() if e.VR in {"UT", "LO", "LT", "ST"})
    assert "shifted by one secret number of days" in texts
    assert not re.search(r"probab|risk|advice|predict|概率|风险", texts, re.IGNORECASE)
    assert {e.value for e in made.iterall() if e.VR in {"DA", "DT"} and e.value} == {
        "20240501",
        "20240102",
    }


def drawn_points(file: Path) -> list[np.ndarray]:
    groups = hd.sr.srread(file).content.get_planar_roi_measurement_groups()
    return [np.asarray(group.roi.value) for group in groups]


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_line_of_a_diameter_lies_on_pixel_corners_of_its_slice(
    tmp_path: Path, grid: str
) -> None:
    headers, _, lesions = reported(tmp_path / "ct", GRIDS[grid]())
    build_report([*headers.values()], lesions, VISIT, SUBJECT).save_as(
        tmp_path / "sr.dcm", enforce_file_format=True
    )
    drawn = [one for one in lesions if one.diameter]
    lines = drawn_points(tmp_path / "sr.dcm")
    assert len(lines) == len(drawn) > 0
    for one, line in zip(drawn, lines, strict=True):
        row_mm, column_mm = map(float, one.diameter.header.PixelSpacing)
        length = np.hypot(*((line[1] - line[0]) * [column_mm, row_mm]))
        assert length == pytest.approx(one.row["longest_diameter_mm"], abs=0.003)
        assert np.array_equal(line, np.rint(line))
        rows, columns = (slice(a, b) for a, b in ((10, 17), (20, 31)))
        assert ((line >= [columns.start, rows.start]) & (line <= [columns.stop, rows.stop])).all()


def test_a_diameter_on_a_missing_slice_is_no_line_on_another(tmp_path: Path) -> None:
    headers, _, (one, other) = reported(tmp_path / "ct", ct())
    undrawn = ReportedLesion(one.row, one.segmentation, one.segment)
    made = build_report([*headers.values()], [undrawn, other], VISIT, SUBJECT)
    made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    first = groups(tmp_path, "volumetric")[0]
    assert values(first) == {"Volume": one.row["volume_mm3"]}
    assert [g.tracking_uid for g in groups(tmp_path, "planar")] == [tracking_uid("AA-P1", "L2")]
    assert "Derived Imaging Measurements" in dumped_by_dcmtk(tmp_path / "sr.dcm")


def test_an_outline_that_the_images_cut_has_its_segment_and_no_number(tmp_path: Path) -> None:
    headers, seg, (one, other) = reported(tmp_path / "ct", ct())
    none = {"volume_mm3": None, "longest_diameter_mm": None, "short_axis_mm": None}
    cut = ReportedLesion({**one.row, **none}, seg, one.segment)
    made = build_report([*headers.values()], [cut, other], VISIT, SUBJECT)
    made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    assert values(groups(tmp_path, "volumetric")[0]) == {}
    assert len(groups(tmp_path, "planar")) == 1
    assert '"Present, not measured")' in dumped_by_dcmtk(tmp_path / "sr.dcm")


def test_viewers_that_draw_every_group_find_a_place_in_each(report) -> None:
    """OHIF merges groups by tracking UID and fails on a number that no SCOORD goes with."""
    (container,) = [
        item
        for item in pydicom.dcmread(report[0] / "sr.dcm").ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    kinds: dict[str, set[str]] = {}
    for group in container.ContentSequence:
        uid = next(i.UID for i in group.ContentSequence if i.ValueType == "UIDREF")
        kinds.setdefault(uid, set()).update(i.ValueType for i in group.ContentSequence)
    assert len(kinds) == 2
    assert all({"SCOORD", "NUM", "IMAGE"} <= found for found in kinds.values())


def test_a_visit_without_any_outline_has_its_response(tmp_path: Path) -> None:
    headers = stacked(tmp_path / "ct", ct())[1]
    response = {**RESPONSE, "target_response": "CR", "nontarget_response": "NONE", "sum_mm": 0.0}
    visit = Visit(100, response)
    made = build_report([*headers.values()], [ReportedLesion(ABSENT)], visit, SUBJECT)
    made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    dumped = dumped_by_dcmtk(tmp_path / "sr.dcm")
    assert "(112041,DCM," in dumped
    assert 'Imaging Measurements")=CONT' not in dumped.replace("Derived Imaging", "")
    assert errors(tmp_path / "sr.dcm") == []


def test_a_lesion_has_one_tracking_uid_at_all_visits_and_patients_have_others(
    tmp_path: Path,
) -> None:
    uids = []
    for place, subject in enumerate(
        (SUBJECT, Subject("AA-P1", "T2", None, "0"), Subject("AA-P2", "T1", None, "0"))
    ):
        headers, _, lesions = reported(tmp_path / str(place), ct(), subject)
        made = build_report([*headers.values()], lesions, VISIT, subject)
        made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
        uids.append([g.tracking_uid for g in groups(tmp_path, "planar")])
    assert uids[0] == uids[1]
    assert len({*uids[0], *uids[2]}) == 4


def test_the_same_rows_give_the_same_bytes(report, tmp_path: Path) -> None:
    folder, _ = report
    headers, _, lesions = reported(tmp_path / "ct", ct())
    undrawn = [ReportedLesion(row) for row in (BY_HAND, ABSENT, SMALL)]
    made = build_report([*headers.values()], [*lesions, *undrawn], VISIT, SUBJECT)
    made.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    assert (tmp_path / "sr.dcm").read_bytes() == (folder / "sr.dcm").read_bytes()
    other = build_report([*headers.values()], lesions, VISIT, SUBJECT)
    assert other.SOPInstanceUID != made.SOPInstanceUID


def errors(file: Path) -> list[str]:
    return [line for line in found_by_dciodvfy(file) if line.startswith("Error")]


def test_dciodvfy_finds_nothing_that_the_slices_had_not(report) -> None:
    folder, _ = report
    ours = {file: found_by_dciodvfy(folder / file) for file in ("seg.dcm", "sr.dcm")}
    before = set(found_by_dciodvfy(next((folder / "ct").glob("*.dcm"))))
    private = re.compile(r"Unrecognized defined term <(99DIRECIST|2\.25\.\d+)>")
    new = {
        file: [line for line in lines if line not in before and not private.search(line)]
        for file, lines in ours.items()
    }
    assert new == {"seg.dcm": [], "sr.dcm": []}
