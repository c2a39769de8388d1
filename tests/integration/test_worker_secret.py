"""Workers with different identity secrets on one real Kafka: only the first one in the log works."""

import os
import re
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.service.secret import SECRET, SECRET_FILE
from schemas.wire.codec import decode
from schemas.wire.topics import IDENTITY
from tests.harness.stack import TOUCHLINE
from tests.harness.topics import read_topic
from tests.harness.waiting import eventually
from tests.harness.workers import get_page, is_drained, make_order, publish_orders, read_resolved_ids, running_worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.usefixtures("own_topics")]
SECRETS = ("first secret of this test", "other secret of this test")


def start_worker(name: str, secret: str, log: Path) -> "subprocess.Popen[bytes]":
    """Start a worker with its supervisor."""
    environment = {**os.environ, SECRET: secret}
    with log.open("wb") as out:
        return subprocess.Popen([TOUCHLINE, "work", "--name", name], stdout=out, stderr=out, env=environment)


def read_names() -> list[str]:
    return [decode(record.value)[0] for record in read_topic(IDENTITY)]


def test_worker_with_another_secret_ends_before_it_takes_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = f"run-{uuid4().hex[:8]}"
    logs = [tmp_path / str(number) for number in range(2)]
    workers = [start_worker(f"{run}-{number}", secret, logs[number]) for number, secret in enumerate(SECRETS)]
    try:
        eventually(lambda: any(worker.poll() is not None for worker in workers), 60)
        ended = next(number for number, worker in enumerate(workers) if worker.poll() is not None)
        assert workers[ended].returncode == 2
        lines = [line for line in logs[ended].read_text().splitlines() if SECRET in line]
        assert len(lines) == 1
        assert SECRET_FILE in lines[0]
        assert not re.search("supervisor|Traceback", logs[ended].read_text())
        eventually(lambda: get_page(logs[1 - ended], "ready")[0] == 200, 60)
        assert workers[1 - ended].poll() is None
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(timeout=20)
    assert set(read_names()) == {"fingerprint"}

    monkeypatch.setenv(SECRET, SECRETS[1 - ended])
    publish_orders(make_order(number, run, number) for number in range(50))
    with running_worker(f"{run}-3", tmp_path / "third"):
        eventually(is_drained, 60)
    before = read_names()
    assert {"member"} < set(before)
    assert len(read_resolved_ids(run)) == 50
    publish_orders(make_order(50 + number, run, 50 + number) for number in range(50))
    monkeypatch.setenv(SECRET, SECRETS[ended])
    with running_worker(f"{run}-4", tmp_path / "fourth") as process:
        assert process.wait(timeout=60) == 2
    assert read_names() == before
