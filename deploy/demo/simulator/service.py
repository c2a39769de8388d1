"""Weeks of service: invoices, payments, faults, questions, surveys, further orders, renewal and leaving."""

import math
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from deploy.demo.simulator import ordering, posts, surveys
from deploy.demo.simulator.supply import REPEATER
from deploy.demo.simulator.tickets import open_ticket
from deploy.demo.simulator.timeline import Timeline

WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
Exit = Literal["cancelled", "stopped paying", "silent"]


class Leaving(NamedTuple):
    """Time and kind of a customer's leaving."""

    at: datetime
    how: Exit


def serve(timeline: Timeline, contract: str, fee: float, start: datetime, end: datetime) -> Leaving | None:
    """Simulate the weeks from installation to `end`. Returns the leaving, if there is one."""
    trouble = timeline.rng.lognormvariate(0, 0.8)
    week, at = 0, start
    while at < end:
        at, week = start + week * WEEK, week + 1
        if week % 4 == 1:
            _bill(timeline, at, fee, unpaid=False)
        _week(timeline, at, week, trouble)
        renewal = week % 52 == 0
        if timeline.chance(_leaving_probability(timeline, at + WEEK, renewal=renewal)):
            return _leave(timeline, contract, fee, timeline.after(at, 6, 7))
        if renewal:
            timeline.add(timeline.after(at, 6, 7), "contract.renewed", contract=contract, amount=fee * 12)
    return None


def _leaving_probability(timeline: Timeline, at: datetime, *, renewal: bool) -> float:
    """Return the probability to leave this week: higher at low satisfaction and at the end of a contract year."""
    parameters = timeline.parameters
    factor = math.exp((50 - timeline.satisfaction.level(at)) / parameters.leaving_scale) * (8 if renewal else 1)
    return min(0.9, parameters.leaving_rate * factor)


def _leave(timeline: Timeline, contract: str, fee: float, at: datetime) -> Leaving:
    how: Exit = timeline.rng.choices(("cancelled", "stopped paying", "silent"), (50, 30, 20))[0]
    if how == "cancelled":
        timeline.add(
            at,
            "contract.cancelled",
            contract=contract,
            amount=0,
            text="Please cancel my account." if timeline.chance(0.5) else None,
        )
    elif how == "stopped paying":
        for month in (0, 1):
            _bill(timeline, timeline.after(at, 1, 8) + month * MONTH, fee, unpaid=True)
    return Leaving(at, how)


def _week(timeline: Timeline, at: datetime, week: int, trouble: float) -> None:
    parameters = timeline.parameters
    if timeline.chance(parameters.fault_rate * trouble):
        fault = timeline.after(at, 0, 6)
        timeline.satisfaction.add_shock(fault, parameters.shock_fault)
        if timeline.chance(0.7):
            open_ticket(timeline, timeline.after(fault, 0.02, 0.8), "fault")
    if timeline.chance(parameters.question_rate):
        open_ticket(timeline, timeline.after(at, 0, 6), "question")
    if week == 5 or week % 26 == 18:
        surveys.offer_survey(timeline, timeline.after(at, 0, 6), surveys.RELATIONSHIP)
    if timeline.chance(0.012 * timeline.satisfaction.level(at) / 70):
        ordered, quantity = timeline.after(at, 0, 6), timeline.rng.choice((1, 1, 2))
        ordering.deliver(timeline, ordering.place_order(timeline, ordered, REPEATER, quantity, "web"))
    posts.add_post(timeline, timeline.after(at, 0, 6))


def _bill(timeline: Timeline, at: datetime, fee: float, *, unpaid: bool) -> None:
    """Issue one invoice, then its payment; sometimes the invoice is wrong and corrected, or the payment fails."""
    parameters, invoice = timeline.parameters, timeline.number(90_000_000)
    wrong = not unpaid and timeline.chance(parameters.wrong_invoice)
    timeline.add(at, "invoice.issued", invoice=invoice, amount=round(fee * (1.6 if wrong else 1), 2))
    due = timeline.after(at, 3, 12)
    if wrong:
        timeline.satisfaction.add_shock(at, parameters.shock_wrong_invoice)
        if timeline.chance(0.8):
            settled = open_ticket(timeline, timeline.after(at, 0.5, 3), "billing")
        else:
            settled = timeline.after(at, 5, 9)
        timeline.add(settled, "invoice.corrected", invoice=invoice, amount=fee)
        due = timeline.after(settled, 1, 8)
    if unpaid or timeline.chance(parameters.failed_payment):
        timeline.add(due, "payment.failed", invoice=invoice, amount=fee, payment=timeline.number(1_400_000_000))
        timeline.satisfaction.add_shock(due, parameters.shock_failed_payment)
        due = timeline.after(due, 3, 8)
    if not unpaid:
        timeline.add(due, "payment.received", invoice=invoice, amount=fee, payment=timeline.number(1_400_000_000))
