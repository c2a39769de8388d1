"""Shared parts of the tests of the sink protocol: a running sink, stored rows, and tables without merges."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinks.contract import load_tables
from tests.harness.sinks import COPIES, ask
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually

NO_MERGES = ("max_bytes_to_merge_at_max_space_in_pool", "max_bytes_to_merge_at_min_space_in_pool")


@contextmanager
def running_sink(log: Path, *tables: str, **environment: str) -> Iterator[None]:
    """Run `touchline sink` as a process that reads its topics. At the end SIGTERM must end it with code 0."""
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
def table_without_merges(table: str) -> Iterator[None]:
    """Stop merges of a table by a setting, which survives a restart of the server."""
    ask(f"ALTER TABLE {stored_name(table)} MODIFY SETTING {' = 1, '.join(NO_MERGES)} = 1")
    try:
        yield
    finally:
        ask(f"ALTER TABLE {stored_name(table)} RESET SETTING {', '.join(NO_MERGES)}")


@contextmanager
def without_merges() -> Iterator[None]:
    """Stop merges of all tables that views read, so that only the views remove duplicates."""
    stored = [*(table.stored for table in load_tables().values()), *(f"touchline_store.{copy}" for copy in COPIES)]
    for table in stored:
        ask(f"SYSTEM STOP MERGES {table}")
    try:
        yield
    finally:
        for table in stored:
            ask(f"SYSTEM START MERGES {table}")


def stored_name(table: str) -> str:
    """Return the ClickHouse table of a sink; a table without a folder has its own name."""
    return load_tables()[table].stored if table in load_tables() else f"touchline_store.{table}"


def count_rows(table: str, name: str) -> tuple[int, int]:
    """Return the number of rows of a system in the table, and of distinct touchpoints among them."""
    sql = f"SELECT count() AS n, uniqExact(event_id) AS ids FROM {stored_name(table)} WHERE system = '{name}'"
    (row,) = ask(sql)
    return row["n"], row["ids"]
