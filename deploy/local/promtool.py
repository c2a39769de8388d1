"""promtool, the checker of alert rules: from PATH, else from Debian's package, unpacked and not installed."""

import os
import shutil
import subprocess
from pathlib import Path

from deploy.local import fetching, locks, prerequisites, state
from schemas.errors import ConfigError, RetryableError

PACKAGE = "prometheus"


def promtool(home: Path | None = None) -> Path:
    """Return the path of promtool, and download it if it is missing. Raises ConfigError with the command that installs it."""
    if found := shutil.which("promtool"):
        return Path(found)
    tools = state.tools_folder(home or state.home())
    path = tools / PACKAGE / "usr" / "bin" / "promtool"
    with locks.hold_lock(tools / "lock", setting=state.TOOLS):
        if not path.exists():
            _unpack(tools / PACKAGE)
    return path


def _unpack(place: Path) -> None:
    advice = f"promtool is missing: {prerequisites.install(PACKAGE, PACKAGE)}"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ConfigError(advice)
    try:
        with fetching.complete_folder(place) as folder:
            _download(folder)
            archive = next(folder.glob("*.deb"))
            fetching.run("promtool", ["dpkg", "-x", str(archive), str(folder)], folder)
            archive.unlink()
    except RetryableError as error:
        raise ConfigError(f"{error}\nOr: {advice}") from error


def _download(folder: Path) -> None:
    """Download the package. Empty package lists, as in new containers, are updated where that needs no password."""
    download = ["apt-get", "download", PACKAGE]
    try:
        fetching.run("promtool", download, folder)
    except RetryableError:
        rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
        if rights and shutil.which("sudo") is None:
            raise
        update = [*rights, "apt-get", "update", "-q"]
        subprocess.run(update, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 no shell, fixed program
        fetching.run("promtool", download, folder)
