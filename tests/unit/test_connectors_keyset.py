"""Keyset pagination: complete, in order and finite; a source that breaks the order is an error, not an endless loop."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import UNBOUNDED, Window
from connectors.http.keyset import paginate
from connectors.mapping.record_mapping import RecordMapping, StreamMapping
from schemas.errors import ConfigError

DAY = datetime(2026, 3, 1, tzinfo=UTC)
MAPPING = StreamMapping.model_validate(
    {
        "source": "social",
        "system": "s",
        "columns": ["id", "at"],
        "key": "id",
        "version": "at",
        "time": "iso(at, 'UTC')",
        "late_seconds": 60,
        "map": {"type": "'post.published'", "channel": "'web'", "occurred_at": "iso(at, 'UTC')", "identifiers": {"who": "id"}},
    }
)
ITEMS = RecordMapping("c", "posts", MAPPING)
Rows = list[tuple[int, int]]


class Table:
    """Rows (minute, number) of a source that pages by (time, key)."""

    def __init__(self, rows: Rows, size: int) -> None:
        self.rows = sorted((DAY + minute * timedelta(minutes=1), f"k{number:04}") for minute, number in rows)
        self.size = size

    def page(self, at: datetime | None, key: str) -> list[dict[str, Any]]:
        after = [row for row in self.rows if at is None or row > (at, key)]
        return [{"id": name, "at": time.isoformat()} for time, name in after[: self.size]]

    def read(self, now: int, cursor: Any = None, window: Window = UNBOUNDED) -> Any:
        return paginate(self.page, ITEMS, lambda: DAY + now * timedelta(minutes=1), self.size, cursor, window)


def keys(batches: Any) -> list[str]:
    return [record.key for batch in batches for record in batch.records]


@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 999)), max_size=40, unique_by=lambda row: row[1]),
    size=st.integers(1, 7),
    now=st.integers(0, 25),
    bounds=st.tuples(st.integers(0, 25), st.integers(0, 25)),
)
def test_each_settled_row_of_the_window_is_read_once_for_any_page_size(
    rows: Rows, size: int, now: int, bounds: tuple[int, int]
) -> None:
    table = Table(rows, size)
    start, end = (DAY + minute * timedelta(minutes=1) for minute in sorted(bounds))
    wanted = [name for at, name in table.rows if start <= at < end and at < DAY + now * timedelta(minutes=1)]
    assert keys(table.read(now, None, Window(start, end))) == wanted
    found, cursor = [], None
    while cursor is None or not cursor["done"]:
        batch = next(table.read(now, cursor, Window(start, end)))
        found += keys([batch])
        cursor = dict(batch.cursor)
    assert found == wanted


@given(first=st.lists(st.integers(0, 20), max_size=20), late=st.lists(st.integers(0, 20), max_size=20), size=st.integers(1, 5))
def test_next_round_reads_new_rows_and_late_rows_within_the_overlap(first: list[int], late: list[int], size: int) -> None:
    table = Table([(minute, number) for number, minute in enumerate(first)], size)
    *_, last = table.read(30)
    newest = max(first, default=-1)
    table.rows = sorted(table.rows + [(DAY + at * timedelta(minutes=1), f"l{number:04}") for number, at in enumerate(late)])
    again = keys(table.read(30, dict(last.cursor)))
    assert {f"l{number:04}" for number, at in enumerate(late) if at >= newest - 1} <= set(again)


def test_same_page_again_is_an_error() -> None:
    table = Table([(1, 1), (2, 2)], 2)
    again = paginate(lambda at, key: table.page(None, ""), ITEMS, lambda: DAY + timedelta(days=1), 2, None, UNBOUNDED)
    with pytest.raises(ConfigError, match=r"no item of a page has a later|in the order"):
        list(again)


def test_page_out_of_order_is_an_error() -> None:
    backwards = paginate(
        lambda at, key: Table([(1, 1), (2, 2)], 3).page(None, "")[::-1], ITEMS, lambda: DAY + timedelta(days=1), 3, None, Window()
    )
    with pytest.raises(ConfigError, match="in the order"):
        list(backwards)


def test_page_of_items_without_time_and_key_is_an_error() -> None:
    blind = paginate(lambda at, key: [{"id": "k"}] * 2, ITEMS, lambda: DAY, 2, None, UNBOUNDED)
    with pytest.raises(ConfigError, match="no item of a page has a later"):
        list(blind)
