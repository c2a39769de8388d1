"""An instance of the intake with all kinds of endpoints as a real process, and a simple way to post to it."""

import base64
import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import yaml

from connectors.settings import secret_variable
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.connectors import TOUCHLINE, records
from tests.harness.waiting import eventually

SIGNING = "whsec_" + base64.b64encode(b"a secret of 24 bytes, or").decode()
KEYS = {"app": "old-key,write-key", "billing": "bearer-key", "desk": SIGNING, "store": "shopify-secret"}
WRITE = {"Authorization": f"Basic {base64.b64encode(b'write-key:').decode()}"}
ENDPOINTS: dict[str, Any] = {
    "app": {"protocol": "segment", "system": "app"},
    "site": {"protocol": "snowplow", "system": "site"},
    "billing": {
        "protocol": "cloudevents",
        "system": "billing",
        "source": "erp",
        "map": {"identifiers": {"erp_party": "id(subject)"}, "invoice_id": "id(data.number)", "amount": "number(data.total)"},
    },
    "desk": {
        "protocol": "standard",
        "system": "desk",
        "source": "support",
        "map": {"type": "body.type", "identifiers": {"email": "email(body.email)"}, "ticket_id": "id(body.ticket)"},
    },
    "store": {
        "protocol": "shopify",
        "system": "store",
        "source": "erp",
        "map": {
            "type": 'lookup(topic, `{"orders/create": "order.placed"}`)',
            "occurred_at": "iso(body.created_at, 'UTC')",
            "identifiers": {"email": "email(body.email)"},
            "order_id": "id(body.id)",
            "amount": "number(body.total_price)",
        },
    },
}


class Intake(NamedTuple):
    """One instance; all its processes have the same settings, environment and port."""

    name: str
    port: int
    settings: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> dict[str, str]:
        """The environment variables with the endpoints' keys."""
        return {secret_variable(self.name, f"{endpoint}_keys"): value for endpoint, value in KEYS.items()}

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a process and return it when it listens. Its output goes to `<settings>.log`."""
        command = [*TOUCHLINE, "connect", "intake", "--settings", str(self.settings), "--no-restart", *options]
        with self.settings.with_suffix(".log").open("a") as log:
            process = subprocess.Popen(command, env={**os.environ, **self.secrets}, stdout=log, stderr=log, text=True)
        eventually(lambda: process.poll() is not None or self.listens(), 60)
        return process

    def log(self) -> str:
        """Return the output of its processes."""
        return self.settings.with_suffix(".log").read_text()

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Run a process until the block ends; after SIGTERM it must exit with 0, unless it was killed."""
        process = self.start()
        try:
            yield process
            process.terminate()
            assert process.wait(20) in (0, -signal.SIGKILL), self.log()
        finally:
            process.kill()
            process.wait()

    def listens(self) -> bool:
        """Return whether a process listens at the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Post and return the status of the answer, or 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def touchpoints(self) -> list[dict[str, Any]]:
        """Return all published touchpoints."""
        kafka = KafkaSettings()
        return [one for topic in ("web", "erp", "support") for one in records(kafka, f"touchline.{topic}", self.name)]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return all dead letters."""
        return list(records(KafkaSettings(), DEAD_LETTERS, self.name))


def create_instance(folder: Path) -> Intake:
    """Create the settings of a new instance with a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        intake = Intake(f"intake-{uuid4().hex[:8]}", free.getsockname()[1], folder / "intake.yaml")
    intake.settings.write_text(yaml.safe_dump({"name": intake.name, "port": intake.port, "endpoints": ENDPOINTS}))
    return intake
