"""Debezium's changes in all formats, invalid Avro, and invalid settings."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import SaslAuthenticationFailedError

from connectors.contract import Connector as AnyConnector
from connectors.debezium import cluster
from connectors.debezium.cases.source import Rows
from connectors.debezium.change import PLACEHOLDER, parse_change
from connectors.debezium.connector import Connector
from connectors.debezium.formats import HEADER, Registry, decode_json
from connectors.debezium.settings import DebeziumSettings
from connectors.errors import AuthError, CursorExpiredError
from connectors.settings import open_connector
from schemas.errors import ConfigError, RecordError, RetryableError, TouchlineError
from tests.live.debezium.engine import schema_registry

FOLDER = Path(__file__).parents[2] / "connectors" / "debezium"
TOPIC = "crm.public.orders"
MINIMAL: dict[str, Any] = yaml.safe_load((FOLDER / "minimal.yaml").read_text())
ORDERS = MINIMAL["topics"]["orders"]
MAP = ORDERS["map"]
VALUES = st.none() | st.integers() | st.text(max_size=5) | st.booleans() | st.just(PLACEHOLDER)
ROWS = st.dictionaries(st.sampled_from(["customer", "state", "op", "source", "ts_ms"]), VALUES)
NAMES = st.sampled_from(["schema", "payload", "type", "fields", "field", "name", "items"])
ODD = st.recursive(VALUES, lambda each: st.dictionaries(NAMES, each) | st.lists(each)).map(
    lambda value: json.dumps(value).encode()
)
SCHEMA = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}, {"name": "total", "type": "bytes"}]}


@pytest.fixture(autouse=True, scope="module")
def kafka() -> Iterator[None]:
    """Set the address of Touchline's own cluster, which the samples read."""
    with patch.dict(os.environ, TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS="ours:9092"):
        yield


@given(ROWS, st.sampled_from("cudr"), st.integers(0), st.integers(0))
def test_envelope_and_unwrapped_value_are_the_same_change(row: dict[str, Any], op: str, at: int, lsn: int) -> None:
    before, after = (row, None) if op == "d" else (None, row)
    whole = {"before": before, "after": after, "op": op, "source": {"ts_ms": at, "lsn": lsn}, "ts_ms": at + 9}
    metadata = {"__deleted": str(op == "d").lower(), "__op": op, "__source_ts_ms": at, "__lsn": lsn, "__ts_ms": at + 9}
    for full in (True, False):
        found = parse_change({"id": 1}, whole, unwrapped=False, full=full)
        assert found == parse_change({"id": 1}, {**row, **metadata}, unwrapped=True, full=full)
        assert PLACEHOLDER not in str(found)
        assert full or found.before == ({"id": 1} if op == "d" else None)


