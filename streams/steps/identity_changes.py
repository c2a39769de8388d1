"""Outputs of a change of the identity map: members, routes and conflicts, with their metrics."""

from schemas.service import telemetry
from streams.contract import Output
from streams.identity.graph import Change
from streams.identity.rows import Node
from streams.identity.rules import Rules
from streams.steps.identity import ANONYMOUS_RULE, Cause, conflict_output, member_output, route_outputs


class _Largest:
    """Largest customer that this process has changed."""

    def __init__(self) -> None:
        self._size = 0

    def note(self, size: int) -> None:
        if size > self._size:
            self._size = size
            telemetry.LARGEST_CUSTOMER.set(size)


_largest = _Largest()


def change_outputs(change: Change, rules: Rules, cause: Cause) -> list[Output]:
    """Return the members and routes that changed, and the former links of nodes that became shared."""
    _largest.note(change.largest_cluster())
    anonymous = cause._replace(rule=ANONYMOUS_RULE)
    outputs = [
        member_output(id_, change.nodes[id_], anonymous if _is_anonymous(change, id_, rules) else cause)
        for id_ in change.changed_members()
    ]
    for customer_id, route in change.update_routes():
        outputs += route_outputs(customer_id, route, cause)
    for id_ in change.newly_shared:
        telemetry.SHARED_IDENTIFIERS.inc()
        for other in change.nodes[id_].neighbours:
            if other in change.nodes:
                outputs.append(report_conflict("shared_value", id_, change.nodes[id_], other, change.nodes[other], cause))
    return outputs


def report_conflict(reason: str, id_: bytes, node: Node, other_id: bytes, other: Node, cause: Cause) -> Output:
    """Count two identifiers that were not linked, and return their record."""
    telemetry.IDENTITY_CONFLICTS.labels(reason).inc()
    return conflict_output(reason, id_, node, other_id, other, cause)


def find_reason(node: Node, other: Node, rules: Rules) -> str:
    """Return the reason for which two identifiers of one touchpoint belong to different customers."""
    if node.is_shared or other.is_shared:
        return "shared_value"
    if any((split, 1 - side) in other.splits for split, side in node.splits):
        return "split"
    is_weak = rules.of(node.kind).is_weak or rules.of(other.kind).is_weak
    return "anonymous" if is_weak else "limit"


def _is_anonymous(change: Change, id_: bytes, rules: Rules) -> bool:
    """Return whether an identifier is anonymous and never met a known one."""
    node = change.nodes[id_]
    return (
        rules.is_anonymous(node.kind)
        and not node.is_erased
        and not any(
            other in change.nodes and not rules.is_anonymous(change.nodes[other].kind) for other in (node.owner, *node.neighbours)
        )
    )
