"""How much gets through de-identification, and what it costs.

Planted identifiers, ten action checks, mutated files, and the cost beside plain reading and
writing.

    python benchmarks/deidentification.py canaries actions speed mutants --mutants 100000

`canaries` installs dicom-anonymizer, deid and pydicom-data into a throw-away environment: they are
compared with, never depended on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.dicom.dicom_writer import Person
from dagster_project.intake.dicom.identifiers import Needles
from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.identity.session import Session
from dagster_project.intake.refusals import RefusedError
from dagster_project.intake.vault.process_file import Task, take_file
from dagster_project.intake.vault.sandbox import ReadingProcess
from dagster_project.study import load_study

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"
PEERS = ("dicom-anonymizer", "deid", "pydicom-data")
LARGEST = 4 * 2**20
"""Larger files are left out of the canary run, since three tools read each of them."""

A_FOLDER = 12
"""Files of one folder of the real data that take part: the slices of a series are alike."""

RECIPIENT = "age1yx34grhypqnyl4e8jkzzavv5efdy74s54znaezr7xpg28xtg55mqj5d09n"
KEYS = Keys(index=b"i" * 32, uid=b"u" * 32, date=b"d" * 32, recipient=RECIPIENT)
TARGET = re.compile(load_study().section("reads")["target_roi"], re.IGNORECASE)
SHIFT = -1000
PSEUDONYM = "AB-AAAAAAAAAAAAAAAAA"
PERSON = Person(PSEUDONYM, SHIFT, KEYS.uid, TARGET, Needles())

TEXT_KINDS = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "AdditionalPatientHistory",
    "Occupation",
    "EthnicGroup",
    "MedicalRecordLocator",
    "MilitaryRank",
    "BranchOfService",
    "PatientReligiousPreference",
    "IssuerOfPatientID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "RequestingService",
    "ScheduledPerformingPhysicianName",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "PlateID",
    "GantryID",
    "CassetteID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "PerformedProcedureStepID",
    "PerformedProcedureStepDescription",
    "ScheduledProcedureStepID",
    "StudyID",
    "AdmissionID",
    "CurrentPatientLocation",
    "PatientInstitutionResidence",
    "ReasonForTheRequestedProcedure",
    "RequestedProcedureComments",
    "ImagingServiceRequestComments",
    "StudyComments",
    "VisitComments",
    "DerivationDescription",
    "AcquisitionComments",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "ManufacturerModelName",
    "Manufacturer",
    "SoftwareVersions",
    "ConvolutionKernel",
    "BodyPartExamined",
    "ContrastBolusAgent",
    "PatientSex",
    "ScanOptions",
    "PositionReferenceIndicator",
    "RescaleType",
    "ClinicalTrialSubjectID",
    "ClinicalTrialProtocolName",
    "Allergies",
    "MedicalAlerts",
    "PregnancyStatusText",
    "FilterType",
    "AcquisitionProtocolDescription",
    "TextComments",
    "RetrieveAETitle",
)
OTHER_KINDS = (
    "date",
    "uid",
    "private text",
    "private sequence",
    "private binary",
    "nested sequence",
    "person in a sequence",
    "overlay",
    "curve",
    "preamble",
    "file meta private",
    "meta source AE",
    "number in a measurement",
    "unknown tag",
    "Chinese in GB18030",
    "Chinese in UTF-8",
    "trailing padding",
)


# -- corpus ----------------------------------------------------------------------------------------


def throwaway(folder: Path) -> Path:
    """An environment with the peers, outside of ours."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PEERS], check=True
    )
    return python


def corpus(python: Path | None) -> list[Path]:
    """Readable DICOM files of pydicom, pydicom-data and the real data."""
    roots = [Path(pydicom.__file__).parent / "data"]
    if python:
        told = subprocess.run(
            [python, "-c", "import data_store, sys; print(list(data_store.__path__)[0])"],
            capture_output=True,
            text=True,
            check=False,
        )
        roots += [Path(told.stdout.strip())] if told.returncode == 0 else []
    files = [f for root in roots for f in sorted(root.rglob("*")) if f.is_file()]
    per_folder: Counter[Path] = Counter()
    for file in sorted(SHARED.rglob("*")) if SHARED.is_dir() else []:
        if file.is_file() and per_folder[file.parent] < A_FOLDER:
            per_folder[file.parent] += 1
            files.append(file)
    return [f for f in files if f.stat().st_size <= LARGEST and readable(f)]


