"""A PACS that is asked by DICOMweb: QIDO-RS for what it has, WADO-RS for the objects, which go from memory into the vault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.intake.pacs_pull import Found, Wanted
from dagster_project.intake.pacs_settings import Listening, PacsError, Peer
from dagster_project.intake.vault import Reception

if TYPE_CHECKING:
    import requests

PIECE = 2**20
"""Bytes read at a time, so that the limit of size holds while an answer arrives."""

DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class WebArchive:
    """Studies service of PS3.18."""

    def __init__(self, peer: Peer, ours: Listening, reception: Reception) -> None:
        import requests

        self._peer, self._ours, self._reception = peer, ours, reception
        self._session = requests.Session()
        self._session.verify = peer.ca or True
        self._session.trust_env = False
        if peer.user:
            self._session.auth = (peer.user, _password(peer))

    def series(self, wanted: Wanted) -> list[Found]:
        """Studies of the patient within the dates, and their series."""
        asked = {"PatientID": wanted.number} | ({"StudyDate": wanted.date_range} if wanted.date_range else {})
        mine = [_value(s, "0020000D") for s in self._search("studies", asked) if _value(s, "00100020").strip() == wanted.number]
        return [Found(study, _value(s, "0020000E"), _value(s, "00080060")) for study in mine for s in self._search(f"studies/{study}/series", {})]

    def instances(self, found: Found) -> list[str]:
        """SOPInstanceUIDs of a series."""
        return sorted(_value(i, "00080018") for i in self._search(f"studies/{found.study}/series/{found.series}/instances", {}))

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """Retrieve these instances one by one: what came before an interruption is kept."""
        for uid in instances:
            with self._ask(f"studies/{found.study}/series/{found.series}/instances/{uid}", {}, DICOM) as answer:
                self._take(uid, answer)

    def _take(self, uid: str, answer: requests.Response) -> None:
        body = bytearray()
        for piece in _pieces(answer):
            body += piece
            if len(body) > self._ours.largest_object:
                self._reception.refuse(len(body), f"larger than {self._ours.largest_object_mib} MiB, the limit of the settings; raise it there")
                return
        self._reception.take(uid, _first_part(answer.headers.get("Content-Type", ""), bytes(body)))

    def _search(self, path: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        with self._ask(path, asked, "application/dicom+json") as answer:
            return answer.json() if answer.status_code == 200 else []

    def _ask(self, path: str, asked: dict[str, str], accept: str) -> requests.Response:
        import requests

        try:
            answer = self._session.get(f"{self._peer.url.rstrip('/')}/{path}", params=asked, headers={"Accept": accept}, stream=True, timeout=self._ours.seconds)
        except requests.RequestException as error:
            raise PacsError(f"the DICOMweb server does not answer ({type(error).__name__}); check url, ca and the network, then run the pull again") from None
        if answer.status_code not in {200, 204}:
            raise PacsError(f"the DICOMweb server answered {answer.status_code}; check url, user and rights")
        return answer


def _password(peer: Peer) -> str:
    try:
        return Path(peer.password_file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise PacsError("password_file of pacs.toml cannot be read; check its path and permissions") from error


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives; a connection that breaks is told without its address."""
    import requests

    try:
        yield from answer.iter_content(PIECE)
    except requests.RequestException:
        raise PacsError("the DICOMweb server's answer was cut off; run the pull again, it asks for what is missing") from None


def _value(answer: dict[str, Any], tag: str) -> str:
    values = answer.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _first_part(content_type: str, body: bytes) -> bytes:
    """The object of a multipart/related answer."""
    if not content_type.startswith("multipart/"):
        return body
    boundary = _boundary(content_type)
    start = body.find(b"--" + boundary)
    head = body.find(b"\r\n\r\n", start) + 4
    end = body.rfind(b"\r\n--" + boundary)
    if start < 0 or head < 4 or end < head:
        raise PacsError("the DICOMweb server's answer was cut off; run the pull again, it asks for what is missing")
    return body[head:end]


def _boundary(content_type: str) -> bytes:
    said = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n")
    return str(said.get_boundary() or "").encode()
