"""Queries on the identity map. The views of `touchline` follow decisions and merges, and hide erased people.

Ids of identifiers come from the views, so that a command needs no secret of the installation.
"""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deploy.identity.lookup import Candidate, Lookup, parse_lookup
from deploy.identity.records import Change, Identifier, Identity, Made, Pair, Unlinked
from schemas.errors import ConfigError, RetryableError
from sinks.clickhouse import ClickHouse

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
STORED_SECONDS, POLL_SECONDS = 30.0, 0.5
UNKNOWN_ID = "no customer with an identifier has this id: check that the id is complete"
UNKNOWN_IDENTIFIER = "no customer has this identifier: check its spelling, or give kind:value such as email:ann@example.com"
MASKED = "identifiers are masked for the ClickHouse user: grant it the role touchline_pii, or give a customer id"
AMBIGUOUS = "more than one customer has this identifier: give kind:system/value"
SEVERAL_CUSTOMERS = "the identifiers belong to more than one customer: split one customer at a time"
DECISION_HINT = "`touchline identity show` prints the decisions of a customer"
CAN_SEARCH = "SELECT has(enabledRoles(), 'touchline_pii')"
BY_VALUE = """
SELECT identifier_id, kind, value, customer_id, is_shared, rule, event_id, at FROM touchline.identifiers
WHERE
    ({kind:String} = '' OR kind = {kind:String})
    AND (value = {value:String} OR endsWith(value, concat('/', {value:String})))
"""
BY_IDS = """
SELECT identifier_id, kind, value, customer_id, is_shared, rule, event_id, at FROM touchline.identifiers
WHERE identifier_id IN {ids:Array(UUID)}
ORDER BY at, kind, value
"""
OF_CUSTOMER = """
SELECT identifier_id, kind, value, customer_id, is_shared, rule, event_id, at
FROM touchline.identifiers_of(customer_id = {customer:UUID})
WHERE at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, kind, value
"""
PAIRS = """
SELECT
    identifier_id, kind, other_id, other_kind, rule, confidence, toBool(is_verified), touchpoints,
    first_at, first_event_id, last_at, last_event_id
FROM touchline.identity_evidence_of(customer_id = {customer:UUID})
WHERE first_at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY first_at, identifier_id, other_id
"""
CHANGES = """
SELECT at, change, from_customer, to_customer, customer_id, rule, event_id FROM touchline.identity_changes
WHERE
    (customer_id = {customer:UUID} OR from_customer = {customer:UUID} OR to_customer = {customer:UUID})
    AND from_customer != to_customer AND at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, from_customer, to_customer
"""
DECISIONS = """
SELECT decision_id, at, action, who, reason, confidence, left_ids, right_ids, undoes, undone_by FROM touchline.identity_decisions
WHERE hasAny(arrayConcat(left_ids, right_ids), {ids:Array(UUID)}) AND at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, decision_id
"""
DECISION_BY_PREFIX = """
SELECT decision_id, at, action, who, reason, confidence, left_ids, right_ids, undoes, undone_by FROM touchline.identity_decisions
WHERE startsWith(toString(decision_id), {prefix:String})
LIMIT 2
"""
CONFLICTS_OF = """
SELECT at, reason, concat(kind, ':', value), concat(other_kind, ':', other_value), customer_id, other_customer, event_id
FROM touchline.identity_conflicts
WHERE
    (customer_id = {customer:UUID} OR other_customer = {customer:UUID})
    AND at <= fromUnixTimestamp64Milli({at:Int64})
ORDER BY at, event_id
"""
NEWEST_CONFLICTS = """
SELECT at, reason, concat(kind, ':', value), concat(other_kind, ':', other_value), customer_id, other_customer, event_id
FROM touchline.identity_conflicts
ORDER BY at DESC, event_id
LIMIT {limit:UInt32}
"""
COUNT_CONFLICTS = "SELECT count() FROM touchline.identity_conflicts"
CANONICAL = """
SELECT customer_id FROM touchline.identity_changes
WHERE from_customer = {customer:UUID}
ORDER BY at DESC
LIMIT 1
"""
COUNT_TOUCHPOINTS = """
SELECT countIf(has({leaving:Array(UUID)}, first)), count() FROM
(
    SELECT arrayFirst(each -> has({owned:Array(UUID)}, each), identifier_ids) AS first
    FROM touchline.touchpoints_of(customer_id = {customer:UUID})
)
"""
IS_COMPLETE = "SELECT is_complete FROM touchline.revisions WHERE customer_id = {customer:UUID}"


