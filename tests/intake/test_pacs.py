"""Scans come straight from a PACS, and no identified byte is written on our side.

Real peers send and are queried.
"""

import contextlib
import datetime as dt
import shutil
import socket
import threading
import time
from collections import Counter

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_listener import Listener
from dagster_project.intake.pacs.pacs_messages import MessageArchive
from dagster_project.intake.pacs.pacs_pull import find_series, pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer, Tls, read_settings
from dagster_project.intake.pacs.pacs_wanted import Wanted, wanted_of_landing, wanted_of_list
from dagster_project.intake.pacs.pacs_web import WebArchive
from dagster_project.intake.vault.manifest import audit_manifest
from dagster_project.intake.vault.sandbox import close_child
from tests.intake import peers
from tests.intake.builders import ROOT, ct, image, rtstruct, seg, to_bytes
from tests.intake.pacs_site import IDENTIFYING, Relay, Site, folder_of
from tests.intake.pacs_site import certificate as make_certificate
from tests.waiting import PATIENCE, wait_until

SLICES = 12


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A series, a structure set and a segmentation as a PACS holds them."""
    return folder_of(
        tmp_path_factory.mktemp("pacs") / "out",
        [*(ct(i) for i in range(SLICES)), rtstruct(), seg()],
    )


@pytest.fixture
def site(tmp_path):
    yield Site(tmp_path)
    close_child()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sent):
    """What the same objects make when a folder delivers them."""
    made = Site(tmp_path_factory.mktemp("whole"))
    shutil.copytree(sent, made.landing / "dicom")
    made.take_folder()
    return made


def twin(root, whole):
    """Another home under the same keys and crosswalk.

    Its files can be compared byte for byte.
    """
    return Site(root, whole.medium, whole.crosswalk)


# ── a PACS sends ──


def test_storescu_delivers_what_a_folder_would(tmp_path, sent, whole):
    site = twin(tmp_path, whole)
    with site.listener() as listener:
        assert peers.dcmtk("echoscu", listener.port).returncode == 0
        told = peers.dcmtk("storescu", listener.port, "+sd", str(sent))
        assert told.returncode == 0, told.stderr
    assert (listener.stored, listener.refused, listener.failed) == (SLICES + 2, 0, 0)
    assert sorted(site.content().values()) == sorted(whole.content().values())
    assert audit_manifest(site.vault / "manifest.jsonl") is None
    before = site.content()
    report = site.take_folder()
    assert (report.accepted, site.content()) == (0, before), (
        "the folder, which is empty, takes nothing away"
    )


def test_sent_twice_is_held_once_and_other_pixels_are_quarantined(site, tmp_path, sent):
    other = folder_of(tmp_path / "other", [ct(0, pixels=image(5))])
    with site.listener() as listener:
        for folder in (sent, sent, other):
            assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    assert len(site.content()) == SLICES + 2
    assert [r for r in site.refused() if "other content" in r] == site.refused() != []


def test_what_is_no_axial_ct_is_quarantined_and_the_series_goes_on(site, tmp_path):
    scout = ct(0, series=f"{ROOT}.3", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    folder = folder_of(tmp_path / "out", [scout, *(ct(i) for i in range(2))])
    with site.listener() as listener:
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    assert len(site.content()) == 2
    assert "not ORIGINAL" in site.refused()[0]


def test_strangers_and_wrong_titles_are_refused(site, sent):
    with site.listener() as listener:
        assert peers.dcmtk("echoscu", listener.port, caller="STRANGER").returncode != 0
        assert (
            peers.dcmtk("storescu", listener.port, "+sd", str(sent), called="OTHER").returncode != 0
        )
    assert site.content() == {}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and certificate of this machine, which both sides show."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_with_tls_both_sides_show_a_certificate(site, sent, certificate):
    key, shown = certificate
    with site.listener(tls=Tls(shown, key, shown)) as listener:
        told = peers.dcmtk(
            "storescu", listener.port, "+tls", key, shown, "+cf", shown, "+sd", str(sent)
        )
        assert told.returncode == 0, told.stderr
        assert peers.dcmtk("echoscu", listener.port, "+tla", "+cf", shown).returncode != 0, (
            "anonymous"
        )
        assert peers.dcmtk("echoscu", listener.port, "-ta", "5", "-td", "5").returncode != 0, (
            "in the clear"
        )
    assert len(site.content()) == SLICES + 2


def test_an_object_above_the_limit_is_cut_off_and_quarantined(site, tmp_path):
    folder = folder_of(tmp_path / "out", [ct(0, pixels=np.zeros((2048, 2048), int))])
    with site.listener(largest_object_mib=1) as listener:
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode != 0
        assert wait_until(lambda: listener.refused)
    assert site.content() == {}
    assert "larger than 1 MiB" in site.refused()[0]


def test_a_peer_that_goes_away_half_way_leaves_nothing_half_written(site, tmp_path):
    """A relay passes on a part of what storescu says, and hangs up."""
    folder = folder_of(tmp_path / "out", [ct(i, pixels=np.full((256, 256), i)) for i in range(4)])
    with site.listener() as listener:
        relay = Relay(listener.port, most=300_000)
        assert peers.dcmtk("storescu", relay.port, "+sd", str(folder)).returncode != 0
        assert 0 < len(site.content()) < 4
        assert all(
            pydicom.dcmread(p).pixel_array.shape == (256, 256) for p in site.vault.rglob("*.dcm")
        )
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    relay.end()
    assert len(site.content()) == 4
    assert list((site.vault / ".incoming").iterdir()) == []


# ── a peer is silent ──

SOON = 30
"""Seconds by which something has ended on a busy machine too, if it ends at all."""

START_OF_A_REQUEST = bytes([1, 0, 0, 0, 1, 0])
"""Type and length of an A-ASSOCIATE-RQ of 256 bytes, of which none follows."""


def connected(listener, said=b""):
    peer = socket.create_connection(("127.0.0.1", listener.port))
    peer.settimeout(PATIENCE)
    peer.sendall(said)
    return peer


def seconds_until_closed(peer):
    begun = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while peer.recv(4096):
            pass
    peer.close()
    return time.monotonic() - begun


def threads_of_pynetdicom():
    return [t for t in threading.enumerate() if type(t).__module__.startswith("pynetdicom")]


@pytest.mark.parametrize("said", [b"", START_OF_A_REQUEST[:3], START_OF_A_REQUEST])
def test_a_peer_that_connects_and_is_silent_is_closed_soon_and_takes_nobodys_place(site, said):
    with site.listener(seconds=2, associations=1) as listener:
        peers_ = [connected(listener, said) for _ in range(3)]
        assert peers.dcmtk("echoscu", listener.port).returncode == 0
        assert max(map(seconds_until_closed, peers_)) < SOON
    assert threads_of_pynetdicom() == []


def test_a_listener_stops_at_once_whatever_its_peers_leave_unsaid(site):
    with site.listener() as listener:
        silent = [connected(listener, said) for said in (b"", START_OF_A_REQUEST)]
        relay = Relay(listener.port, most=500, hang_up=False)
        sender = threading.Thread(
            target=peers.dcmtk, args=("echoscu", relay.port, "-ta", "2", "-td", "2")
        )
        sender.start()
        sender.join()
        begun = time.monotonic()
    assert time.monotonic() - begun < SOON
    assert threads_of_pynetdicom() == []
    assert max(map(seconds_until_closed, silent)) < SOON
    relay.end()


def test_with_tls_a_peer_that_does_not_greet_holds_up_nobody(site, tmp_path, certificate):
    key, shown = certificate
    with site.listener(tls=Tls(shown, key, shown), seconds=3) as listener:
        silent = connected(listener)
        assert (
            peers.dcmtk("echoscu", listener.port, "+tls", key, shown, "+cf", shown).returncode == 0
        )
        assert seconds_until_closed(silent) < SOON


@pytest.mark.parametrize("said", [b"", bytes([2, 0, 0])])
def test_a_pacs_that_falls_silent_ends_the_pull_and_not_never(site, said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        archive = MessageArchive(
            Peer("get", ae_title="PACS", port=server.getsockname()[1]),
            Listening(seconds=1),
            site.reception,
        )
        taken = []

        def answer():
            taken.append(server.accept()[0])
            taken[0].sendall(said)

        answering = threading.Thread(target=answer)
        answering.start()
        begun = time.monotonic()
        with pytest.raises(PacsError, match="does not take our association"):
            series_of(archive, Wanted("ZY0012345"))
        answering.join()
        taken[0].close()
    assert 0.5 < time.monotonic() - begun < SOON
    assert threads_of_pynetdicom() == []


def test_killed_in_the_middle_and_repeated_the_vault_is_the_same(tmp_path, sent, whole):
    """The listener, in a process of its own, is killed while it receives.

    Meanwhile every file that it writes is searched.
    """
    site = twin(tmp_path, whole)
    port = peers.free_port()
    site.home.throwaway_medium.symlink_to(whole.medium)
    site.home.crosswalk.rmdir()
    site.home.crosswalk.symlink_to(whole.crosswalk)
    (site.home.root / "pacs.toml").write_text(f'[AB.listen]\nport = {port}\ncallers = ["PACS"]\n')
    watch = _Watch(site.home.root, tmp_path / "tmp")
    listening = peers.Listening(site.home.root, "AB", port, tmp_path / "tmp")
    sender = threading.Thread(target=peers.dcmtk, args=("storescu", port, "+sd", str(sent)))
    sender.start()
    while len(site.content()) < 3:
        time.sleep(0.01)
    listening.kill()
    sender.join()
    assert len(site.content()) < SLICES + 2
    again = peers.Listening(site.home.root, "AB", port, tmp_path / "tmp")
    assert peers.dcmtk("storescu", port, "+sd", str(sent)).returncode == 0
    said = again.end()
    assert sorted(site.content().values()) == sorted(whole.content().values())
    assert audit_manifest(site.vault / "manifest.jsonl") is None
    assert watch.end() == []
    assert watch.looked > SLICES
    assert not any(word.decode() in said for word in IDENTIFYING)
    assert site.home.delivery("AB") != twin(tmp_path / "b", whole).home.delivery("AB"), (
        "the sensor sees that something came"
    )


class _Watch:
    """Reads every file under some folders over and over.

    It collects the names of files that hold an identifier.
    """

    def __init__(self, *folders):
        self._folders, self._found, self._stop, self.looked = folders, set(), threading.Event(), 0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self):
        while not self._stop.is_set():
            for path in (p for folder in self._folders for p in folder.rglob("*")):
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                self.looked += 1
                if any(word in data for word in IDENTIFYING):
                    self._found.add(path.name)

    def end(self):
        self._stop.set()
        self._thread.join()
        return sorted(self._found)


# ── a PACS is asked ──


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, sent):
    """An Orthanc that holds the study, and one of somebody else."""
    archive = peers.Orthanc(tmp_path_factory.mktemp("orthanc") / "o", peers.free_port())
    for path in sorted(sent.iterdir()):
        archive.put(path.read_bytes())
    archive.put(
        to_bytes(ct(0, patient="ZY0099999", series=f"{ROOT}.77", StudyInstanceUID=f"{ROOT}.78"))
    )
    yield archive
    archive.stop()


def series_of(archive, wanted):
    return [found.series for found in find_series(archive, wanted, (), Counter()) if found.series]


@pytest.mark.parametrize("method", ["move", "get", "dicomweb"])
def test_a_pull_brings_the_patient_and_a_second_asks_for_nothing(tmp_path, orthanc, whole, method):
    site = twin(tmp_path, whole)
    ours = Listening(port=orthanc.ours, callers=("ORTHANC",))
    peer = Peer(
        method=method, ae_title="ORTHANC", port=orthanc.port, url=f"{orthanc.url}/dicom-web"
    )
    archive = (
        WebArchive(peer, ours, site.reception)
        if method == "dicomweb"
        else MessageArchive(peer, ours, site.reception)
    )
    with Listener(ours, site.reception):
        first = pull(archive, site.reception, [Wanted("ZY0012345")])
        assert sorted(site.content().values()) == sorted(whole.content().values())
        second = pull(archive, site.reception, [Wanted("ZY0012345")])
    assert (first.asked, first.known, first.missing, first.series) == (SLICES + 2, 0, 0, 3)
    assert (second.asked, second.known) == (0, SLICES + 2)


def test_a_pull_that_was_cut_short_is_finished_by_the_next(tmp_path, orthanc, whole, sent):
    site = twin(tmp_path, whole)
    for path in sorted(sent.iterdir())[:5]:
        dataset = pydicom.dcmread(path)
        site.reception.take(dataset.SOPInstanceUID, path.read_bytes())
    ours = Listening()
    rest = pull(
        WebArchive(Peer("dicomweb", url=f"{orthanc.url}/dicom-web"), ours, site.reception),
        site.reception,
        [Wanted("ZY0012345")],
    )
    assert (rest.known, rest.asked, rest.missing) == (5, SLICES - 3, 0)
    assert sorted(site.content().values()) == sorted(whole.content().values())


def test_dates_outside_the_window_are_not_asked_for(site, orthanc):
    archive = MessageArchive(
        Peer("get", ae_title="ORTHANC", port=orthanc.port), Listening(), site.reception
    )
    window = [
        Wanted("ZY0012345", dt.date(2024, 1, 6), dt.date(2024, 3, 1)),
        Wanted("ZY0012345", dt.date(2024, 1, 1), dt.date(2024, 1, 5)),
    ]
    assert [len(series_of(archive, one)) for one in window] == [0, 3]


def test_a_pacs_that_does_not_know_us_is_named(site, orthanc):
    archive = MessageArchive(
        Peer("get", ae_title="WRONG", port=orthanc.port), Listening(), site.reception
    )
    with pytest.raises(PacsError, match="its AE title is not WRONG"):
        series_of(archive, Wanted("ZY0012345"))


# ── who is asked for, and the settings ──

CUT_OFF = dt.date(2025, 1, 1)


def case_report(site, patients: str, treatments: str, follow_up: str = "") -> None:
    folder = site.landing / "clinical"
    folder.mkdir()
    (folder / "patients.csv").write_text(patients)
    (folder / "treatments.csv").write_text(treatments)
    if follow_up:
        (folder / "follow_up.csv").write_text(follow_up)


def test_windows_lie_around_the_cycles(site):
    case_report(
        site,
        "patient_id,sex\nZY1,F\nZY2,M\n",
        "patient_id,cycle,date\nZY1,1,2024-02-01\nzy 1,2,2024-02-22\n",
    )
    query = wanted_of_landing(site.landing, CUT_OFF, before=28, after=10)
    assert query.wanted == [Wanted("ZY1", dt.date(2024, 1, 4), dt.date(2024, 3, 3)), Wanted("ZY2")]
    assert query.wanted[0].date_range == "20240104-20240303"
    assert query.unused == ()


@pytest.mark.parametrize(
    ("third", "follow_up", "place", "reason"),
    [
        ("ZY1,3,2042-03-14", "", "treatments.csv row 4 column date", "after the data cut-off"),
        ("ZY1,3,2024-01-14", "", "treatments.csv row 4 column date", "of two cycles"),
        ("ZY1,3,14.3.24", "", "treatments.csv row 4 column date", "is not a date"),
        (
            "ZY1,3,2024-12-14",
            "patient_id,date,event\nZY1,2024-04-01,death\n",
            "treatments.csv row 4 column date",
            "a life after the death",
        ),
    ],
    ids=["after the cut-off", "before the cycle before it", "not a date", "after the death"],
)
def test_a_date_that_intake_refuses_widens_no_window_and_is_named(
    site, third, follow_up, place, reason
):
    case_report(
        site,
        "patient_id,sex\nZY1,F\n",
        f"patient_id,cycle,date\nZY1,1,2024-02-01\nZY1,2,2024-02-22\n{third}\n",
        follow_up,
    )
    query = wanted_of_landing(site.landing, CUT_OFF, before=28, after=10)
    (one,) = query.wanted
    assert one.start == dt.date(2024, 1, 4)
    assert one.end in {dt.date(2024, 3, 3), dt.date(2024, 2, 11)}
    assert any(cell.item.endswith(place) and reason in cell.reason for cell in query.unused)
    assert not any("ZY1" in cell.item + cell.reason for cell in query.unused)


def test_who_has_only_refused_dates_is_asked_for_on_all_days(site):
    case_report(site, "patient_id,sex\nZY1,F\n", "patient_id,cycle,date\nZY1,1,2042-02-01\n")
    query = wanted_of_landing(site.landing, CUT_OFF, before=28, after=10)
    assert query.wanted == [Wanted("ZY1")]
    assert len(query.unused) == 1


def test_who_withdrew_is_not_asked_for_and_a_mangled_number_is_named(site):
    case_report(
        site, "patient_id,consent\nZY1,given\nZY2,given\nzy2,withdrawn\n1.23E+11,given\n", ""
    )
    query = wanted_of_landing(site.landing, CUT_OFF, before=28, after=10)
    assert query.wanted == [Wanted("ZY1")]
    (cell,) = query.unused
    assert cell.item == "clinical/patients.csv row 5 column patient_id"
    assert "scientific notation" in cell.reason


def test_a_number_that_would_ask_for_others_is_refused(tmp_path):
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("ZY1\n\nZY*\n")
    with pytest.raises(PacsError, match="other people") as refused:
        wanted_of_list(numbers, None)
    assert "ZY" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[CD.listen]\n", "no section"),
        ("[AB.listen]\n", "names no callers"),
        ("[AB", "not TOML"),
        ("[AB.listen]\ncaller = 'X'\n", "unknown settings"),
        ("[AB.listen]\ncallers = ['X']\n[AB.peer]\nmethod = 'fax'\n", "method is one of"),
    ],
)
def test_settings_that_cannot_be_used_say_why(tmp_path, text, reason):
    (tmp_path / "pacs.toml").write_text(text)
    with pytest.raises(PacsError, match=reason):
        read_settings(tmp_path / "pacs.toml", "AB")


def test_locked_keys_refuse(site, monkeypatch, tmp_path):
    (site.home.root / "pacs.toml").write_text("[AB.listen]\ncallers = ['PACS']\n")
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    (sealed / "root.age").write_bytes(b"sealed")
    monkeypatch.setenv("LAKEHOUSE_KEYS", str(sealed))
    monkeypatch.delenv("LAKEHOUSE_PASSPHRASE_FILE", raising=False)
    told = CliRunner().invoke(
        main, ["--home", str(site.home.root), "pacs", "listen", "--site", "AB"]
    )
    assert (told.exit_code, "locked" in told.output) == (1, True), told.output
    assert list(site.vault.rglob("*")) == []
