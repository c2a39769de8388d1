"""The weeks of service: invoices, payments, faults, questions, surveys, further orders, renewal, and leaving."""

import math
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from deploy.demo.simulator import ordering, surveys, voice
from deploy.demo.simulator.story import Story
from deploy.demo.simulator.supply import REPEATER
from deploy.demo.simulator.tickets import ticket

WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
Exit = Literal["cancelled", "stopped paying", "silent"]


class Leaving(NamedTuple):
    """When and how a customer left."""

    at: datetime
    how: Exit


def serve(story: Story, contract: str, fee: float, start: datetime, end: datetime) -> Leaving | None:
    """Weeks of service from installation to `end`; returns the leaving, if there was one."""
    trouble = story.rng.lognormvariate(0, 0.8)
    week, at = 0, start
    while at < end:
        at, week = start + week * WEEK, week + 1
        if week % 4 == 1:
            _bill(story, at, fee, unpaid=False)
        _week(story, at, week, trouble)
        renewal = week % 52 == 0
        if story.chance(_hazard(story, at + WEEK, renewal=renewal)):
            return _leave(story, contract, fee, story.after(at, 6, 7))
        if renewal:
            story.tell(story.after(at, 6, 7), "contract.renewed", contract=contract, amount=fee * 12)
    return None


def _hazard(story: Story, at: datetime, *, renewal: bool) -> float:
    """Probability to leave this week: grows exponentially as satisfaction falls, and at the end of a contract year."""
    parameters = story.parameters
    return min(
        0.9,
        parameters.leaving_rate * math.exp((50 - story.mood.level(at)) / parameters.leaving_scale) * (8 if renewal else 1),
    )


def _leave(story: Story, contract: str, fee: float, at: datetime) -> Leaving:
    how: Exit = story.rng.choices(("cancelled", "stopped paying", "silent"), (50, 30, 20))[0]
    if how == "cancelled":
        story.tell(
            at,
            "contract.cancelled",
            contract=contract,
            amount=0,
            text="Please cancel my account." if story.chance(0.5) else None,
        )
    elif how == "stopped paying":
        for month in (0, 1):
            _bill(story, story.after(at, 1, 8) + month * MONTH, fee, unpaid=True)
    return Leaving(at, how)


def _week(story: Story, at: datetime, week: int, trouble: float) -> None:
    parameters = story.parameters
    if story.chance(parameters.fault_rate * trouble):
        fault = story.after(at, 0, 6)
        story.mood.feel(fault, parameters.shock_fault)
        if story.chance(0.7):
            ticket(story, story.after(fault, 0.02, 0.8), "fault")
    if story.chance(parameters.question_rate):
        ticket(story, story.after(at, 0, 6), "question")
    if week == 5 or week % 26 == 18:
        surveys.offer(story, story.after(at, 0, 6), surveys.RELATIONSHIP)
    if story.chance(0.012 * story.mood.level(at) / 70):
        ordering.deliver(story, ordering.place(story, story.after(at, 0, 6), REPEATER, story.rng.choice((1, 1, 2)), "web"))
    voice.speak(story, story.after(at, 0, 6))


def _bill(story: Story, at: datetime, fee: float, *, unpaid: bool) -> None:
    """One invoice and what comes of it: payment, a wrong invoice and its correction, or a payment that fails."""
    parameters, invoice = story.parameters, story.number(90_000_000)
    wrong = not unpaid and story.chance(parameters.wrong_invoice)
    story.tell(at, "invoice.issued", invoice=invoice, amount=round(fee * (1.6 if wrong else 1), 2))
    due = story.after(at, 3, 12)
    if wrong:
        story.mood.feel(at, parameters.shock_wrong_invoice)
        settled = ticket(story, story.after(at, 0.5, 3), "billing") if story.chance(0.8) else story.after(at, 5, 9)
        story.tell(settled, "invoice.corrected", invoice=invoice, amount=fee)
        due = story.after(settled, 1, 8)
    if unpaid or story.chance(parameters.failed_payment):
        story.tell(due, "payment.failed", invoice=invoice, amount=fee, payment=story.number(1_400_000_000))
        story.mood.feel(due, parameters.shock_failed_payment)
        due = story.after(due, 3, 8)
    if not unpaid:
        story.tell(due, "payment.received", invoice=invoice, amount=fee, payment=story.number(1_400_000_000))
