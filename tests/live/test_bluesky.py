"""A real AT Protocol server (`@atproto/pds` of `@atproto/dev-env`): posts, edits, deletes, kills, lost cursors, lag."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import urllib3
import yaml
from websockets.sync.client import connect as websocket

from connectors.bluesky.connector import PATHS, Connector
from connectors.bluesky.frames import create_firehose_parser, parse_jetstream
from connectors.bluesky.settings import BlueskySettings
from connectors.contract import Record
from connectors.errors import CursorExpiredError
from schemas.records.fields import instant
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.connectors import STEPS, TOUCHLINE, kill_at_each_step, records, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.slow]
HERE = Path(__file__).with_name("bluesky")
POSTS = 60
DAY_MS = 86_400_000


class Account(NamedTuple):
    """An account that posts."""

    did: str
    token: str


class Server:
    """A PDS; `account`, `post`, `edit` and `delete` are the actions of a user."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager(retries=False)

    def call(self, method: str, token: str | None = None, **fields: Any) -> Any:
        signed = {"Authorization": f"Bearer {token}"} if token else {}
        headers = {"Content-Type": "application/json", **signed}
        answer = self._pool.request("POST", f"{self.url}/xrpc/com.atproto.{method}", body=json.dumps(fields), headers=headers)
        assert answer.status == 200, answer.data
        return answer.json() if answer.data else {}

    def account(self) -> Account:
        name = f"a{uuid4().hex[:10]}"
        found = self.call("server.createAccount", email=f"{name}@example.com", handle=f"{name}.test", password="hunter22")
        return Account(found["did"], found["accessJwt"])

    def post(self, by: Account, text: str, **others: Any) -> str:
        return str(self.call("repo.createRecord", by.token, **_post(by, text, **others))["uri"])

    def edit(self, by: Account, uri: str, text: str) -> None:
        self.call("repo.putRecord", by.token, rkey=uri.rpartition("/")[2], **_post(by, text))

    def delete(self, by: Account, uri: str) -> None:
        self.call("repo.deleteRecord", by.token, repo=by.did, collection="app.bsky.feed.post", rkey=uri.rpartition("/")[2])

    def up(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.url}/xrpc/_health").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        self._pool.clear()


def _post(by: Account, text: str, **others: Any) -> dict[str, Any]:
    record = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2031-01-01T00:00:00Z", **others}
    return {"repo": by.did, "collection": "app.bsky.feed.post", "record": record}


def free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path, held: int = DAY_MS) -> Iterator[Server]:
    """Run a PDS that replays events of the last `held` milliseconds."""
    modules = installed.npm("atproto-dev-env-0.3.215", HERE) / "node_modules"
    shutil.copy(HERE / "serve.mjs", folder)
    (folder / "node_modules").symlink_to(modules)
    port = free()
    found = Server(port)
    environment = {**os.environ, "LOG_ENABLED": "false", "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        command = ["node", "serve.mjs", str(port), str(free()), str(held)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        eventually(found.up, 120)
        yield found
    finally:
        process.kill()
        process.wait()
        found.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("pds")) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"bluesky-{uuid4().hex[:12]}"


def write(folder: Path, server: Server, name: str, **others: object) -> Path:
    path = folder / "bluesky.yaml"
    given = {"name": name, "url": server.url, "protocol": "firehose", "poll_seconds": 0.2, "quiet_seconds": 0.5, **others}
    path.write_text(yaml.safe_dump(given))
    return path


