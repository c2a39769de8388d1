"""Decoders of keys and values: JSON with or without its schema, and Avro with a schema registry.

Decimals are exact, times are texts, other bytes are base64.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from struct import Struct
from typing import Any

from fastavro import parse_schema, schemaless_reader
from urllib3.util import make_headers

from connectors.debezium.settings import DebeziumSettings
from connectors.http.client import Action, Client, Headers, Response, choose_action
from connectors.http.rate_limit import RateLimit
from connectors.settings import secret_variable
from schemas.errors import ConfigError, RecordError

Format = Callable[[bytes], Any]
HEADER = Struct(">BI")
DECIMAL = "org.apache.kafka.connect.data.Decimal"
SCALED = "io.debezium.data.VariableScaleDecimal"
NO_SUCH_SCHEMA = 40_403
NOT_AVRO = "the bytes do not begin with a zero byte and a schema id: if the topic is JSON, set `format: json`"


def decode_json(raw: bytes) -> Any:
    """Return the JSON value; if its schema is included, decimals are decoded. Raises RecordError."""
    try:
        value = json.loads(raw)
        if isinstance(value, dict) and value.keys() == {"schema", "payload"} and isinstance(value["schema"], dict):
            return _decode_typed(value["payload"], value["schema"])
    except UnicodeDecodeError:
        raise RecordError("invalid_utf8", "the bytes are not UTF-8: if the topic is Avro, set `format: avro`") from None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, ArithmeticError) as error:
        raise RecordError("broken_line", f"the bytes are not JSON of a converter ({type(error).__name__})") from None
    return value


def _decode_typed(value: Any, schema: dict[str, Any]) -> Any:
    """Return the value with decimals decoded by the schema of Kafka Connect's JsonConverter."""
    if value is None:
        return None
    if schema.get("name") == DECIMAL and isinstance(value, str):
        return _decode_decimal(b64decode(value), int(schema["parameters"]["scale"]))
    if schema.get("name") == SCALED:
        return _decode_decimal(b64decode(value["value"]), value["scale"])
    if schema["type"] == "struct":
        fields = {field["field"]: field for field in schema["fields"]}
        return {name: _decode_typed(one, fields[name]) for name, one in value.items()}
    if schema["type"] == "array":
        return [_decode_typed(one, schema["items"]) for one in value]
    return value


def _decode_decimal(unscaled: bytes, scale: int) -> Decimal:
    return Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale)


class Registry:
    """Decoder of Avro in the Confluent wire format: a zero byte, the schema's id, the record. It fetches each schema once."""

    def __init__(self, settings: DebeziumSettings) -> None:
        self._settings = settings
        fix = f"set {secret_variable(settings.name, 'registry_password')}, and check registry_username"
        url, seconds = settings.registry or "", settings.timeout_seconds
        self._client = Client(
            url, RateLimit(), timeout=seconds, credentials_hint=fix, login=self._login, choose_action=_choose_action
        )
        self._schemas: dict[int, Any] = {}

    def check(self) -> None:
        """Raise ConfigError if the address is not that of a schema registry."""
        if not isinstance(self._client.get("/subjects").json(), list):
            raise ConfigError("registry: the server at this address is not a schema registry: check the address")

    def decode(self, raw: bytes) -> Any:
        """Return the record. Raises RecordError for an unreadable one, RetryableError if the registry does not answer."""
        if len(raw) < HEADER.size or raw[0] != 0:
            raise RecordError("not_avro", NOT_AVRO)
        number = HEADER.unpack_from(raw)[1]
        schema, body = self._fetch_schema(number), BytesIO(raw[HEADER.size :])
        try:
            value = _to_json(schemaless_reader(body, schema, None))
        except Exception as error:  # broken bytes cause many: EOFError, IndexError, UnicodeDecodeError, …
            raise RecordError("not_avro", f"the bytes do not follow schema {number}: {type(error).__name__}") from error
        if body.read(1):
            raise RecordError("not_avro", f"bytes follow the end of a record of schema {number}")
        return value

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _fetch_schema(self, number: int) -> Any:
        if number not in self._schemas:
            answer = self._client.get(f"/schemas/ids/{number}")
            body = answer.json()
            if answer.status == 404:
                raise RecordError("unknown_schema", f"the registry has no schema {number}")
            if body.get("schemaType", "AVRO") != "AVRO" or body.get("references"):
                raise RecordError("unknown_schema", f"schema {number} is not Avro, or refers to other schemas")
            self._schemas[number] = parse_schema(json.loads(body["schema"]), named_schemas={})
        return self._schemas[number]

    def _login(self, client: Client) -> Headers:
        name = self._settings.registry_username
        return make_headers(basic_auth=f"{name}:{self._settings.registry_password.get_secret_value()}") if name else {}


def _choose_action(answer: Response) -> Action:
    """Accept an unknown schema, which is an error of one record; an unknown path is an error of the address."""
    if answer.status == 404 and f'"error_code":{NO_SUCH_SCHEMA}'.encode() in answer.body.replace(b" ", b""):
        return Action.ACCEPT
    return choose_action(answer)


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"scale", "value"} and isinstance(value["value"], bytes):
            return _decode_decimal(value["value"], value["scale"])
        return {name: _to_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, (date, datetime, time)) else value
