"""A customer's touchpoints in event-time order: what of an arrival is new, where it belongs, and what is kept of it all.

The layout follows from how many touchpoints were folded, never from how they arrived: touchpoint number n (from 0) is in
block n // 32 once that block is full and the tail keeps at least 16. So any order, in any chunks, ends in the same bytes.

Bound: the newest blocks and the tail are kept, by default 32 blocks, which is at least 1,040 touchpoints. A touchpoint older
than those is late beyond the bound: it is stored for analysts, counted, and not folded; neither is an old duplicate. Whatever
is newer is folded exactly once, however often and at whatever offset it comes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from schemas.service import telemetry
from streams.steps.customer import Block, Customer, Place, States, Touchpoint, pack, unpack

BLOCK = 32
TAIL = 16
BLOCKS = 32
SLOTS = 256
SHORT = 2
LATE = telemetry.LATE.labels("join")


class Stretch(NamedTuple):
    """The part of a history that is folded again: its kept `touchpoints`, of which the first is number `first`, and the
    states before them. In the usual case it begins behind the newest touchpoint and holds none."""

    first: int
    base: States
    touchpoints: list[Touchpoint]


def sealed(folded: int) -> int:
    """How many blocks there have been after that many touchpoints."""
    return max(0, (folded - TAIL) // BLOCK)


class History:
    """The touchpoints of one customer's row; `load` brings the block that is kept in a slot (0 to 255)."""

    def __init__(self, customer: Customer, load: Callable[[int], Block]) -> None:
        self.customer = customer
        self._load = load
        self._sealed = sealed(customer.folded)
        self._oldest = self._sealed - len(customer.blocks)

    def fresh(self, arrived: Iterable[Touchpoint]) -> list[Touchpoint]:
        """What of `arrived` is new, in order of arrival. A touchpoint is known by its id, whatever its time says."""
        found: dict[bytes, Touchpoint] = {}
        forgotten, tail, blocks = self.customer.forgotten, self.customer.tail, self.customer.blocks
        for each in arrived:
            if each.id in found or each.id in tail or (blocks and self._in_block(each.id)):
                continue
            if forgotten is not None and each.place() <= forgotten:
                LATE.inc()
            else:
                found[each.id] = each
        return list(found.values())

    def _in_block(self, event_id: bytes) -> bool:
        return any(
            _may_hold(short, event_id) and event_id in self._block(index).touchpoints
            for index, (_, short) in enumerate(self.customer.blocks)
        )

    def _block(self, index: int) -> Block:
        return self._load((self._oldest + index) % SLOTS)

    def slots(self) -> list[int]:
        """Where the kept blocks are."""
        return [(self._oldest + index) % SLOTS for index in range(len(self.customer.blocks))]

    def touchpoints(self) -> list[Touchpoint]:
        """All that are kept."""
        return self._from(0).touchpoints

    def reach(self, oldest: Place, count: int, *, everything: bool) -> Stretch:
        """What has to be folded again for `count` new touchpoints of which the first stands at `oldest`."""
        customer = self.customer
        in_order = customer.newest is None or oldest > customer.newest
        if in_order and not everything and sealed(customer.folded + count) == self._sealed:
            return Stretch(customer.folded, customer.states, [])
        return self._from(0 if everything else sum(oldest > end for end, _ in customer.blocks))

    def _from(self, index: int) -> Stretch:
        """From the kept block `index` to the end; behind the last one begins the tail."""
        customer = self.customer
        blocks = [self._block(each) for each in range(index, len(customer.blocks))]
        touchpoints = [each for block in blocks for each in unpack(block.touchpoints, BLOCK)]
        touchpoints += unpack(customer.tail, customer.folded - self._sealed * BLOCK)
        return Stretch((self._oldest + index) * BLOCK, blocks[0].base if blocks else customer.base, touchpoints)

    def keep(
        self, first: int, touchpoints: Sequence[Touchpoint], bases: dict[int, States], most_blocks: int
    ) -> dict[int, Block | None]:
        """Put what was folded, from number `first` on, into the row. By slot: blocks to be written, None to be dropped.

        `bases` holds the states before touchpoint number n wherever a block or the tail begins (none before number 0).
        """
        customer = self.customer
        customer.folded, customer.newest = first + len(touchpoints), touchpoints[-1].place()
        end = sealed(customer.folded)
        if first > end * BLOCK:
            customer.tail += pack(touchpoints)
            return {}
        ends = customer.blocks[: first // BLOCK - self._oldest]
        changed: dict[int, Block | None] = {}
        for number in range(first // BLOCK, end):
            piece = touchpoints[number * BLOCK - first :][:BLOCK]
            ends.append((piece[-1].place(), b"".join(each.id[:SHORT] for each in piece)))
            changed[number] = Block(bases.get(number * BLOCK, {}), pack(piece))
        customer.tail, customer.base = pack(touchpoints[end * BLOCK - first :]), bases.get(end * BLOCK, {})
        forgotten = max(0, len(ends) - most_blocks)
        if forgotten:
            customer.forgotten = ends[forgotten - 1][0]
            changed.update(dict.fromkeys(range(self._oldest, self._oldest + forgotten)))
        customer.blocks = ends[forgotten:]
        return {number % SLOTS: block for number, block in sorted(changed.items())}


def _may_hold(short: bytes, event_id: bytes) -> bool:
    """Whether the short ids of a block have that of `event_id` among them."""
    at = short.find(event_id[:SHORT])
    while at % SHORT:
        at = -2 if at == -1 else short.find(event_id[:SHORT], at + 1)
    return at >= 0
