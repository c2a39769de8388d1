"""The intake with the genuine libraries that send to it, on the real Kafka: what they say, what a kill leaves, what it costs."""

import base64
import hmac
import json
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from deploy.local.state import Stack
from schemas.records.touchpoint import event_id
from tests.harness.waiting import eventually
from tests.live import installed
from tests.live.intake.instance import SIGNING, WRITE, Intake, instance
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live]
HERE = Path(__file__).with_name("intake")
KEYS = {"segment": "write-key", "rudder": "write-key", "snowplow": "", "cloudevents": "bearer-key", "standardwebhooks": SIGNING}
CALLS = ["profile.identified", "track.order_completed", "page.viewed", "screen.viewed", "group.joined", "profile.linked"]
SAID = {
    "segment": CALLS * 2,
    "rudder": ["track.product_viewed", "profile.identified"],
    "snowplow": ["page.viewed", "event.link_click", "shop.add_to_basket"] * 2,
    "cloudevents": ["example.invoice.issued"] * 4,
    "standardwebhooks": ["ticket.opened"],
    "node": ["profile.identified", "track.order_completed", "page.viewed"],
}
BATCHES, EVENTS, SENDERS = 60, 50, 4
LEAST_EVENTS_PER_SECOND, MOST_MEMORY = 5_000, 300 * 1024 * 1024


@pytest.fixture(scope="module")
def libraries() -> Path:
    return installed.python("intake", HERE / "requirements.txt")


def sent(intake: Intake, libraries: Path, library: str) -> None:
    command = [str(libraries / "bin" / "python"), str(HERE / "send.py"), library, intake.address, KEYS[library]]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("library", list(KEYS))
def test_what_a_python_library_sends_is_published_once_it_says_so(
    migrated: Stack, tmp_path: Path, libraries: Path, library: str
) -> None:
    intake = instance(tmp_path)
    with intake.running():
        sent(intake, libraries, library)
        found = {one["event_id"]: one["type"] for one in intake.touchpoints()}
    assert Counter(found.values()) == Counter(SAID[library])
    assert intake.dead_letters() == []


@pytest.mark.slow
def test_what_the_node_library_sends_is_published_once_it_says_so(migrated: Stack, tmp_path: Path) -> None:
    library = installed.npm("intake-node", HERE / "node")
    intake = instance(tmp_path)
    with intake.running():
        subprocess.run(["node", library / "send.mjs", intake.address, "write-key"], check=True, capture_output=True, timeout=60)
        found = {one["event_id"]: one["type"] for one in intake.touchpoints()}
    assert Counter(found.values()) == Counter(SAID["node"])


def test_identify_and_alias_tell_all_ids_of_a_customer(migrated: Stack, tmp_path: Path, libraries: Path) -> None:
    intake = instance(tmp_path)
    with intake.running():
        sent(intake, libraries, "segment")
        found = {(one["type"], *sorted(each["kind"] for each in one["identifiers"])) for one in intake.touchpoints()}
    assert ("profile.identified", "email", "phone", "user_id") in found
    assert ("profile.linked", "anonymous_id", "user_id") in found


class Sender(threading.Thread):
    """Posts its batches one after the other, each with a bad event in it, until it is answered with 200, as the libraries do."""

    def __init__(self, intake: Intake, number: int, gone: threading.Event) -> None:
        super().__init__()
        self._intake, self._gone = intake, gone
        self.batches = [[f"{number}-{batch}-{event}" for event in range(EVENTS)] for batch in range(BATCHES)]
        self.told = self.again = 0

    def run(self) -> None:
        for batch in self.batches:
            events = [{"type": "track", "event": "Seen", "userId": f"u-{one}", "messageId": one} for one in batch]
            body = json.dumps({"batch": [*events, {"type": "track", "messageId": f"bad-{batch[0]}"}]}).encode()
            while self._intake.post("/v1/batch", body, WRITE) != 200:
                self.again += 1
                if self._gone.wait(0.1):
                    return
            self.told += len(batch)


