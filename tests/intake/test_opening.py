"""What lies in a landing but is not a file of it is refused with its reason.

Nothing hangs, and the rest is taken in.
"""

import gzip
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from dagster_project.intake import opening
from dagster_project.intake.opening import (
    LEADS_NOWHERE,
    LEADS_OUT,
    NO_FILE,
    TOO_LARGE_EXPORT,
    TOO_LARGE_FILE,
    TOO_LARGE_LOCK,
    TOO_LARGE_TABLE,
    NotOpenedError,
    file_digest,
    open_delivered,
    read_delivered,
    read_table_file,
)
from dagster_project.intake.vault.landing import list_images
from dagster_project.intake.vault.process_file import Task
from dagster_project.intake.vault.sandbox import close_child
from tests.intake.builders import ct, to_bytes, write_mask, write_series
from tests.intake.vault.test_vault import Site


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path.name)


def nowhere(path):
    path.symlink_to(path.parent / "gone")


def folder(path):
    path.mkdir()


def link_out(path):
    other = path.parents[3] / "another"
    other.mkdir(exist_ok=True)
    (other / "scan.dcm").write_bytes(to_bytes(ct()))
    path.symlink_to(other / "scan.dcm")


def link_out_upwards(path):
    link_out(path)
    path.unlink()
    path.symlink_to("../../../another/scan.dcm")


