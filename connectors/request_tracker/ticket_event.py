"""Build one event from a transaction, its ticket, its customer and its texts. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

MAX_TEXT_LENGTH = 65_536
Item = dict[str, Any]


def build_event(transaction: Item, ticket: Item | None, attachments: Sequence[Item], before: Iterable[Item]) -> Item:
    """Return the transaction with `ticket`, `customer`, `by_customer`, `waited`, and `text` or `html` (first part of each type).

    Texts are truncated to 65,536 characters. `before` holds the ticket's messages, newest first.
    """
    texts = {part["ContentType"]: part["Content"][:MAX_TEXT_LENGTH] for part in reversed(attachments) if not part["Filename"]}
    customer, by_customer = _find_customer(transaction, ticket or {})
    return {
        **transaction,
        "ticket": ticket,
        "customer": customer,
        "by_customer": by_customer,
        "waited": None if by_customer else _measure_wait(transaction, ticket or {}, before),
        "text": texts.get("text/plain"),
        "html": texts.get("text/html"),
    }


def _find_customer(transaction: Item, ticket: Item) -> tuple[Item | None, bool]:
    """Return the requestor who made the transaction, or the first requestor, and whether a requestor made it."""
    requestors = ticket.get("Requestor") or []
    creator = (transaction.get("Creator") or {}).get("id")
    for one in requestors:
        if one["id"] == creator:
            return one, True
    return (requestors[0] if requestors else None), False


def _measure_wait(transaction: Item, ticket: Item, before: Iterable[Item]) -> float | None:
    """Return the seconds from the customer's first unanswered message to this answer; None if that message is not available."""
    if transaction.get("Type") != "Correspond":
        return None
    since = None
    for one in before:
        if int(one["id"]) >= int(transaction["id"]):
            continue
        if one["Type"] == "Create":
            return _measure_seconds(one, transaction)
        if not _find_customer(one, ticket)[1]:
            return _measure_seconds(since, transaction) if since else None
        since = one
    return None


def _measure_seconds(first: Item, last: Item) -> float:
    return (datetime.fromisoformat(last["Created"]) - datetime.fromisoformat(first["Created"])).total_seconds()


def group_by(items: Iterable[Item], name: str) -> Mapping[str, list[Item]]:
    """Return the items by the text of one field."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(str(item[name]), []).append(item)
    return groups
