"""One customer's life: inquiry, order, installation, use, support, renewal or leaving; given by seed and number."""

from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from deploy.demo.simulator import ordering, service, surveys
from deploy.demo.simulator.mood import Mood
from deploy.demo.simulator.parameters import Parameters
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.story import Happening, Story
from deploy.demo.simulator.supply import PLANS, ROUTERS, Supply
from deploy.demo.simulator.tickets import ticket

UNPAID = ("invoice.issued", "payment.failed")


class Life(NamedTuple):
    """A whole life: what systems could have seen of it (`happenings`, in order), and what they could not.

    `joined_at` is the end of the installation; `left_at` is None while the person is still a customer and for those who
    never became one (`exit` is then "never bought"; "order cancelled" for those who left while waiting).
    """

    person: Person
    mood: Mood
    first_at: datetime
    joined_at: datetime | None
    left_at: datetime | None
    exit: str | None
    happenings: list[Happening]


def live(who: Person, rng: Random, supply: Supply, parameters: Parameters, start: datetime, end: datetime) -> Life:
    """The life of `who` between `start` and `end`; nothing after `end` is told."""
    story = Story(who, rng, supply, parameters)
    inquired = start + (end - start) * rng.random()
    _inquire(story, inquired)
    joined, left, how = None, None, None
    if story.chance(parameters.lost_inquiry):
        how = "never bought"
    else:
        joined, left, how = _customer(story, inquired, end)
    later = UNPAID if how == "stopped paying" else ()
    told = [one for one in story.happenings if one.at < end and (left is None or one.at <= left or one.type in later)]
    happenings = sorted(told, key=lambda one: (one.at, one.type))
    if joined is not None and joined >= end:
        joined = None
    if left is not None and left >= end:
        left, how = None, None
    return Life(who, story.mood, inquired, joined, left, how, happenings)


def _inquire(story: Story, at: datetime) -> None:
    story.tell(at, "inquiry.received", channel=story.rng.choice(("Web", "Web", "Phone Inquiry", "Store")))
    if story.who.duplicate is not None:
        story.tell(story.after(at, 1, 2), "inquiry.received", channel="Phone Inquiry", twice="first")
        story.tell(story.after(at, 20, 40), "call.logged", text="Data check: e-mail added to the contact.", twice="found")
    if story.chance(0.4):
        story.tell(story.after(at, 0.5, 2), "call.logged", text="Asked about speed and contract length.")


def _customer(story: Story, inquired: datetime, end: datetime) -> tuple[datetime | None, datetime | None, str | None]:
    """From the decision to buy on: when the person joined, left and how."""
    plan, fee = story.rng.choice(tuple(PLANS.items()))
    contract = story.number(800_000_000)
    decided = story.after(inquired, 2.5, 14)
    story.tell(decided, "opportunity.won", contract=contract, product=plan, amount=fee * 12)
    story.tell(story.after(decided, 0.02, 0.1), "contract.signed", contract=contract, product=plan, amount=fee * 12)
    order = ordering.place(
        story, story.after(decided, 0.1, 0.3), story.rng.choice(ROUTERS), 1, story.rng.choice(("web", "store", "phone"))
    )
    delivered = ordering.deliver(story, order)
    if delivered is None:
        return None, story.happenings[-1].at, "order cancelled"
    if delivered - order.placed > timedelta(days=12) and story.chance(0.5):
        ticket(story, story.after(order.placed, 6, 10), "delivery")
    installed = ordering.install(story, order, delivered)
    if story.happenings[-2].type == "installation.late" and story.chance(0.5):
        ticket(story, story.after(story.happenings[-2].at, 0.1, 1), "installation")
    surveys.offer(story, story.after(installed, 0.3, 2), surveys.INSTALLATION, order=order.number)
    leaving = service.serve(story, contract, fee, installed, end)
    return (installed, leaving.at, leaving.how) if leaving else (installed, None, None)
