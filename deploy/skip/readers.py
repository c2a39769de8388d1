"""The consumer groups that read a topic: the workers, and one group per table of the sinks."""

from typing import NamedTuple

from schemas.errors import ConfigError
from schemas.wire.topics import TOPICS
from sinks.contract import load_tables
from streams.engine.worker import GROUP
from streams.steps.identify import Identify
from streams.steps.join import Join
from streams.steps.link import Link

WORK = "work"
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


class Reader(NamedTuple):
    """One consumer group of a topic. `name` is the value of `--group`, `stage` names it in dead letters, `stop` its processes."""

    name: str
    group: str
    stage: str
    stop: str


def list_readers(topic: str) -> list[Reader]:
    """Return every consumer group of ours that reads the topic."""
    workers = [Reader(WORK, GROUP, step.name, "touchline work") for step in (Identify, Link, Join) if topic in step.topics]
    tables = [table for table in load_tables().values() if table.topic == topic]
    return workers + [Reader(each.name, f"touchline-sink-{each.name}", each.stage, "touchline sink") for each in tables]


def choose_reader(topic: str, partition: int, name: str | None) -> Reader:
    """Return the reader with this name, or the only one. Raises ConfigError where there is none or the choice is open."""
    if topic not in PARTITIONS:
        raise ConfigError(f"there is no topic {topic}: see `touchline migrate --dry-run`")
    if partition >= PARTITIONS[topic]:
        raise ConfigError(f"{topic} has the partitions 0 to {PARTITIONS[topic] - 1}, not {partition}")
    readers = {each.name: each for each in list_readers(topic)}
    if not readers:
        raise ConfigError(f"no consumer group reads {topic}: workers skip its unreadable records by themselves")
    if name is None and len(readers) > 1:
        raise ConfigError(f"{len(readers)} groups read {topic}: choose one by --group ({', '.join(readers)})")
    chosen = readers.get(name or next(iter(readers)))
    if chosen is None:
        raise ConfigError(f"group {name} does not read {topic}: choose one of {', '.join(readers)}")
    return chosen
