"""link: the sequencer of the identity map. Its topic has one partition, so all changes happen once and in one order.

Customers are a pure function of the evidence (`streams/identity/clusters.py`), so any order of touchpoints ends in the same
customers with the same ids. The outputs of a touchpoint follow this order:

1. members and routes that changed, first on `touchline.identity`, then on `touchline.resolved`
2. the evidence: a worker that knows it also knows the members
3. identifiers that were not linked, and the reason
4. the touchpoint itself, to the owner of its strongest unshared identifier

A crash may keep only a part of the rows of a chunk. The step then reads the rows as of the last complete chunk
(`streams/identity/committed.py`), and takes the same decisions again.
"""

from collections.abc import Iterable, Iterator, Sequence

from schemas.records.families import FAMILIES
from schemas.service import telemetry
from schemas.wire.topics import IDENTITY_REQUESTS, IDENTITY_STATE
from streams.contract import Output, Record, Refuse, Rows, StateError, unexpected_schema
from streams.identity.committed import CommittedRows
from streams.identity.graph import Change
from streams.identity.naming import Named, Naming
from streams.identity.rows import FINGERPRINT, NODE, Node, add_sorted, decode_bytes, decode_node, encode_row
from streams.identity.rules import Rules
from streams.steps.decide import Decide
from streams.steps.identity import ANONYMOUS_RULE, Cause, evidence_output, member_output
from streams.steps.identity_changes import change_outputs, find_reason, report_conflict
from streams.steps.resolved import forward_to_customer

KNOWN = b"\x01"
CHECK_DEGREE = 16


class Link:
    """Step from `touchline.identity-requests` to members, evidence, routes, conflicts and the touchpoint itself."""

    name = "link"
    topics = (IDENTITY_REQUESTS,)
    table = "identity"
    changelog = IDENTITY_STATE
    row_group_prefix_bytes = 0
    max_row_bytes = 64 * 1024

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._rules = naming.rules
        self._erased = telemetry.ERASED.labels(self.name)

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        outputs: list[Output] = []
        named = {record.position: self._naming.name(record.fields) for record in records if record.name in FAMILIES}
        committed = CommittedRows(rows, records[-1].offset if records else -1)
        self._check_secret(committed)
        committed.fetch({key for each in named.values() for key in _keys(each)})
        for record in records:
            if record.position in named:
                outputs += self._link(record, named[record.position], committed)
            elif record.name == "decision":
                outputs += Decide(record, committed, self._rules, refuse).outputs()
            else:
                refuse(record, unexpected_schema(record, self.name))
        if outputs:
            committed.complete()
        return outputs

    def _check_secret(self, rows: CommittedRows) -> None:
        """Raise StateError for another secret than that of the identity map: all customers would get other ids."""
        stored = rows.get(FINGERPRINT, decode_bytes)
        if stored is None:
            rows.put(FINGERPRINT, self._naming.fingerprint, bytes)
        elif stored != self._naming.fingerprint:
            raise StateError(
                "the identity map began with another secret: set TOUCHLINE_IDENTITY_SECRET or …_SECRET_FILE to that one"
            )

    def _link(self, record: Record, named: Named, rows: CommittedRows) -> Iterable[Output]:
        nodes: list[Node | None] = [rows.get(key, decode_node) for key in named.keys]
        if named.has_distinct_scopes and not named.ignored and not any(nodes):
            return create_customer(record, named, rows, self._rules)
        request = Request(record, named, rows, self._rules, dict(zip(named.nodes, nodes, strict=True)))
        if request.is_erased():
            self._erased.inc()
            return ()
        return request.outputs()


def _keys(named: Named) -> Iterable[bytes]:
    """Return the row keys that a touchpoint certainly needs."""
    return (*named.keys, named.evidence_key) if named.evidence_key else named.keys


