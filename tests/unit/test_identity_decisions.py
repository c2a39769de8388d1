"""Publishing of decisions and the wait for their effect, with a Kafka in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from deploy.identity import decisions
from deploy.identity.decisions import CHANGES, make_decision, send_decisions
from schemas.errors import RetryableError
from schemas.records.identity import Action, Decision, Member
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode_model
from tests.harness.identity import AT

SETTINGS = KafkaSettings(bootstrap_servers="127.0.0.1:1")


class Record(NamedTuple):
    value: bytes


class Kafka:
    """The two topics of decisions. `answers` are the polls that a sequencer fills; `steps` lists the effects."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.answers: list[list[bytes]] = []
        self.offset = 10
        self.committed = 5
        self.now = 0.0

    @contextmanager
    def open(self, settings: Any, group: str | None = None) -> Iterator["Kafka"]:
        yield self

    def assign(self, partitions: Any) -> None:
        self.steps.append("assign")

    def end_offsets(self, partitions: Any) -> dict[Any, int]:
        self.steps.append("end")
        return {CHANGES: self.offset + ("publish" in self.steps) * sum(map(len, self.answers))}

    def seek(self, partition: Any, offset: int) -> None:
        self.offset = offset
        self.steps.append("seek")

    def position(self, partition: Any) -> int:
        return self.offset

    def poll(self, timeout_ms: int) -> dict[Any, list[Record]]:
        self.now += timeout_ms / 1000
        values = self.answers.pop(0) if self.answers else []
        self.offset += len(values)
        return {CHANGES: [Record(value) for value in values]}

    def publish(self, settings: Any, sent: Sequence[Decision]) -> int:
        self.steps.append("publish")
        return 9

    def read_committed(self, settings: Any) -> int:
        return self.committed


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    found = Kafka()
    monkeypatch.setattr(decisions, "open_consumer", found.open)
    monkeypatch.setattr(decisions, "publish", found.publish)
    monkeypatch.setattr(decisions, "read_committed", found.read_committed)
    monkeypatch.setattr("deploy.identity.decisions.time.monotonic", lambda: found.now)
    return found


def make_split() -> Decision:
    return make_decision(Action.SPLIT, [uuid4()], [uuid4()], reason="two people", who="ann")


def make_member(decision: Decision) -> Member:
    return Member(
        identifier_id=decision.left[0], kind="email", value="x", customer_id=uuid4(), is_shared=False, is_erased=False,
        rule="split", event_id=decision.decision_id, at=AT,
    )  # fmt: skip


def test_end_of_the_map_is_noted_before_the_decision_is_published(kafka: Kafka) -> None:
    decision = make_split()
    kafka.answers = [[encode_model("decision", decision)]]
    send_decisions(SETTINGS, [decision], report=lambda line: None)
    assert kafka.steps[:4] == ["assign", "end", "seek", "publish"]


def test_changes_after_the_last_decision_belong_to_the_outcome(kafka: Kafka) -> None:
    one, other = make_split(), make_split()
    member = make_member(one)
    kafka.answers = [[encode_model("decision", one)], [], [encode_model("decision", other)], [encode_model("member", member)]]
    outcome = send_decisions(SETTINGS, [one, other], report=lambda line: None)
    assert [each.decision_id for each in outcome.decisions] == [one.decision_id, other.decision_id]
    assert outcome.members[member.identifier_id].customer_id == member.customer_id


def test_wait_ends_a_minute_after_the_last_effect_and_reports_until_then(kafka: Kafka) -> None:
    one, other = make_split(), make_split()
    kafka.answers = [[]] * 80 + [[encode_model("decision", one)]]
    lines: list[str] = []
    with pytest.raises(RetryableError, match="1 decision stored, and no worker reads"):
        send_decisions(SETTINGS, [one, other], report=lines.append)
    assert 100 < kafka.now < 102
    assert lines[0] == "waiting for the sequencer (2 s): 2 decisions to go, 5 requests before the last"
    assert "1 decision to go" in lines[-1]
    assert len(lines) == 20


def test_no_decision_needs_no_kafka(kafka: Kafka) -> None:
    assert send_decisions(SETTINGS, []).decisions == []
    assert kafka.steps == []
