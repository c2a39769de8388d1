"""The demo from start to end, one function per step.

1. Start Kafka and ClickHouse, create topics, tables and views.
2. Prepare the inputs.
3. Start a worker, a sink and one connector per input as processes.
4. Wait until all records are read and no record waits for any stage.
5. Send ticks up to the end of the data, so that the signals of silent customers are computed, and wait again.
6. Stop the processes, answer the questions, reconcile the counts.
"""

import os
import signal
import time
from collections.abc import Sequence

from rich.console import Console

from deploy.demo import answers
from deploy.demo.flow import Flow, FlowReader, open_flow
from deploy.demo.inputs import Input, prepare_inputs
from deploy.demo.output import Show, flow_table, show_progress
from deploy.demo.processes import Processes, run_processes, run_touchline
from deploy.local import state
from deploy.local.clickhouse.server import curl, http_address
from deploy.local.progress import show_steps
from deploy.local.stack import down, up
from deploy.terminal.console import console, print_line
from deploy.terminal.program import command
from schemas.errors import FatalError, RetryableError, TouchlineError
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse

POLL_SECONDS = 1.0
QUIET_POLLS = 3
MAX_STALL_SECONDS = 90.0
EXAMPLE = "SELECT * FROM touchline.customers LIMIT 5 FORMAT Vertical"


def run_demo(*, keep: bool) -> None:
    """Run the whole demo. Raises TouchlineError when a step fails or the counts differ."""
    on = console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _start_stack(on)
        inputs = prepare_inputs(show_steps(on))
        _run(on, inputs)
        customer = _answer(on, inputs)
        if keep:
            _show_next_steps(on, customer)
    finally:
        if not keep:
            down(state.home())


def drain(children: Processes, reader: FlowReader, show: Show) -> Flow:
    """Wait until every source is read to its end and no record waits for any stage. Processes that die are restarted.

    Raises FatalError when no count changes for 90 seconds, and the error of a process that cannot be restarted.
    """
    quiet, changed_at, last = 0, time.monotonic(), Flow([], [])
    while quiet < QUIET_POLLS:
        children.restart_dead()
        flow = _read(reader) or last
        show(flow)
        if flow != last:
            changed_at, last = time.monotonic(), flow
        quiet = quiet + 1 if flow.stages and children.are_sources_done and not flow.waiting else 0
        if time.monotonic() - changed_at > MAX_STALL_SECONDS:
            raise FatalError(f"no record moved for {MAX_STALL_SECONDS:.0f} s: read {state.home() / 'log'}/demo-*.log")
        time.sleep(POLL_SECONDS)
    return last


def _read(reader: FlowReader) -> Flow | None:
    try:
        return reader.read()
    except RetryableError:
        return None  # Kafka is away for a moment; its supervisor restarts it


def start_processes(children: Processes, inputs: Sequence[Input]) -> None:
    """Start a worker, a sink and one connector per input."""
    children.start("worker", ["work", "--name", "demo", "--no-restart"])
    children.start("sink", ["sink", "--no-restart"])
    for one in inputs:
        files = ["connect", "files", "--settings", str(one.settings), "--root", str(one.root), "--once"]
        children.start(one.name, files, once=True)


def send_ticks(inputs: Sequence[Input]) -> None:
    """Send ticks up to the end of each input's data, oldest first."""
    before: list[str] = []
    for at in sorted(one.ends for one in inputs):
        run_touchline("tick", "--at", at, *before)
        before = ["--since", at]


def reconcile(client: ClickHouse, on: Console, inputs: Sequence[Input]) -> None:
    """Print one line per input. Raises TouchlineError unless each record read is stored once or is a dead letter."""
    counts = {row[0]: row[1:] for row in answers.ask(client, "reconciliation").rows}
    wrong = []
    for one in inputs:
        read, stored, dead_letters, difference = counts[one.name]
        is_equal = difference == 0 and read == stored + dead_letters
        sign, style = ("=", "green") if is_equal else ("≠", "red")
        line = f"{read:,} records read {sign} {stored:,} stored once + {dead_letters:,} dead letters"
        on.print(f"{one.name} ({one.kind}): [{style}]{line}[/]", soft_wrap=True)
        wrong += [] if is_equal else [one.name]
    if wrong:
        raise TouchlineError(f"the counts of {' and '.join(wrong)} differ: query touchline.freshness")


def _start_stack(on: Console) -> None:
    step = show_steps(on)
    up(state.home(), step)
    for name in state.ADDRESSES:
        os.environ.pop(name, None)
    state.export_addresses()
    os.environ["TOUCHLINE_STREAMS_TICK_SECONDS"] = "0"  # ticks go to the end of the data, not to today
    with step("topics, tables and views"):
        run_touchline("migrate")


def _run(on: Console, inputs: Sequence[Input]) -> None:
    began = time.monotonic()
    with (
        run_processes(state.home() / "log") as children,
        open_flow(KafkaSettings(), [one.name for one in inputs]) as reader,
        show_progress(on, inputs) as show,
    ):
        start_processes(children, inputs)
        drain(children, reader, show)
        send_ticks(inputs)
        flow = drain(children, reader, show)
    on.print(flow_table(flow, inputs))
    on.print(f"after {time.monotonic() - began:.0f} s\n")


def _answer(on: Console, inputs: Sequence[Input]) -> str:
    """Print the answers and the reconciliation; returns the id of the customer whose journey was shown."""
    client = ClickHouse()
    try:
        customer = answers.show_answers(client, on, {one.name: one.kind for one in inputs})
        reconcile(client, on, inputs)
    finally:
        client.close()
    return customer


def _show_next_steps(on: Console, customer: str) -> None:
    stack = state.read()
    assert stack is not None
    url = f"http://{http_address(stack.ports)}"
    on.print("\nKafka and ClickHouse keep running. The questions are in deploy/demo/questions/.")
    for title, line in (
        ("One customer", command(f"explain {customer}")),
        ("Your own SQL", curl(state.home(), stack.ports, EXAMPLE)),
        ("In a browser", f"{url}/play, user {state.ADMIN}, password in {state.password_file(state.home())}"),
        ("Stop all", command("down")),
    ):
        print_line(on, f"  {title}: {line}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
