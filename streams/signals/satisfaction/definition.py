"""Evidence of satisfaction, version 1: each piece has a value from 0 (worst) to 100, and a weight.

Explicit answers weigh most, then actions of the company, then actions that the customer had to take. The weights are set by
hand, belong to the definition version, and are not fitted to data.
"""

from typing import NamedTuple

from streams.journeys.definition import is_slow
from streams.touchpoint import Touchpoint

DEFINITION = "satisfaction-1"
HALF_LIFE_DAYS = 90.0
PRIOR_VALUE = 65.0
PRIOR_WEIGHT = 2.0
SPREAD = 25.0
ANSWER_WEIGHT = {"nps": 4.0, "csat": 4.0, "ces": 3.0}


class Evidence(NamedTuple):
    """One piece of evidence: its value from 0 to 100, its weight, and a short text for people."""

    value: float
    weight: float
    text: str


BY_TYPE = {
    "contract.cancelled": Evidence(5, 3.0, "cancelled the contract"),
    "contract.renewed": Evidence(85, 3.0, "renewed the contract"),
    "delivery.completed": Evidence(80, 1.0, "delivered in time"),
    "installation.completed": Evidence(80, 1.5, "installed"),
    "installation.late": Evidence(10, 2.0, "installation came late"),
    "invoice.corrected": Evidence(20, 1.5, "invoice was wrong"),
    "order.cancelled": Evidence(20, 1.5, "order cancelled"),
    "payment.failed": Evidence(30, 1.0, "payment failed"),
    "referral.made": Evidence(95, 3.0, "recommended us"),
    "return.received": Evidence(25, 1.0, "sent goods back"),
    "shipment.delayed": Evidence(15, 1.5, "shipment delayed"),
    "stock.out": Evidence(15, 1.5, "ordered item out of stock"),
    "ticket.opened": Evidence(40, 0.5, "needed support"),
    "ticket.reopened": Evidence(10, 1.5, "ticket reopened"),
    "ticket.resolved": Evidence(75, 1.0, "ticket resolved"),
    "ticket.transferred": Evidence(20, 1.0, "ticket passed on"),
}


def find_evidence(touchpoint: Touchpoint) -> Evidence | None:
    """Return the evidence in a touchpoint, or None when it holds none."""
    if touchpoint.metric and touchpoint.answer is not None:
        return _answer_evidence(touchpoint)
    if touchpoint.rating is not None:
        return Evidence(min(100.0, max(0.0, (touchpoint.rating - 1) * 25)), 3.0, f"rated {touchpoint.rating:g} of 5")
    if touchpoint.type == "delivery.completed" and (touchpoint.delay_days or 0) > 0:
        return Evidence(25, 1.5, f"delivered {touchpoint.delay_days:g} days late")
    if is_slow(touchpoint.channel, touchpoint.wait_seconds):
        return Evidence(20, 1.0, f"waited {(touchpoint.wait_seconds or 0) / 60:.0f} minutes")
    return BY_TYPE.get(touchpoint.type)


def _answer_evidence(touchpoint: Touchpoint) -> Evidence | None:
    low, high, answer = touchpoint.scale_low, touchpoint.scale_high, touchpoint.answer
    if low is None or high is None or answer is None or high <= low:
        return None
    metric = touchpoint.metric or ""
    return Evidence(
        100 * (answer - low) / (high - low), ANSWER_WEIGHT[metric], f"answered {answer:g} of {high} ({metric.upper()})"
    )
