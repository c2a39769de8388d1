"""Prometheus target files: each process of this machine writes one, so that Prometheus finds it.

A process holds a lock on its file, and the kernel releases the lock when the process ends in any way. Process ids prove nothing:
they are used again after a restart of the machine.

- A normal end removes the file.
- After a kill, a crash or an end with an error the file stays, so that the alert `process_down` fires. It stays until a process
  of that role and name starts, or a person removes it. A bounded process, such as a backfill, keeps it only after a kill.
- The file of an unnamed second process holds "@" and a process id in its name. No later process takes that name, so the next
  process of the role removes the file once its owner is gone.
"""

import atexit
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from schemas.errors import ConfigError


class Held(NamedTuple):
    """Locked target file of this process. `is_bounded`: the process ends by itself, and its exit code reports a failure."""

    path: Path
    file: TextIOWrapper
    is_bounded: bool


_held: list[Held] = []


def announce(folder: Path, role: str, name: str, port: int, *, is_supervised: bool, is_bounded: bool = False) -> None:
    """Write the target file of this process.

    The instance label is `name`, so that the series continue over restarts. Where another process of this role has that name,
    the process id is appended: of the supervisor, where there is one. Raises ConfigError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unnamed(folder, role)
        instance, path = name, folder / f"{role}-{quote(name, safe='')}.json"
        file = _claim(path)
        if file is None:
            pid = os.getppid() if is_supervised else os.getpid()
            instance, path = f"{name}-{pid}", path.with_name(f"{path.stem}@{pid}.json")
            file = _claim(path)
        if file is None:
            raise ConfigError(f"{path} belongs to another process: give this one its own --name")
        file.truncate(0)
        labels = {"role": role, "instance": instance}
        file.write(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": labels}]))
        file.flush()
    except OSError as error:
        raise ConfigError(
            f"cannot write a Prometheus target file to {folder} ({error.strerror}): set TOUCHLINE_TARGETS to a folder that this"
            " user may write, or to an empty value to write none"
        ) from error
    _held.append(Held(path, file, is_bounded))
    atexit.register(withdraw)


def withdraw() -> None:
    """Remove the target file of this process, for a normal end."""
    while _held:
        held = _held.pop()
        with suppress(OSError):
            held.path.unlink(missing_ok=True)
        held.file.close()


@contextmanager
def keep_target_after_failure() -> Iterator[None]:
    """Keep the target file where the body ends with an error: an exception, or an exit code other than 0.

    The file of a bounded process is removed in any case.
    """
    try:
        yield
    except BaseException as end:
        if not isinstance(end, SystemExit) or end.code:
            _held[:] = [held for held in _held if held.is_bounded]
        raise


def _claim(path: Path) -> TextIOWrapper | None:
    """Open and lock a target file. Return None where another process holds it."""
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its owner removed the file between open and lock


def _remove_unnamed(folder: Path, role: str) -> None:
    """Remove the files of unnamed processes that are gone."""
    for path in folder.glob(f"{role}-*@*.json"):
        pid = path.stem.rpartition("@")[2]
        if pid.isdecimal() and not _is_alive(int(pid)) and (file := _claim(path)):
            path.unlink(missing_ok=True)
            file.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
