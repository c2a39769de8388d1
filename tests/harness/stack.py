"""Starts a real Kafka and ClickHouse in a folder of their own and stops them at the end."""

import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import FREE_PORTS, Ports
from deploy.local.stack import down, up
from deploy.local.state import Stack, export_addresses

TOUCHLINE = Path(sys.executable).with_name("touchline")
TOOLS = Path(__file__).parents[2] / ".touchline" / "tools"


@contextmanager
def running_stack(home: Path) -> Iterator[Stack]:
    """A stack in `home` that this process and those it starts are pointed at, until the block ends.

    Never on the standard ports: another stack could take one of them over while a killed service is away. SIGTERM ends the
    block like Ctrl-C.
    """
    ended = signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = dict(os.environ)
    own = ("TOUCHLINE_KAFKA_", "TOUCHLINE_CLICKHOUSE_", "TOUCHLINE_IDENTITY_SECRET")
    for name in [name for name in os.environ if name.startswith(own)]:
        del os.environ[name]
    os.environ["TOUCHLINE_HOME"] = str(home)
    os.environ["TOUCHLINE_TARGETS"] = str(home / "targets")
    os.environ["TOUCHLINE_STREAMS_TICK_SECONDS"] = "0"  # tests count what comes out, and tick themselves
    os.environ.setdefault("TOUCHLINE_TOOLS", str(TOOLS))
    home.mkdir(exist_ok=True)
    ports = dict(zip(Ports.model_fields, random.sample(FREE_PORTS, len(Ports.model_fields)), strict=True))
    (home / "ports.json").write_text(Ports(**ports).model_dump_json())
    try:
        running = up(home)
        export_addresses()
        yield running
    finally:
        down(home)
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGTERM, ended)