def readable(file: Path) -> bool:
    try:
        return "SOPClassUID" in pydicom.dcmread(file, stop_before_pixels=True)
    except Exception:
        return False


# -- canaries --------------------------------------------------------------------------------------


def token(number: int) -> str:
    """A word that stands nowhere else: 12 letters of a digest."""
    return "Q" + "".join(
        chr(97 + b % 26) for b in hashlib.sha256(b"canary %d" % number).digest()[:11]
    )


def plant(ds: Dataset) -> tuple[bytes, dict[str, bytes]]:
    """The file with every kind of canary that it can hold, and the bytes to search for."""
    needles: dict[str, bytes] = {}
    for number, keyword in enumerate(TEXT_KINDS):
        try:
            setattr(ds, keyword, token(number))
            needles[keyword] = token(number).encode()
        except Exception:
            ds.add_new(
                0x00091100 + number, "LO", token(number)
            )  # a keyword that this dictionary does not know
            needles[keyword] = token(number).encode()
    words = {kind: token(1000 + n) for n, kind in enumerate(OTHER_KINDS)}
    needles |= {kind: word.encode() for kind, word in words.items()}
    _plant_structures(ds, words)
    ds.PatientBirthDate, needles["date"] = "19310709", b"19310709"
    uid = (
        "1.2.826.0.1.3680043.9."
        f"{int(hashlib.sha256(ds.SOPInstanceUID.encode()).hexdigest()[:12], 16)}"
    )
    ds.StudyInstanceUID = uid
    needles["uid"] = uid.encode()
    needles["number in a measurement"] = b"91837465"
    if "SliceThickness" in ds or ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2":
        ds.SeriesNumber = "91837465"
    for kind, encoding in (("Chinese in GB18030", "gb18030"), ("Chinese in UTF-8", "utf-8")):
        needles[kind] = "慕容霜雁".encode(encoding)
    ds.add_new(0x00104000, "LT", needles["Chinese in GB18030"].decode("latin-1"))
    ds.add_new(0x00204000, "LT", needles["Chinese in UTF-8"].decode("latin-1"))
    ds.SpecificCharacterSet = "ISO_IR 100"
    del needles["ImageComments"], needles["PatientComments"]
    needles["ImageComments in a sequence"], needles["PatientComments in a sequence"] = (
        token(2001).encode(),
        token(2002).encode(),
    )
    buffer = io.BytesIO()
    ds.file_meta.SourceApplicationEntityTitle = words["meta source AE"]
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = (
        "1.2.3.4",
        words["file meta private"].encode() + b" ",
    )
    ds.preamble = words["preamble"].encode().ljust(128, b"\0")
    pydicom.dcmwrite(buffer, ds)
    return buffer.getvalue(), needles


def _plant_structures(ds: Dataset, words: dict[str, str]) -> None:
    item, inner = Dataset(), Dataset()
    inner.PatientName, inner.ImageComments, inner.PatientComments = (
        words["nested sequence"],
        token(2001),
        token(2002),
    )
    item.PersonName, item.OtherPatientIDsSequence = words["person in a sequence"], Sequence([inner])
    ds.RequestAttributesSequence = Sequence([item])
    block = ds.private_block(0x0013, "CANARY", create=True)
    block.add_new(0x01, "LO", words["private text"])
    nested = Dataset()
    nested.PatientName = words["private sequence"]
    block.add_new(0x02, "SQ", Sequence([nested]))
    block.add_new(0x03, "OB", words["private binary"].encode() + b" ")
    ds.add_new(0x60003000, "OW", words["overlay"].encode() + b" ")
    ds.add_new(0x50003000, "OW", words["curve"].encode() + b" ")
    ds.add_new(0x00189999, "LO", words["unknown tag"])
    ds.add_new(0xFFFCFFFC, "OB", words["trailing padding"].encode() + b" ")


