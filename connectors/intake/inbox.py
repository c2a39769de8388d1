"""Received events that Kafka has not acknowledged yet, bounded in bytes.

The server's thread calls `put`; the runner's thread calls `take` and `settle`.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from connectors.contract import Record, RejectedRecord

MAX_BATCH_RECORDS = 2_000
Callback = Callable[[bool], None]


class Delivery:
    """One request: `left` events are not settled, `size` bytes are reserved for it.

    `answer` is called once with the outcome: true if all events were acknowledged. Events of an `is_late` request are dropped.
    """

    __slots__ = ("acknowledged", "answer", "is_late", "left", "size")

    def __init__(self, left: int, size: int, answer: Callback) -> None:
        self.left, self.size, self.answer, self.acknowledged, self.is_late = left, size, answer, True, False


Entry = tuple[Delivery, Record | RejectedRecord]


class Inbox:
    """Events by stream in the order of arrival. `max_bytes` bounds all requests that are stored or being read."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reserved = 0
        self._streams: dict[str, deque[Entry]] = defaultdict(deque)
        self._changed = threading.Condition()

    def reserve(self, size: int) -> bool:
        """Reserve bytes for a request; return False if there are not enough."""
        with self._changed:
            fits = self._reserved + size <= self._max_bytes
            self._reserved += size if fits else 0
            return fits

    def release(self, size: int) -> None:
        """Release the bytes of a request that is not put."""
        with self._changed:
            self._reserved -= size

    def put(self, stream: str, records: Sequence[Record | RejectedRecord], size: int, answer: Callback) -> Delivery:
        """Add the events of one request; its `size` bytes are released when all its events are settled."""
        delivery = Delivery(len(records), size, answer)
        with self._changed:
            self._streams[stream].extend((delivery, record) for record in records)
            self._changed.notify_all()
        return delivery

    def wait(self, seconds: float | None) -> list[str]:
        """Wait up to `seconds` (None: without limit) for an event and return the streams with events."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._streams.values()), seconds)
            return [stream for stream, entries in self._streams.items() if entries]

    def take(self, stream: str) -> list[Entry]:
        """Return the next events of a stream, at most 2,000; the caller must settle them.

        Events of late requests are dropped: their senders send them again, and publishing them would delay the others.
        """
        taken: list[Entry] = []
        late: list[Entry] = []
        with self._changed:
            entries = self._streams[stream]
            while entries and len(taken) < MAX_BATCH_RECORDS:
                entry = entries.popleft()
                (late if entry[0].is_late else taken).append(entry)
        self.settle(late, acknowledged=False)
        return taken

    def settle(self, entries: Sequence[Entry], *, acknowledged: bool) -> None:
        """Mark events as acknowledged or given up, and answer each request that has no event left."""
        done = []
        with self._changed:
            for delivery, _ in entries:
                delivery.left -= 1
                delivery.acknowledged &= acknowledged
                if delivery.left == 0:
                    self._reserved -= delivery.size
                    done.append(delivery)
        for delivery in done:
            delivery.answer(delivery.acknowledged)
