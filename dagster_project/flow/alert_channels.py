"""How a message leaves: by a webhook or a mail server inside the hospital, named in alerts.toml."""

from __future__ import annotations

import json
import smtplib
import ssl
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

FILE = "alerts.toml"
"""In the home folder, mode 0600; certificates and passwords are files of their own."""

SECONDS = 20.0
"""How long a server may take to answer."""

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\r\n]+$")]
Send = Callable[[str, str], None]


class AlertError(RuntimeError):
    """The settings cannot be used, or a message was not sent; English and Chinese."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(f"{en}\n{zh}")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Webhook(_Settings):
    """An address that takes a POST of JSON."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
    form: Literal["text", "msgtype"] = "text"
    """`{"text": …}`, or `{"msgtype": "text", "text": {"content": …}}` (WeCom, DingTalk)."""
    ca: str = ""


class Mail(_Settings):
    """A mail server."""

    host: Text
    port: Annotated[int, Ge(1), Le(65535)] = 25
    sender: Text
    recipients: Annotated[list[Text], MinLen(1)]
    tls: Literal["none", "starttls", "tls"] = "none"
    ca: str = ""
    user: str = ""
    password_file: str = ""


class Alerts(_Settings):
    """The whole file."""

    contact: str = ""
    """Whom to call, at the end of every message."""
    webhook: Webhook | None = None
    mail: Mail | None = None


def read_alerts(folder: Path) -> Alerts:
    """The settings of a home; without a file there is no channel.

    Raises
    ------
    AlertError
        Where the file is not TOML or a setting is unknown, missing or not what it may be. Values
        are not quoted.
    """
    file = folder / FILE
    if not file.is_file():
        return Alerts()
    try:
        return Alerts.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise AlertError(f"{FILE} is not TOML", f"{FILE} 不是 TOML 格式") from None
    except ValidationError as error:
        places = [".".join(map(str, e["loc"])) + f" ({e['type']})" for e in error.errors()]
        raise AlertError(
            f"{FILE}: {'; '.join(places)}; docs/operations.md, Watching, lists the settings",
            f"{FILE}：{'；'.join(places)}；可用设置见 docs/operations.md",
        ) from None


def channels_of(alerts: Alerts, folder: Path) -> Mapping[str, Send]:
    """A function by channel that sends a subject and a text, and raises AlertError."""
    found: dict[str, Send] = {}
    webhook, mail = alerts.webhook, alerts.mail
    if webhook is not None:
        found["webhook"] = lambda subject, text: _post(webhook, folder, f"{subject}\n{text}")
    if mail is not None:
        found["mail"] = lambda subject, text: _mail(mail, folder, subject, text)
    return found


def _post(webhook: Webhook, folder: Path, text: str) -> None:
    content = (
        {"text": text} if webhook.form == "text" else {"msgtype": "text", "text": {"content": text}}
    )
    request = urllib.request.Request(  # noqa: S310 - the pattern of `url` admits http and https alone
        webhook.url,
        data=json.dumps(content, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    context = _trust(webhook.ca, folder) if webhook.url.startswith("https:") else None
    # proxies of the environment would lead outside
    handlers = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))  # type: ignore[arg-type]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS):
            return
    except (OSError, urllib.error.URLError) as error:
        raise _not_sent("webhook", error) from None


def _mail(mail: Mail, folder: Path, subject: str, text: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, mail.sender
    message["To"] = ", ".join(mail.recipients)
    message.set_content(text)
    context = _trust(mail.ca, folder) if mail.tls != "none" else None
    try:
        with _server(mail, context) as server:
            if mail.tls == "starttls":
                server.starttls(context=context)
            if mail.user:
                server.login(mail.user, (folder / mail.password_file).read_text().strip())
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise _not_sent("mail", error) from None


def _server(mail: Mail, context: ssl.SSLContext | None) -> smtplib.SMTP:
    if mail.tls == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=SECONDS, context=context)
    # the name of this machine, which may be a person's, is not sent
    return smtplib.SMTP(mail.host, mail.port, local_hostname="lakehouse", timeout=SECONDS)


def _trust(ca: str, folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / ca) if ca else None)


def _not_sent(channel: str, error: Exception) -> AlertError:
    return AlertError(
        f"{channel}: the message was not sent ({type(error).__name__}); it is sent by the next "
        "check. Is the server of alerts.toml reached from here?",
        f"{channel}：消息未能发出（{type(error).__name__}），下次检查时重发。"
        "请确认可从本机访问 alerts.toml 中的服务器",
    )
