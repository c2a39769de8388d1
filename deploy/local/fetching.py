"""Download of programs into a temporary folder that is then renamed, so that an incomplete download is never used."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import RetryableError


@contextmanager
def complete_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder; it becomes `place` when the body succeeds and is removed when it fails."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def run(title: str, command: list[str], folder: Path) -> None:
    """Run one download tool. Raises RetryableError with the end of its output: most failures come from the network."""
    result = subprocess.run(  # noqa: S603 no shell, fixed program
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise RetryableError(
            f"{title} could not be downloaded. The end of the output of `{command[0]}`:\n  "
            + "\n  ".join(line[:200] for line in lines[-5:])
            + "\nCheck the network and the registry settings, then run the same command again"
        )
