"""Who is sampled for controls, and scans that a site repeats on one day.

Repeated scans go from the site's landing to the ICC of test and retest.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pydicom
import pytest
from pydicom.uid import generate_uid

from dagster_project.commands.run import install_dagster_settings
from dagster_project.definitions import defs
from dagster_project.flow.control_features import measure_new_controls, sample_reads
from dagster_project.simulation.cohort import simulate_cohort
from dagster_project.statistics.icc import icc
from dagster_project.statistics.icc_by_patient import (
    bounds_on_fishers_scale,
    reach_by_patient,
    sums_by_patient,
)
from tests.domain.rows import table
from tests.flow.site import silent
from tests.trial import CHINESE, COHORT, SETTINGS, Trial, write_protocol

SITE = CHINESE.name
FEATURE = "original_firstorder_Mean"


def reads(*rows: dict[str, object]) -> pl.DataFrame:
    return table(
        "reads",
        *(
            {"visit": "T0", "scan": f"S-{row['patient']}", "mask_digest": "d", **row}
            for row in rows
        ),
    )


def test_1_the_largest_lesion_before_treatment_is_taken_as_the_first_reader_drew_it():
    drawn = reads(
        {"patient": "P1", "lesion": "L1", "reader": "R1", "volume_mm3": 900.0},
        {"patient": "P1", "lesion": "L2", "reader": "R1", "volume_mm3": 800.0},
        {"patient": "P1", "lesion": "L2", "reader": "R2", "volume_mm3": 950.0},
        {"patient": "P2", "lesion": "L1", "reader": "R2", "volume_mm3": 5.0},
        {"patient": "P3", "lesion": "L1", "reader": "R1", "volume_mm3": 5.0, "visit": "T1"},
    )
    assert sample_reads(drawn, 9).select("patient", "lesion", "reader").rows() == [
        ("P1", "L2", "R1"),
        ("P2", "L1", "R2"),
    ]


def test_2_a_sample_is_of_the_size_asked_for_and_a_patient_more_takes_one_place_at_most():
    everyone = reads(
        *(
            {"patient": f"P{k:02}", "lesion": "L1", "reader": "R1", "volume_mm3": float(k)}
            for k in range(30)
        )
    )
    samples = [
        set(sample_reads(everyone.filter(pl.col("patient") < f"P{n:02}"), 6)["patient"])
        for n in range(6, 31)
    ]
    assert {len(sample) for sample in samples} == {6}
    assert all(len(now - before) <= 1 for before, now in itertools.pairwise(samples))
    assert len(samples[-1] - samples[0]) > 2, "nor does who comes first stay for good"


def scan_again(landing: Path, uids: dict[str, str]) -> None:
    """Add a second scan beside each patient's first, and each reader's outline of it.

    It has new UIDs, and slightly changed pixels in place of a movement of the patient.
    """
    slices = [
        (file, pydicom.dcmread(file))
        for file in sorted((landing / "dicom").rglob("*"))
        if file.is_file()
    ]
    first = {
        patient: min(d.StudyDate for _, d in slices if d.PatientID == patient)
        for patient in {d.PatientID for _, d in slices}
    }
    frames: dict[str, str] = {}
    for file, dataset in ((f, d) for f, d in slices if first[d.PatientID] == d.StudyDate):
        pixels = dataset.pixel_array.copy()
        pixels[::2] += 3
        dataset.PixelData = pixels.tobytes()
        dataset.SeriesInstanceUID = uids.setdefault(str(dataset.SeriesInstanceUID), generate_uid())
        dataset.FrameOfReferenceUID = frames.setdefault(
            str(dataset.FrameOfReferenceUID), generate_uid()
        )
        dataset.SeriesNumber, dataset.SOPInstanceUID = 77, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(file.with_name(f"again_{file.name}"))
    for file in [
        f for f in (landing / "reads").rglob("*.nii.gz") if f.name.partition("__")[0] in uids
    ]:
        uid, _, rest = file.name.partition("__")
        shutil.copyfile(file, file.with_name(f"{uids[uid]}__{rest}"))


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """One site of three patients, each scanned twice before treatment.

    The site's own part of the flow is run, and the comparison.
    """
    folder = tmp_path_factory.mktemp("repeats")
    plan = replace(
        COHORT,
        sites=(replace(CHINESE, formats=("NIFTI", "NIFTI"), courses=("stable",)),),
        troubles=(),
        patients_per_site=3,
    )
    trial = Trial(folder / "home", write_protocol(folder / "study.toml"))
    simulate_cohort(trial.home.landing, trial.root / "truth", plan)
    scan_again(trial.home.landing / SITE, {})
    with trial.overheard():
        install_dagster_settings(trial.home.make())
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions("site", [SITE])
            assert (
                defs.resolve_job_def("site")
                .execute_in_process(instance=instance, partition_key=SITE)
                .success
            )
    assert trial.materialise("feature_stability").success
    return trial


def test_3_a_repeat_scan_is_measured_and_is_no_read_of_its_visit(twice: Trial) -> None:
    first = twice.table("timepoints").filter(visit="T0")
    assert first["alternative_scans"].list.len().to_list() == [1] * 3
    rows, drawn = (
        twice.table("control_features").filter(control_type="repeat", feature=FEATURE),
        twice.table("reads").filter(visit="T0"),
    )
    again = {
        (scan, other)
        for scan, others in first.select("scan", "alternative_scans").iter_rows()
        for other in others
    }
    assert {(r["scan"], r["lesion"], r["reader"]) for r in rows.iter_rows(named=True)} == {
        (other, r["lesion"], r["reader"])
        for r in drawn.filter(pl.col("mask_digest").is_not_null()).iter_rows(named=True)
        for scan, other in again
        if scan == r["scan"]
    }
    assert set(drawn["scan"]) == set(first["scan"])
    with twice.entered():
        assert twice.lakehouse.refusals().height == 0


def test_4_its_icc_is_that_of_the_two_scans(twice: Trial) -> None:
    test = twice.table("radiomic_features").filter(
        region="tumor", feature=FEATURE, reader="R1", visit="T0"
    )
    retest = twice.table("control_features").filter(
        control_type="repeat", feature=FEATURE, reader="R1"
    )
    both = test.join(retest, on=["patient", "lesion"])
    pairs = both.select("value", "value_right").to_numpy()
    row = (
        twice.table("feature_stability").filter(region="tumor", feature=FEATURE).row(0, named=True)
    )
    expected = icc(pairs, "ICC(1,1)").value
    reach = reach_by_patient(
        sums_by_patient(pairs, both.select("site", "patient").rows()), "ICC(1,1)"
    )
    assert row["n_lesions_repeated"] == len(pairs) >= 3
    assert (row["icc_repeat"], row["icc_repeat_lower"]) == (
        pytest.approx(expected),
        pytest.approx(bounds_on_fishers_scale(expected, float(reach))[0]),
    )
    assert row["within_sd_repeat"] == pytest.approx(
        (((pairs[:, 0] - pairs[:, 1]) ** 2).mean() / 2) ** 0.5
    )
    rings = twice.table("feature_stability").filter(pl.col("region") != "tumor")
    assert rings["icc_repeat"].null_count() == rings.height


def test_5_what_is_too_large_is_refused_with_its_reason_and_stops_nothing(
    twice: Trial, tmp_path: Path
) -> None:
    """In a copy of the home, whose features the refusal takes away."""
    shutil.copytree(twice.root, tmp_path / "home", symlinks=True)
    twice = Trial(tmp_path / "home", twice.protocol, twice.plan)
    small = write_protocol(
        tmp_path / "study.toml",
        {**SETTINGS, "radiomics": {**SETTINGS["radiomics"], "maximum_crop_voxels": 1000}},
    )
    wanted = twice.table("control_features")["input_fingerprint"].n_unique()
    with (
        twice.entered(),
        pytest.MonkeyPatch.context() as patch,
    ):  # in this order, so that the home's own settings are put back first
        patch.setenv("LAKEHOUSE_STUDY", str(small))
        patch.setenv("LAKEHOUSE_WORKERS", "0")
        counts = measure_new_controls(twice.lakehouse, SITE, silent).counts
        refused = twice.lakehouse.refusals()
    assert counts == {"computed": 0, "reused": 0, "removed": wanted, "refused": wanted}
    assert set(refused["stage"]) == {"control_features"}
    assert refused["reason"].str.contains("maximum_crop_voxels").all()
