"""Admission of a request: find its endpoint, check its key and quota, turn its events into records. No I/O.

A rejected request (RejectedError) leaves no trace except its answer. An admitted request with an unreadable body becomes a dead
letter and is answered with 400.
"""

import hmac
import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import SecretStr

from connectors.contract import Record, RejectedRecord
from connectors.intake import cloudevents, segment, snowplow, webhooks
from connectors.intake.quota import Quota
from connectors.intake.request import BadRequestError, Event, Request, hash_bytes
from connectors.intake.schemes import SCHEMES, decode_key, find_signing_key
from connectors.intake.settings import KEYLESS_PROTOCOLS, IntakeSettings, read_keys
from connectors.mapping.expressions import Expression, compile_expression, evaluate
from connectors.mapping.functions import to_identifier
from schemas.errors import RecordError

TRACKER_PATHS = frozenset({"/com.snowplowanalytics.snowplow/tp2", "/i"})
PATHS = {"segment": "/v1/", "snowplow": "/com.snowplowanalytics.snowplow/tp2 and /i", "cloudevents": "/cloudevents/{}"}
PARSERS = {"segment": segment.parse_events, "snowplow": snowplow.parse_events, "cloudevents": cloudevents.parse_events}


class RejectedError(Exception):
    """The request is rejected: HTTP status, reason in one line, and the seconds after which a retry makes sense (or None)."""

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after = status, retry_after


class AdmittedRequest(NamedTuple):
    """The records of an admitted request, and the answer that the server sends after Kafka acknowledged them."""

    stream: str
    records: Sequence[Record | RejectedRecord]
    status: int = 200
    media: str = "application/json"
    body: bytes = b'{"success":true}'


class Admission:
    """All endpoints with their keys and quotas. Raises ConfigError if an endpoint has no key or a malformed one."""

    def __init__(self, settings: IntakeSettings, columns: dict[str, frozenset[str]]) -> None:
        self._endpoints = settings.endpoints
        self._url = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        self._keys: dict[str, list[SecretStr]] = {}
        self._record_keys: dict[str, Expression] = {}
        self._quotas: dict[tuple[str, int], Quota] = {}
        for name, endpoint in settings.endpoints.items():
            scheme = SCHEMES.get(endpoint.protocol)
            self._keys[name] = [] if endpoint.protocol in KEYLESS_PROTOCOLS else read_keys(settings.name, name)
            if scheme:
                for secret in self._keys[name]:
                    decode_key(scheme, secret)
            if text := endpoint.key or (scheme.key if scheme else None):
                self._record_keys[name] = compile_expression(text, columns[name], f"endpoints.{name}.key")
            if endpoint.events_per_minute:
                for number in range(max(1, len(self._keys[name]))):
                    self._quotas[name, number] = Quota(endpoint.events_per_minute)

    def list_paths(self) -> dict[str, str]:
        """Return the path of each endpoint."""
        paths = {name: PATHS.get(endpoint.protocol, "/webhooks/{}") for name, endpoint in self._endpoints.items()}
        return {name: path.format(name) for name, path in paths.items()}

    def admit(self, request: Request) -> AdmittedRequest:
        """Return the records of the request. Raises RejectedError."""
        try:
            name, number = self._authenticate(request)
        except BadRequestError as error:
            raise RejectedError(400, str(error)) from None
        try:
            events = self._parse_events(name, request)
        except BadRequestError as error:
            letter = RejectedRecord(request.body, len(request.body), "-", RecordError("broken_line", str(error)))
            self._check_quota(name, number, 1)
            return AdmittedRequest(name, [letter], 400, "text/plain", str(error).encode())
        self._check_quota(name, number, len(events))
        records = [self._create_record(name, event, request) if isinstance(event, Event) else event for event in events]
        if request.path == "/i":
            return AdmittedRequest(name, records, 200, "image/gif", snowplow.PIXEL)
        return AdmittedRequest(name, records)

    def _authenticate(self, request: Request) -> tuple[str, int]:
        """Return the endpoint and the number of the key that the sender used. Raises RejectedError, BadRequestError."""
        path = request.path
        if request.method != "POST" and path != "/i":
            raise RejectedError(405, "method not allowed: use POST")
        if path in TRACKER_PATHS:
            return self._find_endpoint("snowplow"), 0
        if path.startswith("/v1/"):
            return self._match_key(self._list_endpoints("segment"), segment.read_write_key(request), "the write key")
        kind, _, name = path[1:].partition("/")
        endpoint = self._endpoints.get(name)
        if kind == "cloudevents" and endpoint and endpoint.protocol == "cloudevents":
            return self._match_key([name], cloudevents.read_bearer_key(request), "Authorization: Bearer and the key")
        if kind == "webhooks" and endpoint and endpoint.protocol in SCHEMES:
            url = self._url + path + (f"?{request.query}" if request.query else "")
            number = find_signing_key(SCHEMES[endpoint.protocol], request, url, self._keys[name])
            if number is None:
                raise RejectedError(
                    401, "the signature matches no key of the endpoint, or its time differs by more than five minutes"
                )
            return name, number
        raise RejectedError(404, "no endpoint has this path")

    def _list_endpoints(self, protocol: str) -> list[str]:
        return [name for name, endpoint in self._endpoints.items() if endpoint.protocol == protocol]

    def _find_endpoint(self, protocol: str) -> str:
        if names := self._list_endpoints(protocol):
            return names[0]
        raise RejectedError(404, "no endpoint has this path")

    def _match_key(self, names: list[str], given: str | None, hint: str) -> tuple[str, int]:
        """Return endpoint and number of the key. All keys are compared in constant time, so the duration reveals nothing."""
        match = None
        for name in names:
            for number, secret in enumerate(self._keys[name]):
                if hmac.compare_digest(secret.get_secret_value().encode(), (given or "").encode("utf-8", "replace")):
                    match = name, number
        if match is None:
            raise RejectedError(401, f"the key is missing or wrong: send {hint} of an endpoint")
        return match

    def _parse_events(self, name: str, request: Request) -> list[Event | RejectedRecord]:
        protocol = self._endpoints[name].protocol
        if protocol in SCHEMES:
            return webhooks.parse_events(SCHEMES[protocol], request)
        return PARSERS[protocol](request)

    def _check_quota(self, name: str, number: int, events: int) -> None:
        quota = self._quotas.get((name, number))
        if quota and (seconds := quota.consume(events)):
            raise RejectedError(429, "the key used up its events of this minute", math.ceil(seconds))

    def _create_record(self, name: str, event: Event, request: Request) -> Record | RejectedRecord:
        expression = self._record_keys.get(name)
        try:
            key = to_identifier(evaluate(expression, event.data, "key")) if expression else event.id
        except RecordError as error:
            return RejectedRecord(event.raw, len(event.raw), event.id, error)
        key = key or hash_bytes(event.raw)
        return Record(name, key, "", event.data, event.raw, key, request.at)
