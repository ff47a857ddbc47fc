"""Send what an export wrote to a PACS: C-STORE (PS3.4 B) or STOW-RS (PS3.18 10.5)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.intake.pacs.multipart import media_type
from dagster_project.intake.pacs.pacs_faults import PacsError, tls_error_within, tls_fault
from dagster_project.intake.pacs.pacs_settings import MEBIBYTE, Destination
from dagster_project.intake.pacs.pacs_tls import fault_of_connection
from dagster_project.intake.pacs.pacs_web import BUSY, OURS, open_session

if TYPE_CHECKING:
    import requests

CONTENTS = "contents.json"
"""File of an export that lists the others with their digests."""

LARGEST_REQUEST = 32 * MEBIBYTE
"""Bytes of the objects of one STOW request, or one object that is larger."""

BOUNDARY = "lakehouse-export-5f0c2b"

NO_EXPORT = (
    "the folder holds no finished export; write one with `lakehouse export`. "
    "该文件夹中没有完整的导出，请先运行 `lakehouse export`"
)
CHANGED = (
    "{name} is missing, or is not as it was exported; export again. "
    "{name} 缺失或与导出时不一致，请重新导出"
)
NOT_TAKEN = (
    "it does not accept {kind} from our AE title; its administrator has to allow that class. "
    "对方不接受该类对象（{kind}），请其管理员开放"
)
LOST = (
    "it ended the association before all was sent; send again, what it has already it takes twice "
    "without harm. 传输途中关联断开，请重新发送，重复对象不会造成问题"
)
BUSY_NOW = "it is busy (status {code}); send again later. 对方繁忙（状态 {code}），请稍后重发"
LET_IN = (
    "the DICOMweb server answered {code}; check user, password_file and rights. "
    "服务器应答 {code}，请检查用户、密码文件与权限"
)
UNEXPECTED = (
    "the DICOMweb server answered {code}; check url, which is the root of its service. "
    "服务器应答 {code}，请检查 url（应为服务根地址）"
)
NO_CONNECTION = (
    "{where} cannot be reached: {fault}; check host, port and TLS. "
    "无法连接 {where}：请检查地址、端口与TLS"
)
NO_ASSOCIATION = (
    "{where} does not take our association as {ours}; register that AE title there, and check "
    "ae_title. {where} 不接受 {ours} 的关联，请在对方登记该AE标题并核对 ae_title"
)

STORED = frozenset({0x0000, 0xB000, 0xB006, 0xB007, 0x0111})
"""Success, three warnings with which an object is stored (PS3.4 B.2.3), and one that it had."""

FAILURES: Mapping[int, str] = {
    0xA700: (
        "it has no room or is overloaded; ask its administrator, then send again. "
        "对方资源不足，请联系其管理员后重发"
    ),
    0xA900: (
        "it says that the object does not match its class; ask its administrator why. "
        "对方认为对象与其类不符，请联系其管理员"
    ),
    0xC000: (
        "it cannot process the object; ask its administrator why. "
        "对方无法处理该对象，请联系其管理员"
    ),
    0x0122: (
        "it does not store this class of object; its administrator has to allow it. "
        "对方不存储该类对象，请其管理员开放"
    ),
    0x0124: (
        "it does not allow us to store; its administrator has to allow our AE title. "
        "对方未授权我方存储，请其管理员开放"
    ),
}
"""Reasons by status of C-STORE (PS3.4 B.2.3), which STOW-RS uses too (PS3.18 table 10.5.3-2)."""

RANGES = ((0xA7FF, 0xA700), (0xA9FF, 0xA900), (0xCFFF, 0xC000))
"""Last status of a range and the one that stands for it."""

OTHER_FAILURE = (
    "it refused the object with status {code:04X}; ask its administrator. "
    "对方未接收该对象（状态 {code:04X}），请联系其管理员"
)


@dataclass(frozen=True)
class Exported:
    """One DICOM file of an export."""

    name: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass
class Sent:
    """How many objects the peer has taken, and the reason for each of the others by file."""

    stored: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def note(self, name: str, code: int) -> None:
        """Count an object by the status that it got."""
        if code in STORED:
            self.stored += 1
        else:
            self.failed.append((name, reason_of_status(code)))


def reason_of_status(code: int) -> str:
    """Why an object was not stored, and what to do."""
    stands = next((first for last, first in RANGES if first <= code <= last), code)
    return FAILURES.get(stands) or OTHER_FAILURE.format(code=code)


def read_export(folder: Path) -> list[Exported]:
    """The DICOM files of a finished export, each as it was written.

    Raises
    ------
    PacsError
        Where the folder is no finished export, or a file of it was changed.
    """
    try:
        listed = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise PacsError(NO_EXPORT) from None
    found = []
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file() or _digest(path) != facts["sha256"]:
            raise PacsError(CHANGED.format(name=name))
        if "sop_class_uid" in facts:
            found.append(Exported(name, path, facts["sop_class_uid"], facts["sop_instance_uid"]))
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def send(destination: Destination, files: Sequence[Exported]) -> Sent:
    """Send files to a peer.

    Raises
    ------
    PacsError
        Where the peer cannot be reached, or does not let us in.
    """
    by = {"store": _send_by_store, "stow": _send_by_stow}
    return by[destination.method](destination, files)


# -- C-STORE ---------------------------------------------------------------------------------------


def _send_by_store(to: Destination, files: Sequence[Exported]) -> Sent:
    from pydicom.uid import UID

    association, done = _associated(to, files), Sent()
    accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    try:
        for file in files:
            if file.sop_class_uid not in accepted:
                kind = UID(file.sop_class_uid).name
                done.failed.append((file.name, NOT_TAKEN.format(kind=kind)))
                continue
            done.note(file.name, _stored(association, file))
    finally:
        if association.is_established:
            association.release()
    return done


def _stored(association: Any, file: Exported) -> int:
    if not association.is_established:
        raise PacsError(LOST)
    status = association.send_c_store(file.path)
    if "Status" not in status:
        raise PacsError(LOST)
    return int(status.Status)


def _associated(to: Destination, files: Sequence[Exported]) -> Any:
    from pynetdicom import AE

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes data sets
    entity = AE(ae_title=to.ours)
    entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = to.seconds
    entity.connection_timeout = to.seconds
    for sop_class in sorted({file.sop_class_uid for file in files}):
        for syntax in sorted({_syntax(f) for f in files if f.sop_class_uid == sop_class}):
            entity.add_requested_context(sop_class, syntax)
    tls = (to.tls.context(server=False), to.tls.name or to.host) if to.tls else None
    where = f"{to.ae_title} ({to.host}:{to.port})"
    try:
        association = entity.associate(to.host, to.port, ae_title=to.ae_title, tls_args=tls)
    except OSError:  # a host name that is not known
        fault = fault_of_connection(to.host, to.port, None)
        raise PacsError(NO_CONNECTION.format(where=where, fault=fault)) from None
    if association.is_established or association.rejected_contexts:
        return association
    fault = "" if association.is_rejected else fault_of_connection(to.host, to.port, to.tls)
    if fault:
        raise PacsError(NO_CONNECTION.format(where=where, fault=fault))
    raise PacsError(NO_ASSOCIATION.format(where=where, ours=to.ours))


def _syntax(file: Exported) -> str:
    from pydicom.filereader import read_file_meta_info

    return str(read_file_meta_info(file.path).TransferSyntaxUID)


# -- STOW-RS ---------------------------------------------------------------------------------------


def _send_by_stow(to: Destination, files: Sequence[Exported]) -> Sent:
    session, done = open_session(to), Sent()
    for batch in _batches(files):
        answer = _posted(session, to, batch)
        failed = _failures(answer)
        for file in batch:
            done.note(file.name, failed.get(file.sop_instance_uid, 0))
    return done


def _batches(files: Sequence[Exported]) -> Iterator[list[Exported]]:
    """Files in turn, as many as one request may hold."""
    batch: list[Exported] = []
    size = 0
    for file in files:
        bytes_of_file = file.path.stat().st_size
        if batch and size + bytes_of_file > LARGEST_REQUEST:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += bytes_of_file
    if batch:
        yield batch


def _posted(
    session: requests.Session, to: Destination, batch: Sequence[Exported]
) -> requests.Response:
    """The answer to a request of which some or all objects were stored, or were refused one by one.

    Raises
    ------
    PacsError
        For any other answer, or none.
    """
    import requests

    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
        "Accept": "application/dicom+json",
    }
    url = f"{to.url.rstrip('/')}/studies"
    try:
        answer = session.post(url, data=_body(batch), headers=headers, timeout=to.seconds)
    except requests.RequestException as error:
        fault = tls_error_within(error)
        said = tls_fault(fault) if fault else type(error).__name__
        raise PacsError(NO_CONNECTION.format(where="url", fault=said)) from None
    code = answer.status_code
    if code in BUSY:
        raise PacsError(BUSY_NOW.format(code=code))
    if code in OURS:
        raise PacsError(LET_IN.format(code=code))
    if code not in {200, 202, 409}:
        raise PacsError(UNEXPECTED.format(code=code))
    return answer


def _body(batch: Sequence[Exported]) -> bytes:
    """One part per object (RFC 2387); the boundary stands in none of them."""
    parts = [file.path.read_bytes() for file in batch]
    start = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def _failures(answer: requests.Response) -> dict[str, int]:
    """Status by SOPInstanceUID of the objects in FailedSOPSequence (0008,1198).

    Raises
    ------
    PacsError
        Where objects were refused and the answer does not say which.
    """
    kind = media_type(answer.headers.get("Content-Type", ""))
    if kind not in {"application/dicom+json", "application/json"}:
        if answer.status_code == 200:
            return {}
        raise PacsError(UNEXPECTED.format(code=answer.status_code))
    try:
        rows = answer.json()
        failed = [
            item
            for row in (rows if isinstance(rows, list) else [rows])
            for item in row.get("00081198", {}).get("Value", [])
        ]
        return {item["00081155"]["Value"][0]: int(item["00081197"]["Value"][0]) for item in failed}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise PacsError(UNEXPECTED.format(code=answer.status_code)) from None
