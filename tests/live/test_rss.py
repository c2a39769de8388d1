"""Feeds of feedgen served by nginx: new and changed entries, 304, more entries than one round reads, kills, lag."""

import json
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from connectors.rss.connector import MAX_ENTRIES
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import KILLED, TOUCHLINE, connect, killed_command, records, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.timeout(300)]  # the first run installs the server
HERE = Path(__file__).with_name("rss")
CHECKED = 200  # each run begins with a check, which requests the whole feed
DAY = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = [  # a feed is one batch per round, so each step is another round
    ("send", 2, True),  # in the middle of the batch
    ("flush", 1, True),  # the whole batch sent, nothing awaited
    ("flush", 1, False),  # batch acknowledged, cursor not sent
    ("flush", 2, True),  # cursor sent, not acknowledged
    ("flush", 2, False),  # cursor acknowledged, totals not updated
]
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    types {{ application/rss+xml rss; application/atom+xml atom; }}
    log_format asked '$status $uri';
    access_log {folder}/access.log asked;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


class Feed:
    """One feed of the server; `entries` holds its content, newest last, since the last `write`."""

    def __init__(self, folder: Path, url: str, kind: str) -> None:
        self.name, self.kind = f"rss-{uuid4().hex[:12]}", kind
        self._file = folder / "www" / f"{self.name}.{kind}"
        self._log = folder / "access.log"
        self.url = f"{url}/{self._file.name}"
        self.entries: list[dict[str, str]] = []

    def add(self, count: int, text: str = "it broke again") -> list[str]:
        """Add entries, one hour apart, and return their ids."""
        first = len(self.entries)
        hours = ((number, (DAY + timedelta(hours=number)).isoformat()) for number in range(first, first + count))
        new = [{"id": f"urn:{self.name}:{number}", "title": f"No. {number}", "text": text, "at": at} for number, at in hours]
        self.entries += new
        return [entry["id"] for entry in new]

    def write(self) -> None:
        """Write `entries` to the served file."""
        python = installed.python("feedgen-1.0.0", HERE / "requirements.txt") / "bin" / "python"
        command = [str(python), str(HERE / "make.py"), self.kind]
        made = subprocess.run(command, input=json.dumps(self.entries).encode(), capture_output=True, check=True)
        half = self._file.with_suffix(".half")
        half.write_bytes(made.stdout)
        half.replace(self._file)

    def answers(self) -> list[int]:
        """Return the status of each request for the feed from the server's log."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [int(status) for status, path in lines if path == f"/{self._file.name}"]


class Server:
    """A web server; `feed` creates a new feed on it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port

    def feed(self, kind: str) -> Feed:
        return Feed(self._folder, f"http://127.0.0.1:{self._port}", kind)

    def up(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self._port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "www").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port))
    nginx = installed.debian("nginx", "nginx") / "usr" / "sbin" / "nginx"
    process = subprocess.Popen([nginx, "-e", folder / "error.log", "-p", folder, "-c", file])
    try:
        found = Server(folder, port)
        eventually(found.up)
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["rss", "atom"])
def feed(request: pytest.FixtureRequest, server: Server) -> Feed:
    return server.feed(request.param)


def write(folder: Path, feed: Feed, **others: object) -> Path:
    path = folder / "rss.yaml"
    path.write_text(yaml.safe_dump({"name": feed.name, "url": feed.url, "system": "weblog", "poll_seconds": 0.2, **others}))
    return path


def read(settings: Path, kafka: KafkaSettings, *options: str, program: tuple[str, ...] = TOUCHLINE) -> tuple[int, str]:
    code, out, err = wait_for_exit(connect(settings, kafka, *options, program=program, connector="rss", COLUMNS="200"))
    return code, out + err


def read_published(kafka: KafkaSettings, feed: Feed) -> list[dict[str, Any]]:
    return list(records(kafka, "touchline.social", feed.name))


def totals(kafka: KafkaSettings, feed: Feed) -> tuple[int, int, int]:
    """Return the totals read, published and repeated."""
    [state] = states(kafka, feed.name).values()
    assert state.dead_lettered == 0
    return state.read, state.published, state.repeated


