"""A Tryton server on loopback with a copy of a prepared database."""

import json
import shutil
import socket
import sqlite3
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.harness.waiting import eventually
from tests.live import installed

HERE = Path(__file__).parent
REQUIREMENTS, SEED = HERE / "requirements.txt", HERE / "seed.py"
MODULES = ("sale", "sale_opportunity", "stock", "account_invoice_stock")
PASSWORD = "admin"
CUSTOMERS = 60
RETURNS = 10
MAX_WAIT_SECONDS = 120


class Tryton:
    """A running server and its database, used over RPC like a client."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/ct"
        self._file = folder / "ct.sqlite"
        self._headers = {"Content-Type": "application/json"}

    def login(self) -> bool:
        """Log in and return whether the server answers."""
        try:
            user, session, _ = self._post("common.db.login", ["admin", {"password": PASSWORD}])
        except OSError:
            return False
        self._headers["Authorization"] = "Session " + b64encode(f"admin:{user}:{session}".encode()).decode()
        return True

    def call(self, method: str, *params: Any) -> Any:
        """Call a method such as `sale.sale.quote` and return its result."""
        return self._post(f"model.{method}", [*params, {"company": 1}])

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on the database."""
        with closing(sqlite3.connect(self._file)) as database:
            return database.execute(query).fetchall()

    def change(self, statement: str) -> None:
        """Change the database without the server."""
        with closing(sqlite3.connect(self._file, timeout=MAX_WAIT_SECONDS)) as database, database:
            database.execute(statement)

    def _post(self, method: str, params: list[Any]) -> Any:
        body = json.dumps({"id": 1, "method": method, "params": params}).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/rpc/", body, self._headers), timeout=MAX_WAIT_SECONDS
        ) as answer:
            found = json.load(answer)
        assert "error" not in found, found["error"]
        return found["result"]


@contextmanager
def tryton(folder: Path) -> Iterator[Tryton]:
    """Run a server with its database in `folder` until the block ends."""
    program = installed.python("tryton-8.2", REQUIREMENTS)
    shutil.copy(_prepare_database(program) / "ct.sqlite", folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = _configuration(folder, port)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*_command(program, "trytond"), "-c", file, "-d", "ct"], stdout=log, stderr=log)
    try:
        server = Tryton(folder, port)
        eventually(server.login, MAX_WAIT_SECONDS)
        yield server
    finally:
        process.kill()
        process.wait()


def _prepare_database(program: Path) -> Path:
    """Return the folder of the prepared database, which is created again if the seed or the versions change."""
    version = sha256(REQUIREMENTS.read_bytes() + SEED.read_bytes()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        file = _configuration(folder, 0)
        (folder / "ct.sqlite").touch()
        (folder / "password").write_text(PASSWORD)
        modules = [*_command(program, "trytond-admin"), "-c", file, "-d", "ct", "-u", *MODULES, "--activate-dependencies"]
        environment = {"TRYTONPASSFILE": str(folder / "password")}
        subprocess.run([*modules, "--email", "admin@example.org", "--password"], env=environment, check=True, capture_output=True)
        subprocess.run([program / "bin" / "python", SEED, file, str(CUSTOMERS), str(RETURNS)], check=True, capture_output=True)
        with closing(sqlite3.connect(folder / "ct.sqlite")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    return installed.install_once(f"tryton-seed-{version}", fill)


def _command(program: Path, name: str) -> list[str]:
    return [str(program / "bin" / "python"), str(program / "bin" / name)]


def _configuration(folder: Path, port: int) -> str:
    file = folder / "trytond.conf"
    file.write_text(f"[database]\nuri = sqlite://\npath = {folder}\n[web]\nlisten = 127.0.0.1:{port}\n")
    return str(file)
