"""Lock on a file. The kernel releases it when its process ends, also after a crash."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.progress import Step, no_output
from schemas.errors import ConfigError


@contextmanager
def hold_lock(path: Path, step: Step = no_output, *, setting: str = "TOUCHLINE_HOME") -> Iterator[None]:
    """Wait for the lock on `path` and hold it for the body. Raises ConfigError without write access.

    `setting` is the variable that names the folder of the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written ({error.strerror}): set {setting} to a folder of yours") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("wait for another touchline command to finish"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
