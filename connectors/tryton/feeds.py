"""What is asked of Tryton for each stream: a model, the time it is read by, a domain, and fields, also of related records.

Tryton's log holds one row for each transition of a workflow, with its time, for each use of a button, and for each delete. Where
a model's own code sets the state, Tryton 8.2 logs no transition: that a return was received is known by its button, and invoices,
opportunities and moves are read themselves. It logs no creates either: new parties are read themselves, too, and new e-mails and
phones by their own last change, also where the party was not written. Parties are listed by their ids, archived ones too, to
find those that went without a word in the log.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

LOG = "ir.model.log"
GONE = "parties.gone"
CHANGED = "parties.changed"
EVERYBODY = ["active", "in", [True, False]]
PARTY = ("code", "email", "phone")
DAY = timedelta(days=1)
Row = dict[str, Any]


class Feed(NamedTuple):
    """`about` is the model that the rows tell of; `model` is where they stand; `modules` must be activated for both.

    `added` holds what each row gets beside its fields.
    """

    modules: tuple[str, ...]
    about: str
    model: str
    time: str
    domain: list[Any]
    fields: tuple[str, ...]
    added: Mapping[str, Callable[[Row], object]] = {}


def steps(module: str, about: str, targets: tuple[str, ...], fields: tuple[str, ...], **added: Callable[[Row], object]) -> Feed:
    """The rows of the log that say when a record came into a state (`state:done`), or when its button was used (`receive`).

    `fields` are those of the record as it is now.
    """
    events = ["event", "in", ["transition", "button"]]
    domain = [events, ["resource", "like", f"{about},%"], ["target", "in", list(targets)]]
    asked = ("create_date", "event", "target", *(f"resource.{name}" for name in fields))
    return Feed((module,), about, LOG, "create_date", domain, asked, added)


def deletes(about: str) -> Feed:
    """The rows of the log that say when a record was deleted."""
    domain = [["event", "=", "delete"], ["resource", "like", f"{about},%"]]
    return Feed(("party",), about, LOG, "create_date", domain, ("create_date", "event"))


def party(name: str) -> tuple[str, ...]:
    """The fields that a customer is known by, asked for by way of the field `name`."""
    return tuple(f"{name}.{field}" for field in PARTY)


def delay(row: Row) -> int | None:
    """Days from the date that a shipment was planned for first to the one it went."""
    shipment = row["resource"] or {}
    planned, went = shipment.get("origin_planned_date"), shipment.get("effective_date")
    return (date.fromisoformat(went) - date.fromisoformat(planned)).days if planned and went else None


def moved(row: Row) -> str:
    """When a move was done: at its last change, or at noon of its effective date where that day was over everywhere by then.

    When it was cancelled: at its last change.
    """
    written = datetime.fromisoformat(row["write_date"])
    noon = datetime.combine(date.fromisoformat(row["effective_date"]), time(12), UTC)
    return (noon if row["state"] == "done" and written - noon > DAY else written).isoformat()


FEEDS = {
    "sales": steps(
        "sale",
        "sale.sale",
        ("state:quotation", "state:confirmed", "state:done", "state:cancelled"),
        ("number", "reference", "total_amount", "currency.code", *party("party")),
    ),
    "shipments": steps(
        "stock",
        "stock.shipment.out",
        ("state:shipped", "state:done", "state:cancelled"),
        ("number", "origins", "origin_planned_date", "effective_date", "warehouse.name", *party("customer")),
        delay_days=delay,
    ),
    "returns": steps(
        "stock",
        "stock.shipment.out.return",
        ("receive", "state:done", "state:cancelled"),
        ("number", "origins", "warehouse.name", *party("customer")),
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
            *("shipment.number", "shipment.warehouse.name", *party("shipment.customer")),
        ),
        {"moved_at": moved},
    ),
    "invoices": Feed(
        ("account_invoice",),
        "account.invoice",
        "account.invoice",
        "write_date",
        [["type", "=", "out"], ["state", "in", ["posted", "paid", "cancelled"]]],
        ("write_date", "state", "number", "invoice_date", "total_amount", "currency.code", *party("party")),
    ),
    "opportunities": Feed(
        ("sale_opportunity",),
        "sale.opportunity",
        "sale.opportunity",
        "write_date",
        [["state", "in", ["converted", "won", "lost", "cancelled"]]],
        ("write_date", "state", "number", "amount", "currency.code", *party("party")),
    ),
    "parties.new": Feed(("party",), "party.party", "party.party", "create_date", [EVERYBODY], ("create_date", *PARTY)),
    CHANGED: Feed(
        ("party",),
        "party.party",
        "party.contact_mechanism",
        "last_modified_at",
        [["type", "in", ["email", "phone", "mobile"]]],
        ("last_modified_at", "type", "value", "party.create_date", *party("party")),
    ),
    "parties": deletes("party.party"),
    GONE: Feed(("party",), "party.party", "party.party", "id", [EVERYBODY], ("id",)),
}
