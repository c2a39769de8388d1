"""Progress of the steps of a command: a spinner on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console

Step = Callable[[str], AbstractContextManager[object]]

no_output: Step = nullcontext


def show_steps(console: Console) -> Step:
    """Return a step that is printed while it runs, and with its seconds when it has succeeded."""

    @contextmanager
    def step(text: str) -> Iterator[None]:
        began = time.monotonic()
        if console.is_terminal:
            with console.status(text):
                yield
        else:
            console.print(f"{text} ...", highlight=False)
            yield
        console.print(f"[green]ok[/green] {text} [dim]{time.monotonic() - began:.1f} s[/dim]", highlight=False)

    return step
