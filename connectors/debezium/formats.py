"""The bytes of keys and values as what they say: JSON with its schema or without, Avro by a schema registry.

Decimals are exact, times are text; bytes are base64 where they are no decimal.
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
NOT_AVRO = "the bytes do not begin with a zero byte and a schema id: are they JSON? then set `format: json`"


def from_json(raw: bytes) -> Any:
    """What the JSON says; with a schema beside it, its decimals are decoded. Raises RecordError."""
    try:
        found = json.loads(raw)
        if isinstance(found, dict) and found.keys() == {"schema", "payload"} and isinstance(found["schema"], dict):
            return _typed(found["payload"], found["schema"])
    except UnicodeDecodeError:
        raise RecordError("invalid_utf8", "the bytes are no UTF-8: is the topic Avro? then set `format: avro`") from None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, ArithmeticError) as error:
        raise RecordError("broken_line", f"the bytes are no JSON of a converter ({type(error).__name__})") from None
    return found


def _typed(value: Any, schema: dict[str, Any]) -> Any:
    """The value with its decimals, as the schema of Kafka Connect's JsonConverter describes it."""
    if value is None:
        return None
    if schema.get("name") == DECIMAL and isinstance(value, str):
        return _decimal(b64decode(value), int(schema["parameters"]["scale"]))
    if schema.get("name") == SCALED:
        return _decimal(b64decode(value["value"]), value["scale"])
    if schema["type"] == "struct":
        fields = {field["field"]: field for field in schema["fields"]}
        return {name: _typed(one, fields[name]) for name, one in value.items()}
    if schema["type"] == "array":
        return [_typed(one, schema["items"]) for one in value]
    return value


def _decimal(unscaled: bytes, scale: int) -> Decimal:
    return Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale)


class Registry:
    """Avro in the Confluent wire format: a zero byte, the schema's id, the record. A schema is asked for once."""

    def __init__(self, settings: DebeziumSettings) -> None:
        self._settings = settings
        fix = f"set {secret_variable(settings.name, 'registry_password')}, and look at registry_username"
        url, seconds = settings.registry or "", settings.timeout_seconds
        self._client = Client(url, RateLimit(), timeout=seconds, credentials_hint=fix, login=self._login, choose_action=_decide)
        self._schemas: dict[int, Any] = {}

    def check(self) -> None:
        """Raises ConfigError where the address is no registry's."""
        if not isinstance(self._client.get("/subjects").json(), list):
            raise ConfigError("registry: what answers there is no schema registry: look at its address")

    def read(self, raw: bytes) -> Any:
        """What the record says. Raises RecordError for one that cannot be read, RetryableError where the registry is away."""
        if len(raw) < HEADER.size or raw[0] != 0:
            raise RecordError(
                "not_avro", "the bytes do not begin with a zero byte and a schema id: is it JSON? set `format: json`"
            )
        number = HEADER.unpack_from(raw)[1]
        schema, body = self._schema(number), BytesIO(raw[HEADER.size :])
        try:
            found = _plain(schemaless_reader(body, schema, None))
        except Exception as error:  # whatever a broken byte leads to: EOFError, IndexError, UnicodeDecodeError, ...
            raise RecordError("not_avro", f"the bytes do not follow schema {number}: {type(error).__name__}") from error
        if body.read(1):
            raise RecordError("not_avro", f"bytes follow the end of a record of schema {number}")
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _schema(self, number: int) -> Any:
        if number not in self._schemas:
            answer = self._client.get(f"/schemas/ids/{number}")
            found = answer.json()
            if answer.status == 404:
                raise RecordError("unknown_schema", f"the registry knows no schema {number}")
            if found.get("schemaType", "AVRO") != "AVRO" or found.get("references"):
                raise RecordError("unknown_schema", f"schema {number} is no Avro schema that is whole in itself")
            self._schemas[number] = parse_schema(json.loads(found["schema"]), named_schemas={})
        return self._schemas[number]

    def _login(self, client: Client) -> Headers:
        name = self._settings.registry_username
        return make_headers(basic_auth=f"{name}:{self._settings.registry_password.get_secret_value()}") if name else {}


def _decide(answer: Response) -> Action:
    """A schema that the registry does not know is one record's trouble; a path that it does not know is the address's."""
    if answer.status == 404 and f'"error_code":{NO_SUCH_SCHEMA}'.encode() in answer.body.replace(b" ", b""):
        return Action.ACCEPT
    return choose_action(answer)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"scale", "value"} and isinstance(value["value"], bytes):
            return _decimal(value["value"], value["scale"])
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, (date, datetime, time)) else value
