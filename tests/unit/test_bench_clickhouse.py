"""What the benchmark of ClickHouse makes of its measurements."""

from rich.console import Console

from tests.bench.clickhouse.bars import Bar, missed, shown


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
