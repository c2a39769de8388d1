"""Queries and changes of `touchline_store` for an erasure.

The ClickHouse user needs the role `touchline_pii`, SELECT, INSERT and ALTER DELETE on `touchline_store.*` (on a cluster also on
`touchline_shard.*`), and SELECT on `system.mutations`. The user `admin` of a local stack has all of them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from deploy.erase.person import KnownIdentifier, Person
from deploy.erase.spellings import Finder
from deploy.erase.stores import DELETED, By, Erased, list_ids, make_conditions, names_any
from schemas.errors import FatalError
from schemas.records.fields import milliseconds
from schemas.wire.codec import Fields
from sinks.clickhouse import ClickHouse

MAX_NEEDLES = 200  # ClickHouse searches at most 255 texts in one call
POLL_SECONDS = 0.2
SEPARATOR_CLASS = r"[ \t().\-/]"
HIDDEN = """
SELECT identifier_id, customer_id FROM touchline_store.erasures FINAL
WHERE customer_id IN (SELECT customer_id FROM touchline_store.erasures WHERE identifier_id IN ({ids}))
"""
MEMBERS = """
SELECT identifier_id, kind, value, customer_id, is_shared FROM touchline_store.members
WHERE identifier_id IN ({ids}) AND value != ''
LIMIT 1 BY identifier_id
"""
TABLES = "SELECT name FROM system.tables WHERE database = 'touchline_store'"
EVENTS = "SELECT DISTINCT event_id FROM touchline_store.touchpoints_by_event WHERE {condition}"
BY_KEYS = """
resolution IN
(
    SELECT given.resolution FROM touchline_store.resolutions AS given
    LEFT ANY JOIN touchline_store.current_customers AS now ON now.resolution = given.resolution
    WHERE {condition} AND if(now.customer_id_then = given.customer_id, now.customer_id, given.customer_id) IN ({ids})
)
"""
FORMER = "SELECT DISTINCT customer_id FROM touchline_store.touchpoints_by_event WHERE customer_id IN ({ids})"
OTHERS = """
SELECT DISTINCT toUUID(UUIDNumToString(if(now.customer_id_then = given.customer_id, now.customer_id, given.customer_id))) AS owner
FROM touchline_store.resolutions AS given
LEFT ANY JOIN touchline_store.current_customers AS now ON now.resolution = given.resolution
WHERE {condition} AND UUIDToNum(owner) NOT IN ({ids})
ORDER BY owner
"""
CONFLICTS = """
SELECT
    conflict_id, reason, identifier_id, kind, value, other_id, other_kind, other_value, customer_id, other_customer, event_id,
    toUnixTimestamp64Milli(at) AS at
