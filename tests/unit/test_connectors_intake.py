"""The intake without Kafka: admission, events of all protocols, HTTP answers."""

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
from connectors.intake.admission import Admission, RejectedError
from connectors.intake.connector import Connector
from connectors.intake.request import Request
from connectors.intake.settings import IntakeSettings
from connectors.runtime.encode import EncodedDeadLetter, encode_batch
from schemas.errors import ConfigError
from schemas.wire.codec import encode_model
from tests.harness.webhook_signatures import sign_request

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
def admission(settings: IntakeSettings) -> Admission:
    return Connector(settings)._create_admission()


def request(path: str, body: bytes | object, **headers: str) -> Request:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = path.partition("?")
    return Request("POST", path, query, Headers(headers), content, NOW)


class Headers(dict[str, str]):
    """Headers with case-insensitive names, as in HTTP."""

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
    """Return a delivery as the vendor documents it."""
    path = f"/webhooks/{scheme}" + ("?a=1" if scheme == "hubspot" else "")
    headers = sign_request(scheme, body, f"https://in.shop.example{path}", at, secret)
    return request(path, body.encode(), **headers, **NAMES.get(scheme, {}))


@pytest.mark.parametrize("scheme", HOOKS)
def test_signed_delivery_is_admitted_and_second_attempt_is_same_record(admission: Admission, scheme: str) -> None:
    body = '{"id": "evt_1", "email": "ann@example.com", "eventId": 7, "subscriptionId": 8, "occurredAt": 9}'
    [first] = admission.admit(delivery(scheme, body)).records
    [again] = admission.admit(delivery(scheme, body, NOW + timedelta(minutes=1))).records
    assert isinstance(first, Record)
    assert isinstance(again, Record)
    assert first.key == again.key
    names = {"standard": "msg_1", "shopify": "w1", "github": "d1", "stripe": "evt_1", "hubspot": "7-8-9", "zendesk": "z1"}
    assert names[scheme] == first.key


TIMED: dict[str, dict[str, Any]] = {
    "standard": {"type": "order.placed", "timestamp": "2026-03-01T10:00:00.5Z", "data": {}},
    "shopify": {},
    "zendesk": {"zendesk_event_version": "2022-11-06", "time": "2026-03-01T10:00:00.5Z"},
    "hubspot": {"eventId": 7, "subscriptionId": 8, "occurredAt": 1_772_359_200_500},
    "stripe": {"id": "evt_1", "object": "event", "created": 1_772_359_200},
}


@pytest.mark.parametrize("scheme", TIMED)
def test_vendor_time_is_kept_for_each_attempt(settings: IntakeSettings, scheme: str) -> None:
    connector = Connector(settings)
    body = json.dumps({**TIMED[scheme], "email": "ann@example.com"})
    for minutes in (0, 4):
        sent = delivery(scheme, body, NOW + timedelta(minutes=minutes))
        [record] = connector._create_admission().admit(replace(sent, at=NOW + timedelta(minutes=minutes))).records
        assert isinstance(record, Record)
        happened = connector.map_record(record).occurred_at
        assert happened.replace(microsecond=0) == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert happened.microsecond == (0 if scheme == "stripe" else 500_000)


@pytest.mark.parametrize("scheme", [name for name in HOOKS if name != "shopify"])
def test_delivery_without_time_has_time_of_receipt(settings: IntakeSettings, scheme: str) -> None:
    connector = Connector(settings)
    body = '{"time": "at noon", "email": "ann@example.com"}'  # the author of a trigger writes its body
    [record] = connector._create_admission().admit(delivery(scheme, body)).records
    assert isinstance(record, Record)
    assert connector.map_record(record).occurred_at == NOW


def test_equal_bodies_with_other_delivery_ids_are_other_events(admission: Admission) -> None:
    body = '{"ticket": 5, "status": "solved", "email": "ann@example.com"}'
    first, later = delivery("zendesk", body), delivery("zendesk", body)
    assert isinstance(later.headers, dict)
    later.headers["X-Zendesk-Webhook-Invocation-Id"] = "z2"
    [[one], [other]] = [admission.admit(sent).records for sent in (first, later)]
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    assert one.key != other.key


@pytest.mark.parametrize("scheme", HOOKS)
def test_changed_or_forged_or_unsigned_delivery_is_rejected(admission: Admission, scheme: str) -> None:
    good = delivery(scheme, '{"total": 1}')
    changed = Request(good.method, good.path, good.query, good.headers, b'{"total": 9}', NOW)
    forged = delivery(scheme, '{"total": 1}', secret=base64.b64encode(b"another secret").decode())
    unsigned = request(f"/webhooks/{scheme}", {})
    for bad in (changed, forged, unsigned):
        with pytest.raises(RejectedError) as error:
            admission.admit(bad)
        assert error.value.status == 401


