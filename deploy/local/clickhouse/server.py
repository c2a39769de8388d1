"""ClickHouse server of this machine: the `clickhouse` program on PATH, else the engine as a library from npm."""

import hashlib
import http.client
import json
import platform
import re
import secrets
import shutil
import string
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from deploy.local import fetching, state
from deploy.local.clickhouse import confinement
from deploy.local.ports import Ports
from schemas.errors import ConfigError
from sinks.rights.masks import make_analyst_grants
from sinks.scripts import view_statements

HERE = Path(__file__).parent
LOCKED_PACKAGE = "@chdb/lib-linux-x64-gnu"
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"][LOCKED_PACKAGE]
PACKAGES = {
    ("Linux", "x86_64"): LOCKED_PACKAGE,
    ("Linux", "aarch64"): "@chdb/lib-linux-arm64-gnu",
    ("Darwin", "arm64"): "@chdb/lib-darwin-arm64",
    ("Darwin", "x86_64"): "@chdb/lib-darwin-x64",
}
MIN_VERSION = 26

NAME = "clickhouse"
TITLE = "ClickHouse"
MARKER = "deploy.local.clickhouse.engine"


def list_required_programs(tools: Path) -> tuple[str, ...]:
    return () if is_fetched(tools) else ("node", "npm")


def is_fetched(tools: Path) -> bool:
    return program() is not None or _modules(tools).is_dir()


def fetch(tools: Path) -> None:
    """Download the library. `npm ci` checks the hash in the lock; other machines have a pinned version without a hash."""
    with fetching.complete_folder(_modules(tools)) as folder:
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if package() == LOCKED_PACKAGE:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            fetching.run(TITLE, ["npm", "ci", *quiet], folder)
        else:
            fetching.run(TITLE, ["npm", "install", "--no-save", *quiet, f"{package()}@{VERSION}"], folder)


def package() -> str:
    """Return the npm package for this machine. Raises ConfigError where there is none."""
    machine = (platform.system(), platform.machine())
    if machine not in PACKAGES:
        raise ConfigError(f"no ClickHouse library for {' '.join(machine)}: install the `clickhouse` program on PATH")
    return PACKAGES[machine]


@cache
def program() -> str | None:
    """Return the `clickhouse` program on PATH, unless it is older than the views need."""
    path = shutil.which("clickhouse")
    if path is None:
        return None
    ask = [path, "local", "--version"]
    result = subprocess.run(ask, capture_output=True, text=True, check=False)  # noqa: S603 no shell, fixed program
    version = re.search(r"version (\d+)\.", result.stdout)
    return path if version and int(version[1]) >= MIN_VERSION else None


def library_path(home: Path) -> Path:
    return _modules(state.tools_folder(home)) / "node_modules" / package() / "libchdb.so"


def config(home: Path) -> Path:
    return home / NAME / "config.xml"


def data(home: Path) -> Path:
    return home / NAME / "data"


def prepare(home: Path, ports: Ports) -> None:
    for folder in (data(home), home / NAME / "files"):
        folder.mkdir(parents=True, exist_ok=True)
    (home / NAME / "users.xml").write_text(render_users(make_password(home)))
    config(home).write_text(render(home, ports))


def command(home: Path) -> list[str]:
    if found := program():
        return [found, "server", f"--config-file={config(home)}"]
    return [sys.executable, "-m", MARKER, str(library_path(home)), str(config(home))]


def is_confined() -> bool:
    """Return whether ClickHouse is kept from the other files of this account: by itself, or by the kernel."""
    return program() is not None or confinement.is_available()


def address(ports: Ports) -> str:
    return f"127.0.0.1:{ports.clickhouse}"


def http_address(ports: Ports) -> str:
    return f"127.0.0.1:{ports.clickhouse_http}"


def curl(home: Path, ports: Ports, sql: str) -> str:
    """Return the command line of a query by HTTP. The shell reads the password, so that it is not printed."""
    return f"curl -u \"{state.ADMIN}:$(cat {state.password_file(home)})\" http://{http_address(ports)} -d '{sql}'"


def is_ready(ports: Ports) -> bool:
    """Return whether HTTP `/ping` answers."""
    connection = http.client.HTTPConnection("127.0.0.1", ports.clickhouse_http, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def render(home: Path, ports: Ports) -> str:
    template = string.Template((HERE / "config.xml").read_text())
    return template.substitute(
        port=ports.clickhouse,
        http_port=ports.clickhouse_http,
        data=escape(str(data(home))),
        files=escape(str(home / NAME / "files")),
        users=escape(str(home / NAME / "users.xml")),
    )


def make_password(home: Path) -> str:
    """Return the stack's ClickHouse password; the first call makes it, in a file that only its owner reads."""
    path = state.password_file(home)
    path.touch(mode=0o600)
    if not path.read_text():
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def render_users(password: str) -> str:
    """Return users and roles, with the analyst's grants on the columns that hold no personal data."""
    grants = "\n        ".join(f"<query>{grant}</query>" for grant in make_analyst_grants(view_statements()))
    text = (HERE / "users.xml").read_text().replace("<!-- columns of touchline_unmasked -->", grants)
    return text.replace("${password}", hashlib.sha256(password.encode()).hexdigest())


def _modules(tools: Path) -> Path:
    return tools / f"clickhouse-{VERSION}"
