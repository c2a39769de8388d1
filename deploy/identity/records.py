"""Records of the identity map as plain values: identifiers, evidence, changes, decisions and conflicts. Pure."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class Identifier(NamedTuple):
    """An identifier and the customer that owns it now. A shared one is used by too many people, and links nothing.

    `event_id` is the touchpoint or the decision that gave it to this customer. `value` is masked for most readers.
    """

    identifier_id: UUID
    kind: str
    value: str
    customer_id: UUID
    is_shared: bool
    rule: str
    event_id: UUID
    at: datetime

    @property
    def text(self) -> str:
        """The identifier as a person types it."""
        return f"{self.kind}:{self.value}"


class Pair(NamedTuple):
    """Two identifiers that touchpoints of a customer named together, as ids and as texts.

    `confidence` is between 0 and 1. Without `is_verified`, no authenticated source named both.
    """

    identifier_id: UUID
    identifier: str
    other_id: UUID
    other: str
    rule: str
    confidence: float
    is_verified: bool
    touchpoints: int
    first_at: datetime
    first_event_id: UUID
    last_at: datetime
    last_event_id: UUID


class Change(NamedTuple):
    """A merge or split of customers, by a touchpoint or a decision. `customer_id` is the owner of `from_customer` now."""

    at: datetime
    change: str
    from_customer: UUID
    to_customer: UUID
    customer_id: UUID
    rule: str
    event_id: UUID


class Made(NamedTuple):
    """A decision of a person: `action` is split, join, undo, erase or review. `undone_by` is the decision that took it back."""

    decision_id: UUID
    at: datetime
    action: str
    who: str
    reason: str
    confidence: float
    left: list[UUID]
    right: list[UUID]
    undoes: UUID | None
    undone_by: UUID | None


class Unlinked(NamedTuple):
    """Two identifiers that a touchpoint named together and that were not linked, with the reason."""

    at: datetime
    reason: str
    identifier: str
    other: str
    customer_id: UUID
    other_customer: UUID
    event_id: UUID


class Identity(NamedTuple):
    """Everything that the identity map holds of one customer, oldest first."""

    customer_id: UUID
    identifiers: list[Identifier]
    evidence: list[Pair]
    changes: list[Change]
    decisions: list[Made]
    conflicts: list[Unlinked]


def to_json(value: Any) -> Any:
    """Return the same value in JSON types: named tuples as objects, ids and times as text."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_json(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): to_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
