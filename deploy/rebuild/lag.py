"""Wait until consumer groups have read a topic up to a target. Each target is the offset after the last record to read."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from connectors.runtime.publisher import translate_kafka_errors
from deploy.rebuild.output import progress
from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from schemas.service.settings import ProcessSettings
from schemas.wire.topics import TOPICS

POLL_SECONDS = 0.5
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}
Targets = Mapping[TopicPartition, int]


class Waiting(NamedTuple):
    """Consumer groups to wait for: the targets of each group, and the command that starts it."""

    targets: Mapping[str, Targets]
    command: str


@contextmanager
def open_admin(settings: KafkaSettings) -> Iterator[Any]:
    """Yield an admin client and close it at the end of the block. Errors of the client become TouchlineErrors."""
    with translate_kafka_errors(settings):
        try:
            admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-rebuild", bootstrap_timeout_ms=5_000)
        except KafkaError as error:
            raise diagnose_kafka(settings) or error from error
        try:
            yield admin
        finally:
            admin.close()


def read_ends(admin: Any, topic: str) -> dict[TopicPartition, int]:
    """Return the offset after the last record of each partition of a topic."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS[topic])]
    found = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    return {partition: found[partition].offset for partition in partitions}


def measure_lag(targets: Targets, committed: Mapping[TopicPartition, Any]) -> int:
    """Return the number of records before the targets that a group has not committed."""
    lag = 0
    for partition, target in targets.items():
        found = committed.get(partition)
        lag += max(0, target - (max(0, found.offset) if found else 0))
    return lag


def wait_until_read(settings: KafkaSettings, waiting: Waiting, verb: str) -> None:
    """Show the progress until no record is left before the targets.

    Raises RetryableError when no record was read for `TOUCHLINE_WAIT_SECONDS`.
    """
    idle_seconds = ProcessSettings().wait_seconds
    with open_admin(settings) as admin:
        left = _measure(admin, waiting.targets)
        read_at = time.monotonic()
        with progress(verb, left) as advance:
            while left:
                time.sleep(POLL_SECONDS)
                before, left = left, _measure(admin, waiting.targets)
                advance(before - left)
                now = time.monotonic()
                read_at = now if left < before else read_at
                if left and now - read_at > idle_seconds:
                    raise RetryableError(
                        f"{left:,} records wait, and none was read for {idle_seconds:.0f} s: is `{waiting.command}` running?"
                    )


def _measure(admin: Any, targets: Mapping[str, Targets]) -> int:
    try:
        committed: Mapping[str, Any] = admin.list_group_offsets(list(targets))
    except CoordinatorNotAvailableError:
        committed = {}  # a new broker: no group has committed yet
    return sum(measure_lag(wanted, committed.get(group, {})) for group, wanted in targets.items())
