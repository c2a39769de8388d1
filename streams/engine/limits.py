"""Limits of the bytes that a record may become, checked before anything of its chunk is published.

Kafka refuses a batch over `max.message.bytes` of its topic, and the producer cannot continue after a refusal. The limits
compare uncompressed bytes, so that the same record is always refused or always accepted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from schemas.wire.topics import TOPICS
from streams.contract import Output, Step

MAX_BATCH_BYTES = 7 * 1024 * 1024  # a dead letter holds up to 6 MiB of payload
RECORD_OVERHEAD_BYTES = 32  # upper bound of the bytes that a record adds to its key and value
BATCH_OVERHEAD_BYTES = 128  # upper bound of the bytes of a batch with one record, without its key and value
DEFAULT_TOPIC_BYTES = 1_048_588 - BATCH_OVERHEAD_BYTES  # of most topics, and no topic has less
TOPIC_BYTES = {topic.name: min(topic.max_message_bytes, MAX_BATCH_BYTES) - BATCH_OVERHEAD_BYTES for topic in TOPICS}
Change = tuple[bytes, bytes]


def describe_excess(step: Step, outputs: Sequence[Output], changes: Sequence[Change]) -> str:
    """Return which output or state row is too large to publish, or an empty text."""
    return _describe_output(outputs) or _describe_rows(step, changes)


def measure_largest_row(changes: Iterable[Change]) -> int:
    """Return the bytes of the largest changed row, 0 for none."""
    return _largest(changes, 1)


def _largest(rows: Iterable[Sequence[Any]], field: int) -> int:
    return max(map(len, map(itemgetter(field), rows)), default=0)


def _describe_output(outputs: Sequence[Output]) -> str:
    if _largest(outputs, 2) + _largest(outputs, 3) <= DEFAULT_TOPIC_BYTES:  # almost always; the loop below takes longer
        return ""
    for topic, _, key, value in outputs:
        size, limit = len(key) + len(value), TOPIC_BYTES.get(topic, DEFAULT_TOPIC_BYTES)
        if size > limit:
            return f"its output for {topic} has {size:,} bytes, the limit is {limit:,}"
    return ""


def _describe_rows(step: Step, changes: Sequence[Change]) -> str:
    largest = measure_largest_row(changes)
    if largest > step.max_row_bytes:
        return f"a state row of {step.name} would have {largest:,} bytes, the limit is {step.max_row_bytes:,}"
    limit = TOPIC_BYTES.get(step.changelog, DEFAULT_TOPIC_BYTES)
    if sum(map(_size, changes)) <= limit:
        return ""
    groups: Counter[bytes] = Counter()
    for change in changes:
        groups[change[0][: step.row_group_prefix_bytes or None]] += _size(change)
    largest = max(groups.values())
    if largest > limit:
        return f"the state rows of {step.name} that belong together would have {largest:,} bytes, the limit is {limit:,}"
    return ""


def _size(change: Change) -> int:
    return len(change[0]) + len(change[1]) + RECORD_OVERHEAD_BYTES
