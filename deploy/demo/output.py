"""Output while the demo runs: a table and a bar on a terminal, one line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.demo.flow import Flow
from deploy.demo.inputs import Input, total_records
from deploy.terminal.table import table

LINE_SECONDS = 3.0
BAR_WIDTH = 40
MIN_SHARE = 0.02
# Each record passes these: it is read, identified, joined and stored. Their counts together give the progress.
STAGES = ("identify", "join", "store touchpoints")
Show = Callable[[Flow], None]


@contextmanager
def show_progress(on: Console, inputs: Sequence[Input]) -> Iterator[Show]:
    """Yield a function that shows the current flow."""
    began = time.monotonic()
    if on.is_terminal:
        with Live(console=on, refresh_per_second=4, transient=True) as live:
            yield lambda flow: live.update(render_flow(flow, inputs, time.monotonic() - began))
        return
    printed = began

    def show(flow: Flow) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LINE_SECONDS:
            printed = time.monotonic()
            on.print(progress_line(flow, inputs, printed - began), soft_wrap=True)

    yield show


def render_flow(flow: Flow, inputs: Sequence[Input], seconds: float) -> Group:
    """Return the table of the flow with a bar and the time left below."""
    bar = ProgressBar(total=1.0, completed=compute_progress(flow, inputs), width=BAR_WIDTH)
    return Group(flow_table(flow, inputs), Text(), Padding(bar, 0), Text(progress_line(flow, inputs, seconds)))


def flow_table(flow: Flow, inputs: Sequence[Input]) -> Table:
    """Return one row per source and per stage: records done, waiting, and refused."""
    known = {one.name: one for one in inputs}
    made = table("records", ">done", ">waiting", ">dead letters")
    for source in flow.sources:
        one = known[source.name]
        waiting = max(0, one.records - source.read)
        made.add_row(f"read {one.name} ({one.kind})", f"{source.read:,}", f"{waiting:,}", f"{source.dead_lettered:,}")
    for stage in flow.stages:
        if stage.done or stage.waiting:
            made.add_row(stage.name, f"{stage.done:,}", f"{stage.waiting:,}", "")
    return made


def compute_progress(flow: Flow, inputs: Sequence[Input]) -> float:
    """Return the progress of all records through all stages, 0 to 1."""
    total = total_records(inputs)
    stages = {stage.name: stage.done for stage in flow.stages}
    counts = (sum(source.read for source in flow.sources), *(stages.get(name, 0) for name in STAGES))
    return sum(min(count, total) for count in counts) / (total * len(counts))


def progress_line(flow: Flow, inputs: Sequence[Input], seconds: float) -> str:
    """Return one line of at most 80 columns: time, percentage, records read and stored, time left."""
    share = compute_progress(flow, inputs)
    read = sum(source.read for source in flow.sources)
    stored = sum(stage.done for stage in flow.stages if stage.name == "store touchpoints")
    counts = f"{read:,} of {total_records(inputs):,} read, {stored:,} stored"
    return f"{seconds:3.0f} s  {share:4.0%}  {counts}, {_time_left(flow, share, seconds)}"


def _time_left(flow: Flow, share: float, seconds: float) -> str:
    if share < MIN_SHARE:
        return "time left: unknown"
    if share == 1:
        return f"{flow.waiting:,} waiting"
    return f"about {seconds / share * (1 - share):.0f} s left"
