"""The console that all commands print on. It has colours only on a terminal."""

import os

from rich.console import Console

PIPE_COLUMNS = 160


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal or as `COLUMNS`; without either, 160 columns, so that a row stays one line."""
    found = Console(highlight=False, stderr=stderr)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(highlight=False, stderr=stderr, width=PIPE_COLUMNS)


def print_line(on: Console, text: str, style: str = "") -> None:
    """Print a sentence, a path or a command as it is: no markup, and no line break that a copy would contain."""
    on.print(text, style=style or None, markup=False, soft_wrap=True)
