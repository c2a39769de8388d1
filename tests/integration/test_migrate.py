"""The lock of migrations, their printed SQL, and errors for missing rights."""

import os
import signal
import subprocess
import sys
import time

import pytest

from deploy.local.state import Stack
from sinks.clickhouse import ClickHouse, UnavailableError
from sinks.migrations import LOCK
from tests.harness.stack import TOUCHLINE

pytestmark = pytest.mark.integration
HOLD = """
import sys, time
from sinks.clickhouse import ClickHouse
with ClickHouse().hold_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def migrate(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOUCHLINE, "migrate", *options],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **environment},
    )


def holder(name: str) -> "subprocess.Popen[str]":
    """Run a process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_migration_waits_for_the_first(migrated: Stack) -> None:
    with holder(LOCK) as first:
        second = subprocess.Popen([TOUCHLINE, "migrate"], stdout=subprocess.DEVNULL)
        time.sleep(5)
        assert second.poll() is None
        first.terminate()
        assert second.wait(60) == 0


def test_a_killed_migration_leaves_no_lock(migrated: Stack) -> None:
    with holder(LOCK) as first:
        first.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert migrate().returncode == 0
    assert time.monotonic() - began < 45


def test_migration_that_waits_too_long_ends_with_an_error(migrated: Stack) -> None:
    client = ClickHouse()
    try:
        with client.hold_lock("test-lock"):
            with pytest.raises(UnavailableError, match="another test-lock still runs"), client.hold_lock("test-lock", within=0.5):
                pass
            with client.hold_lock("other-lock"):
                pass
        with client.hold_lock("test-lock", within=10):
            pass
    finally:
        client.close()


def test_dry_run_prints_the_sql_for_the_named_cluster(migrated: Stack) -> None:
    plain = migrate("--dry-run", "--sql")
    assert (plain.returncode, plain.stdout.count("CREATE OR REPLACE VIEW touchline.kpis\n"), "CLUSTER" in plain.stdout) == (
        0,
        1,
        False,
    )
    cluster = migrate("--dry-run", "--sql", TOUCHLINE_CLICKHOUSE_CLUSTER="main")
    assert "CREATE OR REPLACE VIEW touchline.kpis ON CLUSTER main\n" in cluster.stdout
    assert migrate("--sql").returncode == 2
    refused = migrate("--dry-run", TOUCHLINE_CLICKHOUSE_CLUSTER="not a name")
    assert (refused.returncode, "TOUCHLINE_CLICKHOUSE_CLUSTER must be a name" in refused.stderr) == (2, True)


def test_missing_right_to_migrate_is_named(migrated: Stack) -> None:
    done = migrate(TOUCHLINE_CLICKHOUSE_USER="writer")
    assert (done.returncode, "Not enough privileges" in done.stderr) == (2, True)
