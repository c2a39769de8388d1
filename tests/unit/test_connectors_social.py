"""The cursor of mastodon, and frames of bluesky that end or advise."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.bluesky.connector import Connector
from connectors.bluesky.frames import create_firehose_parser, parse_jetstream
from connectors.bluesky.settings import BlueskySettings
from connectors.mastodon.recheck import MAX_POSTS, Recheck
from schemas.errors import ConfigError, RetryableError
from tests.harness.connector_peers import Server

DAY = datetime(2026, 3, 1, tzinfo=UTC)
PLACE = 116_000_000_000_000_000


@given(st.lists(st.integers(0, 100_000), max_size=2_000), st.integers(1, 86_400))
def test_recheck_keeps_newest_posts_of_lookback_and_fits_into_cursor(seconds: list[int], lookback: int) -> None:
    recheck = Recheck({}, timedelta(seconds=lookback))
    recheck.add((PLACE + one, str(PLACE + one), str(PLACE), DAY + timedelta(seconds=one)) for one in seconds)
    newest = max(seconds, default=0)
    wanted = sorted(PLACE + one for one in set(seconds) if one >= newest - lookback)[-MAX_POSTS:]
    assert sorted(recheck.posts) == wanted
    text = json.dumps(recheck.pack())
    assert len(text) < 60_000
    assert Recheck(json.loads(text), timedelta(seconds=lookback)).posts == recheck.posts
    assert recheck.find_missing(PLACE - 1, set(wanted[1:])).keys() == set(wanted[:1])


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"$type": "message", "payload": {"$type": "#commit", "seq": "x"}}'])
def test_invalid_frame_is_retryable(data: str) -> None:
    with pytest.raises(RetryableError, match="not Jetstream format"):
        parse_jetstream(data)
    with pytest.raises(RetryableError, match="not firehose format"):
        create_firehose_parser()(data.encode())


def test_stream_reports_lost_cursor_or_error() -> None:
    prefix = "network.bsky.jetstream.subscribeEvents#info"
    assert (
        parse_jetstream(json.dumps({"$type": "message", "payload": {"$type": prefix, "name": "OutdatedCursor"}})).lost
        == "OutdatedCursor"
    )
    assert parse_jetstream(json.dumps({"$type": "message", "payload": {"$type": prefix, "name": "Greeting"}})).lost is None
    with pytest.raises(RetryableError, match="ConsumerTooSlow"):
        parse_jetstream(json.dumps({"$type": "error", "error": "ConsumerTooSlow"}))


def test_jetstream_time_is_witnessed_time_not_imported_time() -> None:
    commit = {
        "did": "did:plc:ann",
        "collection": "app.bsky.feed.post",
        "rkey": "3k1",
        "rev": "r",
        "operation": "delete",
        "seq": 7,
    }
    times = {"time": "2023-01-01T00:00:00Z", "witnessedAt": "2026-03-01T12:00:00Z"}
    kind = {"$type": "network.bsky.jetstream.subscribeEvents#commit"}
    frame = parse_jetstream(json.dumps({"$type": "message", "payload": {**kind, **commit, **times}}))
    assert (frame.time, frame.events[0]["time"]) == (times["witnessedAt"], times["witnessedAt"])


def test_silence_does_not_move_cursor(tmp_path: Path) -> None:
    with Server("bluesky", tmp_path).running() as server:
        server.peer.put(1, DAY)
        connector = server.connector(timeout_seconds=5, dids=["did:plc:m1"])
        [batch] = connector.read("posts", None)
        assert list(connector.read("posts", batch.cursor)) == []
        server.peer.put(2, DAY + timedelta(hours=1))
        [passed] = connector.read("posts", batch.cursor)
        assert (list(passed.records), passed.cursor["seq"] > batch.cursor["seq"]) == ([], True)


@pytest.mark.parametrize(("module", "package"), [("libipld", "libipld"), ("websockets.sync.client", "websockets")])
def test_missing_package_error_names_package_to_install(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install {package}$"):
        Connector(BlueskySettings(name="x", url="wss://pds.example.com", protocol="firehose"))
