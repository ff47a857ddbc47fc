"""Startup kits of NVFlare, with what its own leave open closed (docs/federated.md).

Each is a folder of a home, 0700: startup files, `local` with the site's rules, and below it jobs
and logs. Keys in it are of this party alone.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.federated.engine.certificates import (
    COORDINATOR,
    LOCALHOST,
    OPERATOR,
    ROLE,
    Authority,
    hold_certificate,
    make_key,
    read_key,
)
from dagster_project.federated.engine.jobs import CONTROLLER, EXECUTOR
from dagster_project.federated.engine.places import Places, write_closed
from dagster_project.federated.refusals import NotApproved

PROJECT = "lakehouse"
SCHEME = "grpc"
LARGEST_INVITATION = 2**20

NOTHING = dict.fromkeys(
    (
        "view",
        "operate",
        "shell_commands",
        "byoc",
        "clone_job",
        "download_job",
        "server-predeployed-flwr",
    ),
    "none",
)

HOSPITAL_RIGHTS = {ROLE: {**NOTHING, "submit_job": "any", "manage_job": "any"}}
"""Of the operator, at a hospital: jobs that pass the gate, and their end.

No other role has any right: NVFlare's own policy gives `project_admin` all of them.
"""

COORDINATOR_RIGHTS = {ROLE: {**NOTHING, "submit_job": "any", "manage_job": "any", "view": "any"}}
"""Of the operator, at the coordinator itself."""

OF_HOSPITALS = (
    EXECUTOR,
    "dagster_project.federated.engine.gate.OnlyConfiguration",
    "dagster_project.federated.engine.launcher.HospitalLauncher",
    "nvflare.app_common.resource_managers.passthrough_resource_manager.PassthroughResourceManager",
    "nvflare.app_common.resource_consumers.passthrough_resource_consumer.PassthroughResourceConsumer",
)
"""Classes that a hospital's processes may build; nothing else of NVFlare, and nothing that came."""

OF_THE_COORDINATOR = (
    CONTROLLER,
    "nvflare.app_common.job_launcher.server_process_launcher.ServerProcessJobLauncher",
    "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor",
    "nvflare.app_common.storages.filesystem_storage.FilesystemStorage",
    "nvflare.app_common.job_schedulers.job_scheduler.DefaultJobScheduler",
    "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
)


@dataclass(frozen=True)
class Address:
    """Where the coordinator listens: the one address and port that hospitals connect to."""

    host: str
    port: int

    @property
    def target(self) -> str:
        """As gRPC has it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Invitation:
    """What the coordinator sends to a hospital that it has approved; nothing in it is secret."""

    certificate: str
    authority: str
    address: Address

    def to_bytes(self) -> bytes:
        """As it is sent."""
        content = {"certificate": self.certificate, "authority": self.authority}
        return json.dumps({**content, "address": vars(self.address)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Invitation:
        """As it was sent.

        Raises
        ------
        NotApproved
        """
        try:
            content = json.loads(data[:LARGEST_INVITATION])
            host, port = content["address"]["host"], content["address"]["port"]
            texts = [content["certificate"], content["authority"], host]
            if not all(isinstance(t, str) for t in texts) or type(port) is not int:
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotApproved(
                "the file is no invitation of `lakehouse federated approve`; have the coordinator "
                "send it again",
                "该文件不是 `lakehouse federated approve` 生成的邀请；请协调方重新发送",
            ) from None
        return cls(content["certificate"], content["authority"], Address(host, port))


def invite(authority: Authority, certificate: bytes, address: Address) -> Invitation:
    """An invitation with a hospital's certificate."""
    return Invitation(certificate.decode("ascii"), authority.certificate.decode("ascii"), address)


def write_hospital(places: Places, invitation: Invitation, hospital: str) -> Path:
    """A hospital's kit, with the key that was made in this home.

    Raises
    ------
    NotApproved
        Where the certificate is for another key or another hospital.
    """
    own, root = invitation.certificate.encode(), invitation.authority.encode()
    certified = hold_certificate(own, root, read_key(places.key))
    if certified != hospital:
        raise NotApproved(
            f"the certificate is for {certified} and the ledger of this home is of {hospital}; use "
            "the home of the hospital that was invited",
            f"证书属于 {certified}，而本目录台账属于 {hospital}；请使用受邀医院的目录",
        )
    kit = _begin(places, places.workspace)
    _write_keys(kit, "client", places.key.read_bytes(), own, root)
    service = {"target": invitation.address.target, "scheme": SCHEME}
    _write(
        kit / "startup" / "fed_client.json",
        {
            "format_version": 2,
            "require_signed_jobs": True,
            "servers": [{"name": PROJECT, "service": service, "identity": COORDINATOR}],
            "client": {
                "ssl_private_key": "client.key",
                "ssl_cert": "client.crt",
                "ssl_root_cert": "rootCA.pem",
                "fqsn": hospital,
                "is_leaf": True,
                "connection_security": "mtls",
            },
        },
    )
    # the job process connects to its parent: the parent is a server there
    _write_keys(kit, "server", places.key.read_bytes(), own, root)
    _write(kit / "local" / "resources.json", hospital_resources())
    _write(kit / "local" / "comm_config.json", INTERNAL)
    _write(kit / "local" / "authorization.json", _policy(HOSPITAL_RIGHTS))
    _write(kit / "local" / "log_config.json", LOGGING)
    return kit


