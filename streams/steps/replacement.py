"""Replacement of a customer's rows: by a route that takes touchpoints away, and by the `history` records of a rebuild.

Both empty the row, raise its revision and fold what stays from the beginning. All its records are published again with higher
versions, and a `customer` record announces the revision. Readers ignore the records of earlier revisions.
"""

from collections.abc import Sequence
from contextlib import suppress

from schemas.wire.codec import Fields
from streams.contract import Rows
from streams.steps.customer import UNREADABLE, Customer, decode_customer, encode_row
from streams.steps.line import Line
from streams.steps.route import Route, add_lost
from streams.touchpoint import OrderKey, Touchpoint, decode_touchpoints

HOUR_MS = 3_600_000
BEFORE_ALL: OrderKey = (-(2**63), b"")


def change_route(line: Line, route: Route | None) -> None:
    """Store the route, and move the touchpoints that belong to another customer.

    If touchpoints leave that the row no longer keeps, the remaining ones of this kind are lost with the row: a rebuild folds
    them again. The nodes of the leaving ones move, so that their new customer is rebuilt, too.
    """
    before = line.customer
    if route == before.route:
        return
    before.route = route
    kept = line.load_touchpoints()
    staying = line.forward(kept)
    is_changed = len(staying) < len(kept) or _leaves_any(route, line.customer_id, before.forgotten_nodes)
    lost = add_lost(before.lost, before.forgotten_nodes) if is_changed else before.lost
    lost = line.forward_lost(lost)
    if is_changed:
        line.replace(
            Customer(
                route=route,
                revision=before.revision + 1,
                lost=lost,
                replayed=before.replayed,
                replaced_at=line.at,
                next_part=before.next_part,
            )
        )
        line.fold(staying, is_atomic=True)
    else:
        before.lost = lost
        line.put()
    line.announce()


def repeat_route(line: Line) -> None:
    """Replace the row by itself when a route that it already contains comes again after a crash.

    The attempt before the crash may have published records of touchpoints that come in another order now. The new revision hides
    them. A row that has forgotten touchpoints stays as it is.
    """
    before = line.customer
    if before.forgotten is not None:
        return
    kept = line.load_touchpoints()
    line.replace(
        Customer(
            route=before.route,
            revision=before.revision + 1,
            lost=before.lost,
            replayed=before.replayed,
            replaced_at=line.at,
            next_part=before.next_part,
        )
    )
    line.fold(kept, is_atomic=True)
    line.announce()


def _leaves_any(route: Route | None, customer_id: bytes, nodes: Sequence[bytes]) -> bool:
    return route is not None and any(route.find_owner(each) != customer_id for each in nodes)


def drop_unreadable_row(rows: Rows, customer_id: bytes, at: int) -> None:
    """Replace a row that cannot be read by an empty one, which a rebuild then fills.

    Its revision is unknown. The new one counts hours since 1970, which is above any number of replacements.
    """
    try:
        rows.get(customer_id, decode_customer)
    except UNREADABLE:
        rows.put(customer_id, Customer(revision=at // HOUR_MS), encode_row)


def replay_part(line: Line, fields: Fields) -> None:
    """Fold one `history` record. The first one empties the row; the last one publishes whether it is complete.

    Parts come in event-time order. A touchpoint beyond the bound that is not newer than an earlier part is a repetition. A part
    after the last one is a repetition as well. A missing part leaves the customer incomplete: it became a dead letter.
    """
    part = decode_touchpoints(fields["touchpoints"])
    existing = _begin_replay(line, keep_existing=fields["keep_existing"]) if fields["is_first"] else []
    customer, replayed = line.customer, line.customer.replayed
    if replayed is not None:
        newest = max(map(Touchpoint.order_key, part), default=replayed)
        customer.replayed = None if fields["is_last"] else max(replayed, newest)
        customer.replaced_at = line.at
        part_number = fields["part"] or 0
        is_part_missing = part_number > customer.next_part
        customer.next_part = 0 if fields["is_last"] else max(customer.next_part, part_number + 1)
        if is_part_missing:
            line.add_lost([b""])
    late = line.fold(line.forward([*existing, *part]), is_atomic=True)
    line.forget_surplus()
    if replayed is not None:
        line.add_lost(each.nodes for each in late if each.order_key() > replayed)
        if fields["is_last"]:
            _check_end(line, max([replayed, *map(Touchpoint.order_key, part)]))
    line.announce(always=fields["is_last"])


def _begin_replay(line: Line, *, keep_existing: bool) -> list[Touchpoint]:
    """Empty the row, and return its touchpoints if they are to stay. A row with an unreadable block returns none."""
    before = line.customer
    existing: list[Touchpoint] = []
    with suppress(*UNREADABLE):
        existing = line.load_touchpoints() if keep_existing else []
    expected = max(filter(None, (before.forgotten, before.expected)), default=None) if keep_existing else None
    line.replace(Customer(route=before.route, revision=before.revision + 1, replayed=BEFORE_ALL, expected=expected))
    return existing


def _check_end(line: Line, newest: OrderKey) -> None:
    """Note a lost touchpoint if the rebuild ends before one that the row had forgotten: its source was not up to date."""
    expected = line.customer.expected
    if expected is not None and newest < expected:
        line.add_lost([b""])
    else:
        line.customer.expected = None
