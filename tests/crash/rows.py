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
from tests.crash.log import Log
from tests.crash.model import journey_row


class Row(NamedTuple):
    """One customer: event ids in order, the state of each signal by definition, and the journeys that the row still holds.

    `whole` is false if a block of the row is missing; the row then has no ids. `revision` counts replacements of the row.
    """

    ids: list[bytes]
    states: dict[str, Any]
    journeys: list[tuple[Any, ...]]
    whole: bool = True
    route: Route | None = None
    revision: int = 0


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
    return Row([each.id for each in kept], states, journeys, route=customer.route, revision=customer.revision)
