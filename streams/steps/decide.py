"""Decisions of people on the identity map: split, join, review, undo and erase.

Each is applied once by its id, and published after its effects. Marks of a split or join stay in the rows of the nodes, so that
the clusters remain a function of the rows. The row of a decision (`d` + id) holds the record and whether it was undone.
"""

from collections.abc import Iterable

from schemas.errors import RecordError
from schemas.wire.codec import Fields, decode, encode
from schemas.wire.topics import RESOLVED, customer_partition
from streams.contract import Output, Record, Refuse
from streams.identity.committed import CommittedRows
from streams.identity.graph import Change
from streams.identity.rows import DECISION, MAX_MEMBERS, decode_bytes
from streams.identity.rules import COMPOUND, Rules
from streams.steps.identity import Cause, decision_output
from streams.steps.identity_changes import change_outputs, find_reason, report_conflict
from streams.touchpoint import encode_touchpoints

ACTIVE, UNDONE = b"\x00", b"\x01"
LINKING = ("join", "review")


class Decide:
    """One decision against the current identity map."""

    def __init__(self, record: Record, rows: CommittedRows, rules: Rules, refuse: Refuse) -> None:
        self._record = record
        self._fields: Fields = record.fields
        self._rows = rows
        self._rules = rules
        self._refuse = refuse
        self._change = Change(rows, rules)
        self._cause = Cause(record.fields["action"], record.fields["decision_id"], record.fields["at"])

    def outputs(self) -> list[Output]:
        """Apply the decision. A repetition of an undone decision changes nothing."""
        action, fields = self._fields["action"], self._fields
        key = DECISION + fields["decision_id"]
        stored: bytes | None = self._rows.get(key, decode_bytes)
        outputs: list[Output] = []
        if stored is None or stored[:1] == ACTIVE:
            try:
                outputs = self._apply(action)
            except RecordError as error:
                self._refuse(self._record, error)
                return []
            self._rows.put(key, ACTIVE + self._record.value, bytes)
        return [*outputs, decision_output(fields)]

    def _apply(self, action: str) -> list[Output]:
        if action == "split":
            return self._split()
        if action in LINKING:
            return self._join()
        if action == "undo":
            return self._undo()
        return self._erase()

    def _load(self, ids: Iterable[bytes]) -> None:
        """Load the groups of nodes. A node that no touchpoint named yet gets a row without kind and value."""
        for id_ in ids:
            self._change.create(id_, "", "")
            self._change.load_group(id_)

    def _split(self) -> list[Output]:
        left, right = self._fields["left"], self._fields["right"]
        self._load((*left, *right))
        for side, ids in enumerate((left, right)):
            for id_ in ids:
                mark = (self._fields["decision_id"], side)
                splits = self._change.nodes[id_].splits
                if mark not in splits:
                    splits.append(mark)
                    splits.sort()
                    self._change.mark(id_)
        return self._settle()

    def _join(self) -> list[Output]:
        ids = list(dict.fromkeys((*self._fields["left"], *self._fields["right"])))
        self._load(ids)
        nodes = self._change.nodes
        anchor = next((id_ for id_ in ids if not nodes[id_].is_shared), ids[0])
        united = set(self._change.load_group(anchor))
        refused = []
        for id_ in ids:
            group = self._change.load_group(id_)
            if nodes[id_].is_shared or len(united | group) > MAX_MEMBERS:
                refused.append(id_)
            elif id_ != anchor:
                united |= group
                self._add_join(anchor, id_)
                self._add_join(id_, anchor)
        outputs = self._settle()
        for id_ in ids:
            if nodes[id_].owner != nodes[anchor].owner:
                is_full = id_ in refused and not nodes[id_].is_shared
                reason = "group_full" if is_full else find_reason(nodes[anchor], nodes[id_], self._rules)
                outputs.append(report_conflict(reason, anchor, nodes[anchor], id_, nodes[id_], self._cause))
        return outputs

    def _add_join(self, id_: bytes, other: bytes) -> None:
        joins = self._change.nodes[id_].joins
        mark = (self._fields["decision_id"], other, self._fields["action"] == "review")
        if mark not in joins:
            joins.append(mark)
            joins.sort()
            self._change.mark(id_)

    def _undo(self) -> list[Output]:
        undoes = self._fields["undoes"]
        key = DECISION + (undoes or b"")
        stored: bytes | None = self._rows.get(key, decode_bytes)
        if stored is None:
            raise RecordError("unknown_decision", "an undo names a decision that does not exist: see the view identity_changes")
        undone = decode(stored[1:])[1]
        if undone["action"] in ("undo", "erase"):
            raise RecordError("unknown_decision", f"a decision of kind {undone['action']} cannot be undone")
        ids = (*undone["left"], *undone["right"])
        self._load(ids)
        for id_ in ids:
            node = self._change.nodes[id_]
            splits = [mark for mark in node.splits if mark[0] != undoes]
            joins = [mark for mark in node.joins if mark[0] != undoes]
            if len(splits) + len(joins) < len(node.splits) + len(node.joins):
                node.splits, node.joins = splits, joins
                self._change.mark(id_)
        outputs = self._settle()
        self._rows.put(key, UNDONE + stored[1:], bytes)
        return outputs

    def _erase(self) -> list[Output]:
        """Erase the customers of all nodes in `left`. Erased nodes keep their neighbours, so no other customer changes.

        A compound key is no property of one person: it becomes shared, because touchpoints of a namesake may name it later.
        A repetition writes the erased rows again: a row keeps its value before the chunk (`streams/identity/committed.py`), so
        only the second write removes the identifier from the state.
        """
        self._load(self._fields["left"])
        self._change.settle()
        nodes = self._change.nodes
        customers = list(dict.fromkeys(nodes[id_].owner for id_ in self._fields["left"]))
        for id_, node in nodes.items():
            is_key = self._rules.of(node.kind).edge_class == COMPOUND
            if node.owner in customers and not is_key:
                node.is_erased = True
            elif node.owner in customers:
                node.is_shared, node.owner = True, id_
            elif not is_key or node.value:
                continue
            node.value = ""
            self._change.mark(id_)
        self._change.write()
        outputs = change_outputs(self._change, self._rules, self._cause)
        return [*outputs, *(_empty_history(customer_id) for customer_id in customers)]

    def _settle(self) -> list[Output]:
        self._change.settle()
        return change_outputs(self._change, self._rules, self._cause)


def _empty_history(customer_id: bytes) -> Output:
    """Return the record that empties a customer's row."""
    fields = {
        "customer_id": customer_id,
        "is_first": True,
        "is_last": True,
        "keep_existing": False,
        "touchpoints": encode_touchpoints([]),
        "part": 0,
    }
    return Output(RESOLVED, customer_partition(customer_id), customer_id, encode("history", fields))
