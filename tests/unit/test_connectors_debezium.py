"""What Debezium says, whichever way it says it; Avro that is no Avro; settings that could not be safe."""

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

from connectors.contract import Connector as AnyConnector
from connectors.debezium.cases.source import Rows
from connectors.debezium.change import NOT_SENT, change
from connectors.debezium.connector import Connector
from connectors.debezium.formats import HEADER, Registry, from_json
from connectors.debezium.settings import DebeziumSettings
from connectors.errors import CursorExpiredError
from connectors.settings import open_connector
from schemas.errors import ConfigError, RecordError
from tests.live.debezium.engine import schema_registry

FOLDER = Path(__file__).parents[2] / "connectors" / "debezium"
TOPIC = "crm.public.orders"
MINIMAL: dict[str, Any] = yaml.safe_load((FOLDER / "minimal.yaml").read_text())
ORDERS = MINIMAL["topics"]["orders"]
MAP = ORDERS["map"]
VALUES = st.none() | st.integers() | st.text(max_size=5) | st.booleans() | st.just(NOT_SENT)
ROWS = st.dictionaries(st.sampled_from(["customer", "state", "op", "source", "ts_ms"]), VALUES)
NAMES = st.sampled_from(["schema", "payload", "type", "fields", "field", "name", "items"])
ODD = st.recursive(VALUES, lambda each: st.dictionaries(NAMES, each) | st.lists(each)).map(lambda said: json.dumps(said).encode())
SCHEMA = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}, {"name": "total", "type": "bytes"}]}


@pytest.fixture(autouse=True, scope="module")
def kafka() -> Iterator[None]:
    """Touchline's own cluster, which the samples read from."""
    with patch.dict(os.environ, TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS="ours:9092"):
        yield


@given(ROWS, st.sampled_from("cudr"), st.integers(0), st.integers(0))
def test_whole_and_unwrapped_say_the_same(row: dict[str, Any], op: str, at: int, lsn: int) -> None:
    before, after = (row, None) if op == "d" else (None, row)
    whole = {"before": before, "after": after, "op": op, "source": {"ts_ms": at, "lsn": lsn}, "ts_ms": at + 9}
    told = {"__deleted": str(op == "d").lower(), "__op": op, "__source_ts_ms": at, "__lsn": lsn, "__ts_ms": at + 9}
    for full in (True, False):
        found = change({"id": 1}, whole, unwrapped=False, full=full)
        assert found == change({"id": 1}, {**row, **told}, unwrapped=True, full=full)
        assert NOT_SENT not in str(found)
        assert full or found.before == ({"id": 1} if op == "d" else None)


@pytest.mark.parametrize("told", [{"__op": "u"}, {"__op": "r", "__lsn": 1}, {"__op": "r", "__lsn": 2}])
@given(one=ROWS, other=ROWS)
def test_states_without_a_position_that_lasts_are_told_apart_by_what_they_hold(
    told: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two updates of a transaction have one time, and no position where the transform adds none; a snapshot's is its own."""
    found = [change({"id": 1}, {**row, **told, "__source_ts_ms": 1}, unwrapped=True, full=False) for row in (one, other)]
    same = json.dumps(found[0].after, sort_keys=True) == json.dumps(found[1].after, sort_keys=True)
    assert (found[0].version == found[1].version) == same


def test_a_key_is_the_same_whatever_its_order() -> None:
    value = {"op": "u", "after": {}, "source": {"ts_ms": 1}}
    keys = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert len({change(key, value, unwrapped=False, full=False).name for key in keys}) == 1


@given(st.binary(max_size=40) | ODD)
def test_whatever_the_bytes_are_it_is_json_or_a_record_error(raw: bytes) -> None:
    with suppress(RecordError):
        from_json(raw)


@given(st.integers(-(10**30), 10**30), st.integers(0, 9))
def test_decimals_are_decoded_exactly_by_their_schema(unscaled: int, scale: int) -> None:
    raw = b64encode(unscaled.to_bytes(16, "big", signed=True)).decode()
    schema = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": str(scale)}}
    found = from_json(json.dumps({"schema": schema, "payload": raw}).encode())
    assert found == Decimal(unscaled).scaleb(-scale)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with schema_registry() as url:
        settings = DebeziumSettings.model_validate({**MINIMAL, "format": "avro", "registry": url})
        with closing(Registry(settings)) as found:
            found._client.post("/subjects/k/versions", {"schema": json.dumps(SCHEMA)}, signed=False)
            yield found


def test_avro_that_does_not_follow_its_schema_is_refused_with_what_to_look_at(registry: Registry) -> None:
    body = BytesIO()
    schemaless_writer(body, parse_schema(SCHEMA), {"id": 7, "total": b"abc"})
    whole = HEADER.pack(0, 1) + body.getvalue()
    registry.check()
    assert registry.read(whole) == {"id": 7, "total": "YWJj"}
    for raw, reason in (
        (b"{}", "not_avro"),
        (whole[:-1], "not_avro"),
        (whole + b"x", "not_avro"),
        (HEADER.pack(0, 9), "unknown_schema"),
    ):
        with pytest.raises(RecordError) as refused:
            registry.read(raw)
        assert refused.value.reason == reason


def test_an_address_that_is_no_registry_stops_it() -> None:
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
    ("cursor", "said"),
    [
        ({"topic": "2", "offset": 5}, "anew"),
        ({"topic": "1", "offset": 21}, "anew"),
        ({"topic": "1", "offset": 4}, "before offset 5"),
    ],
)
def test_a_place_that_the_topic_no_longer_has_is_never_passed_over(cursor: dict[str, Any], said: str) -> None:
    connector = rows(20)
    assert isinstance(connector.cluster, Rows)
    connector.cluster.first = 5
    assert next(connector.read("orders:0", {"topic": "1", "offset": 5})).records
    with pytest.raises(CursorExpiredError, match=said):
        next(connector.read("orders:0", cursor))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "avro"}, "registry"),
        ({"registry": "http://registry"}, "registry"),
        ({"sasl_password": "secret"}, "TOUCHLINE_SHOP_SASL_PASSWORD"),
        ({"topics": {"orders": {**ORDERS, "source": "sales"}}}, "must be one of"),
        ({"topics": {"orders": {**ORDERS, "map": {**MAP, "type": "now.what"}}}}, "reads column now"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_to_change(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    with pytest.raises(ConfigError, match=said):
        open_connector("debezium", file, {})


def test_no_credential_of_ours_goes_to_another_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "us", "SASL_PASSWORD": "secret"}
    for name, value in given.items():
        monkeypatch.setenv(f"TOUCHLINE_KAFKA_{name}", value)
    ours = DebeziumSettings.model_validate(MINIMAL).kafka.kafka_python()
    theirs = DebeziumSettings.model_validate({**MINIMAL, "bootstrap_servers": "theirs:9092"}).kafka.kafka_python()
    assert ours["sasl_plain_password"] == "secret"
    assert theirs == {"bootstrap_servers": ["theirs:9092"], "security_protocol": "PLAINTEXT"}


def test_it_is_a_connector() -> None:
    connector: AnyConnector = rows(0)
    assert connector.check() == "1 of 1 topics, 1 partitions"
