"""Output of the demo: questions on views alone, tables of 80 columns without cut words, progress and time left."""

import re
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console, RenderableType

from deploy.demo.answers import INPUTS, JOURNEY, PAIN_POINTS, QUESTIONS, RISKIEST, SCORES, Question, answer_table
from deploy.demo.flow import Flow, Source, Stage, list_consumers
from deploy.demo.inputs import Input
from deploy.demo.output import compute_progress, flow_table, progress_line, render_flow
from schemas.wire.topics import TOPICS
from sinks.clickhouse import Answer

WIDTH = 80
CUSTOMER, AT = UUID(int=7), datetime(2026, 11, 1, tzinfo=UTC)
INPUTS_READ = [
    Input("cdnow", "real", QUESTIONS, QUESTIONS, "1998-07-01", 69_659),
    Input("telecom", "simulated", QUESTIONS, QUESTIONS, "2026-11-01", 24_550),
]
ANSWERS: list[tuple[Question, list[str], tuple[object, ...]]] = [
    (
        INPUTS,
        ["input", "touchpoints", "customers", "first", "last", "satisfaction", "median_risk", "mean_value_usd", "kind"],
        ("telecom", 1_069_659, 123_570, date(1997, 1, 1), date(1998, 6, 30), 64.0, 0.97, 12_106.08, "(simulated)"),
    ),
    (
        SCORES,
        ["metric", "channel", "value", "low", "high", "n", "offered", "answered_percent"],
        ("csat", "technician", -100.0, -100.0, -100.0, 12_345, 123_456, 100.0),
    ),
    (
        RISKIEST,
        ["customer_id", "segment", "risk", "baseline", "idle_days", "satisfaction", "reasons"],
        (CUSTOMER, "residential", 0.97, 0.21, 180.0, 12.0, "idle for 180 days; installation.completed late by 12 days"),
    ),
    (
        JOURNEY,
        ["at", "stage", "type", "channel", "satisfaction", "details"],
        (AT, "consideration", "installation.completed", "technician", 64.0, 'RTR-AX1800, 1,059.00 USD, "The router blinks red."'),
    ),
    (
        PAIN_POINTS,
        ["stage", "channel", "type", "customers", "touchpoints", "change", "low_change", "high_change", "n"],
        ("consideration", "technician", "installation.scheduled", 12_345, 123_456, -12.5, -13.5, -11.5, 12_345),
    ),
]


def flow(read: int, done: int) -> Flow:
    sources = [Source("cdnow", min(read, 69_659), read, 0, 0), Source("telecom", max(0, read - 69_659), read, 550, 0)]
    return Flow(sources, [Stage(name, done, 1_955_507) for name in list_consumers()])


def rendered(shown: RenderableType, width: int = WIDTH) -> str:
    out = StringIO()
    Console(width=width, file=out).print(shown)
    return out.getvalue()


@pytest.mark.parametrize("path", sorted(QUESTIONS.glob("*.sql")), ids=lambda path: path.stem)
def test_questions_read_only_views(path: Path) -> None:
    sql = path.read_text()
    named = set(re.findall(r"\b(?:FROM|JOIN)\s+([a-z_.]+)", sql))
    defined = set(re.findall(r"\b([a-z_]+) AS\s*\(", sql))
    assert named - defined
    assert all(table.startswith("touchline.") for table in named - defined)
    assert sql.startswith("-- ")


@pytest.mark.parametrize(("question", "columns", "row"), ANSWERS, ids=[each[0].file for each in ANSWERS])
def test_answers_fit_80_columns_without_cut_words(question: Question, columns: list[str], row: tuple[object, ...]) -> None:
    narrow, wide = (rendered(answer_table(question, Answer(columns, [row])), width) for width in (WIDTH, 1_000))
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= WIDTH
    assert set(narrow.split()) == set(wide.split())


def test_flow_fits_80_columns() -> None:
    large = flow(94_209, 1_994_209)
    shown = rendered(flow_table(large, INPUTS_READ))
    assert "read telecom (simulated)" in shown
    assert "1,955,507" in shown
    assert max(map(len, shown.splitlines())) <= WIDTH
    screen = [line.rstrip() for line in rendered(render_flow(large, INPUTS_READ, 3_600)).splitlines()]
    assert max(map(len, screen)) <= WIDTH
    assert screen[-1] == progress_line(large, INPUTS_READ, 3_600)


@pytest.mark.parametrize(
    ("read", "done", "share", "left"),
    [(0, 0, 0.0, "unknown"), (47_104, 47_104, 0.5, "about 30 s left"), (94_209, 94_209, 1.0, "waiting")],
)
def test_progress_counts_all_stages_and_estimates_time_left(read: int, done: int, share: float, left: str) -> None:
    found = flow(read, done)
    assert compute_progress(found, INPUTS_READ) == pytest.approx(share, abs=0.001)
    line = progress_line(found, INPUTS_READ, 30)
    assert left in line
    assert f"{read:,} of 94,209 read" in line
    assert len(line) <= WIDTH


def test_waiting_is_the_sum_over_stages() -> None:
    assert Flow([], [Stage("identify", 5, 0), Stage("join", 3, 2), Stage("link", 3, 4)]).waiting == 6


def test_flow_covers_every_topic_that_is_read() -> None:
    covered = set().union(*(topics for _, topics in list_consumers().values()))
    unread = {topic.name for topic in TOPICS} - covered
    assert all(name.endswith("-state") for name in unread), unread
