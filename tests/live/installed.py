"""Source systems in the tools folder: fetched once from a registry, unpacked or installed there, the system left as it is.

Each function gives the folder; it is filled beside its place and renamed, so that half of it is never used.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local import fetching, locks, state
from schemas.errors import ConfigError


def debian(name: str, *packages: str) -> Path:
    """Debian packages and whatever they need that this machine lacks, unpacked: the folder stands in for `/`."""

    def fill(folder: Path) -> None:
        wanted = _packages(packages, folder)
        fetching.run(name, ["apt-get", "download", *wanted], folder)
        for archive in sorted(folder.glob("*.deb")):
            fetching.run(name, ["dpkg", "-x", str(archive), str(folder)], folder)
            archive.unlink()

    return once(name, fill)


def python(name: str, requirements: Path) -> Path:
    """A virtual environment with what a lock file with hashes names; `bin/python bin/PROGRAM` runs its programs."""

    def fill(folder: Path) -> None:
        fetching.run(name, [sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        fetching.run(name, [*pip, "-r", str(requirements)], folder)

    return once(name, fill)


def npm(name: str, package: Path) -> Path:
    """The folder `package` (package.json, package-lock.json, and what else is in it) with its modules installed."""

    def fill(folder: Path) -> None:
        shutil.copytree(package, folder, dirs_exist_ok=True)
        fetching.run(name, ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)

    return once(name, fill)


def once(name: str, fill: Callable[[Path], None]) -> Path:
    """What `fill` puts into a folder, done once."""
    peers = state.tools_folder(state.home()) / "peers"
    place = peers / name
    with locks.exclusive(peers / f"{name}.lock"):
        if not place.exists():
            with fetching.into(place) as folder:
                fill(folder)
    return place


def _packages(names: tuple[str, ...], folder: Path) -> list[str]:
    """Those and what they need, without what is installed already. Package lists may be empty, as in fresh containers.

    Raises ConfigError with what to do where this is no Debian, or one that does not know them.
    """
    if shutil.which("apt-get") is None:
        raise ConfigError(f"{names[0]} comes from Debian's packages: run this on Debian, or leave it out by pytest -m 'not live'")
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *names]
    if subprocess.run(command, capture_output=True, check=False).returncode and os.geteuid() == 0:
        fetching.run("package lists", ["apt-get", "update", "-q"], folder)
    simulated = subprocess.run(command, capture_output=True, text=True, check=False)
    if simulated.returncode:
        raise ConfigError(f"apt-get does not know {' '.join(names)}: run `sudo apt-get update`, then this again")
    return [line.split()[1] for line in simulated.stdout.splitlines() if line.startswith("Inst ")]
