"""Queries for one customer. The views of `touchline` follow merges and hide erased customers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deploy.explain.customer import (
    CustomerHistory,
    Driver,
    Journey,
    Reading,
    TimelineEntry,
)
from deploy.identity.lookup import Lookup
from deploy.identity.queries import LATEST, IdentityReader
from sinks.clickhouse import ClickHouse

COUNT = """
SELECT count() FROM touchline.touchpoints_of(customer_id = {customer:UUID})
WHERE occurred_at <= fromUnixTimestamp64Milli({at:Int64})
"""
TIMELINE = """
SELECT
    event_id, occurred_at, customer_id_then, source, system, type, channel, stage, text, product, toFloat64(amount), currency,
    metric, coalesce(nps, csat, ces), delay_days, score, change
FROM touchline.touchpoints_of(customer_id = {customer:UUID})
LEFT ANY JOIN
(
    SELECT assumeNotNull(event_id) AS event_id, score, change FROM touchline.satisfaction
    WHERE customer_id = {customer:UUID} AND event_id IS NOT NULL
) AS reading USING event_id
WHERE occurred_at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY occurred_at DESC, event_id DESC
LIMIT {limit:UInt32}
"""
JOURNEYS = """
SELECT
    journey_id, definition, status, outcome, stage, started_at, last_at, touchpoints, friction, channels, stages,
    toBool(last_at > fromUnixTimestamp64Milli({at:Int64})) AS has_later_touchpoints
FROM touchline.journeys
WHERE customer_id = {customer:UUID} AND started_at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY started_at, journey_id
"""
READINGS = """
SELECT signal, at, value, low, high, evidence, definition, event_id, drivers FROM
(
    SELECT 'satisfaction' AS signal, at, score AS value, low, high, evidence, definition_version AS definition, event_id, drivers
    FROM touchline.satisfaction WHERE customer_id = {customer:UUID}
    UNION ALL
    SELECT 'churn', at, risk, low, high, evidence, model_version, event_id, reasons
    FROM touchline.churn WHERE customer_id = {customer:UUID}
    UNION ALL
    SELECT signal, at, value, low, high, evidence, definition_version, event_id, drivers
    FROM touchline.signals WHERE customer_id = {customer:UUID}
)
WHERE at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY signal, at DESC, evidence DESC
LIMIT 1 BY signal
"""


class CustomerReader:
    """Reader of customers over one connection, as of `at` (None: now). Raises RetryableError while ClickHouse is away."""

    def __init__(self, client: ClickHouse, at: datetime | None) -> None:
        self._client = client
        self._at = at
        self._identities = IdentityReader(client, at)

    def history(self, lookup: Lookup, limit: int) -> CustomerHistory:
        """Return all records of the customer, with the newest `limit` touchpoints. Raises ConfigError as
        `IdentityReader.identity` does."""
        identity = self._identities.identity(lookup)
        customer = str(identity.customer_id)
        ((touchpoints,),) = self._rows(COUNT, customer)
        timeline = [TimelineEntry(*row) for row in self._rows(TIMELINE, customer, limit=limit)]
        return CustomerHistory(
            identity,
            self._at,
            touchpoints,
            timeline[::-1],
            [Journey(*row) for row in self._rows(JOURNEYS, customer)],
            [_reading(row) for row in self._rows(READINGS, customer)],
        )

    def _rows(self, sql: str, customer: str, **params: Any) -> list[tuple[Any, ...]]:
        at = int((self._at or LATEST).timestamp() * 1000)
        bound: Mapping[str, Any] = {"customer": customer, "at": at, **params}
        return self._client.query(sql, bound).rows


def _reading(row: tuple[Any, ...]) -> Reading:
    return Reading(*row)._replace(drivers=[Driver(*driver) for driver in row[-1]])
