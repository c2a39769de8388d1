"""The state rows of customers, read from the changelog as recovery reads them. Only this module knows their layout."""

from typing import Any, NamedTuple

from schemas.errors import RecordError
from schemas.wire.topics import CUSTOMER_STATE
from streams.engine.store import OFFSET_BYTES, decode_stored_row
from streams.signals import load_signals
from streams.steps.customer import CUSTOMER_ID_BYTES, decode_block, decode_customer
from streams.steps.fold import StateCodec
from streams.steps.history import History
from streams.steps.line import block_key
from streams.steps.route import Route
from streams.touchpoint import OrderKey, Touchpoint
from tests.crash.log import Log
from tests.crash.model import Life, journey_row


class Row(NamedTuple):
    """One customer: event ids in order, the state of each signal by definition, and the journeys that the row still holds.

    `whole` is false if a block of the row is missing; the row then has no ids. `revision` counts replacements of the row.
    `forgotten` is the order key of the newest touchpoint that the row no longer keeps, or None while it keeps all.
    """

    ids: list[bytes]
    states: dict[str, Any]
    journeys: list[tuple[Any, ...]]
    whole: bool = True
    route: Route | None = None
    revision: int = 0
    forgotten: OrderKey | None = None
    is_complete: bool = True

    def may_lack(self, touchpoint: Touchpoint) -> bool:
        """Return whether the row may have forgotten a touchpoint, or knows that it needs a rebuild."""
        return not self.is_complete or (self.forgotten is not None and touchpoint.order_key() <= self.forgotten)

    def is_fold_of(self, life: Life) -> bool:
        """Return whether the row is a fold of the whole life, of which it keeps the newest part."""
        is_bounded = self.forgotten is not None or len(self.ids) == len(life.ids)
        is_kept = self.ids == life.ids[-len(self.ids) :] and self.journeys == life.journeys[-len(self.journeys) :]
        return self.whole and is_bounded and is_kept and self.states == life.states


def customer_rows(log: Log) -> dict[bytes, Row]:
    """Return the row of each customer: for each key the last one with the highest last applied offset."""
    newest: dict[bytes, bytes] = {}
    for each in log.entries[CUSTOMER_STATE]:
        assert each.key is not None
        if each.value[:OFFSET_BYTES] >= newest.get(each.key, b"")[:OFFSET_BYTES]:
            newest[each.key] = each.value
    found = {key: decode_stored_row(value) for key, value in newest.items()}
    rows = {key: row[1] for key, row in found.items() if row is not None}
    return {key: _row(key, rows) for key in rows if len(key) == CUSTOMER_ID_BYTES}


def _row(customer_id: bytes, rows: dict[bytes, bytes]) -> Row:
    customer, codec = decode_customer(rows[customer_id]), StateCodec(load_signals())
    states = {each.definition: codec.unpack_state(customer.states, each.definition) for each in load_signals()}
    journeys = [journey_row(each) for each in codec.unpack_journeys(customer.states).journeys]
    try:
        kept = History(customer, lambda slot: decode_block(rows.get(block_key(customer_id, slot)))).load_touchpoints()
    except RecordError:
        return Row([], states, journeys, whole=False)
    ids = [each.id for each in kept]
    return Row(ids, states, journeys, True, customer.route, customer.revision, customer.forgotten, customer.is_complete())