PEER_PROGRAM = """
import sys, warnings, logging; warnings.simplefilter('ignore'); logging.disable(50)
from pathlib import Path
tool, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
target.mkdir(exist_ok=True)
if tool == 'deid':
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, replace_identifiers
    from deid.logger import bot; bot.level = -5
    recipe = DeidRecipe()
else:
    from dicomanonymizer import anonymize_dicom_file
for file in sorted(source.iterdir()):
    try:
        if tool == 'deid':
            replace_identifiers(dicom_files=[str(file)], deid=recipe, \
ids=get_identifiers([str(file)]), save=True, overwrite=True, output_folder=str(target))
        else:
            anonymize_dicom_file(str(file), str(target / file.name))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt): raise
"""


def _taken_in(data: bytes) -> bytes:
    """What intake writes of an object.

    One that is refused for its planted unit is tried once more without it: the unit alone would
    hide all that is planted beside it.
    """
    try:
        return deidentify(open_source(data), PERSON).data
    except RefusedError as error:
        if "RescaleType" not in error.reason:
            raise
    ds, buffer = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    ds.RescaleType = "HU"
    pydicom.dcmwrite(buffer, ds)
    return deidentify(open_source(buffer.getvalue()), PERSON).data


def run_canaries(folder: Path) -> None:
    python = throwaway(folder / "venv")
    planted, clean, needles = folder / "planted", folder / "ours", {}
    planted.mkdir()
    clean.mkdir()
    skipped: Counter[str] = Counter()
    for number, file in enumerate(corpus(python)):
        try:
            data, needles[f"{number:04d}.dcm"] = plant(pydicom.dcmread(file))
        except Exception as error:
            skipped[type(error).__name__] += 1
            needles.pop(f"{number:04d}.dcm", None)
            continue
        (planted / f"{number:04d}.dcm").write_bytes(data)
    refused: Counter[str] = Counter()
    for file in sorted(planted.iterdir()):
        try:
            (clean / file.name).write_bytes(_taken_in(file.read_bytes()))
        except RefusedError as error:
            refused[error.reason.partition(":")[0].partition(";")[0].partition("(")[0]] += 1
    for tool in PEERS[:2]:
        subprocess.run(
            [python, "-c", PEER_PROGRAM, tool, planted, folder / tool],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=1200,
        )
    kinds = sorted({kind for found in needles.values() for kind in found})
    print(
        f"canaries: {len(kinds)} kinds in {len(needles)} files "
        f"(not writable by pydicom: {dict(skipped)})"
    )
    print(f"{'tool':20} {'files out':>9} {'kinds that survive':>19}  which")
    for tool, out in (("ours", clean), *((tool, folder / tool) for tool in PEERS[:2])):
        survived, files = survivors(out, needles)
        print(f"{tool:20} {files:9} {len(survived):19}  {', '.join(sorted(survived))[:160]}")
    print("ours refused:", json.dumps(dict(refused.most_common(6)), ensure_ascii=False))


def survivors(out: Path, needles: dict[str, dict[str, bytes]]) -> tuple[set[str], int]:
    survived, files = set(), 0
    for file in sorted(out.rglob("*.dcm")):
        data, files = file.read_bytes(), files + 1
        survived |= {kind for kind, needle in needles[file.name].items() if needle in data}
    return survived, files


# -- ten action checks -----------------------------------------------------------------------------

RETAINED = (
    "Rows",
    "Columns",
    "BitsStored",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "KVP",
    "RescaleSlope",
    "RescaleIntercept",
    "InstanceNumber",
    "SOPClassUID",
    "Modality",
)
REMOVED = (
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "PhysiciansOfRecord",
    "OtherPatientIDs",
    "PatientAddress",
    "RequestAttributesSequence",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "PatientComments",
)
EMPTIED = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "StudyID",
    "OperatorsName",
)
"""Type 2 in some object: OperatorsName stands empty in an RTSTRUCT and is absent elsewhere."""
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def run_actions() -> None:
    """Check with pydicom what became of each element of each accepted real file, by our own key."""
    checks: dict[str, Counter[bool]] = {}
    mapped: dict[str, str] = {}
    accepted = 0
    for file in (f for f in sorted(SHARED.rglob("*.dcm")) if readable(f)):
        try:
            source = open_source(file.read_bytes())
            result = pydicom.dcmread(io.BytesIO(deidentify(source, PERSON).data))
        except RefusedError:
            continue
        accepted += 1
        for name, good in _checks(pydicom.dcmread(file), result, mapped):
            checks.setdefault(name, Counter())[good] += 1
    good, total = sum(c[True] for c in checks.values()), sum(c.total() for c in checks.values())
    print(f"actions: {accepted} files, {good} of {total} checks hold ({100 * good / total:.4f} %)")
    for name, count in checks.items():
        print(f"  {name:28} {count[True]:8} of {count.total():8}")


