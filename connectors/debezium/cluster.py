"""Reader of the Kafka cluster that Debezium writes to. It joins no group and commits no offsets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
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
from schemas.errors import ConfigError, FatalError, RetryableError, TouchlineError
from schemas.records.fields import instant, milliseconds
from schemas.service.header_names import tolerate_invalid_header_names_in_kafka_python
from schemas.service.kafka_probe import diagnose_kafka

BOOTSTRAP_MS = 10_000
POLL_MS = 500
FORBIDDEN = "{}: the user has no permission: grant READ and DESCRIBE on the topic"
REFUSED = "Kafka at {} rejects the credentials: set {} and check sasl_username and sasl_mechanism"
UNREACHABLE = "Kafka at {} does not answer: does it run, and is bootstrap_servers right?"
NO_ANSWER = "Kafka at {} sends no records of {} partition {}"
tolerate_invalid_header_names_in_kafka_python()


class Message(NamedTuple):
    """One record of a partition; `time` is its timestamp on Kafka."""

    offset: int
    time: datetime
    key: bytes | None
    value: bytes | None


class TopicInfo(NamedTuple):
    """A topic as it is now. A recreated topic has another id; old brokers have no ids (empty text)."""

    id: str
    partitions: Sequence[int]


class Cluster:
    """Connection that is opened on first use and again after a failure. Methods raise the errors of `connectors/errors.py`."""

    def __init__(self, settings: DebeziumSettings) -> None:
        self._settings = settings
        self._where = settings.kafka.bootstrap_servers
        self._admin: KafkaAdminClient | None = None
        self._consumer: KafkaConsumer | None = None
        self._has_answered = False

    def describe_topics(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        """Return the topics that exist."""
        with self._map_failures():
            if self._admin is None:
                self._admin = KafkaAdminClient(**self._settings.kafka.kafka_python(), bootstrap_timeout_ms=BOOTSTRAP_MS)
            described = {each["name"]: each for each in self._admin.describe_topics(list(names))}
        for name, each in described.items():
            if each["error_code"] == TopicAuthorizationFailedError.errno:
                raise AuthError(FORBIDDEN.format(name))
        return {
            name: TopicInfo(str(each.get("topic_id") or ""), sorted(one["partition_index"] for one in each["partitions"]))
            for name, each in described.items()
            if each["partitions"]
        }

    def read_bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that the partition holds, and the offset of the next record."""
        place = TopicPartition(topic, partition)
        with self._map_failures():
            consumer = self._connect()
            return consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]

    def find_offset(self, topic: str, partition: int, time: datetime) -> int | None:
        """Return the first offset whose record has this time or a later one, or None."""
        place = TopicPartition(topic, partition)
        with self._map_failures():
            result = self._connect().offsets_for_times({place: max(0, milliseconds(time))})[place]
        return None if result is None else int(result.offset)

    def read_messages(self, topic: str, partition: int, offset: int, end: int, size: int) -> Iterator[tuple[list[Message], int]]:
        """Yield the records from `offset` until before `end`, at most `size` at once, with the offset after them.

        Records of aborted transactions and transaction markers are skipped.
        """
        place = TopicPartition(topic, partition)
        with self._map_failures():
            consumer = self._connect()
            consumer.assign([place])
            consumer.seek(place, offset)
        last_progress = monotonic()
        while offset < end:
            with self._map_failures():
                polled = consumer.poll(timeout_ms=POLL_MS, max_records=size).get(place, [])
                position = min(consumer.position(place), end)
            if position > offset:
                offset, last_progress = position, monotonic()
                kept = [Message(one.offset, instant(one.timestamp), one.key, one.value) for one in polled if one.offset < end]
                yield kept, position
            elif monotonic() - last_progress > self._settings.timeout_seconds:
                raise RetryableError(NO_ANSWER.format(self._where, topic, partition))

    def close(self) -> None:
        """Close the connections."""
        for client in (self._admin, self._consumer):
            if client is not None:
                client.close()
        self._admin = self._consumer = None

    def _connect(self) -> KafkaConsumer:
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
    def _map_failures(self) -> Iterator[None]:
        """Map errors of the client to those of `connectors/errors.py`."""
        try:
            yield
            self._has_answered = True
        except OffsetOutOfRangeError as error:
            raise CursorExpiredError("the topic no longer holds the next offset") from error
        except SaslAuthenticationFailedError as error:
            self.close()
            text = REFUSED.format(self._where, secret_variable(self._settings.name, "sasl_password"))
            is_certain = isinstance(diagnose_kafka(self._settings.kafka), ConfigError)  # a second and a third login
            raise (AuthError if is_certain else RetryableError)(text) from error
        except AuthorizationError as error:
            raise AuthError(FORBIDDEN.format(type(error).__name__)) from error
        except KafkaTimeoutError as error:
            self.close()
            raise self._diagnose() or RetryableError(UNREACHABLE.format(self._where)) from error
        except KafkaError as error:
            self.close()
            kind = RetryableError if error.retriable else FatalError
            raise kind(f"Kafka at {self._where} failed: {type(error).__name__}") from error

    def _diagnose(self) -> TouchlineError | None:
        """Return the reason of a first connection that failed; later failures are not those of a setting."""
        return None if self._has_answered else diagnose_kafka(self._settings.kafka)
