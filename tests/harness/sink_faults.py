"""What the tests of the sink protocol share: a sink at work, rows as they lie in a table, one table without merges, patience."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sinks.clickhouse import UnavailableError
from sinks.contract import tables
from tests.harness.sinks import COPIES, ask
from tests.harness.stack import TOUCHLINE

NO_MERGES = ("max_bytes_to_merge_at_max_space_in_pool", "max_bytes_to_merge_at_min_space_in_pool")


@contextmanager
def sinking(log: Path, *tables: str, **environment: str) -> Iterator[None]:
    """`touchline sink` as a process of its own that has joined its groups; at the end it is asked to leave, and does so well."""
    with log.open("ab") as out:
        command = [str(TOUCHLINE), "sink", *tables, "--no-restart"]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        eventually(lambda: log.read_text().count(" started\n") == len(tables))
        yield
        process.terminate()
        assert process.wait(15) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def unmerged(table: str) -> Iterator[None]:
    """By a setting, which a server that is killed does not forget."""
    ask(f"ALTER TABLE {stored(table)} MODIFY SETTING {' = 1, '.join(NO_MERGES)} = 1")
    try:
        yield
    finally:
        ask(f"ALTER TABLE {stored(table)} RESET SETTING {', '.join(NO_MERGES)}")


@contextmanager
def as_inserted() -> Iterator[None]:
    """Parts of all that views read stay as they were inserted, so that only the views make each thing once."""
    stored = [*(table.stored for table in tables().values()), *(f"touchline_store.{copy}" for copy in COPIES)]
    for table in stored:
        ask(f"SYSTEM STOP MERGES {table}")
    try:
        yield
    finally:
        for table in stored:
            ask(f"SYSTEM START MERGES {table}")


def stored(table: str) -> str:
    """Where the sink of that name writes; a table without a folder has one of its own name."""
    return tables()[table].stored if table in tables() else f"touchline_store.{table}"


def rows(table: str, name: str) -> tuple[int, int]:
    """Rows of a system in the table itself, and different touchpoints among them."""
    sql = f"SELECT count() AS n, uniqExact(event_id) AS ids FROM {stored(table)} WHERE system = '{name}'"
    (row,) = ask(sql)
    return row["n"], row["ids"]


def eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for it, and for ClickHouse to be back where it was killed."""
    end = time.monotonic() + seconds
    while not patiently(true):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def patiently(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except UnavailableError:
        return False