def _checks(before: Dataset, after: Dataset, mapped: dict[str, str]) -> Iterator[tuple[str, bool]]:
    yield from (
        ("tag retained", after.get(k) == before[k].value)
        for k in RETAINED
        if k in before and not before[k].is_empty
    )
    yield from (
        ("tag removed", k not in after or str(after[k].value) == "REMOVED") for k in REMOVED
    )
    yield from (("tag emptied", k not in after or not after[k].value) for k in EMPTIED)
    yield "private tags removed", not any(e.tag.is_private for e in after.iterall())
    yield "patient replaced", str(after.PatientID) == str(after.PatientName) == PSEUDONYM
    for keyword in DATES:
        if (
            keyword in after
            and after[keyword].value
            and re.fullmatch(r"\d{8}", str(before.get(keyword, "")))
        ):
            was, now = (dt.date.fromisoformat(str(d[keyword].value)) for d in (before, after))
            yield "date shifted", (now - was).days == SHIFT
    for keyword in UIDS:
        if before.get(keyword) and keyword in after:
            yield "UID changed", after[keyword].value != before[keyword].value
            yield (
                "UID consistent",
                mapped.setdefault(before[keyword].value, after[keyword].value)
                == after[keyword].value,
            )
    if "PixelData" in after:
        yield "pixels retained", np.array_equal(before.pixel_array, after.pixel_array)
    yield (
        "method said",
        after.PatientIdentityRemoved == "YES"
        and bool(after.get("DeidentificationMethodCodeSequence")),
    )


# -- mutants ---------------------------------------------------------------------------------------

BASES = (
    "dicom_oddities/transfer_syntax",
    "lung_ct/case_1/rtstruct.dcm",
    "two_readers/reader_1.seg.dcm",
)
NAMES = ("Qzxmurong", "Qzxshuangyan", "QZX0012345678", "Qzxouyang")


def bases() -> list[bytes]:
    """Files of every kind that are accepted as they are, with identifiers in their headers.

    They are small, so that mutations hit headers.
    """
    files = [
        Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm",
        *(
            f
            for b in BASES
            for f in (
                [SHARED / b] if (SHARED / b).is_file() else sorted((SHARED / b).rglob("*.dcm"))
            )
        ),
    ]
    small = (f for f in files if f.is_file() and f.stat().st_size < 2**20)
    return [data for f in small if (data := _identified(f)) is not None]


