"""The addresses and the secret of the running stack: one small file that the supervisor writes and every other command reads."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.local.ports import Ports
from deploy.local.settings import LocalSettings
from schemas.errors import ConfigError
from schemas.service.secret import SECRET, SECRET_FILE

ADDRESSES = (
    "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS",
    "TOUCHLINE_CLICKHOUSE_HOST",
    "TOUCHLINE_CLICKHOUSE_PORT",
    "TOUCHLINE_CLICKHOUSE_HTTP_PORT",
    "TOUCHLINE_CLICKHOUSE_USER",
    "TOUCHLINE_CLICKHOUSE_PASSWORD",
    SECRET,
    SECRET_FILE,
)
ADMIN = "admin"
TOOLS = "TOUCHLINE_TOOLS"
CONTENTS = {"kafka", "clickhouse", "tools", "work", "targets", "prometheus", "lock", "ports.json", "identity.secret"}


class Supervised(BaseModel):
    """One service. `started` is in seconds since 1970, `restarts` counts all starts but the first; no pid between two runs."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int | None = None
    started: float | None = None
    restarts: int = 0

    @property
    def is_alive(self) -> bool:
        return self.pid is not None and self.started is not None and is_process_running(self.pid, self.started)


class Stack(BaseModel):
    """Addresses and process ids of a running local stack; ports are TCP ports on the loopback interface."""

    model_config = ConfigDict(frozen=True)

    supervisor_pid: int
    supervisor_started: float
    kafka_port: int
    kafka_controller_port: int
    clickhouse_port: int
    clickhouse_http_port: int
    services: tuple[Supervised, ...] = ()

    @property
    def is_alive(self) -> bool:
        return is_process_running(self.supervisor_pid, self.supervisor_started)

    @property
    def ports(self) -> Ports:
        return Ports(
            kafka=self.kafka_port,
            kafka_controller=self.kafka_controller_port,
            clickhouse=self.clickhouse_port,
            clickhouse_http=self.clickhouse_http_port,
        )

    def service(self, name: str) -> Supervised:
        return next((service for service in self.services if service.name == name), Supervised(name=name))


def home() -> Path:
    """The one ignored folder for all data of the local stack: `TOUCHLINE_HOME`, else `.touchline` here."""
    return LocalSettings().home.resolve()


def tools_folder(folder: Path) -> Path:
    """Return the folder of programs of the stack in `folder`. `TOUCHLINE_TOOLS` lets several stacks share it."""
    return (LocalSettings().tools or folder / "tools").resolve()


def state_file(folder: Path) -> Path:
    return folder / "stack.json"


def password_file(folder: Path) -> Path:
    """Return the file with the password of the ClickHouse users; only its owner reads it."""
    return folder / "clickhouse" / "password"


def read_password(folder: Path) -> str:
    """Return the password of the ClickHouse users. Raises ConfigError where the running stack has none, or has lost it."""
    path = password_file(folder)
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}): run `touchline down`, then `touchline up`") from error


def secret_file(folder: Path) -> Path:
    """Return the file with the secret that identifier ids are keyed by; only its owner reads it."""
    return folder / "identity.secret"


def make_secret(folder: Path) -> None:
    """Create the secret of the stack in `folder`. An existing one stays: with another secret, customers get other ids."""
    path = secret_file(folder)
    path.touch(mode=0o600)
    if not path.read_text():
        path.write_text(secrets.token_hex(32) + "\n")


def make_private(folder: Path) -> None:
    """Create the home folder, or close it to other users of this machine where it exists.

    Raises ConfigError. A folder with other content, such as /tmp or the user's home, stays as it is.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        if names and not names & CONTENTS and folder.stat().st_mode & 0o077:
            raise ConfigError(f"{folder} is open to others and holds other files: set TOUCHLINE_HOME to a folder of its own")
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"cannot make {folder} private ({error.strerror}): set TOUCHLINE_HOME to a folder of yours") from error


def read(folder: Path | None = None) -> Stack | None:
    """Return the stack that `up` started in `folder`, or None after `down`. Raises ConfigError for an unreadable file."""
    path = state_file(folder or home())
    try:
        return Stack.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}): change its rights, or set TOUCHLINE_HOME") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is damaged: run `touchline down`, then `touchline up`") from error


def read_running(folder: Path) -> Stack | None:
    """Return the stack if its supervisor runs. A damaged state file counts as no stack."""
    try:
        stack = read(folder)
    except ConfigError:
        return None
    return stack if stack is not None and stack.is_alive else None


def write(folder: Path, stack: Stack) -> None:
    """Replace the state file at once, so that readers never see a half-written file."""
    path = state_file(folder)
    fresh = path.with_suffix(".new")
    fresh.write_text(stack.model_dump_json(indent=2))
    fresh.replace(path)


def is_process_running(pid: int, started: float) -> bool:
    """Return whether that process runs: no zombie, and no later process with its pid. Start times drift by some ms."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def export_addresses() -> None:
    """Point this process and its children at the running local stack, unless the environment names Kafka or ClickHouse.

    The secret of the stack goes with its Kafka: no other cluster gets ids that are keyed by it.

    A damaged state file is ignored here, because `touchline down` passes here, too, and repairs it. Commands that need an
    address read the file again and report it.
    """
    os.environ.setdefault("TOUCHLINE_TARGETS", str(home() / "targets"))
    stack = read_running(home())
    if stack is None:
        return
    os.environ.setdefault("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{stack.kafka_port}")
    is_local = os.environ["TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"] == f"127.0.0.1:{stack.kafka_port}"
    if is_local and not os.environ.get(SECRET) and secret_file(home()).exists():
        os.environ.setdefault(SECRET_FILE, str(secret_file(home())))
    if "TOUCHLINE_CLICKHOUSE_HOST" not in os.environ:
        os.environ["TOUCHLINE_CLICKHOUSE_HOST"] = "127.0.0.1"
        os.environ.setdefault("TOUCHLINE_CLICKHOUSE_PORT", str(stack.clickhouse_port))
        os.environ.setdefault("TOUCHLINE_CLICKHOUSE_HTTP_PORT", str(stack.clickhouse_http_port))
        os.environ.setdefault("TOUCHLINE_CLICKHOUSE_USER", ADMIN)
        with suppress(ConfigError):
            os.environ.setdefault("TOUCHLINE_CLICKHOUSE_PASSWORD", read_password(home()))
