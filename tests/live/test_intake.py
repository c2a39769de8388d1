"""The intake with original client libraries on a real Kafka: events, kills, cost."""

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
from tests.live.intake.instance import SIGNING, WRITE, Intake, create_instance
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live]
HERE = Path(__file__).with_name("intake")
KEYS = {"segment": "write-key", "rudder": "write-key", "snowplow": "", "cloudevents": "bearer-key", "standardwebhooks": SIGNING}
CALLS = ["profile.identified", "track.order_completed", "page.viewed", "screen.viewed", "group.joined", "profile.linked"]
EXPECTED = {
    "segment": CALLS * 2,
    "rudder": ["track.product_viewed", "profile.identified"],
    "snowplow": ["page.viewed", "event.link_click", "shop.add_to_basket"] * 2,
    "cloudevents": ["example.invoice.issued"] * 4,
    "standardwebhooks": ["ticket.opened"],
    "node": ["profile.identified", "track.order_completed", "page.viewed"],
}
BATCHES, EVENTS, SENDERS = 60, 50, 4
MIN_EVENTS_PER_SECOND, MAX_MEMORY_BYTES = 5_000, 300 * 1024 * 1024


@pytest.fixture(scope="module")
def libraries() -> Path:
    return installed.python("intake", HERE / "requirements.txt")


def send(intake: Intake, libraries: Path, library: str) -> None:
    command = [str(libraries / "bin" / "python"), str(HERE / "send.py"), library, intake.address, KEYS[library]]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("library", list(KEYS))
def test_events_of_python_library_are_published(migrated: Stack, tmp_path: Path, libraries: Path, library: str) -> None:
    intake = create_instance(tmp_path)
    with intake.running():
        send(intake, libraries, library)
        found = {one["event_id"]: one["type"] for one in intake.touchpoints()}
    assert Counter(found.values()) == Counter(EXPECTED[library])
    assert intake.dead_letters() == []


@pytest.mark.slow
def test_events_of_node_library_are_published(migrated: Stack, tmp_path: Path) -> None:
    library = installed.npm("intake-node", HERE / "node")
    intake = create_instance(tmp_path)
    with intake.running():
        subprocess.run(["node", library / "send.mjs", intake.address, "write-key"], check=True, capture_output=True, timeout=60)
        found = {one["event_id"]: one["type"] for one in intake.touchpoints()}
    assert Counter(found.values()) == Counter(EXPECTED["node"])


def test_identify_and_alias_contain_all_ids_of_customer(migrated: Stack, tmp_path: Path, libraries: Path) -> None:
    intake = create_instance(tmp_path)
    with intake.running():
        send(intake, libraries, "segment")
        found = {(one["type"], *sorted(each["kind"] for each in one["identifiers"])) for one in intake.touchpoints()}
    assert ("profile.identified", "email", "phone", "user_id") in found
    assert ("profile.linked", "anonymous_id", "user_id") in found


class Sender(threading.Thread):
    """Thread that posts batches, each with one bad event, and repeats each until the answer is 200, like the libraries."""

    def __init__(self, intake: Intake, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._intake, self._stopped = intake, stop
        self.batches = [[f"{number}-{batch}-{event}" for event in range(EVENTS)] for batch in range(BATCHES)]
        self.acknowledged = self.repeated = 0

    def run(self) -> None:
        for batch in self.batches:
            events = [{"type": "track", "event": "Seen", "userId": f"u-{one}", "messageId": one} for one in batch]
            body = json.dumps({"batch": [*events, {"type": "track", "messageId": f"bad-{batch[0]}"}]}).encode()
            while self._intake.post("/v1/batch", body, WRITE) != 200:
                self.repeated += 1
                if self._stopped.wait(0.1):
                    return
            self.acknowledged += len(batch)


def test_repeated_kills_lose_no_event_of_retrying_senders(migrated: Stack, tmp_path: Path) -> None:
    intake, stop = create_instance(tmp_path), threading.Event()
    senders = [Sender(intake, number, stop) for number in range(SENDERS)]
    try:
        for more in (500, 2_000):
            process = intake.start()
            enough = count_acknowledged(senders) + more
            for sender in senders:
                if not sender.ident:
                    sender.start()
            eventually(lambda enough=enough: count_acknowledged(senders) > enough, 60)  # type: ignore[misc]
            process.kill()
            assert process.wait() == -signal.SIGKILL
        with intake.running():
            for sender in senders:
                sender.join(120)
    finally:
        stop.set()
    names = [name for sender in senders for batch in sender.batches for name in batch]
    assert count_acknowledged(senders) == len(names)
    assert sum(sender.repeated for sender in senders) >= SENDERS
    assert {UUID(bytes=one["event_id"]) for one in intake.touchpoints()} == {event_id("app", f"app:{name}", "") for name in names}
    letters = {one["letter_id"]: one for one in intake.dead_letters()}.values()
    assert len(letters) == SENDERS * BATCHES
    assert {one["reason"] for one in letters} == {"missing_identifier"}
    assert all(json.loads(one["payload"])["messageId"].startswith("bad-") for one in letters)


def count_acknowledged(senders: list[Sender]) -> int:
    return sum(sender.acknowledged for sender in senders)


def test_preview_shows_events_and_answers_503(migrated: Stack, tmp_path: Path) -> None:
    intake = create_instance(tmp_path)
    process = intake.start("--preview", "5")
    body = json.dumps({"userId": "u1", "messageId": "m1", "name": "Pricing"}).encode()
    assert intake.post("/v1/page", body, WRITE) == 503
    assert process.wait(30) == 0, intake.log()
    assert "page.viewed" in intake.log()
    assert "user_id app/u1" in intake.log()
    assert intake.touchpoints() == []


def test_order_webhook_moves_risk_of_customer(line: Line, tmp_path: Path) -> None:
    intake = create_instance(tmp_path)
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
def test_five_thousand_events_cost_less_than_one_core_second_with_bounded_memory(migrated: Stack, tmp_path: Path) -> None:
    """Measure processor seconds, which other load on the machine does not change."""
    wrk = installed.debian("wrk", "wrk")
    (library,) = {path.parent for path in wrk.rglob("libluajit*.so*")}
    intake = create_instance(tmp_path)
    with intake.running() as process:
        command = [str(wrk / "usr" / "bin" / "wrk"), "-t1", "-c16", "-d20s", "-s", str(HERE / "batch.lua"), intake.address]
        before = cpu_seconds(process.pid)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment).stdout
        seconds, memory = cpu_seconds(process.pid) - before, psutil.Process(process.pid).memory_info().rss
    (requests,) = re.findall(r"(\d+) requests in", output)
    assert "Non-2xx" not in output
    assert int(requests) * 100 / seconds > MIN_EVENTS_PER_SECOND
    assert memory < MAX_MEMORY_BYTES


def cpu_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system
