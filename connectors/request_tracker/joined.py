"""What Request Tracker keeps apart, joined to one item: a transaction, its ticket, its customer and what was said. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

LONGEST_TEXT = 65_536
Item = dict[str, Any]


def joined(transaction: Item, ticket: Item | None, attachments: Sequence[Item], before: Iterable[Item]) -> Item:
    """The transaction with `ticket`, `customer`, `by_customer`, `waited`, and `text` or `html`, cut at 65,536 characters.

    Of several texts of a kind it is the first one. `before` holds the ticket's messages, the newest first.
    """
    said = {part["ContentType"]: part["Content"][:LONGEST_TEXT] for part in reversed(attachments) if not part["Filename"]}
    customer, by_customer = _customer(transaction, ticket or {})
    return {
        **transaction,
        "ticket": ticket,
        "customer": customer,
        "by_customer": by_customer,
        "waited": None if by_customer else _waited(transaction, ticket or {}, before),
        "text": said.get("text/plain"),
        "html": said.get("text/html"),
    }


def _customer(transaction: Item, ticket: Item) -> tuple[Item | None, bool]:
    """The requestor who did it, else the first one; and whether the requestor did it. Two requestors are not one person."""
    requestors = ticket.get("Requestor") or []
    creator = (transaction.get("Creator") or {}).get("id")
    for one in requestors:
        if one["id"] == creator:
            return one, True
    return (requestors[0] if requestors else None), False


def _waited(transaction: Item, ticket: Item, before: Iterable[Item]) -> float | None:
    """Seconds from the customer's first word that nobody had answered to this answer; None where that word is not at hand."""
    if transaction.get("Type") != "Correspond":
        return None
    since = None
    for one in before:
        if int(one["id"]) >= int(transaction["id"]):
            continue
        if one["Type"] == "Create":
            return _seconds(one, transaction)
        if not _customer(one, ticket)[1]:
            return _seconds(since, transaction) if since else None
        since = one
    return None


def _seconds(first: Item, last: Item) -> float:
    return (datetime.fromisoformat(last["Created"]) - datetime.fromisoformat(first["Created"])).total_seconds()


def by(items: Iterable[Item], name: str) -> Mapping[str, list[Item]]:
    """The items by the text of one of their fields."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(str(item[name]), []).append(item)
    return found
