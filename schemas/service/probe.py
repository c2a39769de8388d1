"""Diagnosis of a failed connection, first part: TCP and TLS, for any server.

The client libraries report most failures as "no broker" or "end of file". After such a failure, a probe opens a connection of
its own, goes through the same steps and raises one error that names the setting to change: ConfigError where a person must
change something, RetryableError where the server may come back.

A ConfigError ends a process for good, so it needs proof: an answer that only a wrong setting explains. A closed connection, a
reset or a silence is no proof, because a server that stops or starts looks the same. `confirm` asks for the same proof twice.
"""

import errno
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError, RetryableError, TouchlineError
from schemas.service.tls import TlsSettings

PROBE_SECONDS = 5.0
CONFIRM_SECONDS = 1.0
# After a handshake of TLS 1.3 the server's rejection of the client certificate is still on its way.
ALERT_SECONDS = 1.0
WRONG_HOST_NAME = (62, 64)  # OpenSSL's verify codes: host name, IP address
OUTSIDE_OF_VALIDITY = (9, 10)  # not yet valid, expired: the server's certificate can be renewed without this process
HANDSHAKE_FAILURE = "HANDSHAKE_FAILURE"
CERTIFICATE_ALERTS = ("CERTIFICATE", HANDSHAKE_FAILURE, "UNKNOWN_CA", "ACCESS_DENIED")


@dataclass(frozen=True)
class Server:
    """One address to probe, with the hints that its error texts end with.

    A server without TLS answers `greeting` with `greeting_answer`, the first byte of a reply that no TLS server sends.
    """

    product: str
    host: str
    port: int
    tls: TlsSettings
    address_hint: str
    tls_hint: str
    no_tls_hint: str
    greeting: bytes
    greeting_answer: bytes
    start_hint: str = ""

    def __str__(self) -> str:
        return f"{self.product} at {self.host}:{self.port}"


def confirm(probe: Callable[[], TouchlineError | None]) -> TouchlineError | None:
    """Return the result of `probe`. A ConfigError counts only where a second probe gives the same one."""
    first = probe()
    if not isinstance(first, ConfigError):
        return first
    time.sleep(CONFIRM_SECONDS)
    second = probe()
    if isinstance(second, ConfigError) and str(second) != str(first):
        return RetryableError(str(second))
    return second


def open_socket(server: Server) -> socket.socket:
    """Connect by TCP. Raises RetryableError."""
    try:
        return socket.create_connection((server.host, server.port), timeout=PROBE_SECONDS)
    except (socket.gaierror, UnicodeError):
        raise RetryableError(f"{server}: this host name is unknown: {server.address_hint}") from None
    except ConnectionRefusedError:
        raise RetryableError(f"{server}: no server listens there: {server.start_hint}{server.address_hint}") from None
    except TimeoutError:
        text = f"{server}: no answer within {PROBE_SECONDS:.0f} s: check network and firewall, or {server.address_hint}"
        raise RetryableError(text) from None
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
        raise RetryableError(f"{server}: cannot be reached ({reason}): {server.address_hint}") from None


def open_tls(server: Server) -> ssl.SSLSocket:
    """Connect by TCP and TLS with the configured files. Raises ConfigError and RetryableError."""
    context = server.tls.ssl_context()
    plain = open_socket(server)
    try:
        return start_tls(context, plain, server.host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        if error.verify_code in OUTSIDE_OF_VALIDITY:
            raise RetryableError(f"{server}: {error.verify_message}: renew it on the server, or correct this clock") from None
        raise ConfigError(_describe_certificate(server, error)) from None
    except OSError as error:
        plain.close()
        raise_for_alert(server, error)
        if answers_in_plaintext(server):
            raise ConfigError(f"{server} does not speak TLS: {server.no_tls_hint}") from None
        text = f"{server} ends the TLS handshake ({_reason(error)}): look into the server's log"
        raise RetryableError(f"{text}, or where it does not speak TLS, {server.no_tls_hint}") from None


class _ClosingSocket(ssl.SSLSocket):
    """TLS socket that is closed after a reset before the handshake; Python 3.11 leaves it open, and its owner never sees it."""

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError:
            self.close()
            raise


def start_tls(context: ssl.SSLContext, plain: socket.socket, host: str) -> ssl.SSLSocket:
    """Handshake over a connected socket, which the result replaces. Raises OSError with every socket closed."""
    context.sslsocket_class = _ClosingSocket
    return context.wrap_socket(plain, server_hostname=host)


def answers_in_plaintext(server: Server) -> bool:
    """Return whether the server answers its own protocol without TLS. Raises RetryableError where none is there."""
    with open_socket(server) as plain:
        try:
            plain.sendall(server.greeting)
            return plain.recv(1) == server.greeting_answer
        except OSError:
            return False


def speaks_tls(server: Server) -> bool:
    """Return whether the server answers a TLS handshake; no certificate is checked. Raises RetryableError where none is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with open_socket(server) as plain:
        try:
            start_tls(context, plain, server.host).close()
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except OSError:
            return False
    return True


def raise_for_alert(server: Server, error: OSError) -> None:
    """Raise where `error` is the server's rejection of the client certificate, or of having none.

    It is a ConfigError, except for the alert "handshake failure", which has other reasons, too.
    """
    reason = _reason(error)
    if "ALERT" not in reason or not any(word in reason for word in CERTIFICATE_ALERTS):
        return
    certificate, key = server.tls.setting("ssl_certfile"), server.tls.setting("ssl_keyfile")
    if server.tls.ssl_certfile:
        text = f"{server} rejects the client certificate: set {certificate} and {key} to one that the server's client CA signed"
    else:
        text = f"{server} requires a client certificate: set {certificate} and {key}"
    raise (RetryableError if HANDSHAKE_FAILURE in reason else ConfigError)(text) from None


def wait_for_alert(server: Server, connection: ssl.SSLSocket) -> None:
    """Give the server a moment to reject the client certificate. Raises ConfigError."""
    connection.settimeout(ALERT_SECONDS)
    try:
        connection.recv(1)
    except TimeoutError:
        return
    except OSError as error:
        raise_for_alert(server, error)
    finally:
        connection.settimeout(PROBE_SECONDS)


def _describe_certificate(server: Server, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in WRONG_HOST_NAME:
        check = server.tls.setting("ssl_check_hostname")
        return f"{server}: its certificate is for another host name: {server.address_hint}, or set {check}=false"
    trusted = server.tls.ssl_cafile or "the system's CA store"
    setting = server.tls.setting("ssl_cafile")
    text = f"{server}: {trusted} does not vouch for its certificate ({error.verify_message})"
    return f"{text}: set {setting} to the file of the CA that signed it"


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or type(error).__name__)
