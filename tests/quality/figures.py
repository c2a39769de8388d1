"""Figures of quality: value, reference and limit, as a table and as a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.quality.pairs import Confusion

RESULTS = Path(__file__).with_name("results.json")


class Figure(NamedTuple):
    """A measured value. `reference` names the value of another method. `limit` is the worst value that passes."""

    name: str
    value: float
    reference: str
    limit: float
    is_maximum: bool = False

    @property
    def has_passed(self) -> bool:
        return self.value <= self.limit if self.is_maximum else self.value >= self.limit


def show_figures(console: Console, figures: Sequence[Figure]) -> None:
    """Print the table of figures."""
    table = Table("figure", "reference", title="Quality")
    for name in ("value", "limit", "pass"):
        table.add_column(name, justify="right")
    for each in figures:
        sign = "at most" if each.is_maximum else "at least"
        result = "[green]yes[/]" if each.has_passed else "[red]no[/]"
        table.add_row(each.name, each.reference, f"{each.value:.6g}", f"{sign} {each.limit:g}", result)
    console.print(table)


def show_kinds(console: Console, kinds: dict[str, Confusion], naive: dict[str, Confusion]) -> None:
    """Print false merges and missed links by kind of adversarial case, with the false merges of union-find."""
    table = Table("kind of case", title="Adversarial cases: pairs of touchpoints within one case")
    for name in ("touchpoints", "of two people", "merged", "by union-find", "of one person", "missed"):
        table.add_column(name, justify="right")
    for kind, each in sorted(kinds.items()):
        style = "red" if each.false or each.missed else ""
        row = (each.touchpoints, each.judged, each.false, naive[kind].false, each.same, each.missed)
        table.add_row(kind, *(f"{number:,}" for number in row), style=style)
    console.print(table)


def write_results(figures: Sequence[Figure]) -> None:
    """Write all figures to `results.json`, by name."""
    RESULTS.write_text(json.dumps({each.name: each.value for each in figures}, indent=1) + "\n")
