"""Kafka side of a skip. The order of the steps is the guarantee: no record is skipped without its dead letter.

1. Read the group: its members and committed offsets. It must have no active consumer.
2. Read the records from the group's next offset to the named one.
3. Publish one dead letter per record and wait for every acknowledgement.
4. Commit the offset after the record. Kafka refuses it when a consumer has joined the group in the meantime.

A crash between 3 and 4 leaves dead letters of records that the group still reads. A repeated skip has the same dead letter ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from connectors.runtime.publisher import translate_kafka_errors
from deploy.kafka_clients import Message, open_consumer, publish_acknowledged
from deploy.skip.plan import Position
from deploy.skip.readers import Reader
from schemas.errors import RecordError, RetryableError
from schemas.records.dead_letter import DeadLetter, make_record_dead_letter
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from schemas.wire.codec import encode_model, extract_source_and_connector
from schemas.wire.topics import DEAD_LETTERS

CLIENT = "touchline-skip"
MAX_RECORD_BYTES = 8 * 1024 * 1024


class Group:
    """One consumer group, read and committed from outside."""

    def __init__(self, admin: KafkaAdminClient, consumer: KafkaConsumer, reader: Reader) -> None:
        self._admin = admin
        self._consumer = consumer
        self._reader = reader

    def read_position(self, partition: TopicPartition) -> Position:
        """Do step 1."""
        group = self._reader.group
        described = self._admin.describe_groups([group])[group]
        try:
            committed = self._admin.list_group_offsets([group]).get(group, {})
        except CoordinatorNotAvailableError:
            committed = {}  # a new broker: no group has committed yet
        return Position(
            partition,
            self._consumer.beginning_offsets([partition])[partition],
            self._consumer.end_offsets([partition])[partition],
            {each: held for each, held in committed.items() if held.offset >= 0},
            [f"{member['client_id']} at {member['client_host'].lstrip('/')}" for member in described["members"]],
        )

    def read_records(self, position: Position, offset: int) -> list[Any]:
        """Do step 2."""
        self._consumer.assign([position.partition])
        self._consumer.seek(position.partition, position.next)
        records: list[Any] = []
        while self._consumer.position(position.partition) <= offset:
            for polled in self._consumer.poll(timeout_ms=1_000, max_records=500).values():
                records += [record for record in polled if record.offset <= offset]
        return records

    def commit(self, commits: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Do step 4. Raises RetryableError where Kafka refuses it."""
        results = self._admin.alter_group_offsets(self._reader.group, dict(commits))
        refused = next((error for error in results.values() if error is not NoError), None)
        if refused:
            raise RetryableError(
                f"Kafka refused the commit of group {self._reader.group} ({refused.__name__}): stop every `{self._reader.stop}`,"
                " wait ten seconds and repeat the command; it makes no second dead letter"
            )


def make_dead_letters(records: Sequence[Any], reader: Reader, reason: str) -> list[DeadLetter]:
    """Return the dead letters of skipped records. `reason` is the text of the person that skips them."""
    letters = []
    for record in records:
        source, connector = extract_source_and_connector(record.value)
        error = RecordError("skipped", reason)
        letters.append(make_record_dead_letter(error, record, stage=reader.stage, source=source, connector=connector))
    return letters


def publish(settings: KafkaSettings, letters: Sequence[DeadLetter]) -> None:
    """Do step 3."""
    messages = [Message(DEAD_LETTERS, each.letter_id.bytes, encode_model("dead_letter", each)) for each in letters]
    publish_acknowledged(settings, CLIENT, messages, compression_type="lz4", max_request_size=MAX_RECORD_BYTES)


@contextmanager
def open_group(settings: KafkaSettings, reader: Reader) -> Iterator[Group]:
    """Yield the group and close its clients at the end of the block. Errors of the clients become TouchlineErrors."""
    with translate_kafka_errors(settings):
        try:
            admin = KafkaAdminClient(**settings.kafka_python(), client_id=CLIENT, bootstrap_timeout_ms=5_000)
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        with closing(admin), open_consumer(settings, CLIENT, max_partition_fetch_bytes=MAX_RECORD_BYTES) as consumer:
            yield Group(admin, consumer, reader)
