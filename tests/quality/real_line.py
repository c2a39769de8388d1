"""The real line: Kafka, a worker with the compound keys of the preset, sinks, ClickHouse and its views."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.identity.review.proposals import choose
from deploy.identity.review.run import find_proposals, join_customers
from schemas.wire.topics import source_topic
from sinks.clickhouse import ClickHouse
from tests.harness.running_line import running_line, wait_until_stored
from tests.harness.stack import running_stack
from tests.harness.waiting import eventually
from tests.harness.workers import publish_touchpoints, read_lag
from tests.quality.customers import Customers
from tests.quality.labelled import Labelled
from tests.quality.review import THRESHOLD

KEYS = "TOUCHLINE_IDENTITY_COMPOUND_KEYS"
SOURCE = source_topic("crm")


@contextmanager
def quality_line(folder: Path) -> Iterator[None]:
    """Run a stack in `folder`, and on it a worker with the keys of the preset `people` and all sinks."""
    with running_stack(folder):
        os.environ[KEYS] = "people"
        with running_line("quality", folder / "worker.log"):
            yield


def join_touchpoints(labelled: Sequence[Labelled]) -> Customers:
    """Publish touchpoints, and return the customer of each event id by the views once all are stored."""
    publish_touchpoints(each.fields for each in labelled)
    wait_until_joined()
    return read_customers()


def wait_until_joined() -> None:
    """Wait until the worker has read all touchpoints, and the sinks have stored all results."""
    eventually(lambda: read_lag(SOURCE) == 0, seconds=120)
    wait_until_stored()


def read_customers() -> Customers:
    """Return the customer of each event id by the views."""
    client = ClickHouse()
    try:
        rows = client.query("SELECT event_id, customer_id FROM touchline.touchpoints").rows
    finally:
        client.close()
    return {event.bytes: customer.bytes for event, customer in rows}


def review_customers() -> int:
    """Join the customers that a review proposes above the threshold, and return the number of pairs."""
    proposals = choose(find_proposals(THRESHOLD), THRESHOLD)
    join_customers(proposals, reason="review of the test", who="test")
    wait_until_stored()
    return len(proposals)