@pytest.mark.parametrize("metadata", [{"__op": "u"}, {"__op": "r", "__lsn": 1}, {"__op": "r", "__lsn": 2}])
@given(one=ROWS, other=ROWS)
def test_changes_without_stable_position_are_versioned_by_content(
    metadata: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two updates of a transaction have one time and, without source.lsn, no position; each snapshot has its own position."""
    found = [
        parse_change({"id": 1}, {**row, **metadata, "__source_ts_ms": 1}, unwrapped=True, full=False) for row in (one, other)
    ]
    same = json.dumps(found[0].after, sort_keys=True) == json.dumps(found[1].after, sort_keys=True)
    assert (found[0].version == found[1].version) == same


def test_key_text_is_independent_of_field_order() -> None:
    value = {"op": "u", "after": {}, "source": {"ts_ms": 1}}
    keys = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert len({parse_change(key, value, unwrapped=False, full=False).key_text for key in keys}) == 1


@given(st.binary(max_size=40) | ODD)
def test_any_bytes_are_json_or_record_error(raw: bytes) -> None:
    with suppress(RecordError):
        decode_json(raw)


@given(st.integers(-(10**30), 10**30), st.integers(0, 9))
def test_decimals_are_decoded_exactly(unscaled: int, scale: int) -> None:
    raw = b64encode(unscaled.to_bytes(16, "big", signed=True)).decode()
    schema = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": str(scale)}}
    found = decode_json(json.dumps({"schema": schema, "payload": raw}).encode())
    assert found == Decimal(unscaled).scaleb(-scale)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with schema_registry() as url:
        settings = DebeziumSettings.model_validate({**MINIMAL, "format": "avro", "registry": url})
        with closing(Registry(settings)) as found:
            found._client.post("/subjects/k/versions", {"schema": json.dumps(SCHEMA)}, signed=False)
            yield found


def test_invalid_avro_is_record_error(registry: Registry) -> None:
    body = BytesIO()
    schemaless_writer(body, parse_schema(SCHEMA), {"id": 7, "total": b"abc"})
    whole = HEADER.pack(0, 1) + body.getvalue()
    registry.check()
    assert registry.decode(whole) == {"id": 7, "total": "YWJj"}
    for raw, reason in (
        (b"{}", "not_avro"),
        (whole[:-1], "not_avro"),
        (whole + b"x", "not_avro"),
        (HEADER.pack(0, 9), "unknown_schema"),
    ):
        with pytest.raises(RecordError) as error:
            registry.decode(raw)
        assert error.value.reason == reason


def test_address_without_registry_is_config_error() -> None:
    with schema_registry() as url:
        settings = DebeziumSettings.model_validate({**MINIMAL, "format": "avro", "registry": f"{url}/elsewhere"})
        with closing(Registry(settings)) as found, pytest.raises(ConfigError, match="answers 404"):
            found.check()


def rows(count: int, **changes: Any) -> Connector:
    settings = DebeziumSettings.model_validate({**MINIMAL, **changes})
    value = {"op": "c", "after": {"customer_id": 1}, "source": {"ts_ms": 1, "lsn": 1}}
    held = {TOPIC: [{"at": number, "key": {"id": number}, "value": value} for number in range(count)]}
    return Connector(settings, Rows(settings, held))


@pytest.mark.parametrize(
    ("cursor", "message"),
    [
        ({"topic": "2", "offset": 5}, "recreated"),
        ({"topic": "1", "offset": 21}, "recreated"),
        ({"topic": "1", "offset": 4}, "before offset 5"),
    ],
)
def test_cursor_outside_of_topic_is_expired(cursor: dict[str, Any], message: str) -> None:
    connector = rows(20)
    assert isinstance(connector.cluster, Rows)
    connector.cluster.first = 5
    assert next(connector.read("orders:0", {"topic": "1", "offset": 5})).records
    with pytest.raises(CursorExpiredError, match=message):
        next(connector.read("orders:0", cursor))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "avro"}, "registry"),
        ({"registry": "http://registry"}, "registry"),
        ({"sasl_password": "secret"}, "TOUCHLINE_SHOP_SASL_PASSWORD"),
        ({"topics": {"orders": {**ORDERS, "source": "sales"}}}, "must be one of"),
        ({"topics": {"orders": {**ORDERS, "map": {**MAP, "type": "now.what"}}}}, "reads column now"),
    ],
)
def test_invalid_settings_are_rejected_with_setting_to_change(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    with pytest.raises(ConfigError, match=message):
        open_connector("debezium", file, {})


def test_own_credentials_are_not_sent_to_another_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "us", "SASL_PASSWORD": "secret"}
    given |= {"SSL_CHECK_HOSTNAME": "false", "SASL_TOKEN_COMMAND": "token"}
    for name, value in given.items():
        monkeypatch.setenv(f"TOUCHLINE_KAFKA_{name}", value)
    ours = DebeziumSettings.model_validate(MINIMAL).kafka.kafka_python()
    other = DebeziumSettings.model_validate({**MINIMAL, "bootstrap_servers": "theirs:9092"}).kafka
    assert ours["sasl_plain_password"] == "secret"
    assert (other.ssl_check_hostname, other.sasl_token_command) == (True, None)
    assert other.kafka_python() == {"bootstrap_servers": ["theirs:9092"], "security_protocol": "PLAINTEXT"}


def test_errors_of_another_cluster_name_settings_of_the_file_and_variables_of_secrets() -> None:
    theirs = DebeziumSettings.model_validate({**MINIMAL, "bootstrap_servers": "theirs:9092"}).kafka
    assert [theirs.setting(name) for name in ("ssl_cafile", "sasl_password", "ssl_password")] == [
        "ssl_cafile",
        "TOUCHLINE_SHOP_SASL_PASSWORD",
        "TOUCHLINE_SHOP_SSL_PASSWORD",
    ]


def test_connector_implements_contract() -> None:
    connector: AnyConnector = rows(0)
    assert connector.check() == "1 of 1 topics, 1 partitions"


@pytest.mark.parametrize(
    ("problem", "kind"), [(ConfigError("wrong"), AuthError), (RetryableError("away"), RetryableError), (None, RetryableError)]
)
def test_rejected_login_stops_the_connector_only_where_the_diagnosis_agrees(
    problem: TouchlineError | None, kind: type[TouchlineError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "diagnose_kafka", lambda _: problem)
    one = cluster.Cluster(DebeziumSettings.model_construct(name="shop", bootstrap_servers="127.0.0.1:1"))
    with pytest.raises(kind, match="rejects the credentials") as raised, one._map_failures():
        raise SaslAuthenticationFailedError
    assert raised.type is kind
