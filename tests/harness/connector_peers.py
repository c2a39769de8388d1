"""Test servers of connectors: `connectors/<name>/cases/peer.py` served on loopback, with all kinds of faults.

A peer module defines these names; copy `connectors/example_reviews/cases/peer.py`:

| name | meaning |
|---|---|
| `STREAM` | the stream that the conformance suite reads; a delete may show in any stream |
| `SETTINGS`, `SECRETS` | settings of the connector for this server, without `url`; its secrets, by setting |
| `PAGE` | number of records of one page |
| `UNKNOWN_FIELDS` | whether items may hold fields that the mapping does not know |
| `CASES` | optional: settings of single cases, by the name of the case |
| `Peer.items` | key to item, as the source shows it now |
| `Peer.put(number, at, **fields)` | create an item or change an existing one; returns its key |
| `Peer.delete(number, at)` | delete an item; returns the key of the record that reports it |
| `Peer.expire()`, `Peer.logins` | revoke all tokens; number of logins, None if secrets do not expire |
| `Peer.answer(method, path, query, headers, body)` | status, headers and body of a response |

`answer` reads `SECRETS` and `items` each time, because tests change both. A test sets each field of an item to None, too:
`answer` must still serve that item. `python -m tests.harness.connector_peers NAME` serves a peer, to try its connector.
"""

import importlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import click
import yaml

from connectors.contract import Connector
from connectors.settings import FOLDER, open_connector, secret_variable

FAULT_TIMEOUT_SECONDS = 0.5
FAULTS = ("429 seconds", "429 date", "500", "503", "timeout", "truncated", "half", "reset", "token")
SECONDS = 7


class Server:
    """Server of one peer. `faults` maps the number of a request, from 1 on, to its fault. `clock` shifts the source's clock.

    `timeout_seconds` is the time-out of the connector in seconds.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.module = importlib.import_module(f"connectors.{name}.cases.peer")
        self.peer: Any = self.module.Peer()
        self.faults: dict[int, str] = {}
        self.requests: list[str] = []
        self.clock = timedelta(0)
        self.timeout_seconds = 5.0
        self._name, self._folder = name, folder
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Run the server until the block ends, with the secrets in the environment."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        secrets = {secret_variable(self.module.SETTINGS["name"], field): value for field, value in self.module.SECRETS.items()}
        try:
            with patch.dict(os.environ, secrets):
                yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def now(self) -> datetime:
        """Return the source's time."""
        return datetime.now(UTC) + self.clock

    def connector(self, **changes: Any) -> Connector:
        """Open the connector on this server."""
        path = self.write_settings(**changes)
        return open_connector(self._name, path, {})

    def write_settings(self, **changes: Any) -> Path:
        """Write a settings file of the connector for this server."""
        path = self._folder / "settings.yaml"
        given = {**self.module.SETTINGS, "url": self.url, "timeout_seconds": self.timeout_seconds, **changes}
        path.write_text(yaml.safe_dump(given))
        return path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.respond("GET")

            def do_POST(self) -> None:
                self.respond("POST")

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

            def respond(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                server.requests.append(url.path)
                fault = server.faults.get(len(server.requests), "")
                if fault == "token":
                    server.peer.expire()
                found = server.peer.answer(method, url.path, dict(parse_qsl(url.query)), self.headers, body)
                self.send(*server.apply_fault(fault, *found), fault)

            def send(self, status: int, headers: dict[str, str], body: bytes, fault: str) -> None:
                self.close_connection = fault in ("timeout", "truncated", "reset")
                if fault == "timeout":
                    threading.Event().wait(2 * server.timeout_seconds)
                    return
                if fault == "reset":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response_only(status)
                for name, value in {"Date": format_datetime(server.now(), usegmt=True), **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if fault == "truncated" else body)

        return Handler

    def apply_fault(self, fault: str, status: int, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body after the fault."""
        if fault == "429 seconds":
            return 429, {"Retry-After": str(SECONDS)}, b"{}"
        if fault == "429 date":
            return 429, {"Retry-After": format_datetime(self.now() + timedelta(seconds=SECONDS), usegmt=True)}, b"{}"
        if fault in ("500", "503"):
            return int(fault), {}, b"<html>sorry</html>"
        return status, headers, body[: len(body) // 2] if fault == "half" else body


def serve(name: str, count: int = 1_000) -> None:
    """Serve a peer with one record per hour until Ctrl-C, and print the command that reads it."""
    with TemporaryDirectory() as folder:
        server = Server(name, Path(folder))
        for hours in range(count, 0, -1):
            server.peer.put(count - hours, datetime.now(UTC) - timedelta(hours=hours))
        with server.running(), suppress(KeyboardInterrupt):
            settings = server.write_settings()
            instance = server.module.SETTINGS["name"]
            secrets = [f"{secret_variable(instance, field)}={value}" for field, value in server.module.SECRETS.items()]
            click.echo(" ".join([*secrets, ".venv/bin/touchline connect", name, "--settings", str(settings), "--check"]))
            threading.Event().wait()


def list_peers() -> list[str]:
    """Return the connectors that have a peer."""
    return sorted(path.parts[-3] for path in FOLDER.glob("*/cases/peer.py"))


if __name__ == "__main__":
    serve(sys.argv[1])
