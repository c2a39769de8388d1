"""Support tickets: opened, replied, resolved, sometimes transferred and reopened, with the wait before each step."""

from datetime import datetime, timedelta

from deploy.demo.simulator import surveys, texts
from deploy.demo.simulator.timeline import Fact, Timeline


def open_ticket(timeline: Timeline, at: datetime, issue: str) -> datetime:
    """Open a ticket at `at` about `issue` (a key of `texts.ISSUES`). Returns the time of its resolution."""
    parameters, rng = timeline.parameters, timeline.rng
    channel = rng.choices(("email", "web", "voice", "chat"), (34, 22, 28, 16))[0]
    thread: dict[str, Fact] = {
        "ticket": timeline.number(20_000_000),
        "channel": channel,
        "priority": rng.choice(("normal", "normal", "high")),
    }
    is_displeased = timeline.satisfaction.level(at) < 50
    timeline.add(
        at,
        "ticket.opened",
        text=texts.issue(rng, issue, is_displeased=is_displeased),
        wait_seconds=_draw_hold_seconds(timeline, channel),
        **thread,
    )
    now, effort = at, 0.0
    if timeline.chance(parameters.ticket_transferred):
        now = _step(timeline, now, "ticket.transferred", 0.3, thread)
        timeline.satisfaction.add_shock(now, parameters.shock_transfer)
        effort += 6
    now = _step(timeline, now, "ticket.replied", 1.0, thread, text=texts.reply(rng))
    now = _step(timeline, now, "ticket.resolved", 0.8, thread)
    if timeline.chance(parameters.ticket_reopened):
        now = timeline.after(now, 0.3, 3)
        timeline.add(now, "ticket.reopened", text=texts.reopening(rng), wait_seconds=0, **thread)
        timeline.satisfaction.add_shock(now, parameters.shock_reopened)
        now = _step(timeline, now, "ticket.replied", 1.2, thread, text=texts.reply(rng))
        now = _step(timeline, now, "ticket.resolved", 0.8, thread)
        effort += 14
    timeline.satisfaction.add_shock(now, parameters.shock_resolved)
    survey = surveys.TICKET_CES if timeline.chance(0.5) else surveys.TICKET_CSAT
    surveys.offer_survey(timeline, timeline.after(now, 0.05, 1), survey, tilt=8 - effort, ticket=str(thread["ticket"]))
    return now


def _draw_hold_seconds(timeline: Timeline, channel: str) -> int:
    """Return the seconds on hold: minutes on the phone and in chat, none elsewhere."""
    return int(timeline.rng.lognormvariate(5.5, 1.0)) if channel in ("voice", "chat") else 0


def _step(
    timeline: Timeline, at: datetime, kind: str, slowness: float, thread: dict[str, Fact], text: str | None = None
) -> datetime:
    wait = timedelta(hours=min(120.0, timeline.rng.lognormvariate(1.6, 1.0) * slowness))
    timeline.satisfaction.add_shock(at + wait, timeline.parameters.shock_wait_hour * wait.total_seconds() / 3600)
    timeline.add(at + wait, kind, text=text, wait_seconds=int(wait.total_seconds()), **thread)
    return at + wait
