"""Evaluation of the measurements of the ClickHouse benchmark."""

import pytest
from rich.console import Console

from schemas.errors import FatalError
from tests.bench.clickhouse.bars import Bar, missed, shown
from tests.bench.clickhouse.rates import per_second


def test_a_missed_limit_is_named_whichever_way_it_points() -> None:
    bars = [
        Bar("slow", 0.11, 0.1),
        Bar("quick", 0.1, 0.1),
        Bar("behind", 0.79, 0.8, least=True),
        Bar("level", 0.8, 0.8, least=True),
    ]
    assert missed(bars) == ["slow", "behind"]
    console = Console(width=80)
    with console.capture() as screen:
        console.print(shown(bars))
    assert [line.split("│")[4].strip() for line in screen.get().splitlines() if "│" in line] == ["missed", "met", "missed", "met"]


def test_a_rate_leaves_out_the_first_block_and_waiting_for_the_last() -> None:
    looks = [(0.0, 0), (1.0, 100), (2.0, 100), (3.0, 300), (4.0, 500), (11.5, 550)]
    assert per_second(looks, 450) == 400 / 3
    with pytest.raises(FatalError, match="more --records"):
        per_second(looks, 100)
