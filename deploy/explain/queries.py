"""A customer as ClickHouse has it: the views of `touchline`, and the identity tables, which hold identifiers in clear."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deploy.explain.customer import Asked, Driver, Edge, Identity, Journey, Merge, Reading, Story, Touch
from schemas.errors import ConfigError
from sinks.clickhouse import ClickHouse

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
UNKNOWN = "no customer of this id has an identifier yet: is the id whole, and --at late enough?"
HAS = """
SELECT DISTINCT toUUID(UUIDNumToString(customer_id)) FROM touchline_store.identities FINAL
WHERE ({kind:String} = '' OR kind = {kind:String}) AND (value = {value:String} OR endsWith(value, concat('/', {value:String})))
    AND customer_id NOT IN (SELECT customer_id FROM touchline_store.erasures)
"""
ERASED = "SELECT count() FROM touchline_store.erasures WHERE customer_id = UUIDStringToNum({customer:String})"
NOW = """
SELECT toUUID(UUIDNumToString(to_customer)) FROM touchline_store.merges FINAL
WHERE from_customer = UUIDStringToNum({customer:String})
"""
MERGES = """
SELECT toUUID(UUIDNumToString(from_customer)), toUUID(UUIDNumToString(to_customer)), rule, toUUID(UUIDNumToString(event_id)), at
FROM touchline_store.merges FINAL
WHERE to_customer = UUIDStringToNum({customer:String}) AND at <= fromUnixTimestamp64Milli({at:Int64})
    AND from_customer NOT IN (SELECT customer_id FROM touchline_store.erasures)
ORDER BY at, from_customer
"""
EDGES = """
SELECT kind, value, toUUID(UUIDNumToString(customer_id)), rule, toUUID(UUIDNumToString(event_id)), at
FROM touchline_store.identities FINAL
WHERE at <= fromUnixTimestamp64Milli({at:Int64}) AND (
    customer_id = UUIDStringToNum({customer:String})
    OR customer_id IN (SELECT from_customer FROM touchline_store.merges WHERE to_customer = UUIDStringToNum({customer:String}))
) AND customer_id NOT IN (SELECT customer_id FROM touchline_store.erasures)
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
    toBool(last_at > fromUnixTimestamp64Milli({at:Int64})) AS went_on
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


class Reader:
    """Reads customers over one connection. Raises RetryableError while ClickHouse is away."""

    def __init__(self, client: ClickHouse, at: datetime | None) -> None:
        self._client = client
        self._at = at

    def story(self, who: Asked, limit: int) -> Story:
        """The customer's story, with the newest `limit` touchpoints. Raises ConfigError where nobody is known by that."""
        identity = self.identity(who)
        customer = str(identity.customer_id)
        ((touchpoints,),) = self._rows(COUNT, customer)
        timeline = [Touch(*row) for row in self._rows(TIMELINE, customer, limit=limit)]
        return Story(
            identity,
            self._at,
            touchpoints,
            timeline[::-1],
            [Journey(*row) for row in self._rows(JOURNEYS, customer)],
            [_reading(row) for row in self._rows(READINGS, customer)],
        )

    def identity(self, who: Asked) -> Identity:
        """Who that is as known now, with the edges and merges. Raises ConfigError where that is nobody, or more than one.

        Somebody erased is nobody, as in the views.
        """
        customer = self._standing(who.customer_id) if who.customer_id else self._has(who)
        if self._erased(customer):
            raise ConfigError(UNKNOWN)
        merges = [Merge(*row) for row in self._rows(MERGES, str(customer))]
        edges = [Edge(*row) for row in self._rows(EDGES, str(customer))]
        if who.customer_id and not edges and not merges:
            raise ConfigError(UNKNOWN)
        return Identity(customer, edges, merges)

    def _has(self, who: Asked) -> UUID:
        found = self._client.query(HAS, {"kind": who.kind or "", "value": who.value}).rows
        customers = {standing for (customer,) in found if not self._erased(standing := self._standing(customer))}
        if len(customers) != 1:
            several = "more than one customer has this identifier in some system: say kind:system/value"
            raise ConfigError(
                several if customers else "no customer has this identifier: try kind:value, as in email:ann@example.com"
            )
        return customers.pop()

    def _erased(self, customer: UUID) -> bool:
        return bool(self._client.query(ERASED, {"customer": str(customer)}).rows[0][0])

    def _standing(self, customer: UUID) -> UUID:
        found = self._client.query(NOW, {"customer": str(customer)}).rows
        standing: UUID = found[0][0] if found else customer
        return standing

    def _rows(self, sql: str, customer: str, **params: Any) -> list[tuple[Any, ...]]:
        at = int((self._at or LATEST).timestamp() * 1000)
        bound: Mapping[str, Any] = {"customer": customer, "at": at, **params}
        return self._client.query(sql, bound).rows


def _reading(row: tuple[Any, ...]) -> Reading:
    return Reading(*row)._replace(drivers=[Driver(*driver) for driver in row[-1]])
