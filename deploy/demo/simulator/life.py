"""One customer's life: inquiry, order, installation, use, support, renewal or leaving."""

from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from deploy.demo.simulator import ordering, service, surveys
from deploy.demo.simulator.parameters import Parameters
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.satisfaction import Satisfaction
from deploy.demo.simulator.supply import PLANS, ROUTERS, Supply
from deploy.demo.simulator.tickets import open_ticket
from deploy.demo.simulator.timeline import Event, Timeline

UNPAID = ("invoice.issued", "payment.failed")


class Life(NamedTuple):
    """One life: `events` are visible to systems, in order of time; the other fields are known to the simulator only.

    `joined_at` is the end of the installation. `left_at` is None for a current customer, and for a person who never bought
    (`exit` is "never bought"). A person who cancelled while waiting has the exit "order cancelled".
    """

    person: Person
    satisfaction: Satisfaction
    first_at: datetime
    joined_at: datetime | None
    left_at: datetime | None
    exit: str | None
    events: list[Event]


def simulate_life(person: Person, rng: Random, supply: Supply, parameters: Parameters, start: datetime, end: datetime) -> Life:
    """Simulate the life of `person` between `start` and `end`. Events after `end` are left out."""
    timeline = Timeline(person, rng, supply, parameters)
    inquired = start + (end - start) * rng.random()
    _inquire(timeline, inquired)
    joined, left, reason = None, None, None
    if timeline.chance(parameters.lost_inquiry):
        reason = "never bought"
    else:
        joined, left, reason = _become_customer(timeline, inquired, end)
    later = UNPAID if reason == "stopped paying" else ()
    visible = [one for one in timeline.events if one.at < end and (left is None or one.at <= left or one.type in later)]
    events = sorted(visible, key=lambda one: (one.at, one.type))
    if joined is not None and joined >= end:
        joined = None
    if left is not None and left >= end:
        left, reason = None, None
    return Life(person, timeline.satisfaction, inquired, joined, left, reason, events)


def _inquire(timeline: Timeline, at: datetime) -> None:
    timeline.add(at, "inquiry.received", channel=timeline.rng.choice(("Web", "Web", "Phone Inquiry", "Store")))
    if timeline.person.duplicate is not None:
        timeline.add(timeline.after(at, 1, 2), "inquiry.received", channel="Phone Inquiry", twice="first")
        timeline.add(timeline.after(at, 20, 40), "call.logged", text="Data check: e-mail added to the contact.", twice="merged")
    if timeline.chance(0.4):
        timeline.add(timeline.after(at, 0.5, 2), "call.logged", text="Asked about speed and contract length.")


def _become_customer(
    timeline: Timeline, inquired: datetime, end: datetime
) -> tuple[datetime | None, datetime | None, str | None]:
    """Simulate the time from the decision to buy. Returns the times of joining and leaving, and the reason of leaving."""
    plan, fee = timeline.rng.choice(tuple(PLANS.items()))
    contract = timeline.number(800_000_000)
    decided = timeline.after(inquired, 2.5, 14)
    timeline.add(decided, "opportunity.won", contract=contract, product=plan, amount=fee * 12)
    timeline.add(timeline.after(decided, 0.02, 0.1), "contract.signed", contract=contract, product=plan, amount=fee * 12)
    ordered = timeline.after(decided, 0.1, 0.3)
    router, channel = timeline.rng.choice(ROUTERS), timeline.rng.choice(("web", "store", "phone"))
    order = ordering.place_order(timeline, ordered, router, 1, channel)
    delivered = ordering.deliver(timeline, order)
    if delivered is None:
        return None, timeline.events[-1].at, "order cancelled"
    if delivered - order.placed > timedelta(days=12) and timeline.chance(0.5):
        open_ticket(timeline, timeline.after(order.placed, 6, 10), "delivery")
    installed = ordering.install(timeline, order, delivered)
    if timeline.events[-2].type == "installation.late" and timeline.chance(0.5):
        open_ticket(timeline, timeline.after(timeline.events[-2].at, 0.1, 1), "installation")
    surveys.offer_survey(timeline, timeline.after(installed, 0.3, 2), surveys.INSTALLATION, order=order.number)
    leaving = service.serve(timeline, contract, fee, installed, end)
    return (installed, leaving.at, leaving.how) if leaving else (installed, None, None)
