"""The object within a multipart/related answer (RFC 2387), which only its boundary delimits."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from dagster_project.intake.pacs.pacs_faults import RequestError

CUT_OFF = "its answer was cut off"


def media_type(content_type: str) -> str:
    """Type and subtype in small letters, without parameters.

    >>> media_type('Multipart/Related; boundary="a b"'), media_type("")
    ('multipart/related', '')
    """
    return content_type.partition(";")[0].strip().lower()


KNOWN_TYPES = frozenset(
    {
        "application/dicom",
        "application/dicom+json",
        "application/dicom+xml",
        "application/json",
        "application/octet-stream",
        "application/problem+json",
        "application/xml",
        "image/jpeg",
        "multipart/mixed",
        "multipart/related",
        "text/html",
        "text/plain",
        "text/xml",
    }
)
"""Types that are named in a reason: what else a server writes there is its own text."""


def shown_type(kind: str) -> str:
    """A type of an answer as a reason names it.

    >>> shown_type("text/html"), shown_type(""), shown_type("application/vnd.hospital+json")
    ('text/html', 'no content type', 'another content type')
    """
    if not kind:
        return "no content type"
    return kind if kind in KNOWN_TYPES else "another content type"


def first_part(content_type: str, body: bytes, wanted: str) -> bytes:
    """The first part of an answer, or the whole of one that is not multipart.

    1. The part begins after the first boundary and its own headers.
    2. It ends before the next boundary; where there is none, the answer was cut off.
    3. Its own type, or the answer's, is `wanted`.

    Raises
    ------
    RequestError
        Where the answer is empty, cut off, or of another type.
    """
    if not body:
        raise RequestError("its answer is empty")
    if not media_type(content_type).startswith("multipart/"):
        return _of_type(content_type, body, wanted)
    boundary = _boundary(content_type)
    start = 0 if body.startswith(b"--" + boundary) else body.find(b"\n--" + boundary) + 1
    if not boundary or not body.startswith(b"--" + boundary, start):
        raise RequestError(CUT_OFF)
    line = body.find(b"\n", start)
    ending = b"\r\n" if body[line - 1 : line] == b"\r" else b"\n"
    at = line + 1 - len(ending)  # a part without headers begins with an empty line
    head = body.find(ending * 2, at)
    end = body.find(ending + b"--" + boundary, max(head, at))
    if line < 0 or head < 0 or end < head:
        raise RequestError(CUT_OFF)
    own = _headers(body[at + len(ending) : head + len(ending)]).get("Content-Type", "")
    return _of_type(str(own) or wanted, body[head + 2 * len(ending) : end], wanted)


def _of_type(content_type: str, body: bytes, wanted: str) -> bytes:
    kind = media_type(content_type)
    if kind != wanted:
        raise RequestError(f"it answered with {shown_type(kind)} in place of {wanted}")
    return body


def _boundary(content_type: str) -> bytes:
    header = _headers(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n")
    return str(header.get_boundary() or "").encode("latin-1", "replace")


def _headers(lines: bytes) -> Message:
    return BytesParser(policy=HTTP).parsebytes(lines.strip(b"\r\n") + b"\r\n\r\n")
