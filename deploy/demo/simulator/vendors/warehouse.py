"""The warehouse: movements of order lines with promised and actual dates, as Parquet with native time types."""

from datetime import date, datetime
from random import Random

from deploy.demo.simulator.timeline import Event, Fact
from deploy.demo.simulator.vendors.record import Feed, Record

FEEDS = {
    "movements": Feed(
        "inventory",
        "inventory/movements",
        "parquet",
        (
            *(
                "MovementId",
                "EventType",
                "EventTime",
                "OrderNumber",
                "OrderItem",
                "CustomerNumber",
                "Material",
                "Quantity",
            ),
            *("Warehouse", "PromisedDate", "ActualDate", "DelayDays"),
        ),
    )
}
EVENTS = {
    "stock.out": "BACKORDER",
    "stock.restocked": "RESTOCKED",
    "shipment.sent": "SHIPPED",
    "shipment.delayed": "DELAYED",
    "delivery.completed": "DELIVERED",
    "installation.scheduled": "INSTALL_PLANNED",
    "installation.late": "INSTALL_MISSED",
    "installation.completed": "INSTALLED",
}
TYPES = tuple(EVENTS)


def render(event: Event, number: int, rng: Random) -> Record:
    """Return the movement of one event."""
    facts, person = event.facts, event.person
    values = {
        "MovementId": number,
        "EventType": EVENTS[event.type],
        "EventTime": event.at,
        "OrderNumber": facts["order"],
        "OrderItem": 10,
        "CustomerNumber": person.party,
        "Material": facts["product"],
        "Quantity": facts["quantity"],
        "Warehouse": rng.choice(("NORTH", "SOUTH")),
        "PromisedDate": _day(facts.get("promised")),
        "ActualDate": _day(facts.get("actual")),
        "DelayDays": facts.get("delay_days"),
    }
    return Record("movements", event.at, event, values, (("erp_party", person.party),))


def _day(at: Fact) -> date | None:
    return at.date() if isinstance(at, datetime) else None
