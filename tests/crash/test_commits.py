"""The check of commits can fail: it names each removed result of a committed record."""

import json
from types import SimpleNamespace

import pytest

from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from schemas.wire.codec import encode, encode_model
from schemas.wire.topics import CONNECTOR_STATE, CUSTOMER_STATE, DEAD_LETTERS, IDENTITY, IDENTITY_REQUESTS, RESOLVED
from sinks.contract import load_tables
from streams.engine.store import encode_stored_row
from streams.steps.customer import Customer, encode_row
from streams.steps.resolved import forward_to_customer
from streams.steps.route import Route
from streams.touchpoint import Touchpoint, decode_touchpoint, encode_touchpoint, encode_touchpoints, pack_touchpoints
from tests.crash.commits import KEYS, Stored, find_commits_ahead
from tests.crash.log import Committed, Log, decode_entry
from tests.crash.verdict import expect_poison_letters

SOURCE = "touchline.erp"
HERE, GONE = b"h" * 16, b"g" * 16
NEW, OLD = b"n" * 16, b"o" * 16
AT = 1_760_000_000_000
ORDER = {
    "source": "erp",
    "system": "shop",
    "connector": "crash",
    "type": "order.placed",
    "channel": "web",
    "occurred_at": AT,
    "received_at": AT,
    "identifiers": [{"kind": "email", "value": "a@example.org"}],
    "attributes": {},
}
ROUTE = {"customer_id": GONE, "current": HERE, "shared": [], "exceptions": [], "rule": "test", "event_id": NEW, "at": 0}
STATE = {"connector": "crash", "stream": "orders:1", "cursor": json.dumps({"rows": 2}), "last_event_at": 0, "last_success_at": 0}
TOTALS = dict.fromkeys(("read", "published", "dead_lettered", "repeated"), 2)
ROWS = {"orders:1": [NEW, OLD, b"not yet read"]}
COMMITTED: Committed = {
    "touchline-work": {(SOURCE, 0): 3, (IDENTITY_REQUESTS, 0): 2, (RESOLVED, 0): 5},
    "touchline-sink-touchpoints": {(RESOLVED, 0): 5},
}
STORED: Stored = {"touchpoints": {(NEW.hex(),): 0, (OLD.hex(),): 0}}
LETTERS = (("identify", SOURCE, 2), ("link", IDENTITY_REQUESTS, 1), ("join", RESOLVED, 4), ("sink_touchpoints", RESOLVED, 4))


def put(log: Log, topic: str, *values: bytes, key: bytes = b"") -> None:
    for value in values:
        record = SimpleNamespace(topic=topic, partition=0, offset=len(log.entries[topic]), key=key, value=value)
        log.entries[topic].append(decode_entry(record))


def order(event_id: bytes) -> bytes:
    return encode("erp", {**ORDER, "event_id": event_id})


def touchpoint(event_id: bytes) -> Touchpoint:
    return decode_touchpoint(encode_touchpoint({**ORDER, "event_id": event_id}, "purchase"))


def resolved(event_id: bytes, customer_id: bytes) -> bytes:
    return forward_to_customer({**ORDER, "event_id": event_id}, order(event_id), customer_id).value


def moved(*event_ids: bytes) -> bytes:
    touchpoints = encode_touchpoints([touchpoint(each) for each in event_ids])
    return encode("moved", {"customer_id": HERE, "from_customer": GONE, "touchpoints": touchpoints})


def row(offset: int, *event_ids: bytes) -> bytes:
    return encode_stored_row(
        offset, encode_row(Customer(folded=len(event_ids), tail=pack_touchpoints(map(touchpoint, event_ids))))
    )


@pytest.fixture
def log() -> Log:
    """A touchpoint of a customer, one of a merged customer, and poison on every topic."""
    log = Log()
    put(log, SOURCE, order(NEW), order(OLD), b"poison")
    put(log, IDENTITY_REQUESTS, order(NEW), b"poison")
    put(log, RESOLVED, resolved(NEW, HERE), resolved(OLD, GONE), encode("route", ROUTE), moved(OLD), b"poison")
    put(log, CUSTOMER_STATE, row(3, NEW, OLD), key=HERE)
    put(log, CUSTOMER_STATE, row(1, OLD), encode_stored_row(2, encode_row(Customer(route=Route(HERE)))), key=GONE)
    put(log, CONNECTOR_STATE, encode("connector_state", {**STATE, **TOTALS}))
    put(log, DEAD_LETTERS, *(letter(*each) for each in LETTERS))
    return log


def letter(stage: str, topic: str, offset: int) -> bytes:
    return encode_model(
        "dead_letter", make_dead_letter(RecordError("not_avro", ""), b"poison", stage=stage, origin=f"{topic}/0/{offset}")
    )


def found(log: Log, committed: Committed = COMMITTED, stored: Stored = STORED) -> list[str]:
    return find_commits_ahead(committed, log, stored, ROWS)