FROM touchline_store.conflicts FINAL
WHERE {condition}
"""
CONFLICT_FIELDS = (
    "conflict_id", "reason", "identifier_id", "kind", "value", "other_id", "other_kind", "other_value", "customer_id",
    "other_customer", "event_id", "at",
)  # fmt: skip
CONFLICT_TEXTS = ("reason", "kind", "value", "other_kind", "other_value")
DEAD_LETTERS = """
SELECT letter_id, ifNull(key, ''), payload FROM touchline_store.dead_letters WHERE {condition} SETTINGS max_block_size = 64
"""
UNFINISHED = """
SELECT count(), sum(parts_to_do), max(latest_fail_reason) FROM {mutations}
WHERE database = {{database:String}} AND table = {{table:String}} AND NOT is_done
"""
PROOF_COLUMNS = ("proof_id", "customer_id", "erased_at", "reason", "who", "identifiers", "digest", "deleted", "software")


class Proof(NamedTuple):
    """Facts of one erasure, without personal data; `deleted` maps a table to its number of deleted rows."""

    person: Person
    at: datetime
    reason: str
    who: str
    deleted: dict[str, int]


class ErasureStore:
    """Rows of a person in ClickHouse, over one connection. Raises RetryableError while ClickHouse is away."""

    def __init__(self, client: ClickHouse, cluster: str = "") -> None:
        self._client = client
        self._cluster = cluster
        self._tables = {name for (name,) in client.query(TABLES).rows}

    def find_hidden(self, ids: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return identifier ids and customers of earlier erasures that concern one of these ids."""
        return [tuple(row) for row in self._client.stream(HIDDEN.format(ids=list_ids(ids)))]

    def list_erased(self) -> list[bytes]:
        """Return the ids of all erased identifiers."""
        return [row[0] for row in self._client.stream("SELECT DISTINCT identifier_id FROM touchline_store.erasures")]

    def stored_values(self, ids: Sequence[bytes]) -> list[KnownIdentifier]:
        """Return the identifiers whose values are still stored, also in a row that a later one without a value replaces."""
        rows = self._client.stream(MEMBERS.format(ids=list_ids(ids)))
        return [
            KnownIdentifier(each, kind.decode(), value.decode(), owner, bool(is_shared))
            for each, kind, value, owner, is_shared in rows
        ]

    def events(self, person: Person, owners: Sequence[bytes]) -> list[bytes]:
        """Return the touchpoints that name one of `owners`, and those that only a compound key gives to one of `owners`."""
        if not owners:
            return []
        condition = names_any("identifier_ids", [each for each in owners if each in person.ids])
        if person.keys:
            named = names_any("given.identifier_ids", person.keys)
            condition += f" OR {BY_KEYS.format(condition=named, ids=list_ids(owners))}"
        return [row[0] for row in self._client.stream(EVENTS.format(condition=condition))]

    def former_customers(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return those of the ids under which touchpoints were stored: the customer now and its former ids."""
        return [row[0] for row in self._client.stream(FORMER.format(ids=list_ids(ids)))]

    def other_customers(self, ids: Sequence[bytes]) -> list[UUID]:
        """Return other customers that had touchpoints with one of these identifiers, also after their deletion."""
        sql = OTHERS.format(condition=names_any("given.identifier_ids", ids), ids=list_ids(ids))
        return [row[0] for row in self._client.query(sql).rows]

    def conflicts(self, ids: Sequence[bytes]) -> list[Fields]:
        """Return the conflicts that name one of these identifiers, as the fields of their records."""
        found = []
        for condition in make_conditions(By.CONFLICT, Erased(ids, (), ())):
            for row in self._client.stream(CONFLICTS.format(condition=condition)):
                fields = dict(zip(CONFLICT_FIELDS, row, strict=True))
                found.append({**fields, **{name: fields[name].decode() for name in CONFLICT_TEXTS}})
        return found

    def dead_letters(self, finder: Finder, ids: Sequence[bytes]) -> list[bytes]:
        """Return the dead letters that contain one of the identifiers or ids, in key or payload."""
        condition = " OR ".join(find_coarsely(column, finder, ids) for column in ("payload", "ifNull(key, '')"))
        rows = self._client.stream(DEAD_LETTERS.format(condition=condition))
        exact = (letter for letter, *contents in rows if any(finder.has_value(one) or finder.has_id(one) for one in contents))
        return sorted(set(exact))

    def count(self, erased: Erased) -> dict[str, int]:
        """Return the number of rows to delete by table, in the order of deletion."""
        found = {}
        for table, by in self._present():
            conditions = make_conditions(by, erased)
            found[table] = sum(
                self._client.query(f"SELECT count() FROM touchline_store.{table} WHERE {each}").rows[0][0]  # noqa: S608
                for each in conditions
            )
        return found

    def hide(self, person: Person, reason: str, who: str, at: datetime) -> None:
        """Insert one row per identifier: from now on, the views hide the person's customer."""
        ids = person.ids
        moment = milliseconds(at)
        columns = ("customer_id", "identifier_id", "erased_at", "reason", "who")
        rows: list[list[Any]] = [[person.customer_id] * len(ids), ids, *([each] * len(ids) for each in (moment, reason, who))]
        self._client.insert("touchline_store.erasures", columns, rows, uuid4().hex)

    def delete(self, erased: Erased, show: Callable[[str], None]) -> None:
        """Delete the rows of the person from all tables and wait until ClickHouse has rewritten their parts."""
        for table, by in self._present():
            for condition in make_conditions(by, erased):
                show(table)
                self._mutate(table, condition)

    def write_proof(self, proof: Proof, software: str) -> UUID:
        """Insert the proof row and return its id."""
        proof_id = uuid4()
        person = proof.person
        row: list[Any] = [
            proof_id.bytes, person.customer_id, milliseconds(proof.at), proof.reason, proof.who, len(person.ids), person.digest,
            proof.deleted, software,
        ]  # fmt: skip
        self._client.insert("touchline_store.erasure_proofs", PROOF_COLUMNS, [[value] for value in row], proof_id.hex)
        return proof_id

    def _present(self) -> Iterator[tuple[str, By]]:
        return ((table, by) for table, by in DELETED.items() if table in self._tables)

    def _mutate(self, table: str, condition: str) -> None:
        database, on_cluster = ("touchline_shard", f" ON CLUSTER {self._cluster}") if self._cluster else ("touchline_store", "")
        self._client.execute(f"ALTER TABLE {database}.{table}{on_cluster} DELETE WHERE {condition}")
        mutations = f"clusterAllReplicas({self._cluster}, system.mutations)" if self._cluster else "system.mutations"
        unfinished_sql = UNFINISHED.format(mutations=mutations)
        while True:
            params = {"database": database, "table": table}
            ((unfinished, parts, failure),) = self._client.query(unfinished_sql, params).rows
            if not unfinished:
                return
            if failure:
                raise FatalError(
                    f"ClickHouse cannot delete rows of {database}.{table} ({parts} parts left):"
                    f" see latest_fail_reason in system.mutations, then run the same erasure again"
                )
            time.sleep(POLL_SECONDS)


def find_coarsely(column: str, finder: Finder, ids: Sequence[bytes]) -> str:
    """Return a condition that no row with an identifier or id misses; `Finder` decides for each row that it matches."""
    parts = [f"multiSearchAnyCaseInsensitive({column}, [{needles}])" for needles in _list_needles(finder.texts)]
    digits = f"replaceRegexpAll({column}, '{SEPARATOR_CLASS.replace(chr(92), chr(92) * 2)}', '')"
    parts += [f"multiSearchAny({digits}, [{needles}])" for needles in _list_needles(finder.numbers)]
    parts += [f"multiSearchAny({column}, [{needles}])" for needles in _list_needles([each[:8] for each in ids])]
    return f"({' OR '.join(parts)})"


def _list_needles(texts: Sequence[bytes]) -> Iterator[str]:
    for start in range(0, len(texts), MAX_NEEDLES):
        yield ", ".join(f"unhex('{each.hex()}')" for each in texts[start : start + MAX_NEEDLES])
