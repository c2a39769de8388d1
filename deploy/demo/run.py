"""The demo from start to end: one function per step, in the order in which they happen.

1. start Kafka and ClickHouse, make topics, tables and views
2. make the inputs ready
3. start worker, sink and one connector per input, each a process of its own
4. wait until everything is read and nothing waits anywhere
5. tell the worker that time has passed, so that silence shows, and wait again
6. stop those processes, answer the questions, and reconcile
"""

import os
import signal
import time
from collections.abc import Sequence

from rich.console import Console

from deploy.demo import answers
from deploy.demo import output as screen
from deploy.demo.flow import Flow, Watch, watching
from deploy.demo.inputs import Input, prepare
from deploy.demo.processes import Processes, processes, touchline
from deploy.local import state
from deploy.local.clickhouse.server import http_address
from deploy.local.progress import shown_on
from deploy.local.stack import down, up
from schemas.errors import FatalError, RetryableError, TouchlineError
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse

LOOK_EVERY = 1.0
QUIET_LOOKS = 3
STALLED_AFTER = 90.0
EXAMPLE = "SELECT * FROM touchline.customers LIMIT 5 FORMAT Vertical"
ADDRESSES = ("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "TOUCHLINE_CLICKHOUSE_PORT", "TOUCHLINE_CLICKHOUSE_HTTP_PORT")


def demo(*, keep: bool) -> None:
    """The whole demo. Raises TouchlineError when a step fails or the counts do not agree."""
    on = screen.console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _start_stack(on)
        inputs = prepare(shown_on(on))
        _run(on, inputs)
        _answer(on, inputs)
        if keep:
            _say_how_to_ask(on)
    finally:
        if not keep:
            down(state.home())


def drain(children: Processes, watch: Watch, show: screen.Show) -> Flow:
    """Wait until every source is read to its end and nothing waits before any stage; died processes are started again.

    Raises FatalError when nothing moves for a long time, and what a process cannot recover from.
    """
    quiet, moved_at, last = 0, time.monotonic(), Flow([], [])
    while quiet < QUIET_LOOKS:
        children.tend()
        flow = _look(watch) or last
        show(flow)
        if flow != last:
            moved_at, last = time.monotonic(), flow
        quiet = quiet + 1 if flow.stages and children.sources_done and not flow.waiting else 0
        if time.monotonic() - moved_at > STALLED_AFTER:
            raise FatalError(f"nothing moved for {STALLED_AFTER:.0f} s: look into {state.home() / 'log'}/demo-*.log")
        time.sleep(LOOK_EVERY)
    return last


def _look(watch: Watch) -> Flow | None:
    try:
        return watch.look()
    except RetryableError:
        return None  # Kafka is away for a moment; its supervisor brings it back


def start(children: Processes, inputs: Sequence[Input]) -> None:
    """Worker, sink and one connector per input."""
    children.start("worker", ["work", "--name", "demo", "--no-restart"])
    children.start("sink", ["sink", "--no-restart"])
    for one in inputs:
        files = ["connect", "files", "--settings", str(one.settings), "--root", str(one.root), "--once"]
        children.start(one.name, files, once=True)


def tick(inputs: Sequence[Input]) -> None:
    """Time passed: to the end of each input's data, oldest first."""
    before: list[str] = []
    for at in sorted(one.ends for one in inputs):
        touchline("tick", "--at", at, *before)
        before = ["--since", at]


def reconcile(client: ClickHouse, on: Console, inputs: Sequence[Input]) -> None:
    """One line per input. Raises TouchlineError where something read is neither stored once nor a dead letter."""
    found = {row[0]: row[1:] for row in answers.ask(client, "reconciliation").rows}
    wrong = []
    for one in inputs:
        read, stored, letters, difference = found[one.name]
        holds = difference == 0 and read == stored + letters
        sign, style = ("=", "green") if holds else ("≠", "red")
        line = f"read from sources {read:,} {sign} touchpoints stored once {stored:,} + dead letters {letters:,}"
        on.print(f"[{style}]{line}[/]   {one.name} ({one.kind})")
        wrong += [] if holds else [one.name]
    if wrong:
        raise TouchlineError(f"the counts of {' and '.join(wrong)} do not agree: look into touchline.freshness")


def _start_stack(on: Console) -> None:
    step = shown_on(on)
    up(state.home(), step)
    for name in ADDRESSES:
        os.environ.pop(name, None)
    state.export_addresses()
    os.environ["TOUCHLINE_STREAMS_TICK_SECONDS"] = "0"  # time passes to the end of the data, not to this day
    with step("topics, tables and views"):
        touchline("migrate")


def _run(on: Console, inputs: Sequence[Input]) -> None:
    began = time.monotonic()
    with (
        processes(state.home() / "log") as children,
        watching(KafkaSettings(), [one.name for one in inputs]) as watch,
        screen.progress(on, inputs) as show,
    ):
        start(children, inputs)
        drain(children, watch, show)
        tick(inputs)
        flow = drain(children, watch, show)
    on.print(screen.flow_table(flow, inputs, time.monotonic() - began))
    on.print()


def _answer(on: Console, inputs: Sequence[Input]) -> None:
    client = ClickHouse()
    try:
        answers.show(client, on, {one.name: one.kind for one in inputs})
        reconcile(client, on, inputs)
    finally:
        client.close()


def _say_how_to_ask(on: Console) -> None:
    stack = state.read()
    assert stack is not None
    url = f"http://{http_address(stack.ports)}"
    on.print("\nThe stack stays up; the questions are in deploy/demo/questions/*.sql. Ask your own:")
    on.print(f"  curl {url} -d '{EXAMPLE}'", soft_wrap=True)
    on.print(f"  in the browser {url}/play; take it down with: touchline down")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
