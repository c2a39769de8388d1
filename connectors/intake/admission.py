"""What becomes of a request: found its endpoint, known its key, within its quota, its events as records. No I/O.

Raises RejectedError for what is not let in; that leaves no trace but the answer. A request that was let in and cannot be read is
kept as a dead letter, and answered with 400.
"""

import hmac
import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import SecretStr

from connectors.contract import Record, RejectedRecord
from connectors.intake import cloudevents, segment, snowplow, webhooks
from connectors.intake.quota import Quota
from connectors.intake.request import BadRequestError, Item, Request, digest
from connectors.intake.schemes import SCHEMES, key_bytes, signer
from connectors.intake.settings import OPEN, IntakeSettings, keys
from connectors.mapping.expressions import Expression, compile_expression, evaluate
from connectors.mapping.functions import to_identifier
from schemas.errors import RecordError

TRACKER = frozenset({"/com.snowplowanalytics.snowplow/tp2", "/i"})
PATHS = {"segment": "/v1/", "snowplow": "/com.snowplowanalytics.snowplow/tp2 and /i", "cloudevents": "/cloudevents/{}"}

EVENTS = {"segment": segment.events, "snowplow": snowplow.events, "cloudevents": cloudevents.events}


class RejectedError(Exception):
    """Not let in: the HTTP status, a line that says why, and after how many seconds to try again, where that helps."""

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after = status, retry_after


class Admitted(NamedTuple):
    """The records of a request that was let in, and the answer to it once they are kept."""

    stream: str
    records: Sequence[Record | RejectedRecord]
    status: int = 200
    media: str = "application/json"
    body: bytes = b'{"success":true}'


class Gate:
    """All endpoints with their keys and quotas. Raises ConfigError where an endpoint has no key, or one of a wrong form."""

    def __init__(self, settings: IntakeSettings, columns: dict[str, frozenset[str]]) -> None:
        self._endpoints = settings.endpoints
        self._url = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        self._keys: dict[str, list[SecretStr]] = {}
        self._record_keys: dict[str, Expression] = {}
        self._quotas: dict[tuple[str, int], Quota] = {}
        for name, endpoint in settings.endpoints.items():
            scheme = SCHEMES.get(endpoint.protocol)
            self._keys[name] = [] if endpoint.protocol in OPEN else keys(settings.name, name)
            if scheme:
                for secret in self._keys[name]:
                    key_bytes(scheme, secret)
            if text := endpoint.key or (scheme.key if scheme else None):
                self._record_keys[name] = compile_expression(text, columns[name], f"endpoints.{name}.key")
            if endpoint.events_per_minute:
                for number in range(max(1, len(self._keys[name]))):
                    self._quotas[name, number] = Quota(endpoint.events_per_minute)

    def paths(self) -> dict[str, str]:
        """Where each endpoint is sent to."""
        found = {name: PATHS.get(endpoint.protocol, "/webhooks/{}") for name, endpoint in self._endpoints.items()}
        return {name: path.format(name) for name, path in found.items()}

    def admit(self, request: Request) -> Admitted:
        """The request's records. Raises RejectedError."""
        try:
            name, number = self._sender(request)
        except BadRequestError as error:
            raise RejectedError(400, str(error)) from None
        try:
            items = self._items(name, request)
        except BadRequestError as error:
            letter = RejectedRecord(request.body, len(request.body), "-", RecordError("broken_line", str(error)))
            self._count(name, number, 1)
            return Admitted(name, [letter], 400, "text/plain", str(error).encode())
        self._count(name, number, len(items))
        records = [self._record(name, item, request) if isinstance(item, Item) else item for item in items]
        if request.path == "/i":
            return Admitted(name, records, 200, "image/gif", snowplow.PIXEL)
        return Admitted(name, records)

    def _sender(self, request: Request) -> tuple[str, int]:
        """The endpoint, and which of its keys it was. Raises RejectedError, BadRequestError."""
        path = request.path
        if request.method != "POST" and path != "/i":
            raise RejectedError(405, "send it by POST")
        if path in TRACKER:
            return self._first("snowplow"), 0
        if path.startswith("/v1/"):
            return self._by_key(self._of("segment"), segment.write_key(request), "the write key")
        kind, _, name = path[1:].partition("/")
        endpoint = self._endpoints.get(name)
        if kind == "cloudevents" and endpoint and endpoint.protocol == "cloudevents":
            return self._by_key([name], cloudevents.bearer(request), "Authorization: Bearer and the key")
        if kind == "webhooks" and endpoint and endpoint.protocol in SCHEMES:
            url = self._url + path + (f"?{request.query}" if request.query else "")
            found = signer(SCHEMES[endpoint.protocol], request, url, self._keys[name])
            if found is None:
                raise RejectedError(401, "the signature is not of one of the endpoint's keys, or older than five minutes")
            return name, found
        raise RejectedError(404, "nothing is received at this path")

    def _of(self, protocol: str) -> list[str]:
        return [name for name, endpoint in self._endpoints.items() if endpoint.protocol == protocol]

    def _first(self, protocol: str) -> str:
        if found := self._of(protocol):
            return found[0]
        raise RejectedError(404, "nothing is received at this path")

    def _by_key(self, names: list[str], given: str | None, what: str) -> tuple[str, int]:
        """Every key is compared, each in constant time, so that the time taken tells nothing."""
        found = None
        for name in names:
            for number, secret in enumerate(self._keys[name]):
                if hmac.compare_digest(secret.get_secret_value().encode(), (given or "").encode("utf-8", "replace")):
                    found = name, number
        if found is None:
            raise RejectedError(401, f"not known here: send {what} of an endpoint")
        return found

    def _items(self, name: str, request: Request) -> list[Item | RejectedRecord]:
        protocol = self._endpoints[name].protocol
        if protocol in SCHEMES:
            return webhooks.events(SCHEMES[protocol], request)
        return EVENTS[protocol](request)

    def _count(self, name: str, number: int, events: int) -> None:
        quota = self._quotas.get((name, number))
        if quota and (seconds := quota.take(events)):
            raise RejectedError(429, "the key's events of this minute are used up", math.ceil(seconds))

    def _record(self, name: str, item: Item, request: Request) -> Record | RejectedRecord:
        expression = self._record_keys.get(name)
        try:
            key = to_identifier(evaluate(expression, item.data, "key")) if expression else item.id
        except RecordError as error:
            return RejectedRecord(item.raw, len(item.raw), item.id, error)
        key = key or digest(item.raw)
        return Record(name, key, "", item.data, item.raw, key, request.at)
