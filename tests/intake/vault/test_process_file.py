"""Each file by itself: whose it is, and what becomes of it.

A refused file leaves nothing behind.
"""

import hashlib
import pickle

import numpy as np
import pytest

from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.identity.pseudonyms import (
    PSEUDONYM,
    Crosswalk,
    is_pseudonym,
    new_pseudonym,
)
from dagster_project.intake.opening import LEADS_NOWHERE, file_digest
from dagster_project.intake.vault.process_file import Outcome, Task, scan_name, take_file
from tests.intake.builders import (
    KEYS,
    ROOT,
    ct,
    read_back,
    rtstruct,
    seg,
    session,
    to_bytes,
    write_mask,
)

SERIES = keyed_uid(f"{ROOT}.2", KEYS.uid)


def take(tmp_path, data, *, name="Murong.dcm", place="dicom", known="", **changes):
    path = tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    return take_file(session(tmp_path, **changes), Task(str(path), place, known))


def test_an_accepted_file_is_a_copy_under_its_digest(tmp_path):
    data = to_bytes(ct())
    outcome = take(tmp_path, data)
    assert (outcome.reason, outcome.kind, outcome.series_instance_uid) == ("", "CT", SERIES)
    assert outcome.digest == hashlib.sha256(data).hexdigest()
    assert is_pseudonym(outcome.patient)
    copy = tmp_path / "incoming" / outcome.incoming
    assert read_back(copy.read_bytes()).PatientID == outcome.patient
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == outcome.output_digest
    assert copy.stat().st_mode & 0o777 == 0o600


def test_what_a_file_says_of_its_patient_is_sealed(tmp_path):
    outcome = take(tmp_path, to_bytes(ct()))
    assert (tmp_path / "crosswalk.sqlite").stat().st_size > 0
    assert Crosswalk(tmp_path / "crosswalk.sqlite", KEYS).find("AB", "zy0012345") == outcome.patient
    assert b"Murong" not in (tmp_path / "crosswalk.sqlite").read_bytes()


@pytest.mark.parametrize("number", ["ZY0012345", " zy0012345", "ＺＹ００１２３４５"])
def test_images_and_contours_of_one_number_are_one_patient(tmp_path, number):
    first = take(tmp_path, to_bytes(ct()))
    second = take(
        tmp_path,
        to_bytes(
            rtstruct(patient=number) if number.isascii() else with_charset(rtstruct(patient=number))
        ),
    )
    assert first.patient == second.patient
    assert second.referenced_series == (SERIES,)


def with_charset(ds):
    ds.SpecificCharacterSet = "ISO_IR 192"
    return ds


@pytest.mark.parametrize(
    "spelling", [str, str.lower, lambda text: f" {text} ", lambda text: text.replace("-", "–")]
)
@pytest.mark.parametrize("make", [ct, rtstruct])
def test_a_pseudonym_as_patient_number_is_refused_whosever_it_is(tmp_path, make, spelling):
    """A file with a pseudonym as patient number was de-identified before.

    Its dates would be shifted twice, or it would be another hospital's patient.
    """
    own = take(tmp_path, to_bytes(ct())).patient
    for pseudonym in (own, new_pseudonym("CD"), new_pseudonym("AB")):
        ds = with_charset(make(patient=spelling(pseudonym)))
        assert take(tmp_path, to_bytes(ds)).reason == f"PatientID (0010,0020) {PSEUDONYM}"


def test_an_image_without_number_is_refused_and_a_contour_finds_its_series(tmp_path):
    refused = take(tmp_path, to_bytes(ct(patient="")))
    waiting = take(tmp_path, to_bytes(rtstruct(patient="")))
    found = take(
        tmp_path, to_bytes(rtstruct(patient="")), series_patients={SERIES: "AB-AAAAAAAAAAAAAAAAA"}
    )
    assert "PatientID (0010,0020) is empty" in refused.reason
    assert waiting.waits_for == "series"
    assert found.patient == "AB-AAAAAAAAAAAAAAAAA"


def test_one_number_of_two_issuers_is_refused_until_somebody_decides(tmp_path):
    assert take(tmp_path, to_bytes(ct(IssuerOfPatientID="HIS"))).reason == ""
    refused = take(tmp_path, to_bytes(ct(1, IssuerOfPatientID="RIS")))
    assert (refused.waits_for, "another issuer" in refused.reason) == ("next_run", True)