def listening(path):
    """Bound by a short name: a socket's path has no more than 107 bytes."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def device(path):
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no device can be made here")


def sparse(path):
    """It takes no room on the disk, and hours to read."""
    with path.open("wb") as file:
        file.truncate(2**43)


KINDS = {
    pipe: NO_FILE,
    listening: NO_FILE,
    device: NO_FILE,
    endless: LEADS_OUT,
    link_out: LEADS_OUT,
    link_out_upwards: LEADS_OUT,
    loop: LEADS_NOWHERE,
    nowhere: LEADS_NOWHERE,
    sparse: TOO_LARGE_FILE,
}


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "home")
    for name in ("dicom", "clinical", "reads/R1", "arbitration"):
        (made.landing / name).mkdir(parents=True)
    yield made
    close_child()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_only_regular_files_of_the_landing_are_opened(site, kind):
    path = site.landing / "dicom" / "Murong.dcm"
    kind(path)
    with pytest.raises(NotOpenedError) as refused:
        read_delivered(path, site.landing)
    assert refused.value.reason == KINDS[kind]
    assert "Murong" not in str(refused.value)
    assert file_digest(path, site.landing) == ""
    assert Task(str(path), "dicom", root=str(site.landing)).digest() == "", "in the parent too"


def test_links_within_the_landing_and_a_linked_site_folder_are_files_of_it(site, tmp_path):
    real = site.put("dicom/real.dcm", b"data")
    (site.landing / "dicom" / "link.dcm").symlink_to(real)
    (tmp_path / "mounted").symlink_to(site.landing)
    assert read_delivered(site.landing / "dicom" / "link.dcm", site.landing) == b"data"
    assert (
        read_delivered(tmp_path / "mounted" / "dicom" / "real.dcm", tmp_path / "mounted") == b"data"
    )


def test_another_site_whose_name_begins_alike_is_outside(site):
    (site.landing.parent / "ABC").mkdir()
    (site.landing.parent / "ABC" / "x").write_bytes(b"x")
    (site.landing / "dicom" / "x").symlink_to(site.landing.parent / "ABC" / "x")
    with pytest.raises(NotOpenedError, match="leads out"):
        open_delivered(site.landing / "dicom" / "x", site.landing)


def test_what_is_exchanged_after_it_was_looked_at_is_not_waited_for(site, monkeypatch):
    path = site.put("dicom/1.dcm", b"data")
    checked = opening._check
    monkeypatch.setattr(
        opening,
        "_check",
        lambda facts, most: (
            (checked(facts, most), path.unlink(missing_ok=True), os.mkfifo(path))[0]
            if not path.is_fifo()
            else checked(facts, most)
        ),
    )
    with pytest.raises(NotOpenedError, match="no regular file"):
        open_delivered(path, site.landing)


def test_a_file_that_grows_while_it_is_read_has_a_limit(site, monkeypatch):
    path = site.put("dicom/1.dcm", b"data")
    monkeypatch.setattr(opening, "_check", lambda *_: None)
    with pytest.raises(NotOpenedError):
        read_delivered(path, site.landing, most=3)


def test_a_site_with_all_of_them_is_taken_in_without_waiting(site):
    write_series(site.landing / "dicom" / "CT")
    for kind in KINDS:
        kind(site.landing / "dicom" / kind.__name__) if kind is not device else None
    outside = site.landing.parents[2] / "exported"
    write_series(outside)
    (site.landing / "dicom" / "Murong").symlink_to(outside)
    began = time.monotonic()
    report = site.take()
    assert time.monotonic() - began < 60
    assert report.accepted == 3
    reasons = {
        row["reason"] for row in rows(site) if row["item"] == "dicom/ file that cannot be read"
    }
    assert reasons == {NO_FILE, LEADS_OUT, LEADS_NOWHERE, TOO_LARGE_FILE}
    assert "Murong" not in str(rows(site))
    again = site.take()
    assert (again.accepted, len(rows(site))) == (0, len(rows(site)))
    for kind in KINDS:
        (site.landing / "dicom" / kind.__name__).unlink(missing_ok=True)
    (site.landing / "dicom" / "Murong").unlink()
    site.take()
    assert rows(site) == [], "taken out, they are refused no more"


def rows(site):
    import polars as pl

    return pl.read_parquet(site.vault / "refused.parquet").to_dicts()


TABLES = (
    "clinical/patients.csv",
    "clinical/odm.xml",
    "clinical/redcap.csv",
    "clinical/treatments.xlsx",
    "reads/R1/lesions.csv",
    "reads/R1/LOCKED",
    "arbitration/decisions.csv",
)


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (pipe, {NO_FILE}),
        (endless, {LEADS_OUT}),
        (loop, {LEADS_NOWHERE}),
        (sparse, {TOO_LARGE_TABLE, TOO_LARGE_EXPORT, TOO_LARGE_LOCK}),
        (folder, {NO_FILE}),
    ],
    ids=["pipe", "endless", "loop", "sparse", "folder"],
)
def test_a_table_that_is_no_file_is_refused_by_its_name(site, kind, reasons):
    """Folders in the place of exports are counted as entries that the contract does not know."""
    names = [
        name
        for name in TABLES
        if kind is not folder or name not in {"clinical/odm.xml", "clinical/redcap.csv"}
    ]
    for name in names:
        kind(site.landing / name)
    site.take()
    refused = site.refused()
    assert {refused[name] for name in names} <= reasons
    for name in names:
        (site.landing / name).rmdir() if kind is folder else (site.landing / name).unlink()
    site.take()
    assert not set(names) & set(site.refused()), "taken out, they are refused no more"


def test_a_folder_of_tables_that_leads_out_is_not_read(site, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "patients.csv").write_text(
        "patient_id,sex\nZY0012345,F\n", encoding="utf-8"
    )
    (site.landing / "clinical").rmdir()
    (site.landing / "clinical").symlink_to(tmp_path / "other")
    site.take()
    assert site.refused()["clinical/patients.csv"] == LEADS_OUT
    with pytest.raises(NotOpenedError):
        read_table_file(site.landing / "clinical" / "patients.csv")


def test_folders_that_link_to_each_other_are_listed_once(site):
    """Thirty levels with two links each would be a thousand million folders."""
    for n in range(30):
        (site.landing / "dicom" / str(n)).mkdir()
        for name in ("a", "b"):
            (site.landing / "dicom" / str(n) / name).symlink_to(site.landing / "dicom" / str(n + 1))
    site.put("dicom/30/1.dcm", ct())
    assert [f.relative for f in list_images(site.landing)] == ["dicom/30/1.dcm"]


@pytest.mark.parametrize(
    "field", ["data file: /etc/passwd", "datafile: other.raw", "DATA FILE: LIST"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_nrrd_header_leads_to_no_other_file_however_long_it_is(site, tmp_path, field, end):
    from dagster_project.intake.dicom.mask_files import clean_mask
    from dagster_project.intake.refusals import RefusedError

    comments = [f"# {n} " + "x" * 80 for n in range(1000)]
    header = [
        "NRRD0005",
        *comments,
        "type: uint8",
        "dimension: 3",
        "sizes: 2 2 2",
        "encoding: raw",
        field,
        "",
        "",
    ]
    path = tmp_path / "m.nrrd"
    path.write_bytes(end.join(header).encode())
    with pytest.raises(RefusedError, match="second file"):
        clean_mask(path, "L1")


def test_a_nrrd_header_of_many_segments_is_read(tmp_path):
    import numpy as np

    from dagster_project.intake.dicom.mask_files import clean_mask

    voxels = np.zeros((4, 6, 5), np.uint8)
    voxels[1:3, 2:5, 1:4] = 1
    path = tmp_path / "m.nrrd"
    write_mask(path, voxels)
    head, _, data = path.read_bytes().partition(b"\n\n")
    path.write_bytes(
        head + b"".join(b"\n# comment " + b"x" * 90 for _ in range(1000)) + b"\n\n" + data
    )
    assert gzip.decompress(clean_mask(path, "L1")[0])


def test_a_folder_deeper_than_a_path_may_be_long_is_named_and_ends_nothing(site):
    from benchmarks.hostile.folders import _deep
    from dagster_project.lake.home import delivery_signature

    write_series(site.landing / "dicom" / "CT")
    _deep(site)
    assert site.take().accepted == 3
    assert [row["reason"] for row in rows(site)] == [opening.UNREADABLE]
    assert len(delivery_signature(site.landing)) == 16
    shutil.rmtree(site.landing / "dicom")


def test_files_whose_names_are_no_utf_8_are_taken_in(site):
    """Windows programs in China name files in GB18030."""
    folder = os.fsencode(site.landing / "dicom") + "/患者".encode("gb18030")
    os.mkdir(folder)  # noqa: PTH102 - bytes
    with open(folder + b"/\xff.dcm", "wb") as file:  # noqa: PTH123
        file.write(to_bytes(ct()))
    assert site.take().accepted == 1
    assert site.take().accepted == 0