def hospital_resources() -> dict[str, Any]:
    """What a hospital's processes may do; logs are not streamed to the coordinator."""
    _, gate, launcher, manager, consumer = OF_HOSPITALS
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(OF_HOSPITALS),
        "allow_log_streaming": False,
        "client": {"retry_timeout": 30, "compression": "None"},
        "app_validator": {"path": gate, "args": {}},
        "components": [
            {"id": "resource_manager", "path": manager, "args": {}},
            {"id": "resource_consumer", "path": consumer, "args": {}},
            {"id": "process_launcher", "path": launcher, "args": {}},
        ],
    }


def write_coordinator(places: Places, address: Address) -> Path:
    """The coordinator's kit: its own key and certificate, and the operator's beside it."""
    authority = Authority(places.authority).make()
    kit = _begin(places, places.workspace)
    key = make_key(_absent(kit / "startup" / "server.key"))
    own = authority.certify(
        key.public_key(), COORDINATOR, COORDINATOR, hosts=(address.host, LOCALHOST)
    )
    root = authority.certificate
    _write_keys(kit, "server", None, own, root)
    _write(
        kit / "startup" / "fed_server.json",
        {
            "format_version": 2,
            "require_signed_jobs": True,
            "servers": [
                {
                    "name": PROJECT,
                    "service": {"target": address.target, "scheme": SCHEME},
                    "admin_server": address.host,
                    "admin_port": address.port,
                    "ssl_private_key": "server.key",
                    "ssl_cert": "server.crt",
                    "ssl_root_cert": "rootCA.pem",
                    "connection_security": "mtls",
                    "auth_identity": COORDINATOR,
                }
            ],
        },
    )
    # the coordinator's job process connects to it as a client
    _write_keys(kit, "client", (kit / "startup" / "server.key").read_bytes(), own, root)
    _write(kit / "local" / "resources.json", coordinator_resources(kit))
    _write(kit / "local" / "comm_config.json", INTERNAL)
    _write(kit / "local" / "authorization.json", _policy(COORDINATOR_RIGHTS))
    _write(kit / "local" / "log_config.json", LOGGING)
    _write_operator(places, authority, address)
    return kit


def coordinator_resources(kit: Path) -> dict[str, Any]:
    """What the coordinator's processes may do; jobs and snapshots lie in the home."""
    _, launcher, persistor, storage, scheduler, manager = OF_THE_COORDINATOR
    snapshots, jobs = str(kit / "snapshots"), str(kit / "jobs")
    stored = {"path": storage, "args": {"root_dir": snapshots, "uri_root": "/"}}
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(OF_THE_COORDINATOR),
        "servers": [
            {
                "admin_storage": "transfer",
                "max_num_clients": 100,
                "heart_beat_timeout": 60,
                "admin_timeout": 10.0,
            }
        ],
        "snapshot_persistor": {"path": persistor, "args": {"uri_root": "/", "storage": stored}},
        "components": [
            {"id": "job_scheduler", "path": scheduler, "args": {"max_jobs": 1}},
            {
                "id": "job_manager",
                "path": manager,
                "args": {"uri_root": jobs, "job_store_id": "job_store"},
            },
            {"id": "job_store", "path": storage},
            {"id": "process_launcher", "path": launcher, "args": {}},
        ],
    }


def _write_operator(places: Places, authority: Authority, address: Address) -> None:
    kit = _begin(places, places.administration)
    key = make_key(_absent(kit / "startup" / "client.key"))
    own = authority.certify(key.public_key(), OPERATOR, COORDINATOR, ROLE)
    _write_keys(kit, "client", None, own, authority.certificate)
    admin = {
        "project_name": PROJECT,
        "username": OPERATOR,
        "server_identity": COORDINATOR,
        "scheme": SCHEME,
        "host": address.host,
        "port": address.port,
        "connection_security": "mtls",
        "uid_source": "cert",
        "with_file_transfer": True,
        "upload_dir": "transfer",
        "download_dir": "transfer",
        "client_key": "client.key",
        "client_cert": "client.crt",
        "ca_cert": "rootCA.pem",
    }
    _write(kit / "startup" / "fed_admin.json", {"format_version": 1, "admin": admin})


INTERNAL = {
    "allow_adhoc_conns": False,
    "internal": {"scheme": "tcp", "resources": {"host": LOCALHOST, "connection_security": "mtls"}},
}
"""Between the processes of one party: loopback, by mTLS; NVFlare leaves it in clear."""

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": "nvflare.fuel.utils.log_utils.BaseFormatter",
            "fmt": "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        }
    },
    "handlers": {
        "logFileHandler": {
            "class": "logging.handlers.RotatingFileHandler",
            "level": "INFO",
            "formatter": "plain",
            "filename": "log.txt",
            "mode": "a",
            "maxBytes": 2**22,
            "backupCount": 3,
        }
    },
    "loggers": {"root": {"level": "INFO", "handlers": ["logFileHandler"]}},
}
"""One file in the home, and nothing on the terminal or in a second format."""


def _policy(rights: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {"format_version": "1.0", "permissions": rights}


def _begin(places: Places, kit: Path) -> Path:
    """A kit's folders; those that other versions have left are taken away, but for logs."""
    for part in ("startup", "local"):
        shutil.rmtree(kit / part, ignore_errors=True)
    places.make(kit, kit / "startup", kit / "local", kit / "transfer")
    return kit


def _absent(file: Path) -> Path:
    file.unlink(missing_ok=True)
    return file


def _write_keys(kit: Path, name: str, key: bytes | None, own: bytes, root: bytes) -> None:
    if key is not None:
        write_closed(kit / "startup" / f"{name}.key", key)
    write_closed(kit / "startup" / f"{name}.crt", own)
    write_closed(kit / "startup" / "rootCA.pem", root)


def _write(file: Path, content: dict[str, Any]) -> None:
    write_closed(file, json.dumps(content, indent=1).encode("ascii"))
