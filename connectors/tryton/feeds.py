"""Requests for each stream: model, time to read by, domain, and fields, also of related records.

Tryton's log has a row with a time for each transition of a workflow, each use of a button, and each delete. Tryton 8.2 logs no
transition if a model's own code sets the state. So the receipt of a return is read from its button, and invoices, opportunities
and moves are read as records. Creates are not logged either, so new parties are read as records, and new e-mails and phones by
their own last change. The ids of all parties, including archived ones, are listed to find deletes that are not in the log.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

LOG_MODEL = "ir.model.log"
GONE_PARTIES = "parties.gone"
CHANGED_PARTIES = "parties.changed"
WITH_ARCHIVED = ["active", "in", [True, False]]
PARTY_FIELDS = ("code", "email", "phone")
DAY = timedelta(days=1)
Row = dict[str, Any]


class Feed(NamedTuple):
    """One stream: `model` is read, `about` is the model of the described records, `modules` must be activated for both.

    `added` has the functions that compute additional fields of a row.
    """

    modules: tuple[str, ...]
    about: str
    model: str
    time: str
    domain: list[Any]
    fields: tuple[str, ...]
    added: Mapping[str, Callable[[Row], object]] = {}


def create_transition_feed(
    module: str, about: str, targets: tuple[str, ...], fields: tuple[str, ...], **added: Callable[[Row], object]
) -> Feed:
    """Return the feed of log rows for transitions into a state (`state:done`) or for uses of a button (`receive`).

    `fields` are those of the record at the time of reading.
    """
    events = ["event", "in", ["transition", "button"]]
    domain = [events, ["resource", "like", f"{about},%"], ["target", "in", list(targets)]]
    columns = ("create_date", "event", "target", *(f"resource.{name}" for name in fields))
    return Feed((module,), about, LOG_MODEL, "create_date", domain, columns, added)


def create_delete_feed(about: str) -> Feed:
    """Return the feed of log rows for deletes."""
    domain = [["event", "=", "delete"], ["resource", "like", f"{about},%"]]
    return Feed(("party",), about, LOG_MODEL, "create_date", domain, ("create_date", "event"))


def list_party_fields(name: str) -> tuple[str, ...]:
    """Return the fields that identify a customer, reached through the field `name`."""
    return tuple(f"{name}.{field}" for field in PARTY_FIELDS)


def compute_delay(row: Row) -> int | None:
    """Return the days between the first planned date of a shipment and its effective date."""
    shipment = row["resource"] or {}
    planned, effective = shipment.get("origin_planned_date"), shipment.get("effective_date")
    return (date.fromisoformat(effective) - date.fromisoformat(planned)).days if planned and effective else None


def compute_move_time(row: Row) -> str:
    """Return the time of a move: its last change, or noon of its effective date if that day was already over in all time zones.

    A cancelled move has the time of its last change.
    """
    written = datetime.fromisoformat(row["write_date"])
    noon = datetime.combine(date.fromisoformat(row["effective_date"]), time(12), UTC)
    return (noon if row["state"] == "done" and written - noon > DAY else written).isoformat()


FEEDS = {
    "sales": create_transition_feed(
        "sale",
        "sale.sale",
        ("state:quotation", "state:confirmed", "state:done", "state:cancelled"),
        ("number", "reference", "total_amount", "currency.code", *list_party_fields("party")),
    ),
    "shipments": create_transition_feed(
        "stock",
        "stock.shipment.out",
        ("state:shipped", "state:done", "state:cancelled"),
        ("number", "origins", "origin_planned_date", "effective_date", "warehouse.name", *list_party_fields("customer")),
        delay_days=compute_delay,
    ),
    "returns": create_transition_feed(
        "stock",
        "stock.shipment.out.return",
        ("receive", "state:done", "state:cancelled"),
        ("number", "origins", "warehouse.name", *list_party_fields("customer")),
    ),
    "moves": Feed(
        ("stock", "sale"),
        "stock.move",
        "stock.move",
        "write_date",
        [
            ["state", "in", ["done", "cancelled"]],
            ["effective_date", "!=", None],
            ["quantity", ">", 0],
            ["shipment", "like", "stock.shipment.out%"],
            ["OR", ["from_location.type", "=", "customer"], ["to_location.type", "=", "customer"]],
        ],
        (
            *("write_date", "state", "effective_date", "quantity", "unit.symbol", "product.code", "product.name"),
            *("from_location.name", "from_location.type", "to_location.name", "to_location.type", "sale.number"),
            *("shipment.number", "shipment.warehouse.name", *list_party_fields("shipment.customer")),
        ),
        {"moved_at": compute_move_time},
    ),
    "invoices": Feed(
        ("account_invoice",),
        "account.invoice",
        "account.invoice",
        "write_date",
        [["type", "=", "out"], ["state", "in", ["posted", "paid", "cancelled"]]],
        ("write_date", "state", "number", "invoice_date", "total_amount", "currency.code", *list_party_fields("party")),
    ),
    "opportunities": Feed(
        ("sale_opportunity",),
        "sale.opportunity",
        "sale.opportunity",
        "write_date",
        [["state", "in", ["converted", "won", "lost", "cancelled"]]],
        ("write_date", "state", "number", "amount", "currency.code", *list_party_fields("party")),
    ),
    "parties.new": Feed(("party",), "party.party", "party.party", "create_date", [WITH_ARCHIVED], ("create_date", *PARTY_FIELDS)),
    CHANGED_PARTIES: Feed(
        ("party",),
        "party.party",
        "party.contact_mechanism",
        "last_modified_at",
        [["type", "in", ["email", "phone", "mobile"]]],
        ("last_modified_at", "type", "value", "party.create_date", *list_party_fields("party")),
    ),
    "parties": create_delete_feed("party.party"),
    GONE_PARTIES: Feed(("party",), "party.party", "party.party", "id", [WITH_ARCHIVED], ("id",)),
}
