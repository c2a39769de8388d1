"""Kafka node that is broker and controller, from the jars of Maven Central, on the Java of this machine."""

import base64
import shutil
import socket
import string
import subprocess
import uuid
from pathlib import Path
from xml.etree import ElementTree as ET

from deploy.local import fetching, state
from deploy.local.ports import Ports
from schemas.errors import ConfigError
from schemas.service.kafka_requests import METADATA, METADATA_OF_NO_TOPIC, PROTOCOL_ERRORS, ask, read_brokers

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
VERSION = ET.parse(POM).findtext("./{*}properties/{*}kafka.version")  # noqa: S314 our own file

NAME = "kafka"
TITLE = f"Apache Kafka {VERSION}"
MARKER = "kafka.Kafka"


def list_required_programs(tools: Path) -> tuple[str, ...]:
    return ("java",) if is_fetched(tools) else ("java", "mvn")


def is_fetched(tools: Path) -> bool:
    return _jars(tools).is_dir()


def fetch(tools: Path) -> None:
    with fetching.complete_folder(_jars(tools)) as folder:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
        fetching.run(TITLE, ["mvn", "-q", "-B", "-f", str(POM), *goal], folder)


def config(home: Path) -> Path:
    return home / NAME / "server.properties"


def data(home: Path) -> Path:
    return home / NAME / "data"


def prepare(home: Path, ports: Ports) -> None:
    """Write the settings and, at the first start, format the storage. Raises ConfigError for an unusable folder."""
    if set(str(home)) & set(",:"):
        raise ConfigError(
            f"Kafka cannot keep data in {home}, because of the comma or colon: set TOUCHLINE_HOME to another folder"
        )
    config(home).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "log4j2.properties", config(home).parent)
    if data(home).exists():
        _check_storage(home)
    else:
        _format_storage(home, ports)
    config(home).write_text(render(data(home), ports))


def command(home: Path) -> list[str]:
    return [*_java(home), "-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", MARKER, str(config(home))]


def address(ports: Ports) -> str:
    return f"127.0.0.1:{ports.kafka}"


def is_ready(ports: Ports) -> bool:
    """Return whether the broker answers a metadata request with itself among the live brokers.

    No client library is used: they log and retry where a missing answer is expected.
    """
    try:
        with socket.create_connection(("127.0.0.1", ports.kafka), timeout=2) as connection:
            return bool(read_brokers(ask(connection, METADATA, METADATA_OF_NO_TOPIC)))
    except PROTOCOL_ERRORS:
        return False


def render(folder: Path, ports: Ports) -> str:
    template = string.Template((HERE / "server.properties").read_text())
    return template.substitute(port=ports.kafka, controller_port=ports.kafka_controller, data=_escape(str(folder)))


def _escape(value: str) -> str:
    r"""Return a value of a Java properties file: ASCII without backslashes, everything else as \uXXXX."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 and code != ord("\\") else f"\\u{code:04x}" for code in codes)


def _jars(tools: Path) -> Path:
    return tools / f"kafka-{VERSION}"


def _java(home: Path) -> list[str]:
    return [
        "java",
        f"-Dlog4j2.configurationFile={home / NAME / 'log4j2.properties'}",
        "-cp",
        f"{_jars(state.tools_folder(home))}/*",
    ]


def _format_storage(home: Path, ports: Ports) -> None:
    """Format a temporary folder and rename it: a data folder that exists is formatted."""
    with fetching.complete_folder(data(home)) as folder:
        config(home).write_text(render(folder, ports))
        tool = [*_java(home), "kafka.tools.StorageTool"]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        result = subprocess.run(  # noqa: S603 no shell, fixed program
            [*tool, "format", f"--cluster-id={cluster}", "--config", str(config(home))],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            lines = (result.stdout + result.stderr).strip().splitlines()
            raise ConfigError(
                f"Kafka could not format {folder}: {lines[-1] if lines else 'no reason given'}. Run `touchline doctor`"
            )


def _check_storage(home: Path) -> None:
    properties = data(home) / "meta.properties"
    try:
        lines = properties.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    keys = {line.partition("=")[0] for line in lines}
    if not {"cluster.id", "node.id", "version"} <= keys:
        raise ConfigError(
            f"Kafka's data folder is damaged: {properties} is missing or unreadable. "
            f"To start empty, with the loss of all records (tables and workers hold offsets of Kafka): "
            f"touchline down && rm -r {data(home)} {home / 'clickhouse' / 'data'} {home / 'work'}"
        )
