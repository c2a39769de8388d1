"""Checks and commits of a skip, from the state of the group and of the partition. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from deploy.skip.readers import Reader
from schemas.errors import ConfigError, RetryableError
from sinks.intent import Intent

MAX_RECORDS = 10_000
Committed = Mapping[TopicPartition, OffsetAndMetadata]


class Position(NamedTuple):
    """State of a partition and of the group that reads it. `members` are the client ids and hosts of active consumers."""

    partition: TopicPartition
    first: int
    end: int
    committed: Committed
    members: Sequence[str]

    @property
    def next(self) -> int:
        """Return the offset of the next record that the group reads."""
        held = self.committed.get(self.partition)
        return max(self.first, held.offset) if held else self.first


def has_passed(position: Position, offset: int) -> bool:
    """Return whether the group has already committed the record. Raises ConfigError for an offset beyond the end."""
    if offset >= position.end:
        raise ConfigError(f"{name_partition(position)} ends before offset {offset}: its next record gets {position.end}")
    return position.next > offset


def require_no_members(position: Position, reader: Reader) -> None:
    """Raise RetryableError while the group has active consumers, because Kafka refuses a commit from outside then."""
    if position.members:
        raise RetryableError(
            f"group {reader.group} has {len(position.members)} active consumers ({', '.join(position.members)}):"
            f" stop every `{reader.stop}`, wait ten seconds and repeat the command"
        )


def require_near(position: Position, offset: int) -> None:
    """Raise ConfigError for an offset so far ahead that it cannot be the record that blocks the group."""
    if offset - position.next >= MAX_RECORDS:
        raise ConfigError(
            f"the group is at offset {position.next} of {name_partition(position)}, {offset - position.next:,} before {offset}:"
            f" name the offset that blocks it, at most {MAX_RECORDS:,} further"
        )


def require_next(position: Position, records: Sequence[Any], offset: int, *, with_earlier: bool) -> None:
    """Raise an error unless the records to skip are the next ones of the group, up to `offset`.

    `records` are all from the group's next offset to `offset`.
    """
    if not records or records[-1].offset != offset:
        raise ConfigError(f"{name_partition(position)} has no record at offset {offset}: the group passes the gap by itself")
    if len(records) > 1 and not with_earlier:
        raise ConfigError(
            f"the group is at offset {position.next} of {name_partition(position)}, {len(records) - 1} records before {offset}:"
            f" skip {records[0].offset} first, or add --with-earlier and replay the earlier ones afterwards"
        )


def make_commits(position: Position, offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the offsets to commit: the one after the record, and those of partitions whose intent contains the record.

    A sink that continues an intent reads all of its ranges again. Without the intent, it may store other records of them
    twice; readers see each of them once.
    """
    here = position.partition
    commits = {
        partition: OffsetAndMetadata(held.offset, "", held.leader_epoch)
        for partition, held in position.committed.items()
        if partition.topic == here.topic and _intends(held.metadata, here.partition, position.next, offset)
    }
    return {**commits, here: OffsetAndMetadata(offset + 1, "", -1)}


def _intends(metadata: str | None, partition: int, first: int, last: int) -> bool:
    """Return whether commit metadata of a sink contain any offset of a partition from `first` to `last`."""
    if not metadata:
        return False
    begin, end = Intent.read(metadata).ranges.get(partition, (0, 0))
    return begin <= last and first < end


def name_partition(position: Position) -> str:
    """Return topic and partition as error texts name them."""
    return f"{position.partition.topic}/{position.partition.partition}"
