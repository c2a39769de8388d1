"""How a program comes into the tools folder: beside its place, then renamed, so that half a download is never used."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import RetryableError


@contextmanager
def into(place: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `place` when the body ends well and is removed when it does not."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def run(what: str, command: list[str], folder: Path) -> None:
    """Run one download tool. Raises RetryableError with its last words, since most such failures are the network's."""
    result = subprocess.run(  # noqa: S603 no shell, fixed program
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise RetryableError(
            f"{what} could not be fetched: `{command[0]}` said\n  "
            + "\n  ".join(line[:200] for line in said[-5:])
            + "\nCheck the network and the registry settings, then run the same command again"
        )
