"""What an analyst would ask, answered by SQL on the views alone: the questions are the files in `questions/`."""

from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

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
ID_SHOWN = 8


class Question(NamedTuple):
    """A heading, the file with the SQL, how its columns are called on screen where not by their own names, a note."""

    heading: str
    file: str
    columns: dict[str, str]
    note: str | None = None


INPUTS = Question(
    "What came in, and what is known now",
    "inputs",
    {"satisfaction": "satisf.", "median_risk": "risk", "mean_value_usd": "value (USD)"},
)
SCORES = Question(
    "Survey scores by channel, with 95 % intervals (simulated)",
    "scores",
    {"low": "from", "high": "to", "answered_percent": "answered %"},
)
RISKIEST = Question(
    "The ten riskiest customers who are still there (simulated)",
    "riskiest",
    {"customer_id": "customer", "satisfaction": "satisf.", "idle_days": "idle days", "reasons": "why"},
    "risk: of no order or payment in 90 days; baseline: what idle days alone would say",
)
PAIN_POINTS = Question(
    "Pain points: what lowers satisfaction most, points of 100, 95 % intervals (simulated)",
    "pain_points",
    {"low_change": "from", "high_change": "to"},
)


def ask(client: ClickHouse, name: str, **parameters: Any) -> Answer:
    """The rows of `questions/<name>.sql`."""
    return client.query((QUESTIONS / f"{name}.sql").read_text(), parameters or None)


def show(client: ClickHouse, on: Console, kinds: dict[str, str]) -> None:
    """All questions and their answers; `kinds` says of each input whether it is real or simulated."""
    inputs = ask(client, INPUTS.file)
    named = [(f"{row[0]} ({kinds[row[0]]})", *row[1:]) for row in inputs.rows]
    found = {question.file: ask(client, question.file) for question in (SCORES, RISKIEST, PAIN_POINTS)}
    screens = [_table(INPUTS, Answer(inputs.columns, named)), _table(SCORES, found["scores"])]
    screens += [_table(RISKIEST, found["riskiest"])]
    for example in ask(client, "example").rows:
        screens.append(_journey(example[0], ask(client, "journey", customer=example[0])))
    for screen in [*screens, _table(PAIN_POINTS, found["pain_points"])]:
        on.print(screen)
        on.print()


def _table(question: Question, answer: Answer) -> Table:
    table = Table(title=question.heading, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.caption, table.caption_justify = question.note, "left"
    for column, values in zip(answer.columns, zip(*answer.rows, strict=True), strict=False):
        number = all(isinstance(value, (int, float)) or value is None for value in values)
        table.add_column(question.columns.get(column, column), justify="right" if number else "left")
    for row in answer.rows:
        table.add_row(*(Text(_cell(column, value)) for column, value in zip(answer.columns, row, strict=True)))
    return table


def _journey(customer: UUID, answer: Answer) -> Table:
    heading = f"The journey of customer {customer} (simulated)"
    table = Table(title=heading, title_justify="left", title_style="bold", box=None, pad_edge=False, expand=True)
    for column in ("day", "stage", "what", "channel", "satisf."):
        table.add_column(column, justify="right" if column == "satisf." else "left", no_wrap=True)
    table.add_column("details", no_wrap=True, overflow="ellipsis", ratio=1)
    last = ""
    for at, stage, kind, channel, satisfaction, what in answer.rows:
        cells = (
            f"{at:%Y-%m-%d}",
            stage if stage != last else "",
            kind,
            channel,
            _cell("satisfaction", satisfaction),
            what,
        )
        table.add_row(*(Text(cell) for cell in cells))
        last = stage
    return table


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, UUID):
        return str(value)[:ID_SHOWN]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{DECIMALS.get(column, 1)}f}"
    return str(value)
