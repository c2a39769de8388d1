"""A CAP server on loopback with OData 2 and 4 and with orders in the format of S/4HANA."""

import base64
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3

from tests.harness.waiting import eventually
from tests.live import installed

DAY = datetime(2026, 3, 1, tzinfo=UTC)
ORDERS = 2_500
SAME = 170  # orders of one time: more than a page of 100, and not a multiple or divisor of it
USER, PASSWORD = "TOUCHLINE", "read-only"
HEAD = "SalesOrder;SoldToParty;LastChangeDateTime;TotalNetAmount;TransactionCurrency;OverallSDProcessStatus;YY1_Channel_SDH"


class Cap:
    """A CAP server; `write` changes its data over OData 4."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager(retries=False)

    def url(self, version: int) -> str:
        return f"{self.address}/odata/v2" if version == 2 else self.address

    def write(self, method: str, path: str, **fields: Any) -> None:
        """Send a POST to an entity set, or a PATCH or DELETE of one row."""
        signed = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {signed}", "Content-Type": "application/json"}
        answer = self._pool.request(method, self.address + path, body=json.dumps(fields), headers=headers)
        assert answer.status in (200, 201, 204), answer.data

    def order(self, number: int, method: str = "PATCH", **fields: Any) -> None:
        """Change one order with the current time."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        changed = {} if method == "DELETE" else {"LastChangeDateTime": at, **fields}
        self.write(method, f"/API_SALES_ORDER_SRV/A_SalesOrder('{number:010}')", **changed)

    def up(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.address}/API_SALES_ORDER_SRV/$metadata").status in (200, 401)
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        self._pool.clear()


def at(number: int) -> datetime:
    """Return the time of an order's change: `SAME` orders share a time, and times do not follow the numbers."""
    return DAY + timedelta(milliseconds=(number * 7 % ORDERS) // SAME)


def lines() -> Iterator[str]:
    yield HEAD
    for number in range(ORDERS):
        shown = at(number).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield f"{number:010};{number % 90 + 1};{shown};{number}.25;EUR;A;shop"


@contextmanager
def cap(folder: Path) -> Iterator[Cap]:
    """Run a server with `ORDERS` orders in a new `folder` until the block ends."""
    source = Path(__file__).parent
    modules = installed.npm("cap-9.9.3", source) / "node_modules"
    shutil.copytree(source, folder)
    (folder / "node_modules").symlink_to(modules)
    (folder / "db" / "data").mkdir()
    (folder / "db" / "data" / "s4-SalesOrder.csv").write_text("\n".join(lines()) + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Cap(port)
    command = ["node", str(modules / "@sap" / "cds" / "bin" / "serve.js"), "all", "--in-memory"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PORT": str(port)}, stdout=log, stderr=log)
    try:
        eventually(server.up, 120)
        yield server
    finally:
        process.kill()
        process.wait()
        server.close()
