"""The journey definition `relationship`, version 1: which stage a touchpoint belongs to, where a journey begins and ends.

A journey begins with a customer's first touchpoint, and again with the first one after a closing touchpoint or after a
year of silence. Surveys take the stage they ask about from the attribute `stage`.
"""

from collections.abc import Mapping

DEFINITION = "relationship-1"
STAGES = ("awareness", "consideration", "purchase", "onboarding", "use", "support", "retention", "advocacy")
SILENCE_MS = 365 * 86_400_000
LIVE = frozenset({"phone", "chat", "store"})
SLOW_LIVE_SECONDS = 15 * 60
SLOW_SECONDS = 24 * 3_600

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
CLOSING = {"contract.cancelled": "cancelled"}


def stage_of(event_type: str, attributes: Mapping[str, str]) -> str:
    """The stage of a touchpoint, empty where the definition names none."""
    if event_type.startswith("survey."):
        asked = attributes.get("stage", "")
        return asked if asked in STAGES else ""
    return STAGE_OF_TYPE.get(event_type) or STAGE_OF_FAMILY.get(event_type.partition(".")[0], "")


def slow(channel: str, wait_seconds: float | None) -> bool:
    """Whether a customer waited too long: over a quarter of an hour where they hold the line, over a day elsewhere."""
    return (wait_seconds or 0.0) > (SLOW_LIVE_SECONDS if channel in LIVE else SLOW_SECONDS)
