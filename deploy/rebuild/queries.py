"""Queries of a rebuild: the customers of a scope, and their touchpoints in event-time order.

The view `touchline.touchpoints` decides the customer of a touchpoint and hides erased people. The table holds the bytes of the
source's record. ClickHouse sorts one range of customers at a time, on disk if necessary, and sends it in small blocks.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from deploy.rebuild.scope import Bucket, Kind, Large, Range, Scope, Work
from schemas.errors import ConfigError
from sinks.clickhouse import ClickHouse

# The customer id as bytes, and its first two bytes as a number.
CUSTOMER = "UUIDToNum(customer_id)"
BUCKET = f"reinterpretAsUInt16(reverse(substring({CUSTOMER}, 1, 2)))"
DEFINED = "({name} = {{value:String}} OR startsWith({name}, concat({{value:String}}, '-')))"
DEFINITION_COLUMNS = {
    "journeys": "definition",
    "satisfaction": "definition_version",
    "churn": "model_version",
    "signals": "definition_version",
}
OF_DEFINITION = "\nUNION ALL\n".join(
    f"SELECT customer_id FROM touchline.{view} WHERE {DEFINED.format(name=column)}"  # noqa: S608
    for view, column in DEFINITION_COLUMNS.items()
)
INCOMPLETE = "SELECT toUUID(UUIDNumToString(customer_id)) FROM touchline_store.revisions FINAL WHERE NOT is_complete"
STORED_SINCE = "SELECT customer_id FROM touchline.touchpoints WHERE stored_at >= fromUnixTimestamp64Milli({since:Int64})"
LARGE = "SELECT customer_id FROM touchline.touchpoints GROUP BY customer_id HAVING count() >= {large:UInt64}"
CONDITIONS = {
    Kind.ALL: "1",
    Kind.CUSTOMER: "1",
    Kind.DEFINITION: f"customer_id IN ({OF_DEFINITION})",
    Kind.INCOMPLETE: f"customer_id IN ({INCOMPLETE})",
}
SOURCES = {Kind.CUSTOMER: "touchline.touchpoints_of(customer_id = {value:UUID})"}
BUCKETS = """
SELECT {bucket} AS bucket, uniqExact(customer_id), count() FROM ({selected}) GROUP BY bucket ORDER BY bucket
"""
LARGE_CUSTOMERS = """
SELECT {customer} AS customer, count() AS touchpoints FROM ({selected})
GROUP BY customer HAVING touchpoints >= {{large:UInt64}} ORDER BY customer
"""
ANY = "1"
WITHIN = f"{BUCKET} BETWEEN {{first:UInt16}} AND {{last:UInt16}}"
ROWS = """
SELECT selected.customer AS customer, stored.identifier_ids, stored.record
FROM
(
    SELECT event_id, occurred_at, identifier_ids, record FROM touchline_store.touchpoints_by_event FINAL
    WHERE event_id IN (SELECT UUIDToNum(event_id) FROM ({selected}) WHERE {within})
) AS stored
INNER JOIN (SELECT UUIDToNum(event_id) AS event_id, {customer} AS customer FROM ({selected}) WHERE {within}) AS selected
    ON selected.event_id = stored.event_id
ORDER BY customer, stored.occurred_at, stored.event_id
SETTINGS max_block_size = 8192, max_bytes_before_external_sort = 268435456, max_execution_time = 0
"""


class StoredTouchpoint(NamedTuple):
    """One touchpoint of a customer: ids of its identifiers by rank, and the bytes of the source's record."""

    customer_id: bytes
    identifiers: list[bytes]
    record: bytes


class HistoryReader:
    """Reader of the histories of a scope over one connection. A customer with `large` touchpoints or more is large,
    and so is the customer of a scope of one.

    Customers up to `after`, and large ones up to `after_large` (hexadecimal ids), are left out. Raises RetryableError while
    ClickHouse is away.
    """

    def __init__(self, client: ClickHouse, scope: Scope, large: int, *, after: str = "", after_large: str = "") -> None:
        self._client = client
        self._scope = scope
        self._after, self._after_large = after, after_large
        self._params: Mapping[str, Any] = {
            "value": scope.value,
            "since": int(scope.since.timestamp() * 1000) if scope.since else 0,
            "large": 1 if scope.kind is Kind.CUSTOMER else large,
        }

    def work(self) -> Work:
        """Return the customers to read: large ones by id, and all others by the first two bytes of their ids."""
        sql = LARGE_CUSTOMERS.format(customer=CUSTOMER, selected=select_touchpoints(self._scope, self._after_large))
        large = [Large(*row) for row in self._client.stream(sql, self._used(sql))]
        if self._scope.kind is Kind.CUSTOMER:
            return Work(large, [])
        sql = BUCKETS.format(bucket=BUCKET, selected=self._select_small())
        return Work(large, [Bucket(*row) for row in self._client.query(sql, self._used(sql)).rows])

    def touchpoints(self, within: Range) -> Iterator[StoredTouchpoint]:
        """Yield the touchpoints of the small customers of a range by id, and in event-time order within a customer."""
        sql = ROWS.format(within=WITHIN, customer=CUSTOMER, selected=self._select_small())
        return self._read(sql, {**self._used(sql), **within._asdict()})

    def touchpoints_of(self, customer_id: bytes) -> Iterator[StoredTouchpoint]:
        """Yield the touchpoints of one customer in event-time order."""
        customer = Scope(kind=Kind.CUSTOMER, value=str(UUID(bytes=customer_id)))
        sql = ROWS.format(within=ANY, customer=CUSTOMER, selected=select_touchpoints(customer))
        return self._read(sql, {"value": customer.value})

    def _read(self, sql: str, params: Mapping[str, Any]) -> Iterator[StoredTouchpoint]:
        return (StoredTouchpoint(*row) for row in self._client.stream(sql, params))

    def _select_small(self) -> str:
        return f"{select_touchpoints(self._scope, self._after)} AND customer_id NOT IN ({LARGE})"

    def _used(self, sql: str) -> dict[str, Any]:
        """Return the parameters that a query names: the server refuses others."""
        return {name: value for name, value in self._params.items() if f"{{{name}:" in sql}


def select_touchpoints(scope: Scope, after: str = "") -> str:
    """Return the query of event ids and customers of a scope, of customers with an id greater than `after` (hexadecimal)."""
    conditions = [CONDITIONS[scope.kind]]
    if scope.since:
        conditions.append(f"customer_id IN ({STORED_SINCE})")
    if scope.is_incomplete:
        conditions.append(CONDITIONS[Kind.INCOMPLETE])
    if after:
        conditions.append(f"{CUSTOMER} > unhex('{bytes.fromhex(after).hex()}')")
    source = SOURCES.get(scope.kind, "touchline.touchpoints")
    return f"SELECT event_id, customer_id FROM {source} WHERE {' AND '.join(conditions)}"  # noqa: S608


def require_definition(client: ClickHouse, name: str) -> None:
    """Raise ConfigError, with the known names, for a definition that no row has."""
    names = " UNION DISTINCT ".join(
        f"SELECT DISTINCT toString({column}) AS name FROM touchline.{view}"  # noqa: S608
        for view, column in DEFINITION_COLUMNS.items()
    )
    known = sorted(row[0] for row in client.query(names).rows)
    if not any(each == name or each.startswith(f"{name}-") for each in known):
        listed = ", ".join(known) or "none"
        raise ConfigError(f"no journey or reading has the definition {name!r}; known: {listed}. Use --all for a new definition")
