"""Output of `touchline connect`: bars on a terminal only, totals, reconciliation of a backfill, previews."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.contract import Window
from connectors.runtime.mode import BackfillMode
from deploy.connect.output import FeedBars, format_reconciliation, format_totals, show_preview
from schemas.errors import ConfigError
from schemas.records.connector_state import ConnectorState
from tests.harness.connector_peers import Server

DAY = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(DAY, DAY + timedelta(days=2))


def state(stream: str, read: int) -> ConnectorState:
    counts = {"read": read, "published": read - 3, "dead_lettered": 2, "repeated": 1}
    return ConnectorState(connector="c", stream=stream, cursor="{}", last_event_at=DAY, last_success_at=DAY, **counts)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("example_reviews", tmp_path).running() as running:
        for number in range(25):
            running.peer.put(number, DAY + timedelta(hours=number))
        yield running


def test_bars_show_share_and_records_of_each_feed_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with FeedBars() as bars:
        bars.update(state("orders:a.csv", 1_000), 0.25)
        bars.update(state("orders:b.csv", 234), 0.5)
    shown = capsys.readouterr().err
    assert [word in shown for word in ("orders", "50%", "1,234 records", "b.csv")] == [True] * 4


def test_bars_are_hidden_without_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with FeedBars() as bars:
        bars.update(state("orders", 1_000), 0.25)
    assert capsys.readouterr() == ("", "")


def test_totals_are_one_line_per_feed() -> None:
    assert list(format_totals("c", {name: state(name, 10) for name in ("orders:a", "orders:b", "posts")})) == [
        "c orders: 20 read = 14 published + 4 dead letters + 2 repeated, from 2 files",
        "c posts: 10 read = 7 published + 2 dead letters + 1 repeated",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1_025, "1,025 read, 1,025 at the source: nothing missing"),
        (1_028, "1,025 read, 1,028 at the source: difference +3"),
        (1_000, "1,025 read, 1,000 at the source: difference -25"),
        (None, "1,025 read; the source cannot count"),
    ],
)
def test_backfill_reports_records_read_and_count_of_source(count: int | None, text: str) -> None:
    assert list(format_reconciliation("c", [("posts", WINDOW, 1_025, count)])) == [
        f"c posts: 2026-03-01 00:00 to 2026-03-03 00:00 UTC: {text}"
    ]


def test_preview_shows_requested_touchpoints_without_control_characters_or_extra_pages(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    server.peer.put(0, DAY, text="fine \x1b[2J", stars="many")
    server.peer.put(1, DAY + timedelta(hours=1), text="red \x1b[31m[bold]")
    show_preview(server.connector(timeout_seconds=5), 12)
    shown = capsys.readouterr().out
    assert [f"r{number:05}" in shown for number in range(14)] == [True] * 12 + [False] * 2
    assert "refused" in shown
    assert "rating: number() expects digits" in shown
    assert "text red ·[31m[bold]" in shown
    assert "\x1b" not in shown
    assert server.requests.count("/v1/reviews") == 2


def test_preview_fits_80_columns_without_cut_words(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_preview(server.connector(timeout_seconds=5), 3)
    narrow = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "1000")
    show_preview(server.connector(timeout_seconds=5), 3)
    assert max(map(len, narrow.splitlines())) <= 80
    assert set(narrow.split()) == set(capsys.readouterr().out.split())


def test_preview_starts_at_start_of_live_mode(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        server.peer.put(number, DAY + timedelta(hours=number))
    show_preview(server.connector(timeout_seconds=5, start=(DAY + timedelta(hours=1)).isoformat()), 20)
    shown = capsys.readouterr().out
    assert [f"r{number:05}" in shown for number in range(3)] == [False, True, True]


def test_backfill_from_future_day_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--backfill 2[0-9-]+ [0-9:]+ lies in the future: choose a date in the past$"):
        BackfillMode(datetime.now(UTC) + timedelta(days=400), {})
