"""Records for a review: the traits of each customer, read from the view of touchpoints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from schemas.errors import ConfigError
from sinks.clickhouse import ClickHouse
from streams.identity.forms import fold, read_date

MAX_RECORDS = 1_000_000
IDENTIFIER_TRAITS = ("email", "phone")
DATE = "birth_date"
TRAITS = (
    *("given_name", "surname", DATE, "national_id", "postcode", "city", "street", "street_2", "street_number"),
    *IDENTIFIER_TRAITS,
)
READ = """
SELECT customer_id, traits, identifier_kinds, identifier_values, argMax(event_id, occurred_at) AS newest
FROM touchline.touchpoints
WHERE verified AND NOT empty(traits)
GROUP BY customer_id, traits, identifier_kinds, identifier_values
ORDER BY customer_id, newest
LIMIT {limit:UInt64}
"""

SPLITS = """
SELECT DISTINCT one.customer_id, other.customer_id
FROM
(
    SELECT arrayJoin(arrayFlatten(arrayMap(left -> arrayMap(right -> (left, right), right_ids), left_ids))) AS pair
    FROM touchline.identity_decisions
    WHERE action = 'split' AND undone_by IS NULL
) AS splits
INNER JOIN touchline.identifiers AS one ON one.identifier_id = splits.pair.1
INNER JOIN touchline.identifiers AS other ON other.identifier_id = splits.pair.2
"""


class Record(NamedTuple):
    """Distinct traits of one customer. `event_id` is the newest touchpoint with them."""

    customer_id: UUID
    event_id: UUID
    traits: dict[str, str]


def read_records(client: ClickHouse) -> list[Record]:
    """Return the records of all customers. Raises ConfigError for more than a million."""
    records = []
    for customer, traits, kinds, values, event in client.stream(READ, {"limit": MAX_RECORDS + 1}):
        decoded = {_decode(name): _decode(value) for name, value in traits.items()}
        identifiers = zip(map(_decode, kinds), map(_decode, values), strict=True)
        records.append(Record(customer, event, choose_traits(decoded, identifiers)))
    if len(records) > MAX_RECORDS:
        raise ConfigError(f"more than {MAX_RECORDS:,} records with traits: a review compares at most so many")
    return records


def _decode(value: bytes) -> str:
    """Return a text of a stream, which has bytes."""
    return value.decode(errors="replace")


def read_splits(client: ClickHouse) -> set[frozenset[UUID]]:
    """Return the pairs of customers that a split keeps apart."""
    return {frozenset(row) for row in client.query(SPLITS).rows}


def choose_traits(traits: Mapping[str, str], identifiers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the traits that a review compares, as the source spells them, with the first e-mail address and phone number."""
    found = {kind: value for kind, value in reversed(list(identifiers)) if kind in IDENTIFIER_TRAITS}
    return {name: value for name, value in {**found, **traits}.items() if name in TRAITS and value}


def to_rows(records: Sequence[Record]) -> tuple[list[str], list[dict[str, str | int | None]]]:
    """Return the names of the traits that occur, and a row of normal values for each record. `unique_id` is its position."""
    normal = [{name: (read_date if name == DATE else fold)(value) for name, value in each.traits.items()} for each in records]
    names = [name for name in TRAITS if any(row.get(name) for row in normal)]
    return names, [
        {"unique_id": number, "customer_id": str(each.customer_id), **{name: row.get(name) or None for name in names}}
        for number, (each, row) in enumerate(zip(records, normal, strict=True))
    ]
