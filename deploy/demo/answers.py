"""The demo's questions, answered by SQL on the views alone. Each question is a file in `questions/`."""

from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.terminal.table import table
from deploy.terminal.text import printable, short_id
from sinks.clickhouse import Answer, ClickHouse

QUESTIONS = Path(__file__).with_name("questions")
DECIMALS = {
    "satisfaction": 0,
    "idle_days": 0,
    "answered_percent": 0,
    "risk": 2,
    "baseline": 2,
    "median_risk": 2,
    "mean_value_usd": 2,
}


class Question(NamedTuple):
    """A heading, the SQL file, and the layout of its columns.

    `headings` renames columns. `below` puts columns on the second line of another column's cell. Columns in `wrapped` hold long
    text.
    """

    heading: str
    file: str
    headings: dict[str, str]
    below: dict[str, tuple[str, ...]]
    wrapped: tuple[str, ...] = ()
    note: str | None = None


INPUTS = Question(
    "Inputs and known customers",
    "inputs",
    {"first": "from, to", "satisfaction": "satis-\nfaction", "median_risk": "median\nrisk", "mean_value_usd": "mean value\nUSD"},
    {"input": ("kind",), "first": ("last",)},
)
SCORES = Question(
    "Survey scores by channel, with 95 % intervals (simulated)",
    "scores",
    {"low": "from", "high": "to", "answered_percent": "answered %"},
    {},
)
RISKIEST = Question(
    "The ten active customers with the highest churn risk (simulated)",
    "riskiest",
    {"customer_id": "customer", "satisfaction": "satis-\nfaction", "idle_days": "idle\ndays", "baseline": "base-\nline"},
    {},
    ("reasons",),
    "risk: probability of no order and no payment in 90 days; baseline: the same from idle days alone",
)
JOURNEY = Question(
    "The journey of customer {customer} (simulated)",
    "journey",
    {"at": "day, stage", "type": "type, channel", "satisfaction": "satis-\nfaction"},
    {"at": ("stage",), "type": ("channel",)},
    ("details",),
)
PAIN_POINTS = Question(
    "Pain points: change of satisfaction in points (simulated)",
    "pain_points",
    {"type": "type, stage, channel", "low_change": "from", "high_change": "to", "touchpoints": "touch-\npoints"},
    {"type": ("stage", "channel")},
    note="from, to: 95 % interval",
)


def ask(client: ClickHouse, name: str, **parameters: Any) -> Answer:
    """Return the rows of `questions/<name>.sql`."""
    return client.query((QUESTIONS / f"{name}.sql").read_text(), parameters or None)


def show_answers(client: ClickHouse, on: Console, kinds: dict[str, str]) -> str:
    """Print all questions with their answers; `kinds` holds `real` or `simulated` per input.

    Returns the id of the customer whose journey is shown.
    """
    inputs = ask(client, INPUTS.file)
    with_kind = Answer([*inputs.columns, "kind"], [(*row, f"({kinds[row[0]]})") for row in inputs.rows])
    customer = str(ask(client, "example").rows[0][0])
    journey = JOURNEY._replace(heading=JOURNEY.heading.format(customer=customer))
    tables = [
        answer_table(INPUTS, with_kind),
        *(answer_table(question, ask(client, question.file)) for question in (SCORES, RISKIEST)),
        answer_table(journey, ask(client, JOURNEY.file, customer=customer)),
        answer_table(PAIN_POINTS, ask(client, PAIN_POINTS.file)),
    ]
    for each in tables:
        on.print(each)
        on.print()
    return customer


def answer_table(question: Question, answer: Answer) -> Table:
    """Return the table of one answer, at most 80 columns wide."""
    moved = {column for columns in question.below.values() for column in columns}
    shown = [column for column in answer.columns if column not in moved]
    headings = [_heading(question, answer, column) for column in shown]
    made = table(*headings, title=question.heading, note=question.note)
    for row in answer.rows:
        values = dict(zip(answer.columns, row, strict=True))
        made.add_row(*(_cell(question, column, values) for column in shown))
    return made


def _heading(question: Question, answer: Answer, column: str) -> str:
    index = answer.columns.index(column)
    is_number = all(isinstance(row[index], int | float | None) for row in answer.rows)
    mark = ">" if is_number else "~" if column in question.wrapped else ""
    return mark + question.headings.get(column, column)


def _cell(question: Question, column: str, values: dict[str, Any]) -> Text:
    first = _text(column, values[column])
    second = ", ".join(_text(each, values[each]) for each in question.below.get(column, ()))
    return printable(f"{first}\n{second}" if second else first)


def _text(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, UUID):
        return short_id(value)
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{DECIMALS.get(column, 1)}f}"
    return str(value)
