"""Queries and retrieves from a PACS by DICOMweb.

QIDO-RS lists what the PACS has; WADO-RS brings the objects, which go from memory into the vault.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.datadict import tag_for_keyword

from dagster_project.intake.dicom.deidentification import KINDS
from dagster_project.intake.pacs.multipart import first_part, media_type, shown_type
from dagster_project.intake.pacs.pacs_faults import (
    PacsError,
    RequestError,
    tls_error_within,
    tls_fault,
)
from dagster_project.intake.pacs.pacs_pull import LEVELS, MOST_ANSWERS, Answer, Found
from dagster_project.intake.pacs.pacs_settings import MEBIBYTE, Listening, Peer, Remote
from dagster_project.intake.pacs.pacs_tls import check_ca, check_readable
from dagster_project.intake.vault.vault import Reception

if TYPE_CHECKING:
    import requests

PIECE = 2**20
"""Bytes read at a time, so that the limit of size holds while an answer arrives."""

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
RETRIEVE = (
    f'multipart/related; type="{DICOM}"; transfer-syntax=*',
    f'multipart/related; type="{DICOM}"',
)
"""As the object is stored; the second for servers that do not know the parameter and answer 406."""

ANSWERS_A_PAGE = 200
"""Answers asked for at a time; a server may give fewer."""

MOST_SKIPPED = 24
"""Instances of a series that a server may fail to describe; with more, the series is not listed."""

LARGEST_LIST = 64 * MEBIBYTE
"""Bytes of one page of answers."""

BUSY = frozenset({429, 503})
TRIES = 4
"""How often a busy server is asked."""

LONGEST_PAUSE = 30.0
"""Seconds that a busy server is waited for at a time; who wants more is left alone."""

OURS = frozenset({401, 403, 407})
"""Statuses that every request would get: user, password and rights."""

ADDITIONAL = re.compile(r"299\b.*additional", re.IGNORECASE)
"""The Warning of a server that has more answers than it gives (PS3.18 8.3.4.4)."""

NOT_ANSWERING = "the DICOMweb server does not answer"


class WebArchive:
    """Studies service of PS3.18."""

    most_a_request = 1
    """Instances are retrieved one by one: what came before an interruption is kept."""

    unasked = 0

    def __init__(self, peer: Peer, ours: Listening, reception: Reception) -> None:
        self._peer, self._ours, self._reception = peer, ours, reception
        self._accept = self.cut_short = self.unlisted = 0
        self._session = open_session(peer)

    def find(self, level: str, keys: Mapping[str, str]) -> list[Answer]:
        """QIDO-RS, page by page.

        1. A page begins where the answers so far end, whatever the server's own limit is.
        2. The last page is empty, or repeats (a server that does not know `offset`).
        3. A page of instances that fails is asked for in smaller ones, and an instance that fails
           by itself is skipped and counted: a server that reads a lost file fails the page with it.
        4. A server that says that it has more answers and does not give them is counted.
        """
        path, asked = _path(level, keys)
        key, answers, seen = LEVELS[level][0], list[Answer](), set[str]()
        at, size, skipped, promised = 0, ANSWERS_A_PAGE, 0, False
        while True:
            try:
                page, promised = self._page(path, {**asked, "limit": str(size), "offset": str(at)})
            except RequestError:
                if level != "IMAGE" or skipped == MOST_SKIPPED:
                    raise
                if size == 1:
                    at, skipped = at + 1, skipped + 1
                size = max(1, size // 8)
                continue
            if not {a[key] for a in page} - seen:
                break
            seen |= {a[key] for a in page}
            answers, at, size = answers + page, at + len(page), min(size * 2, ANSWERS_A_PAGE)
            if at > MOST_ANSWERS:
                raise RequestError(f"it gave more than {MOST_ANSWERS} answers")
        self.unlisted += skipped
        self.cut_short += bool(answers and promised)
        return answers

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """WADO-RS."""
        for uid in instances:
            path = f"studies/{found.study}/series/{found.series}/instances/{uid}"
            with self._retrieved(path) as answer:
                self._take(uid, answer)

    def fetch_series(self, found: Found) -> None:
        """WADO-RS of the instances in the metadata of the series.

        QIDO-RS may end at the server's limit.
        """
        path = f"studies/{found.study}/series/{found.series}/metadata"
        listed, _ = self._page(path, {})
        uids = [one["SOPInstanceUID"] for one in listed if one["SOPClassUID"] in KINDS]
        for uid in self._reception.missing(uids):
            with suppress(RequestError):
                self.fetch(found, [uid])

    def _retrieved(self, path: str) -> requests.Response:
        answer = self._ask(path, {}, RETRIEVE[self._accept])
        if answer.status_code == 406 and self._accept == 0:
            answer.close()
            self._accept = 1
            return self._retrieved(path)
        return answer

    def _take(self, uid: str, answer: requests.Response) -> None:
        if answer.status_code != 200:
            raise RequestError(f"it answered {answer.status_code}")
        body = self._body(answer, self._ours.largest_object)
        if body is None:
            limit = self._ours.largest_object_mib
            self._reception.refuse(
                limit * MEBIBYTE,
                f"larger than {limit} MiB, the limit of the settings; raise it there",
            )
            raise RequestError(f"larger than {limit} MiB")
        self._reception.take(uid, first_part(answer.headers.get("Content-Type", ""), body, DICOM))

    def _body(self, answer: requests.Response, most: int) -> bytes | None:
        """The whole body; None where it is larger than `most` bytes."""
        body = bytearray()
        for piece in _arriving(answer):
            body += piece
            if len(body) > most:
                return None
        return bytes(body)

    def _page(self, path: str, asked: dict[str, str]) -> tuple[list[Answer], bool]:
        """One page of answers, and whether the server says that there are more."""
        with self._ask(path, asked, DICOM_JSON) as answer:
            if answer.status_code == 204:
                return [], False
            if answer.status_code != 200:
                raise RequestError(f"it answered {answer.status_code}")
            body = self._body(answer, LARGEST_LIST)
            if body is None:
                raise RequestError(
                    f"its list of answers is larger than {LARGEST_LIST // MEBIBYTE} MiB"
                )
            promised = bool(ADDITIONAL.search(answer.headers.get("Warning", "")))
            return _answers(answer.headers.get("Content-Type", ""), body, path), promised

    def _ask(self, path: str, asked: dict[str, str], accept: str) -> requests.Response:
        """An answer; a server that is busy is asked again, as late as it wishes and a few times.

        Raises
        ------
        PacsError
            Where it does not answer, stays busy, or does not let us in.
        """
        for tried in range(TRIES):
            answer = self._sent(path, asked, accept, again=tried == 0)
            if answer.status_code in OURS:
                raise PacsError(
                    f"the DICOMweb server answered {answer.status_code}; "
                    "check user, password_file and rights"
                )
            if answer.status_code not in BUSY:
                return answer
            answer.close()
            pause = _pause(answer.headers.get("Retry-After", ""), tried)
            if pause > LONGEST_PAUSE:
                break
            if tried + 1 < TRIES:
                time.sleep(pause)
        raise PacsError(
            f"the DICOMweb server is busy (status {answer.status_code}) "
            f"and wants to be asked in {pause:.0f} seconds; run the pull again later"
        )

    def _sent(
        self, path: str, asked: dict[str, str], accept: str, *, again: bool
    ) -> requests.Response:
        import requests

        url = f"{self._peer.url.rstrip('/')}/{path}"
        try:
            return self._session.get(
                url,
                params=asked,
                headers={"Accept": accept},
                stream=True,
                timeout=self._ours.seconds,
            )
        except requests.Timeout:
            raise PacsError(
                f"{NOT_ANSWERING} within {self._ours.seconds:g} seconds; "
                "check url and the network, or raise seconds"
            ) from None
        except requests.RequestException as error:
            fault = tls_error_within(error)
            if fault is not None:
                raise PacsError(
                    f"the DICOMweb server cannot be trusted: {tls_fault(fault)}"
                ) from None
            if again and isinstance(error, requests.ConnectionError):
                return self._sent(path, asked, accept, again=False)
            raise PacsError(
                f"{NOT_ANSWERING} ({type(error).__name__}); "
                "check url and the network, then run the pull again"
            ) from None


def open_session(peer: Remote) -> requests.Session:
    """Connections to a DICOMweb server with its certificates, user and password.

    Raises
    ------
    PacsError
        Where a file of the settings cannot be used.
    """
    import requests

    session = requests.Session()
    session.trust_env = False
    session.verify = _trusted(peer)
    if peer.tls:
        peer.tls.context(server=False)
        session.cert = (peer.tls.certificate, peer.tls.key)
    if peer.user:
        session.auth = (peer.user, _password(peer))
    return session


def _trusted(peer: Remote) -> bool | str:
    """Whose certificates are taken."""
    if peer.tls:
        return peer.tls.ca
    if peer.ca:
        check_ca("ca", peer.ca)
        return peer.ca
    return True


def _password(peer: Remote) -> str:
    check_readable("password_file", peer.password_file)
    return Path(peer.password_file).read_text(encoding="utf-8").rstrip("\r\n")


def _path(level: str, keys: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The resource of a level, and what is asked of it."""
    if level == "STUDY":
        return "studies", {k: v for k, v in keys.items() if v}
    series = f"studies/{keys['StudyInstanceUID']}/series"
    return (
        (series, {})
        if level == "SERIES"
        else (f"{series}/{keys['SeriesInstanceUID']}/instances", {})
    )


def _pause(retry_after: str, tried: int) -> float:
    """Seconds until the next try: as the server says (a number or a date), else 1, then 2, 4."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return float(2**tried)
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return max(0.0, (at - dt.datetime.now(dt.UTC)).total_seconds())


def _arriving(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives, gzip undone."""
    import requests

    try:
        yield from answer.iter_content(PIECE)
    except requests.RequestException:
        raise RequestError("its answer was cut off") from None


def _answers(content_type: str, body: bytes, path: str) -> list[Answer]:
    kind = media_type(content_type)
    if kind not in {DICOM_JSON, "application/json"}:
        raise RequestError(
            f"it answered with {shown_type(kind)} in place of {DICOM_JSON}; check url"
        )
    level = "STUDY" if path == "studies" else "IMAGE"
    if path.endswith("/series"):
        level = "SERIES"
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("its list of answers is no JSON, or was cut off") from None
    if not isinstance(rows, list):
        raise RequestError("its list of answers is no list")
    return [{keyword: _value(row, keyword) for keyword in LEVELS[level]} for row in rows]


def _value(row: Any, keyword: str) -> str:
    element = row.get(f"{tag_for_keyword(keyword):08X}") if isinstance(row, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return "" if first is None else str(first).strip(" \0")
