"""What the demo shows: questions on views alone, lines that fit, reconciliation that tells the truth."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deploy.demo.answers import QUESTIONS
from deploy.demo.flow import Flow, Source, Stage, consumers
from deploy.demo.inputs import Input
from deploy.demo.output import WIDTH, console, flow_line, flow_table
from schemas.wire.topics import TOPICS

DEMO = Flow(
    [Source("cdnow", 69_659, 69_659, 0, 0), Source("telecom", 24_550, 24_550, 0, 0)],
    [Stage(name, 94_331, 94_331) for name in consumers()],
)
INPUTS = [
    Input("cdnow", "real", QUESTIONS, QUESTIONS, "1998-07-01"),
    Input("telecom", "simulated", QUESTIONS, QUESTIONS, "2026-11-01"),
]
LARGE = Flow(
    [Source("cdnow", 1_069_659, 1_069_659, 0, 0), Source("telecom", 1_024_550, 1_024_000, 550, 0)],
    [Stage(name, 1_994_209, 1_955_507) for name in consumers()],
)


@pytest.mark.parametrize("path", sorted(QUESTIONS.glob("*.sql")), ids=lambda path: path.stem)
def test_questions_read_nothing_but_views(path: Path) -> None:
    sql = path.read_text()
    named = set(re.findall(r"\b(?:FROM|JOIN)\s+([a-z_.]+)", sql))
    defined = set(re.findall(r"\b([a-z_]+) AS\s*\(", sql))
    assert named - defined
    assert all(table.startswith("touchline.") for table in named - defined)
    assert sql.startswith("-- ")


def test_lines_fit_the_screen() -> None:
    on = Console(width=WIDTH, file=StringIO())
    on.print(flow_table(LARGE, INPUTS, 3_600))
    assert isinstance(on.file, StringIO)
    table = on.file.getvalue()
    assert "read telecom (simulated)" in table
    assert "1,955,507" in table
    assert max(map(len, table.splitlines())) <= WIDTH
    assert len(flow_line(DEMO, 300)) <= WIDTH
    assert console().width == WIDTH


def test_everything_that_waits_counts() -> None:
    assert LARGE.waiting == 1_955_507 * len(consumers())
    assert Flow([], [Stage("identify", 5, 0), Stage("join", 3, 2)]).waiting == 2


def test_every_topic_that_somebody_reads_is_watched() -> None:
    watched = set().union(*(topics for _, topics in consumers().values()))
    unread = {topic.name for topic in TOPICS} - watched
    assert all(name.endswith("-state") for name in unread), unread
