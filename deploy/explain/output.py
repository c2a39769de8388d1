"""What a person sees of a customer: who it is, what happened, why each score is what it is. All of it is customer data."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.dead_letters.output import printable
from deploy.explain.customer import Identity, Journey, Reading, Story, Touch

MINUTE = "%Y-%m-%d %H:%M"
SHORT_ID = 8
SHOWN_TEXT = 200
# How to show a signal's value, and what its drivers contribute.
FORMS = {"satisfaction": (1.0, "{:.1f}", "{:+.1f}"), "churn": (100.0, "{:.1f} %", "{:+.1f} points")}
OTHER_FORM = (1.0, "{:.3g}", "{:+.3g}")


def show_story(on: Console, story: Story) -> None:
    """Everything, the latest of it last: readings end the page, where the eye is."""
    show_identity(on, story.identity, story.at)
    _title(on, f"Timeline, {_counted(story.touchpoints, 'touchpoint')}{_left_out(story)}")
    on.print(_timeline(story.timeline))
    if story.journeys:
        _title(on, _counted(len(story.journeys), "journey"))
        on.print(_journeys(story.journeys))
    touches = {touch.event_id: touch for touch in story.timeline}
    for reading in story.readings:
        _title(on, "")
        _reading(on, reading, touches)


def show_identity(on: Console, identity: Identity, at: datetime | None) -> None:
    """The customer, its identifiers and the former customers that are part of it, each with the touchpoint that says so."""
    on.print(
        Text.assemble(("Customer ", "bold"), (str(identity.customer_id), "bold cyan"), f", as of {at:{MINUTE}} UTC" if at else "")
    )
    table = _table("since (UTC)", "identifier and rule", "given to", "by event")
    for edge in identity.edges:
        whose = "this one" if edge.customer_id == identity.customer_id else _short(edge.customer_id)
        table.add_row(f"{edge.at:{MINUTE}}", printable(f"{edge.kind}:{edge.value}\n{edge.rule}"), whose, _short(edge.event_id))
    on.print(table)
    merged = _table("at (UTC)", "merge and rule", "by event")
    for merge in identity.merges:
        told = f"{_short(merge.from_customer)} turned out to be this one\n{merge.rule}"
        merged.add_row(f"{merge.at:{MINUTE}}", printable(told), _short(merge.event_id))
    if identity.merges:
        on.print()
        on.print(merged)


def _timeline(touches: Sequence[Touch]) -> Table:
    table = _table("at (UTC)", "event", "what and where", "details", ">satisfaction")
    for touch in touches:
        where = ", ".join(filter(None, (touch.channel, touch.system, touch.stage)))
        table.add_row(
            f"{touch.occurred_at:{MINUTE}}",
            _short(touch.event_id),
            printable(f"{touch.type}\n{where}"),
            printable(_details(touch)),
            _moved(touch),
        )
    return table


def _details(touch: Touch) -> str:
    money = f"{touch.amount:,.2f} {touch.currency or ''}".strip() if touch.amount is not None else None
    bought = ", ".join(filter(None, (touch.product, money)))
    answer = f"{touch.metric} {touch.answer:g}" if touch.answer is not None else None
    late = f"{touch.delay_days:g} days late" if touch.delay_days else None
    said = touch.text and (touch.text if len(touch.text) <= SHOWN_TEXT else f"{touch.text[:SHOWN_TEXT]}…")
    return "\n".join(filter(None, (bought, answer, late, said)))


def _moved(touch: Touch) -> Text:
    if touch.score is None:
        return Text("")
    change = touch.change or 0.0
    return Text.assemble(f"{touch.score:.1f} ", (f"{change:+.1f}", _colour(change)))


def _journeys(journeys: Sequence[Journey]) -> Table:
    table = _table("from, to (UTC)", "status", "stages", ">touchpoints", ">friction")
    for journey in journeys:
        table.add_row(
            f"{journey.started_at:{MINUTE}}\n{journey.last_at:{MINUTE}}",
            printable(
                "\n".join(filter(None, (journey.status, journey.outcome, "went on since: as now" if journey.went_on else "")))
            ),
            printable(" > ".join(journey.stages)),
            f"{journey.touchpoints:,}",
            f"{journey.friction:,}",
        )
    return table


def _reading(on: Console, reading: Reading, touches: dict[UUID, Touch]) -> None:
    scale, form, moved = FORMS.get(reading.signal, OTHER_FORM)
    low, value, high = (
        form.format(each * scale) if each is not None else "-" for each in (reading.low, reading.value, reading.high)
    )
    on.print(
        Text.assemble((f"{reading.signal} {value}", "bold"), f", {low} to {high}, at {reading.at:{MINUTE}} UTC"),
        Text(f"{_counted(reading.evidence, 'touchpoint')} behind it, {reading.definition}", "dim"),
        sep="\n",
    )
    bad = reading.signal == "churn"
    table = _table(">moved it by", "event", "at (UTC)", "why")
    for driver in reading.drivers:
        touch = touches.get(driver.event_id)
        table.add_row(
            Text(moved.format(driver.contribution * scale), _colour(-driver.contribution if bad else driver.contribution)),
            str(driver.event_id),
            f"{touch.occurred_at:{MINUTE}}" if touch else "earlier",
            printable(f"{touch.type}: {driver.text}" if touch else driver.text),
        )
    if reading.drivers:
        on.print(table)


def _title(on: Console, text: str) -> None:
    on.print(f"\n{text}" if text else "", style="bold")


def _left_out(story: Story) -> str:
    left = story.touchpoints - len(story.timeline)
    return f"; {left:,} older with --limit" if left else ""


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(identifier: UUID) -> str:
    return str(identifier)[:SHORT_ID]


def _colour(change: float) -> str:
    return "red" if change < 0 else "green"


def _table(*headings: str) -> Table:
    """Columns that fold where the terminal is narrow, but for times, ids and numbers; `>` aligns to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        keep = heading.startswith((">", "at", "since", "from")) or "event" in heading
        table.add_column(
            heading.removeprefix(">"), no_wrap=keep, overflow="fold", justify="right" if heading[0] == ">" else "left"
        )
    return table
