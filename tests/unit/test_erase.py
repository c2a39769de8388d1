"""Erasure: spellings in bytes, rows by table, faults on topics, the person to erase, and the order of the steps."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from deploy.commands import erase
from deploy.erase import run as running
from deploy.erase.conflicts import clear_conflict
from deploy.erase.lookup import NEEDS_KIND, SHARED, find_person, hash_candidates
from deploy.erase.person import KnownIdentifier, Person, digest_ids
from deploy.erase.queries import ErasureStore, find_coarsely
from deploy.erase.recognition import Recogniser
from deploy.erase.request import Request, check_request, make_finder
from deploy.erase.run import Erasure, Plan
from deploy.erase.search import split_columns
from deploy.erase.secret import load_checked_secret
from deploy.erase.spellings import Finder, list_length_prefixes, list_spellings
from deploy.erase.stores import DELETED, KEYED_IDS_ONLY, MAX_IDS_PER_STATEMENT, NO_PERSON, By, Erased, make_conditions
from deploy.erase.topics import Found, Record, TopicSearch, describe_retention
from deploy.identity.lookup import parse_lookup
from deploy.identity.queries import AMBIGUOUS, UNKNOWN_IDENTIFIER
from deploy.rebuild.history import Part
from deploy.rebuild.scope import Work
from schemas.errors import ConfigError, RetryableError
from schemas.records.identifiers import identifier_id
from schemas.service.secret import SECRET as SECRET_SETTING
from schemas.service.secret import fingerprint
from schemas.wire.codec import Fields, decode, encode
from schemas.wire.topics import CUSTOMER_STATE, IDENTITY, IDENTITY_STATE
from sinks.scripts import load_migrations
from streams.engine.store import encode_stored_row
from streams.identity.committed import CommittedRows
from streams.identity.rows import Node
from streams.identity.rows import encode_row as encode_node
from streams.steps.customer import Customer, encode_row
from tests.harness.sinks import encode_record, resolved

ANN = "ann@example.com"
PHONE = "+4915112345678"
SERVERS = "TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS"
SECRET = b"a secret of sixteen"
IDS = [bytes([number]) * 16 for number in range(1, 4)]
MEMBER = {
    "identifier_id": IDS[0],
    "kind": "email",
    "value": ANN,
    "customer_id": IDS[0],
    "is_shared": False,
    "is_erased": False,
    "rule": "exact",
    "event_id": bytes(16),
    "at": 0,
}


def touchpoint(value: str = ANN) -> bytes:
    return encode_record("resolved", resolved(identifiers=[{"kind": "email", "value": value}]))


def find(kind: str, value: str, content: bytes) -> bool:
    return Finder([(kind, value)]).has_value(content)


@pytest.mark.parametrize(
    "content",
    [
        b"ann@example.com",
        b'{"mail":"Ann@Example.COM"}',
        b"mailto:ann@example.com?subject=x",
        b"From ann@example.com. Thank you",
        b"<ann@example.com>",
        b"ann@example.com;17",
    ],
)
def test_address_is_found_in_any_case_as_a_whole_word(content: bytes) -> None:
    assert find("email", ANN, content)


@pytest.mark.parametrize(
    "content",
    [
        b"joann@example.com",
        b"jo.ann@example.com",
        b"jo+ann@example.com",
        b"ann@example.com.au",
        b"ann@example.company",
        b"",
        b"ann",
    ],
)
def test_address_of_another_person_that_contains_it_is_not_found(content: bytes) -> None:
    assert not find("email", ANN, content)


@pytest.mark.parametrize(
    "content",
    [b"+4915112345678", b"0151 12345678", b"+49 (0)151 / 123-456-78", b"tel:0049.151.12345678", b'{"phone": 4915112345678}'],
)
def test_phone_is_found_with_any_separators_and_prefix(content: bytes) -> None:
    assert find("phone", PHONE, content)


@pytest.mark.parametrize("content", [b"0151 12345679", b"151 123", b"151x12345678"])
def test_other_phone_is_not_found(content: bytes) -> None:
    assert not find("phone", PHONE, content)


def test_value_behind_its_system_is_found_from_eight_characters_on() -> None:
    assert find("crm_contact", "salesforce/003A0000012", b'{"id": "003A0000012"}')
    assert not find("crm_contact", "salesforce/003A0000012", b'{"id": "X003A0000012"}')
    assert find("erp_party", "sap/0042", b"party sap/0042")
    assert not find("erp_party", "sap/0042", b'{"quantity": 0042}')


@given(st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=300), st.binary(max_size=3))
def test_value_in_avro_is_found_whatever_its_length_byte_and_neighbours_are(value: str, after: bytes) -> None:
    fields = {**MEMBER, "value": value.lower(), "rule": after.hex()}
    assert find("other", value.lower(), encode("member", fields))


@given(st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=300))
def test_value_in_messagepack_is_found(value: str) -> None:
    encoded = msgspec.msgpack.encode(["x", value.lower(), 97])
    assert len(value.lower().encode()) > 255 or find("other", value.lower(), encoded)


@given(st.integers(0, 100_000))
def test_length_prefix_of_avro_is_that_of_the_codec(length: int) -> None:
    text = "x" * length
    encoded = encode("member", {**MEMBER, "kind": text, "value": ""})
    prefix = list_length_prefixes(length)[0]
    start = encoded.lower().index(prefix, 5 + 16)
    assert encoded[start + len(prefix) :].startswith(text.encode())


def test_erased_value_has_no_spelling() -> None:
    assert list_spellings("email", "") == []
    assert not Finder([("email", "")]).has_value(b"anything")


def test_ids_are_found_whole_and_as_the_first_half_in_packed_touchpoints() -> None:
    finder = Finder([], IDS)
    assert finder.has_id(b"x" + IDS[1] + b"y")
    assert finder.has_id(b"x" + IDS[1][:8])
    assert not finder.has_id(b"x" + IDS[1][:7])
    assert not finder.has_id(None)


def test_coarse_condition_names_each_spelling_and_id() -> None:
    condition = find_coarsely("payload", Finder([("email", ANN), ("phone", PHONE)]), IDS[:1])
    for needle in (ANN.encode(), PHONE.encode(), b"112345678", IDS[0][:8]):
        assert f"unhex('{needle.hex()}')" in condition
    many = find_coarsely("payload", Finder([("email", f"a{number}@example.com") for number in range(300)]), ())
    assert [len(part.split("unhex")) - 1 for part in many.split(" OR ")] == [200, 100]


def test_each_table_is_deleted_from_or_is_known_to_hold_no_clear_data() -> None:
    """A new table of `touchline_store` belongs in one list of `deploy/erase/stores.py`."""
    sql = "\n".join(script.sql for script in load_migrations())
    created, dropped = (
        set(re.findall(rf"{head} touchline_store\.(\w+)", sql)) for head in ("CREATE TABLE IF NOT EXISTS", "DROP TABLE IF EXISTS")
    )
    assert created - dropped - (set(DELETED) | KEYED_IDS_ONLY | NO_PERSON) == set()
    assert not set(DELETED) & (KEYED_IDS_ONLY | NO_PERSON)
    assert list(DELETED)[-1] == "touchpoints_by_event"


@pytest.mark.parametrize("by", By)
def test_conditions_name_each_id_once_and_stay_short(by: By) -> None:
    values = [number.to_bytes(16, "big") for number in range(MAX_IDS_PER_STATEMENT + 1)]
    conditions = list(make_conditions(by, Erased(values, values, values)))
    assert len(conditions) == 2
    assert max(map(len, conditions)) < 2 * 250_000
    first = conditions[0].partition(" OR ")[0]
    assert re.findall(r"unhex\('(\w+)'\)", first) == [each.hex() for each in values[:MAX_IDS_PER_STATEMENT]]


@pytest.mark.parametrize("by", By)
def test_person_without_rows_gives_no_condition(by: By) -> None:
    assert list(make_conditions(by, Erased([], [], []))) == []


class Detector:
    """Record values `clear` and `keyed` stand for an identifier and its id; keys begin with an id if they are of the person."""

    def has_value(self, content: bytes | None) -> bool:
        return content is not None and b"clear" in content

    def has_id(self, content: bytes | None) -> bool:
        return content is not None and (b"keyed" in content or content.startswith(IDS[0]))


def search(topic: str, records: Sequence[tuple[bytes | None, bytes | None]], *, is_compacted: bool) -> Found:
    found = TopicSearch(topic, Detector(), is_compacted=is_compacted)
    for key, value in records:
        found.add(Record(0, key, value))
    return found.found


def test_record_of_a_plain_topic_is_no_fault() -> None:
    assert search("touchline.crm", [(b"k", b"clear"), (None, b"keyed"), (b"k", b"x")], is_compacted=False) == Found(1, 1, 0)


def test_only_the_last_record_of_a_key_is_a_fault() -> None:
    assert search(IDENTITY, [(b"k", b"clear"), (b"k", b"")], is_compacted=True) == Found(1, 0, 0)
    assert search(IDENTITY, [(b"k", b"clear"), (b"k", None)], is_compacted=True) == Found(1, 0, 0)
    assert search(IDENTITY, [(b"k", b"x"), (b"k", b"clear"), (b"j", b"x")], is_compacted=True) == Found(1, 0, 1)
    assert search(IDENTITY, [(b"k", b"keyed")], is_compacted=True) == Found(0, 1, 0)


def test_state_of_an_erased_customer_is_a_fault_while_it_holds_touchpoints() -> None:
    row, block = IDS[0], IDS[0] + b"\x01"
    full, empty = (encode_stored_row(7, encode_row(each)) for each in (Customer(folded=3), Customer(revision=2)))
    some, deleted = encode_stored_row(7, b"touchpoints"), encode_stored_row(8, b"")
    assert search(CUSTOMER_STATE, [(row, full), (block, some)], is_compacted=True).faults == 2
    assert search(CUSTOMER_STATE, [(row, full), (block, some), (row, empty), (block, deleted)], is_compacted=True).faults == 0
    assert search(CUSTOMER_STATE, [(row, encode_stored_row(7, b"\xffunknown"))], is_compacted=True).faults == 1
    assert search(CUSTOMER_STATE, [(IDS[1], full)], is_compacted=True).faults == 0


def test_identifier_in_the_state_of_the_sequencer_is_a_fault_also_as_the_previous_value() -> None:
    stored: dict[bytes, bytes] = {}
    key = b"n" + IDS[0]

    class Rows:
        def get(self, key: bytes, decode: Callable[[bytes | None], Any]) -> Any:
            return decode(stored.get(key))

        def put(self, key: bytes, row: Any, encode: Callable[[Any], bytes]) -> None:
            stored[key] = encode(row)

    def write(offset: int, value: str) -> int:
        rows: Any = Rows()
        committed = CommittedRows(rows, offset)
        committed.put(key, Node("email", value, IDS[0], is_erased=not value), encode_node)
        committed.complete()
        found = TopicSearch(IDENTITY_STATE, Finder([], IDS[:1]), is_compacted=True)
        found.add(Record(0, key, encode_stored_row(offset, stored[key])))
        return found.found.faults

    assert [write(offset, value) for offset, value in enumerate((ANN, "", ""))] == [1, 1, 0]


@pytest.mark.parametrize(
    ("options", "found", "text"),
    [
        ({"cleanup.policy": "delete", "retention.ms": "-1"}, Found(1), "for ever: no retention.ms is set"),
        ({"cleanup.policy": "delete", "retention.ms": "604800000"}, Found(1), "at most 7 days"),
        ({"cleanup.policy": "compact"}, Found(1), "until compaction"),
        ({"cleanup.policy": "compact"}, Found(1, 0, 1), "run the same erasure again"),
    ],
)
def test_report_states_until_when_a_topic_keeps_the_records(options: dict[str, str], found: Found, text: str) -> None:
    assert text in describe_retention(options, found)


def test_recogniser_finds_an_erased_person_without_its_identifiers() -> None:
    erased = identifier_id(SECRET, "email", ANN)
    recogniser = Recogniser(SECRET, frozenset({erased}))
    assert recogniser.has_value(touchpoint())
    assert not recogniser.has_value(touchpoint("bob@example.com"))
    assert recogniser.has_value(encode("member", MEMBER))
    assert not recogniser.has_value(encode("member", {**MEMBER, "value": ""}))
    assert recogniser.has_id(encode("member", {**MEMBER, "identifier_id": erased}))
    assert recogniser.has_id(b"n" + erased)
    assert not recogniser.has_id(encode("member", MEMBER))
    assert not recogniser.has_value(b"no record")
    assert not recogniser.has_id(None)


def test_cleared_conflict_keeps_the_value_of_the_other_person() -> None:
    conflict = {"identifier_id": IDS[0], "value": ANN, "other_id": IDS[1], "other_value": "bob@example.com", "reason": "limit"}
    assert clear_conflict(conflict, IDS[:1]) == {**conflict, "value": ""}
    assert clear_conflict(conflict, IDS[1:2]) == {**conflict, "other_value": ""}
    assert clear_conflict(conflict, IDS) == {**conflict, "value": "", "other_value": ""}


def test_columns_are_searched_by_their_type() -> None:
    found = split_columns(
        [
            ("text", "Nullable(String)"),
            ("attributes", "Map(LowCardinality(String), String)"),
            ("kind", "LowCardinality(String)"),
            ("customer_id", "FixedString(16)"),
            ("identifier_ids", "Array(FixedString(16))"),
            ("event_id", "Nullable(FixedString(16))"),
            ("other", "UUID"),
            ("numbers", "Map(LowCardinality(String), Float64)"),
            ("checksum", "FixedString(64)"),
            ("values", "Array(String)"),
        ]
    )
    assert len(found.texts) == 3
    assert [each.format(ids="1") for each in found.conditions] == [
        "`customer_id` IN (1)",
        "hasAny(`identifier_ids`, [1])",
        "ifNull(`event_id` IN (1), 0)",
        "UUIDToNum(`other`) IN (1)",
    ]


class StoredIdentifier(NamedTuple):
    identifier_id: UUID
    kind: str
    value: str
    customer_id: UUID
    is_shared: bool


class StoredIdentity(NamedTuple):
    customer_id: UUID
    identifiers: list[StoredIdentifier]


class Reader:
    """Identity views that show one customer, or refuse."""

    def __init__(self, identity: StoredIdentity | str) -> None:
        self._identity = identity

    def identity(self, lookup: object) -> StoredIdentity:
        if isinstance(self._identity, str):
            raise ConfigError(self._identity)
        return self._identity


class Store:
    """ClickHouse that records its calls.

    It has earlier erasures, as identifier ids and customers, stored values by id, touchpoints, and dead letters that hold Ann's
    address. `delete` removes them.
    """

    def __init__(
        self,
        hidden: Sequence[tuple[bytes, bytes]] = (),
        events: Sequence[bytes] = (),
        values: Mapping[bytes, str] = MappingProxyType({}),
        letters: Sequence[bytes] = (),
        others: Sequence[UUID] = (),
    ) -> None:
        self.calls: list[str] = []
        self.owners: list[Sequence[bytes]] = []
        self._hidden = list(hidden)
        self._events = list(events)
        self._values = values
        self._letters = list(letters)
        self._others = list(others)

    def find_hidden(self, ids: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        customers = {customer for each, customer in self._hidden if each in ids}
        return [row for row in self._hidden if row[1] in customers]

    def stored_values(self, ids: Sequence[bytes]) -> list[KnownIdentifier]:
        return [KnownIdentifier(each, "email", self._values[each], each, is_shared=False) for each in ids if each in self._values]

    def events(self, person: Person, owners: Sequence[bytes]) -> list[bytes]:
        self.owners.append(owners)
        return self._events

    def dead_letters(self, finder: Finder, ids: Sequence[bytes]) -> list[bytes]:
        return list(self._letters) if finder.has_value(ANN.encode()) else []

    def conflicts(self, ids: Sequence[bytes]) -> list[Fields]:
        return []

    def other_customers(self, ids: Sequence[bytes]) -> list[UUID]:
        return self._others

    def former_customers(self, ids: Sequence[bytes]) -> list[bytes]:
        return [IDS[1]]

    def count(self, erased: Erased) -> dict[str, int]:
        self.calls.append("count")
        return {"touchpoints_by_event": len(erased.events), "dead_letters": len(erased.letters)}

    def hide(self, *_: object) -> None:
        self.calls.append("hide")

    def delete(self, erased: Erased, show: object) -> None:
        self.calls.append(f"delete {len(erased.events)} touchpoints, {len(erased.letters)} dead letters")
        self._letters = [each for each in self._letters if each not in erased.letters]

    def write_proof(self, proof: Any, software: str) -> UUID:
        self.calls.append("proof")
        self.proof = proof
        return UUID(int=9)


def stored(identifier: bytes, value: str, *, is_shared: bool = False) -> StoredIdentifier:
    return StoredIdentifier(UUID(bytes=identifier), "email", value, UUID(bytes=IDS[2]), is_shared)


def lookup_person(reader: Reader, store: Store, text: str = ANN) -> Person:
    views: Any = reader
    rows: Any = store
    return find_person(views, rows, text, lambda: SECRET)


def test_person_has_all_unshared_identifiers_of_the_customer() -> None:
    identity = StoredIdentity(UUID(bytes=IDS[2]), [stored(IDS[0], ANN), stored(IDS[1], "info@example.com", is_shared=True)])
    person = lookup_person(Reader(identity), Store())
    assert person.customer_id == IDS[2]
    assert person.ids == [IDS[0], IDS[2]]
    assert person.digest == digest_ids(reversed(person.ids))


def test_shared_identifier_names_no_person_to_erase() -> None:
    identity = StoredIdentity(UUID(bytes=IDS[0]), [stored(IDS[0], "info@example.com", is_shared=True)])
    with pytest.raises(ConfigError, match=re.escape(SHARED)):
        lookup_person(Reader(identity), Store())


def test_interrupted_erasure_is_found_among_the_hidden_people() -> None:
    own = identifier_id(SECRET, "email", ANN)
    store = Store([(own, IDS[2]), (IDS[0], IDS[2]), (IDS[2], IDS[2]), (IDS[1], IDS[1])])
    person = lookup_person(Reader(UNKNOWN_IDENTIFIER), store)
    assert person.ids == sorted({own, IDS[0], IDS[2]})
    assert {each.value for each in person.identifiers} == {ANN, ""}
    assert person.keys == []


def test_continued_erasure_knows_the_values_that_are_still_stored() -> None:
    """A person types one identifier; the dead letters may hold another one."""
    own = identifier_id(SECRET, "email", "ann@work.example.com")
    store = Store([(own, IDS[2]), (IDS[0], IDS[2])], values={IDS[0]: ANN}, letters=[IDS[1]])
    person = lookup_person(Reader(UNKNOWN_IDENTIFIER), store, "ann@work.example.com")
    assert {each.value for each in person.identifiers} >= {ANN, "ann@work.example.com"}
    fake: Any = store
    assert running.find_letters(fake, person) == [IDS[1]]


def test_values_are_read_also_where_a_later_row_has_none() -> None:
    statements: list[str] = []

    class Client:
        def query(self, sql: str) -> Any:
            return type("Answer", (), {"rows": []})

        def stream(self, sql: str) -> list[tuple[bytes, bytes, bytes, bytes, int]]:
            statements.append(sql)
            return [(IDS[0], b"email", ANN.encode(), IDS[2], 0)]

    client: Any = Client()
    assert ErasureStore(client).stored_values(IDS[:1]) == [KnownIdentifier(IDS[0], "email", ANN, IDS[2], is_shared=False)]
    assert "FINAL" not in statements[0]
    assert list(DELETED).index("dead_letters") < list(DELETED).index("members")


def test_compound_key_of_an_interrupted_erasure_stays_a_key() -> None:
    own = identifier_id(SECRET, "email", ANN)
    person = lookup_person(Reader(UNKNOWN_IDENTIFIER), Store([(own, IDS[2])]))
    assert (person.ids, person.keys) == ([own], [IDS[2]])


def test_compound_key_names_no_person_and_its_customers_rows_are_deleted() -> None:
    email = KnownIdentifier(IDS[0], "email", ANN, IDS[1], is_shared=False)
    key = KnownIdentifier(IDS[1], "key:name", "ann|x", IDS[1], is_shared=False)
    person = Person(IDS[1], (email, key))
    assert (person.ids, person.keys) == ([IDS[0]], [IDS[1]])
    assert Person(IDS[1], (key,)).ids == [IDS[1]]
    erased = Erased(person.ids, [], [], person.keys)
    (rows,) = make_conditions(By.CUSTOMER, erased)
    assert [each.hex() in rows for each in IDS] == [True, True, False]
    (members,) = make_conditions(By.MEMBER, erased)
    assert "NOT startsWith(kind, 'key:')" in members


def test_unknown_identifier_can_be_erased_before_its_first_touchpoint() -> None:
    person = lookup_person(Reader(UNKNOWN_IDENTIFIER), Store())
    assert person.ids == [identifier_id(SECRET, "email", ANN)]
    with pytest.raises(ConfigError, match=re.escape(NEEDS_KIND)):
        lookup_person(Reader(UNKNOWN_IDENTIFIER), Store(), "A-1234567")


def test_ambiguous_identifier_is_not_taken_for_an_unknown_one() -> None:
    with pytest.raises(ConfigError, match=re.escape(AMBIGUOUS)):
        lookup_person(Reader(AMBIGUOUS), Store())


def test_text_without_a_kind_needs_no_secret() -> None:
    assert hash_candidates(parse_lookup("A-1234567"), lambda: pytest.fail("asked for the secret")) == []


def test_steps_run_in_order_and_delete_what_arrived_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    email = KnownIdentifier(IDS[0], "email", ANN, IDS[2], is_shared=False)
    key = KnownIdentifier(IDS[2], "key:name", "ann|x", IDS[2], is_shared=False)
    person = Person(IDS[2], (email, key))
    store = Store(events=[IDS[0], IDS[1]], letters=[IDS[2]], others=[UUID(int=5), UUID(int=4)])
    unused: Any = None
    fake: Any = store
    erasure = Erasure(unused, unused, fake, lambda _: None)
    monkeypatch.setattr(erasure, "_erase_identity", lambda *_: store.calls.append("decision"))
    monkeypatch.setattr(erasure, "_empty_state", lambda _: store.calls.append("state"))
    monkeypatch.setattr(erasure, "_wait_for_sinks", lambda: store.calls.append("sinks"))
    monkeypatch.setattr(erasure, "_rebuild", lambda customer: store.calls.append(f"rebuild {customer.int}"))
    plan = Plan(person, Erased(person.ids, [IDS[0]], []), {}, [UUID(int=5)])
    proof_id, counts = erasure.run(plan, Request("request 4711", "ops"))
    assert [call for call in store.calls if call != "count"] == [
        "hide", "delete 0 touchpoints, 1 dead letters", "decision", "state", "sinks", "delete 2 touchpoints, 0 dead letters",
        "rebuild 4", "rebuild 5", "proof",
    ]  # fmt: skip
    assert store.owners == [IDS[:1]], "after the decision, the customer of a compound key may be a namesake"
    assert (proof_id, counts) == (UUID(int=9), {"touchpoints_by_event": 2, "dead_letters": 1})
    assert store.proof.deleted == counts
    assert isinstance(store.proof.at, datetime)
    assert store.proof.at.tzinfo is UTC
    assert ANN not in repr(store.proof._replace(person=None))


def test_touchpoints_of_no_owner_are_not_searched() -> None:
    key = KnownIdentifier(IDS[0], "key:name", "ann|x", IDS[0], is_shared=False)
    person = Person(IDS[0], (key,))
    assert person.ids_without_keys == []

    class Client:
        def query(self, sql: str) -> Any:
            return type("Answer", (), {"rows": []})

        def stream(self, sql: str) -> list[tuple[bytes]]:
            return [(IDS[1],)]

    client: Any = Client()
    store = ErasureStore(client)
    assert store.events(person, person.ids_without_keys) == []
    assert store.events(person, person.ids) == [IDS[1]]


def test_reason_and_name_without_an_identifier_of_the_person_are_accepted() -> None:
    person = Person(IDS[0], (KnownIdentifier(IDS[0], "email", ANN, IDS[0], is_shared=False),))
    finder = make_finder(person, f"phone:{PHONE}")
    check_request(Request("request 4711 of ann", "eve"), finder)
    for reason, who in (("request of Ann@Example.com", "eve"), ("request of 0151 12345678", "eve"), ("request 4711", ANN)):
        with pytest.raises(ConfigError, match=r"contains an identifier of the person") as raised:
            check_request(Request(reason, who), finder)
        assert ANN not in str(raised.value)


@pytest.mark.parametrize(
    ("first", "error"), [(fingerprint(SECRET), None), (None, RetryableError), (fingerprint(b"another secret"), ConfigError)]
)
def test_secret_is_compared_with_that_of_the_workers(
    monkeypatch: pytest.MonkeyPatch, first: str | None, error: type[Exception] | None
) -> None:
    async def read(_: object) -> str | None:
        return first

    monkeypatch.setenv(SECRET_SETTING, SECRET.decode())
    monkeypatch.setenv(SERVERS, "127.0.0.1:1")
    monkeypatch.setattr("streams.engine.fingerprint.read_fingerprint", read)
    if error is None:
        assert load_checked_secret() == SECRET
        return
    with pytest.raises(error, match="fingerprint"):
        load_checked_secret()


def test_command_uses_the_secret_of_the_workers_and_refuses_an_identifier_as_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Any = Store()
    monkeypatch.setenv(SERVERS, "127.0.0.1:1")
    monkeypatch.setattr(erase, "open_store", lambda: nullcontext((None, rows)))
    monkeypatch.setattr("deploy.topics.require_topics", lambda _: None)
    monkeypatch.setattr("deploy.identity.queries.IdentityReader", lambda _: Reader(UNKNOWN_IDENTIFIER))
    monkeypatch.setattr("deploy.erase.secret.load_secret", lambda: SECRET)

    async def read(_: object) -> str | None:
        return fingerprint(workers)

    monkeypatch.setattr("streams.engine.fingerprint.read_fingerprint", read)
    workers = b"the secret of the workers"
    with pytest.raises(ConfigError, match="fingerprint"):
        erase.run_erasure(ANN, "request 4711", "eve", dry_run=False, yes=True)
    with pytest.raises(ConfigError, match="fingerprint"):
        erase.run_verify(ANN)
    workers = SECRET
    with pytest.raises(ConfigError, match="--reason"):
        erase.run_erasure(ANN, f"request of {ANN}", "eve", dry_run=False, yes=True)
    assert rows.calls == ["count"]
    rows.list_erased = lambda: IDS
    workers = b"the secret of the workers"
    with pytest.raises(ConfigError, match="fingerprint"):
        erase.run_verify(None)


def test_other_customer_without_touchpoints_after_the_erasure_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[bytes, list[Part]]] = []

    class Publisher:
        ends: Mapping[int, int] = MappingProxyType({})

        def publish(self, customer_id: bytes, parts: Iterable[Part]) -> int:
            published.append((customer_id, list(parts)))
            return 0

        def flush(self) -> None: ...

    class Reader:
        def __init__(self, *_: object) -> None: ...

        def work(self) -> Work:
            return Work([], [])

    unused: Any = None
    monkeypatch.setattr(running, "open_publisher", lambda *_: nullcontext(Publisher()))
    monkeypatch.setattr(running, "HistoryReader", Reader)
    Erasure(unused, unused, unused, lambda _: None)._rebuild(UUID(bytes=IDS[1]))
    ((customer_id, (part,)),) = published
    _, fields = decode(part.value)
    assert (customer_id, fields["is_first"], fields["is_last"], fields["keep_existing"]) == (IDS[1], True, True, False)
    assert part.touchpoints == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [([], "give an identifier of the person, or --verify"), ([ANN], "give the reason with --reason")],
)
def test_command_needs_identifier_and_reason(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(erase.command, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_mutation_on_a_cluster_runs_on_the_shards() -> None:
    statements: list[str] = []

    class Client:
        def query(self, sql: str, params: object = None) -> Any:
            rows = [("churn",)] if "system.tables" in sql else [(0, 0, "")]
            statements.append(sql)
            return type("Answer", (), {"rows": rows})

        def execute(self, sql: str) -> None:
            statements.append(sql)

    client: Any = Client()
    ErasureStore(client, "main").delete(Erased(IDS, [], []), lambda _: None)
    assert any(
        each.startswith("ALTER TABLE touchline_shard.churn ON CLUSTER main DELETE WHERE customer_id IN") for each in statements
    )
    assert any("clusterAllReplicas(main, system.mutations)" in each for each in statements)


def test_steps_are_documented_in_their_order() -> None:
    assert running.__doc__ is not None
    assert re.findall(r"^(\d)\. ", running.__doc__, re.MULTILINE) == [str(number) for number in range(1, 9)]
