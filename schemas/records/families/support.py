"""Support desk: tickets, calls and chats."""

from typing import Literal

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Support(Touchpoint):
    """Usual types: ticket.opened, ticket.replied, ticket.transferred, ticket.reopened, ticket.resolved, call.answered.

    `wait_seconds` is the time that the customer waited for this step.
    """

    source: Literal["support"] = "support"
    ticket_id: Word | None = None
    order_id: Word | None = None
    product: Word | None = None
    priority: Word | None = None
    wait_seconds: float | None = None
