"""Installation of source systems in the tools folder, once, from registries, without a change of the system.

Each function returns the folder. It fills a temporary folder and renames it, so an incomplete folder is never used.
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
    """Unpack Debian packages with their missing dependencies; the folder stands in for `/`."""

    def fill(folder: Path) -> None:
        wanted = _list_packages(packages, folder)
        fetching.run(name, ["apt-get", "download", *wanted], folder)
        for archive in sorted(folder.glob("*.deb")):
            fetching.run(name, ["dpkg", "-x", str(archive), str(folder)], folder)
            archive.unlink()

    return install_once(name, fill)


def python(name: str, requirements: Path) -> Path:
    """Create a virtual environment from a lock file with hashes; `bin/python bin/PROGRAM` runs its programs."""

    def fill(folder: Path) -> None:
        fetching.run(name, [sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        fetching.run(name, [*pip, "-r", str(requirements)], folder)

    return install_once(name, fill)


def npm(name: str, package: Path) -> Path:
    """Copy the folder `package` (package.json, package-lock.json and others) and install its modules."""

    def fill(folder: Path) -> None:
        shutil.copytree(package, folder, dirs_exist_ok=True)
        fetching.run(name, ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)

    return install_once(name, fill)


def install_once(name: str, fill: Callable[[Path], None]) -> Path:
    """Fill a folder with `fill`, once, and return it."""
    peers = state.tools_folder(state.home()) / "peers"
    place = peers / name
    with locks.hold_lock(peers / f"{name}.lock"):
        if not place.exists():
            with fetching.complete_folder(place) as folder:
                fill(folder)
    return place


def _list_packages(names: tuple[str, ...], folder: Path) -> list[str]:
    """Return the packages and their dependencies that are not installed. Package lists may be empty in new containers.

    Raises ConfigError with the next step if this is not Debian, or if the packages are unknown.
    """
    if shutil.which("apt-get") is None:
        raise ConfigError(f"{names[0]} needs Debian packages: run this on Debian, or skip it with pytest -m 'not live'")
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *names]
    if subprocess.run(command, capture_output=True, check=False).returncode and os.geteuid() == 0:
        fetching.run("package lists", ["apt-get", "update", "-q"], folder)
    simulated = subprocess.run(command, capture_output=True, text=True, check=False)
    if simulated.returncode:
        raise ConfigError(f"apt-get does not know {' '.join(names)}: run `sudo apt-get update` and try again")
    return [line.split()[1] for line in simulated.stdout.splitlines() if line.startswith("Inst ")]