def test_new_and_changed_entries_are_published_once_and_unchanged_feed_is_not_sent(
    tmp_path: Path, kafka: KafkaSettings, feed: Feed
) -> None:
    ids = feed.add(20)
    feed.write()
    settings = write(tmp_path, feed)
    for _ in range(2):
        assert read(settings, kafka, "--once")[0] == 0
    assert feed.answers() == [CHECKED, 200, CHECKED, 304]
    assert [record["post_id"] for record in sorted(read_published(kafka, feed), key=lambda one: one["occurred_at"])] == ids
    feed.entries[7]["text"] = "it works now, thank you"
    ids += feed.add(3)
    feed.write()
    for _ in range(2):
        assert read(settings, kafka, "--once")[0] == 0
    assert feed.answers() == [CHECKED, 200, CHECKED, 304] * 2
    found = read_published(kafka, feed)
    assert Counter(record["post_id"] for record in found) == Counter([*ids, ids[7]])
    assert len({record["event_id"] for record in found}) == 24
    assert {record["text"] for record in found if record["post_id"] == ids[7]} == {
        "No. 7 it broke again",
        "No. 7 it works now, thank you",
    }
    assert {(one["kind"], one["value"]) for record in found for one in record["identifiers"]} == {("email", "ann@example.org")}
    assert totals(kafka, feed) == (24, 24, 0)


def test_newest_entries_of_large_feed_are_read_and_then_only_new_ones(
    tmp_path: Path, kafka: KafkaSettings, server: Server
) -> None:
    feed = server.feed("atom")
    ids = feed.add(MAX_ENTRIES + 50)
    feed.write()
    settings = write(tmp_path, feed)
    assert read(settings, kafka, "--once")[0] == 0
    assert {record["post_id"] for record in read_published(kafka, feed)} == set(ids[50:])
    [state] = states(kafka, feed.name).values()
    assert len(state.cursor) < 65_536
    new = feed.add(5)
    feed.write()
    assert read(settings, kafka, "--once")[0] == 0
    assert Counter(record["post_id"] for record in read_published(kafka, feed)) == Counter([*ids[50:], *new])
    assert totals(kafka, feed) == (MAX_ENTRIES + 5, MAX_ENTRIES + 5, 0)


@pytest.mark.slow
def test_kill_at_each_step_neither_loses_nor_repeats_entries(tmp_path: Path, kafka: KafkaSettings, feed: Feed) -> None:
    settings, ids = write(tmp_path, feed), []
    for method, fatal_call, before in STEPS:
        ids += feed.add(7)
        feed.write()
        code, output = read(settings, kafka, "--once", program=killed_command(method, fatal_call, before=before))
        assert code == KILLED, f"the process ended before step {method} {fatal_call}: {output}"
    ids += feed.add(7)
    feed.write()
    for _ in range(2):
        assert read(settings, kafka, "--once")[0] == 0
    found = read_published(kafka, feed)
    assert {record["post_id"] for record in found} == set(ids)
    assert len({record["event_id"] for record in found}) == len(ids)
    assert totals(kafka, feed) == (len(ids), len(ids), 0)


def test_check_counts_and_preview_publishes_nothing(tmp_path: Path, kafka: KafkaSettings, server: Server) -> None:
    feed = server.feed("atom")
    feed.add(3)
    feed.write()
    settings = write(tmp_path, feed)
    code, output = read(settings, kafka, "--check")
    assert (code, f"3 entries at {feed.url}" in output.replace("\n", " ")) == (0, True)
    assert "post.published" in read(settings, kafka, "--preview", "3")[1]
    assert read_published(kafka, feed) == []
    code, output = read(write(tmp_path, feed, url=f"{feed.url}.gone"), kafka, "--check")
    assert (code, output.count("\n")) == (2, 1)


def test_entry_passes_the_pipeline(line: Line, tmp_path: Path, server: Server, kafka: KafkaSettings) -> None:
    feed = server.feed("rss")
    feed.add(3)
    feed.write()

    def publish() -> None:
        feed.add(1)
        feed.write()

    with line.connect("rss", write(tmp_path, feed, system="rss-lag", poll_seconds=0.5)):
        eventually(lambda: bool(states(kafka, feed.name)))
        found = line.measure_lag("rss", "rss-lag", "an entry in a feed", publish, scored=False)
    assert found.touchpoint > 0
    assert set(feed.answers()) == {200, 304}
