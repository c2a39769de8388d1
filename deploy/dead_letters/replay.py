"""Replay of dead letters: their records go to Kafka again.

The order of the steps is the guarantee: at least once on Kafka, exactly once for the reader, because ids repeat.

1. Wait until the sinks have stored all dead letters and replays that Kafka has, then read the selected dead letters.
2. Leave out those that must not be sent (`dead_letter.py`).
3. Per batch: send key and bytes unchanged to the topic and partition that refused them. Headers carry the first offset and the
   number of the replay. Wait for every acknowledgement.
4. Per batch: publish a `replay` record, keyed by the id of the dead letter, for each acknowledged record. Wait.

A crash between 3 and 4 leaves dead letters in state `refused` although their records were sent. The next replay sends them
again with the same number. Results then carry the same ids; a stage that refuses a record again finds its former dead letter by
the headers (`schemas/records/dead_letter.py`). A dead letter with a `replay` record is sent again only after a new refusal.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from deploy.dead_letters.dead_letter import DeadLetter, split_batches
from deploy.dead_letters.queries import Content
from schemas.errors import RetryableError
from schemas.records.dead_letter import Replay, replay_headers
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from schemas.wire.codec import encode_model
from schemas.wire.topics import DEAD_LETTERS
from sinks.contract import load_tables

MAX_WAIT_SECONDS = 30.0
POLL_SECONDS = 0.5
MAX_REQUEST_BYTES = 8 * 1024 * 1024
Contents = Callable[[Sequence[DeadLetter]], Mapping[UUID, Content]]


def wait_until_stored(settings: KafkaSettings) -> None:
    """Do step 1. Raises RetryableError when the sinks of dead letters do not catch up within half a minute."""
    names = [table.name for table in load_tables().values() if table.topic == DEAD_LETTERS]
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    with translate_kafka_errors(settings):
        try:
            admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-dead-letters", bootstrap_timeout_ms=5_000)
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        try:
            while lag := _measure_lag(admin, names):
                if time.monotonic() > deadline:
                    raise RetryableError(
                        f"ClickHouse is {lag:,} records of {DEAD_LETTERS} behind: run `touchline sink {' '.join(names)}`"
                    )
                time.sleep(POLL_SECONDS)
        finally:
            admin.close()


def _measure_lag(admin: KafkaAdminClient, names: Sequence[str]) -> int:
    """Return the number of records that the slowest of these tables has not stored."""
    partition = TopicPartition(DEAD_LETTERS, 0)
    groups = [f"touchline-sink-{name}" for name in names]
    try:
        committed: Mapping[str, Any] = admin.list_group_offsets(groups)
    except CoordinatorNotAvailableError:
        committed = {}  # a new broker: no group has committed yet
    end: int = admin.list_partition_offsets({partition: OffsetSpec.LATEST})[partition].offset
    stored = (committed.get(group, {}).get(partition) for group in groups)
    return max(end - (max(0, one.offset) if one else 0) for one in stored)


def replay(
    dead_letters: Sequence[DeadLetter], contents: Contents, sender: "Sender", advance: Callable[[int], None]
) -> Counter[str]:
    """Do steps 3 and 4 for all batches, and call `advance` after each. Returns the number of records not sent, per reason."""
    failed: Counter[str] = Counter()
    for batch in split_batches(dead_letters):
        failed += sender.send(batch, contents(batch))
        advance(len(batch))
    return failed


class Sender:
    """Producer of replays. Raises RetryableError when Kafka does not answer; acknowledged records are marked by then."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer

    def send(self, batch: Sequence[DeadLetter], contents: Mapping[UUID, Content]) -> Counter[str]:
        """Do steps 3 and 4 for one batch. Returns the number of records not sent, per reason."""
        sent = [(each, self._send_again(each, contents[each.letter_id])) for each in batch if each.letter_id in contents]
        self._producer.flush()
        self._mark([each for each, future in sent if future.succeeded()])
        for _, future in sent:
            if future.retriable():
                raise future.exception
        failed = Counter(type(future.exception).__name__ for _, future in sent if future.failed())
        return failed + Counter({"no longer in ClickHouse": len(batch) - len(sent)})

    def _send_again(self, dead_letter: DeadLetter, content: Content) -> Any:
        assert dead_letter.offset is not None
        headers = replay_headers(dead_letter.offset, dead_letter.replays + 1)
        return self._producer.send(
            dead_letter.topic, value=content.payload, key=content.key, headers=headers, partition=dead_letter.partition
        )

    def _mark(self, dead_letters: Sequence[DeadLetter]) -> None:
        now = datetime.now(UTC)
        marks = [Replay(letter_id=each.letter_id, replays=each.replays + 1, at=now) for each in dead_letters]
        futures = [
            self._producer.send(DEAD_LETTERS, value=encode_model("replay", mark), key=mark.letter_id.bytes) for mark in marks
        ]
        self._producer.flush()
        for future in futures:
            future.get()


@contextmanager
def open_sender(settings: KafkaSettings) -> Iterator[Sender]:
    """Yield a Sender and close it at the end of the block. Errors of the client become TouchlineErrors.

    The producer is not idempotent: kafka-python's idempotent producer refuses all records after one that the broker refuses.
    """
    with translate_kafka_errors(settings):
        producer = KafkaProducer(
            **settings.kafka_python(),
            client_id="touchline-dead-letters",
            acks="all",
            enable_idempotence=False,
            compression_type="lz4",
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=10_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
        )
        try:
            yield Sender(producer)
        except KafkaError:
            producer.close(timeout=0)
            raise
        producer.close()
