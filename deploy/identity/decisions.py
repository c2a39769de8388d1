"""Decisions of people: publish them to the sequencer, and wait until they took effect.

The order of the steps is the guarantee: a decision that this module returns took effect.

1. Note the end of `touchline.identity`.
2. Publish the decisions to `touchline.identity-requests`. Wait for every acknowledgement.
3. Read `touchline.identity` from the noted offset until the sequencer has published each decision.
4. Read on to the end that the topic has then: the changes of the last decision may follow it.

After step 2 the decisions are stored. They take effect even if this process ends, or no worker runs yet.
"""

import getpass
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import click
from kafka import TopicPartition

from deploy.identity.kafka import CLIENT, publish, read_committed
from deploy.kafka_clients import open_consumer
from deploy.terminal.text import format_count
from schemas.errors import ConfigError, RecordError, RetryableError
from schemas.records.fields import instant
from schemas.records.identity import Action, Conflict, Decision, Member
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, decode
from schemas.wire.topics import IDENTITY, IDENTITY_REQUESTS

WAIT_SECONDS = 60.0
FIRST_LOOK_SECONDS, REPORT_SECONDS = 2.0, 5.0
POLL_MILLISECONDS = 500
CHANGES = TopicPartition(IDENTITY, 0)
Report = Callable[[str], None]


class Outcome(NamedTuple):
    """Result of decisions: the decisions as the sequencer published them, and the changes of their identifiers.

    `members` holds only identifiers whose row changed. `conflicts` holds the links of these identifiers that the sequencer
    refused since the request.
    """

    decisions: list[Decision]
    members: dict[UUID, Member]
    conflicts: list[Conflict]


class Position(NamedTuple):
    """Offset up to which the workers have committed the requests, and the offset of the last decision."""

    committed: int
    last: int


def make_decision(
    action: Action,
    left: Sequence[UUID],
    right: Sequence[UUID] = (),
    *,
    reason: str,
    who: str,
    undoes: UUID | None = None,
    confidence: float = 1.0,
) -> Decision:
    """Return a new decision with an id of its own, as of now."""
    return Decision(
        decision_id=uuid4(),
        action=action,
        left=list(left),
        right=list(right),
        undoes=undoes,
        reason=reason,
        who=who,
        confidence=confidence,
        at=datetime.now(UTC),
    )


def read_user_name() -> str:
    """Return the name of the operating system's user. Raises ConfigError where the account has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError("the account has no user name: name the person who decides with --who") from error


def print_progress(line: str) -> None:
    """Write one line of progress to standard error."""
    click.echo(line, err=True)


def send_decisions(
    settings: KafkaSettings,
    decisions: Sequence[Decision],
    *,
    others: Iterable[UUID] = (),
    wait_seconds: float = WAIT_SECONDS,
    report: Report = print_progress,
) -> Outcome:
    """Do all steps and return the outcome. The wait ends `wait_seconds` after the last decision that took effect.

    `others` are identifiers whose changes the outcome also holds: those of the same customers.
    Raises RetryableError where decisions have not taken effect by then, with the next step.
    """
    if not decisions:
        return Outcome([], {}, [])
    with open_consumer(settings, CLIENT) as consumer:
        consumer.assign([CHANGES])
        consumer.seek(CHANGES, consumer.end_offsets([CHANGES])[CHANGES])
        last = publish(settings, decisions)
        collector = Collector(decisions, others)
        _wait(settings, consumer, collector, last, wait_seconds, report)
        _read_rest(consumer, collector)
    return collector.outcome


class Collector:
    """Collection of the records that concern some decisions. Pure."""

    def __init__(self, decisions: Sequence[Decision], others: Iterable[UUID] = ()) -> None:
        self.missing = {decision.decision_id for decision in decisions}
        self.outcome = Outcome([], {}, [])
        named = (each for decision in decisions for each in (*decision.left, *decision.right))
        self._identifiers = {each.bytes for each in (*named, *others)}

    def add(self, value: bytes | None) -> None:
        """Keep a record of `touchline.identity` that concerns the decisions. Any other bytes are skipped."""
        try:
            name, fields = decode(value)
        except RecordError:
            return  # a tombstone, or a record that the sinks refuse with a dead letter
        if name == "decision":
            self._add_decision(fields)
        elif name == "member" and fields["identifier_id"] in self._identifiers:
            member = Member.model_validate(_with_time(fields))
            self.outcome.members[member.identifier_id] = member
        elif name == "conflict" and self._identifiers & {fields["identifier_id"], fields["other_id"]}:
            self.outcome.conflicts.append(Conflict.model_validate(_with_time(fields)))

    def _add_decision(self, fields: Fields) -> None:
        decision = Decision.model_validate(_with_time(fields))
        if decision.decision_id in self.missing:
            self.missing.remove(decision.decision_id)
            self.outcome.decisions.append(decision)


def _with_time(fields: Fields) -> Fields:
    return {**fields, "at": instant(fields["at"])}


def describe_delay(missing: int, first: Position, now: Position) -> str:
    """Return why decisions have not taken effect, with the next step.

    `first` and `now` are the positions at the start and at the end of the wait.
    """
    subject = format_count(missing, "decision")
    if now.committed > now.last:
        return (
            f"the sequencer read {subject} and did not publish the result on {IDENTITY}:"
            f" run `touchline dead-letters list --where \"topic = '{IDENTITY_REQUESTS}'\"`"
        )
    if now.committed == first.committed:
        return f"{subject} stored, and no worker reads {IDENTITY_REQUESTS}: start `touchline work`, which applies what is stored"
    waiting = format_count(now.last + 1 - now.committed, "record")
    return (
        f"{subject} stored, and the workers are {waiting} of {IDENTITY_REQUESTS} behind:"
        " wait, then look at it with `touchline identity show`"
    )


def _wait(settings: KafkaSettings, consumer: Any, collector: Collector, last: int, wait_seconds: float, report: Report) -> None:
    """Do step 3."""
    first: Position | None = None
    began = progress = time.monotonic()
    look_at = began + FIRST_LOOK_SECONDS
    while collector.missing:
        before = len(collector.missing)
        for record in consumer.poll(timeout_ms=POLL_MILLISECONDS).get(CHANGES, []):
            collector.add(record.value)
        now = time.monotonic()
        progress = now if len(collector.missing) < before else progress
        is_over = now - progress > wait_seconds
        if not collector.missing or not (is_over or now >= look_at):
            continue
        position = Position(read_committed(settings), last)
        first = first or position
        if is_over:
            raise RetryableError(describe_delay(len(collector.missing), first, position))
        report(
            f"waiting for the sequencer ({now - began:.0f} s): {format_count(len(collector.missing), 'decision')} to go,"
            f" {format_count(max(0, last + 1 - position.committed), 'request')} before the last"
        )
        look_at = now + REPORT_SECONDS


def _read_rest(consumer: Any, collector: Collector) -> None:
    """Do step 4."""
    end = consumer.end_offsets([CHANGES])[CHANGES]
    deadline = time.monotonic() + WAIT_SECONDS
    while consumer.position(CHANGES) < end and time.monotonic() < deadline:
        for record in consumer.poll(timeout_ms=POLL_MILLISECONDS).get(CHANGES, []):
            collector.add(record.value)
