"""A whole line under test: tables, a worker and sinks as processes, and the wait until all records are stored."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.rebuild.lag import Waiting, open_admin, read_ends, wait_until_read
from schemas.service.connection import KafkaSettings
from sinks.contract import load_tables
from tests.harness.sinks import end_sinks, sink
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually
from tests.harness.workers import get_page, is_drained, running_worker


@contextmanager
def running_line(name: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker and the sinks of all tables on the stack of this process, and yield the worker."""
    subprocess.run([TOUCHLINE, "migrate"], check=True, capture_output=True, timeout=60)
    with running_worker(name, log) as worker:
        eventually(lambda: get_page(log, "ready") == (200, "ok\n"))
        sink()
        try:
            yield worker
        finally:
            end_sinks()


def wait_until_stored() -> None:
    """Wait until the workers have read all records, and the sinks have stored all results."""
    eventually(is_drained)
    settings = KafkaSettings()
    with open_admin(settings) as admin:
        targets = {f"touchline-sink-{table.name}": read_ends(admin, table.topic) for table in load_tables().values()}
    wait_until_read(settings, Waiting(targets, "touchline sink"), "records stored by the sinks:")