def test_commits_with_all_results_are_accepted(log: Log) -> None:
    assert found(log) == []


def test_every_table_is_checked() -> None:
    assert KEYS.keys() == load_tables().keys()


def test_poison_is_expected_of_every_stage_that_reads_it(log: Log) -> None:
    assert {(stage, origin) for stage, origin, _ in expect_poison_letters(log)} == {
        (stage, f"{topic}/0/{at}") for stage, topic, at in LETTERS
    }


@pytest.mark.parametrize(
    ("topic", "at", "names"),
    [
        (SOURCE, 0, ["files: orders:1 row 1"]),
        (RESOLVED, 0, ["link: touchline.identity-requests/0/0"]),
        (RESOLVED, 1, ["identify: touchline.erp/0/1"]),
        (RESOLVED, 3, ["join: touchline.resolved/0/1"]),
        (CUSTOMER_STATE, 0, ["join: touchline.resolved/0/0", "join: touchline.resolved/0/3"]),
        (CUSTOMER_STATE, 2, ["join: touchline.resolved/0/2"]),
        (DEAD_LETTERS, 0, ["identify: touchline.erp/0/2"]),
        (DEAD_LETTERS, 1, ["link: touchline.identity-requests/0/1"]),
        (DEAD_LETTERS, 2, ["join: touchline.resolved/0/4"]),
        (DEAD_LETTERS, 3, ["sink touchpoints: touchline.resolved/0/4"]),
    ],
)
def test_missing_result_names_the_commit_ahead(log: Log, topic: str, at: int, names: list[str]) -> None:
    del log.entries[topic][at]
    assert found(log) == names


def test_missing_row_names_the_commit_of_the_sink(log: Log) -> None:
    assert found(log, stored={"touchpoints": {(NEW.hex(),): 0}}) == ["sink touchpoints: touchline.resolved/0/1"]


def test_uncommitted_records_need_no_result(log: Log) -> None:
    log.entries[CUSTOMER_STATE].clear()
    log.entries[DEAD_LETTERS].clear()
    assert found(log, committed={}, stored={"touchpoints": {}}) == []


def test_committed_decision_needs_its_published_decision(log: Log) -> None:
    fields = {"decision_id": NEW, "action": "split", "left": [NEW], "right": [OLD], "undoes": None, "reason": "", "who": ""}
    decision = encode("decision", {**fields, "confidence": 1.0, "at": 0})
    put(log, IDENTITY_REQUESTS, decision)
    committed = {"touchline-work": {(IDENTITY_REQUESTS, 0): 3}}
    assert found(log, committed) == ["link: touchline.identity-requests/0/2"]
    put(log, IDENTITY, decision)
    assert found(log, committed) == []


@pytest.mark.parametrize(("revision", "ids", "is_done"), [(1, (NEW, OLD), True), (0, (NEW, OLD), False), (1, (NEW,), False)])
def test_committed_history_needs_a_replaced_row_with_all_touchpoints(
    log: Log, revision: int, ids: tuple[bytes, ...], *, is_done: bool
) -> None:
    del log.entries[RESOLVED][3]  # the moved record
    touchpoints = encode_touchpoints([touchpoint(NEW), touchpoint(OLD)])
    place = {"is_first": True, "is_last": True, "part": 0}
    fields = {"customer_id": HERE, **place, "keep_existing": True, "touchpoints": touchpoints}
    put(log, RESOLVED, encode("history", fields))
    log.entries[CUSTOMER_STATE].clear()
    customer = Customer(folded=len(ids), tail=pack_touchpoints(map(touchpoint, ids)), revision=revision)
    put(log, CUSTOMER_STATE, encode_stored_row(5, encode_row(customer)), key=HERE)
    history = [each for each in found(log) if each == "join: touchline.resolved/0/4"]
    assert history == ([] if is_done else ["join: touchline.resolved/0/4"])


@pytest.mark.parametrize(
    ("customer", "is_done"),
    [
        (Customer(forgotten=(AT, OLD)), True),
        (Customer(forgotten=(AT - 1, OLD)), False),
        (Customer(lost=(b"",)), True),
        (Customer(), False),
    ],
)
def test_committed_touchpoint_may_be_forgotten_or_lost(log: Log, customer: Customer, *, is_done: bool) -> None:
    log.entries[CUSTOMER_STATE][0:1] = []
    put(log, CUSTOMER_STATE, encode_stored_row(5, encode_row(customer)), key=HERE)
    assert found(log) == ([] if is_done else ["join: touchline.resolved/0/0", "join: touchline.resolved/0/3"])


def test_row_may_be_ahead_of_a_committed_route(log: Log) -> None:
    put(log, RESOLVED, encode("route", {**ROUTE, "current": OLD}))
    put(log, CUSTOMER_STATE, encode_stored_row(5, encode_row(Customer(route=Route(OLD)))), key=GONE)
    assert found(log) == []
