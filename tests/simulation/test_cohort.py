from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, RLELossless

from dagster_project.simulation.cohort import add_scan, simulate_cohort
from dagster_project.simulation.plan import TINY, TROUBLES

UNREADABLE = {"garbage_file", "truncated_file"}


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def rows(tiny, site, name):
    encoding, separator = {"BJCH": ("gb18030", ","), "SHPH": ("utf-8-sig", ";")}[site]
    return list(
        csv.DictReader(
            io.StringIO((tiny.landing / site / name).read_bytes().decode(encoding)),
            delimiter=separator,
        )
    )


def stack(paths):
    slices = sorted(
        (pydicom.dcmread(path) for path in paths), key=lambda d: d.ImagePositionPatient[2]
    )
    return slices, np.stack([d.pixel_array * d.RescaleSlope + d.RescaleIntercept for d in slices])


def test_a_seed_gives_the_same_bytes_and_a_later_scan_only_adds(tiny, tmp_path):
    simulate_cohort(
        tmp_path / "grown", tmp_path / "grown truth", replace(TINY, extra_scans=((0, 0),))
    )
    grown, before = digests(tmp_path / "grown"), digests(tiny.landing)
    changed = {name for name in before if grown[name] != before[name]}
    assert changed == {
        f"BJCH/reads/{reader}/{name}"
        for reader in ("R1", "R2")
        for name in ("lesions.csv", "LOCKED")
    }
    assert len(grown) == len(before) + TINY.n_slices + 2


def test_add_scan_gives_what_the_grown_plan_gives(tmp_path):
    plan = replace(TINY, sites=TINY.sites[:1], patients_per_site=1)
    simulate_cohort(tmp_path / "a", tmp_path / "a truth", plan)
    grown = add_scan(tmp_path / "a", tmp_path / "a truth", plan, "BJCH", 0)
    assert grown.extra_scans == ((0, 0),)
    simulate_cohort(tmp_path / "b", tmp_path / "b truth", grown)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a truth") == digests(tmp_path / "b truth")
    with pytest.raises(ValueError, match="V1 already"):
        add_scan(tmp_path / "a", tmp_path / "a truth", grown, "BJCH", 0)


def test_another_seed_gives_another_cohort(tiny, tmp_path):
    plan = replace(TINY, seed=7, sites=TINY.sites[:1], patients_per_site=1)
    simulate_cohort(tmp_path / "landing", tmp_path / "truth", plan)
    assert not set(digests(tmp_path / "landing").values()) & {
        d for name, d in digests(tiny.landing).items() if not name.endswith("SIMULATED")
    }


def test_progress_counts_every_scan(tiny):
    scans = sum(len(patient["visits"]) for patient in tiny.truth["patients"])
    assert tiny.progress == [(n, scans) for n in range(1, scans + 1)]


def test_every_slice_is_read_with_its_geometry(tiny):
    for patient in tiny.truth["patients"]:
        for visit, known in patient["visits"].items():
            slices, hu = stack(tiny.series(patient["site"], patient["ordinal"], visit))
            z = np.array([float(d.ImagePositionPatient[2]) for d in slices])
            expected = 5.0 if "thick_slices" in patient["troubles"] else 1.0
            assert np.allclose(np.diff(z), expected)
            assert list(hu.shape) == known["shape_zyx"]
            assert {
                (d.SOPClassUID, d.SeriesInstanceUID, d.PatientID, float(d.SliceThickness))
                for d in slices
            } == {(CTImageStorage, known["series_uid"], patient["hospital_number"], expected)}
            assert (
                len({d.SOPInstanceUID for d in slices})
                == len(slices)
                == len({int(d.InstanceNumber) for d in slices})
            )
            assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in slices)
            assert hu.min() >= -1024
            assert hu.max() > 250


def test_one_site_sends_compressed_slices(tiny):
    syntaxes = {
        site: pydicom.dcmread(tiny.series(site, 0, "T0")[0]).file_meta.TransferSyntaxUID
        for site in ("BJCH", "SHPH")
    }
    assert syntaxes["SHPH"] == RLELossless != syntaxes["BJCH"]


def test_a_lesion_lies_where_the_truth_says(tiny):
    patient = tiny.patient("BJCH", 0)
    slices, hu = stack(tiny.series("BJCH", 0, "T0"))
    x, y, z = patient["lesions"]["L1"]["visits"]["T0"]["centre_mm"]
    origin, spacing = slices[0].ImagePositionPatient, slices[0].PixelSpacing
    at = [
        round(z - origin[2]),
        round((y - origin[1]) / spacing[0]),
        round((x - origin[0]) / spacing[1]),
    ]
    assert hu[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2, at[2] - 1 : at[2] + 2].mean() > -40


