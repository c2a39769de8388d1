"""Identity maps for tests: customers with identifiers, evidence, decisions and conflicts."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

from deploy.identity.records import Change, Identifier, Identity, Made, Pair, Unlinked
from schemas.records.fields import instant

AT = instant(1_790_000_000_000)


def make_identifier(kind: str, value: str, customer: UUID, at: datetime = AT, **fields: Any) -> Identifier:
    return Identifier(uuid4(), kind, value, customer, False, "exact-identifier", uuid4(), at)._replace(**fields)


def make_identity(*names: str, customer: UUID | None = None, decisions: Sequence[Made] = ()) -> Identity:
    """Return a customer with these identifiers (`kind:value`), and evidence between the neighbours."""
    customer = customer or uuid4()
    identifiers = [make_identifier(kind, value, customer) for kind, _, value in (name.partition(":") for name in names)]
    rest = ("exact-identifier", 1.0, True, 3, AT, uuid4(), AT, uuid4())
    pairs = [Pair(one.identifier_id, one.text, other.identifier_id, other.text, *rest) for one, other in pairwise(identifiers)]
    return Identity(customer, identifiers, pairs, [], list(decisions), [])


def make_decision_row(action: str, left: Sequence[UUID] = (), right: Sequence[UUID] = (), **fields: Any) -> Made:
    row = Made(uuid4(), AT, action, "ann", "one address of two people", 1.0, list(left), list(right), None, None)
    return row._replace(**fields)


def make_change(change: str, from_customer: UUID, to_customer: UUID) -> Change:
    return Change(AT, change, from_customer, to_customer, to_customer, "exact-identifier", uuid4())


def make_conflict(identity: Identity, other: str, reason: str = "shared_value") -> Unlinked:
    return Unlinked(AT, reason, identity.identifiers[0].text, other, identity.customer_id, uuid4(), uuid4())
