"""History of a customer: its touchpoints in event-time order, cut into blocks and a tail.

The layout depends on the number of folded touchpoints only, never on their order of arrival. Touchpoint number n (from 0) moves
from the tail to block n // 32 once that block is full and at least 16 newer touchpoints remain in the tail. Any order of
arrival, in any chunks, therefore ends in the same bytes.

Bound: the tail and the newest blocks are kept, 32 blocks by default, which is at least 1,040 touchpoints. An older touchpoint
is late beyond the bound: it is not folded, and its customer then needs a rebuild. A repetition that old looks the same. Each
newer touchpoint is folded exactly once, however often and at whatever offset it arrives.

During a rebuild, blocks after its newest touchpoint stay above the bound, so that the following parts find their place before
them. The slots limit this to 255 blocks, 8,160 touchpoints.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from streams.steps.customer import Block, Customer, States
from streams.steps.route import add_lost
from streams.touchpoint import OrderKey, Touchpoint, pack_touchpoints, unpack_touchpoints

BLOCK_SIZE = 32
MIN_TAIL = 16
DEFAULT_MAX_BLOCKS = 32
SLOT_COUNT = 256
SHORT_ID_BYTES = 2


class RefoldRange(NamedTuple):
    """The part of a history that must be folded again: the kept touchpoints from number `first` on, and the states before them.

    For a touchpoint that arrives in order, it begins after the newest touchpoint and is empty. `full_blocks` counts the full
    blocks after the fold.
    """

    first: int
    base: States
    touchpoints: list[Touchpoint]
    full_blocks: int


def count_full_blocks(folded: int) -> int:
    """Return the number of full blocks after `folded` touchpoints, including those that are no longer kept."""
    return max(0, (folded - MIN_TAIL) // BLOCK_SIZE)


class History:
    """Touchpoints of one customer's row. `load` returns the block in a slot (0 to 255)."""

    def __init__(self, customer: Customer, load: Callable[[int], Block]) -> None:
        self.customer = customer
        self._load = load
        self._full_blocks = count_full_blocks(customer.folded)
        self._oldest = self._full_blocks - len(customer.blocks)

    def select_new(self, arrived: Iterable[Touchpoint]) -> tuple[list[Touchpoint], list[Touchpoint]]:
        """Return the touchpoints that are not folded yet, in order of arrival, and those that are late beyond the bound.

        The id alone identifies a touchpoint: a repetition with another time is still a repetition.
        """
        new: dict[bytes, Touchpoint] = {}
        late: list[Touchpoint] = []
        forgotten, tail, blocks = self.customer.forgotten, self.customer.tail, self.customer.blocks
        for each in arrived:
            if each.id in new or each.id in tail or (blocks and self._is_in_block(each.id)):
                continue
            if forgotten is not None and each.order_key() <= forgotten:
                late.append(each)
            else:
                new[each.id] = each
        return list(new.values()), late

    def _is_in_block(self, event_id: bytes) -> bool:
        return any(
            _may_contain(short_ids, event_id) and event_id in self._block(index).touchpoints
            for index, (_, short_ids) in enumerate(self.customer.blocks)
        )

    def _block(self, index: int) -> Block:
        return self._load((self._oldest + index) % SLOT_COUNT)

    def used_slots(self) -> list[int]:
        """Return the slots of the kept blocks, oldest first."""
        return [(self._oldest + index) % SLOT_COUNT for index in range(len(self.customer.blocks))]

    def load_touchpoints(self) -> list[Touchpoint]:
        """Return all kept touchpoints in event-time order."""
        return self._range_from(0, self._full_blocks).touchpoints

    def find_refold_range(self, oldest: OrderKey, count: int, *, everything: bool) -> RefoldRange:
        """Return the part to fold again for `count` new touchpoints, of which the first one has the order key `oldest`."""
        customer = self.customer
        in_order = customer.newest is None or oldest > customer.newest
        full_blocks = count_full_blocks(customer.folded + count)
        if in_order and not everything and full_blocks == self._full_blocks:
            return RefoldRange(customer.folded, customer.states, [], full_blocks)
        return self._range_from(0 if everything else sum(oldest > end for end, _ in customer.blocks), full_blocks)

    def _range_from(self, index: int, full_blocks: int) -> RefoldRange:
        """Return the range from the kept block `index` to the end. The tail follows the last block."""
        customer = self.customer
        blocks = [self._block(each) for each in range(index, len(customer.blocks))]
        touchpoints = [each for block in blocks for each in unpack_touchpoints(block.touchpoints, BLOCK_SIZE)]
        touchpoints += unpack_touchpoints(customer.tail, customer.folded - self._full_blocks * BLOCK_SIZE)
        base = blocks[0].base if blocks else customer.base
        return RefoldRange((self._oldest + index) * BLOCK_SIZE, base, touchpoints, full_blocks)

    def update_row(
        self, refold: RefoldRange, touchpoints: Sequence[Touchpoint], bases: dict[int, States], max_blocks: int
    ) -> dict[int, Block | None]:
        """Put the folded touchpoints of a refold range into the row. Return the changed blocks by slot, None for deleted.

        `bases` holds the states before touchpoint number n for each n at which a block or the tail begins (none before 0).
        """
        customer, first, end = self.customer, refold.first, refold.full_blocks
        customer.folded, customer.newest = first + len(touchpoints), touchpoints[-1].order_key()
        if first > end * BLOCK_SIZE:
            customer.tail += pack_touchpoints(touchpoints)
            return {}
        ends = customer.blocks[: first // BLOCK_SIZE - self._oldest]
        changed: dict[int, Block | None] = {}
        for number in range(first // BLOCK_SIZE, end):
            piece = touchpoints[number * BLOCK_SIZE - first :][:BLOCK_SIZE]
            ends.append((piece[-1].order_key(), b"".join(each.id[:SHORT_ID_BYTES] for each in piece)))
            changed[number] = Block(bases.get(number * BLOCK_SIZE, {}), pack_touchpoints(piece))
        customer.tail = pack_touchpoints(touchpoints[end * BLOCK_SIZE - first :])
        customer.base = bases.get(end * BLOCK_SIZE, {})
        customer.blocks = ends
        self._forget(changed, max_blocks)
        return {number % SLOT_COUNT: block for number, block in sorted(changed.items())}

    def forget_surplus(self, max_blocks: int) -> dict[int, Block | None]:
        """Forget the oldest blocks above the bound. Return the deleted blocks by slot."""
        deleted: dict[int, Block | None] = {}
        self._forget(deleted, max_blocks)
        return {number % SLOT_COUNT: None for number in deleted}

    def _forget(self, changed: dict[int, Block | None], max_blocks: int) -> None:
        """Remove the oldest blocks above the bound from the row, and mark them as deleted in `changed`."""
        customer = self.customer
        surplus = self._count_surplus(max_blocks)
        if surplus <= 0:
            return
        nodes: set[bytes] = set()
        for number in range(self._oldest, self._oldest + surplus):
            block = changed.get(number) or self._load(number % SLOT_COUNT)
            nodes.update(each.nodes for each in unpack_touchpoints(block.touchpoints, BLOCK_SIZE))
            changed[number] = None
        customer.forgotten_nodes = add_lost(customer.forgotten_nodes, nodes)
        customer.forgotten = customer.blocks[surplus - 1][0]
        customer.blocks = customer.blocks[surplus:]

    def _count_surplus(self, max_blocks: int) -> int:
        ends, replayed = self.customer.blocks, self.customer.replayed
        surplus = len(ends) - max_blocks
        if surplus <= 0 or replayed is None:
            return surplus
        return max(min(surplus, sum(end <= replayed for end, _ in ends)), len(ends) - SLOT_COUNT + 1)


def _may_contain(short_ids: bytes, event_id: bytes) -> bool:
    """Return whether the short ids of a block include that of `event_id`."""
    at = short_ids.find(event_id[:SHORT_ID_BYTES])
    while at % SHORT_ID_BYTES:
        at = -2 if at == -1 else short_ids.find(event_id[:SHORT_ID_BYTES], at + 1)
    return at >= 0