def segment_masks(path, shape):
    seg = pydicom.dcmread(path)
    labels = {item.SegmentNumber: item.SegmentLabel for item in seg.SegmentSequence}
    found = dict.fromkeys(labels.values(), 0)
    frames = seg.pixel_array if seg.pixel_array.ndim == 3 else seg.pixel_array[None]
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        found[labels[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber]] += int(
            frame.sum()
        )
    return found


def test_segmentations_hold_the_voxels_of_the_truth(tiny):
    for visit in ("T0", "T1", "T2"):
        known = tiny.patient("SHPH", 1)["lesions"]
        (path,) = tiny.contours("SHPH", 1, visit, "R1")
        assert segment_masks(path, None) == {
            label: known[label]["visits"][visit]["readers"]["R1"]["voxel_count"] for label in known
        }


def test_nifti_masks_lie_on_the_grid_of_their_series(tiny):
    patient = tiny.patient("SHPH", 1)
    slices, _ = stack(tiny.series("SHPH", 1, "T0"))
    for path in tiny.contours("SHPH", 1, "T0", "R2"):
        mask = sitk.ReadImage(str(path))
        label = path.name.split("__")[1].removesuffix(".nii.gz")
        assert (
            int(sitk.GetArrayFromImage(mask).sum())
            == patient["lesions"][label]["visits"]["T0"]["readers"]["R2"]["voxel_count"]
        )
        assert np.allclose(
            mask.GetOrigin(), [float(v) for v in slices[0].ImagePositionPatient], atol=1e-3
        )
        assert np.allclose(mask.GetSpacing(), [*map(float, slices[0].PixelSpacing), 1.0], atol=1e-5)
        assert np.allclose(mask.GetDirection(), np.eye(3).ravel())
        assert mask.GetSize() == (128, 128, 40)


def test_structure_sets_refer_to_slices_that_were_sent(tiny):
    sent = {
        pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
        for path in tiny.series("BJCH", 0, "T0")
    }
    (path,) = tiny.contours("BJCH", 0, "T0", "R2")
    structure = pydicom.dcmread(path)
    assert [roi.ROIName for roi in structure.StructureSetROISequence] == ["GTV-L1", "GTV-L2"]
    for roi in structure.ROIContourSequence:
        for contour in roi.ContourSequence:
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in sent
            assert len(contour.ContourData) == 3 * int(contour.NumberOfContourPoints)


def test_dice_is_in_range_and_careless_below(tiny):
    found = [
        (patient["careless_reader"] is not None, state["dice"])
        for patient in tiny.truth["patients"]
        for lesion in patient["lesions"].values()
        for state in lesion["visits"].values()
        if state["present"]
    ]
    assert all(0.78 < value < 0.97 for careless, value in found if not careless)
    assert all(value < 0.70 for careless, value in found if careless)
    assert any(careless for careless, _ in found)


def test_the_truth_lists_every_trouble_and_what_it_does(tiny):
    assert {(t["kind"], t["site"], t["ordinal"]) for t in tiny.truth["troubles"]} == {
        (t.kind, TINY.sites[t.site].name, t.ordinal) for t in TINY.troubles
    }
    assert all(t["description"] == TROUBLES[t["kind"]] for t in tiny.truth["troubles"])
    assert [p["excluded_by"] for p in tiny.truth["patients"]] == [
        [],
        [],
        ["thick_slices"],
        [],
        [],
        ["missing_t2"],
    ]
    assert set(tiny.patient("SHPH", 2)["visits"]) == {"T0", "T1"}


def test_planted_files_are_what_they_are_meant_to_be(tiny):
    capture, truncated = (
        next(tiny.home("SHPH", 1).glob(f"{word}_*")) for word in ("SCREEN", "LAST")
    )
    assert pydicom.dcmread(capture).BurnedInAnnotation == "YES"
    cut = pydicom.dcmread(truncated)
    with pytest.raises(ValueError, match="less than expected"):
        cut.convert_pixel_data()
    with pytest.raises(pydicom.errors.InvalidDicomError):
        pydicom.dcmread(next(tiny.home("BJCH", 0).glob("*.tmp")))
    series = {p["visits"][v]["series_uid"] for p in tiny.truth["patients"] for v in p["visits"]}
    (orphan,) = (tiny.landing / "SHPH" / "reads" / "R1" / "later").rglob("*.dcm")
    assert pydicom.dcmread(orphan).ReferencedSeriesSequence[0].SeriesInstanceUID not in series