@pytest.mark.parametrize("scheme", ["standard", "zendesk", "hubspot", "stripe"])
@pytest.mark.parametrize("minutes", [-6, 6])
def test_delivery_with_old_or_future_signed_time_is_rejected(admission: Admission, scheme: str, minutes: int) -> None:
    with pytest.raises(RejectedError):
        admission.admit(delivery(scheme, "{}", NOW + timedelta(minutes=minutes)))
    assert admission.admit(delivery(scheme, "{}", NOW + timedelta(minutes=minutes / 2)))


def test_list_entries_are_events_and_broken_entry_is_rejected_with_its_bytes(admission: Admission) -> None:
    good, bad, other = admission.admit(delivery("hubspot", '[{"eventId": 1}, 17 , {"b": 2}]')).records
    assert isinstance(good, Record)
    assert isinstance(bad, RejectedRecord)
    assert isinstance(other, Record)
    assert (good.raw, bad.raw, other.raw) == (b'{"eventId": 1}', b"17", b'{"b": 2}')
    assert good.key != other.key


def test_each_active_key_admits_to_its_endpoint_only(admission: Admission) -> None:
    event = {"type": "track", "event": "x", "userId": "u"}
    for key, stream in (("old-key", "app"), ("new-key", "app"), ("other-key", "other")):
        assert admission.admit(request("/v1/track", event, Authorization=basic(key))).stream == stream
    assert admission.admit(request("/v1/t", {**event, "writeKey": "other-key"})).stream == "other"
    for wrong in ("", basic("new"), basic(""), "Basic ???", "Bearer new-key"):
        with pytest.raises(RejectedError) as error:
            admission.admit(request("/v1/track", event, Authorization=wrong))
        assert error.value.status == 401


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/webhooks/app", 404), ("/cloudevents/unknown", 404), ("/i", 404)])
def test_other_paths_are_rejected(admission: Admission, path: str, status: int) -> None:
    with pytest.raises(RejectedError) as error:
        admission.admit(request(path, {}))
    assert error.value.status == status


def test_unreadable_body_with_valid_key_is_dead_letter(admission: Admission) -> None:
    admitted = admission.admit(request("/v1/batch", b'{"batch": [{"type"', Authorization=basic("other-key")))
    assert admitted.status == 400
    [letter] = admitted.records
    assert isinstance(letter, RejectedRecord)
    assert letter.raw == b'{"batch": [{"type"'
    with pytest.raises(RejectedError):
        admission.admit(request("/v1/batch", b'{"batch": [{"type"', Authorization=basic("unknown")))


def test_event_without_id_is_identified_by_its_bytes(admission: Admission) -> None:
    [one] = admission.admit(request("/v1/batch", {"batch": [{"type": "page"}]}, Authorization=basic("other-key"))).records
    [again] = admission.admit(
        request("/v1/batch", b'{"sentAt":null,"batch":[ {"type": "page"}]}', Authorization=basic("other-key"))
    ).records
    assert isinstance(one, Record)
    assert isinstance(again, Record)
    assert one.key == again.key


def test_key_above_quota_gets_retry_after_and_other_keys_are_unaffected(admission: Admission) -> None:
    batch = {"batch": [{"type": "page"}] * 4}
    assert len(admission.admit(request("/v1/batch", batch, Authorization=basic("old-key"))).records) == 4
    with pytest.raises(RejectedError) as error:
        admission.admit(request("/v1/batch", batch, Authorization=basic("old-key")))
    assert error.value.status == 429
    assert 20 < (error.value.retry_after or 0) <= 40
    assert admission.admit(request("/v1/batch", batch, Authorization=basic("new-key")))


def test_invalid_settings_are_rejected_and_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(ValidationError, match="only one Snowplow endpoint"):
        IntakeSettings.model_validate({"name": "shop", "endpoints": two})


@pytest.fixture
def listening(settings: IntakeSettings) -> Iterator[tuple[Connector, str]]:
    with closing(Connector(settings)) as connector:
        yield connector, connector.listen(acknowledge=True)