def test_killed_again_and_again_whoever_sends_until_it_is_told_so_loses_nothing(migrated: Stack, tmp_path: Path) -> None:
    intake, gone = instance(tmp_path), threading.Event()
    senders = [Sender(intake, number, gone) for number in range(SENDERS)]
    try:
        for more in (500, 2_000):
            process = intake.start()
            enough = told(senders) + more
            for sender in senders:
                if not sender.ident:
                    sender.start()
            eventually(lambda enough=enough: told(senders) > enough, 60)  # type: ignore[misc]
            process.kill()
            assert process.wait() == -signal.SIGKILL
        with intake.running():
            for sender in senders:
                sender.join(120)
    finally:
        gone.set()
    names = [name for sender in senders for batch in sender.batches for name in batch]
    assert told(senders) == len(names)
    assert sum(sender.again for sender in senders) >= SENDERS
    assert {UUID(bytes=one["event_id"]) for one in intake.touchpoints()} == {event_id("app", f"app:{name}", "") for name in names}
    letters = {one["letter_id"]: one for one in intake.dead_letters()}.values()
    assert len(letters) == SENDERS * BATCHES
    assert {one["reason"] for one in letters} == {"missing_identifier"}
    assert all(json.loads(one["payload"])["messageId"].startswith("bad-") for one in letters)


def told(senders: list[Sender]) -> int:
    return sum(sender.told for sender in senders)


def test_a_preview_shows_what_comes_and_has_it_sent_again(migrated: Stack, tmp_path: Path) -> None:
    intake = instance(tmp_path)
    process = intake.start("--preview", "5")
    body = json.dumps({"userId": "u1", "messageId": "m1", "name": "Pricing"}).encode()
    assert intake.post("/v1/page", body, WRITE) == 503
    assert process.wait(30) == 0, intake.log()
    assert "page.viewed" in intake.log()
    assert "user_id app/u1" in intake.log()
    assert intake.touchpoints() == []


def test_an_order_webhook_moves_the_risk_of_its_customer(line: Line, tmp_path: Path) -> None:
    intake = instance(tmp_path)
    order = {"id": 1, "created_at": datetime.now(UTC).isoformat(), "email": "new@shop.example", "total_price": "12.50"}
    body = json.dumps(order).encode()
    signed = base64.b64encode(hmac.digest(b"shopify-secret", body, "sha256")).decode()
    headers = {"X-Shopify-Hmac-Sha256": signed, "X-Shopify-Topic": "orders/create", "X-Shopify-Webhook-Id": "w1"}
    with line.connect("intake", intake.settings, **intake.secrets):
        eventually(intake.listens, 60)
        found = line.measure_lag(
            "intake", "store", "a signed order is posted", lambda: intake.post("/webhooks/store", body, headers)
        )
    assert 0 < found.touchpoint <= found.score


@pytest.mark.slow
def test_five_thousand_events_cost_less_than_a_second_of_one_core_and_memory_has_its_bound(
    migrated: Stack, tmp_path: Path
) -> None:
    """In processor seconds, in which other work on the machine does not count."""
    wrk = installed.debian("wrk", "wrk")
    (library,) = {path.parent for path in wrk.rglob("libluajit*.so*")}
    intake = instance(tmp_path)
    with intake.running() as process:
        command = [str(wrk / "usr" / "bin" / "wrk"), "-t1", "-c16", "-d20s", "-s", str(HERE / "batch.lua"), intake.address]
        before = cpu_seconds(process.pid)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment).stdout
        seconds, memory = cpu_seconds(process.pid) - before, psutil.Process(process.pid).memory_info().rss
    (requests,) = re.findall(r"(\d+) requests in", said)
    assert "Non-2xx" not in said
    assert int(requests) * 100 / seconds > LEAST_EVENTS_PER_SECOND
    assert memory < MOST_MEMORY


def cpu_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system
