"""What a person sees while the demo runs: a live table on a terminal, a plain line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.demo.flow import Flow
from deploy.demo.inputs import Input

WIDTH = 100
LINE_EVERY = 3.0
CHAIN, STORED = ("identify", "link", "join"), "store touchpoints"
Show = Callable[[Flow], None]


def console() -> Console:
    """At most 100 columns, on a terminal and elsewhere."""
    found = Console(highlight=False)
    return Console(highlight=False, width=min(WIDTH, found.width) if found.is_terminal else WIDTH)


@contextmanager
def progress(on: Console, inputs: Sequence[Input]) -> Iterator[Show]:
    """A function that shows each look at the flow."""
    began = time.monotonic()
    if on.is_terminal:
        with Live(console=on, refresh_per_second=4, transient=True) as live:
            yield lambda flow: live.update(flow_table(flow, inputs, time.monotonic() - began))
        return
    said = began

    def show(flow: Flow) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            on.print(flow_line(flow, said - began), soft_wrap=True)

    yield show


def flow_table(flow: Flow, inputs: Sequence[Input], seconds: float) -> Table:
    """Sources above, stages below."""
    kinds = {one.name: one.kind for one in inputs}
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), title=f"after {seconds:.0f} s", title_justify="left")
    table.add_column("")
    for heading in ("records done", "waiting", "dead letters"):
        table.add_column(heading, justify="right", min_width=12)
    for source in flow.sources:
        table.add_row(f"read {source.name} ({kinds[source.name]})", f"{source.read:,}", "", f"{source.dead_lettered:,}")
    for stage in flow.stages:
        if stage.done or stage.waiting:
            table.add_row(stage.name, f"{stage.done:,}", f"{stage.waiting:,}", "")
    return table


def flow_line(flow: Flow, seconds: float) -> str:
    """One line: records read from each source, records that wait for each stage of the chain, touchpoints stored."""
    read = ", ".join(f"{source.name} {source.read:,}" for source in flow.sources)
    waiting = ", ".join(f"{stage.name} {stage.waiting:,}" for stage in flow.stages if stage.name in CHAIN)
    stored = sum(stage.done for stage in flow.stages if stage.name == STORED)
    return f"{seconds:3.0f} s  {read}; to do: {waiting}; stored {stored:,}"
