"""PostgreSQL and MariaDB of Debian on loopback, with a user that has the permissions of connectors/sql/README.md."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pymysql

from tests.harness.waiting import eventually
from tests.live import installed

AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PASSWORD = "a password"


class Session:
    """A connection of the application that owns the tables."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def run(self, sql: str, *values: Any) -> list[Sequence[Any]]:
        cursor = self.connection.cursor()
        cursor.execute(sql, values or None)
        return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        self.connection.close()


class Server(NamedTuple):
    """A running server and its process."""

    kind: str
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"{self.kind}://reader@127.0.0.1:{self.port}/shop"

    def session(self, database: str = "shop") -> Session:
        """Open a connection of the owner in autocommit mode."""
        if self.kind == "postgresql":
            url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
            return Session(psycopg.connect(url, autocommit=True, options="-c timezone=UTC"))
        given = {"port": self.port, "user": "root", "database": database, "init_command": "SET time_zone = '+00:00'"}
        return Session(pymysql.connect(host="127.0.0.1", autocommit=True, **given))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _find_program(place: Path, path: str) -> str:
    """Return the path in the unpacked packages, or in the system if the package is installed."""
    return str(place / path if (place / path).exists() else Path("/") / path)


@contextmanager
def _run_server(
    kind: str, folder: Path, made: list[str], served: list[str], port: int, libraries: Path, zone: str
) -> Iterator[Server]:
    """Create the data with one program and serve it with the other. Both reject root, so they run as nobody."""
    prefix = AS_NOBODY if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(folder, 65534, 65534)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "TZ": zone}
    result = subprocess.run([*prefix, *made], env=environment, capture_output=True, text=True, timeout=120, cwd="/", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    if kind == "postgresql":
        (folder / "data" / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
    with (folder.parent / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen([*prefix, *served], env=environment, stdout=log, stderr=log, cwd="/")
    server = Server(kind, port, process)
    try:
        eventually(lambda: _is_up(server), 60)
        yield server
    finally:
        process.send_signal(
            signal.SIGINT if kind == "postgresql" else signal.SIGTERM
        )  # SIGINT: PostgreSQL does not wait for clients
        process.wait(30)


def _is_up(server: Server) -> bool:
    assert server.process.poll() is None
    try:
        server.session("postgres" if server.kind == "postgresql" else "mysql").close()
    except (psycopg.OperationalError, pymysql.OperationalError):
        return False
    return True


@contextmanager
def postgresql(folder: Path, *options: str) -> Iterator[Server]:
    """Run PostgreSQL 15 in a new folder with options of `postgresql.conf` as `name=value`."""
    place = installed.debian("postgresql-15", "postgresql-15")
    programs, port = "usr/lib/postgresql/15/bin", _free_port()
    data = ["-D", str(folder / "data")]
    made = [
        _find_program(place, f"{programs}/initdb"),
        *data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "-N",
    ]
    given = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", *options)
    served = [
        _find_program(place, f"{programs}/postgres"),
        *data,
        "-p",
        str(port),
        *(one for each in given for one in ("-c", each)),
    ]
    libraries = place / "usr" / "lib" / "x86_64-linux-gnu"
    with _run_server("postgresql", folder, made, served, port, libraries, "America/New_York") as server:
        owner = server.session("postgres")
        owner.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        owner.run("CREATE DATABASE shop")
        owner.run("GRANT pg_read_all_stats TO reader")
        owner.close()
        yield server


@contextmanager
def mariadb(folder: Path) -> Iterator[Server]:
    """Run MariaDB 10.11 in a new folder."""
    place = installed.debian("mariadb", "mariadb-server")
    port, base = _free_port(), ["--no-defaults", f"--basedir={_find_program(place, 'usr')}", f"--datadir={folder / 'data'}"]
    quick = ["--innodb-flush-method=nosync", "--innodb-use-native-aio=0", "--innodb-log-file-size=8M"]
    made = [
        _find_program(place, "usr/bin/mariadb-install-db"),
        *base,
        *quick,
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    served = [
        _find_program(place, "usr/sbin/mariadbd"),
        *base,
        *quick,
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder}/s",
    ]
    libraries = place / "usr" / "lib" / "x86_64-linux-gnu"
    with _run_server("mariadb", folder, made, served, port, libraries, "America/New_York") as server:
        owner = server.session("mysql")
        owner.run("CREATE DATABASE shop CHARACTER SET utf8mb4")
        owner.run(f"CREATE USER reader IDENTIFIED BY '{PASSWORD}'")
        owner.run("GRANT PROCESS ON *.* TO reader")
        owner.run("GRANT SELECT ON shop.* TO reader")
        owner.close()
        yield server
