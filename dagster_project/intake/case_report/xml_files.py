"""Parses XML of a delivery safely.

The parser itself checks it before anything is built, so that no encoding hides what is refused.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from xml.parsers import expat

from dagster_project.intake.case_report.lines import decoded

LONGEST_TEXT = 2**16
"""Characters of a value: longer ones are attachments, and no answer."""

UNREAD = "\ufffd"
"""Stands for a value that is longer; no parser of a cell takes it."""

MOST_MARKS = 5_000_000
"""Starts and ends of elements: each needs some 100 bytes of memory. 500 patients have a million."""

DOCUMENT_TYPE = "has a document type declaration; export it as ODM 1.3 without one"
TOO_MANY = (
    "holds more elements than a case report can; export it as ODM 1.3 without the audit trail"
)
NO_XML = "is not XML; export it as ODM 1.3"

_CHINESE = frozenset({"gb2312", "gbk", "gb18030", "cp936"})
_ENCODING = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"'][^>]*\?>")


class XmlFault(ValueError):
    """XML that is not read; the text says why."""


class _Stop(Exception):
    """The root has begun."""


def parse_xml(data: bytes) -> ET.Element:
    """The root of an XML file.

    1. No more marks than a case report has.
    2. GB18030 and its like become UTF-8; of other encodings those that the parser has.
    3. No document type, which alone can define entities or name other files: looked for by the
       parser that reads the file, and not in its bytes, which another encoding would disguise.
    4. A value that is longer than any answer is replaced by one that no cell can be read from.

    Raises
    ------
    XmlFault
        Saying why it is not read.
    """
    if data.count(b"<") > MOST_MARKS:
        raise XmlFault(TOO_MANY)
    try:
        plain = _plain(data)
        refuse_document_type(plain)
        # refuse_document_type leaves no entity to expand
        return _shortened(ET.fromstring(plain))  # noqa: S314
    except XmlFault:
        raise
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError, RecursionError) as error:
        raise XmlFault(NO_XML) from error


def _shortened(root: ET.Element) -> ET.Element:
    for element in root.iter():
        element.text = short_text(element.text or "")
        for name, value in element.items():
            if len(value) > LONGEST_TEXT:
                element.set(name, UNREAD)
    return root


def short_text(text: str) -> str:
    """A text, or a substitute for one that is longer than any answer."""
    return text if len(text) <= LONGEST_TEXT else UNREAD


def refuse_document_type(data: bytes) -> None:
    """Read XML up to its root.

    Raises
    ------
    XmlFault
        Where a document type precedes it.
    expat.ExpatError, ValueError
        Where it is no XML.
    """
    parser = expat.ParserCreate()

    def document_type(*_: object) -> None:
        raise XmlFault(DOCUMENT_TYPE)

    def root(*_: object) -> None:
        raise _Stop

    parser.StartDoctypeDeclHandler, parser.StartElementHandler = document_type, root
    try:
        parser.Parse(data, True)
    except _Stop:
        return


def _plain(data: bytes) -> bytes:
    """The bytes in an encoding that the parser has."""
    declared = _ENCODING.match(data.lstrip(b"\xef\xbb\xbf"))
    if declared is None or declared[1].decode().lower() not in _CHINESE:
        return data
    text = decoded(data)
    return text[text.index("?>") + 2 :].encode()
