"""`touchline rebuild` on a real worker and real sinks: one customer, beside live traffic, interrupted, beyond the bound."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.state import Stack
from deploy.rebuild.cursor import cursor_file
from tests.harness.running_line import running_line, wait_until_stored
from tests.harness.sinks import ask, ask_value, except_columns
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually
from tests.harness.workers import is_drained, make_order, publish_orders

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
KEPT = 64
PAUSE_SECONDS = 0.3
HOUR = 3_600_000
START = 1_760_000_000_000
TYPES = ("order.placed", "payment.failed", "contract.renewed")
VIEWS = ("touchpoints", "journeys", "satisfaction", "churn", "signals")
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def line(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker that keeps 64 touchpoints per customer, and sinks."""
    os.environ["TOUCHLINE_STREAMS_KEPT_TOUCHPOINTS"] = str(KEPT)
    with running_line("rebuild", tmp_path_factory.mktemp("rebuild") / "log"):
        yield


class Orders:
    """Orders of some customers under one system name, published in event-time order unless a test says otherwise."""

    def __init__(self) -> None:
        self.run = f"run{uuid4().hex[:8]}"
        self.count = 0

    def publish(self, count: int, customers: int = 1, at: int | None = None) -> None:
        numbers = range(self.count, self.count + count)
        self.count += count
        publish_orders(
            {**make_order(each, self.run, each % customers, at or START + each * HOUR), "type": TYPES[each % len(TYPES)]}
            for each in numbers
        )

    def wait(self) -> None:
        wait_until_stored()
        assert ask_value("SELECT count() FROM touchline.touchpoints WHERE system = {run:String}", {"run": self.run}) == self.count

    def customers(self) -> list[str]:
        sql = "SELECT DISTINCT customer_id FROM touchline.touchpoints WHERE system = {run:String} ORDER BY customer_id"
        return [str(row["customer_id"]) for row in ask(sql, {"run": self.run})]

    def rows(self) -> Rows:
        """Return the rows of all views of these customers, without columns that depend on the run."""
        found = {}
        for view in VIEWS:
            sql = f"SELECT *{except_columns(view)} FROM touchline.{view} WHERE customer_id IN {{ids:Array(UUID)}} ORDER BY ALL"
            found[view] = ask(sql, {"ids": self.customers()})
        return found


def rebuild(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOUCHLINE, "rebuild", *arguments], capture_output=True, text=True, timeout=120, check=False)


def start(*arguments: str, rate: int) -> subprocess.Popen[str]:
    """Start a slow rebuild."""
    env = {**os.environ, "TOUCHLINE_REBUILD_TOUCHPOINTS_PER_SECOND": str(rate)}
    command = [str(TOUCHLINE), "rebuild", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def read_revision(customer: str) -> tuple[int, int]:
    """Return revision and completeness of a customer."""
    found = ask("SELECT revision, is_complete FROM touchline.revisions WHERE customer_id = {id:UUID}", {"id": customer})
    return (found[0]["revision"], found[0]["is_complete"]) if found else (0, 1)


def test_rebuild_of_one_customer_gives_the_same_rows(line: None) -> None:
    orders = Orders()
    orders.publish(90, customers=2)
    orders.wait()
    before = orders.rows()
    assert all(before[view] for view in ("touchpoints", "journeys", "satisfaction", "churn"))
    email = f"{orders.run}-0@example.org"
    done = rebuild("--customer", email)
    assert done.returncode == 0, done.stderr
    assert "1 customer with 45 touchpoints" in done.stdout
    assert "the workers have read all of it" in done.stdout
    wait_until_stored()
    assert orders.rows() == before
    assert sorted(read_revision(customer) for customer in orders.customers()) == [(0, 1), (1, 1)]


def test_dry_run_publishes_nothing(line: None) -> None:
    orders = Orders()
    orders.publish(4, customers=2)
    orders.wait()
    done = rebuild("--all", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"--all: [\d,]+ customers with [\d,]+ touchpoints", done.stdout)
    assert is_drained()
    assert {read_revision(customer) for customer in orders.customers()} == {(0, 1)}
    assert not cursor_file().exists()


@pytest.mark.slow
def test_rebuild_of_all_beside_live_traffic_ends_in_the_rows_of_a_fresh_start(line: None) -> None:
    orders = Orders()
    orders.publish(200, customers=20)
    orders.wait()
    process = start("--all", rate=100)
    while process.poll() is None:
        orders.publish(20, customers=20)
        time.sleep(PAUSE_SECONDS)
    out, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert "the workers have read all of it" in out
    orders.wait()
    beside = orders.rows()
    assert sum(row["touchpoints"] for row in beside["journeys"]) == orders.count
    again = rebuild("--all")
    assert again.returncode == 0, again.stderr
    wait_until_stored()
    assert orders.rows() == beside


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_rebuild_resumes_and_gives_the_same_rows(line: None, ending: signal.Signals) -> None:
    orders = Orders()
    orders.publish(200, customers=20)
    orders.wait()
    before = orders.rows()
    process = start("--all", rate=100)
    eventually(cursor_file().exists)
    process.send_signal(ending)
    _, log = process.communicate(timeout=60)
    assert process.returncode == (1 if ending is signal.SIGINT else -ending), log
    if ending is signal.SIGINT:
        assert "rebuild --resume" in log
    done = rebuild("--resume")
    assert done.returncode == 0, done.stderr
    assert not cursor_file().exists()
    wait_until_stored()
    assert orders.rows() == before
    assert {complete for _, complete in map(read_revision, orders.customers())} == {1}


def test_touchpoint_beyond_the_bound_is_folded_by_a_rebuild(line: None) -> None:
    orders = Orders()
    orders.publish(3 * KEPT)
    orders.wait()
    orders.publish(1, at=START - 400 * 24 * HOUR)
    orders.wait()
    (customer,) = orders.customers()
    assert read_revision(customer)[1] == 0
    assert sum(row["touchpoints"] for row in orders.rows()["journeys"]) < orders.count
    done = rebuild("--incomplete")
    assert done.returncode == 0, done.stderr
    wait_until_stored()
    assert read_revision(customer)[1] == 1
    assert sum(row["touchpoints"] for row in orders.rows()["journeys"]) == orders.count


def test_definition_selects_its_customers_and_unknown_ones_are_named(line: None) -> None:
    orders = Orders()
    orders.publish(2)
    orders.wait()
    assert "0 touchpoints" not in rebuild("--definition", "relationship", "--dry-run").stdout
    since = "2200-01-01"
    assert ": 0 customers" in rebuild("--definition", "relationship", "--since", since, "--dry-run").stdout
    refused = rebuild("--definition", "nothing")
    assert refused.returncode == 2
    assert "relationship-1" in refused.stderr
    unknown = rebuild("--customer", str(UUID(int=7)))
    assert (unknown.returncode, "no customer" in unknown.stderr) == (2, True)


def test_resume_without_an_interrupted_rebuild_names_the_next_step(line: None) -> None:
    nothing = rebuild("--resume")
    assert nothing.returncode == 2
    assert "no interrupted rebuild to resume" in nothing.stderr
