"""One at a time: a lock on a file, which the kernel lets go when its process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.progress import Step, silently
from schemas.errors import ConfigError


@contextmanager
def exclusive(path: Path, step: Step = silently) -> Iterator[None]:
    """Hold the lock on `path` for the body, after waiting for its holder. Raises ConfigError without write access."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise ConfigError(
            f"{path.parent} cannot be written ({error.strerror}): set TOUCHLINE_HOME to a folder of yours"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("wait for another touchline command to finish"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
