"""Rows of the sequencer: nodes, routes and decisions. Each value begins with the version of its layout.

| key                | value                                                                     |
|--------------------|---------------------------------------------------------------------------|
| `n` + node         | `Node`: an identifier, its owner, and the identifiers seen with it         |
| `r` + customer id  | `RouteRow`: where the touchpoints of a customer id belong now              |
| `e` + evidence id  | one byte: the sequencer published this evidence                            |
| `d` + decision id  | the `decision` record, after a byte that is 1 once it was undone           |
| `f`                | fingerprint of the secret                                                  |

A row is stored with its previous value (`streams/identity/committed.py`). Both together stay below 64 kB: a group has at most
`MAX_MEMBERS` nodes and `MAX_EDGES` edges.
"""

from collections.abc import Iterable

import msgspec

from schemas.errors import RecordError
from streams.contract import StateError
from streams.identity.rules import Scope, scope_of

LAYOUT = b"\x01"
MAX_LAYOUT = b"\x1f"
NODE_ID_BYTES = 16
NODE, ROUTE, EVIDENCE, DECISION, FINGERPRINT = b"n", b"r", b"e", b"d", b"f"
MAX_MEMBERS = 512
MAX_EDGES = 2_048
MAX_ROUTES = 256
MAX_EXCEPTIONS = 512


class Node(msgspec.Struct, array_like=True):
    """One identifier.

    - `owner`: its customer. A shared node owns itself.
    - `is_shared`: it was seen with too many identifiers. It stays shared, and its neighbours are no longer recorded.
    - `is_full`: its group takes no new members.
    - `neighbours`: the nodes that verified touchpoints named together with it, sorted.
    - `routes`: the customer ids whose route concerns this node.
    - `joins`: for each join, the decision, the other node, and whether it comes from a review.
    - `splits`: for each split, the decision and the side of this node.
    """

    kind: str
    value: str
    owner: bytes
    is_shared: bool = False
    is_erased: bool = False
    is_full: bool = False
    neighbours: list[bytes] = []
    routes: list[bytes] = []
    joins: list[tuple[bytes, bytes, bool]] = []
    splits: list[tuple[bytes, int]] = []

    @property
    def scope(self) -> Scope:
        return scope_of(self.kind, self.value)


class RouteRow(msgspec.Struct, array_like=True):
    """Route of a customer id: the owner of its own node, the nodes with another owner, and shared nodes to skip."""

    current: bytes
    exceptions: dict[bytes, bytes] = {}
    shared: list[bytes] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_node = msgspec.msgpack.Decoder(Node).decode
_decode_route = msgspec.msgpack.Decoder(RouteRow).decode


def encode_row(row: Node | RouteRow) -> bytes:
    """Return a row as the store keeps it."""
    return LAYOUT + _encode(row)


def decode_node(value: bytes | None) -> Node | None:
    """Return the node from its stored bytes, or None."""
    return None if value is None else _decode_node(_strip_layout(value))


def decode_route(value: bytes | None) -> RouteRow | None:
    """Return the route from its stored bytes, or None."""
    return None if value is None else _decode_route(_strip_layout(value))


def decode_bytes(value: bytes | None) -> bytes | None:
    """Return a row that is stored as it is."""
    return value


def _strip_layout(value: bytes) -> memoryview:
    """Return the row without its layout version.

    Raises StateError for a later version, which an update can read, and RecordError for bytes that are no row of link.
    """
    if LAYOUT < value[:1] <= MAX_LAYOUT:
        raise StateError(f"a row of link has layout {value[0]}, this software knows {LAYOUT[0]}: update every worker")
    if value[:1] != LAYOUT:
        raise RecordError("unreadable_state", "the state of link has bytes that are no row: replay the record after an update")
    return memoryview(value)[1:]


def add_sorted(target: list[bytes], ids: Iterable[bytes]) -> bool:
    """Add ids to a sorted list without repetition, and return whether it changed."""
    new = set(ids).difference(target)
    if new:
        target.extend(new)
        target.sort()
    return bool(new)
