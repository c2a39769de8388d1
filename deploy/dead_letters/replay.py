"""Send the records of dead letters again. The order is the guarantee (at least once; exact for the reader by the records' ids):

1. wait until the sinks have stored all letters and replays that Kafka has, then read the letters that are asked for
2. leave out those that must not be sent (`letter.py`)
3. per batch: send key and bytes as they were, to the topic and partition where they were refused, with headers that tell
   the first offset and the number of the replay; wait for every acknowledgement
4. per batch: publish a `replay` record, keyed by the letter, for each that was acknowledged; wait

A crash between 3 and 4 leaves letters that count as refused though their record was sent. Running it again sends it once
more under the same number: what the stages make of it carries the same ids, and a stage that refuses it again finds its
former letter by the headers (`schemas/records/dead_letter.py`). A letter that was marked is not sent before it is refused again.
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
from deploy.dead_letters.dead_letter import Letter, batches
from deploy.dead_letters.queries import Content
from schemas.errors import RetryableError
from schemas.records.dead_letter import Replay, replay_headers
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode_model
from schemas.wire.topics import DEAD_LETTERS
from sinks.contract import tables

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.5
Contents = Callable[[Sequence[Letter]], Mapping[UUID, Content]]


def wait_until_stored(settings: KafkaSettings) -> None:
    """Step 1. Raises RetryableError where the sinks of dead letters do not catch up within half a minute."""
    readers = [table.name for table in tables().values() if table.topic == DEAD_LETTERS]
    deadline = time.monotonic() + PATIENCE_SECONDS
    with translate_kafka_errors(settings):
        admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-letters", bootstrap_timeout_ms=5_000)
        try:
            while waiting := _waiting(admin, readers):
                if time.monotonic() > deadline:
                    raise RetryableError(
                        f"ClickHouse is {waiting:,} records of {DEAD_LETTERS} behind: run `touchline sink {' '.join(readers)}`"
                    )
                time.sleep(LOOK_SECONDS)
        finally:
            admin.close()


def _waiting(admin: KafkaAdminClient, readers: Sequence[str]) -> int:
    """How many records the slowest table has not stored."""
    partition = TopicPartition(DEAD_LETTERS, 0)
    groups = [f"touchline-sink-{reader}" for reader in readers]
    try:
        committed: Mapping[str, Any] = admin.list_group_offsets(groups)
    except CoordinatorNotAvailableError:
        committed = {}  # a new broker, where no group has committed anything yet
    end: int = admin.list_partition_offsets({partition: OffsetSpec.LATEST})[partition].offset
    stored = (committed.get(group, {}).get(partition) for group in groups)
    return max(end - (max(0, one.offset) if one else 0) for one in stored)


def replay(letters: Sequence[Letter], contents: Contents, sender: "Sender", sent: Callable[[int], None]) -> Counter[str]:
    """Steps 3 and 4 for all letters, telling `sent` of each batch; returns how many were not sent, and why."""
    failed: Counter[str] = Counter()
    for batch in batches(letters):
        failed += sender.send(batch, contents(batch))
        sent(len(batch))
    return failed


class Sender:
    """One producer. Raises RetryableError where Kafka does not answer; what was acknowledged by then is marked."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer

    def send(self, batch: Sequence[Letter], contents: Mapping[UUID, Content]) -> Counter[str]:
        """Steps 3 and 4 for one batch; returns why some were not sent."""
        sent = [(letter, self._again(letter, contents[letter.letter_id])) for letter in batch if letter.letter_id in contents]
        self._producer.flush()
        self._mark([letter for letter, future in sent if future.succeeded()])
        for _, future in sent:
            if future.retriable():
                raise future.exception
        failed = Counter(type(future.exception).__name__ for _, future in sent if future.failed())
        return failed + Counter({"gone from ClickHouse meanwhile": len(batch) - len(sent)})

    def _again(self, letter: Letter, content: Content) -> Any:
        assert letter.offset is not None
        headers = replay_headers(letter.offset, letter.replays + 1)
        return self._producer.send(
            letter.topic, value=content.payload, key=content.key, headers=headers, partition=letter.partition
        )

    def _mark(self, letters: Sequence[Letter]) -> None:
        now = datetime.now(UTC)
        marks = [Replay(letter_id=letter.letter_id, replays=letter.replays + 1, at=now) for letter in letters]
        futures = [
            self._producer.send(DEAD_LETTERS, value=encode_model("replay", mark), key=mark.letter_id.bytes) for mark in marks
        ]
        self._producer.flush()
        for future in futures:
            future.get()


@contextmanager
def sending(settings: KafkaSettings) -> Iterator[Sender]:
    """A Sender that is closed at the end of the block, with the client's errors as ours.

    Not idempotent: after one record that the broker refuses, kafka-python's idempotent producer refuses all others, too.
    """
    with translate_kafka_errors(settings):
        producer = KafkaProducer(
            **settings.kafka_python(),
            client_id="touchline-letters",
            acks="all",
            enable_idempotence=False,
            compression_type="lz4",
            max_request_size=8 * 1024 * 1024,
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
