"""The landing is listed whole, named without names, and never changed."""

import hashlib

import pytest

from dagster_project.intake.vault.landing import (
    case_report_files,
    is_simulated,
    list_images,
    locate_refused,
    unexpected_entries,
)


@pytest.fixture
def landing(tmp_path):
    site = tmp_path / "AB"
    for name in (
        "dicom/Murong/CT/1.dcm",
        "dicom/2",
        "reads/R1/rs.dcm",
        "reads/R1/lesions.csv",
        "reads/R1/LOCKED",
        "reads/R1/deep/lesions.csv",
        "reads/R2/m.nii.gz",
        "clinical/patients.csv",
        "clinical/treatments.csv",
        "arbitration/decisions.csv",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name, encoding="utf-8")
    return site


def test_images_are_every_file_but_what_a_reader_writes_beside_them(landing):
    assert [(f.relative, f.place) for f in list_images(landing)] == [
        ("dicom/2", "dicom"),
        ("dicom/Murong/CT/1.dcm", "dicom"),
        ("reads/R1/deep/lesions.csv", "reads/R1"),
        ("reads/R1/rs.dcm", "reads/R1"),
        ("reads/R2/m.nii.gz", "reads/R2"),
    ]


def test_the_case_report_is_the_named_files(landing):
    assert [str(p.relative_to(landing)) for p in case_report_files(landing)] == [
        "clinical/patients.csv",
        "clinical/treatments.csv",
        "reads/R1/LOCKED",
        "reads/R1/lesions.csv",
        "arbitration/decisions.csv",
    ]


def test_links_are_followed_within_the_landing_and_not_in_a_circle(landing, tmp_path):
    (landing / "pacs").mkdir()
    (landing / "pacs" / "3").write_text("3", encoding="utf-8")
    (landing / "dicom" / "link").symlink_to(landing / "pacs")
    (landing / "dicom" / "Murong" / "loop").symlink_to(landing / "dicom")
    (landing / "dicom" / "gone").symlink_to(tmp_path / "nowhere")
    listed = {f.relative: f.size for f in list_images(landing) if f.place == "dicom"}
    assert listed.keys() == {"dicom/2", "dicom/Murong/CT/1.dcm", "dicom/link/3", "dicom/gone"}
    assert listed["dicom/gone"] == -1


def test_a_refused_file_is_named_by_place_and_digest_and_found_again_by_it(landing):
    found = next(f for f in list_images(landing) if f.relative == "dicom/Murong/CT/1.dcm")
    digest = hashlib.sha256(found.path.read_bytes()).hexdigest()
    item = found.item(digest)
    assert item == f"dicom/ file sha256:{digest[:12]}"
    assert locate_refused(landing, [item, "clinical/patients.csv row 7"]) == {
        digest[:12]: found.path
    }
    assert len(locate_refused(landing)) == 5


def test_strangers_are_counted_and_not_named(landing):
    for name in (
        "Murong.zip",
        "clinical/Murong.xlsx",
        "reads/Dr Ouyang/rs.dcm",
        "reads/SITE/rs.dcm",
    ):
        (landing / name).parent.mkdir(parents=True, exist_ok=True)
        (landing / name).write_text(name, encoding="utf-8")
    refusals = unexpected_entries(landing)
    assert [(r.item, r.reason.split()[0]) for r in refusals] == [
        ("landing", "1"),
        ("clinical", "1"),
        ("reads", "2"),
    ]
    assert "Murong" not in str(refusals)
    assert not any("Ouyang" in f.place for f in list_images(landing))


@pytest.mark.parametrize(
    "name",
    [
        "clinical/patients.xls",
        "clinical/Patients.csv",
        "clinical/follow_up.ods",
        "reads/R1/lesions.XLSX",
        "arbitration/decisions.xlsb",
    ],
)
def test_a_table_in_a_form_that_is_not_read_is_named(landing, name):
    (landing / name).write_bytes(b"x")
    (refusal,) = [r for r in unexpected_entries(landing) if "another ending" in r.reason]
    assert refusal.item == f"{name.rpartition('.')[0].lower().replace('/r1/', '/R1/')}.csv"


def test_workbooks_are_case_report_files_and_no_images(landing):
    for name in (
        "clinical/patients.xlsx",
        "reads/R1/lesions.xlsx",
        "arbitration/decisions.xlsx",
        "arbitration/~$decisions.xlsx",
    ):
        (landing / name).write_bytes(b"x")
    assert {p.name for p in case_report_files(landing) if p.suffix == ".xlsx"} == {
        "patients.xlsx",
        "lesions.xlsx",
        "decisions.xlsx",
    }
    assert not [f for f in list_images(landing) if f.relative.endswith(".xlsx")]
    assert unexpected_entries(landing) == []


def test_a_landing_says_that_it_is_simulated(landing):
    assert not is_simulated(landing)
    (landing / "SIMULATED").touch()
    assert is_simulated(landing)
    assert unexpected_entries(landing) == []


def test_an_empty_landing_has_nothing(tmp_path):
    (tmp_path / "AB").mkdir()
    assert (
        list_images(tmp_path / "AB"),
        case_report_files(tmp_path / "AB"),
        unexpected_entries(tmp_path / "AB"),
    ) == ([], [], [])