def _identified(file: Path) -> bytes | None:
    try:
        ds = pydicom.dcmread(file)
        ds.PatientName, ds.PatientID, ds.ReferringPhysicianName, ds.OperatorsName = (
            f"{NAMES[0]}^{NAMES[1]}",
            NAMES[2],
            NAMES[3],
            NAMES[3],
        )
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds)
        deidentify(open_source(buffer.getvalue()), PERSON)
        return buffer.getvalue()
    except Exception:
        return None


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to eight changes, three in four of them within the first 8 KiB.

    Changed are bits, lengths and VRs; blocks are moved, cut or repeated.
    """
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(132, min(len(out), 8192) if dice.random() < 0.75 else len(out))
        kind = dice.randrange(7)
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at : at + 2] = dice.choice(
                (b"\0\0", b"\xff\xff", b"\xfe\xff", bytes(dice.randbytes(2)))
            )
        elif kind == 2:
            out[at : at + 4] = dice.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\x7f", b"\xfe\xff\x00\xe0", b"\0\0\0\0")
            )
        elif kind == 3:
            out[at : at + 2] = dice.choice((b"SQ", b"UN", b"OB", b"UT", b"PN", b"DS", b"LO"))
        elif kind == 4:
            del out[at : at + dice.choice((1, 2, 8, 64))]
        elif kind == 5:
            out[at:at] = out[max(0, at - dice.choice((2, 8, 64, 512))) : at]
        else:
            del out[at + (len(out) - at) // 2 :]
        if len(out) < 200:
            break
    return bytes(out)


def run_mutants(folder: Path, number: int, seconds: float) -> None:
    """Through the child process of intake, file after file."""
    incoming = folder / "incoming"
    incoming.mkdir()
    Crosswalk(folder / "crosswalk.sqlite", KEYS)
    session = Session(
        "r", "AB", KEYS, str(folder / "crosswalk.sqlite"), str(incoming), TARGET.pattern
    )
    child, dice, originals = ReadingProcess(seconds=20), random.Random(20260112), bases()
    child.serve(session)
    file, count, peak, slowest, leaks = folder / "mutant.dcm", Counter(), 0, 0.0, 0
    needles = [n.lower().encode() for n in NAMES]
    began, done = time.monotonic(), 0
    while done < number and time.monotonic() - began < seconds:
        file.write_bytes(mutated(dice.choice(originals), dice))
        start = time.monotonic()
        outcome = child.take(Task(str(file), "dicom"))
        slowest, done = max(slowest, time.monotonic() - start), done + 1
        count[
            "accepted"
            if outcome.incoming
            else "too long or too much memory"
            if "too long or too much" in outcome.reason
            else "failure"
            if outcome.failure
            else "refused"
        ] += 1
        if outcome.incoming:
            copy = incoming / outcome.incoming
            leaks += any(n in copy.read_bytes().lower() for n in needles)
            copy.unlink()
        if done % 500 == 0:
            peak = max(peak, _peak(child))
    peak = max(peak, _peak(child))
    child.close()
    print(
        f"mutants: {done} of {len(originals)} files: {dict(count)}; "
        f"identifiers in accepted output: {leaks}; "
        f"peak memory of the child {peak / 1024:.0f} MiB; slowest {slowest:.1f} s"
    )
    clean = [f for f in sorted(SHARED.rglob("*.dcm")) if "oddities" not in str(f) and readable(f)]
    refused = Counter(
        o.reason.partition(";")[0]
        for f in clean
        if (o := take_file(session, Task(str(f), "dicom"))).reason
    )
    print(f"clean files beside them: {len(clean)}, refused {sum(refused.values())} {dict(refused)}")


def _peak(child: ReadingProcess) -> int:
    process = child._process  # noqa: SLF001 - the peak is the kernel's
    try:
        return (
            int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1])
            if process
            else 0
        )
    except (OSError, TypeError):
        return 0


# -- speed -----------------------------------------------------------------------------------------


def run_speed(folder: Path, slices: int = 400) -> None:
    """CPU seconds of a whole series, interleaved by slice with plain pydicom read and write."""
    source = pydicom.dcmread(next((SHARED / "two_readers" / "ct").glob("*.dcm")))
    (folder / "speed").mkdir()
    Crosswalk(folder / "speed" / "crosswalk.sqlite", KEYS)
    session = Session(
        "r",
        "AB",
        KEYS,
        str(folder / "speed" / "crosswalk.sqlite"),
        str(folder / "speed"),
        TARGET.pattern,
    )
    ours = plain = 0.0
    file = folder / "speed" / "slice.dcm"
    for number in range(slices):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(number)]
        )
        source.InstanceNumber, source.ImagePositionPatient = number + 1, [-250, -250, float(number)]
        source.save_as(file)
        start = time.process_time()
        outcome = take_file(session, Task(str(file), "dicom"))
        middle = time.process_time()
        pydicom.dcmread(file).save_as(folder / "speed" / "plain.dcm")
        plain += time.process_time() - middle
        ours += middle - start
        assert outcome.incoming, outcome.reason
        (folder / "speed" / outcome.incoming).unlink()
    print(
        f"speed: {slices} slices of {source.Rows} x {source.Columns}: ours {ours:.2f} s, "
        f"plain read + write {plain:.2f} s, ratio {ours / plain:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=["canaries", "actions", "speed", "mutants"])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument(
        "--seconds", type=float, default=36_000, help="most seconds for the mutants"
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    for part in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            if part == "canaries":
                run_canaries(Path(folder))
            elif part == "actions":
                run_actions()
            elif part == "speed":
                run_speed(Path(folder))
            else:
                run_mutants(Path(folder), given.mutants, given.seconds)


if __name__ == "__main__":
    main()
