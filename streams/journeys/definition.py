"""Journey definition `relationship`, version 1: the stage of a touchpoint, and the begin and end of a journey.

A journey begins with a customer's first touchpoint, and again with the first one after a closing touchpoint or after a
year of silence. A survey belongs to the stage that its attribute `stage` names.
"""

from collections.abc import Mapping

DEFINITION = "relationship-1"
STAGES = ("awareness", "consideration", "purchase", "onboarding", "use", "support", "retention", "advocacy")
SILENCE_MS = 365 * 86_400_000
LIVE_CHANNELS = frozenset({"phone", "chat", "store"})
MAX_LIVE_WAIT_SECONDS = 15 * 60
MAX_WAIT_SECONDS = 24 * 3_600

STAGE_OF_TYPE = {
    "contract.cancelled": "retention",
    "contract.renewed": "retention",
    "contract.signed": "purchase",
    "opportunity.won": "purchase",
    "return.received": "retention",
}
STAGE_OF_FAMILY = {
    "page": "awareness",
    "search": "awareness",
    "campaign": "awareness",
    "inquiry": "consideration",
    "form": "consideration",
    "cart": "consideration",
    "opportunity": "consideration",
    "order": "purchase",
    "stock": "onboarding",
    "shipment": "onboarding",
    "delivery": "onboarding",
    "installation": "onboarding",
    "invoice": "use",
    "payment": "use",
    "ticket": "support",
    "call": "support",
    "post": "advocacy",
    "referral": "advocacy",
    "review": "advocacy",
}
FRICTION = frozenset(
    {
        "stock.out",
        "shipment.delayed",
        "installation.late",
        "order.cancelled",
        "return.received",
        "invoice.corrected",
        "payment.failed",
        "ticket.reopened",
        "ticket.transferred",
    }
)
MOMENTS_OF_TRUTH = frozenset(
    {
        "order.placed",
        "delivery.completed",
        "installation.completed",
        "ticket.resolved",
        "contract.renewed",
        "contract.cancelled",
    }
)
OUTCOME_OF_CLOSING_TYPE = {"contract.cancelled": "cancelled"}


def stage_of(event_type: str, attributes: Mapping[str, str]) -> str:
    """Return the stage of a touchpoint, empty when the definition names none."""
    if event_type.startswith("survey."):
        stage = attributes.get("stage", "")
        return stage if stage in STAGES else ""
    return STAGE_OF_TYPE.get(event_type) or STAGE_OF_FAMILY.get(event_type.partition(".")[0], "")


def is_slow(channel: str, wait_seconds: float | None) -> bool:
    """Return whether a customer waited too long: over 15 minutes on a live channel, over a day elsewhere."""
    return (wait_seconds or 0.0) > (MAX_LIVE_WAIT_SECONDS if channel in LIVE_CHANNELS else MAX_WAIT_SECONDS)
