"""Figures of quality: value, reference and limit, as a table and as a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from deploy.terminal.table import table
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
    made = table("figure", ">value", ">limit", "pass", "~reference")
    for each in figures:
        sign = "at most" if each.is_maximum else "at least"
        result = "[green]yes[/]" if each.has_passed else "[red]no[/]"
        made.add_row(each.name, f"{each.value:.6g}", f"{sign} {each.limit:g}", result, each.reference)
    console.print(made)


def show_kinds(console: Console, kinds: dict[str, Confusion], naive: dict[str, Confusion]) -> None:
    """Print false merges and missed links by kind of adversarial case, with the false merges of union-find."""
    made = table(
        "pairs within one case",
        ">two people",
        ">merged",
        ">union-find",
        ">one person",
        ">missed",
        note="Red: false or missed pairs.",
    )
    for kind, each in sorted(kinds.items()):
        row = (each.judged, each.false, naive[kind].false, each.same, each.missed)
        made.add_row(kind, *(f"{number:,}" for number in row), style="red" if each.false or each.missed else "")
    console.print(made)


def write_results(figures: Sequence[Figure]) -> None:
    """Write the figures to `results.json`, by name. Figures of other parts stay as the last run wrote them."""
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**before, **{each.name: each.value for each in figures}}, indent=1) + "\n")
