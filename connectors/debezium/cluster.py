"""The Kafka cluster that Debezium writes to: the only meeting with its client. No group, nothing is committed there."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
)

from connectors.debezium.settings import DebeziumSettings
from connectors.errors import AuthError, CursorExpiredError
from connectors.settings import secret_variable
from schemas.errors import FatalError, RetryableError
from schemas.records.fields import instant, milliseconds

BOOTSTRAP_MS = 10_000
POLL_MS = 500
NOT_ALLOWED = "{}: the user may not read it: grant READ and DESCRIBE on the topic"
REFUSED = "Kafka at {} refuses the credentials: set {} and look at sasl_username and sasl_mechanism"
AWAY = "Kafka at {} does not answer: does it run, and is bootstrap_servers right?"
SILENT = "Kafka at {} sends nothing of {} partition {}"


class Message(NamedTuple):
    """One record of a partition; `time` is its timestamp on Kafka."""

    offset: int
    time: datetime
    key: bytes | None
    value: bytes | None


class Known(NamedTuple):
    """A topic as it is now: another one of its name has another id (empty where the brokers are older than ids)."""

    id: str
    partitions: Sequence[int]


class Cluster:
    """Connected when needed, and again after a failure. All methods raise the errors of `connectors/errors.py`."""

    def __init__(self, settings: DebeziumSettings) -> None:
        self._settings = settings
        self._where = settings.kafka.bootstrap_servers
        self._admin: KafkaAdminClient | None = None
        self._consumer: KafkaConsumer | None = None

    def topics(self, names: Sequence[str]) -> dict[str, Known]:
        """Those of the topics that there are."""
        with self._failures():
            if self._admin is None:
                self._admin = KafkaAdminClient(**self._settings.kafka.kafka_python(), bootstrap_timeout_ms=BOOTSTRAP_MS)
            found = {each["name"]: each for each in self._admin.describe_topics(list(names))}
        for name, each in found.items():
            if each["error_code"] == TopicAuthorizationFailedError.errno:
                raise AuthError(NOT_ALLOWED.format(name))
        return {
            name: Known(str(each.get("topic_id") or ""), sorted(one["partition_index"] for one in each["partitions"]))
            for name, each in found.items()
            if each["partitions"]
        }

    def extent(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is held, and the one that the next record will have."""
        place = TopicPartition(topic, partition)
        with self._failures():
            consumer = self._connected()
            return consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]

    def at(self, topic: str, partition: int, moment: datetime) -> int | None:
        """The first offset whose record is of this time or later; None where there is none."""
        place = TopicPartition(topic, partition)
        with self._failures():
            found = self._connected().offsets_for_times({place: max(0, milliseconds(moment))})[place]
        return None if found is None else int(found.offset)

    def messages(self, topic: str, partition: int, offset: int, end: int, size: int) -> Iterator[tuple[list[Message], int]]:
        """The records from `offset` until before `end`, at most `size` at once, each time with the offset to go on at.

        What a producer has taken back, and the marks of its transactions, are passed over.
        """
        place = TopicPartition(topic, partition)
        with self._failures():
            consumer = self._connected()
            consumer.assign([place])
            consumer.seek(place, offset)
        heard = time.monotonic()
        while offset < end:
            with self._failures():
                found = consumer.poll(timeout_ms=POLL_MS, max_records=size).get(place, [])
                position = min(consumer.position(place), end)
            if position > offset:
                offset, heard = position, time.monotonic()
                kept = [Message(one.offset, instant(one.timestamp), one.key, one.value) for one in found if one.offset < end]
                yield kept, position
            elif time.monotonic() - heard > self._settings.timeout_seconds:
                raise RetryableError(SILENT.format(self._where, topic, partition))

    def close(self) -> None:
        """Close the connections."""
        for client in (self._admin, self._consumer):
            if client is not None:
                client.close()
        self._admin = self._consumer = None

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **self._settings.kafka.kafka_python(),
                client_id="touchline-connect",
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=BOOTSTRAP_MS,
                metrics_enabled=False,
            )
        return self._consumer

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """The client's errors as ours."""
        try:
            yield
        except OffsetOutOfRangeError as error:
            raise CursorExpiredError("the topic no longer holds the next offset") from error
        except SaslAuthenticationFailedError as error:
            raise AuthError(REFUSED.format(self._where, secret_variable(self._settings.name, "sasl_password"))) from error
        except AuthorizationError as error:
            raise AuthError(NOT_ALLOWED.format(type(error).__name__)) from error
        except KafkaTimeoutError as error:
            self.close()
            raise RetryableError(AWAY.format(self._where)) from error
        except KafkaError as error:
            self.close()
            kind = RetryableError if error.retriable else FatalError
            raise kind(f"Kafka at {self._where} refused: {type(error).__name__}") from error
