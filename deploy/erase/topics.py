"""Search of Kafka topics for an erased person. A topic cannot lose single records, so this module only reports them.

A record of a plain topic stays until the retention time of the topic. A record of a compacted topic stays until compaction
if a later record has its key. The last record of a key stays, so a clear value in it is a fault. Rows of the workers' state are
read by their layout, so that a search by keyed ids alone also finds what they hold.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from msgspec import MsgspecError

from schemas.errors import TouchlineError
from schemas.wire.topics import CUSTOMER_STATE, IDENTITY_STATE
from streams.identity.committed import read_versions
from streams.identity.rows import NODE, decode_node
from streams.steps.customer import CUSTOMER_ID_BYTES, decode_customer

DAY_MILLISECONDS = 86_400_000


class Detector(Protocol):
    """Search for identifiers in clear and for keyed ids in the bytes of a record."""

    def has_value(self, content: bytes | None) -> bool: ...

    def has_id(self, content: bytes | None) -> bool: ...


class Record(NamedTuple):
    """One record of a topic."""

    partition: int
    key: bytes | None
    value: bytes | None


class Found(NamedTuple):
    """Records of one store: with an identifier in clear, with keyed ids only, and those that must not be there."""

    clear: int = 0
    keyed: int = 0
    faults: int = 0


class TopicSearch:
    """Search of one topic. Call `add` for each record in order, then `found`."""

    def __init__(self, topic: str, detector: Detector, *, is_compacted: bool) -> None:
        self._topic = topic
        self._detector = detector
        self._is_compacted = is_compacted
        self._clear = self._keyed = 0
        self._current: dict[tuple[int, bytes | None], bool] = {}

    def add(self, record: Record) -> None:
        """Count a record."""
        is_clear = self._detector.has_value(record.value) or self._detector.has_value(record.key)
        is_keyed = self._detector.has_id(record.value) or self._detector.has_id(record.key)
        self._clear += is_clear
        self._keyed += is_keyed and not is_clear
        if not self._is_compacted:
            return
        place = record.partition, record.key
        if is_clear or self._has_state(record):
            self._current[place] = True
        elif place in self._current:
            self._current[place] = False

    @property
    def found(self) -> Found:
        """Return the counts so far. Only the last record of a key in a compacted topic is a fault."""
        return Found(self._clear, self._keyed, sum(self._current.values()))

    def _has_state(self, record: Record) -> bool:
        """Return whether a state row of an erased person still holds touchpoints or an identifier."""
        if self._topic not in (CUSTOMER_STATE, IDENTITY_STATE) or not record.key or not self._detector.has_id(record.key):
            return False
        from streams.engine.store import decode_stored_row  # late: it imports Faust

        stored = decode_stored_row(record.value)
        if stored is None:
            return False  # a deleted row
        try:
            return (
                has_touchpoints(record.key, stored[1]) if self._topic == CUSTOMER_STATE else has_identifier(record.key, stored[1])
            )
        except (TouchlineError, MsgspecError):
            return True  # an unknown layout: report it


def has_touchpoints(key: bytes, row: bytes) -> bool:
    """Return whether a row of join is a block of touchpoints, or the row of a customer with touchpoints."""
    return len(key) > CUSTOMER_ID_BYTES or decode_customer(row).folded > 0


def has_identifier(key: bytes, row: bytes) -> bool:
    """Return whether a row of the identity map holds an identifier in clear, now or before its last change."""
    if not key.startswith(NODE):
        return False
    nodes = [decode_node(value) for value in read_versions(row) if value]
    return any(node is not None and node.value for node in nodes)


def describe_retention(options: dict[str, str], found: Found) -> str:
    """Return until when the found records stay, from the options of their topic."""
    if "compact" in options.get("cleanup.policy", ""):
        return "current rows: run the same erasure again" if found.faults else "until compaction"
    retention = int(options.get("retention.ms", "-1"))
    if retention < 0:
        return "for ever: no retention.ms is set"
    days = retention / DAY_MILLISECONDS
    return f"until retention, at most {days:g} days after they were published"


def list_ids_in(value: object) -> Iterator[bytes]:
    """Yield each 16 bytes in the fields of a record."""
    if isinstance(value, dict):
        for each in value.values():
            yield from list_ids_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from list_ids_in(each)
    elif isinstance(value, bytes) and len(value) == CUSTOMER_ID_BYTES:
        yield value
