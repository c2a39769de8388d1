"""Limits of the benchmark: each figure of `clickhouse.json` is a bar, and a missed bar fails the benchmark."""

from collections.abc import Iterable
from typing import NamedTuple

from rich.table import Table


class Bar(NamedTuple):
    """A figure with its upper or lower limit."""

    figure: str
    found: float
    limit: float
    least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.least else self.found <= self.limit


def missed(bars: Iterable[Bar]) -> list[str]:
    """Return the names of the figures that miss their limit."""
    return [bar.figure for bar in bars if not bar.met]


def shown(bars: Iterable[Bar]) -> Table:
    """Return a table with one row per bar."""
    table = Table(title="Limits")
    for heading in ("figure", "found", "limit", ""):
        table.add_column(heading, justify="right" if heading in ("found", "limit") else "left")
    for bar in bars:
        limit = f"{'≥' if bar.least else '≤'} {bar.limit:g}"
        table.add_row(bar.figure, f"{bar.found:.3g}", limit, "[green]met" if bar.met else "[bold red]missed")
    return table