def create_customer(record: Record, named: Named, rows: CommittedRows, rules: Rules) -> list[Output]:
    """Return the outputs of a touchpoint that names new identifiers only: one new customer. This is the usual request."""
    fields, nodes = record.fields, named.nodes
    owner = nodes[0]
    rule = ANONYMOUS_RULE if rules.is_anonymous(named.kinds[0]) else named.rule
    cause = Cause(rule, fields["event_id"], fields["occurred_at"])
    order = sorted(nodes)
    outputs = []
    for id_, key, kind, value in zip(nodes, named.keys, named.kinds, named.values, strict=True):
        node = Node(kind, value, owner, neighbours=[other for other in order if other != id_])
        rows.put(key, node, encode_row)
        outputs.append(member_output(id_, node, cause))
    if named.evidence_key:
        if rows.get(named.evidence_key, decode_bytes) is None:
            rows.put(named.evidence_key, KNOWN, bytes)
        outputs.append(evidence_output(named, cause, verified=fields.get("verified") is not False))
    outputs.append(forward_to_customer(fields, record.value, owner, nodes))
    return outputs


class Request:
    """One touchpoint against the current identity map."""

    def __init__(self, record: Record, named: Named, rows: CommittedRows, rules: Rules, nodes: dict[bytes, Node | None]) -> None:
        """`nodes` holds the stored nodes of the touchpoint, by rank."""
        self._record = record
        self._named = named
        self._rows = rows
        self._rules = rules
        self._nodes = nodes
        self._cause = Cause(named.rule, record.fields["event_id"], record.fields["occurred_at"])

    def is_erased(self) -> bool:
        """Return whether the touchpoint names an erased identifier."""
        ignored = [self._rows.get(NODE + id_, decode_node) for id_ in self._named.ignored]
        return any(node is not None and node.is_erased for node in (*self._nodes.values(), *ignored))

    def outputs(self) -> list[Output]:
        """Choose the cheapest way that gives the result of `_change`."""
        old = {id_: node for id_, node in self._nodes.items() if node is not None}
        if len(old) == len(self._nodes) and self._is_linked(old, old):
            return self._finish(self._repeat_anonymous(old))
        if all(node.is_shared for node in old.values()) and len(old) < len(self._nodes) and self._named.has_distinct_scopes:
            return self._create(next(id_ for id_ in self._nodes if id_ not in old))
        customer = self._find_followed(old)
        return self._change() if customer is None else self._create(customer)

    @staticmethod
    def _is_linked(nodes: dict[bytes, Node], others: Iterable[bytes]) -> bool:
        """Return whether each of the nodes was seen with all of the others before."""
        return all(
            node.kind and (node.is_shared or all(other == id_ or other in node.neighbours for other in others))
            for id_, node in nodes.items()
        )

    def _find_followed(self, old: dict[bytes, Node]) -> bytes | None:
        """Return the one customer that new weak identifiers follow, or None if the groups must be loaded.

        They follow it without a look at its group: they name one customer only, and never change the customer of other nodes.
        Every 16th neighbour loads the group and checks its size.
        """
        rule_of, new = self._rules.of, len(self._nodes) - len(old)
        if not all(rule_of(kind).is_weak for id_, kind in zip(self._nodes, self._named.kinds, strict=True) if id_ not in old):
            return None
        unshared = {id_: node for id_, node in old.items() if not node.is_shared}
        if (
            len({node.owner for node in unshared.values()}) != 1
            or all(rule_of(node.kind).is_weak for node in unshared.values())
            or not self._is_linked(unshared, old)
            or not self._named.has_distinct_scopes
        ):
            return None
        for node in unshared.values():
            degree = len(node.neighbours)
            may_be_shared = rule_of(node.kind).is_weak and degree + new > self._rules.anonymous_neighbours
            if node.is_full or may_be_shared or degree // CHECK_DEGREE != (degree + new) // CHECK_DEGREE:
                return None
        return next(iter(unshared.values())).owner

    def _create(self, customer: bytes) -> list[Output]:
        """Create the new identifiers as nodes of one customer, without any other change."""
        named, rows = self._named, self._rows
        order = sorted(named.nodes)
        created = {}
        for id_, kind, value in zip(named.nodes, named.kinds, named.values, strict=True):
            node = self._nodes[id_]
            if node is None:
                neighbours = [other for other in order if other != id_]
                self._nodes[id_] = created[id_] = node = Node(kind, value, customer, neighbours=neighbours)
                rows.put(NODE + id_, node, encode_row)
            elif not node.is_shared and add_sorted(node.neighbours, [other for other in order if other != id_]):
                rows.put(NODE + id_, node, encode_row)
        cause = self._cause
        if self._is_anonymous():
            cause = cause._replace(rule=ANONYMOUS_RULE)
        return self._finish([member_output(id_, node, cause) for id_, node in created.items()])

    def _is_anonymous(self) -> bool:
        return self._rules.is_anonymous(self._named.kinds[0])

    def _repeat_anonymous(self, nodes: dict[bytes, Node]) -> list[Output]:
        """Return the members again that never met a known identifier: the copy of a worker may have dropped them by age."""
        if not self._is_anonymous():
            return []
        cause = self._cause._replace(rule=ANONYMOUS_RULE)
        return [member_output(id_, node, cause) for id_, node in nodes.items() if not self._has_met_known(node)]

    def _has_met_known(self, node: Node) -> bool:
        around = [self._rows.get(NODE + id_, decode_node) for id_ in (node.owner, *node.neighbours)]
        return any(other is not None and not self._rules.is_anonymous(other.kind) for other in around)

    def _change(self) -> list[Output]:
        """Change the groups of all identifiers."""
        named = self._named
        change = Change(self._rows, self._rules)
        for id_, kind, value in zip(named.nodes, named.kinds, named.values, strict=True):
            self._nodes[id_] = change.create(id_, kind, value)
        left_out = change.unite(named.nodes)
        for id_ in named.nodes:
            change.share(id_)
        change.settle()
        return self._finish(change_outputs(change, self._rules, self._cause), left_out, change.newly_shared)

    def _finish(self, outputs: list[Output], left_out: Sequence[bytes] = (), newly_shared: Sequence[bytes] = ()) -> list[Output]:
        """Return all outputs, with the evidence and its conflicts if they are new, and the touchpoint at the end."""
        named, rows = self._named, self._rows
        nodes = {id_: node for id_, node in self._nodes.items() if node is not None}
        anchor = next((id_ for id_, node in nodes.items() if not node.is_shared), named.nodes[0])
        if named.evidence_key:
            is_new = rows.get(named.evidence_key, decode_bytes) is None
            if is_new:
                rows.put(named.evidence_key, KNOWN, bytes)
            if is_new or self._is_anonymous():
                outputs.append(self._evidence())
            if is_new:
                outputs += self._conflicts(anchor, nodes, left_out, newly_shared)
        outputs.append(forward_to_customer(self._record.fields, self._record.value, nodes[anchor].owner, named.nodes))
        return outputs

    def _evidence(self) -> Output:
        cause = self._cause._replace(rule=ANONYMOUS_RULE) if self._is_anonymous() else self._cause
        return evidence_output(self._named, cause, verified=self._record.fields.get("verified") is not False)

    def _conflicts(
        self, anchor: bytes, nodes: dict[bytes, Node], left_out: Sequence[bytes], newly_shared: Sequence[bytes]
    ) -> Iterator[Output]:
        """Yield the identifiers that belong to another customer than the touchpoint."""
        for id_, node in nodes.items():
            if node.owner != nodes[anchor].owner and id_ not in newly_shared:
                is_full = id_ in left_out or anchor in left_out
                reason = "group_full" if is_full else find_reason(nodes[anchor], node, self._rules)
                yield report_conflict(reason, anchor, nodes[anchor], id_, node, self._cause)
        for id_ in self._named.ignored:
            ignored: Node | None = self._rows.get(NODE + id_, decode_node)
            if ignored is not None and ignored.owner != nodes[anchor].owner:
                yield report_conflict("unverified", anchor, nodes[anchor], id_, ignored, self._cause)
