"""What can go wrong with a PACS: with all of it, which ends a pull, or with one request."""

from __future__ import annotations

import ssl


class PacsError(Exception):
    """A PACS cannot be spoken with as the settings say; names the setting, never a patient."""


class RequestError(PacsError):
    """One request failed, and others may not: a pull records it and goes on."""


_VERIFY_FAULTS = {
    9: "its certificate is not valid yet; compare the clocks",
    10: "its certificate has expired; its administrator has to renew it",
    18: "its certificate is signed by itself and is not in our ca file; add it there",
    19: "its certificate is signed by an authority that is not in our ca file; add that one there",
    20: "its certificate is signed by an authority that is not in our ca file; add that one there",
    21: "its certificate is signed by an authority that is not in our ca file; add that one there",
    23: "its certificate was revoked; its administrator has to renew it",
    62: "its certificate is for another host name; "
    "set host (or url) to the name in the certificate, or tls.name",
    64: "its certificate is not for this IP address; "
    "set host (or url) to the name in the certificate, or tls.name",
}
"""By OpenSSL's X509_V_ERR numbers, which are the same in every version."""

_ALERTS = (
    ("CERTIFICATE_EXPIRED", "it says that our certificate has expired"),
    ("UNKNOWN_CA", "it does not know who signed our certificate; give its administrator our ca"),
    ("CERTIFICATE_REQUIRED", "it asks for a certificate of ours; set tls.certificate and tls.key"),
    ("ALERT_BAD_CERTIFICATE", "it does not take our certificate; give it to its administrator"),
    (
        "ALERT_HANDSHAKE_FAILURE",
        "it has no protocol or cipher in common with us, or asks for a certificate of ours",
    ),
    ("PROTOCOL_VERSION", "it speaks only versions of TLS before 1.2"),
    ("UNSUPPORTED_PROTOCOL", "it speaks only versions of TLS before 1.2"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS on this port"),
)


def tls_fault(error: ssl.SSLError) -> str:
    """What of a TLS connection is wrong, and whose the next step is."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_FAULTS.get(error.verify_code, "its certificate cannot be verified")
    reason = str(error.reason or "")
    found = (text for word, text in _ALERTS if word in reason)
    return next(found, "the TLS handshake failed")


def tls_error_within(error: BaseException) -> ssl.SSLError | None:
    """The TLS error that a library wrapped, however deep."""
    seen: list[object] = [error]
    for one in seen:
        if isinstance(one, ssl.SSLError):
            return one
        within = (*getattr(one, "args", ()), getattr(one, "reason", None))
        seen += [e for e in within if isinstance(e, BaseException) and e not in seen]
    return None


def connection_fault(error: OSError) -> str:
    """Why a connection was not made."""
    import socket

    if isinstance(error, ssl.SSLError):
        return tls_fault(error)
    if isinstance(error, socket.gaierror):
        return "its host name is not known here"
    if isinstance(error, TimeoutError):
        return "nothing answers there within the time limit"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on that port"
    return (error.strerror or type(error).__name__).lower()
