"""`make quality`: join people with a known truth, print a table and write `tests/quality/results.json`."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from streams.identity.compound_keys import parse_keys
from tests.quality.adversarial import UNDECIDABLE, make_adversarial
from tests.quality.customers import read_chain, run_chain
from tests.quality.febrl import load_febrl
from tests.quality.figures import Figure, show_figures, show_kinds, write_results
from tests.quality.histories import count_differences
from tests.quality.pairs import confuse, score, total
from tests.quality.real_line import join_touchpoints, quality_line, read_customers, review_customers
from tests.quality.union import unite

HISTORIES, ORDERS = 1_000, 3
SEED = 12


def measure_febrl(console: Console) -> list[Figure]:
    """Join FEBRL dataset 3 in random order on the real line, then apply a review."""
    labelled = load_febrl(3, seed=SEED)
    with tempfile.TemporaryDirectory() as folder, quality_line(Path(folder)):
        found = score(labelled, join_touchpoints(labelled))
        proposals = review_customers()
        reviewed = score(labelled, read_customers())
    console.print(
        f"{len(labelled):,} records, {found.true:,} pairs of one person: {found.linked:,} joined, {found.correct:,} right"
    )
    console.print(f"{proposals} pairs of customers joined by a review: {reviewed.linked:,} joined, {reviewed.correct:,} right")
    return [
        Figure("febrl3_f1", found.f1, "0.923 national id alone, 0.987 with four keys", 0.990),
        Figure("febrl3_precision", found.precision, "1.000 national id alone", 0.999),
        Figure("febrl3_review_f1", reviewed.f1, "0.997 Fellegi-Sunter, all fields", 0.995),
    ]


def measure_adversarial(console: Console) -> list[Figure]:
    """Join people who look alike, and print false merges and missed links by kind of case."""
    keys = parse_keys("people")
    labelled = make_adversarial(SEED)
    customers, naive = read_chain(run_chain(labelled, keys, SEED)), unite(labelled, keys)
    judged = [each for each in labelled if each.person]
    kinds = confuse(judged, customers)
    show_kinds(console, kinds, confuse(judged, naive))
    decidable = total(each for kind, each in kinds.items() if not kind.endswith(UNDECIDABLE))
    everyone = total(kinds.values())
    union = score(judged, naive)
    return [
        Figure(
            "adversarial_false_merges",
            score(judged, customers).false_share,
            f"{union.false_share:.4f} union-find",
            0.001,
            is_maximum=True,
        ),
        Figure(
            "adversarial_false_in_cases",
            decidable.false / decidable.judged,
            "pairs within decidable cases",
            0.001,
            is_maximum=True,
        ),
        Figure("adversarial_missed_links", everyone.missed / everyone.same, "", 0.01, is_maximum=True),
    ]


def measure_ids(console: Console) -> list[Figure]:
    """Run random histories in several orders, and compare customers with their ids."""
    differences = count_differences(HISTORIES, ORDERS)
    console.print(f"{HISTORIES:,} random histories in {ORDERS} orders")
    return [Figure("id_differences", differences, "221 of 300 where the first identifier names a customer", 0, is_maximum=True)]


PARTS: dict[str, Callable[[Console], list[Figure]]] = {
    "febrl": measure_febrl,
    "adversarial": measure_adversarial,
    "ids": measure_ids,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
def main(parts: tuple[str, ...]) -> None:
    """Measure PARTS (default: all of them).

    Example: python -m tests.quality febrl
    """
    console = Console()
    figures: list[Figure] = []
    for part in parts or PARTS:
        console.rule(part)
        figures += PARTS[part](console)
    show_figures(console, figures)
    write_results(figures)
    sys.exit(not all(each.has_passed for each in figures))


if __name__ == "__main__":
    main()
