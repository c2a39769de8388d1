"""A Request Tracker on loopback with Debian packages in the tools folder and a new database."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.harness.waiting import eventually
from tests.live import installed

PACKAGES = ("request-tracker5", "rt5-db-sqlite", "rt5-standalone")
SEED = Path(__file__).with_name("seed.pl")
TICKETS = 40
LIBRARIES = ("usr/share/perl5", "usr/lib/{}/perl5/5.36", "usr/share/request-tracker5/lib")
CONFIGURATION = """
Set($rtname, 'test'); Set($Organization, 'test'); Set($WebDomain, '127.0.0.1'); Set($WebPort, '{port}');
Set($DatabaseType, 'SQLite'); Set($DatabaseName, '{folder}/rt.sqlite');
Set($Timezone, 'America/New_York'); Set($MailCommand, 'testfile'); Set($LogToSyslog, undef);
1;
"""


class RequestTracker:
    """A running server and its database, used over REST as `root`; `token` belongs to a user with read rights."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token
        self._file = folder / "rt.sqlite"

    def up(self) -> bool:
        """Return whether the server answers."""
        try:
            self.call("GET", "rt")
        except OSError:
            return False
        return True

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Send a request to REST 2 and return the answer."""
        signed = {"Authorization": "Basic " + b64encode(b"root:password").decode(), "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body else None
        asked = urllib.request.Request(f"{self.url}/REST/2.0/{path}", data, signed, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def open(self, requestor: str, text: str) -> str:
        """Create a ticket of a customer as an agent and return its id."""
        ticket = self.call("POST", "ticket", Queue="General", Subject="Router", Requestor=requestor, Content=text)
        return str(ticket["id"])

    def write_message(self, ticket: str, how: str, text: str) -> None:
        """Write an agent's answer (`correspond`) or internal comment (`comment`)."""
        self.call("POST", f"ticket/{ticket}/{how}", Content=text, ContentType="text/html")

    def change(self, ticket: str, **fields: str) -> None:
        """Change fields such as status and queue."""
        self.call("PUT", f"ticket/{ticket}", **fields)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on the database."""
        with closing(sqlite3.connect(self._file)) as database:
            return database.execute(query).fetchall()


@contextmanager
def request_tracker(folder: Path) -> Iterator[RequestTracker]:
    """Run a server with its database in `folder` until the block ends."""
    root = installed.debian("request-tracker-5", *PACKAGES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = _environment(root, folder, port)
    perl(environment, str(root / "usr/sbin/rt-setup-database-5"), "--action", "init", "--force", "--skip-create")
    token = perl(environment, str(SEED), str(TICKETS))
    command = ["perl", str(root / "usr/share/request-tracker5/libexec/rt-server"), "--server", "Starlet", "--max-workers", "2"]
    with (folder / "log").open("ab") as log:
        options = ["--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        server = RequestTracker(folder, port, token)
        eventually(server.up, 60)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def perl(environment: dict[str, str], *command: str) -> str:
    """Run one of RT's programs and return its output."""
    found = subprocess.run(["perl", *command], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def _environment(root: Path, folder: Path, port: int) -> dict[str, str]:
    """Return the environment with a module RT::Generated that names the folder of the unpacked packages."""
    [generated] = root.glob("usr/share/request-tracker5/lib/RT/Generated.pm")
    places = {
        "/usr/share": root / "usr/share",
        "/usr/local/share": folder,
        "/var/lib": folder,
        "/var/cache": folder,
        "/etc": folder,
    }
    text = re.sub(r"'(/\S+?)/request-tracker5", lambda found: f"'{places[found[1]]}/request-tracker5", generated.read_text())
    own = folder / "lib" / "RT"
    own.mkdir(parents=True)
    (own / "Generated.pm").write_text(text)
    for name in ("mason_data", "session_data"):
        (folder / "request-tracker5" / name).mkdir(parents=True)
    (folder / "config.pm").write_text(CONFIGURATION.replace("{port}", str(port)).replace("{folder}", str(folder)))
    [architecture] = [path.parent.name for path in root.glob("usr/lib/*/perl5")]
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "PERL5LIB": ":".join([str(own.parent), *(str(root / one.format(architecture)) for one in LIBRARIES)]),
        "LD_LIBRARY_PATH": str(root / "usr/lib" / architecture),
        "RT_SITE_CONFIG": str(folder / "config.pm"),
        "RT_SITE_CONFIG_DIR": str(folder / "none"),
    }
