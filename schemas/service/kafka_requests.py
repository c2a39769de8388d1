"""The requests of the Kafka protocol that the diagnosis sends, over a blocking socket."""

import socket
import struct
from typing import NamedTuple

MAX_ANSWER_BYTES = 1024 * 1024
Api = tuple[int, int]  # key and version
API_VERSIONS: Api = (18, 0)
SASL_HANDSHAKE: Api = (17, 1)
SASL_AUTHENTICATE: Api = (36, 0)
METADATA: Api = (3, 4)
METADATA_OF_NO_TOPIC = struct.pack(">i?", 0, False)
UNSUPPORTED_MECHANISM = 33
ILLEGAL_SASL_STATE = 34
AUTHENTICATION_FAILED = 58


class HungUpError(Exception):
    """The broker closed the connection instead of answering, or answered with something that is not Kafka's protocol."""


PROTOCOL_ERRORS = (OSError, HungUpError, struct.error, ValueError, KeyError)


class Answer(NamedTuple):
    """Answer of a SASL request: an error code, and the mechanisms or the bytes that came with it."""

    code: int
    rest: bytes


def make_request(api: Api, body: bytes) -> bytes:
    """Return one request with its length."""
    message = struct.pack(">hhih", *api, 1, -1) + body
    return struct.pack(">i", len(message)) + message


def make_mechanism(name: str) -> bytes:
    """Return the body of a SASL handshake."""
    return struct.pack(">h", len(name)) + name.encode()


def ask(connection: socket.socket, api: Api, body: bytes) -> bytes:
    """Send one request (api: key and version) and return the answer's body. Raises OSError and HungUpError."""
    connection.sendall(make_request(api, body))
    (size,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= size <= MAX_ANSWER_BYTES:
        raise HungUpError
    return _receive(connection, size)[4:]


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise HungUpError
        received += part
    return received


def ask_sasl(connection: socket.socket, api: Api, body: bytes) -> Answer:
    """Send one SASL request. Raises PROTOCOL_ERRORS, as `ask` does."""
    answer = ask(connection, api, body)
    return Answer(struct.unpack_from(">h", answer)[0], answer[2:])


def read_strings(rest: bytes) -> list[str]:
    """Return the texts of an array."""
    (count,), at = struct.unpack_from(">i", rest), 4
    found = []
    for _ in range(count):
        (size,) = struct.unpack_from(">h", rest, at)
        found.append(rest[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return found


def read_brokers(answer: bytes) -> list[tuple[str, int]]:
    """Return the advertised addresses of a metadata answer, which begins with a time and the number of brokers."""
    (count,), at = struct.unpack_from(">i", answer, 4), 8
    found = []
    for _ in range(count):
        (size,) = struct.unpack_from(">h", answer, at + 4)
        host = answer[at + 6 : at + 6 + size].decode()
        port, rack = struct.unpack_from(">ih", answer, at + 6 + size)
        found.append((host, port))
        at += 12 + size + max(0, rack)
    return found


def read_auth_bytes(rest: bytes) -> bytes:
    """Skip the error message, which is null where the code is 0, and return the bytes that follow."""
    (size,) = struct.unpack_from(">h", rest)
    at = 2 + max(0, size)
    (length,) = struct.unpack_from(">i", rest, at)
    return rest[at + 4 : at + 4 + max(0, length)]
