"""Queries for one customer. The views of `touchline` follow merges and hide erased customers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deploy.explain.customer import (
    CustomerHistory,
    Driver,
    Edge,
    Identity,
    Journey,
    Merge,
    Reading,
    TimelineEntry,
)
from deploy.identity.lookup import Candidate, Lookup
from schemas.errors import ConfigError
from sinks.clickhouse import ClickHouse

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
UNKNOWN_ID = "no customer with an identifier has this id: check that the id is complete"
UNKNOWN_IDENTIFIER = "no customer has this identifier: check its spelling, or give kind:value such as email:ann@example.com"
MASKED = "identifiers are masked for the ClickHouse user: grant it the role touchline_pii, or give a customer id"
CAN_SEARCH = "SELECT has(enabledRoles(), 'touchline_pii')"
AMBIGUOUS = "more than one customer has this identifier: give kind:system/value"
CUSTOMERS_BY_IDENTIFIER = """
SELECT DISTINCT customer_id FROM touchline.identifiers
WHERE ({kind:String} = '' OR kind = {kind:String}) AND (value = {value:String} OR endsWith(value, concat('/', {value:String})))
"""
CANONICAL_CUSTOMER = "SELECT customer_id FROM touchline.identity_changes WHERE from_customer = {customer:UUID}"
MERGES = """
SELECT from_customer, customer_id, rule, event_id, at FROM touchline.identity_changes
WHERE customer_id = {customer:UUID} AND at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, from_customer
"""
EDGES = """
SELECT kind, value, customer_id_then, rule, event_id, at FROM touchline.identifiers
WHERE customer_id = {customer:UUID} AND at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, kind, value
"""
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

    def history(self, lookup: Lookup, limit: int) -> CustomerHistory:
        """Return all records of the customer, with the newest `limit` touchpoints. Raises ConfigError as `identity` does."""
        identity = self.identity(lookup)
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

    def identity(self, lookup: Lookup) -> Identity:
        """Return the canonical customer with its edges and merges. Raises ConfigError for no customer and for more than one.

        The views hide an erased customer and all that was merged into it, so it counts as no customer.
        """
        customer = self._canonical(lookup.id) if lookup.id else self._find(lookup.candidates)
        merges = [Merge(*row) for row in self._rows(MERGES, str(customer))]
        edges = [Edge(*row) for row in self._rows(EDGES, str(customer))]
        if lookup.id and not edges and not merges:
            raise ConfigError(UNKNOWN_ID)
        return Identity(customer, edges, merges)

    def _find(self, candidates: Sequence[Candidate]) -> UUID:
        ((can_search,),) = self._client.query(CAN_SEARCH).rows
        if not can_search:
            raise ConfigError(MASKED)
        found: set[UUID] = {
            customer
            for kind, value in candidates
            for (customer,) in self._client.query(CUSTOMERS_BY_IDENTIFIER, {"kind": kind or "", "value": value}).rows
        }
        if len(found) != 1:
            raise ConfigError(AMBIGUOUS if found else UNKNOWN_IDENTIFIER)
        return found.pop()

    def _canonical(self, customer: UUID) -> UUID:
        found = self._client.query(CANONICAL_CUSTOMER, {"customer": str(customer)}).rows
        canonical: UUID = found[0][0] if found else customer
        return canonical

    def _rows(self, sql: str, customer: str, **params: Any) -> list[tuple[Any, ...]]:
        at = int((self._at or LATEST).timestamp() * 1000)
        bound: Mapping[str, Any] = {"customer": customer, "at": at, **params}
        return self._client.query(sql, bound).rows


def _reading(row: tuple[Any, ...]) -> Reading:
    return Reading(*row)._replace(drivers=[Driver(*driver) for driver in row[-1]])
