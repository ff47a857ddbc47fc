"""What a case-report file is by its first bytes, where that is not what its name says."""

from __future__ import annotations

import re

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_BEGINNINGS = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"{\\rtf", "a rich-text document (RTF)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "a database"),
    (b"PAR1", "a Parquet file"),
)
_MARKUP = re.compile(
    rb"<(!doctype\s+html|html|head|body|table|meta|\?xml|workbook|style)", re.IGNORECASE
)
_LOOKED_AT = 1024
_NAME_WORKBOOK = b"xl/workbook"

PROTECTED = "is protected with a password; take the password off in Excel and save it as .xlsx"
OLD_EXCEL = "is a workbook of Excel 97-2003 (.xls); open it in Excel and save it as .xlsx"
WORKBOOK = "is an Excel workbook under another name; name it .xlsx"
MARKUP = (
    "is a web page or XML, as hospital systems export it under a table's name; "
    "open it in Excel and save it as .xlsx or as CSV UTF-8"
)
NO_WORKBOOK = (
    "is not an Excel workbook (.xlsx); "
    "open it in Excel and save it as .xlsx, or name it .csv if it is text"
)
OTHER_ZIP = (
    "is a ZIP archive or another program's document; "
    "unpack it, or save its table as .xlsx or as CSV UTF-8"
)


def other_kind(data: bytes) -> str:
    r"""Why bytes are no text of a CSV file, and what to do; empty where they may be text.

    >>> other_kind(b"PK\x03\x04...xl/workbook.xml") == WORKBOOK
    True
    >>> other_kind(b"%PDF-1.7"), other_kind(b"patient_id,sex")
    ('is a PDF; save its table as .xlsx or as CSV UTF-8', '')
    """
    if data.startswith(_ZIP):
        return WORKBOOK if _NAME_WORKBOOK in data else OTHER_ZIP
    if data.startswith(_OLE):
        return PROTECTED if _wide("EncryptedPackage") in data else OLD_EXCEL
    kind = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), "")
    if kind:
        return f"is {kind}; save its table as .xlsx or as CSV UTF-8"
    return MARKUP if _is_markup(data) else ""


def no_workbook(data: bytes) -> str:
    """Why bytes are no .xlsx workbook, and what to do; empty where they may be one."""
    if data.startswith(_ZIP):
        return "" if _NAME_WORKBOOK in data else OTHER_ZIP
    return other_kind(data) or NO_WORKBOOK


def _is_markup(data: bytes) -> bool:
    start = data[:_LOOKED_AT].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return start.startswith(b"MIME-Version:") or _MARKUP.match(start) is not None


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le")
