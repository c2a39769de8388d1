"""Terminal output of one customer: timeline, journeys and scores. All of it is customer data."""

from collections.abc import Sequence
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.explain.customer import CustomerHistory, Journey, Reading, TimelineEntry
from deploy.identity.output import show_identity
from deploy.terminal.table import table
from deploy.terminal.text import MINUTE, format_count, printable, short_id

MAX_TEXT = 200
LATER_TOUCHPOINTS = "current state: has later touchpoints"
# Scale of a signal's value, and the formats of the value and of a driver's contribution.
FORMATS = {"satisfaction": (1.0, "{:.1f}", "{:+.1f}"), "churn": (100.0, "{:.1f} %", "{:+.1f} points")}
OTHER_FORMAT = (1.0, "{:.3g}", "{:+.3g}")


def show_history(on: Console, history: CustomerHistory) -> None:
    """Print everything; the scores come last, next to the prompt."""
    show_identity(on, history.identity, history.at)
    _title(on, f"Timeline, {format_count(history.touchpoints, 'touchpoint')}{_format_hidden_count(history)}")
    on.print(_timeline(history.timeline))
    if history.journeys:
        _title(on, format_count(len(history.journeys), "journey"))
        on.print(_journeys(history.journeys))
    entries = {entry.event_id: entry for entry in history.timeline}
    for reading in history.readings:
        on.print()
        _show_reading(on, reading, entries)


def _timeline(entries: Sequence[TimelineEntry]) -> Table:
    made = table("at (UTC), event", "~type and channel", "~details", ">satisfaction")
    for entry in entries:
        channel = ", ".join(filter(None, (entry.channel, entry.system, entry.stage)))
        made.add_row(
            f"{entry.occurred_at:{MINUTE}}\n{short_id(entry.event_id)}",
            printable(f"{entry.type}\n{channel}"),
            printable(_details(entry)),
            _satisfaction(entry),
        )
    return made


def _details(entry: TimelineEntry) -> str:
    money = f"{entry.amount:,.2f} {entry.currency or ''}".strip() if entry.amount is not None else None
    bought = ", ".join(filter(None, (entry.product, money)))
    answer = f"{entry.metric} {entry.answer:g}" if entry.answer is not None else None
    late = f"{entry.delay_days:g} days late" if entry.delay_days else None
    text = entry.text and (entry.text if len(entry.text) <= MAX_TEXT else f"{entry.text[:MAX_TEXT]}…")
    return "\n".join(filter(None, (bought, answer, late, text)))


def _satisfaction(entry: TimelineEntry) -> Text:
    if entry.score is None:
        return Text("")
    change = entry.change or 0.0
    return Text.assemble(f"{entry.score:.1f} ", (f"{change:+.1f}", _colour(change)))


def _journeys(journeys: Sequence[Journey]) -> Table:
    made = table("from, to (UTC)", "~status", "~stages", ">touchpoints", ">friction")
    for journey in journeys:
        mark = LATER_TOUCHPOINTS if journey.has_later_touchpoints else ""
        made.add_row(
            f"{journey.started_at:{MINUTE}}\n{journey.last_at:{MINUTE}}",
            printable("\n".join(filter(None, (journey.status, journey.outcome, mark)))),
            printable(" > ".join(journey.stages)),
            f"{journey.touchpoints:,}",
            f"{journey.friction:,}",
        )
    return made


def _show_reading(on: Console, reading: Reading, entries: dict[UUID, TimelineEntry]) -> None:
    scale, form, contribution = FORMATS.get(reading.signal, OTHER_FORMAT)
    low, value, high = (
        form.format(each * scale) if each is not None else "-" for each in (reading.low, reading.value, reading.high)
    )
    interval = "" if reading.low is None or reading.high is None else f", {low} to {high}"
    on.print(
        Text.assemble((f"{reading.signal} {value}", "bold"), f"{interval}, at {reading.at:{MINUTE}} UTC"),
        Text(f"from {format_count(reading.evidence, 'touchpoint')}, {reading.definition}", "dim"),
        sep="\n",
    )
    is_bad = reading.signal == "churn"
    drivers = table(">moved it by", "at (UTC), event", "~reason")
    for driver in reading.drivers:
        entry = entries.get(driver.event_id)
        drivers.add_row(
            Text(
                contribution.format(driver.contribution * scale), _colour(-driver.contribution if is_bad else driver.contribution)
            ),
            f"{entry.occurred_at:{MINUTE}}\n{driver.event_id}" if entry else f"earlier\n{driver.event_id}",
            printable(f"{entry.type}: {driver.text}" if entry else driver.text),
        )
    if reading.drivers:
        on.print(drivers)


def _title(on: Console, text: str) -> None:
    on.print(f"\n{text}", style="bold")


def _format_hidden_count(history: CustomerHistory) -> str:
    hidden = history.touchpoints - len(history.timeline)
    return f"; --limit hides {hidden:,} older ones" if hidden else ""


def _colour(change: float) -> str:
    return "red" if change < 0 else "green"
