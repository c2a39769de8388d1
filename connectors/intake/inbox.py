"""What was received and is not acknowledged yet: bounded in bytes, handed over in batches, answered when all of it is kept.

The server's thread puts, the runner's thread takes and settles.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from connectors.contract import Record, RejectedRecord

MOST_RECORDS = 2_000
Answer = Callable[[bool], None]


class Delivery:
    """One request: `left` events are not settled, `size` bytes are held for it. `answer` is told once whether all were kept.

    Of one that is `late` nothing is taken any more.
    """

    __slots__ = ("answer", "kept", "late", "left", "size")

    def __init__(self, left: int, size: int, answer: Answer) -> None:
        self.left, self.size, self.answer, self.kept, self.late = left, size, answer, True, False


Entry = tuple[Delivery, Record | RejectedRecord]


class Inbox:
    """Events by stream, in the order they came. `most` is the bound on the bytes of all requests in it or on their way to it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._streams: dict[str, deque[Entry]] = defaultdict(deque)
        self._changed = threading.Condition()

    def reserve(self, size: int) -> bool:
        """Hold room for a request; False where there is none."""
        with self._changed:
            fits = self._held + size <= self._most
            self._held += size if fits else 0
            return fits

    def release(self, size: int) -> None:
        """Give back the room of a request that is not put."""
        with self._changed:
            self._held -= size

    def put(self, stream: str, records: Sequence[Record | RejectedRecord], size: int, answer: Answer) -> Delivery:
        """Let the events of one request wait; its room of `size` bytes is given back when all are settled."""
        delivery = Delivery(len(records), size, answer)
        with self._changed:
            self._streams[stream].extend((delivery, record) for record in records)
            self._changed.notify_all()
        return delivery

    def waiting(self, seconds: float | None) -> list[str]:
        """The streams in which events wait, after at most so many seconds; None: however long it takes."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._streams.values()), seconds)
            return [stream for stream, entries in self._streams.items() if entries]

    def take(self, stream: str) -> list[Entry]:
        """The next events of a stream, at most 2,000. Whoever takes them settles them.

        What is late is given up: its senders send it again, and those who still wait would be late, too, if it went first.
        """
        found: list[Entry] = []
        late: list[Entry] = []
        with self._changed:
            entries = self._streams[stream]
            while entries and len(found) < MOST_RECORDS:
                entry = entries.popleft()
                (late if entry[0].late else found).append(entry)
        self.settle(late, kept=False)
        return found

    def settle(self, entries: Sequence[Entry], *, kept: bool) -> None:
        """These events are acknowledged, or given up: a request none of whose events is left is answered."""
        done = []
        with self._changed:
            for delivery, _ in entries:
                delivery.left -= 1
                delivery.kept &= kept
                if delivery.left == 0:
                    self._held -= delivery.size
                    done.append(delivery)
        for delivery in done:
            delivery.answer(delivery.kept)