def test_case_reports_speak_each_sites_language(tiny):
    chinese, english = (
        rows(tiny, "BJCH", "clinical/patients.csv"),
        rows(tiny, "SHPH", "clinical/patients.csv"),
    )
    assert {
        "住院号",
        "性别",
        "出生日期",
        "吸烟史",
        "ECOG评分",
        "临床分期",
        "病理类型",
        "PD-L1表达",
        "治疗方案",
        "病房手记",
    } <= set(chinese[0])
    assert {row["性别"] for row in chinese} <= {"男", "女"}
    assert all("卡铂" in row["治疗方案"] for row in chinese)
    assert {"patient_id", "age", "regimen"} <= set(english[0])
    assert (tiny.landing / "SHPH/clinical/patients.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert [row["住院号"] for row in chinese] == [
        tiny.patient("BJCH", n)["hospital_number"] for n in range(3)
    ]


def test_dates_of_the_case_report_agree_with_the_truth(tiny):
    patient = tiny.patient("SHPH", 0)
    given = [
        row["date"]
        for row in rows(tiny, "SHPH", "clinical/treatments.csv")
        if row["patient_id"] == patient["hospital_number"]
    ]
    assert given[0] == patient["day_zero"]
    assert len(given) == len(patient["cycle_days"]) == 6
    assert (
        patient["visits"]["T0"]["date"]
        <= patient["day_zero"]
        < patient["visits"]["T1"]["date"]
        < patient["visits"]["T2"]["date"]
    )
    assert "2024-13-45" in [row["日期"] for row in rows(tiny, "BJCH", "clinical/follow_up.csv")]


def test_readers_rows_match_their_contours(tiny):
    for reader in ("R1", "R2"):
        listed = {
            (row["series_uid"], row["lesion"])
            for row in rows(tiny, "SHPH", f"reads/{reader}/lesions.csv")
            if row["present"] == "y"
        }
        known = {
            (p["visits"][visit]["series_uid"], label)
            for p in tiny.truth["patients"]
            if p["site"] == "SHPH"
            for label, lesion in p["lesions"].items()
            for visit in lesion["visits"]
        }
        unknown = listed - known
        assert known <= listed
        assert len(unknown) == (1 if reader == "R1" else 0)
        assert (tiny.landing / "SHPH" / "reads" / reader / "LOCKED").read_text() == tiny.truth[
            "sites"
        ]["SHPH"]["locked_at"] + "\n"


def test_decisions_settle_the_careless_pairs_and_no_other(tiny):
    (path,) = tiny.truth_folder.rglob("decisions.csv")
    assert path.parent.name == "SHPH"
    decisions = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert (
        [row["patient_id"] for row in decisions]
        == tiny.truth["sites"]["SHPH"]["careless_patients"]
        == [tiny.patient("SHPH", 0)["hospital_number"]]
    )
    assert {
        (row["accepted_reader"], row["decided_at"] > tiny.truth["sites"]["SHPH"]["locked_at"])
        for row in decisions
    } == {("R1", True)}


def test_every_identifier_is_in_the_landing(tiny):
    everything = b"\n".join(
        [p.read_bytes() for p in tiny.landing.rglob("*") if p.is_file()]
        + [str(p).encode() for p in tiny.landing.rglob("*")]
    )
    absent = [
        s
        for s in tiny.identifiers
        if not any(
            s.encode(charset, "ignore") in everything for charset in ("utf-8", "gb18030", "latin-1")
        )
    ]
    assert absent == []


@pytest.mark.parametrize(("site", "charset"), [("BJCH", "GB18030"), ("SHPH", "ISO_IR 192")])
def test_names_are_read_back_in_the_sites_charset(tiny, site, charset):
    dataset = pydicom.dcmread(tiny.series(site, 0, "T0")[0])
    folder = tiny.home(site, 0).name
    assert dataset.SpecificCharacterSet == charset
    assert str(dataset.PatientName).split("=")[1].replace("^", "") == folder.split("_")[0]
    assert folder.split("_")[0] in dataset.StudyDescription
    assert dataset.RequestAttributesSequence[0].RequestedProcedureDescription.endswith(
        folder.split("_")[0]
    )


def test_the_landing_is_marked_and_holds_no_truth(tiny):
    assert all((site / "SIMULATED").is_file() for site in tiny.landing.iterdir())
    assert {p.name for site in tiny.landing.iterdir() for p in site.iterdir()} == {
        "SIMULATED",
        "dicom",
        "clinical",
        "reads",
    }
    assert b"late_responder" not in b"".join(p.read_bytes() for p in tiny.landing.rglob("*.csv"))


def test_truth_inside_the_landing_and_an_occupied_landing_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="inside the landing"):
        simulate_cohort(tmp_path, tmp_path / "truth", TINY)
    with pytest.raises(FileExistsError, match="already has BJCH, SHPH"):
        simulate_cohort(tiny.landing, tmp_path / "truth", TINY)
