"""Public posts of customers: praise, complaints, referrals."""

from datetime import datetime

from deploy.demo.simulator import texts
from deploy.demo.simulator.timeline import Timeline


def add_post(timeline: Timeline, at: datetime) -> None:
    """Add a post at `at` with some probability, for a customer with an account."""
    if timeline.person.handle is None:
        return
    level = timeline.satisfaction.level(at)
    if level < 50 and timeline.chance(0.08):
        timeline.add(at, "post.published", text=texts.complaint(timeline.rng))
    elif level > 75 and timeline.chance(0.03):
        timeline.add(at, "post.published", text=texts.praise(timeline.rng))
    elif level > 78 and timeline.chance(0.015):
        timeline.add(at, "referral.made", text=texts.referral(timeline.rng))
