"""Create or verify the topics of `schemas/wire/topics.py`, so that no program guesses a partition count."""

import time
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import ConfigError, RetryableError
from schemas.service.connection import KafkaSettings
from schemas.service.kafka_probe import diagnose_kafka
from schemas.wire.topics import TOPICS, Topic

MAX_REPLICAS = 3
CHECKS, CHECK_SECONDS = 4, 0.5


class Change(NamedTuple):
    """The action that a topic needs: `create`, `configure` (the options that differ) or `none`."""

    topic: Topic
    action: str
    options: dict[str, str]


def options(topic: Topic) -> dict[str, str]:
    """Return the broker's options of a topic. Plain topics keep every record; compacted topics keep the last one of each key."""
    size = {"max.message.bytes": str(topic.max_message_bytes)}
    if topic.compacted:
        return {"cleanup.policy": "compact", **size}
    return {"cleanup.policy": "delete", "retention.ms": "-1", **size}


def plan(existing: dict[str, int], configured: dict[str, dict[str, str]]) -> list[Change]:
    """Compare partition counts and options by topic with the topic table. Raises ConfigError for another partition count."""
    return [_change(topic, existing.get(topic.name), configured.get(topic.name, {})) for topic in TOPICS]


def _change(topic: Topic, partitions: int | None, configured: dict[str, str]) -> Change:
    if partitions is None:
        return Change(topic, "create", options(topic))
    if partitions != topic.partitions:
        raise ConfigError(
            f"topic {topic.name} has {partitions} partitions and needs {topic.partitions}, which place each customer:"
            " delete the topic (its records are lost), or point TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS at another cluster"
        )
    differing = {name: value for name, value in options(topic).items() if configured.get(name) != value}
    return Change(topic, "configure" if differing else "none", differing)


def ensure_topics(settings: KafkaSettings, *, dry_run: bool) -> list[Change]:
    """Create and configure topics as the topic table asks, and return the changes; `dry_run` makes none.

    Safe to run concurrently. Raises RetryableError while Kafka is away.
    """
    try:
        admin = KafkaAdminClient(**settings.kafka_python(), client_id="touchline-migrate", bootstrap_timeout_ms=5_000)
    except KafkaError as error:
        unknown = f"no Kafka broker answers at {settings.bootstrap_servers} ({type(error).__name__})"
        raise diagnose_kafka(settings) or RetryableError(unknown) from error
    try:
        changes = _ensure(admin, dry_run=dry_run)
    except KafkaError as error:
        raise RetryableError(f"Kafka refused to list or change topics: {type(error).__name__}") from error
    finally:
        admin.close()
    return changes


def require_topics(settings: KafkaSettings) -> None:
    """Check all topics, for programs that use topics and never create them.

    Raises RetryableError while Kafka is away, ConfigError where a topic is missing. A broker that has just started may not list
    its topics yet, so that is checked for some seconds.
    """
    for attempt in range(CHECKS):
        if attempt:
            time.sleep(CHECK_SECONDS)
        missing = [change.topic.name for change in ensure_topics(settings, dry_run=True) if change.action == "create"]
        if not missing:
            return
    raise ConfigError(f"{len(missing)} topics are missing, {missing[0]} first: run `touchline migrate`")


def _ensure(admin: KafkaAdminClient, *, dry_run: bool) -> list[Change]:
    wanted = {topic.name for topic in TOPICS}
    existing = read_partitions([topic for topic in admin.describe_topics() if topic["name"] in wanted])
    changes = plan(existing, _read_options(admin, list(existing)))
    if not dry_run:
        _create(admin, [change.topic for change in changes if change.action == "create"])
        for change in changes:
            if change.action == "configure":
                admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, change.topic.name, change.options)])
    return changes


def read_partitions(described: list[dict[str, Any]]) -> dict[str, int]:
    """Return the partition count by topic. Raises RetryableError for a topic whose partitions the broker does not know yet."""
    for topic in described:
        if topic["error_code"]:
            raise RetryableError(f"Kafka has not loaded topic {topic['name']} yet (error {topic['error_code']})")
    return {topic["name"]: len(topic["partitions"]) for topic in described}


def _read_options(admin: KafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all")
    return {name: {option: _value(entry) for option, entry in entries.items()} for name, entries in described["topic"].items()}


def _value(entry: Any) -> str:
    return str(entry["value"] if isinstance(entry, dict) else entry)


def _create(admin: KafkaAdminClient, topics: list[Topic]) -> None:
    replicas = min(MAX_REPLICAS, len(admin.describe_cluster()["brokers"]))
    for topic in topics:
        wanted = {"num_partitions": topic.partitions, "replication_factor": replicas, "configs": options(topic)}
        try:
            admin.create_topics({topic.name: wanted})
        except TopicAlreadyExistsError:
            continue  # another migrate created it first
    admin.wait_for_topics([topic.name for topic in topics])