def connect(settings: Path, *options: str) -> subprocess.Popen[str]:
    command = [*TOUCHLINE, "connect", "bluesky", "--settings", str(settings), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(settings: Path, *options: str) -> str:
    time.sleep(1.1)  # the server's `Date` has no fractions, so events of this second wait for a later round
    code, out, err = wait_for_exit(connect(settings, *options), 120)
    assert code == 0, err
    return out + err


def read_published(kafka: KafkaSettings, name: str) -> list[dict[str, Any]]:
    return list(records(kafka, "touchline.social", name))


def count(kafka: KafkaSettings, name: str) -> int:
    return sum(state.published for state in states(kafka, name).values())


def test_kill_at_each_step_neither_loses_nor_repeats_posts(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    ann = server.account()
    wanted = {server.post(ann, f"it broke again {number}") for number in range(POSTS)}
    time.sleep(1.1)
    settings = write(tmp_path, server, name, dids=[ann.did], batch=3)
    kill_at_each_step(settings, kafka, "bluesky")
    read(settings, "--once")
    found = read_published(kafka, name)
    assert {record["post_id"] for record in found} == wanted
    assert len({record["event_id"] for record in found}) == POSTS
    assert len(found) <= POSTS + 3 * len(STEPS)
    [state] = states(kafka, name).values()
    assert (state.published, state.dead_lettered, state.repeated) == (POSTS, 0, 0)
    read(settings, "--once")
    assert len(read_published(kafka, name)) == len(found)


def test_edits_and_deletes_are_events_with_server_time(tmp_path: Path, server: Server, kafka: KafkaSettings, name: str) -> None:
    ann, ben = server.account(), server.account()
    began = datetime.now(UTC)
    first, second = server.post(ann, "late & broken", langs=["en"]), server.post(ann, "and again")
    server.post(ben, "not asked for")
    server.edit(ann, second, "corrected")
    server.delete(ann, first)
    read(write(tmp_path, server, name, dids=[ann.did]), "--once")
    found = read_published(kafka, name)
    events = [(record["type"], record["post_id"], record["text"]) for record in found]
    assert sorted(events, key=str) == sorted(
        [
            ("post.published", first, "late & broken"),
            ("post.published", second, "and again"),
            ("post.edited", second, "corrected"),
            ("post.deleted", first, None),
        ],
        key=str,
    )
    assert all(began - timedelta(seconds=1) <= instant(record["occurred_at"]) <= datetime.now(UTC) for record in found)
    assert Counter(record["attributes"].get("claimed_at") for record in found) == {"2031-01-01T00:00:00Z": 3, None: 1}
    assert {one["value"] for record in found for one in record["identifiers"]} == {f"atproto/{ann.did}"}


def test_live_reading_begins_at_start_and_backfill_reads_earlier_posts(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    ann = server.account()
    old = {server.post(ann, f"old {number}") for number in range(5)}
    start = datetime.now(UTC)
    time.sleep(0.01)
    new = server.post(ann, "new")
    settings = write(tmp_path, server, name, dids=[ann.did], start=start.isoformat())
    read(settings, "--once")
    assert [record["post_id"] for record in read_published(kafka, name)] == [new]
    assert "5 read" in read(settings, "--backfill", "2026-01-01")
    assert {record["post_id"] for record in read_published(kafka, name)} == {*old, new}


def test_expired_cursor_is_gap_and_reading_continues(tmp_path: Path, kafka: KafkaSettings, name: str) -> None:
    held = 15_000
    with serving(tmp_path, held) as server:
        ann = server.account()
        server.post(ann, "seen")
        settings = write(tmp_path, server, name)
        read(settings, "--once")
        server.post(ann, "missed")
        time.sleep(held / 1_000 + 0.5)
        last = server.post(ann, "held")
        read(settings, "--once")
    assert [record["text"] for record in read_published(kafka, name)] == ["seen", "held"]
    assert read_published(kafka, name)[-1]["post_id"] == last
    [letter] = list(records(kafka, DEAD_LETTERS, name))
    assert letter["reason"] == "gap"
    assert "OutdatedCursor" in letter["detail"]


def test_cursor_from_future_is_gap(server: Server) -> None:
    connector = Connector(BlueskySettings(name="beyond", url=server.url, protocol="firehose"))
    with pytest.raises(CursorExpiredError, match="FutureCursor"):
        list(connector.read("posts", {"seq": 10**9}))


def test_jetstream_frames_of_same_commits_give_same_events(server: Server) -> None:
    ann = server.account()
    first = server.post(ann, "hello")
    server.edit(ann, first, "corrected")
    server.delete(ann, first)
    direct = create_firehose_parser()
    seen: list[dict[str, Any]] = []
    with websocket(f"{server.url.replace('http', 'ws')}{PATHS['firehose']}?cursor=0", proxy=None) as source:
        while len(seen) < 3:
            seen += [event for event in direct(source.recv(timeout=10)).events if event["did"] == ann.did]
    prefix = "network.bsky.jetstream.subscribeEvents#commit"
    for event in seen:
        names = ("seq", "time", "did", "rev", "operation") + (("record",) if event["record"] else ())
        payload = {"$type": prefix, "collection": "app.bsky.feed.post", "rkey": event["uri"].rpartition("/")[2]}
        frame = {"$type": "message", "payload": {**payload, **{name: event[name] for name in names}}}
        assert parse_jetstream(json.dumps(frame)).events == [event]
    connector = Connector(BlueskySettings(name="same", url=server.url, protocol="firehose", dids=(ann.did,)))
    time.sleep(1.1)
    read_events = [one.data for batch in connector.read("posts", None) for one in batch.records if isinstance(one, Record)]
    assert read_events == seen


def test_check_names_setting_to_change(tmp_path: Path, server: Server) -> None:
    assert "fine: a firehose" in read(write(tmp_path, server, "check"), "--check")
    code, _, err = wait_for_exit(connect(write(tmp_path, server, "check", protocol="jetstream"), "--check"))
    assert (code, err.count("\n")) == (1, 1)
    assert "are `url` and `protocol` right, and does it run?" in err


def test_post_passes_the_pipeline(line: Line, tmp_path: Path, server: Server, kafka: KafkaSettings, name: str) -> None:
    ann = server.account()
    server.post(ann, "first")
    settings = write(tmp_path, server, name, system="atproto-lag", dids=[ann.did])
    with line.connect("bluesky", settings):
        eventually(lambda: count(kafka, name) > 0)
        found = line.measure_lag("bluesky", "atproto-lag", "a post at a PDS", lambda: server.post(ann, "second"), scored=False)
    assert found.touchpoint > 0
