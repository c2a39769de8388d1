"""Prometheus target files: each process of this machine writes one, so that Prometheus finds it."""

import atexit
import json
import os
from pathlib import Path

from schemas.errors import ConfigError


def announce(folder: Path, role: str, name: str, port: int, *, is_supervised: bool) -> None:
    """Write the target file of this process; it is removed when the process ends.

    The instance label is `name`, so that the series continue over restarts. Where another process of this role has that name,
    the process id is appended: of the supervisor, where there is one. Raises ConfigError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = _instances(folder, role)
        instance = f"{name}-{os.getppid() if is_supervised else os.getpid()}" if name in taken else name
        target = folder / f"{role}-{os.getpid()}.json"
        labels = {"role": role, "instance": instance}
        target.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": labels}]))
    except OSError as error:
        raise ConfigError(
            f"cannot write a Prometheus target file to {folder} ({error.strerror}): set TOUCHLINE_TARGETS to a folder that this"
            " user may write, or to an empty value to write none"
        ) from error
    atexit.register(target.unlink, missing_ok=True)


def _instances(folder: Path, role: str) -> set[str]:
    """The instances of the role that run now; files of processes that have ended are removed."""
    instances = set()
    for file in folder.glob(f"{role}-*.json"):
        pid = file.stem.rpartition("-")[2]
        if pid.isdecimal() and int(pid) != os.getpid() and _is_alive(int(pid)):
            instances.add(_instance(file))
        else:
            file.unlink(missing_ok=True)
    return instances


def _instance(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())[0]["labels"]["instance"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
