"""Search of customers and identifiers, over a ClickHouse in memory."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.identity import queries
from deploy.identity.lookup import parse_lookup
from deploy.identity.queries import IdentityReader
from deploy.identity.records import Identifier
from schemas.errors import ConfigError, RetryableError
from sinks.clickhouse import Answer
from tests.harness.identity import make_decision_row, make_identifier

Rows = list[tuple[Any, ...]]


class Server:
    """The rows of a few identifiers. All other views are empty; `others` replaces the answer of a query."""

    def __init__(self, *identifiers: Identifier, is_masked: bool = False) -> None:
        self.identifiers = list(identifiers)
        self.is_before_all = False
        self.others: dict[str, Rows] = {queries.CAN_SEARCH: [(not is_masked,)]}

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Answer:
        known: dict[str, Callable[[Identifier], bool]] = {
            queries.BY_VALUE: lambda each: (params or {})["kind"] in ("", each.kind) and each.value == (params or {})["value"],
            queries.BY_IDS: lambda each: str(each.identifier_id) in (params or {})["ids"],
            queries.OF_CUSTOMER: lambda each: str(each.customer_id) == (params or {})["customer"] and not self.is_before_all,
        }
        if sql in known:
            return Answer([], [tuple(each) for each in self.identifiers if known[sql](each)])
        return Answer([], self.others.get(sql, []))


def read(server: Server) -> IdentityReader:
    return IdentityReader(server)  # type: ignore[arg-type]


ANN, BOB = uuid4(), uuid4()
EMAIL = make_identifier("email", "ann@example.com", ANN)
PARTY = make_identifier("erp_party", "42", ANN)._replace(identifier_id=ANN)
PHONE = make_identifier("phone", "+49151234567", BOB)
LOYALTY = make_identifier("loyalty", "42", BOB)


def test_customer_has_all_of_its_identifiers() -> None:
    identity = read(Server(EMAIL, PARTY, PHONE)).identity(parse_lookup("ann@example.com"))
    assert (identity.customer_id, identity.identifiers) == (ANN, [EMAIL, PARTY])


def test_known_customer_may_have_no_identifier_as_of_a_time() -> None:
    server = Server(EMAIL)
    server.is_before_all = True
    identity = read(server).identity(parse_lookup("ann@example.com"))
    assert (identity.customer_id, identity.identifiers) == (ANN, [])


def test_former_id_leads_to_the_customer_of_today() -> None:
    server = Server(EMAIL)
    former = uuid4()
    server.others[queries.CANONICAL] = [(ANN,)]
    assert read(server).identity(parse_lookup(str(former))).customer_id == ANN


@pytest.mark.parametrize(
    ("text", "is_masked", "error"),
    [
        ("bob@example.com", False, "no customer has this identifier"),
        ("ann@example.com", True, "grant it the role touchline_pii, or give a customer id"),
        ("42", False, "more than one customer has this identifier"),
        (str(uuid4()), False, "no customer with an identifier has this id"),
    ],
    ids=["unknown", "masked", "ambiguous", "unknown id"],
)
def test_search_without_one_customer_names_the_next_step(text: str, error: str, *, is_masked: bool) -> None:
    with pytest.raises(ConfigError, match=error):
        read(Server(EMAIL, PARTY, PHONE, LOYALTY, is_masked=is_masked)).identity(parse_lookup(text))


def test_identifiers_of_a_split_may_be_given_by_id_without_the_role() -> None:
    ids, identity = read(Server(EMAIL, PARTY, is_masked=True)).identity_of_all([str(EMAIL.identifier_id)])
    assert (ids, identity.customer_id) == ([EMAIL.identifier_id], ANN)


def test_identifiers_of_two_customers_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than one customer: split one customer at a time"):
        read(Server(EMAIL, PHONE)).identity_of_all(["ann@example.com", "phone:+49151234567"])


@pytest.mark.parametrize("text", ["ann@example.com", str(EMAIL.identifier_id)], ids=["value", "id"])
def test_identifier_of_a_join_is_found_by_value_and_id(text: str) -> None:
    node, identity = read(Server(EMAIL, PARTY)).node(text)
    assert (node, identity.customer_id) == (EMAIL.identifier_id, ANN)


def test_customer_of_a_join_may_be_a_former_id() -> None:
    server = Server(EMAIL)
    server.others[queries.CANONICAL] = [(ANN,)]
    assert read(server).node(str(uuid4()))[0] == ANN


def test_evidence_names_identifiers_of_other_customers_and_unknown_ones() -> None:
    shared, unknown = make_identifier("email", "info@example.com", uuid4(), is_shared=True), uuid4()
    server = Server(EMAIL, shared)
    rest = ("exact-identifier", 1.0, True, 2, EMAIL.at, uuid4(), EMAIL.at, uuid4())
    server.others[queries.PAIRS] = [
        (EMAIL.identifier_id, "email", shared.identifier_id, "email", *rest),
        (EMAIL.identifier_id, "email", unknown, "device", *rest),
    ]
    pairs = read(server).identity(parse_lookup("ann@example.com")).evidence
    assert [(pair.identifier, pair.other) for pair in pairs] == [
        ("email:ann@example.com", "email:info@example.com"),
        ("email:ann@example.com", "device:?"),
    ]


@pytest.mark.parametrize(("count", "error"), [(0, "no decision has"), (2, "more than one decision has")])
def test_prefix_of_a_decision_must_name_one(count: int, error: str) -> None:
    server = Server()
    server.others[queries.DECISION_BY_PREFIX] = [tuple(make_decision_row("split"))] * count
    with pytest.raises(ConfigError, match=f"{error} an id that starts with ab"):
        read(server).decision("ab")


@pytest.mark.parametrize("prefix", ["", "x", "'; DROP", "a" * 37])
def test_text_that_is_no_prefix_of_an_id_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="is no id of a decision"):
        read(Server()).decision(prefix)


def test_wait_for_the_sinks_ends_with_the_new_owner_or_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    server = Server(EMAIL)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] == 2.0:
            server.identifiers = [EMAIL._replace(customer_id=BOB)]

    monkeypatch.setattr("deploy.identity.queries.time.monotonic", lambda: now[0])
    monkeypatch.setattr("deploy.identity.queries.time.sleep", sleep)
    read(server).wait_until_stored({EMAIL.identifier_id: BOB})
    assert now[0] == 2.0
    with pytest.raises(RetryableError, match="run `touchline sink`"):
        read(server).wait_until_stored({EMAIL.identifier_id: UUID(int=1)})
    assert 32 <= now[0] <= 33


def test_count_of_touchpoints_has_both_sides() -> None:
    server = Server(EMAIL, PARTY)
    server.others[queries.COUNT_TOUCHPOINTS] = [(3, 10)]
    reader = read(server)
    identity = reader.identity(parse_lookup("ann@example.com"))
    assert reader.count_touchpoints(identity, [EMAIL.identifier_id]) == (3, 7)


@pytest.mark.parametrize(("rows", "expected"), [([], True), ([(1,)], True), ([(0,)], False)])
def test_customer_without_a_revision_is_complete(rows: Rows, *, expected: bool) -> None:
    server = Server(EMAIL)
    server.others[queries.IS_COMPLETE] = rows
    assert read(server).is_complete(ANN) == expected
