"""Connector with an HTTP server that receives events from other systems.

Guarantee: at least once for every request that is answered with 2xx; the answer waits for Kafka's acknowledgement. A sender
that gets 503, 429 or no answer sends again, and the same event has the same event id. There is no cursor and nothing is on
disk: events without an acknowledgement stay with the sender. Deletes: none.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, StreamSpec, Window
from connectors.http.rate_limit import RateLimit
from connectors.intake.admission import Admission
from connectors.intake.inbox import Inbox
from connectors.intake.schemes import SCHEMES
from connectors.intake.server import Server
from connectors.intake.settings import Endpoint, IntakeSettings
from connectors.mapping.functions import to_text
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from schemas.errors import ConfigError
from schemas.records.families import FAMILIES
from schemas.records.touchpoint import Touchpoint

ROUND_SECONDS = 0.5
PREVIEW_SECONDS = 1.0
MAX_ATTRIBUTES, MAX_NAME_LENGTH, MAX_VALUE_LENGTH = 50, 200, 4_096
IDENTIFYING = frozenset({"email", "phone"})
DEFAULTS = yaml.safe_load(Path(__file__).with_name("mapping.yaml").read_text(encoding="utf-8"))


class Connector:
    """One server. Each endpoint is a stream; there is no cursor."""

    settings_model: ClassVar[type[BaseModel]] = IntakeSettings

    def __init__(self, settings: IntakeSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.poll_seconds = 0.0
        self.start: datetime | None = None
        self.rate_limit = RateLimit()
        self._inbox = Inbox(settings.max_waiting_bytes)
        self._mappings = {name: _create_mapping(settings.name, name, endpoint) for name, endpoint in settings.endpoints.items()}
        self._sources = {name: _find_source(name, endpoint) for name, endpoint in settings.endpoints.items()}
        self._server: Server | None = None
        self._acknowledge = True

    def check(self) -> str:
        """Return the endpoints with their paths. Raises ConfigError if one has no key."""
        return ", ".join(f"{name} at {path}" for name, path in self._create_admission().list_paths().items())

    def listen(self, *, acknowledge: bool) -> str:
        """Start the server once and return its address."""
        if self._server is None:
            self._acknowledge = acknowledge
            self._server = Server(self.settings, self._create_admission(), self._inbox, acknowledge=acknowledge)
            self._server.start()
        return f"http://{self.settings.host}:{self._server.port}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """Yield the endpoints with waiting events after at most half a second; a preview waits a second longer."""
        if not self._acknowledge:
            self._inbox.wait(None)
            time.sleep(PREVIEW_SECONDS)
        yield from self._inbox.wait(ROUND_SECONDS)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the endpoint's event family."""
        return StreamSpec(self._sources[stream])

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield one batch of waiting events. Requesting the next batch acknowledges it: senders get 2xx.

        If the iterator is closed instead, senders get 503 and send again.
        """
        entries, acknowledged = self._inbox.take(stream), False
        try:
            if entries:
                yield Batch([record for _, record in entries], {}, progress=1.0)
            acknowledged = True
        finally:
            self._inbox.settle(entries, acknowledged=acknowledged)

    def map_record(self, record: Record) -> Touchpoint:
        """Map the event, with its properties as attributes. Raises RecordError."""
        attributes = _create_attributes(record.data.get("more"))
        return self._mappings[record.stream].create_touchpoint(
            record.key, record.version, record.data, record.read_at, attributes
        )

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: senders have no count."""
        return None

    def close(self) -> None:
        """Stop listening; waiting senders get 503."""
        if self._server is not None:
            self._server.stop()

    def _create_admission(self) -> Admission:
        columns = {name: frozenset(DEFAULTS[endpoint.mapping]["columns"]) for name, endpoint in self.settings.endpoints.items()}
        return Admission(self.settings, columns)


def _create_mapping(connector: str, name: str, endpoint: Endpoint) -> TouchpointMapping:
    default = DEFAULTS[endpoint.mapping]
    scheme = SCHEMES.get(endpoint.protocol)
    occurred = {"occurred_at": scheme.occurred_at} if scheme else {}
    return TouchpointMapping(
        connector=connector,
        feed=name,
        where=f"endpoints.{name}.map",
        source=_find_source(name, endpoint),
        system=endpoint.system,
        columns=frozenset(default["columns"]),
        fields={**default["map"], **occurred, **endpoint.map},
        settings=endpoint,
    )


def _find_source(name: str, endpoint: Endpoint) -> str:
    source: str = endpoint.source or DEFAULTS[endpoint.mapping].get("source", "")
    if source not in FAMILIES:
        raise ConfigError(f"endpoints.{name}.source: must be one of {', '.join(FAMILIES)}")
    return source


def _create_attributes(more: Any) -> dict[str, str]:
    """Return at most 50 properties that fit into attributes, without e-mail and phone, which are identifiers."""
    attributes: dict[str, str] = {}
    for name, value in more.items() if isinstance(more, dict) else ():
        text = to_text(value) if value is not None else ""
        fits = 0 < len(name) <= MAX_NAME_LENGTH and len(text) <= MAX_VALUE_LENGTH and len(attributes) < MAX_ATTRIBUTES
        if text and fits and name not in IDENTIFYING:
            attributes[name] = text
    return attributes
