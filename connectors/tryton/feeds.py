"""What is asked of Tryton for each stream: a model, the time it is read by, a domain, and fields, also of related records.

Tryton's log holds one row for each transition of a workflow, with its time, and for each delete. Invoices and opportunities are
read themselves: Tryton 8.2 does not log that one was posted, won, lost or cancelled, because the model's own code sets the state.
Parties are listed by their ids, archived ones too, to find those that went without a word in the log.
"""

from typing import Any, NamedTuple

LOG = "ir.model.log"
GONE = "parties.gone"
PARTY = ("code", "email", "phone")


class Feed(NamedTuple):
    """`about` is the model that the rows tell of; `model` is where they stand."""

    about: str
    model: str
    time: str
    domain: list[Any]
    fields: tuple[str, ...]


def transitions(about: str, states: tuple[str, ...], fields: tuple[str, ...]) -> Feed:
    """The rows of the log that say when a record came into one of these states; `fields` are those of the record as it is now."""
    targets = ["target", "in", [f"state:{state}" for state in states]]
    domain = [["event", "=", "transition"], ["resource", "like", f"{about},%"], targets]
    return Feed(about, LOG, "create_date", domain, ("create_date", "event", "target", *(f"resource.{name}" for name in fields)))


def deletes(about: str) -> Feed:
    """The rows of the log that say when a record was deleted."""
    domain = [["event", "=", "delete"], ["resource", "like", f"{about},%"]]
    return Feed(about, LOG, "create_date", domain, ("create_date", "event"))


def party(name: str) -> tuple[str, ...]:
    """The fields that a customer is known by, asked for by way of the field `name`."""
    return tuple(f"{name}.{field}" for field in PARTY)


FEEDS = {
    "sales": transitions(
        "sale.sale",
        ("quotation", "confirmed", "done", "cancelled"),
        ("number", "reference", "total_amount", "currency.code", *party("party")),
    ),
    "shipments": transitions(
        "stock.shipment.out",
        ("shipped", "done", "cancelled"),
        ("number", "origins", "origin_planned_date", "effective_date", "warehouse.name", *party("customer")),
    ),
    "invoices": Feed(
        "account.invoice",
        "account.invoice",
        "write_date",
        [["type", "=", "out"], ["state", "in", ["posted", "paid", "cancelled"]]],
        ("write_date", "state", "number", "invoice_date", "total_amount", "currency.code", *party("party")),
    ),
    "opportunities": Feed(
        "sale.opportunity",
        "sale.opportunity",
        "write_date",
        [["state", "in", ["converted", "won", "lost", "cancelled"]]],
        ("write_date", "state", "number", "amount", "currency.code", *party("party")),
    ),
    "parties": deletes("party.party"),
    GONE: Feed("party.party", "party.party", "id", [["active", "in", [True, False]]], ("id",)),
}
