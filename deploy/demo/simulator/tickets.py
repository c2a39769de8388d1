"""Support tickets: opened, replied, perhaps transferred and reopened, resolved; with the wait for each step."""

from datetime import datetime, timedelta

from deploy.demo.simulator import surveys, words
from deploy.demo.simulator.story import Fact, Story


def ticket(story: Story, at: datetime, issue: str) -> datetime:
    """One ticket about `issue` (a key of `words.ISSUES`) from `at` on; returns when it was resolved."""
    parameters, rng = story.parameters, story.rng
    channel = rng.choices(("email", "web", "voice", "chat"), (34, 22, 28, 16))[0]
    thread: dict[str, Fact] = {
        "ticket": story.number(20_000_000),
        "channel": channel,
        "priority": rng.choice(("normal", "normal", "high")),
    }
    displeased = story.mood.level(at) < 50
    story.tell(
        at,
        "ticket.opened",
        text=words.issue(rng, issue, displeased=displeased),
        wait_seconds=_hold(story, channel),
        **thread,
    )
    now, effort = at, 0.0
    if story.chance(parameters.ticket_transferred):
        now = _step(story, now, "ticket.transferred", 0.3, thread)
        story.mood.feel(now, parameters.shock_transfer)
        effort += 6
    now = _step(story, now, "ticket.replied", 1.0, thread, text=words.reply(rng))
    now = _step(story, now, "ticket.resolved", 0.8, thread)
    if story.chance(parameters.ticket_reopened):
        now = story.after(now, 0.3, 3)
        story.tell(now, "ticket.reopened", text=words.again(rng), wait_seconds=0, **thread)
        story.mood.feel(now, parameters.shock_reopened)
        now = _step(story, now, "ticket.replied", 1.2, thread, text=words.reply(rng))
        now = _step(story, now, "ticket.resolved", 0.8, thread)
        effort += 14
    story.mood.feel(now, parameters.shock_resolved)
    survey = surveys.TICKET_CES if story.chance(0.5) else surveys.TICKET_CSAT
    surveys.offer(story, story.after(now, 0.05, 1), survey, tilt=8 - effort, ticket=str(thread["ticket"]))
    return now


def _hold(story: Story, channel: str) -> int:
    """Seconds until somebody answered: minutes on the phone and in chat, none elsewhere."""
    return int(story.rng.lognormvariate(5.5, 1.0)) if channel in ("voice", "chat") else 0


def _step(story: Story, at: datetime, kind: str, slowness: float, thread: dict[str, Fact], text: str | None = None) -> datetime:
    wait = timedelta(hours=min(120.0, story.rng.lognormvariate(1.6, 1.0) * slowness))
    story.mood.feel(at + wait, story.parameters.shock_wait_hour * wait.total_seconds() / 3600)
    story.tell(at + wait, kind, text=text, wait_seconds=int(wait.total_seconds()), **thread)
    return at + wait
