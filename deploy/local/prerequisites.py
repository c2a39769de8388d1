"""Programs that the machine must have: their versions, and for each missing one the command that installs it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local import state
from schemas.errors import ConfigError

PYTHON = (3, 11)
DISK_GIB = 3
# Colours, and the line of Java about options from the environment.
NOISE = re.compile(r"\x1b\[[0-9;]*m|^.*Picked up \w*JAVA\w*_OPTIONS: .*$", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A program on PATH, its minimum major version, and the Debian and Homebrew packages that contain it."""

    name: str
    version_flag: str
    min_version: int
    purpose: str
    debian: str
    homebrew: str
    required: bool = True


@dataclass(frozen=True)
class Finding:
    """One row of `touchline doctor`. `remedy` is a command, or empty when nothing is missing."""

    name: str
    found: str
    purpose: str
    remedy: str = ""
    required: bool = True

    @property
    def ok(self) -> bool:
        return not self.remedy


PROGRAMS = (
    Program("make", "--version", 3, "make verbs", "make", "make"),
    Program("java", "-version", 17, "runs Apache Kafka", "openjdk-17-jdk-headless", "openjdk"),
    Program("mvn", "-v", 3, "fetches Apache Kafka", "maven", "maven"),
    Program("node", "-v", 18, "runs npm", "nodejs", "node"),
    Program("npm", "-v", 8, "fetches ClickHouse", "npm", "node"),
    Program("promtool", "--version", 2, "needed by make test", "prometheus", "prometheus", required=False),
)


def examine(home: Path) -> list[Finding]:
    """Return all findings, in the order of the table. promtool may also be among the downloaded tools."""
    unpacked = state.tools_folder(home) / "prometheus" / "usr" / "bin"
    with ThreadPoolExecutor() as pool:
        return [_python(), *pool.map(lambda program: find_program(program, unpacked), PROGRAMS), _disk(home)]


def require(names: Iterable[str]) -> None:
    """Raise ConfigError for missing programs, with the command that installs each."""
    findings = [find_program(program) for program in PROGRAMS if program.name in names]
    missing = [f"{finding.name} ({finding.purpose}): {finding.remedy}" for finding in findings if not finding.ok]
    if missing:
        raise ConfigError("missing on this machine: " + "; ".join(missing))


def find_program(program: Program, unpacked: Path | None = None) -> Finding:
    version = _version(program, unpacked)
    if version is None:
        return Finding(program.name, "missing", program.purpose, install(program.debian, program.homebrew), program.required)
    if int(version.split(".")[0]) < program.min_version:
        remedy = install(program.debian, program.homebrew)
        return Finding(program.name, f"{version}, {program.min_version} needed", program.purpose, remedy, program.required)
    return Finding(program.name, version, program.purpose, required=program.required)


def install(debian: str, homebrew: str) -> str:
    if shutil.which("brew"):
        return f"brew install {homebrew}"
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y {debian}"


def _version(program: Program, unpacked: Path | None) -> str | None:
    """Return the version, or None where the program is missing or does not run, like the stub of Java on macOS."""
    path = shutil.which(program.name) or (unpacked and shutil.which(program.name, path=unpacked))
    if path is None:
        return None
    result = subprocess.run(  # noqa: S603 no shell, fixed program
        [path, program.version_flag], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    output = NOISE.sub("", result.stdout + result.stderr)
    version = re.search(r"\d+(\.\d+)*", output)
    return version[0] if version and result.returncode == 0 else None


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    has_venv = all(importlib.util.find_spec(module) for module in ("venv", "ensurepip"))
    remedy = "" if sys.version_info >= PYTHON and has_venv else install("python3 python3-venv", "python")
    return Finding("python", found if has_venv else f"{found} without venv", "runs Touchline", remedy)


def _disk(home: Path) -> Finding:
    folder = next(place for place in (home, *home.parents) if place.exists())
    free = shutil.disk_usage(folder).free / 2**30
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        remedy = "set TOUCHLINE_HOME to a folder that you may write"
        return Finding("disk", "not writable", f"data and tools in {home}", remedy)
    remedy = "" if free >= DISK_GIB else f"free {DISK_GIB} GiB there, or set TOUCHLINE_HOME to a folder on a larger disk"
    return Finding("disk", f"{free:.0f} GiB free", f"data and tools in {home}", remedy)
