"""The results of a run as an analyst and a recovering worker find them: views, and state rows on Kafka."""

from typing import Any, NamedTuple

from schemas.wire.codec import Fields
from schemas.wire.topics import CONNECTOR_STATE
from sinks.clickhouse import ClickHouse
from tests.crash.identity import Identifier
from tests.crash.log import Log
from tests.crash.model import Letter, Reading
from tests.crash.rows import Row, customer_rows

SAME = (
    "source", "system", "connector", "type", "channel", "stage", "text", "currency", "order_id", "ticket_id", "attributes",
)  # fmt: skip
TOUCHPOINTS = f"""
    SELECT event_id, customer_id, toUnixTimestamp64Milli(occurred_at) AS occurred_at, toInt64(amount * 10000) AS amount,
    {", ".join(SAME)} FROM touchline.touchpoints
"""
JOURNEYS = """
    SELECT customer_id, toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(last_at), status, outcome, stage, touchpoints,
    friction, channels, stages, moments_of_truth FROM touchline.journeys
"""
READINGS = """
    SELECT 'satisfaction', customer_id, event_id, toUnixTimestamp64Milli(at), score, low, high, evidence
    FROM touchline.satisfaction
    UNION ALL
    SELECT 'churn', customer_id, event_id, toUnixTimestamp64Milli(at), risk, low, high, evidence FROM touchline.churn
"""
INCOMPLETE = "SELECT customer_id FROM touchline.revisions WHERE NOT is_complete"


class Results(NamedTuple):
    """All results to compare. Lists may hold duplicates, which the comparison finds.

    `touchpoints` hold `event_id` and `customer_id` as bytes; journeys and readings are those of `model.Life`, by customer;
    `rows` are the state rows of canonical customers; `totals` of each stream as in `model.Expected`; `incomplete` are customers
    that need a rebuild.
    """

    touchpoints: list[Fields]
    customers: list[tuple[bytes, int]]
    journeys: list[tuple[bytes, tuple[Any, ...]]]
    readings: list[tuple[bytes, Reading]]
    letters: list[Letter]
    rows: dict[bytes, Row]
    identities: dict[Identifier, bytes]
    totals: dict[str, tuple[int, ...]]
    incomplete: list[bytes]


def read_results(client: ClickHouse, log: Log) -> Results:
    """Query the views and read the state rows."""
    answer = client.query(TOUCHPOINTS)
    touchpoints = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    for each in touchpoints:
        each.update(event_id=each["event_id"].bytes, customer_id=each["customer_id"].bytes)
    letters = client.query("SELECT stage, origin, hex(payload) FROM touchline.dead_letters").rows
    customers = client.query("SELECT customer_id, touchpoints FROM touchline.customers").rows
    rows = {customer: row for customer, row in customer_rows(log).items() if row.ids or not row.whole}
    totals = ("read", "published", "dead_lettered", "repeated")
    return Results(
        touchpoints=touchpoints,
        customers=[(customer.bytes, count) for customer, count in customers],
        journeys=[_journey(*row) for row in client.query(JOURNEYS).rows],
        readings=[_reading(*row) for row in client.query(READINGS).rows],
        letters=[(stage, origin, bytes.fromhex(payload)) for stage, origin, payload in letters],
        rows=rows,
        identities=log.identities(),
        totals={each.fields["stream"]: tuple(each.fields[name] for name in totals) for each in log.entries[CONNECTOR_STATE]},
        incomplete=[customer.bytes for (customer,) in client.query(INCOMPLETE).rows],
    )


def _reading(signal: str, customer: Any, event: Any, *row: Any) -> tuple[bytes, Reading]:
    return customer.bytes, (signal, event and event.bytes, *row)


def _journey(customer: Any, *row: Any) -> tuple[bytes, tuple[Any, ...]]:
    *plain, channels, stages, moments = row
    return customer.bytes, (*plain, tuple(channels), tuple(stages), tuple(each.bytes for each in moments))
