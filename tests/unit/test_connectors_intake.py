"""The intake without Kafka: who is let in, what its events are, and what HTTP answers."""

import base64
import gzip
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.contract import Batch, Record, RejectedRecord
from connectors.intake.admission import Gate, RejectedError
from connectors.intake.connector import Connector
from connectors.intake.request import Request
from connectors.intake.settings import IntakeSettings
from connectors.runtime.encode import EncodedDeadLetter, encode_batch
from schemas.errors import ConfigError
from schemas.wire.codec import encode_model
from tests.harness.webhook_signatures import signed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = base64.b64encode(b"0123456789abcdef").decode()
ORDER = {"source": "erp", "map": {"type": "'order.placed'", "identifiers": {"email": "email(body.email)"}}}
HOOKS = ("standard", "shopify", "zendesk", "hubspot", "github", "stripe")
ENDPOINTS: dict[str, Any] = {
    "app": {"protocol": "segment", "system": "app", "events_per_minute": 3},
    "other": {"protocol": "segment", "system": "other"},
    "bill": {"protocol": "cloudevents", "system": "bill", "source": "erp", "map": {"identifiers": {"party": "subject"}}},
    **{name: {"protocol": name, "system": name, **ORDER} for name in HOOKS},
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> IntakeSettings:
    for name in ENDPOINTS:
        monkeypatch.setenv(
            f"TOUCHLINE_SHOP_{name.upper()}_KEYS", f"{SECRET},whsec_{name}" if name == "stripe" else f"AAAA,{SECRET}"
        )
    monkeypatch.setenv("TOUCHLINE_SHOP_APP_KEYS", "old-key, new-key")
    monkeypatch.setenv("TOUCHLINE_SHOP_OTHER_KEYS", "other-key")
    return IntakeSettings.model_validate(
        {"name": "shop", "port": 0, "public_url": "https://in.shop.example/", "answer_seconds": 1, "endpoints": ENDPOINTS}
    )


@pytest.fixture
def gate(settings: IntakeSettings) -> Gate:
    return Connector(settings)._gate()


def request(path: str, body: bytes | object, **headers: str) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = path.partition("?")
    return Request("POST", path, query, Headers(headers), content, NOW)


class Headers(dict[str, str]):
    """Names in any case, as those of HTTP."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        return next((value for key, value in self.items() if key.lower() == name.lower()), default)

    def __contains__(self, name: object) -> bool:
        return any(key.lower() == str(name).lower() for key in self)


def basic(key: str) -> str:
    return f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


NAMES = {
    "shopify": {
        "X-Shopify-Webhook-Id": "w1",
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Triggered-At": "2026-03-01T10:00:00.5Z",
    },
    "zendesk": {"X-Zendesk-Webhook-Invocation-Id": "z1"},
    "github": {"X-GitHub-Delivery": "d1", "X-GitHub-Event": "push"},
}


def delivery(scheme: str, body: str, at: datetime = NOW, secret: str = SECRET) -> Request:
    """A delivery as the vendor's documents describe it."""
    path = f"/webhooks/{scheme}" + ("?a=1" if scheme == "hubspot" else "")
    headers = signed(scheme, body, f"https://in.shop.example{path}", at, secret)
    return request(path, body.encode(), **headers, **NAMES.get(scheme, {}))


@pytest.mark.parametrize("scheme", HOOKS)
def test_a_signed_delivery_is_let_in_and_is_the_same_record_when_it_is_sent_again(gate: Gate, scheme: str) -> None:
    body = '{"id": "evt_1", "email": "ann@example.com", "eventId": 7, "subscriptionId": 8, "occurredAt": 9}'
    [first] = gate.admit(delivery(scheme, body)).records
    [again] = gate.admit(delivery(scheme, body, NOW + timedelta(minutes=1))).records
    assert isinstance(first, Record)
    assert isinstance(again, Record)
    assert first.key == again.key
    names = {"standard": "msg_1", "shopify": "w1", "github": "d1", "stripe": "evt_1", "hubspot": "7-8-9", "zendesk": "z1"}
    assert names[scheme] == first.key


TOLD: dict[str, dict[str, Any]] = {
    "standard": {"type": "order.placed", "timestamp": "2026-03-01T10:00:00.5Z", "data": {}},
    "shopify": {},
    "zendesk": {"zendesk_event_version": "2022-11-06", "time": "2026-03-01T10:00:00.5Z"},
    "hubspot": {"eventId": 7, "subscriptionId": 8, "occurredAt": 1_772_359_200_500},
    "stripe": {"id": "evt_1", "object": "event", "created": 1_772_359_200},
}


@pytest.mark.parametrize("scheme", TOLD)
def test_it_happened_when_the_vendor_says_however_often_it_is_sent(settings: IntakeSettings, scheme: str) -> None:
    connector = Connector(settings)
    body = json.dumps({**TOLD[scheme], "email": "ann@example.com"})
    for minutes in (0, 4):
        sent = delivery(scheme, body, NOW + timedelta(minutes=minutes))
        [record] = connector._gate().admit(replace(sent, at=NOW + timedelta(minutes=minutes))).records
        assert isinstance(record, Record)
        happened = connector.map_record(record).occurred_at
        assert happened.replace(microsecond=0) == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert happened.microsecond == (0 if scheme == "stripe" else 500_000)


@pytest.mark.parametrize("scheme", [name for name in HOOKS if name != "shopify"])
def test_where_no_time_is_told_it_happened_when_it_came(settings: IntakeSettings, scheme: str) -> None:
    connector = Connector(settings)
    body = '{"time": "at noon", "email": "ann@example.com"}'  # a trigger's body is whatever its author writes
    [record] = connector._gate().admit(delivery(scheme, body)).records
    assert isinstance(record, Record)
    assert connector.map_record(record).occurred_at == NOW


def test_a_ticket_that_is_solved_again_in_the_same_words_is_another_event(gate: Gate) -> None:
    body = '{"ticket": 5, "status": "solved", "email": "ann@example.com"}'
    first, later = delivery("zendesk", body), delivery("zendesk", body)
    assert isinstance(later.headers, dict)
    later.headers["X-Zendesk-Webhook-Invocation-Id"] = "z2"
    [[one], [other]] = [gate.admit(sent).records for sent in (first, later)]
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    assert one.key != other.key


@pytest.mark.parametrize("scheme", HOOKS)
def test_a_delivery_that_was_changed_or_signed_by_another_is_not_let_in(gate: Gate, scheme: str) -> None:
    good = delivery(scheme, '{"total": 1}')
    changed = Request(good.method, good.path, good.query, good.headers, b'{"total": 9}', NOW)
    forged = delivery(scheme, '{"total": 1}', secret=base64.b64encode(b"somebody else's").decode())
    unsigned = request(f"/webhooks/{scheme}", {})
    for bad in (changed, forged, unsigned):
        with pytest.raises(RejectedError) as refusal:
            gate.admit(bad)
        assert refusal.value.status == 401


@pytest.mark.parametrize("scheme", ["standard", "zendesk", "hubspot", "stripe"])
@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_delivery_whose_signed_time_is_far_from_ours_is_not_let_in(gate: Gate, scheme: str, minutes: int) -> None:
    with pytest.raises(RejectedError):
        gate.admit(delivery(scheme, "{}", NOW + timedelta(minutes=minutes)))
    assert gate.admit(delivery(scheme, "{}", NOW + timedelta(minutes=minutes / 2)))


def test_a_list_is_as_many_events_and_a_broken_one_among_them_is_refused_with_its_bytes(gate: Gate) -> None:
    good, bad, other = gate.admit(delivery("hubspot", '[{"eventId": 1}, 17 , {"b": 2}]')).records
    assert isinstance(good, Record)
    assert isinstance(bad, RejectedRecord)
    assert isinstance(other, Record)
    assert (good.raw, bad.raw, other.raw) == (b'{"eventId": 1}', b"17", b'{"b": 2}')
    assert good.key != other.key


def test_every_active_key_opens_its_own_endpoint_and_no_other(gate: Gate) -> None:
    event = {"type": "track", "event": "x", "userId": "u"}
    for key, stream in (("old-key", "app"), ("new-key", "app"), ("other-key", "other")):
        assert gate.admit(request("/v1/track", event, Authorization=basic(key))).stream == stream
    assert gate.admit(request("/v1/t", {**event, "writeKey": "other-key"})).stream == "other"
    for refused in ("", basic("new"), basic(""), "Basic ???", "Bearer new-key"):
        with pytest.raises(RejectedError) as refusal:
            gate.admit(request("/v1/track", event, Authorization=refused))
        assert refusal.value.status == 401


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/webhooks/app", 404), ("/cloudevents/nobody", 404), ("/i", 404)])
def test_other_paths_are_not_there(gate: Gate, path: str, status: int) -> None:
    with pytest.raises(RejectedError) as refusal:
        gate.admit(request(path, {}))
    assert refusal.value.status == status


def test_a_body_that_cannot_be_read_is_kept_where_the_key_was_right(gate: Gate) -> None:
    found = gate.admit(request("/v1/batch", b'{"batch": [{"type"', Authorization=basic("other-key")))
    assert found.status == 400
    [letter] = found.records
    assert isinstance(letter, RejectedRecord)
    assert letter.raw == b'{"batch": [{"type"'
    with pytest.raises(RejectedError):
        gate.admit(request("/v1/batch", b'{"batch": [{"type"', Authorization=basic("nobody")))


def test_an_event_without_an_id_is_known_by_its_bytes(gate: Gate) -> None:
    [one] = gate.admit(request("/v1/batch", {"batch": [{"type": "page"}]}, Authorization=basic("other-key"))).records
    [again] = gate.admit(
        request("/v1/batch", b'{"sentAt":null,"batch":[ {"type": "page"}]}', Authorization=basic("other-key"))
    ).records
    assert isinstance(one, Record)
    assert isinstance(again, Record)
    assert one.key == again.key


def test_a_key_beyond_its_quota_is_told_when_to_come_back_and_others_are_not_kept_from_it(gate: Gate) -> None:
    batch = {"batch": [{"type": "page"}] * 4}
    assert len(gate.admit(request("/v1/batch", batch, Authorization=basic("old-key"))).records) == 4
    with pytest.raises(RejectedError) as refusal:
        gate.admit(request("/v1/batch", batch, Authorization=basic("old-key")))
    assert refusal.value.status == 429
    assert 20 < (refusal.value.retry_after or 0) <= 40
    assert gate.admit(request("/v1/batch", batch, Authorization=basic("new-key")))


def test_settings_name_the_variable_of_a_missing_key_and_refuse_what_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = {"protocol": "segment", "system": "app"}
    connector = Connector(IntakeSettings.model_validate({"name": "shop", "endpoints": {"my-app": endpoint}}))
    with pytest.raises(ConfigError, match="TOUCHLINE_SHOP_MY_APP_KEYS"):
        connector.check()
    monkeypatch.setenv("TOUCHLINE_SHOP_DESK_KEYS", "not base64!")
    desk = {"protocol": "standard", "system": "desk", **ORDER}
    with pytest.raises(ConfigError, match="base64"):
        Connector(IntakeSettings.model_validate({"name": "shop", "endpoints": {"desk": desk}})).check()
    with pytest.raises(ConfigError, match=r"endpoints.desk.source: must be one of crm"):
        Connector(
            IntakeSettings.model_validate({"name": "shop", "endpoints": {"desk": {"protocol": "github", "system": "desk"}}})
        )
    two = {name: {"protocol": "snowplow", "system": "site"} for name in ("a", "b")}
    with pytest.raises(ValidationError, match="there can be one"):
        IntakeSettings.model_validate({"name": "shop", "endpoints": two})


@pytest.fixture
def listening(settings: IntakeSettings) -> Iterator[tuple[Connector, str]]:
    with closing(Connector(settings)) as connector:
        yield connector, connector.listen(acknowledge=True)


def post(address: str, body: bytes, **headers: str) -> tuple[int, str | None]:
    """Status and Retry-After."""
    told = {"Authorization": basic("other-key"), **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/batch", body, told), timeout=10) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


BATCH = json.dumps({"batch": [{"type": "page", "userId": "u"}] * 3}).encode()


def acknowledging(connector: Connector, *, kept: bool) -> threading.Thread:
    """What the runner does, once: read what comes; ask for more, or leave it."""

    def run() -> None:
        for stream in connector.list_streams({}):
            batches = connector.read(stream, None)
            next(batches)
            if kept:
                next(batches, None)
            batches.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(("kept", "expected"), [(True, (200, None)), (False, (503, "2"))])
def test_it_answers_well_only_when_what_was_sent_is_kept(
    listening: tuple[Connector, str], expected: tuple[int, str | None], *, kept: bool
) -> None:
    connector, address = listening
    thread = acknowledging(connector, kept=kept)
    assert post(address, gzip.compress(BATCH), Content_Encoding="gzip") == expected
    thread.join()


def test_without_an_acknowledgement_in_time_it_is_to_be_sent_again(listening: tuple[Connector, str]) -> None:
    assert post(listening[1], BATCH) == (503, "2")


def test_it_is_never_more_than_it_has_room_for(settings: IntakeSettings) -> None:
    small = settings.model_copy(update={"most_waiting": 2 * settings.most_body})
    with closing(Connector(small)) as connector:
        address = connector.listen(acknowledge=True)
        assert connector._inbox.reserve(2 * settings.most_body - 1)
        assert post(address, BATCH) == (503, "2")


def test_too_large_bodies_are_refused_packed_ones_while_they_are_unpacked(listening: tuple[Connector, str]) -> None:
    connector, address = listening
    bomb = gzip.compress(b'{"batch":[]' + b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert post(address, bomb, Content_Encoding="gzip")[0] == 413
    assert post(address, b"x" * 512_001)[0] == 413
    assert post(address, b"no gzip", Content_Encoding="gzip")[0] == 400
    assert connector._inbox._held == 0


def test_who_waits_when_it_ends_is_told_to_send_again(settings: IntakeSettings) -> None:
    connector = Connector(settings.model_copy(update={"answer_seconds": 30}))
    address = connector.listen(acknowledge=True)
    answers: list[tuple[int, str | None]] = []
    thread = threading.Thread(target=lambda: answers.append(post(address, BATCH)))
    thread.start()
    connector._inbox.waiting(10)
    connector.close()
    thread.join()
    assert answers == [(503, "2")]


def test_a_taken_address_is_said_so(settings: IntakeSettings, listening: tuple[Connector, str]) -> None:
    port = int(listening[1].rpartition(":")[2])
    with pytest.raises(ConfigError, match="cannot listen at"):
        Connector(settings.model_copy(update={"port": port})).listen(acknowledge=True)


def test_browsers_of_named_origins_may_send(settings: IntakeSettings) -> None:
    origin = "https://www.shop.example"
    with closing(Connector(settings.model_copy(update={"origins": [origin]}))) as connector:
        address = connector.listen(acknowledge=True)
        for named, allowed in ((origin, origin), ("https://elsewhere.example", None)):
            asked = urllib.request.Request(f"{address}/v1/t", headers={"Origin": named}, method="OPTIONS")
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == allowed
                assert answer.headers["Access-Control-Allow-Credentials"] == (allowed and "true")


TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(["", "-", "1e999", "2026-01-01", "99999-01-01", "{}"])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([10**400, -(10**19), 1e308])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)
FIELDS = """type event name userId anonymousId previousId messageId timestamp sentAt properties traits context e eid dtm stm ttm
ue_pr ue_px cx co se_ca se_ac uid p id source specversion subject time data data_base64 datacontenttype writeKey"""
USUAL = st.fixed_dictionaries(
    {"specversion": st.just("1.0"), "id": TEXTS, "source": TEXTS, "type": TEXTS, "subject": TEXTS, "userId": TEXTS, "uid": TEXTS}
)
EVENTS = st.dictionaries(st.sampled_from(FIELDS.split()), VALUES, max_size=8)
MIXED = st.builds(lambda usual, odd: {**usual, **odd}, USUAL, EVENTS)
PATHS = ["/v1/batch", "/v1/track", "/v1/import", "/com.snowplowanalytics.snowplow/tp2", "/cloudevents/bill"]


@given(st.sampled_from(PATHS), st.lists(EVENTS | MIXED | VALUES, max_size=4), EVENTS | MIXED, st.none() | st.binary(max_size=40))
def test_whatever_is_sent_becomes_touchpoints_and_dead_letters_and_nothing_breaks(
    path: str, events: list[object], around: dict[str, Any], junk: bytes | None
) -> None:
    connector, gate = open_to_all()
    body: object = {**around, "batch": events, "data": events} if path != "/cloudevents/bill" else events
    content = junk if junk is not None else json.dumps(body, default=str).encode()
    media = "application/cloudevents-batch+json"
    try:
        found = gate.admit(request(path, content, **{"Content-Type": media, "Authorization": AUTHORIZED[path[:4]]}))
    except RejectedError:
        return
    encoded = encode_batch(connector, found.stream, Batch(found.records, {}))
    assert len(encoded) == len(found.records)
    assert all(encode_model("dead_letter", each.letter) for each in encoded if isinstance(each, EncodedDeadLetter))


AUTHORIZED = {"/v1/": basic("key"), "/com": "", "/clo": "Bearer key"}


@cache
def open_to_all() -> tuple[Connector, Gate]:
    bill = {"protocol": "cloudevents", "system": "bill", "source": "erp", "map": {"identifiers": {"party": "subject"}}}
    endpoints = {name: {"protocol": name, "system": name} for name in ("segment", "snowplow")} | {"bill": bill}
    keys = {f"TOUCHLINE_FUZZ_{name.upper()}_KEYS": "key" for name in endpoints}
    with patch.dict(os.environ, keys):
        connector = Connector(IntakeSettings.model_validate({"name": "fuzz", "endpoints": endpoints}))
        return connector, connector._gate()
