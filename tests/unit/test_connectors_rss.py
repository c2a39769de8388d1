"""The rss connector: conditional requests, truncated feeds, addresses without a feed, RSS and Atom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Batch, Connector, Cursor, Record, Window
from schemas.errors import ConfigError, RetryableError
from tests.harness.connector_peers import Server

DAY = datetime(2026, 3, 1, tzinfo=UTC)
RSS = b"""<?xml version="1.0"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>t</title><item>
<guid isPermaLink="false">g1</guid><title>Cold soup</title><pubDate>Sun, 01 Mar 2026 09:00:00 +0100</pubDate>
<author>ann@example.org (Ann)</author><description>&lt;i&gt;twice&lt;/i&gt;&nbsp;now</description></item></channel></rss>"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("rss", tmp_path).running() as running:
        yield running


def serve(server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str = "application/xml") -> Connector:
    monkeypatch.setattr(server.peer, "answer", lambda *_: (200, {"Content-Type": kind}, body))
    return server.connector(timeout_seconds=5)


def read(connector: Connector, cursor: Cursor | None = None) -> Batch:
    [batch] = connector.read("entries", cursor)
    return batch


def records(batch: Batch) -> list[Any]:
    return [record for record in batch.records if isinstance(record, Record)]


def test_unchanged_feed_yields_nothing_and_changed_feed_yields_only_new_entries(server: Server) -> None:
    server.peer.put(1, DAY)
    connector = server.connector(timeout_seconds=5)
    first = read(connector)
    again = read(connector, first.cursor)
    assert (len(first.records), len(again.records), again.cursor) == (1, 0, first.cursor)
    fresh, changed = server.peer.put(2, DAY), server.peer.put(1, DAY, title="Good bye")
    assert [record.key for record in records(read(connector, again.cursor))] == [changed, fresh]


def test_malformed_rss_2_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = serve(server, monkeypatch, RSS)
    [record] = records(read(connector))
    found = connector.map_record(record)
    assert record.key == "g1"
    assert (found.occurred_at, found.text) == (datetime(2026, 3, 1, 8, tzinfo=UTC), "Cold soup twice now")
    assert [(one.kind, one.value) for one in found.identifiers] == [("email", "ann@example.org")]


ATOM = b"""<a:feed xmlns:a="http://www.w3.org/2005/Atom"><a:id>f</a:id><a:entry><a:id>g1</a:id><a:title>Cold soup</a:title>
<a:updated>2026-03-01T08:00:00Z</a:updated></a:entry></a:feed>"""
COMMENT = b"\n<!--" + b" served from a cache" * 100 + b" -->"


@pytest.mark.parametrize("body", [ATOM, RSS + COMMENT, RSS.decode().replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16")])
def test_end_of_feed_is_found_with_any_prefix_encoding_or_comment(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    assert [record.key for record in records(read(serve(server, monkeypatch, body, "application/rss+xml")))] == ["g1"]


def test_truncated_feed_is_retryable_and_other_page_is_config_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RetryableError, match="the feed is truncated"):
        read(serve(server, monkeypatch, RSS[:-30]))
    for page in (b"<html><body>Welcome</body></html>", b"", b"/etc/passwd", b"{}"):
        with pytest.raises(ConfigError, match="no RSS or Atom feed"):
            serve(server, monkeypatch, page).check()


def test_url_is_requested_unchanged(server: Server) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    answer = server.peer.answer

    def record(method: str, path: str, query: dict[str, str], *others: Any) -> Any:
        asked.append((path, query))
        return answer(method, path, query, *others)

    server.peer.answer = record
    server.connector(url=f"{server.url}/feed/?category=a%20b", timeout_seconds=5).check()
    assert asked == [("/feed/", {"category": "a b"})]


def test_entries_older_than_start_are_never_read(server: Server) -> None:
    server.peer.put(1, DAY)
    fresh = server.peer.put(2, DAY + timedelta(days=2))
    connector, window = server.connector(timeout_seconds=5), Window(DAY + timedelta(days=1))
    [first] = connector.read("entries", None, window)
    [again] = connector.read("entries", first.cursor, window)
    assert [[record.key for record in records(batch)] for batch in (first, again)] == [[fresh], []]
