"""A pull brings what a PACS can give and names, by series, what it cannot.

What is missing is marked to be requested again.
"""

import contextlib

import pytest

from dagster_project.intake.pacs import pacs_pull as asked
from dagster_project.intake.pacs.pacs_listener import Listener
from dagster_project.intake.pacs.pacs_messages import MessageArchive
from dagster_project.intake.pacs.pacs_pull import pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer
from dagster_project.intake.pacs.pacs_wanted import Wanted
from dagster_project.intake.pacs.pacs_web import WebArchive
from dagster_project.intake.vault.file_index import PullNote
from dagster_project.intake.vault.sandbox import close_child
from dagster_project.intake.vault.vault import remove_patient
from tests.intake import peers
from tests.intake.builders import ROOT, ct, rtstruct, to_bytes
from tests.intake.pacs_site import IDENTIFYING, Site

SLICES = 12
SCREEN = "1.2.840.10008.5.1.4.1.1.7"
PATIENT = Wanted("ZY0012345", place="clinical/patients.csv row 2")
NOBODY = Wanted("ZY7", place="clinical/patients.csv row 3")
LOST = f"{ROOT}.2.1005"
STUDY = f"{ROOT}.1"


@pytest.fixture
def site(tmp_path):
    yield Site(tmp_path)
    close_child()


def dose_screen():
    """A screen that a scanner files as a series of Modality CT."""
    made = ct(0, series=f"{ROOT}.55")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = SCREEN
    return made


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """An Orthanc with a series, its contours, a dose screen, and two studies of others."""
    archive = peers.Orthanc(tmp_path_factory.mktemp("orthanc") / "o", peers.free_port())
    padded = ct(0, patient="0003", series=f"{ROOT}.31", StudyInstanceUID=f"{ROOT}.30")
    for dataset in [*(ct(i) for i in range(SLICES)), rtstruct(), dose_screen(), padded]:
        archive.put(to_bytes(dataset))
    yield archive
    archive.stop()


@contextlib.contextmanager
def asking(site, orthanc, method):
    ours = Listening(port=orthanc.ours, callers=("ORTHANC",))
    peer = Peer(
        method=method, ae_title="ORTHANC", port=orthanc.port, url=f"{orthanc.url}/dicom-web"
    )
    with Listener(ours, site.reception) if method == "move" else contextlib.nullcontext():
        yield (WebArchive if method == "dicomweb" else MessageArchive)(peer, ours, site.reception)


@contextlib.contextmanager
def lost(orthanc, uid):
    """The file of an object is gone from the archive's disk, as long as the block runs."""
    path = orthanc.file_of(uid)
    content = path.read_bytes()
    path.unlink()
    yield
    path.write_bytes(content)


# ── what a real archive cannot give ──


@pytest.mark.parametrize("method", ["move", "get", "dicomweb"])
def test_a_lost_file_stops_nothing_is_named_by_series_and_asked_for_alone(site, orthanc, method):
    with asking(site, orthanc, method) as archive:
        with lost(orthanc, LOST):
            first = pull(archive, site.reception, [PATIENT, NOBODY])
            named = site.quarantine()
            again = pull(archive, site.reception, [PATIENT])
        assert (len(site.content()), first.missing, first.stopped) == (SLICES, 1, "")
        assert (again.known, again.missing) == (SLICES, 1)
        assert again.asked == (0 if method == "dicomweb" else 1), (
            "Orthanc's QIDO-RS does not list what is lost"
        )
        after = pull(archive, site.reception, [PATIENT])
    assert (after.asked, after.missing, len(site.content())) == (1, 0, SLICES + 1)
    assert len(named) == 2
    assert any(site.reception.series_name(f"{ROOT}.2") in item for item, _ in named)
    assert ("clinical/patients.csv row 3", asked.NOTHING_FOUND) in named
    assert site.quarantine() == [("clinical/patients.csv row 3", asked.NOTHING_FOUND)], (
        "what came is named no more"
    )
    assert not any(word.decode() in str(named) for word in IDENTIFYING)


def test_a_dose_screen_is_counted_and_not_asked_for(site, orthanc):
    with asking(site, orthanc, "get") as archive:
        done = pull(archive, site.reception, [PATIENT])
    assert done.passed == {asked.OTHER_CLASS: 1}
    assert (done.missing, done.notes) == (0, [])


def test_what_came_in_another_way_is_named_no_more(site, orthanc):
    with asking(site, orthanc, "get") as archive, lost(orthanc, LOST):
        pull(archive, site.reception, [PATIENT])
    assert len(site.quarantine()) == 1
    site.reception.take(LOST, to_bytes(ct(4)))
    site.reception.close()
    assert site.quarantine() == []


def test_who_withdraws_leaves_no_note(site):
    site.reception.take(f"{ROOT}.2.1001", to_bytes(ct(0)))
    patient, _ = site.reception.patient_of("ZY0012345")
    site.reception.note(
        "ZY0012345", [PullNote(f"patient {patient} series S", asked.NOTHING_TAKEN, (LOST,), 2)]
    )
    site.reception.close()
    assert [item for item, _ in site.quarantine()] == [
        f"patient {patient} series S, 1 of 2 objects"
    ]
    remove_patient(site.vault, patient, crosswalk=site.crosswalk)
    assert LOST.encode() not in b"".join(p.read_bytes() for p in site.vault.glob("intake.sqlite*"))
    site.take_folder()
    assert site.quarantine() == []


@pytest.mark.parametrize("method", ["get", "dicomweb"])
def test_a_number_with_zeros_in_front_is_found_where_the_settings_say_so(site, orthanc, method):
    with asking(site, orthanc, method) as archive:
        assert (
            pull(archive, site.reception, [Wanted("3", place="p")]).notes[0].reason
            == asked.NOTHING_FOUND
        )
        assert pull(archive, site.reception, [Wanted("3")], [8]).series == 0
        assert pull(archive, site.reception, [Wanted("3")], [4]).asked == 1
        assert pull(archive, site.reception, [Wanted("00003")], [4]).known == 1


@pytest.mark.parametrize("method", ["get", "dicomweb"])
def test_an_archive_that_limits_its_answers_gives_all_or_is_named(site, tmp_path, method):
    archive = peers.Orthanc(
        tmp_path / "o", peers.free_port(), LimitFindResults=2, LimitFindInstances=2
    )
    try:
        for index in range(5):
            archive.put(to_bytes(ct(index)))
        with asking(site, archive, method) as peer:
            done = pull(peer, site.reception, [PATIENT])
    finally:
        archive.stop()
    assert (len(site.content()), done.missing) == (5, 0)
    assert [note.reason for note in done.notes] == ([asked.CUT_SHORT] if method == "get" else [])
