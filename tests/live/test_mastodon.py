"""mastodon-mock 0.6.1, an independent imitation of Mastodon: mentions, hashtags, edits, deletes, kills, limits, lag."""

import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
import yaml

from connectors.errors import RateLimitedError
from connectors.settings import open_connector, secret_variable
from schemas.records.fields import instant
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import STEPS, TOUCHLINE, kill_at_each_step, records, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live]
HERE = Path(__file__).with_name("mastodon")
TOKENS = {"acme": "acme_token", "ann": "ann_token", "ben": "ben_token"}
SEEDS = "\n".join(f'[[seed.accounts]]\nusername = "{name}"\naccess_token = "{token}"' for name, token in TOKENS.items())
SERVE = """
import time
from mastodon_mock import cli, ids

def snowflakes():  # ids in Mastodon's format: time in milliseconds, then 16 bits
    last = 0
    while True:
        last = max(last + 1, time.time_ns() // 1_000_000 << 16)
        yield last

ids._counter = snowflakes()
cli.main()
"""
POSTS = 60
SETTLED = 2.1  # the server's `Date` has no fractions and changes once per second, so newer posts wait for a later round


class Server:
    """The mock; `post`, `edit` and `delete` are the actions of a user."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager(retries=False)

    def ask(self, method: str, path: str, author: str = "ann", **fields: Any) -> Any:
        headers = {"Authorization": f"Bearer {TOKENS[author]}", "Content-Type": "application/json"}
        answer = self._pool.request(method, self.url + path, body=json.dumps(fields) if fields else None, headers=headers)
        assert answer.status == 200, answer.data
        return answer.json()

    def post(self, text: str, author: str = "ann", **fields: Any) -> str:
        return str(self.ask("POST", "/api/v1/statuses", author, status=text, **fields)["id"])

    def edit(self, name: str, text: str) -> str:
        return str(self.ask("PUT", f"/api/v1/statuses/{name}", status=text)["edited_at"])

    def delete(self, name: str) -> None:
        self.ask("DELETE", f"/api/v1/statuses/{name}")

    def fault(self, path: str, count: int, **effect: object) -> None:
        self.ask("POST", "/api/v1/_mock/faults", match={"path": path}, effect=effect, count=count)

    def up(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.url}/api/v1/instance").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        self._pool.clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    python = installed.python("mastodon-mock-0.6.1", HERE / "requirements.txt") / "bin" / "python"
    folder = tmp_path_factory.mktemp("mastodon")
    config = folder / "mock.toml"
    config.write_text(SEEDS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Server(port)
    options = [
        "serve",
        "--in-memory",
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(python), "-c", SERVE, *options], cwd=folder, stdout=log, stderr=log)
    try:
        eventually(found.up, 60)
        yield found
    finally:
        process.kill()
        process.wait()
        found.close()


@pytest.fixture
def name() -> str:
    return f"mastodon-{uuid4().hex[:12]}"


def write(folder: Path, server: Server, name: str, **others: object) -> Path:
    path = folder / "mastodon.yaml"
    path.write_text(yaml.safe_dump({"name": name, "url": server.url, "mentions": False, "poll_seconds": 0.2, **others}))
    return path


def connect(settings: Path, *options: str, token: str = TOKENS["acme"]) -> subprocess.Popen[str]:
    name = yaml.safe_load(settings.read_text())["name"]
    command = [*TOUCHLINE, "connect", "mastodon", "--settings", str(settings), *options]
    environment = {**os.environ, secret_variable(name, "token"): token}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(settings: Path, *options: str) -> str:
    time.sleep(SETTLED)
    code, out, err = wait_for_exit(connect(settings, *options), 120)
    assert code == 0, err
    return out + err


def read_published(kafka: KafkaSettings, name: str) -> list[tuple[str, str]]:
    return [(record["type"], record["post_id"]) for record in records(kafka, "touchline.social", name)]


def tag() -> str:
    return f"t{uuid4().hex[:8]}"


def test_kill_at_each_step_neither_loses_nor_repeats_posts(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    word = tag()
    wanted = [server.post(f"it broke again #{word} {number}") for number in range(POSTS)]
    settings = write(tmp_path, server, name, tags=[word], page=3)
    time.sleep(SETTLED)
    kill_at_each_step(settings, kafka, "mastodon", **{secret_variable(name, "token"): TOKENS["acme"]})
    read(settings, "--once")
    found = list(records(kafka, "touchline.social", name))
    assert {record["event_id"] for record in found} == {event_id("mastodon", f"statuses:{one}", "first").bytes for one in wanted}
    assert len(found) <= POSTS + 3 * len(STEPS)
    [state] = states(kafka, name).values()
    assert (state.published, state.dead_lettered) == (POSTS, 0)
    read(settings, "--once")
    assert len(list(records(kafka, "touchline.social", name))) == len(found)


def count(kafka: KafkaSettings, name: str) -> int:
    return sum(state.published for state in states(kafka, name).values())


def test_edits_and_deletes_are_published_once_and_removed_tag_is_no_delete(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    word = tag()
    posts = [server.post(f"{number} #{word}") for number in range(50)]
    settings = write(tmp_path, server, name, tags=[word])
    read(settings, "--once")
    at = server.edit(posts[7], f"corrected #{word}")
    gone = [posts[0], *posts[10:35], posts[49]]
    for one in gone:
        server.delete(one)
    before = datetime.now(UTC)
    for _ in range(2):
        read(settings, "--once")
    found = list(records(kafka, "touchline.social", name))
    assert Counter(record["type"] for record in found) == {"post.published": 50, "post.edited": 1, "post.deleted": len(gone)}
    assert {record["post_id"] for record in found if record["type"] == "post.deleted"} == set(gone)
    [edited] = [record for record in found if record["type"] == "post.edited"]
    assert edited["text"].startswith("corrected")
    assert abs(instant(edited["occurred_at"]) - datetime.fromisoformat(at)) < timedelta(milliseconds=1)
    deleted = [record for record in found if record["type"] == "post.deleted"]
    assert all(before - timedelta(seconds=2) <= instant(record["occurred_at"]) <= datetime.now(UTC) for record in deleted)
    assert len({record["identifiers"][0]["value"] for record in found}) == 1


def test_mention_with_two_hashtags_is_published_once_with_edit_and_delete(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    word, other = tag(), tag()
    first = server.post(f"@acme where is my order #{word} #{other}")
    reply = server.post("@acme still nothing", in_reply_to_id=first, visibility="direct")
    settings = write(tmp_path, server, name, tags=[word, other], mentions=True)
    wanted = [("post.published", first), ("post.replied", reply)]
    read(settings, "--once")
    assert sorted(read_published(kafka, name)) == sorted(wanted)
    server.edit(first, f"@acme where is my second order #{word} #{other}")
    server.delete(reply)
    read(settings, "--once")
    server.delete(first)
    read(settings, "--once")
    wanted += [("post.edited", first), ("post.deleted", reply), ("post.deleted", first)]
    assert sorted(read_published(kafka, name)) == sorted(wanted)
    found = states(kafka, name).values()
    assert sum(state.read - state.repeated for state in found) == count(kafka, name) == len(wanted)


def test_quiet_hashtag_does_not_repeat_posts_that_mentions_forgot(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    word = tag()
    first = server.post(f"@acme where is my order #{word}")
    settings = write(tmp_path, server, name, tags=[word], mentions=True, recheck_hours=SETTLED / 3_600)
    read(settings, "--once")
    second = server.post("@acme never mind")
    read(settings, "--once")
    found = read_published(kafka, name)
    for post in (first, second):
        server.delete(post)  # other tests read all mentions of the account
    assert [found.count(("post.published", one)) for one in (first, second)] == [1, 1]


def test_live_reading_begins_at_start_and_backfill_reads_earlier_posts(
    tmp_path: Path, server: Server, kafka: KafkaSettings, name: str
) -> None:
    word = tag()
    old = [server.post(f"old {number} #{word}") for number in range(5)]
    time.sleep(0.01)
    start = datetime.now(UTC)
    time.sleep(0.01)
    new = server.post(f"new #{word}")
    settings = write(tmp_path, server, name, tags=[word], start=start.isoformat())
    read(settings, "--once")
    assert read_published(kafka, name) == [("post.published", new)]
    assert "5 read" in read(settings, "--backfill", "2026-01-01")
    assert sorted(read_published(kafka, name)) == sorted(("post.published", one) for one in (*old, new))


def test_rate_limit_stops_requests_and_check_names_setting_to_change(
    tmp_path: Path, server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = tag()
    settings = write(tmp_path, server, name, tags=[word])
    monkeypatch.setenv(secret_variable(name, "token"), TOKENS["acme"])
    connector = open_connector("mastodon", settings, {})
    assert connector.check() == f"can read tags:{word} at {server.url}"
    server.fault(f"/api/v1/timelines/tag/{word}", 1, type="ratelimit")
    for _ in range(2):
        with pytest.raises(RateLimitedError) as error:
            list(connector.read(f"tags:{word}", None))
        assert 0 < (error.value.retry_after or 0) <= 301
    connector.close()
    code, _, err = wait_for_exit(connect(write(tmp_path, server, name, mentions=True), "--check", token="wrong"))
    assert (code, err.count("\n")) == (2, 1)
    assert "set TOUCHLINE_MASTODON_" in err


def test_post_passes_the_pipeline(line: Line, tmp_path: Path, server: Server, kafka: KafkaSettings, name: str) -> None:
    word = tag()
    server.post(f"first #{word}")
    settings = write(tmp_path, server, name, tags=[word], system="mastodon-lag", poll_seconds=0.5)
    with line.connect("mastodon", settings, **{secret_variable(name, "token"): TOKENS["acme"]}):
        eventually(lambda: count(kafka, name) > 0)
        found = line.measure_lag(
            "mastodon", "mastodon-lag", "a post under a hashtag", lambda: server.post(f"#{word}"), scored=False
        )
    assert found.touchpoint > 0