def test_who_withdrew_is_refused(tmp_path):
    patient = take(tmp_path, to_bytes(ct())).patient
    refused = take(tmp_path, to_bytes(ct(1)), withdrawn=frozenset({patient}))
    assert (refused.waits_for, "consent is withdrawn" in refused.reason) == ("consent", True)


def test_a_mask_belongs_to_the_patient_of_its_series(tmp_path):
    name = f"{ROOT}.2__GTV Murong.nii.gz"
    write_mask(tmp_path / name, np.ones((2, 3, 4), np.uint8))
    waiting = take(tmp_path, None, name=name, place="reads/R1")
    outcome = take(
        tmp_path,
        None,
        name=name,
        place="reads/R1",
        series_patients={SERIES: "AB-AAAAAAAAAAAAAAAAA"},
    )
    assert (waiting.waits_for, "send its images" in waiting.reason) == ("series", True)
    assert (outcome.patient, outcome.kind, outcome.referenced_series) == (
        "AB-AAAAAAAAAAAAAAAAA",
        "MASK",
        (SERIES,),
    )
    assert outcome.lesion.startswith("lesion_")


def test_a_file_that_was_read_before_is_not_looked_at_again(tmp_path):
    data = to_bytes(ct())
    first = take(tmp_path, data)
    again = take(tmp_path, data, known=first.keyed_digest)
    assert again == Outcome(first.digest, first.keyed_digest, unchanged=True)


@pytest.mark.parametrize(
    "data",
    [b"", b"Murong Shuangyan", to_bytes(ct())[:600], to_bytes(ct(BurnedInAnnotation="YES"))],
    ids=["empty", "text", "cut", "burned in"],
)
def test_a_refused_file_leaves_nothing_and_quotes_nothing(tmp_path, data):
    outcome = take(tmp_path, data)
    assert outcome.reason
    assert not any(part in outcome.reason for part in ("Murong", "ZY0012345", str(tmp_path)))
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "Murong.dcm").symlink_to(tmp_path / "nowhere")
    assert take(tmp_path, None).reason == LEADS_NOWHERE
    assert file_digest(tmp_path / "nowhere") == ""


def test_sequences_nested_without_end_are_refused(tmp_path):
    item = b""
    for _ in range(1500):
        element = b"\x08\x00\x40\x11SQ\0\0" + (len(item) + 8).to_bytes(4, "little")
        item = element + b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    undefined = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 1500
    for sequence in (item, undefined):
        data = to_bytes(ct())
        start = data.index(b"\x08\x00\x60\x00CS")
        outcome = take(tmp_path, data[:start] + sequence + data[start:])
        assert outcome.reason == "" or "damaged" in outcome.reason


def mutants(n, seed=20260112):
    """Files with bytes changed, lengths broken, parts repeated, dropped or cut off."""
    random = np.random.default_rng(seed)
    sources = [to_bytes(build()) for build in (ct, rtstruct, seg)]
    for _ in range(n):
        data = bytearray(sources[random.integers(3)])
        for _ in range(random.choice([1, 1, 2, 8])):
            place, kind = int(random.integers(130, len(data))), random.integers(6)
            part = {
                0: bytes([random.integers(256)]),
                1: random.bytes(4),
                2: b"\xff" * 4,
                3: data[place - 50 : place] + data[place : place + 4],
            }
            data[place : place + (20 if kind == 4 else len(data) if kind == 5 else 4)] = part.get(
                kind, b""
            )
            if len(data) < 200:
                break
        yield bytes(data)


def test_damaged_files_are_refused_or_hold_no_identifier(tmp_path):
    facts, verdicts = session(tmp_path), {"accepted": 0, "refused": 0}
    for data in mutants(600):
        (tmp_path / "mutant").write_bytes(data)
        outcome = take_file(facts, Task(str(tmp_path / "mutant"), "dicom"))
        verdicts["refused" if outcome.reason else "accepted"] += 1
        leaving = (
            outcome.reason.encode()
            if outcome.reason
            else (tmp_path / "incoming" / outcome.incoming).read_bytes()
        )
        assert not any(
            secret in leaving
            for secret in (b"Murong", b"0012345", b"19490511", b"Ouyang", b"4471290")
        )
    assert min(verdicts.values()) > 50


def test_what_travels_between_processes_can_be_pickled(tmp_path):
    outcome = take(tmp_path, to_bytes(ct()))
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert pickle.loads(pickle.dumps(session(tmp_path))) == session(tmp_path)


def test_names_of_scans_are_short_and_distinct():
    names = {scan_name(f"2.25.{n}") for n in range(100)}
    assert len(names) == 100
    assert all(len(name) == 17 and name.startswith("S") for name in names)
