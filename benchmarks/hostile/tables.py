"""Tables, workbooks and exports of study databases that are made to exhaust or mislead a reader."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.hostile.folders import link, meanwhile, pipe
from benchmarks.hostile.setting import GOOD, PATIENTS, Setting
from dagster_project.intake.identity.pseudonyms import new_pseudonym

FOLLOW_UP, ODM, REDCAP = "clinical/follow_up.csv", "clinical/odm.xml", "clinical/redcap.json"
HEADER = "patient_id,date,event\n"
BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = f'<!DOCTYPE ODM [<!ENTITY l0 "lol">{BOMB}]>'


def _put(name: str, make: Callable[[], bytes | str], setting: Setting) -> None:
    setting.put(name, make())


# ── workbooks ──

_TYPES = (
    '<?xml version="1.0"?>'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
)
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_R}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
_BOOK_RELS = _RELS.replace('officeDocument" Target', 'worksheet" Target').replace(
    "xl/workbook.xml", "worksheets/sheet1.xml"
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_BOOK = (
    f'<?xml version="1.0"?><workbook xmlns="{_MAIN}" xmlns:r="{_R}">'
    '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'
)


def _workbook(
    rows: bytes, behind: bytes = b"", before: bytes = b"", more: Mapping[str, bytes] | None = None
) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, text in (
            ("[Content_Types].xml", _TYPES),
            ("_rels/.rels", _RELS),
            ("xl/workbook.xml", _BOOK),
            ("xl/_rels/workbook.xml.rels", _BOOK_RELS),
        ):
            parts.writestr(name, text)
        sheet = (
            b'<?xml version="1.0"?>'
            + before
            + f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode()
            + rows
            + b"</sheetData>"
            + behind
            + b"</worksheet>"
        )
        parts.writestr("xl/worksheets/sheet1.xml", sheet)
        for name, content in (more or {}).items():
            parts.writestr(name, content)
    return written.getvalue()


def _cells(*texts: str) -> bytes:
    return (
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{t}</t></is></c>' for t in texts) + "</row>"
    ).encode()


_GOOD_ROWS = _cells("patient_id", "date", "event") + _cells(GOOD, "2024-03-01", "alive")


def _lying_zip() -> bytes:
    """A part that says it is small, and is not."""
    made = bytearray(_workbook(_GOOD_ROWS + b" " * (200 * 2**20)))
    at = made.rfind(b"xl/worksheets/sheet1.xml") - 46
    made[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    return bytes(made)


_BOOKS = {
    "workbook bomb": lambda: _workbook(_GOOD_ROWS + b" " * (400 * 2**20)),
    "workbook of ten million cells": lambda: _workbook(b"<row>" + b"<c/>" * 10_000_000 + b"</row>"),
    "workbook of four million formatted cells": lambda: _workbook(
        _GOOD_ROWS + (b"<row>" + b'<c s="0"/>' * 100 + b"</row>") * 40_000
    ),
    "workbook of 20,000 merged pairs": lambda: _workbook(
        _GOOD_ROWS,
        b"<mergeCells>"
        + b"".join(f'<mergeCell ref="A{n}:B{n}"/>'.encode() for n in range(9, 20_009))
        + b"</mergeCells>",
    ),
    "workbook merged whole": lambda: _workbook(
        _GOOD_ROWS, b'<mergeCells count="1"><mergeCell ref="A1:XFD1048576"/></mergeCells>'
    ),
    "workbook of many merged cells": lambda: _workbook(
        _GOOD_ROWS, b"<mergeCells>" + b'<mergeCell ref="A1:XFD100"/>' * 1000 + b"</mergeCells>"
    ),
    "workbook with a cell in the last corner": lambda: _workbook(
        _GOOD_ROWS + b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    ),
    "workbook with entities": lambda: _workbook(_GOOD_ROWS, before=LAUGHS.encode()),
    "workbook with entities behind a comment": lambda: _workbook(
        _GOOD_ROWS, before=b"<!--" + b" " * 10_000 + b"-->" + LAUGHS.encode()
    ),
    "workbook whose sizes lie": _lying_zip,
    "workbook of 10,000 parts": lambda: _workbook(
        _GOOD_ROWS, more={f"x/{n}.xml": b"<x/>" for n in range(10_000)}
    ),
    "workbook that names other folders": lambda: _workbook(
        _GOOD_ROWS, more={"../../../../tmp/hostile": b"x", "/etc/hostile": b"x"}
    ),
    "workbook cut off": lambda: _workbook(_GOOD_ROWS)[:-200],
    "zip within zip": lambda: _workbook(_GOOD_ROWS, more={"xl/inner.zip": _workbook(b" " * 10**6)})[
        :400
    ],
}

# ── text ──

_TEXTS = {
    "line of 60 MiB": lambda: "patient_id" + "x" * (60 * 2**20),
    "a million columns": lambda: ",".join(f"c{n}" for n in range(1_000_000)) + "\n",
    "a million empty columns": lambda: "patient_id,date,event" + "," * 999_997 + "\n",
    "five million empty lines": lambda: HEADER + "\n" * 5_000_000,
    "ten million cells": lambda: HEADER + (f"{GOOD}," + "," * 998 + "\n") * 10_000,
    "quotes alone": lambda: HEADER + '"\n' * 300_000,
    "quotes that never close": lambda: HEADER + f'{GOOD},2024-01-08,"alive\n' * 200_001,
    "quotes of quotes": lambda: HEADER + ('""' * 50 + '"' + "\n") * 50_000,
    "zeros": lambda: bytes(10 * 2**20),
    "bytes of chance": lambda: os.urandom(2**20),
    "half characters": lambda: HEADER.encode() + b"\xff\xfe" + b"\xd8\x00" * 1000,
    "gz under the name of a table": lambda: gzip.compress(bytes(2**28), 1),
    "header alone, thousandfold": lambda: HEADER * 100_000,
    "cells of 100 KiB": lambda: HEADER + f"{GOOD},{'9' * 10**5},{'x' * 10**5}\n" * 100,
}


def _people(
    rows: str, header: str = "patient_id,sex,age,birth_date,stage"
) -> Callable[[Setting], None]:
    return partial(_put, "clinical/patients.csv", lambda: f"{header}\n{rows}")


def _append(path: Any, n: int) -> None:
    with (path.parents[1] / "clinical" / "follow_up.csv").open("a", encoding="utf-8") as file:
        file.write(f"{GOOD},2024-03-{n % 28 + 1:02d},alive\n")


TABLES: Mapping[str, Callable[[Setting], Any]] = {
    "pipe as a table": partial(pipe, FOLLOW_UP),
    "endless table": partial(link, FOLLOW_UP, "/dev/zero"),
    "folder as a table": lambda s: (s.landing / FOLLOW_UP).mkdir(),
    "line of 4 GiB": lambda s: s.sparse(FOLLOW_UP, 2**32, HEADER.encode()),
    "table that grows while read": partial(meanwhile, _append),
    **{name: partial(_put, FOLLOW_UP, make) for name, make in _TEXTS.items()},
    **{name: partial(_put, "clinical/follow_up.xlsx", make) for name, make in _BOOKS.items()},
    "lock at year 1": partial(_put, "reads/R1/LOCKED", lambda: "0001-01-01T00:00:00+14:00"),
    "lock at year 9999": partial(_put, "reads/R1/LOCKED", lambda: "9999-12-31T23:59:59-14:00"),
    "lock of 10 MiB": partial(_put, "reads/R1/LOCKED", lambda: "2" * 10 * 2**20),
    "pipe as a lock": partial(pipe, "reads/R1/LOCKED"),
    "ten thousand decisions": lambda s: (
        [s.put(f"arbitration/{n}.csv", "x") for n in range(10_000)] and None
    ),
    "lesions of weird series": partial(
        _put,
        "reads/R1/lesions.csv",
        lambda: f"patient_id,series_uid,lesion,role\n{GOOD},{'1.' * 10_000},\u202e1,target\n",
    ),
}

PATIENTS_FILES: Mapping[str, Callable[[Setting], Any]] = {
    "pipe as patients.csv": partial(pipe, "clinical/patients.csv"),
    "age of 400 nines": _people(f"{GOOD},F,{'9' * 400},,IIIB\n"),
    "age of 5,000 nines": _people(f"{GOOD},F,{'9' * 5000},,IIIB\n"),
    "birth in the year 0": _people(f"{GOOD},F,,0000-00-00,IIIB\n{GOOD}1,F,,9999-12-31,IIIB\n"),
    "patient number of 1 MiB": _people(f"{GOOD},F,,,IIIB\n{'7' * 10**6},F,,,IIIB\n"),
    "pseudonym as patient number": _people(f"{GOOD},F,,,IIIB\n{new_pseudonym('CD')},F,,,IIIB\n"),
    "names that are formulas": _people(f"{GOOD},F,,,IIIB\n=cmd|' /C calc'!A0,F,,,IIIB\n"),
    "patient number of half a character": _people(f"{GOOD},F,,,IIIB\n\ufffd\ufffe,F,,,IIIB\n"),
    "patients twice, contradicting": lambda s: s.put(
        "clinical/patients.csv", PATIENTS + f"{GOOD},M,1949-05-11,IV\n"
    ),
}

# ── study databases ──


def _odm(inside: str, prolog: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}'
        '<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" ODMVersion="1.3" FileType="Snapshot">'
        f'<ClinicalData StudyOID="S" MetaDataVersionOID="1">{inside}</ClinicalData></ODM>'
    )


def _subject(value: str) -> str:
    return (
        f'<SubjectData SubjectKey="{GOOD}"><StudyEventData StudyEventOID="E">'
        '<FormData FormOID="F"><ItemGroupData ItemGroupOID="G">'
        f'<ItemData ItemOID="sex" Value="{value}"/></ItemGroupData></FormData>'
        "</StudyEventData></SubjectData>"
    )


def _utf_16(text: str) -> bytes:
    return text.replace("UTF-8", "UTF-16").encode("utf-16")


def _utf_7(text: str) -> bytes:
    head, _, rest = text.replace("UTF-8", "UTF-7").partition("?>")
    return head.encode() + b"?>" + rest.replace("<", "+ADw-").replace("!", "+ACE-").encode()


_EXTERNAL = '<!DOCTYPE ODM [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>'
_PARAMETER = '<!DOCTYPE ODM [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x.dtd"> %a;]>'

_DOCUMENTS: Mapping[str, Callable[[], bytes | str]] = {
    "billion laughs": lambda: _odm(_subject("&l9;"), LAUGHS),
    "billion laughs in UTF-16": lambda: _utf_16(_odm(_subject("&l9;"), LAUGHS)),
    "billion laughs in UTF-7": lambda: _utf_7(_odm(_subject("&l9;"), LAUGHS)),
    "external entity": lambda: _odm(_subject("&l9;"), _EXTERNAL),
    "external entity in UTF-16": lambda: _utf_16(_odm(_subject("&l9;"), _EXTERNAL)),
    "external document type": lambda: _odm(_subject("F"), _PARAMETER),
    "entity of 40 MiB, often": lambda: _odm(
        _subject("&a;" * 1000), f'<!DOCTYPE ODM [<!ENTITY a "{"x" * 40 * 2**20}">]>'
    ),
    "a million nested elements": lambda: _odm("<a>" * 1_000_000 + "</a>" * 1_000_000),
    "ten million elements": lambda: _odm("<a/>" * 10_000_000),
    "attribute of 60 MiB": lambda: _odm(_subject("x" * 60 * 2**20)),
    "a hundred thousand attributes": lambda: _odm(
        "<a " + " ".join(f'a{n}="1"' for n in range(100_000)) + "/>"
    ),
    "unfinished": lambda: _odm(_subject("F"))[:-30],
    "name spaces of strangers": lambda: _odm(_subject("F")).replace("v1.3", "v9"),
}
_JSONS: Mapping[str, Callable[[], bytes | str]] = {
    "JSON nested a million deep": lambda: "[" * 1_000_000,
    "JSON of 10 million objects": lambda: "[" + "{}," * 10_000_000 + "{}]",
    "JSON of a number of 10,000 digits": lambda: (
        f'[{{"record_id": "1", "patient_id": "{GOOD}", "age": {"9" * 10_000}}}]'
    ),
    "JSON of half characters": lambda: (
        f'[{{"record_id": "\\ud800", "patient_id": "{GOOD}", "sex": "\\udfff", "\\ud83d": "x"}}]'
    ),
    "JSON of NaN": lambda: (
        f'[{{"record_id": "1", "patient_id": "{GOOD}", "age": NaN, "stage": Infinity}}]'
    ),
    "JSON in UTF-16": lambda: f'[{{"record_id": "1", "patient_id": "{GOOD}"}}]'.encode("utf-16"),
}
EXPORTS: Mapping[str, Callable[[Setting], Any]] = {
    **{name: partial(_put, ODM, make) for name, make in _DOCUMENTS.items()},
    **{name: partial(_put, REDCAP, make) for name, make in _JSONS.items()},
    "endless export": partial(link, ODM, "/dev/zero"),
    "a thousand exports": lambda s: (
        [s.put(f"clinical/redcap_{n}.json", "[]") for n in range(1000)] and None
    ),
    "laughs as REDCap XML": partial(
        _put,
        "clinical/redcap.xml",
        lambda: (
            f"<?xml version='1.0'?>{LAUGHS.replace('ODM', 'records')}"
            "<records><item><sex>&l9;</sex></item></records>"
        ),
    ),
}
