"""The text to type for the `touchline` command, as printed in next steps."""

import re
import shutil
import sysconfig
from pathlib import Path

NAME = "touchline"
PATH = Path(sysconfig.get_path("scripts")) / NAME


def command(arguments: str) -> str:
    """Return a command line that works when pasted into the same shell: `touchline down` or `.venv/bin/touchline down`.

    The short form needs this very installation on PATH; the path is relative where it lies below the current folder.
    """
    return f"{_name()} {arguments}"


def expand_commands(text: str) -> str:
    """Return an error text in which each quoted `touchline ...` command can be pasted into the same shell."""
    return re.sub(r"`touchline (?=[a-z])", lambda _: f"`{_name()} ", text)


def _name() -> str:
    on_path = shutil.which(NAME)
    if on_path is not None and Path(on_path).resolve() == PATH.resolve():
        return NAME
    here = Path.cwd()
    return str(PATH.relative_to(here) if PATH.is_relative_to(here) else PATH)
