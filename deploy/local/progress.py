"""What a waiting person sees: a spinner with its step on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console

Step = Callable[[str], AbstractContextManager[object]]

silently: Step = nullcontext


def shown_on(console: Console) -> Step:
    """A step that is announced while it runs and ticked with its seconds when it went well."""

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
