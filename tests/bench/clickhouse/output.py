"""Tables of the four questions."""

import statistics
from collections.abc import Mapping, Sequence

from rich.table import Table

from tests.bench.clickhouse.questions import Question, Timings

LARGE = 100_000_000
BY_DAYS = ("kpi", "pain_points")


def at_rest(title: str, found: Sequence[tuple[Question, Timings]]) -> Table:
    """Return the table of the first run, on merged parts."""
    shown = _headed(title, "p50 s", "p95 s", "limit s", "first, caches empty", "CPU s", "rows read")
    for question, timings in found:
        seconds = (timings.p50, timings.p95, question.limit_seconds, timings.cold, timings.cpu_seconds)
        shown.add_row(question.name, *map(_seconds, seconds), f"{timings.read_rows:,}")
    return shown


def compare_reads(meanwhile: Mapping[str, Sequence[float]], after: Sequence[tuple[Question, Timings]]) -> Table:
    """Return the table of one reader during the writing (answers change and are not checked) and right after it."""
    shown = _headed("The same, of parts just written", "meanwhile, p50 s", "p95 s", "right after, p50 s", "p95 s", "rows read")
    for question, timings in after:
        shown.add_row(
            question.name,
            *_spread(meanwhile[question.name]),
            *map(_seconds, (timings.p50, timings.p95)),
            f"{timings.read_rows:,}",
        )
    return shown


def larger(touchpoints: int, size: float, found: Sequence[tuple[Question, Timings]]) -> str:
    """Estimate disk and time for a hundred million touchpoints in proportion to this number, which takes `size` bytes."""
    times = LARGE / touchpoints
    gib = size * times / 2**30
    days = " and ".join(
        f"{timings.p95 * times:.1f} s for {question.name}" for question, timings in found if question.name in BY_DAYS
    )
    return (
        f"100 million touchpoints, not tried: {gib:.0f} GiB, in proportion to {touchpoints:,}; one customer costs no more.\n"
        f"What reads by days grows, to a p95 of at most {days}: a cluster of some shards is due, or answers sorted by day."
    )


def _headed(title: str, *headings: str) -> Table:
    shown = Table(title=title)
    shown.add_column("question")
    for heading in headings:
        shown.add_column(heading, justify="right")
    return shown


def _spread(seconds: Sequence[float]) -> tuple[str, str]:
    """Return median and p95 of at least two values."""
    if len(seconds) < 2:
        return "-", "-"
    return _seconds(statistics.median(seconds)), _seconds(statistics.quantiles(seconds, n=20, method="inclusive")[-1])


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
