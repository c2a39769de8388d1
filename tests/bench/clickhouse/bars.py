"""What is measured is held to limits: each figure of `clickhouse.json` is a bar, and one that is missed fails the benchmark."""

from collections.abc import Iterable
from typing import NamedTuple

from rich.table import Table


class Bar(NamedTuple):
    """A figure and its limit: the most that it may be, or the least that it must."""

    figure: str
    found: float
    limit: float
    least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.least else self.found <= self.limit


def missed(bars: Iterable[Bar]) -> list[str]:
    """The figures of those that are not met."""
    return [bar.figure for bar in bars if not bar.met]


def shown(bars: Iterable[Bar]) -> Table:
    """One row per bar."""
    table = Table(title="Limits")
    for heading in ("figure", "found", "limit", ""):
        table.add_column(heading, justify="right" if heading in ("found", "limit") else "left")
    for bar in bars:
        limit = f"{'≥' if bar.least else '≤'} {bar.limit:g}"
        table.add_row(bar.figure, f"{bar.found:.3g}", limit, "[green]met" if bar.met else "[bold red]missed")
    return table
