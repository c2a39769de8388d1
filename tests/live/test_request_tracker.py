"""A real Request Tracker 5: a ticket from creation to deletion, internal comments, kills, permissions, lag."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from connectors.settings import secret_variable
from schemas.records.fields import instant
from schemas.records.touchpoint import event_id
from schemas.service.connection import KafkaSettings
from tests.harness.connectors import STEPS, TOUCHLINE, kill_at_each_step, records, states, wait_for_exit
from tests.harness.sinks import ask
from tests.harness.waiting import eventually
from tests.live.line import Line
from tests.live.request_tracker.server import TICKETS, RequestTracker, request_tracker

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
SEEDED = "2026-03-01T09:00:00Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RequestTracker]:
    with request_tracker(tmp_path_factory.mktemp("rt")) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"rt-{uuid4().hex[:12]}"


def write(folder: Path, server: RequestTracker, name: str, **settings: object) -> Path:
    path = folder / "rt.yaml"
    path.write_text(yaml.safe_dump({"name": name, "url": server.url, **settings}))
    return path


def connect(settings: Path, token: str, *options: str) -> subprocess.Popen[str]:
    name = yaml.safe_load(settings.read_text())["name"]
    command = [*TOUCHLINE, "connect", "request_tracker", "--settings", str(settings), *options]
    environment = {**os.environ, secret_variable(name, "token"): token}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(settings: Path, token: str, *options: str) -> str:
    """Run the connector until it has read everything, and return its output."""
    code, out, err = wait_for_exit(connect(settings, token, *options), 120)
    assert code == 0, err
    return out + err


def published(kafka: KafkaSettings, name: str) -> list[dict[str, Any]]:
    return list(records(kafka, "touchline.support", name))


def count(kafka: KafkaSettings, name: str) -> int:
    return sum(state.published for state in states(kafka, name).values())


def seeded(server: RequestTracker) -> set[bytes]:
    """Return the expected events of the initial tickets from the database."""
    sql = "SELECT id FROM Transactions WHERE ObjectType = 'RT::Ticket' AND Type = 'Create' AND Created = '2026-03-01 09:00:00'"
    return {event_id("request-tracker", f"tickets:{number}", SEEDED).bytes for (number,) in server.sql(sql)}


def test_kill_at_each_step_neither_loses_nor_repeats_transactions(
    tmp_path: Path, server: RequestTracker, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, page=2)
    kill_at_each_step(settings, kafka, "request_tracker", **{secret_variable(name, "token"): server.token})
    wanted = seeded(server)
    assert len(wanted) == TICKETS
    read(settings, server.token, "--once")
    found = Counter(record["event_id"] for record in published(kafka, name))
    assert wanted <= found.keys()
    assert found.total() <= len(found) + 2 * len(STEPS)
    [state] = states(kafka, name).values()
    assert (state.published, state.dead_lettered) == (len(found), 0)
    assert state.read == state.published + state.repeated


def test_backfill_reads_transactions_before_start(
    tmp_path: Path, server: RequestTracker, kafka: KafkaSettings, name: str
) -> None:
    settings = write(tmp_path, server, name, start=datetime.now(UTC).isoformat())
    read(settings, server.token, "--once")
    assert seeded(server).isdisjoint(record["event_id"] for record in published(kafka, name))
    output = read(settings, server.token, "--backfill", "2026-02-28")
    assert "read; the source cannot count" in output
    found = Counter(record["event_id"] for record in published(kafka, name))
    assert {found[one] for one in seeded(server)} == {1}


def test_ticket_is_read_from_creation_to_deletion_without_comments(
    tmp_path: Path, server: RequestTracker, kafka: KafkaSettings, name: str
) -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    settings = write(tmp_path, server, name, start=began.isoformat(), page=3)
    ticket = server.open("ann@example.org", "It blinks <red>.")
    server.write_message(ticket, "correspond", "<p>Please <b>restart</b> it &amp; wait.</p>")
    server.write_message(ticket, "comment", "The customer is a liar.")
    server.change(ticket, Queue="Billing")
    for status in ("resolved", "open", "rejected", "deleted"):
        server.change(ticket, Status=status)
    other = server.open("bob@example.org", "The same.")
    into = server.open("bob@example.org", "And again.")
    server.change(other, MergeInto=into)
    time.sleep(1.1)  # the server's `Date` has no fractions, so events of this second wait for a later round
    read(settings, server.token, "--once")
    found = [one for one in published(kafka, name) if one["ticket_id"] in (ticket, other, into)]
    assert [one["type"] for one in found if one["ticket_id"] == ticket] == [
        "ticket.opened",
        "ticket.replied",
        "ticket.transferred",
        "ticket.resolved",
        "ticket.reopened",
        "ticket.rejected",
        "ticket.deleted",
    ]
    assert [one["text"] for one in found if one["ticket_id"] == ticket][:2] == ["It blinks <red>.", "Please restart it & wait."]
    [waited] = [one["wait_seconds"] for one in found if one["type"] == "ticket.replied"]
    assert 0 <= waited < 60
    assert "liar" not in str(published(kafka, name))
    for one in found:
        who = "ann@example.org" if one["ticket_id"] == ticket else "bob@example.org"
        assert {"kind": "email", "value": who} in one["identifiers"]
        assert timedelta(0) <= instant(one["occurred_at"]) - began < timedelta(minutes=1)
    assert {one["ticket_id"] for one in found} == {ticket, other, into}
    read(settings, server.token, "--once")
    assert len({one["event_id"] for one in published(kafka, name)}) == len(published(kafka, name))


def test_message_of_customer_is_not_an_answer(tmp_path: Path, server: RequestTracker, kafka: KafkaSettings, name: str) -> None:
    settings = write(tmp_path, server, name, start=datetime.now(UTC).replace(microsecond=0).isoformat())
    ticket = server.open("root@localhost", "My own.")
    server.write_message(ticket, "correspond", "Are you there?")
    time.sleep(1.1)
    read(settings, server.token, "--once")
    found = [one["type"] for one in published(kafka, name) if one["ticket_id"] == ticket]
    assert found == ["ticket.opened", "ticket.followed_up"]


@pytest.mark.parametrize(
    ("url", "token", "message"), [("", "1-2-wrong", "_TOKEN"), ("/nothing", None, "WebURL"), ("/REST/2.0", None, "WebURL")]
)
def test_check_names_setting_to_change(tmp_path: Path, server: RequestTracker, url: str, token: str | None, message: str) -> None:
    settings = write(tmp_path, server, "check", url=server.url + url)
    code, out, err = wait_for_exit(connect(settings, token or server.token, "--check"))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_check_and_preview_show_data(tmp_path: Path, server: RequestTracker) -> None:
    settings = write(tmp_path, server, "check")
    assert "Request Tracker 5.0" in read(settings, server.token, "--check")
    assert "c0@example.org" in read(settings, server.token, "--preview", "3")


def test_reopened_ticket_moves_score_of_customer(line: Line, tmp_path: Path, server: RequestTracker, name: str) -> None:
    start = datetime.now(UTC).replace(microsecond=0)  # RT's times have no fractions
    settings = write(tmp_path, server, name, system=name, start=start.isoformat(), poll_seconds=0.5)
    ticket = server.open("dora@example.org", "It is broken.")
    server.change(ticket, Status="resolved")
    with line.connect("request_tracker", settings, **{secret_variable(name, "token"): server.token}):
        eventually(lambda: scored(name) == 2, 60)
        found = line.measure_lag("request_tracker", name, "a ticket is reopened", lambda: server.change(ticket, Status="open"))
    assert 0 < found.touchpoint <= found.score
    assert scored(name) == 3


def scored(system: str) -> int:
    """Return how many touchpoints of the system changed a satisfaction."""
    touchpoints = f"SELECT event_id FROM touchline.touchpoints WHERE system = '{system}'"
    [row] = ask(f"SELECT uniqExact(event_id) AS n FROM touchline.satisfaction WHERE event_id IN ({touchpoints})")
    return int(row["n"])