def post(address: str, body: bytes, **headers: str) -> tuple[int, str | None]:
    """Post a body and return status and Retry-After."""
    sent = {"Authorization": basic("other-key"), **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/batch", body, sent), timeout=10) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


BATCH = json.dumps({"batch": [{"type": "page", "userId": "u"}] * 3}).encode()


def acknowledge(connector: Connector, *, acknowledged: bool) -> threading.Thread:
    """Do once what the runner does: read a batch, then request the next one or close the iterator."""

    def run() -> None:
        for stream in connector.list_streams({}):
            batches = connector.read(stream, None)
            next(batches)
            if acknowledged:
                next(batches, None)
            batches.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(("acknowledged", "expected"), [(True, (200, None)), (False, (503, "2"))])
def test_answer_is_2xx_only_after_acknowledgement(
    listening: tuple[Connector, str], expected: tuple[int, str | None], *, acknowledged: bool
) -> None:
    connector, address = listening
    thread = acknowledge(connector, acknowledged=acknowledged)
    assert post(address, gzip.compress(BATCH), Content_Encoding="gzip") == expected
    thread.join()


def test_missing_acknowledgement_is_answered_with_503(listening: tuple[Connector, str]) -> None:
    assert post(listening[1], BATCH) == (503, "2")


def test_request_above_max_waiting_bytes_is_answered_with_503(settings: IntakeSettings) -> None:
    small = settings.model_copy(update={"max_waiting_bytes": 2 * settings.max_body_bytes})
    with closing(Connector(small)) as connector:
        address = connector.listen(acknowledge=True)
        assert connector._inbox.reserve(2 * settings.max_body_bytes - 1)
        assert post(address, BATCH) == (503, "2")


def test_too_large_bodies_are_rejected_compressed_ones_during_decompression(listening: tuple[Connector, str]) -> None:
    connector, address = listening
    bomb = gzip.compress(b'{"batch":[]' + b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert post(address, bomb, Content_Encoding="gzip")[0] == 413
    assert post(address, b"x" * 512_001)[0] == 413
    assert post(address, b"no gzip", Content_Encoding="gzip")[0] == 400
    assert connector._inbox._reserved == 0


def test_waiting_request_gets_503_when_intake_stops(settings: IntakeSettings) -> None:
    connector = Connector(settings.model_copy(update={"answer_seconds": 30}))
    address = connector.listen(acknowledge=True)
    answers: list[tuple[int, str | None]] = []
    thread = threading.Thread(target=lambda: answers.append(post(address, BATCH)))
    thread.start()
    connector._inbox.wait(10)
    connector.close()
    thread.join()
    assert answers == [(503, "2")]


def test_address_in_use_is_config_error(settings: IntakeSettings, listening: tuple[Connector, str]) -> None:
    port = int(listening[1].rpartition(":")[2])
    with pytest.raises(ConfigError, match="cannot listen at"):
        Connector(settings.model_copy(update={"port": port})).listen(acknowledge=True)


def test_only_configured_origins_may_send(settings: IntakeSettings) -> None:
    origin = "https://www.shop.example"
    with closing(Connector(settings.model_copy(update={"origins": [origin]}))) as connector:
        address = connector.listen(acknowledge=True)
        for origin_sent, allowed in ((origin, origin), ("https://elsewhere.example", None)):
            asked = urllib.request.Request(f"{address}/v1/t", headers={"Origin": origin_sent}, method="OPTIONS")
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
def test_any_input_becomes_touchpoints_or_dead_letters(
    path: str, events: list[object], around: dict[str, Any], junk: bytes | None
) -> None:
    connector, admission = open_to_all()
    body: object = {**around, "batch": events, "data": events} if path != "/cloudevents/bill" else events
    content = junk if junk is not None else json.dumps(body, default=str).encode()
    media = "application/cloudevents-batch+json"
    try:
        admitted = admission.admit(request(path, content, **{"Content-Type": media, "Authorization": AUTHORIZED[path[:4]]}))
    except RejectedError:
        return
    encoded = encode_batch(connector, admitted.stream, Batch(admitted.records, {}))
    assert len(encoded) == len(admitted.records)
    assert all(encode_model("dead_letter", each.dead_letter) for each in encoded if isinstance(each, EncodedDeadLetter))


AUTHORIZED = {"/v1/": basic("key"), "/com": "", "/clo": "Bearer key"}


@cache
def open_to_all() -> tuple[Connector, Admission]:
    bill = {"protocol": "cloudevents", "system": "bill", "source": "erp", "map": {"identifiers": {"party": "subject"}}}
    endpoints = {name: {"protocol": name, "system": name} for name in ("segment", "snowplow")} | {"bill": bill}
    keys = {f"TOUCHLINE_FUZZ_{name.upper()}_KEYS": "key" for name in endpoints}
    with patch.dict(os.environ, keys):
        connector = Connector(IntakeSettings.model_validate({"name": "fuzz", "endpoints": endpoints}))
        return connector, connector._create_admission()
