"""The support desk: ticket events as JSON Lines, with the requester's e-mail address, or phone number for calls."""

from random import Random

from deploy.demo.simulator.timeline import Event
from deploy.demo.simulator.vendors.record import Feed, Record, format_time
from deploy.demo.simulator.vendors.spelling import vary_email, vary_phone

FEEDS = {
    "ticket_events": Feed(
        "support",
        "support/ticket_events",
        "jsonl",
        ("id", "ticket_id", "created_at", "event_type", "via", "requester", "body", "priority", "wait_seconds"),
    )
}
EVENTS = {
    "ticket.opened": "Create",
    "ticket.replied": "Comment",
    "ticket.transferred": "GroupChange",
    "ticket.reopened": "Reopen",
    "ticket.resolved": "Solve",
}
TYPES = tuple(EVENTS)


def render(event: Event, number: int, rng: Random) -> Record:
    """Return the ticket event."""
    facts, person = event.facts, event.person
    email = person.second_email or person.email
    called = facts["channel"] == "voice"
    values = {
        "id": 900_000_000 + number,
        "ticket_id": int(str(facts["ticket"])),
        "created_at": format_time(event.at),
        "event_type": EVENTS[event.type],
        "via": {"channel": facts["channel"]},
        "requester": {
            "email": None if called else vary_email(email, rng),
            "phone": vary_phone(person.phone, rng) if called else None,
        },
        "body": facts.get("text"),
        "priority": facts["priority"],
        "wait_seconds": facts["wait_seconds"],
    }
    return Record("ticket_events", event.at, event, values, (("phone", person.phone) if called else ("email", email),))
