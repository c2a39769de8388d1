"""The dialects of OData 2 and 4, and a reader that reads all rows although the server sorts by finer times."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from connectors.http.client import Response
from connectors.odata.cases.peer import Peer
from connectors.odata.dialects import DIALECTS, align_time, normalize_time
from connectors.odata.reader import Reader
from connectors.odata.settings import BUILT_IN, EntitySet
from schemas.errors import ConfigError, RetryableError
from schemas.records.fields import EPOCH

AT = datetime(2026, 3, 1, 10, 0, 0, 123_000, UTC)
YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
GRAINS = (timedelta(milliseconds=1), timedelta(days=1))


@pytest.mark.parametrize(
    ("version", "kind", "at", "text"),
    [
        (2, "DateTimeOffset", AT, "datetimeoffset'2026-03-01T10:00:00.123Z'"),
        (2, "DateTime", AT, "datetime'2026-03-01T10:00:00.123'"),
        (2, "Date", YEAR_ONE, "datetime'0001-01-01T00:00:00.000'"),
        (4, "DateTimeOffset", AT, "2026-03-01T10:00:00.123Z"),
        (4, "Date", AT, "2026-03-01"),
    ],
)
def test_time_literal_depends_on_version_and_type(version: int, kind: Any, at: datetime, text: str) -> None:
    assert DIALECTS[version].format_literal(at, kind) == text


def test_items_of_both_versions_are_equal_without_metadata() -> None:
    two = {
        "a": "/Date(1772359200123+0000)/",
        "__metadata": {"uri": "x"},
        "to": {"results": [{"m": "1"}]},
        "far": {"__deferred": {}},
    }
    four = {"a": "2026-03-01T10:00:00.123+00:00", "@odata.etag": "x", "to": [{"m": "1", "@odata.id": "x"}]}
    found = [DIALECTS[2].parse_page({"d": {"results": [two], "__next": "x"}}), DIALECTS[4].parse_page({"value": [four]})]
    assert found[0].items == found[1].items == [{"a": "2026-03-01T10:00:00.123+00:00", "to": [{"m": "1"}]}]
    assert [one.more for one in found] == [True, False]
    assert DIALECTS[2].parse_page({"d": [two]}).items == found[0].items


@pytest.mark.parametrize("body", [{}, [], None, {"d": {}}, {"value": {}}, {"error": {"code": "x"}}])
def test_answer_without_list_is_config_error(body: Any) -> None:
    for dialect in DIALECTS.values():
        with pytest.raises(ConfigError, match="is `odata` right"):
            dialect.parse_page(body)


@given(some.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=some.just(UTC)), some.sampled_from(GRAINS))  # noqa: DTZ001
def test_aligned_time_is_next_multiple_of_grain(at: datetime, grain: timedelta) -> None:
    found = align_time(at, grain)
    assert at <= found < at + grain
    assert (found - EPOCH) % grain == timedelta(0)
    assert align_time(found, grain) == found


@pytest.mark.parametrize("text", ["2026-03-01T10:00:00.1239999Z", "2026-03-01T11:00:00.123+01:00", "2026-03-01T10:00:00.123"])
def test_times_are_normalized_to_milliseconds(text: str) -> None:
    assert normalize_time(text, "DateTimeOffset") == "2026-03-01T10:00:00.123+00:00"
    assert normalize_time(text, "Date") == "2026-03-01"
    assert normalize_time(None, "Date") is None


class DirectClient(NamedTuple):
    """A client that calls the peer without a network."""

    peer: Peer

    def get(self, path: str, query: dict[str, Any], _: dict[str, str]) -> Response:
        given = {name: str(value) for name, value in query.items() if value is not None}
        return Response(*self.peer.answer("GET", path, given, {"Authorization": "Bearer token"}, b""))


@given(some.lists(some.integers(0, 4), max_size=40), some.integers(1, 12))
def test_pages_of_any_size_read_each_row_once_in_order(instants: list[int], size: int) -> None:
    peer = Peer()
    peer.tokens.add("Bearer token")
    keys = [peer.put(number, AT + instant * timedelta(milliseconds=1)) for number, instant in enumerate(instants)]
    reader = Reader(DirectClient(peer), DIALECTS[2], BUILT_IN["sales_orders"], [], "100")  # type: ignore[arg-type]
    found: list[tuple[datetime, str]] = []
    at, key, more = AT, "", True
    while more:
        page = [
            (datetime.fromisoformat(row["LastChangeDateTime"]), row["SalesOrder"]) for row in reader.fetch_page(size, at, key)
        ]
        found += page
        more = len(page) == size
        at, key = page[-1] if page else (at, key)
    assert Counter(key for _, key in found) == Counter(keys)
    assert [at for at, _ in found] == sorted(at for at, _ in found)


class EmptyPageClient(NamedTuple):
    """A client of a server that sends an empty page with a link to more rows."""

    def get(self, *_: Any) -> Response:
        return Response(200, {}, b'{"d": {"results": [], "__next": "https://elsewhere.example/"}}')


def test_empty_page_with_link_is_retryable() -> None:
    reader = Reader(EmptyPageClient(), DIALECTS[2], BUILT_IN["sales_orders"], [], None)  # type: ignore[arg-type]
    with pytest.raises(RetryableError, match="empty page"):
        reader.fetch_page(10, AT, "")


def test_mapping_with_other_sort_order_is_rejected() -> None:
    mapping = {
        "source": "erp",
        "system": "s",
        "columns": ["A", "B"],
        "key": "id(B)",
        "version": "B",
        "time": "iso(B, 'UTC')",
        "map": {},
    }
    with pytest.raises(ValidationError, match=r"key must be id\(A\) and its time iso\(B, 'UTC'\)"):
        EntitySet.model_validate({"path": "/x", "key": "A", "changed": "B", "mapping": mapping})