class IdentityReader:
    """Reader of the identity map over one connection, as of `at` (None: now). Raises RetryableError while ClickHouse is away."""

    def __init__(self, client: ClickHouse, at: datetime | None = None) -> None:
        self._client = client
        self._at = at

    def identity(self, lookup: Lookup) -> Identity:
        """Return the customer with its part of the identity map. Raises ConfigError for no customer and for more than one.

        The views hide an erased person, who counts as no customer.
        """
        if lookup.id is not None:
            identity = self._identity(self._canonical(lookup.id))
            if not identity.identifiers and not identity.changes:
                raise ConfigError(UNKNOWN_ID)
            return identity
        customers = {each.customer_id for each in self._search(lookup.candidates)}
        if len(customers) > 1:
            raise ConfigError(AMBIGUOUS)
        return self._identity(customers.pop())

    def node(self, text: str) -> tuple[UUID, Identity]:
        """Return the id of an identifier or of a customer, with the customer. Raises ConfigError as `identity` does."""
        lookup = parse_lookup(text)
        if lookup.id is None or self.identifiers([lookup.id]):
            found = self._find(lookup)
            return found.identifier_id, self._identity(found.customer_id)
        identity = self.identity(lookup)
        return identity.customer_id, identity

    def identity_of_all(self, texts: Sequence[str]) -> tuple[list[UUID], Identity]:
        """Return the ids of several identifiers of one customer, with the customer.

        Raises ConfigError for an unknown or ambiguous identifier, and for identifiers of more than one customer.
        """
        found = [self._find(parse_lookup(text)) for text in texts]
        if len({each.customer_id for each in found}) != 1:
            raise ConfigError(SEVERAL_CUSTOMERS)
        return [each.identifier_id for each in found], self._identity(found[0].customer_id)

    def identifiers(self, ids: Sequence[UUID]) -> list[Identifier]:
        """Return the identifiers with these ids; unknown and erased ones are left out."""
        return [_identifier(row) for row in self._client.query(BY_IDS, {"ids": _ids(ids)}).rows] if ids else []

    def decision(self, prefix: str) -> Made:
        """Return the decision whose id begins with `prefix`. Raises ConfigError unless exactly one does."""
        if not re.fullmatch("[0-9a-f-]{1,36}", prefix.lower()):
            raise ConfigError(f"{prefix!r} is no id of a decision: {DECISION_HINT}")
        found = [Made(*row) for row in self._client.query(DECISION_BY_PREFIX, {"prefix": prefix.lower()}).rows]
        if len(found) != 1:
            count = "more than one decision has" if found else "no decision has"
            raise ConfigError(f"{count} an id that starts with {prefix}: {DECISION_HINT}")
        return found[0]

    def conflicts(self, limit: int) -> tuple[list[Unlinked], int]:
        """Return the newest conflicts, the newest first, and the number of all conflicts."""
        ((total,),) = self._client.query(COUNT_CONFLICTS).rows
        return [Unlinked(*row) for row in self._client.query(NEWEST_CONFLICTS, {"limit": limit}).rows], total

    def count_touchpoints(self, identity: Identity, leaving: Sequence[UUID]) -> tuple[int, int]:
        """Return the touchpoints of a customer that leave with some identifiers, and those that stay.

        A touchpoint follows its strongest identifier of this customer: shared ones belong to no customer.
        """
        owned = [each.identifier_id for each in identity.identifiers]
        params = {"customer": str(identity.customer_id), "leaving": _ids(leaving), "owned": _ids(owned)}
        ((leave, total),) = self._client.query(COUNT_TOUCHPOINTS, params).rows
        return leave, total - leave

    def wait_until_stored(self, owners: Mapping[UUID, UUID]) -> None:
        """Wait until the views show these owners by identifier id. Raises RetryableError after half a minute."""
        deadline = time.monotonic() + STORED_SECONDS
        while any(owners[each.identifier_id] != each.customer_id for each in self.identifiers(list(owners))):
            if time.monotonic() > deadline:
                raise RetryableError(
                    "ClickHouse does not show the decision yet: run `touchline sink`, then rebuild the customers"
                )
            time.sleep(POLL_SECONDS)

    def is_complete(self, customer: UUID) -> bool:
        """Return whether journeys and signals of a customer include all of its touchpoints."""
        return all(row[0] for row in self._client.query(IS_COMPLETE, {"customer": str(customer)}).rows)

    def _identity(self, customer: UUID) -> Identity:
        identifiers = [_identifier(row) for row in self._rows(OF_CUSTOMER, customer)]
        changes = [Change(*row) for row in self._rows(CHANGES, customer)]
        ids = _ids([each.identifier_id for each in identifiers])
        return Identity(
            customer,
            identifiers,
            self._pairs(customer, identifiers),
            changes,
            [Made(*row) for row in self._rows(DECISIONS, customer, ids=ids)],
            [Unlinked(*row) for row in self._rows(CONFLICTS_OF, customer)],
        )

    def _pairs(self, customer: UUID, known: Sequence[Identifier]) -> list[Pair]:
        """Return the evidence of a customer. Its pairs also name identifiers of no or another customer, such as shared ones."""
        rows = self._rows(PAIRS, customer)
        texts = {each.identifier_id: each.text for each in known}
        foreign = {each for row in rows for each in (row[0], row[2])} - set(texts)
        texts |= {each.identifier_id: each.text for each in self.identifiers(sorted(foreign))}
        return [
            Pair(one, texts.get(one, f"{kind}:?"), other, texts.get(other, f"{other_kind}:?"), *rest)
            for one, kind, other, other_kind, *rest in rows
        ]

    def _find(self, lookup: Lookup) -> Identifier:
        found = self._search(lookup.candidates) if lookup.id is None else self.identifiers([lookup.id])
        if len(found) != 1:
            raise ConfigError(AMBIGUOUS if found else UNKNOWN_ID)
        return found[0]

    def _search(self, candidates: Sequence[Candidate]) -> list[Identifier]:
        """Return the identifiers that a text may mean, at least one. Raises ConfigError for none."""
        ((can_search,),) = self._client.query(CAN_SEARCH).rows
        if not can_search:
            raise ConfigError(MASKED)
        found = {
            each.identifier_id: each
            for kind, value in candidates
            for each in map(_identifier, self._client.query(BY_VALUE, {"kind": kind or "", "value": value}).rows)
        }
        if not found:
            raise ConfigError(UNKNOWN_IDENTIFIER)
        return list(found.values())

    def _canonical(self, customer: UUID) -> UUID:
        found = self._client.query(CANONICAL, {"customer": str(customer)}).rows
        canonical: UUID = found[0][0] if found else customer
        return canonical

    def _rows(self, sql: str, customer: UUID, **params: Any) -> list[tuple[Any, ...]]:
        at = int((self._at or LATEST).timestamp() * 1000)
        bound: Mapping[str, Any] = {"customer": str(customer), "at": at, **params}
        return self._client.query(sql, {name: value for name, value in bound.items() if f"{{{name}:" in sql}).rows


def _ids(ids: Sequence[UUID]) -> list[str]:
    return [str(each) for each in ids]


def _identifier(row: tuple[Any, ...]) -> Identifier:
    found = Identifier(*row)
    return found._replace(is_shared=bool(found.is_shared))
