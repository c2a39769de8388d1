"""Terminal output of a rebuild: a bar with totals and the time left on a terminal, one line every ten seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deploy.rebuild.scope import Counts
from deploy.terminal.console import console
from deploy.terminal.text import format_count

LINE_SECONDS = 10.0


def format_counts(counts: Counts) -> str:
    """Return `1,234 customers with 5,678 touchpoints`."""
    return f"{format_count(counts.customers, 'customer')} with {format_count(counts.touchpoints, 'touchpoint')}"


def format_line(verb: str, done: int, total: int, seconds: float) -> str:
    """Return one line of progress with the time left, by the mean rate so far."""
    share = f"{100 * done / total:.0f} %" if total else "100 %"
    left = f", {(total - done) * seconds / done:,.0f} s left" if done and total > done else ""
    return f"{verb} {done:,} of {total:,} ({share}), {seconds:,.0f} s{left}"


@contextmanager
def progress(verb: str, total: int, *, done: int = 0, on: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances the progress on standard error by a number."""
    on = on or console(stderr=True)
    if on.is_terminal:
        columns = (
            TextColumn(verb),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=on, transient=True) as bar:
            task = bar.add_task(verb, total=total, completed=done)
            yield lambda count: bar.advance(task, count)
        return
    began = printed = time.monotonic()
    finished = 0

    def advance(count: int) -> None:
        nonlocal finished, printed
        finished += count
        if time.monotonic() - printed >= LINE_SECONDS:
            printed = time.monotonic()
            on.print(format_line(verb, done + finished, total, printed - began), soft_wrap=True)

    yield advance
